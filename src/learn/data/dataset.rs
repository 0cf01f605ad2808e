//! A data set in memory, with its three splits.

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::{
    DataConfig, DataDirs, DatasetName, ImageShape, cifar,
    dirs::Found,
    file,
    glyphs::{self, Part},
    idx,
    source::Layout,
    split,
};
use crate::base::rng;

/// Images with their classes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Images {
    /// `[images, channels, height, width]`, 0 to 255.
    pub pixels: Vec<u8>,
    /// `[images]`, the class of each.
    pub labels: Vec<u8>,
}

impl Images {
    /// How many images there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The pixels of image `index`, `[channels, height, width]`.
    ///
    /// # Panics
    /// When there is no such image.
    pub fn image(&self, index: usize) -> &[u8] {
        let size = self.pixels.len() / self.labels.len();
        &self.pixels[index * size..(index + 1) * size]
    }

    /// How many images each class has.
    pub fn class_counts(&self, classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        for &label in &self.labels {
            counts[usize::from(label)] += 1;
        }
        counts
    }

    /// The images at `indices`, in that order.
    fn select(&self, indices: &[u32]) -> Images {
        let mut selected =
            Images { pixels: Vec::new(), labels: indices.iter().map(|&index| self.labels[index as usize]).collect() };
        if let Some(&first) = indices.first() {
            selected.pixels.reserve_exact(self.image(first as usize).len() * indices.len());
        }
        for &index in indices {
            selected.pixels.extend_from_slice(self.image(index as usize));
        }
        selected
    }

    fn append(&mut self, mut other: Images) {
        self.pixels.append(&mut other.pixels);
        self.labels.append(&mut other.labels);
    }
}

/// What a trial trains, validates and tests on, loaded.
#[derive(Clone, Debug)]
pub struct Dataset {
    pub shape: ImageShape,
    pub classes: usize,
    pub train: Images,
    /// Held out of the training part.
    pub validation: Images,
    pub test: Images,
    /// Identity of the contents of the three splits: 16 hexadecimal digits of their SHA-256.
    pub fingerprint: String,
}

/// Loads a data set and splits it: the same config and files give the same bits, whatever the trial's
/// seed.
///
/// # Errors
/// When the config is invalid, or the data set's files are missing or not what they should be.
pub fn load(config: &DataConfig, dirs: &DataDirs) -> Result<Dataset> {
    config.validate()?;
    let counts = config.counts();
    let (whole_train, whole_test) = match config.name {
        DatasetName::Glyphs => (
            glyphs::draw(config.seed, Part::Train, counts.train + counts.validation),
            glyphs::draw(config.seed, Part::Test, counts.test),
        ),
        name => read_published(name, &dirs.find(name)?)?,
    };
    let classes = config.name.classes();
    let draw = |part: &Images, among: &[u32], take: usize, purpose: &str| {
        split::stratified(&part.labels, among, take, classes, &mut rng::stream(config.seed, purpose, 0))
    };
    let (used, _) = draw(&whole_train, &all(&whole_train), counts.train + counts.validation, "train subset");
    let (held_out, rest) = draw(&whole_train, &used, counts.validation, "validation split");
    let (tested, _) = draw(&whole_test, &all(&whole_test), counts.test, "test subset");
    let (train, validation) = (whole_train.select(&rest), whole_train.select(&held_out));
    let test = whole_test.select(&tested);
    let fingerprint = fingerprint([&train, &validation, &test]);
    Ok(Dataset { shape: config.name.image_shape(), classes, train, validation, test, fingerprint })
}

/// Reads the whole training part and the whole test part of a published data set.
///
/// # Errors
/// When a file is missing, damaged, or another data set's.
pub(super) fn read_published(name: DatasetName, found: &Found) -> Result<(Images, Images)> {
    let read = || -> Result<(Images, Images)> {
        let (train, test) = name.available();
        let (shape, classes) = (name.image_shape(), name.classes());
        let files = &found.files;
        let idx = |images: usize, labels: usize, count: usize| -> Result<Images> {
            Ok(Images {
                pixels: idx::read_images(&files[images], count, shape)?,
                labels: idx::read_labels(&files[labels], count, classes)?,
            })
        };
        match found.layout {
            Layout::Idx { .. } => Ok((idx(0, 1, train)?, idx(2, 3, test)?)),
            Layout::CifarFiles { .. } => {
                let parts = files.iter().map(|path| cifar::read_file(path)).collect::<Result<Vec<_>>>()?;
                joined(parts, train)
            }
            Layout::CifarArchive => joined(cifar::read_archive(&files[0])?, train),
        }
    };
    let name = name.as_str();
    read().with_context(|| {
        format!(
            "{name} in {} cannot be used; `fastrcaps data verify {name}` checks its files, and once the bad one is \
             deleted `fastrcaps data fetch {name}` brings it anew",
            found.dir.display()
        )
    })
}

/// The last file is the test part, those before it the training part of `train` images.
fn joined(mut parts: Vec<Images>, train: usize) -> Result<(Images, Images)> {
    let test = parts.pop().context("no test file")?;
    let mut whole = Images::default();
    for part in parts {
        whole.append(part);
    }
    ensure!(whole.len() == train, "{} training images, where {train} were expected", whole.len());
    Ok((whole, test))
}

fn all(images: &Images) -> Vec<u32> {
    (0..images.len() as u32).collect()
}

fn fingerprint(splits: [&Images; 3]) -> String {
    let mut hash = Sha256::new();
    for split in splits {
        hash.update((split.len() as u64).to_le_bytes());
        hash.update(&split.labels);
        hash.update(&split.pixels);
    }
    file::hex(&hash.finalize()[..8])
}

//! A data set in memory, with its three splits.

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::{
    config::DataConfig,
    descriptor::{DatasetName, Origin, Part},
    dirs::{DataDirs, Found},
    file,
    images::{ImageShape, Images},
    own, split,
};
use crate::base::rng;

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
    let set = config.name.descriptor();
    let (whole_train, whole_test) = match &set.origin {
        Origin::Drawn(draw) => (
            draw(config.seed, Part::Train, counts.train + counts.validation),
            draw(config.seed, Part::Test, counts.test),
        ),
        Origin::Files(_) => read_published(config.name, &dirs.find(config.name)?)?,
        Origin::Own(own) => {
            let whole = own::read_described(set, own)?;
            (whole.train, whole.test)
        }
    };
    let classes = set.classes();
    let draw = |part: &Images, among: &[u32], take: usize, purpose: &str| {
        split::stratified(&part.labels, among, take, classes, &mut rng::stream(config.seed, purpose, 0))
    };
    let (used, _) = draw(&whole_train, &all(&whole_train), counts.train + counts.validation, "train subset");
    let (held_out, rest) = draw(&whole_train, &used, counts.validation, "validation split");
    let (tested, _) = draw(&whole_test, &all(&whole_test), counts.test, "test subset");
    let (train, validation) = (whole_train.select(&rest), whole_train.select(&held_out));
    let test = whole_test.select(&tested);
    let fingerprint = fingerprint([&train, &validation, &test]);
    Ok(Dataset { shape: set.shape, classes, train, validation, test, fingerprint })
}

/// Reads the whole training part and the whole test part of a published data set.
///
/// # Errors
/// When a file is missing, damaged, or another data set's.
pub(super) fn read_published(name: DatasetName, found: &Found) -> Result<(Images, Images)> {
    let set = name.descriptor();
    let name = set.name;
    found.layout.format.read(set, &found.files).with_context(|| {
        format!(
            "{name} in {} cannot be used; `fastrcaps data verify {name}` checks its files, and once the bad one is \
             deleted `fastrcaps data fetch {name}` brings it anew",
            found.dir.display()
        )
    })
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

//! Whether a data set's files are the published ones.

use std::{
    fs,
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{
    DataConfig, DataDirs, DatasetName, Images, cifar,
    dataset::read_published,
    dirs::Found,
    file,
    glyphs::{self, Part},
    source::{Layout, SOURCES, Source, source},
};

/// What a file is, by its SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Bit by bit the published file.
    Published,
    /// Holds what the published file holds, inflated or compressed otherwise.
    SameContents,
    /// Holds something else than the published file.
    Altered,
    /// Not the published file, and no checksum of the contents is known.
    Unknown,
}

/// One file, checked.
#[derive(Clone, Debug)]
pub struct FileCheck {
    pub path: PathBuf,
    pub bytes: u64,
    pub identity: Identity,
}

/// A data set, checked and decoded in full.
#[derive(Clone, Debug)]
pub struct Verification {
    /// Empty for glyphs.
    pub files: Vec<FileCheck>,
    /// Images of each class in the training part.
    pub train: Vec<usize>,
    /// Images of each class in the test part.
    pub test: Vec<usize>,
}

/// Checks the files of a data set and decodes them; draws the default glyphs.
///
/// # Errors
/// When files are missing or cannot be decoded. That a file is [`Identity::Altered`] is no error here.
pub fn verify(name: DatasetName, dirs: &DataDirs) -> Result<Verification> {
    let counts = |images: &Images| images.class_counts(name.classes());
    let Some(source) = source(name) else {
        let config = DataConfig { name, ..DataConfig::default() };
        let sizes = config.counts();
        let train = glyphs::draw(config.seed, Part::Train, sizes.train + sizes.validation);
        let test = glyphs::draw(config.seed, Part::Test, sizes.test);
        return Ok(Verification { files: Vec::new(), train: counts(&train), test: counts(&test) });
    };
    let found = dirs.find(name)?;
    let (train, test) = read_published(name, &found)?;
    let names = found.layout.files();
    let files = found.files.iter().zip(names).map(|(path, names)| {
        let bytes = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
        Ok(FileCheck { path: path.clone(), bytes, identity: identify(source, path, names)? })
    });
    Ok(Verification { files: files.collect::<Result<_>>()?, train: counts(&train), test: counts(&test) })
}

/// What the file at `path`, which is known by `names`, is to `source`.
pub(super) fn identify(source: &Source, path: &Path, names: &[&str]) -> Result<Identity> {
    let unreadable = || format!("cannot read {}", path.display());
    let published = source.files.iter().find(|file| names.contains(&file.name));
    if let Some(published) = published {
        let found = file::sha256(File::open(path).with_context(unreadable)?).with_context(unreadable)?;
        if found == published.sha256 {
            return Ok(Identity::Published);
        }
    }
    let Some((_, contents)) = source.contents.iter().find(|(name, _)| names.contains(name)) else {
        return identify_archive(source, path);
    };
    let found = file::sha256(file::open(path)?).with_context(unreadable)?;
    Ok(if found == *contents { Identity::SameContents } else { Identity::Altered })
}

/// What an archive is to `source` that is not the published one, by the files in it; unknown where their checksums are.
fn identify_archive(source: &Source, path: &Path) -> Result<Identity> {
    if source.contents.is_empty() {
        return Ok(Identity::Unknown);
    }
    let found = cifar::checksums_in_archive(path)?;
    let is_there = |(name, sha256): &(&str, &str)| found.get(*name).is_some_and(|found| found == sha256);
    Ok(if source.contents.iter().all(is_there) { Identity::SameContents } else { Identity::Altered })
}

/// The data set that `found` really is, where it is another than `name`: MNIST and Fashion-MNIST have
/// the same file names and sizes, but the labels of the training part tell them apart. A file that
/// cannot be read is nobody's; reading it says why.
pub(super) fn other_dataset(name: DatasetName, found: &Found) -> Option<DatasetName> {
    if !matches!(found.layout, Layout::Idx { .. }) {
        return None;
    }
    let (labels, names) = (&found.files[1], found.layout.files()[1]);
    let holds =
        |other: &&Source| matches!(identify(other, labels, names), Ok(Identity::Published | Identity::SameContents));
    let is_idx = |other: &&Source| other.layouts.iter().any(|layout| matches!(layout, Layout::Idx { .. }));
    let mut others = SOURCES.iter().filter(|other| other.dataset != name).filter(is_idx);
    others.find(holds).map(|other| other.dataset)
}

//! What a file is: published, the same packed otherwise, altered, or another data set's.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{
    archive,
    descriptor::{DatasetName, Layout, Source},
    file,
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
    let names: Vec<&str> = source.contents.iter().map(|(name, _)| *name).collect();
    let found = archive::checksums(path, &names)?;
    let is_there = |(name, sha256): &(&str, &str)| found.get(*name).is_some_and(|found| found == sha256);
    Ok(if source.contents.iter().all(is_there) { Identity::SameContents } else { Identity::Altered })
}

/// The data set that `files`, found as `layout` says, really are, where it is another than `name`: MNIST and Fashion-MNIST have
/// the same file names and sizes, but the labels of the training part tell them apart. A file that
/// cannot be read is nobody's; reading it says why.
pub(super) fn other_dataset(name: DatasetName, layout: &Layout, files: &[PathBuf]) -> Option<DatasetName> {
    let telling = layout.format.telling_file()?;
    let all_names = layout.format.names();
    let (path, names) = (files.get(telling)?, all_names.get(telling)?);
    let holds = |other: &DatasetName| {
        let Some(source) = other.descriptor().source() else { return false };
        source.layouts.iter().any(|layout| layout.format.names() == all_names)
            && matches!(identify(source, path, names), Ok(Identity::Published | Identity::SameContents))
    };
    DatasetName::all().filter(|other| *other != name).find(holds)
}

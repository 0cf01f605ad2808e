//! The binary version of CIFAR-10 (Krizhevsky 2009): per image one byte of class, then the pixels
//! `[channels, height, width]`; 10 000 images in each of five training files and one test file.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    archive,
    descriptor::{Descriptor, Format},
    file,
    images::Images,
};
use crate::base::words::plural;

/// The five training files, then the test file.
pub const FILES: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];

/// Images in each file.
pub const IMAGES_PER_FILE: usize = 10_000;

/// The six files.
#[derive(Debug)]
pub struct Files;

/// `cifar-10-binary.tar.gz` as downloaded.
#[derive(Debug)]
pub struct Archive;

impl Format for Files {
    fn names(&self) -> &'static [&'static [&'static str]] {
        &[&[FILES[0]], &[FILES[1]], &[FILES[2]], &[FILES[3]], &[FILES[4]], &[FILES[5]]]
    }

    fn read(&self, set: &Descriptor, files: &[PathBuf]) -> Result<(Images, Images)> {
        joined(files.iter().map(|path| read_file(path, set)).collect::<Result<Vec<_>>>()?, set)
    }
}

impl Format for Archive {
    fn names(&self) -> &'static [&'static [&'static str]] {
        &[&["cifar-10-binary.tar.gz"]]
    }

    fn read(&self, set: &Descriptor, files: &[PathBuf]) -> Result<(Images, Images)> {
        joined(read_archive(&files[0], set)?, set)
    }
}

/// The last file is the test part, those before it the training part.
fn joined(mut parts: Vec<Images>, set: &Descriptor) -> Result<(Images, Images)> {
    let test = parts.pop().context("no test file")?;
    let mut whole = Images::default();
    for part in parts {
        whole.append(part);
    }
    let train = set.available.0;
    ensure!(whole.len() == train, "{} training images, where {train} were expected", whole.len());
    Ok((whole, test))
}

/// Bytes of an image: its class, then its pixels.
fn record_bytes(set: &Descriptor) -> usize {
    1 + set.shape.pixels()
}

/// Reads one file of `set`, raw or gzip.
///
/// # Errors
/// When the file cannot be read or is anything else; the message names it and what was expected.
pub fn read_file(path: &Path, set: &Descriptor) -> Result<Images> {
    let bytes = file::read(path, IMAGES_PER_FILE * record_bytes(set))?;
    parse(&bytes, IMAGES_PER_FILE, set).with_context(|| format!("{}", path.display()))
}

/// Reads the six files, in the order of [`FILES`], from `cifar-10-binary.tar.gz` (or an inflated tar).
///
/// # Errors
/// As [`read_file`]; also when one of the six is missing from the archive.
pub fn read_archive(path: &Path, set: &Descriptor) -> Result<Vec<Images>> {
    let mut found: [Option<Images>; FILES.len()] = Default::default();
    archive::for_each(path, &FILES, |index, entry| {
        let mut bytes = Vec::new();
        let limit = (IMAGES_PER_FILE * record_bytes(set)) as u64;
        entry.take(limit + 1).read_to_end(&mut bytes).with_context(|| archive::damaged(path))?;
        let images =
            parse(&bytes, IMAGES_PER_FILE, set).with_context(|| format!("{} in {}", FILES[index], path.display()))?;
        found[index] = Some(images);
        Ok(())
    })?;
    let missing: Vec<&str> =
        FILES.iter().zip(&found).filter(|(_, found)| found.is_none()).map(|(name, _)| *name).collect();
    if !missing.is_empty() {
        bail!("{} lacks {}", path.display(), missing.join(", "));
    }
    Ok(found.into_iter().flatten().collect())
}

/// Decodes `count` images of `set`.
///
/// # Errors
/// When there are more or fewer, or a label is no class of `set`.
pub fn parse(bytes: &[u8], count: usize, set: &Descriptor) -> Result<Images> {
    let (record_bytes, classes) = (record_bytes(set), set.classes());
    let expected = count * record_bytes;
    if bytes.len() > expected {
        bail!("more than the {expected} bytes of {count} CIFAR-10 images");
    }
    let found = plural(bytes.len(), "byte");
    ensure!(bytes.len() == expected, "{found}, where {count} CIFAR-10 images take {expected}: cut short");
    let mut images =
        Images { pixels: Vec::with_capacity(count * (record_bytes - 1)), labels: Vec::with_capacity(count) };
    for (index, record) in bytes.chunks_exact(record_bytes).enumerate() {
        ensure!(
            usize::from(record[0]) < classes,
            "label {} of image {index}, where 0 to {} were expected",
            record[0],
            classes - 1
        );
        images.labels.push(record[0]);
        images.pixels.extend_from_slice(&record[1..]);
    }
    Ok(images)
}

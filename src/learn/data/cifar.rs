//! The binary version of CIFAR-10 (Krizhevsky 2009): per image one byte of class, then the pixels
//! `[channels, height, width]`; 10 000 images in each of five training files and one test file.

use std::{collections::HashMap, io::Read, path::Path};

use anyhow::{Context, Result, bail, ensure};

use super::{DatasetName, Images, file};
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

/// A class byte and 3 × 32 × 32 pixels.
const RECORD_BYTES: usize = 1 + 3 * 32 * 32;

/// The archive inflates to 184 MB: more is not CIFAR-10.
const ARCHIVE_LIMIT: u64 = 200_000_000;

/// Reads one file, raw or gzip.
///
/// # Errors
/// When the file cannot be read or is anything else; the message names it and what was expected.
pub fn read_file(path: &Path) -> Result<Images> {
    let bytes = file::read(path, IMAGES_PER_FILE * RECORD_BYTES)?;
    parse(&bytes, IMAGES_PER_FILE).with_context(|| format!("{}", path.display()))
}

/// Reads the six files, in the order of [`FILES`], from `cifar-10-binary.tar.gz` (or an inflated tar).
///
/// # Errors
/// As [`read_file`]; also when one of the six is missing from the archive.
pub fn read_archive(path: &Path) -> Result<Vec<Images>> {
    let mut found: [Option<Images>; FILES.len()] = Default::default();
    for_each_in_archive(path, |index, entry| {
        let mut bytes = Vec::new();
        let limit = (IMAGES_PER_FILE * RECORD_BYTES) as u64;
        entry.take(limit + 1).read_to_end(&mut bytes).with_context(|| damaged(path))?;
        let images =
            parse(&bytes, IMAGES_PER_FILE).with_context(|| format!("{} in {}", FILES[index], path.display()))?;
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

/// SHA-256 of those of the six files that an archive holds, by their names.
///
/// # Errors
/// When it cannot be read, or is no tar archive.
pub(super) fn checksums_in_archive(path: &Path) -> Result<HashMap<&'static str, String>> {
    let mut found = HashMap::new();
    for_each_in_archive(path, |index, entry| {
        found.insert(FILES[index], file::sha256(entry).with_context(|| damaged(path))?);
        Ok(())
    })?;
    Ok(found)
}

/// Calls `take` with each of the six files that an archive holds, in its order, and the file's place in [`FILES`].
fn for_each_in_archive(path: &Path, mut take: impl FnMut(usize, &mut dyn Read) -> Result<()>) -> Result<()> {
    let damaged = || damaged(path);
    let mut archive = tar::Archive::new(file::open(path)?.take(ARCHIVE_LIMIT));
    for entry in archive.entries().with_context(damaged)? {
        let mut entry = entry.with_context(damaged)?;
        let name = entry.path().with_context(damaged)?.file_name().map(|name| name.to_string_lossy().into_owned());
        if let Some(index) = FILES.iter().position(|file| name.as_deref() == Some(file)) {
            take(index, &mut entry)?;
        }
    }
    Ok(())
}

fn damaged(path: &Path) -> String {
    format!("cannot read {}: damaged, incomplete or no tar archive", path.display())
}

/// Decodes `count` records.
pub fn parse(bytes: &[u8], count: usize) -> Result<Images> {
    let expected = count * RECORD_BYTES;
    if bytes.len() > expected {
        bail!("more than the {expected} bytes of {count} CIFAR-10 images");
    }
    let found = plural(bytes.len(), "byte");
    ensure!(bytes.len() == expected, "{found}, where {count} CIFAR-10 images take {expected}: cut short");
    let classes = DatasetName::Cifar10.classes();
    let mut images =
        Images { pixels: Vec::with_capacity(count * (RECORD_BYTES - 1)), labels: Vec::with_capacity(count) };
    for (index, record) in bytes.chunks_exact(RECORD_BYTES).enumerate() {
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

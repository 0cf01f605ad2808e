//! Reading data files: inflated where they are gzip, never more than asked for; and their checksums.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use anyhow::{Context, Result};
use flate2::bufread::MultiGzDecoder;

pub(super) use crate::base::seal::{hex, sha256_of as sha256};

/// Opens a file for reading; gzip, told by the file's first two bytes, is inflated.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let start = reader.fill_buf().with_context(|| format!("cannot read {}", path.display()))?;
    if start.starts_with(&[0x1f, 0x8b]) { Ok(Box::new(MultiGzDecoder::new(reader))) } else { Ok(Box::new(reader)) }
}

/// The inflated contents of a file, cut off one byte after `limit`: memory is bounded by the limit,
/// and a caller that expects `limit` bytes can tell when there are more.
pub(super) fn read(path: &Path, limit: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?
        .take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {}: damaged or incomplete", path.display()))?;
    Ok(bytes)
}

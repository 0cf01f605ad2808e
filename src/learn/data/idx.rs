//! The IDX format of MNIST and Fashion-MNIST (LeCun): a big-endian header, then one byte per value.
//!
//! Images: magic 0x00000803, count, height, width, pixels `[count, height, width]`.
//! Labels: magic 0x00000801, count, labels `[count]`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::{
    descriptor::{Descriptor, Format, Layout},
    file,
    images::{ImageShape, Images},
};
use crate::base::words::plural;

/// Images and labels of the training part, then of the test part, each raw or gzip, named as MNIST's.
#[derive(Debug)]
pub struct Idx;

/// The files in `folder` below.
pub const fn layout(folder: &'static str) -> Layout {
    Layout { folder, format: &Idx }
}

impl Format for Idx {
    fn names(&self) -> &'static [&'static [&'static str]] {
        &[
            &[
                "train-images-idx3-ubyte",
                "train-images-idx3-ubyte.gz",
                "train-images.idx3-ubyte",
                "train-images.idx3-ubyte.gz",
            ],
            &[
                "train-labels-idx1-ubyte",
                "train-labels-idx1-ubyte.gz",
                "train-labels.idx1-ubyte",
                "train-labels.idx1-ubyte.gz",
            ],
            &[
                "t10k-images-idx3-ubyte",
                "t10k-images-idx3-ubyte.gz",
                "t10k-images.idx3-ubyte",
                "t10k-images.idx3-ubyte.gz",
            ],
            &[
                "t10k-labels-idx1-ubyte",
                "t10k-labels-idx1-ubyte.gz",
                "t10k-labels.idx1-ubyte",
                "t10k-labels.idx1-ubyte.gz",
            ],
        ]
    }

    /// The labels of the training part: the images are large.
    fn telling_file(&self) -> Option<usize> {
        Some(1)
    }

    fn read(&self, set: &Descriptor, files: &[PathBuf]) -> Result<(Images, Images)> {
        let part = |images: usize, labels: usize, count: usize| -> Result<Images> {
            Ok(Images {
                pixels: read_images(&files[images], count, set.shape)?,
                labels: read_labels(&files[labels], count, set.classes())?,
            })
        };
        let (train, test) = set.available;
        Ok((part(0, 1, train)?, part(2, 3, test)?))
    }
}

const IMAGES_MAGIC: u32 = 0x0000_0803;
const LABELS_MAGIC: u32 = 0x0000_0801;

/// Reads an image file, raw or gzip, that must hold `count` images of `shape`: pixels
/// `[count, height, width]`.
///
/// # Errors
/// When the file cannot be read or is anything else; the message names it and what was expected.
pub fn read_images(path: &Path, count: usize, shape: ImageShape) -> Result<Vec<u8>> {
    let mut bytes = file::read(path, 16 + count * shape.pixels())?;
    check_images(&bytes, count, shape).with_context(|| format!("{}", path.display()))?;
    bytes.drain(..16);
    Ok(bytes)
}

/// Reads a label file, raw or gzip, that must hold `count` labels below `classes`: labels `[count]`.
///
/// # Errors
/// As [`read_images`].
pub fn read_labels(path: &Path, count: usize, classes: usize) -> Result<Vec<u8>> {
    let mut bytes = file::read(path, 8 + count)?;
    check_labels(&bytes, count, classes).with_context(|| format!("{}", path.display()))?;
    bytes.drain(..8);
    Ok(bytes)
}

/// Checks the inflated bytes of an image file.
pub fn check_images(bytes: &[u8], count: usize, shape: ImageShape) -> Result<()> {
    let [found, height, width] = header(bytes, IMAGES_MAGIC, "images")?;
    ensure!(
        (height as usize, width as usize) == (shape.height, shape.width),
        "images of {height}×{width} pixels, where {}×{} were expected",
        shape.height,
        shape.width
    );
    ensure!(found as usize == count, "{}, where {count} were expected", plural(found as usize, "image"));
    check_length(bytes, 16 + count * shape.pixels())
}

/// Checks the inflated bytes of a label file.
pub fn check_labels(bytes: &[u8], count: usize, classes: usize) -> Result<()> {
    let [found] = header(bytes, LABELS_MAGIC, "labels")?;
    ensure!(found as usize == count, "{}, where {count} were expected", plural(found as usize, "label"));
    check_length(bytes, 8 + count)?;
    if let Some(index) = bytes[8..].iter().position(|&label| usize::from(label) >= classes) {
        bail!("label {} of image {index}, where 0 to {} were expected", bytes[8 + index], classes - 1);
    }
    Ok(())
}

/// Checks the magic number and gives the `N` sizes that follow it.
fn header<const N: usize>(bytes: &[u8], magic: u32, kind: &str) -> Result<[u32; N]> {
    let length = 4 * (N + 1);
    ensure!(bytes.len() >= length, "only {}: the header of IDX {kind} takes {length}", plural(bytes.len(), "byte"));
    let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let found = word(0);
    ensure!(found == magic, "not IDX {kind}: the file starts with 0x{found:08x}, where 0x{magic:08x} was expected");
    Ok(std::array::from_fn(|index| word(4 * (index + 1))))
}

fn check_length(bytes: &[u8], expected: usize) -> Result<()> {
    if bytes.len() > expected {
        bail!("more than the {expected} bytes its header announces");
    }
    let found = plural(bytes.len(), "byte");
    ensure!(bytes.len() == expected, "{found}, where its header announces {expected}: cut short");
    Ok(())
}

//! What a format of images is, what is read by it, and which images can be trained on.

use std::{fmt, path::Path};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::{
    base::words::{code_point, is_control},
    learn::data::images::ImageShape,
};

/// A way in which images and their classes lie in files.
pub(super) trait OwnFormat: fmt::Debug + Sync {
    /// As written in a config.
    fn name(&self) -> &'static str;

    /// Whether what lies at `path` looks like it, at a glance.
    fn claims(&self, path: &Path) -> bool;

    /// Reads all images.
    ///
    /// # Errors
    /// When they cannot be read, or are not of one size and number of channels; the message names the file.
    fn read(&self, path: &Path, wishes: &Wishes) -> Result<Parts>;
}

/// What a config asks of images beside their place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Height and width that every image is brought to.
    pub resize: Option<[usize; 2]>,
    /// 1 or 3: grey or RGB, whatever the files have.
    pub channels: Option<usize>,
}

impl Wishes {
    /// That they cannot be met, if they cannot.
    pub(in crate::learn::data) fn check(&self) -> Result<(), String> {
        if let Some([height, width]) = self.resize {
            check_shape(ImageShape { channels: 1, height, width })
                .map_err(|why| format!("data.resize = [{height}, {width}]: {why}"))?;
        }
        match self.channels {
            None | Some(1 | 3) => Ok(()),
            Some(other) => Err(format!("data.channels = {other}: it must be 1 (grey) or 3 (RGB)")),
        }
    }

    /// Refuses what a format that takes images as they are cannot do.
    pub(super) fn check_none(&self, format: &dyn OwnFormat) -> Result<()> {
        ensure!(
            *self == Wishes::default(),
            "data.resize and data.channels are for the format \"folder\"; images of {:?} are taken as they are",
            format.name()
        );
        Ok(())
    }
}

/// What a format reads.
pub(super) struct Parts {
    pub shape: ImageShape,
    pub train: Labelled,
    /// Absent where there is no test part.
    pub test: Option<Labelled>,
    /// What the classes are called, by label; absent where their labels are their names.
    pub class_names: Option<Vec<String>>,
    /// What the user should know of the reading: files that were passed over.
    pub notes: Vec<String>,
}

/// Images with the labels that their files have.
#[derive(Default)]
pub(super) struct Labelled {
    /// `[images, channels, height, width]`
    pub pixels: Vec<u8>,
    pub labels: Vec<i64>,
}

/// Images of the user's own, as a config names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// Where they lie, absolute; empty where it does not matter.
    pub path: String,
    /// What the user calls them.
    pub label: Option<String>,
    pub wishes: Wishes,
}

/// What was seen of images: all that a network and its training are built of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Channels, height, width.
    pub shape: [usize; 3],
    /// Images of the training part.
    pub train: usize,
    /// Images of the test part.
    pub test: usize,
    /// What the classes are called.
    pub classes: Vec<String>,
}

/// Classes, at most: a label is a byte.
pub const MOST_CLASSES: usize = 256;
/// Height and width of an image.
const SIDES: std::ops::RangeInclusive<usize> = 4..=4096;
/// Bytes that all images of a data set may take in memory.
pub(super) const MOST_BYTES: usize = 4 << 30;

impl Seen {
    pub fn image_shape(&self) -> ImageShape {
        let [channels, height, width] = self.shape;
        ImageShape { channels, height, width }
    }

    /// Checks what a config says was seen.
    pub(in crate::learn::data) fn check(&self) -> Result<(), String> {
        check_shape(self.image_shape())?;
        check_classes(self.classes.len())?;
        check_bytes(self.train.saturating_add(self.test), self.image_shape())?;
        self.classes.iter().try_for_each(|name| check_name(name))
    }
}

/// That images of this size cannot be trained on, if they cannot.
pub(super) fn check_shape(shape: ImageShape) -> Result<(), String> {
    let ImageShape { channels, height, width } = shape;
    if !(1..=3).contains(&channels) {
        return Err(format!("images of {channels} channels; 1 to 3 are read"));
    }
    if !SIDES.contains(&height) || !SIDES.contains(&width) {
        let (least, most) = (SIDES.start(), SIDES.end());
        return Err(format!("images of {height}×{width} pixels; {least}×{least} to {most}×{most} are read"));
    }
    Ok(())
}

pub(super) fn check_classes(classes: usize) -> Result<(), String> {
    match classes {
        2..=MOST_CLASSES => Ok(()),
        0 | 1 => Err(format!("{classes} classes; there must be at least 2 to tell apart")),
        _ => Err(format!("{classes} classes; at most {MOST_CLASSES} are allowed")),
    }
}

/// That so many images are too many to be held in memory, if they are.
pub(super) fn check_bytes(images: usize, shape: ImageShape) -> Result<(), String> {
    match images.saturating_mul(shape.pixels()) {
        0..=MOST_BYTES => Ok(()),
        _ => Err(format!(
            "{images} images of {}×{}×{} take more than {} GiB of memory; take fewer, or smaller ones",
            shape.height,
            shape.width,
            shape.channels,
            MOST_BYTES >> 30
        )),
    }
}

/// Names go to terminals and charts as they are.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    match name.chars().find(|letter| is_control(*letter)) {
        None => Ok(()),
        Some(control) => {
            Err(format!("the name of class {name:?} has {} in it, which would disturb tables", code_point(control)))
        }
    }
}

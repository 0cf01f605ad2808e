//! From what a format reads to a data set: its classes, its test part, and what it must have.

use anyhow::{Result, bail, ensure};

use super::format::{Labelled, Parts, Seen, check_bytes, check_classes, check_name, check_shape};
use crate::{
    base::{rng, words::plural},
    learn::data::{
        images::{ImageShape, Images},
        split,
    },
};

/// Where there is no test part, one of so many images of each class is held out as one.
pub const HELD_OUT: usize = 5;

/// Images of the user's own, read whole.
#[derive(Clone, Debug)]
pub struct Whole {
    pub shape: ImageShape,
    /// In the order of their labels.
    pub class_names: Vec<String>,
    pub train: Images,
    pub test: Images,
    /// Whether there was no test part, so that one was held out of the images.
    pub is_held_out: bool,
    /// What the user should know of the reading.
    pub notes: Vec<String>,
}

impl Whole {
    pub fn seen(&self) -> Seen {
        let ImageShape { channels, height, width } = self.shape;
        Seen {
            shape: [channels, height, width],
            train: self.train.len(),
            test: self.test.len(),
            classes: self.class_names.clone(),
        }
    }

    /// Checks what was read, numbers the classes, and holds a test part out where there is none.
    pub(super) fn of(parts: Parts) -> Result<Whole> {
        let Parts { shape, train, test, class_names, mut notes } = parts;
        check_shape(shape).map_err(anyhow::Error::msg)?;
        ensure!(!train.labels.is_empty(), "there are no training images");
        let labels: Vec<i64> = match &class_names {
            Some(names) => (0..names.len() as i64).collect(),
            None => {
                let mut labels = train.labels.clone();
                labels.sort_unstable();
                labels.dedup();
                labels
            }
        };
        check_classes(labels.len()).map_err(anyhow::Error::msg)?;
        let class_names = class_names.unwrap_or_else(|| labels.iter().map(i64::to_string).collect());
        class_names.iter().try_for_each(|name| check_name(name)).map_err(anyhow::Error::msg)?;
        let images = train.labels.len() + test.as_ref().map_or(0, |test| test.labels.len());
        check_bytes(images, shape).map_err(anyhow::Error::msg)?;
        notes.extend(skipped(&labels));
        let numbered = |part: Labelled, what: &str| number(part, &labels, what);
        let train = numbered(train, "training")?;
        let is_held_out = test.is_none();
        let (train, test) = match test {
            Some(test) => (train, numbered(test, "test")?),
            None => hold_out(&train, &class_names)?,
        };
        ensure!(!test.is_empty(), "there are no test images");
        for (count, name) in train.class_counts(class_names.len()).into_iter().zip(&class_names) {
            ensure!(
                count >= 2,
                "class {name} has {} to train on; it needs at least 2: one to train and one to validate on",
                plural(count, "image")
            );
        }
        let without =
            test.class_counts(class_names.len()).into_iter().zip(&class_names).filter(|(count, _)| *count == 0);
        let without: Vec<&str> = without.map(|(_, name)| name.as_str()).collect();
        if !without.is_empty() {
            notes.push(format!("no test image is of class {}", without.join(", ")));
        }
        Ok(Whole { shape, class_names, train, test, is_held_out, notes })
    }
}

/// That labels skip numbers, where they do.
fn skipped(labels: &[i64]) -> Option<String> {
    let (first, last) = (*labels.first()?, *labels.last()?);
    let has_gaps = usize::try_from(last.abs_diff(first)).ok()? != labels.len() - 1;
    has_gaps.then(|| {
        format!(
            "the labels from {first} to {last} skip numbers: the {} that occur are the classes, in ascending order",
            labels.len()
        )
    })
}

/// A part with classes in the place of labels, which are ascending.
fn number(part: Labelled, labels: &[i64], what: &str) -> Result<Images> {
    let mut classes = Vec::with_capacity(part.labels.len());
    for (index, label) in part.labels.iter().enumerate() {
        let Ok(class) = labels.binary_search(label) else {
            bail!("{what} image {index} has the label {label}, which no training image has");
        };
        // There are at most 256.
        classes.push(class as u8);
    }
    Ok(Images { pixels: part.pixels, labels: classes })
}

/// Holds out a test part: of each class one image of [`HELD_OUT`], to the nearest, and at least one. It is drawn by a stream of its
/// own, so that it is the same images whatever the configuration.
fn hold_out(images: &Images, class_names: &[String]) -> Result<(Images, Images)> {
    let mut by_class: Vec<Vec<u32>> = vec![Vec::new(); class_names.len()];
    for (index, class) in images.labels.iter().enumerate() {
        by_class[usize::from(*class)].push(index as u32);
    }
    let (mut kept, mut held_out) = (Vec::new(), Vec::new());
    for (class, mut members) in by_class.into_iter().enumerate() {
        ensure!(
            members.len() >= 3,
            "class {} has {}; where there is no test part it needs at least 3: one to train, one to validate and one to test on",
            class_names[class],
            plural(members.len(), "image")
        );
        let count = ((members.len() + HELD_OUT / 2) / HELD_OUT).max(1);
        split::shuffle(&mut members, &mut rng::stream(0, "own test part", class as u64));
        held_out.extend_from_slice(&members[..count]);
        kept.extend_from_slice(&members[count..]);
    }
    kept.sort_unstable();
    held_out.sort_unstable();
    Ok((images.select(&kept), images.select(&held_out)))
}

//! `[data]` of a configuration: which images a trial trains, validates and tests on.

use serde::{Deserialize, Serialize};

use super::{descriptor::DatasetName, sets::glyphs};
use crate::base::invalid::Invalid;

/// What a trial trains, validates and tests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    pub name: DatasetName,
    /// Images taken from the training part, before the validation split is held out; absent: all
    /// of a file data set, 5000 glyphs. Fewer than all are drawn at random, stratified by class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_samples: Option<usize>,
    /// Images taken from the test part; absent: all of a file data set, 1000 glyphs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_samples: Option<usize>,
    /// Share of the training images held out for validation, stratified by class: above 0, at most 0.5.
    pub validation_fraction: f64,
    /// Seed of the validation split, of the choice of a subset and of the drawing of glyphs. It is
    /// not the trial's seed: one split serves all replicates.
    pub seed: u64,
    /// Largest random shift of a training image in each direction, in pixels; 0 switches it off.
    pub shift: usize,
}

impl Default for DataConfig {
    fn default() -> Self {
        DataConfig {
            name: DatasetName::of(&glyphs::SET),
            train_samples: None,
            test_samples: None,
            validation_fraction: 0.1,
            seed: 0,
            shift: 2,
        }
    }
}

/// Images in each split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub train: usize,
    pub validation: usize,
    pub test: usize,
}

impl DataConfig {
    /// The size of each split, known without loading; [`super::load`] gives exactly these.
    pub fn counts(&self) -> Counts {
        let (train, test) = self.name.descriptor().default_samples;
        let samples = self.train_samples.unwrap_or(train);
        let validation = ((samples as f64 * self.validation_fraction).round() as usize).min(samples);
        Counts { train: samples - validation, validation, test: self.test_samples.unwrap_or(test) }
    }

    /// The same meaning in its one spelling: the numbers of images are written out.
    pub fn canonical(self) -> Self {
        let (train, test) = self.name.descriptor().default_samples;
        DataConfig {
            train_samples: Some(self.train_samples.unwrap_or(train)),
            test_samples: Some(self.test_samples.unwrap_or(test)),
            ..self
        }
    }

    /// Checks every value.
    pub fn validate(&self) -> Result<(), Invalid> {
        let set = self.name.descriptor();
        let (name, classes) = (set.name, set.classes());
        let (train_limit, test_limit) = set.available;
        if let Some(samples) = self.train_samples
            && !(2 * classes..=train_limit).contains(&samples)
        {
            let allowed = format!(
                "{} to {train_limit} images of {name}: each of the {classes} classes needs one to train and one to validate on",
                2 * classes
            );
            return Err(Invalid::new("data.train_samples", samples, allowed));
        }
        if let Some(samples) = self.test_samples
            && !(classes..=test_limit).contains(&samples)
        {
            let allowed =
                format!("{classes} to {test_limit} images of {name}: each of the {classes} classes needs one");
            return Err(Invalid::new("data.test_samples", samples, allowed));
        }
        let fraction = self.validation_fraction;
        if !(fraction > 0.0 && fraction <= 0.5) {
            return Err(Invalid::new("data.validation_fraction", fraction, "a share above 0 and at most 0.5"));
        }
        let counts = self.counts();
        if counts.validation < classes {
            let samples = counts.train + counts.validation;
            let allowed = format!(
                "at least {} of {samples} training images, so that each of the {classes} classes has one to validate on",
                classes as f64 / samples as f64
            );
            return Err(Invalid::new("data.validation_fraction", fraction, allowed));
        }
        let shift_limit = (set.shape.height.min(set.shape.width) / 2).saturating_sub(1);
        if self.shift > shift_limit {
            let allowed = format!("0 to {shift_limit} pixels: less than half of the image");
            return Err(Invalid::new("data.shift", self.shift, allowed));
        }
        Ok(())
    }
}

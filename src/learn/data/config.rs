//! `[data]` of a configuration: which images a trial trains, validates and tests on.

use serde::{Deserialize, Serialize};

use super::{
    descriptor::DatasetName,
    own::{self, Own, Seen, Wishes, described},
    sets::glyphs,
};
use crate::base::invalid::Invalid;

/// What a trial trains, validates and tests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct DataConfig {
    pub name: DatasetName,
    /// Images taken from the training part, before the validation split is held out; absent: all
    /// of a file data set, 5000 glyphs. Fewer than all are drawn at random, stratified by class.
    pub train_samples: Option<usize>,
    /// Images taken from the test part; absent: all of a file data set, 1000 glyphs.
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

/// `[data]` as it stands in a file. What is of the user's own images alone is absent for others, so that nothing else changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename = "DataConfig")]
struct Written {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resize: Option<[usize; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    train_samples: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    test_samples: Option<usize>,
    validation_fraction: f64,
    seed: u64,
    shift: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    images: Option<Seen>,
}

impl Default for Written {
    fn default() -> Self {
        DataConfig::default().into()
    }
}

impl From<DataConfig> for Written {
    fn from(config: DataConfig) -> Written {
        let DataConfig { name, train_samples, test_samples, validation_fraction, seed, shift } = config;
        let set = name.descriptor();
        let own = set.own();
        let Own { path, label, wishes: Wishes { resize, channels } } = own.cloned().unwrap_or_default();
        Written {
            name: set.name.into(),
            label,
            path: Some(path).filter(|path| !path.is_empty()),
            resize,
            channels,
            train_samples,
            test_samples,
            validation_fraction,
            seed,
            shift,
            images: own.map(|_| described::seen(set)),
        }
    }
}

impl TryFrom<Written> for DataConfig {
    type Error = String;

    fn try_from(written: Written) -> Result<DataConfig, String> {
        let name = written.dataset()?;
        let Written { train_samples, test_samples, validation_fraction, seed, shift, .. } = written;
        Ok(DataConfig { name, train_samples, test_samples, validation_fraction, seed, shift })
    }
}

impl Written {
    fn dataset(&self) -> Result<DatasetName, String> {
        let formats = own::format_names();
        let Written { name, label, path, resize, channels, images, .. } = self;
        let Some(format) = formats.into_iter().find(|format| format == name) else {
            let known = || DatasetName::all().map(DatasetName::as_str).chain(formats);
            let set = DatasetName::named(name).ok_or_else(|| {
                let known: Vec<String> = known().map(|name| format!("`{name}`")).collect();
                format!("unknown variant `{name}`, expected one of {}", known.join(", "))
            })?;
            let is_own =
                label.is_some() || path.is_some() || resize.is_some() || channels.is_some() || images.is_some();
            return match is_own {
                false => Ok(set),
                true => Err(format!(
                    "label, path, resize, channels and images are for images of your own, whose name is one of {}; where the \
                     files of {name} lie is said by --data-dir",
                    formats.join(", ")
                )),
            };
        };
        let path = path.clone().ok_or("images of your own need a path: the place where they lie")?;
        let images = images.as_ref().ok_or(
            "images of your own have not been looked at: data.images, which says what was seen, comes with a space or a \
             configuration that is read from a file",
        )?;
        let wishes = Wishes { resize: *resize, channels: *channels };
        wishes.check()?;
        images.check()?;
        Ok(described::describe(format, Own { path, label: label.clone(), wishes }, images))
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
    /// The same images of the user's own, lying at `path`.
    ///
    /// # Errors
    /// When it names a data set that the program knows: where its files lie is said by `--data-dir`.
    pub fn at(&self, path: &str) -> Result<DataConfig, String> {
        Written { path: Some(path.into()), ..self.clone().into() }.try_into()
    }

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

    /// What of the config decides which images are trained on and how: of the user's own, not where they lie, nor what they are called.
    pub fn identity(&self) -> DataConfig {
        let set = self.name.descriptor();
        let name = if set.own().is_some() { described::anonymous(set) } else { self.name };
        DataConfig { name, ..self.clone() }
    }

    /// Checks every value.
    pub fn validate(&self) -> Result<(), Invalid> {
        let set = self.name.descriptor();
        let (name, classes) = (self.name.label(), set.classes());
        let (train_limit, test_limit) = set.available;
        // The test part of the user's own images may lack classes.
        let test_least = classes.min(test_limit);
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
            && !(test_least..=test_limit).contains(&samples)
        {
            let allowed =
                format!("{test_least} to {test_limit} images of {name}: each of the {classes} classes needs one");
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

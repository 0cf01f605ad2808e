//! Data sets: where images come from, how they are split and how a batch is made.

use serde::{Deserialize, Serialize};

/// The data sets a trial can train on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DatasetName {
    /// Procedural digits drawn as strokes: built in, needs no file.
    Glyphs,
    Mnist,
    FashionMnist,
    Cifar10,
}

/// Height, width and channels of every image of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

impl ImageShape {
    /// Pixel values an image holds, over all channels.
    pub fn pixels(&self) -> usize {
        self.channels * self.height * self.width
    }
}

impl DatasetName {
    pub const ALL: [DatasetName; 4] =
        [DatasetName::Glyphs, DatasetName::Mnist, DatasetName::FashionMnist, DatasetName::Cifar10];

    /// The name as written in a config.
    pub fn as_str(self) -> &'static str {
        match self {
            DatasetName::Glyphs => "glyphs",
            DatasetName::Mnist => "mnist",
            DatasetName::FashionMnist => "fashion-mnist",
            DatasetName::Cifar10 => "cifar10",
        }
    }

    pub fn image_shape(self) -> ImageShape {
        match self {
            DatasetName::Cifar10 => ImageShape { channels: 3, height: 32, width: 32 },
            _ => ImageShape { channels: 1, height: 28, width: 28 },
        }
    }

    pub fn classes(self) -> usize {
        10
    }
}

/// What a trial trains, validates and tests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    pub name: DatasetName,
    /// Images taken from the training part, before the validation split is held out; absent: all
    /// of a file data set, 5000 glyphs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_samples: Option<usize>,
    /// Images taken from the test part; absent: all of a file data set, 1000 glyphs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_samples: Option<usize>,
    /// Share of the training images held out for validation, stratified by class.
    pub validation_fraction: f64,
    /// Seed of the validation split, and of the drawing of glyphs. One split serves all replicates.
    pub seed: u64,
    /// Largest random shift of a training image in each direction, in pixels; 0 switches it off.
    pub shift: usize,
}

impl Default for DataConfig {
    fn default() -> Self {
        DataConfig {
            name: DatasetName::Glyphs,
            train_samples: None,
            test_samples: None,
            validation_fraction: 0.1,
            seed: 0,
            shift: 2,
        }
    }
}

//! Which network a trial trains, and the presets of the CapsNet.

mod capsnet;

use serde::{Deserialize, Serialize};

pub(crate) use self::capsnet::DENSE_CAPSULES;
pub use self::capsnet::{CapsNetConfig, ClassCapsules, ClassSharing, Primary};
pub use super::{efficient::EfficientCapsNetConfig, reconstruction::Decoder};
use super::{
    layout::Layer,
    lenet::{self, LeNetLayers},
};
pub use crate::learn::kernels::{Precision, Squash};
use crate::{base::invalid::Invalid, learn::data::ImageShape};

/// Which network a trial trains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ModelConfig {
    Capsnet(CapsNetConfig),
    /// The non-capsule comparison (LeCun et al. 1998, with ReLU and max pooling); it has no sizes to choose.
    Lenet5,
    /// See [`super::efficient`].
    EfficientCapsnet(EfficientCapsNetConfig),
}

/// Names of the presets, from the largest to the smallest.
pub const PRESETS: [&str; 3] = ["paper", "small", "tiny"];

/// The preset of that name: `paper` is the network of Sabour, Frosst and Hinton at full size (8.2 M parameters on MNIST),
/// `small` passes 98 % there in an epoch with 1.1 M multiply-adds an image (`paper`: 203 M), `tiny` (0.4 M) is for trying
/// things out.
pub fn preset(name: &str) -> Option<CapsNetConfig> {
    let paper = CapsNetConfig {
        conv1_channels: 256,
        conv1_kernel: 9,
        conv1_stride: 1,
        conv1_sharing: 1,
        primary_types: 32,
        primary_dim: 8,
        primary_kernel: 9,
        primary_stride: 2,
        primary_sharing: 1,
        primary: Primary::Convolution,
        primary_capsules: 0,
        class_capsules: ClassCapsules::Routed,
        class_dim: 16,
        class_sharing: ClassSharing::None,
        routing_iterations: 3,
        squash: Squash::Exact,
        decoder: Decoder::Full,
        decoder_hidden: [512, 1024],
        reconstruction_weight: 0.0005,
    };
    match name {
        "paper" => Some(paper),
        "small" => Some(CapsNetConfig {
            conv1_channels: 32,
            conv1_stride: 2,
            primary_types: 8,
            primary_kernel: 5,
            decoder_hidden: [128, 256],
            ..paper
        }),
        "tiny" => Some(CapsNetConfig {
            conv1_channels: 16,
            conv1_stride: 2,
            primary_types: 8,
            primary_kernel: 5,
            class_dim: 8,
            decoder_hidden: [32, 64],
            ..paper
        }),
        _ => None,
    }
}

/// Largest number of parameters a network may have.
const MOST_PARAMETERS: usize = 100_000_000;
impl ModelConfig {
    /// Checks every value, and all together against the images and the number of their classes.
    pub fn validate(&self, shape: ImageShape, classes: usize) -> Result<(), Invalid> {
        match self {
            ModelConfig::Capsnet(config) => config.validate(shape, classes)?,
            ModelConfig::EfficientCapsnet(config) => config.validate(shape)?,
            ModelConfig::Lenet5 => {
                let side = shape.height.min(shape.width);
                if side < lenet::SMALLEST_SIDE {
                    let allowed = format!(
                        "another network: lenet5 needs images of at least {0}×{0} pixels, these are {1}×{2}",
                        lenet::SMALLEST_SIDE,
                        shape.height,
                        shape.width
                    );
                    return Err(Invalid::new("model.kind", "lenet5", allowed));
                }
            }
        }
        match self.parameters(shape, classes) {
            n if n <= MOST_PARAMETERS => Ok(()),
            n => Err(Invalid::new("model", format!("{n} parameters"), format!("at most {MOST_PARAMETERS}"))),
        }
    }

    /// The same network with values that cannot matter set to fixed ones, so that it has one spelling.
    pub fn canonical(self) -> Self {
        match self {
            ModelConfig::Capsnet(config) => ModelConfig::Capsnet(config.canonical()),
            ModelConfig::EfficientCapsnet(config) => ModelConfig::EfficientCapsnet(config.canonical()),
            ModelConfig::Lenet5 => ModelConfig::Lenet5,
        }
    }

    /// What reconstructs the images.
    pub fn decoder(&self) -> Decoder {
        match self {
            ModelConfig::Capsnet(config) => config.decoder,
            ModelConfig::EfficientCapsnet(config) => config.decoder,
            ModelConfig::Lenet5 => Decoder::None,
        }
    }

    /// The layers of the network, in the order of the forward pass. The configuration has to be valid.
    pub fn layers(&self, shape: ImageShape, classes: usize) -> Vec<Layer> {
        match self {
            ModelConfig::Capsnet(config) => config.layers(shape, classes).list(),
            ModelConfig::EfficientCapsnet(config) => config.layers(shape, classes).list(),
            ModelConfig::Lenet5 => LeNetLayers::new(shape, classes).list(),
        }
    }

    /// Trained values of the network, without building it. The configuration has to be valid.
    pub fn parameters(&self, shape: ImageShape, classes: usize) -> usize {
        self.layers(shape, classes).iter().map(Layer::parameters).sum()
    }
}

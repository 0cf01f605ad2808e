//! Every size of a network as a config field, the presets, the checks, and the layers that follow.

use serde::{Deserialize, Serialize};

use super::{
    checks::{divides, within},
    layout::{CapsNetLayers, ClassCapsuleLayer, ConvolutionLayer, Layer, PrimaryCapsuleLayer},
    lenet::{self, LeNetLayers},
    reconstruction::Reconstruction,
};
pub use super::{efficient::EfficientCapsNetConfig, reconstruction::Decoder};
pub use crate::learn::kernels::{Precision, Squash};
use crate::{
    base::invalid::Invalid,
    learn::{data::ImageShape, kernels::Activation},
};

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

/// Which transformation matrices W_ij of the class capsules are tied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassSharing {
    /// One matrix per primary capsule and class.
    None,
    /// One matrix per primary capsule *type* and class: all positions of a type share it.
    ByType,
}

impl ClassSharing {
    fn matrices(self, capsules: &PrimaryCapsuleLayer) -> usize {
        match self {
            ClassSharing::None => capsules.capsules(),
            ClassSharing::ByType => capsules.types,
        }
    }
}

/// Sizes and options of a CapsNet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapsNetConfig {
    pub conv1_channels: usize,
    pub conv1_kernel: usize,
    pub conv1_stride: usize,
    /// Output channels of Conv1 that share one filter (each keeps its own bias); must divide `conv1_channels`.
    pub conv1_sharing: usize,
    /// Primary capsule types; the primary convolution has `primary_types × primary_dim` output channels.
    pub primary_types: usize,
    pub primary_dim: usize,
    pub primary_kernel: usize,
    pub primary_stride: usize,
    /// Output channels of the primary convolution that share one filter; must divide `primary_types × primary_dim`.
    pub primary_sharing: usize,
    pub class_dim: usize,
    pub class_sharing: ClassSharing,
    pub routing_iterations: usize,
    pub squash: Squash,
    pub decoder: Decoder,
    /// Widths of the decoder's two hidden layers.
    pub decoder_hidden: [usize; 2],
    /// Weight of the summed squared reconstruction error in the loss.
    pub reconstruction_weight: f64,
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
/// Largest number of vote values (primary capsules × classes × class_dim) of one image.
const MOST_VOTES: usize = 4_000_000;

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

impl CapsNetConfig {
    /// The layers by their roles. The configuration has to be valid.
    pub fn layers(&self, shape: ImageShape, classes: usize) -> CapsNetLayers {
        // No `..`: a field that no layer takes up would be missing in parameters, memory and work.
        let CapsNetConfig {
            conv1_channels,
            conv1_kernel,
            conv1_stride,
            conv1_sharing,
            primary_types,
            primary_dim,
            primary_kernel,
            primary_stride,
            primary_sharing,
            class_dim,
            class_sharing,
            routing_iterations,
            squash,
            decoder,
            decoder_hidden,
            reconstruction_weight,
        } = *self;
        let conv1 = ConvolutionLayer {
            name: "conv1",
            image: [shape.channels, shape.height, shape.width],
            channels: conv1_channels,
            sharing: conv1_sharing,
            kernel: conv1_kernel,
            stride: conv1_stride,
            activation: Activation::Relu,
        };
        let primary = ConvolutionLayer {
            name: "primary",
            image: conv1.map(),
            channels: primary_types * primary_dim,
            sharing: primary_sharing,
            kernel: primary_kernel,
            stride: primary_stride,
            activation: Activation::None,
        };
        let positions = primary.positions();
        let capsules = PrimaryCapsuleLayer { types: primary_types, dim: primary_dim, positions, squash };
        let classes = ClassCapsuleLayer {
            name: "class_caps",
            capsules: capsules.capsules(),
            in_dim: primary_dim,
            matrices: class_sharing.matrices(&capsules),
            classes,
            dim: class_dim,
            iterations: routing_iterations,
            squash,
        };
        let reconstruction = Reconstruction { decoder, hidden: decoder_hidden, weight: reconstruction_weight };
        let decoder = reconstruction.layers(classes.classes, class_dim, shape.pixels());
        CapsNetLayers { conv1, primary, capsules, classes, decoder }
    }

    fn validate(&self, shape: ImageShape, classes: usize) -> Result<(), Invalid> {
        within("model.conv1_channels", self.conv1_channels, 1..=4096)?;
        within("model.conv1_stride", self.conv1_stride, 1..=16)?;
        within("model.primary_types", self.primary_types, 1..=1024)?;
        within("model.primary_dim", self.primary_dim, 1..=256)?;
        within("model.primary_stride", self.primary_stride, 1..=16)?;
        within("model.class_dim", self.class_dim, 1..=256)?;
        within("model.routing_iterations", self.routing_iterations, 1..=10)?;
        divides("model.conv1_sharing", self.conv1_sharing, self.conv1_channels, "conv1_channels")?;
        let channels = self.primary_types * self.primary_dim;
        divides("model.primary_sharing", self.primary_sharing, channels, "primary_types × primary_dim")?;
        self.reconstruction().validate()?;
        let CapsNetLayers { conv1, primary, classes, .. } = self.layers(shape, classes);
        fits("model.conv1_kernel", &conv1, "each of the images")?;
        let map = format!(
            "the feature map after Conv1 (kernel {} with stride {} on images of {}×{} pixels)",
            conv1.kernel, conv1.stride, shape.height, shape.width
        );
        fits("model.primary_kernel", &primary, &map)?;
        match classes.votes() {
            votes if votes <= MOST_VOTES => Ok(()),
            votes => Err(Invalid::new(
                "model.primary_types",
                self.primary_types,
                format!("at most {MOST_VOTES} vote values an image, these are {votes}: fewer types, or larger strides"),
            )),
        }
    }

    fn reconstruction(&self) -> Reconstruction {
        Reconstruction { decoder: self.decoder, hidden: self.decoder_hidden, weight: self.reconstruction_weight }
    }

    fn canonical(self) -> Self {
        let Reconstruction { decoder, hidden, weight } = self.reconstruction().canonical();
        CapsNetConfig { decoder, decoder_hidden: hidden, reconstruction_weight: weight, ..self }
    }
}

/// Checks that a kernel is at least 1 and fits.
fn fits(path: &str, layer: &ConvolutionLayer, what: &str) -> Result<(), Invalid> {
    let ([_, height, width], kernel) = (layer.image, layer.kernel);
    let side = height.min(width);
    match (1..=side).contains(&kernel) {
        true => Ok(()),
        false => {
            let allowed = format!("1 to {side}, to fit {what}, which is {height}×{width} pixels large");
            Err(Invalid::new(path, kernel, allowed))
        }
    }
}

//! Every size of a CapsNet as a config field, the checks, and the layers that follow.

use serde::{Deserialize, Serialize};

use crate::{
    base::invalid::Invalid,
    learn::{
        data::ImageShape,
        kernels::{Activation, Squash},
        model::{
            checks::{divides, has_none, within},
            layout::{
                CapsNetLayers, ClassCapsuleLayer, ClassLayer, ConvolutionLayer, DenseLayer, HomogeneousCapsuleLayer,
                PrimaryCapsuleLayer, PrimaryLayer,
            },
            reconstruction::{Decoder, Reconstruction},
        },
    },
};

/// Which transformation matrices W_ij of the class capsules are tied, or vectors w_ij of homogeneous ones.
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

/// The layer that makes the values of the primary capsules of Conv1's map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Primary {
    /// Its channels are capsules at every position.
    #[default]
    Convolution,
    /// A fully connected layer to a few capsules (Quick-CapsNet; Shiri, Sharifi and Baniasadi 2020).
    Dense,
}

impl Primary {
    fn is_convolution(&self) -> bool {
        *self == Primary::Convolution
    }
}

/// The layer that makes the class capsules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassCapsules {
    /// Votes are products with matrices, and are routed.
    #[default]
    Routed,
    /// Votes are element-wise products with vectors, and are summed (Byerly, Kalganova and Dear 2020).
    Homogeneous,
}

impl ClassCapsules {
    fn is_routed(&self) -> bool {
        *self == ClassCapsules::Routed
    }
}

/// Sizes and options of a CapsNet. Sizes that its layers have not are 0 and are not written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapsNetConfig {
    pub conv1_channels: usize,
    pub conv1_kernel: usize,
    pub conv1_stride: usize,
    /// Output channels of Conv1 that share one filter (each keeps its own bias); must divide `conv1_channels`.
    pub conv1_sharing: usize,
    /// Primary capsule types; the primary convolution has `primary_types × primary_dim` output channels.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub primary_types: usize,
    pub primary_dim: usize,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub primary_kernel: usize,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub primary_stride: usize,
    /// Output channels of the primary convolution that share one filter; must divide `primary_types × primary_dim`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub primary_sharing: usize,
    /// Not written where it is a convolution, so that networks of before there was a choice are what they were.
    #[serde(default, skip_serializing_if = "Primary::is_convolution")]
    pub primary: Primary,
    /// Capsules that a dense primary layer makes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub primary_capsules: usize,
    /// Not written where they are routed, so that networks of before there was a choice are what they were.
    #[serde(default, skip_serializing_if = "ClassCapsules::is_routed")]
    pub class_capsules: ClassCapsules,
    /// Of routed class capsules; others have `primary_dim`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub class_dim: usize,
    pub class_sharing: ClassSharing,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub routing_iterations: usize,
    pub squash: Squash,
    pub decoder: Decoder,
    /// Widths of the decoder's two hidden layers.
    pub decoder_hidden: [usize; 2],
    /// Weight of the summed squared reconstruction error in the loss.
    pub reconstruction_weight: f64,
}

fn is_zero(value: &usize) -> bool {
    *value == 0
}

/// Capsules of a dense primary layer where no number is given.
pub(crate) const DENSE_CAPSULES: usize = 8;

/// Largest number of vote values (primary capsules × classes × class_dim) of one image.
const MOST_VOTES: usize = 4_000_000;

impl CapsNetConfig {
    /// The layers by their roles. The configuration has to be valid.
    pub fn layers(&self, shape: ImageShape, classes: usize) -> CapsNetLayers {
        // No `..`: a field that no layer takes up would be missing in parameters, memory and work.
        let CapsNetConfig {
            conv1_channels,
            conv1_kernel,
            conv1_stride,
            conv1_sharing,
            // These are `primary_layers`'.
            primary: _,
            primary_types: _,
            primary_kernel: _,
            primary_stride: _,
            primary_sharing: _,
            primary_capsules: _,
            primary_dim: _,
            // These are `class_layer`'s.
            class_capsules: _,
            class_dim: _,
            class_sharing: _,
            routing_iterations: _,
            // This is both's.
            squash: _,
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
        let (primary, capsules) = self.primary_layers(&conv1);
        let classes = self.class_layer(&capsules, classes);
        let reconstruction = Reconstruction { decoder, hidden: decoder_hidden, weight: reconstruction_weight };
        let [count, dim] = classes.capsules();
        let decoder = reconstruction.layers(count, dim, shape.pixels());
        CapsNetLayers { conv1, primary, capsules, classes, decoder }
    }

    /// The layer behind Conv1, and the capsules that it makes.
    fn primary_layers(&self, conv1: &ConvolutionLayer) -> (PrimaryLayer, PrimaryCapsuleLayer) {
        let (name, dim, activation) = ("primary", self.primary_dim, Activation::None);
        let capsules = |types, positions| PrimaryCapsuleLayer { types, dim, positions, squash: self.squash };
        match self.primary {
            Primary::Convolution => {
                let layer = ConvolutionLayer {
                    name,
                    image: conv1.map(),
                    channels: self.primary_types * dim,
                    sharing: self.primary_sharing,
                    kernel: self.primary_kernel,
                    stride: self.primary_stride,
                    activation,
                };
                (PrimaryLayer::Convolution(layer), capsules(self.primary_types, layer.positions()))
            }
            Primary::Dense => {
                let outputs = self.primary_capsules * dim;
                let layer = DenseLayer { name, inputs: conv1.values(), outputs, activation };
                (PrimaryLayer::Dense(layer), capsules(self.primary_capsules, 1))
            }
        }
    }

    /// The layer behind the primary capsules.
    fn class_layer(&self, primary: &PrimaryCapsuleLayer, classes: usize) -> ClassLayer {
        let (name, capsules, squash) = ("class_caps", primary.capsules(), self.squash);
        let own = self.class_sharing.matrices(primary);
        match self.class_capsules {
            ClassCapsules::Routed => ClassLayer::Routed(ClassCapsuleLayer {
                name,
                capsules,
                in_dim: primary.dim,
                matrices: own,
                classes,
                dim: self.class_dim,
                iterations: self.routing_iterations,
                squash,
            }),
            ClassCapsules::Homogeneous => ClassLayer::Homogeneous(HomogeneousCapsuleLayer {
                name,
                capsules,
                vectors: own,
                classes,
                dim: primary.dim,
                squash,
            }),
        }
    }

    /// The same network with homogeneous class capsules.
    pub fn with_homogeneous_classes(self) -> CapsNetConfig {
        CapsNetConfig { class_capsules: ClassCapsules::Homogeneous, class_dim: 0, routing_iterations: 0, ..self }
    }

    /// The same network with a dense layer to so many primary capsules.
    pub fn with_dense_primary(self, capsules: usize) -> CapsNetConfig {
        CapsNetConfig {
            primary: Primary::Dense,
            primary_capsules: capsules,
            primary_types: 0,
            primary_kernel: 0,
            primary_stride: 0,
            primary_sharing: 0,
            ..self
        }
    }

    pub(super) fn validate(&self, shape: ImageShape, classes: usize) -> Result<(), Invalid> {
        within("model.conv1_channels", self.conv1_channels, 1..=4096)?;
        within("model.conv1_stride", self.conv1_stride, 1..=16)?;
        self.validate_primary()?;
        match self.class_capsules {
            ClassCapsules::Routed => {
                within("model.class_dim", self.class_dim, 1..=256)?;
                within("model.routing_iterations", self.routing_iterations, 1..=10)?;
            }
            ClassCapsules::Homogeneous => {
                let layer = "model.class_capsules = \"homogeneous\"";
                has_none("model.class_dim", self.class_dim, layer)?;
                has_none("model.routing_iterations", self.routing_iterations, layer)?;
            }
        }
        divides("model.conv1_sharing", self.conv1_sharing, self.conv1_channels, "conv1_channels")?;
        self.reconstruction().validate()?;
        let CapsNetLayers { conv1, primary, classes, .. } = self.layers(shape, classes);
        fits("model.conv1_kernel", &conv1, "each of the images")?;
        if let PrimaryLayer::Convolution(primary) = &primary {
            let map = format!(
                "the feature map after Conv1 (kernel {} with stride {} on images of {}×{} pixels)",
                conv1.kernel, conv1.stride, shape.height, shape.width
            );
            fits("model.primary_kernel", primary, &map)?;
        }
        let (path, value, fewer) = match self.primary {
            Primary::Convolution => ("model.primary_types", self.primary_types, "fewer types, or larger strides"),
            Primary::Dense => ("model.primary_capsules", self.primary_capsules, "fewer capsules"),
        };
        match classes.votes() {
            votes if votes <= MOST_VOTES => Ok(()),
            votes => {
                let allowed = format!("at most {MOST_VOTES} vote values an image, these are {votes}: {fewer}");
                Err(Invalid::new(path, value, allowed))
            }
        }
    }

    /// Checks the sizes of the layer that makes the primary capsules, and that there are none that it has not.
    fn validate_primary(&self) -> Result<(), Invalid> {
        within("model.primary_dim", self.primary_dim, 1..=256)?;
        match self.primary {
            Primary::Convolution => {
                has_none("model.primary_capsules", self.primary_capsules, "model.primary = \"convolution\"")?;
                within("model.primary_types", self.primary_types, 1..=1024)?;
                within("model.primary_stride", self.primary_stride, 1..=16)?;
                let channels = self.primary_types * self.primary_dim;
                divides("model.primary_sharing", self.primary_sharing, channels, "primary_types × primary_dim")
            }
            Primary::Dense => {
                let sizes = [
                    ("model.primary_types", self.primary_types),
                    ("model.primary_kernel", self.primary_kernel),
                    ("model.primary_stride", self.primary_stride),
                    ("model.primary_sharing", self.primary_sharing),
                ];
                for (path, value) in sizes {
                    has_none(path, value, "model.primary = \"dense\"")?;
                }
                within("model.primary_capsules", self.primary_capsules, 1..=1024)?;
                match self.class_sharing {
                    ClassSharing::None => Ok(()),
                    ClassSharing::ByType => {
                        let allowed = "\"none\": capsules of model.primary = \"dense\" have no types";
                        Err(Invalid::new("model.class_sharing", "\"by-type\"", allowed))
                    }
                }
            }
        }
    }

    fn reconstruction(&self) -> Reconstruction {
        Reconstruction { decoder: self.decoder, hidden: self.decoder_hidden, weight: self.reconstruction_weight }
    }

    pub(super) fn canonical(self) -> Self {
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

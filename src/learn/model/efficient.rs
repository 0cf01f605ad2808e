//! Efficient-CapsNet (Mazzia, Salvetti and Chiaberge 2021, Scientific Reports 11).
//!
//! Convolutions 5×5 to 32 channels, 3×3 to 64, 3×3 to 64 and 3×3 with stride 2 to 128, each followed by ReLU and batch
//! normalisation. A depthwise convolution with a kernel as large as the map that is left (9×9 on MNIST) gives 128 values, which are
//! 16 primary capsules of 8; these vote for class capsules of 16 by self-attention routing in one pass. Loss and decoder are
//! the CapsNet's. 161 824 parameters on MNIST without the decoder, as the paper has them.
//!
//! `conv1` … `conv4`, `norm1` … `norm4`, `primary`, `class_caps`, `decoder.0`, `.2`, `.4`.

use serde::{Deserialize, Serialize};

pub use super::reconstruction::Decoder;
use super::{
    layout::{AttentionCapsuleLayer, BatchNormLayer, ConvolutionLayer, DecoderLayers, DepthwiseCapsuleLayer, Layer},
    reconstruction::Reconstruction,
};
use crate::{
    base::invalid::Invalid,
    learn::{data::ImageShape, kernels::Activation},
};

/// The name of the network in configurations.
pub const KIND: &str = "efficient-capsnet";
/// Name of a convolution and of the normalisation behind it; its channels, kernel and stride.
const CONVOLUTIONS: [([&str; 2], usize, usize, usize); 4] = [
    (["conv1", "norm1"], 32, 5, 1),
    (["conv2", "norm2"], 64, 3, 1),
    (["conv3", "norm3"], 64, 3, 1),
    (["conv4", "norm4"], 128, 3, 2),
];
const PRIMARY_DIM: usize = 8;
const CLASS_DIM: usize = 16;
/// The smallest image side that leaves something after all convolutions.
const SMALLEST_SIDE: usize = 11;

/// What can be chosen of the network: its decoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EfficientCapsNetConfig {
    pub decoder: Decoder,
    /// Widths of the decoder's two hidden layers.
    pub decoder_hidden: [usize; 2],
    /// Weight of the summed squared reconstruction error in the loss.
    pub reconstruction_weight: f64,
}

impl Default for EfficientCapsNetConfig {
    /// The published network: its program weighs the mean squared error of 784 pixels by 0.392, which is their sum by 0.0005.
    fn default() -> Self {
        EfficientCapsNetConfig { decoder: Decoder::Full, decoder_hidden: [512, 1024], reconstruction_weight: 0.0005 }
    }
}

/// The layers by their roles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EfficientCapsNetLayers {
    /// Each convolution, and the normalisation behind it.
    pub convolutions: [(ConvolutionLayer, BatchNormLayer); 4],
    pub primary: DepthwiseCapsuleLayer,
    pub classes: AttentionCapsuleLayer,
    pub decoder: Option<DecoderLayers>,
}

impl EfficientCapsNetConfig {
    fn reconstruction(&self) -> Reconstruction {
        // No `..`: a field that no layer takes up would be missing in parameters, memory and work.
        let EfficientCapsNetConfig { decoder, decoder_hidden: hidden, reconstruction_weight: weight } = *self;
        Reconstruction { decoder, hidden, weight }
    }

    /// The layers by their roles. The configuration has to be valid.
    pub fn layers(&self, shape: ImageShape, classes: usize) -> EfficientCapsNetLayers {
        let mut image = [shape.channels, shape.height, shape.width];
        let convolutions = CONVOLUTIONS.map(|([name, norm], channels, kernel, stride)| {
            let activation = Activation::Relu;
            let layer = ConvolutionLayer { name, image, channels, sharing: 1, kernel, stride, activation };
            image = layer.map();
            (layer, BatchNormLayer { name: norm, image })
        });
        let primary = DepthwiseCapsuleLayer { name: "primary", image, dim: PRIMARY_DIM };
        let classes = AttentionCapsuleLayer {
            name: "class_caps",
            capsules: primary.capsules(),
            in_dim: PRIMARY_DIM,
            classes,
            dim: CLASS_DIM,
        };
        let decoder = self.reconstruction().layers(classes.classes, CLASS_DIM, shape.pixels());
        EfficientCapsNetLayers { convolutions, primary, classes, decoder }
    }

    pub(super) fn validate(&self, shape: ImageShape) -> Result<(), Invalid> {
        let ImageShape { height, width, .. } = shape;
        if height.min(width) < SMALLEST_SIDE {
            let allowed = format!(
                "another network: {KIND} needs images of at least {SMALLEST_SIDE}×{SMALLEST_SIDE} pixels, these are \
                 {height}×{width}"
            );
            return Err(Invalid::new("model.kind", KIND, allowed));
        }
        self.reconstruction().validate()
    }

    pub(super) fn canonical(self) -> Self {
        let Reconstruction { decoder, hidden, weight } = self.reconstruction().canonical();
        EfficientCapsNetConfig { decoder, decoder_hidden: hidden, reconstruction_weight: weight }
    }
}

impl EfficientCapsNetLayers {
    /// The layers in the order of the forward pass.
    pub fn list(&self) -> Vec<Layer> {
        let EfficientCapsNetLayers { convolutions, primary, classes, decoder } = *self;
        let convolutions =
            convolutions.into_iter().flat_map(|(layer, norm)| [Layer::Convolution(layer), Layer::BatchNorm(norm)]);
        let capsules = [Layer::DepthwiseCapsules(primary), Layer::AttentionCapsules(classes)];
        let decoder = decoder.iter().flat_map(DecoderLayers::list);
        convolutions.chain(capsules).chain(decoder).collect()
    }
}

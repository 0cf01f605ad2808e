//! Every size of a network as a config field, the presets, and the parameter count.

use serde::{Deserialize, Serialize};

/// Which network a trial trains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ModelConfig {
    Capsnet(CapsNetConfig),
    /// The non-capsule comparison (LeCun et al. 1998, with ReLU and max pooling); it has no sizes to choose.
    Lenet5,
}

/// How the nonlinearity of capsules is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Squash {
    /// `|s|²/(1+|s|²) · s/|s|`
    Exact,
    /// `s/2` where `|s| ≤ 2`, `s/|s|` above.
    Approximate,
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

/// What reconstructs the image from the class capsules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decoder {
    /// All class capsules, masked to the chosen one, enter (10 × 16 = 160 inputs at full size).
    Full,
    /// Only the chosen capsule's values enter (16 inputs at full size).
    Small,
    /// No decoder, no reconstruction loss.
    None,
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

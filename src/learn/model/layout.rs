//! The layers that a network consists of, each with all of its sizes.
//!
//! This is the one description of a network. Its parameters, its memory, its work and its launches on a GPU are counted from it,
//! and all of its passes are built from it. A configuration becomes layers in [`super::config`]; nothing else spells sizes out.
//! Sizes are those of one sample.

mod capsules;
mod efficient;

use candle_core::Result;

pub use self::{
    capsules::{ClassCapsuleLayer, ClassLayer, HomogeneousCapsuleLayer, PrimaryCapsuleLayer},
    efficient::{AttentionCapsuleLayer, BatchNormLayer, DepthwiseCapsuleLayer},
};
use crate::learn::kernels::{Activation, Conv2dPlan, DenseOfChosen, Real, UnfoldedConv2d};

/// A layer of a network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Layer {
    Convolution(ConvolutionLayer),
    MaxPool(MaxPoolLayer),
    PrimaryCapsules(PrimaryCapsuleLayer),
    ClassCapsules(ClassCapsuleLayer),
    HomogeneousCapsules(HomogeneousCapsuleLayer),
    BatchNorm(BatchNormLayer),
    DepthwiseCapsules(DepthwiseCapsuleLayer),
    AttentionCapsules(AttentionCapsuleLayer),
    /// The decoder begins: the layers behind it reconstruct the image.
    Mask(MaskLayer),
    Dense(DenseLayer),
}

impl Layer {
    /// Trained values: weight and bias.
    pub fn parameters(&self) -> usize {
        match self {
            Layer::Convolution(layer) => layer.weights() + layer.channels,
            Layer::ClassCapsules(layer) => layer.weights() + layer.values(),
            Layer::HomogeneousCapsules(layer) => layer.weights() + layer.values(),
            Layer::BatchNorm(layer) => 2 * layer.channels(),
            Layer::DepthwiseCapsules(layer) => layer.inputs() + layer.values(),
            Layer::AttentionCapsules(layer) => layer.weights() + layer.prior().iter().product::<usize>(),
            Layer::Dense(layer) => layer.weights() + layer.outputs,
            Layer::MaxPool(_) | Layer::PrimaryCapsules(_) | Layer::Mask(_) => 0,
        }
    }

    /// Values of variables that steps change and nothing trains: running statistics.
    pub fn statistics(&self) -> usize {
        match self {
            Layer::BatchNorm(layer) => 2 * layer.channels(),
            Layer::Convolution(_)
            | Layer::MaxPool(_)
            | Layer::PrimaryCapsules(_)
            | Layer::ClassCapsules(_)
            | Layer::HomogeneousCapsules(_)
            | Layer::DepthwiseCapsules(_)
            | Layer::AttentionCapsules(_)
            | Layer::Mask(_)
            | Layer::Dense(_) => 0,
        }
    }

    /// Values that enter the layer.
    pub fn inputs(&self) -> usize {
        match self {
            Layer::Convolution(layer) => layer.image.iter().product(),
            Layer::MaxPool(layer) => layer.image.iter().product(),
            // What it does is to sort and to scale.
            Layer::PrimaryCapsules(layer) => layer.values(),
            Layer::ClassCapsules(layer) => layer.inputs(),
            Layer::HomogeneousCapsules(layer) => layer.inputs(),
            Layer::BatchNorm(layer) => layer.image.iter().product(),
            Layer::DepthwiseCapsules(layer) => layer.inputs(),
            Layer::AttentionCapsules(layer) => layer.inputs(),
            Layer::Mask(layer) => layer.classes * layer.dim,
            Layer::Dense(layer) => layer.inputs,
        }
    }

    /// Multiply-adds of a forward pass, as many as the layer's definition has; an implementation may need fewer.
    pub fn multiply_adds(&self) -> usize {
        match self {
            // A filter that channels share is applied once.
            Layer::Convolution(layer) => layer.positions() * layer.weights(),
            // Votes, their sums in every iteration, and their agreements in all but the last.
            Layer::ClassCapsules(layer) => layer.votes() * (layer.in_dim + 2 * layer.iterations - 1),
            Layer::Dense(layer) => layer.weights(),
            // Capsules that share a vector are summed first.
            Layer::HomogeneousCapsules(layer) => layer.weights(),
            Layer::DepthwiseCapsules(layer) => layer.inputs(),
            // Votes, their agreements and their sums.
            Layer::AttentionCapsules(layer) => layer.weights() + 2 * layer.capsules * layer.values(),
            Layer::MaxPool(_) | Layer::PrimaryCapsules(_) | Layer::BatchNorm(_) | Layer::Mask(_) => 0,
        }
    }

    /// Values that leave the layer.
    pub fn values(&self) -> usize {
        match self {
            Layer::Convolution(layer) => layer.values(),
            Layer::MaxPool(layer) => layer.map().iter().product(),
            Layer::PrimaryCapsules(layer) => layer.values(),
            Layer::ClassCapsules(layer) => layer.values(),
            Layer::HomogeneousCapsules(layer) => layer.values(),
            Layer::BatchNorm(layer) => layer.image.iter().product(),
            Layer::DepthwiseCapsules(layer) => layer.values(),
            Layer::AttentionCapsules(layer) => layer.values(),
            Layer::Mask(layer) => layer.values(),
            Layer::Dense(layer) => layer.outputs,
        }
    }
}

/// A convolution without padding: `{name}.weight [filters, in channels, kernel, kernel]`, `{name}.bias [channels]`. Channel c uses
/// filter `c mod filters`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvolutionLayer {
    pub name: &'static str,
    /// Channels, height and width of what enters.
    pub image: [usize; 3],
    /// Output channels.
    pub channels: usize,
    /// Output channels that share one filter; divides `channels`.
    pub sharing: usize,
    pub kernel: usize,
    pub stride: usize,
    /// What follows the bias.
    pub activation: Activation,
}

/// Positions of a kernel along an image side; 0 if it does not fit.
fn positions(side: usize, kernel: usize, stride: usize) -> usize {
    if kernel > side { 0 } else { (side - kernel) / stride + 1 }
}

impl ConvolutionLayer {
    /// Channels, height and width of what leaves the layer.
    pub fn map(&self) -> [usize; 3] {
        let [_, height, width] = self.image;
        let [rows, columns] = [height, width].map(|side| positions(side, self.kernel, self.stride));
        [self.channels, rows, columns]
    }

    /// Values that leave the layer.
    pub fn values(&self) -> usize {
        self.map().iter().product()
    }

    /// Positions of the kernel in an image.
    pub fn positions(&self) -> usize {
        let [_, rows, columns] = self.map();
        rows * columns
    }

    pub fn filters(&self) -> usize {
        self.channels / self.sharing
    }

    /// Dimensions of the weight.
    pub fn weight(&self) -> [usize; 4] {
        [self.filters(), self.image[0], self.kernel, self.kernel]
    }

    /// Values of the weight.
    pub fn weights(&self) -> usize {
        self.weight().iter().product()
    }

    /// The layer on CPU cores, for one sample at first.
    ///
    /// Errors: sizes that do not fit.
    pub fn plan<T: Real>(&self) -> Result<Conv2dPlan<T>> {
        let [in_channels, height, width] = self.image;
        let x = [1, in_channels, height, width];
        Conv2dPlan::new(x, self.weight(), self.channels, self.stride, self.activation)
    }

    /// The layer on a GPU.
    ///
    /// Errors: sizes that do not fit.
    pub fn unfolded(&self) -> Result<UnfoldedConv2d> {
        UnfoldedConv2d::new(self.image, self.filters(), self.channels, [self.kernel; 2], self.stride)
    }
}

/// The largest value of each 2×2 square; a last odd row or column is left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaxPoolLayer {
    /// Channels, height and width of what enters.
    pub image: [usize; 3],
}

impl MaxPoolLayer {
    /// Channels, height and width of what leaves the layer.
    pub fn map(&self) -> [usize; 3] {
        let [channels, height, width] = self.image;
        [channels, height / 2, width / 2]
    }
}

/// The layer that makes the values of the primary capsules.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PrimaryLayer {
    /// Its channels become the capsules.
    Convolution(ConvolutionLayer),
    /// Its outputs do, of which those of a capsule follow one another.
    Dense(DenseLayer),
}

impl PrimaryLayer {
    pub fn name(&self) -> &'static str {
        match self {
            PrimaryLayer::Convolution(layer) => layer.name,
            PrimaryLayer::Dense(layer) => layer.name,
        }
    }

    /// Values of the weight.
    pub fn weights(&self) -> usize {
        match self {
            PrimaryLayer::Convolution(layer) => layer.weights(),
            PrimaryLayer::Dense(layer) => layer.weights(),
        }
    }

    /// Values that leave the layer.
    pub fn values(&self) -> usize {
        self.layer().values()
    }

    /// The layer among the others.
    pub fn layer(&self) -> Layer {
        match *self {
            PrimaryLayer::Convolution(layer) => Layer::Convolution(layer),
            PrimaryLayer::Dense(layer) => Layer::Dense(layer),
        }
    }
}

/// The class capsules `[classes, dim]` of which one is chosen: what the decoder sees of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaskLayer {
    pub classes: usize,
    pub dim: usize,
    /// All of them, those that are not chosen set to 0; otherwise the chosen one alone.
    pub keeps_all: bool,
    /// Weight of the summed squared error of the reconstruction in the loss.
    pub reconstruction_weight: f64,
}

impl MaskLayer {
    /// Values that leave the layer.
    pub fn values(&self) -> usize {
        if self.keeps_all { self.classes * self.dim } else { self.dim }
    }
}

/// A fully connected layer: `{name}.weight [outputs, inputs]`, `{name}.bias [outputs]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DenseLayer {
    pub name: &'static str,
    pub inputs: usize,
    pub outputs: usize,
    /// What follows the bias. A sigmoid behind the last layer of a decoder belongs to its loss.
    pub activation: Activation,
}

impl DenseLayer {
    /// Dimensions of the weight.
    pub fn weight(&self) -> [usize; 2] {
        [self.outputs, self.inputs]
    }

    /// Values of the weight.
    pub fn weights(&self) -> usize {
        self.inputs * self.outputs
    }
}

/// The layers of a capsule network by their roles, for the passes that are written out for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CapsNetLayers {
    pub conv1: ConvolutionLayer,
    pub primary: PrimaryLayer,
    pub capsules: PrimaryCapsuleLayer,
    pub classes: ClassLayer,
    pub decoder: Option<DecoderLayers>,
}

/// The layers of a decoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecoderLayers {
    pub mask: MaskLayer,
    pub dense: [DenseLayer; 3],
}

impl CapsNetLayers {
    /// The layers in the order of the forward pass.
    pub fn list(&self) -> Vec<Layer> {
        let CapsNetLayers { conv1, primary, capsules, classes, decoder } = *self;
        let mut layers = vec![
            Layer::Convolution(conv1),
            primary.layer(),
            Layer::PrimaryCapsules(capsules),
            match classes {
                ClassLayer::Routed(layer) => Layer::ClassCapsules(layer),
                ClassLayer::Homogeneous(layer) => Layer::HomogeneousCapsules(layer),
            },
        ];
        layers.extend(decoder.iter().flat_map(DecoderLayers::list));
        layers
    }

    /// Values of an image.
    pub fn pixels(&self) -> usize {
        self.conv1.image.iter().product()
    }

    pub fn convolutions(&self) -> impl Iterator<Item = &ConvolutionLayer> {
        let primary = match &self.primary {
            PrimaryLayer::Convolution(layer) => Some(layer),
            PrimaryLayer::Dense(_) => None,
        };
        [&self.conv1].into_iter().chain(primary)
    }

    /// The dense layers of the decoder; none without one.
    pub fn dense(&self) -> &[DenseLayer] {
        self.decoder.as_ref().map_or(&[], |decoder| &decoder.dense)
    }

    /// Values of the largest weight whose gradient is handed over as a whole: convolutions hand over blocks.
    pub fn largest_gradient(&self) -> usize {
        let primary = match &self.primary {
            PrimaryLayer::Convolution(_) => None,
            PrimaryLayer::Dense(layer) => Some(layer.weights()),
        };
        self.dense().iter().map(DenseLayer::weights).chain(primary).fold(self.classes.weights(), usize::max)
    }
}

impl DecoderLayers {
    /// The layers in the order of the forward pass.
    pub fn list(&self) -> Vec<Layer> {
        let DecoderLayers { mask, dense } = *self;
        [Layer::Mask(mask)].into_iter().chain(dense.map(Layer::Dense)).collect()
    }

    /// Mask and first layer in one, on CPU cores.
    pub(crate) fn first(&self) -> DenseOfChosen {
        let MaskLayer { classes, dim, keeps_all, .. } = self.mask;
        DenseOfChosen { classes, dim, outputs: self.dense[0].outputs, is_per_class: keeps_all }
    }
}

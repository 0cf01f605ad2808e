//! LeNet-5 (LeCun et al. 1998), with ReLU and max pooling: the non-capsule comparison.
//!
//! Convolutions 5×5 to 6 and 16 channels, each followed by ReLU and 2×2 max pooling; fully connected 120, 84, classes.
//! Images `[batch, c, h, w]` to logits `[batch, classes]`; `conv1`, `conv2`, `fc1`, `fc2`, `fc3`.

use super::layout::{ConvolutionLayer, DenseLayer, Layer, MaxPoolLayer};
use crate::learn::{data::ImageShape, kernels::Activation};

const CHANNELS: [usize; 2] = [6, 16];
const KERNEL: usize = 5;
const WIDTHS: [usize; 2] = [120, 84];
/// The smallest image side that leaves something after both poolings.
pub const SMALLEST_SIDE: usize = 16;

/// The layers by their roles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LeNetLayers {
    /// Each convolution, and the pooling behind it.
    pub convolutions: [(ConvolutionLayer, MaxPoolLayer); 2],
    pub dense: [DenseLayer; 3],
}

impl LeNetLayers {
    /// Those for images of this shape; both sides are at least [`SMALLEST_SIDE`].
    pub fn new(shape: ImageShape, classes: usize) -> LeNetLayers {
        let convolution = |name, image, channels| {
            let activation = Activation::Relu;
            let layer = ConvolutionLayer { name, image, channels, sharing: 1, kernel: KERNEL, stride: 1, activation };
            (layer, MaxPoolLayer { image: layer.map() })
        };
        let first = convolution("conv1", [shape.channels, shape.height, shape.width], CHANNELS[0]);
        let second = convolution("conv2", first.1.map(), CHANNELS[1]);
        let features = second.1.map().iter().product();
        let dense = |name, inputs, outputs, activation| DenseLayer { name, inputs, outputs, activation };
        LeNetLayers {
            convolutions: [first, second],
            dense: [
                dense("fc1", features, WIDTHS[0], Activation::Relu),
                dense("fc2", WIDTHS[0], WIDTHS[1], Activation::Relu),
                dense("fc3", WIDTHS[1], classes, Activation::None),
            ],
        }
    }

    /// The layers in the order of the forward pass.
    pub fn list(&self) -> Vec<Layer> {
        let LeNetLayers { convolutions, dense } = *self;
        let convolutions =
            convolutions.into_iter().flat_map(|(layer, pool)| [Layer::Convolution(layer), Layer::MaxPool(pool)]);
        convolutions.chain(dense.map(Layer::Dense)).collect()
    }
}

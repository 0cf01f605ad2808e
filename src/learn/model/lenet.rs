//! LeNet-5 (LeCun et al. 1998), with ReLU and max pooling: the non-capsule comparison.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::layers::{Conv2d, Filters, Linear};
use crate::learn::{data::ImageShape, kernels};

/// Convolutions 5×5 to 6 and 16 channels, each followed by ReLU and 2×2 max pooling; fully connected 120, 84, classes.
/// Images `[batch, c, h, w]` to logits `[batch, classes]`; `conv1`, `conv2`, `fc1`, `fc2`, `fc3`.
pub struct LeNet {
    convolutions: [Conv2d; 2],
    fully_connected: [Linear; 3],
}

pub(super) const CHANNELS: [usize; 2] = [6, 16];
pub(super) const KERNEL: usize = 5;
pub(super) const WIDTHS: [usize; 2] = [120, 84];
/// The smallest image side that leaves something after both poolings.
pub(super) const SMALLEST_SIDE: usize = 16;

/// Values that enter the first fully connected layer.
pub(super) fn features(shape: ImageShape) -> usize {
    let side = |n: usize| ((n + 1 - KERNEL) / 2 + 1 - KERNEL) / 2;
    CHANNELS[1] * side(shape.height) * side(shape.width)
}

impl LeNet {
    pub fn new(shape: ImageShape, classes: usize, builder: VarBuilder) -> Result<Self> {
        let conv = |in_channels, channels| Filters { in_channels, channels, sharing: 1, kernel: KERNEL, stride: 1 };
        Ok(LeNet {
            convolutions: [
                Conv2d::new(conv(shape.channels, CHANNELS[0]), builder.pp("conv1"))?,
                Conv2d::new(conv(CHANNELS[0], CHANNELS[1]), builder.pp("conv2"))?,
            ],
            fully_connected: [
                Linear::new(features(shape), WIDTHS[0], builder.pp("fc1"))?,
                Linear::new(WIDTHS[0], WIDTHS[1], builder.pp("fc2"))?,
                Linear::new(WIDTHS[1], classes, builder.pp("fc3"))?,
            ],
        })
    }

    pub fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let mut x = images.clone();
        for convolution in &self.convolutions {
            x = kernels::max_pool_2x2(&convolution.forward_relu(&x)?)?;
        }
        let [first, second, last] = &self.fully_connected;
        let x = kernels::relu(&first.forward(&x.flatten_from(1)?)?)?;
        last.forward(&kernels::relu(&second.forward(&x)?)?)
    }
}

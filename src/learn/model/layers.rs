//! Convolutional and fully connected layers, with PyTorch's initial distribution: uniform in ±1/√fan_in.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};

use crate::learn::kernels;

fn uniform(fan_in: usize) -> Init {
    let bound = 1. / (fan_in as f64).sqrt();
    Init::Uniform { lo: -bound, up: bound }
}

/// The sizes of a convolution; channel c uses filter `c mod (channels/sharing)`.
#[derive(Clone, Copy, Debug)]
pub struct Filters {
    pub in_channels: usize,
    pub channels: usize,
    pub sharing: usize,
    pub kernel: usize,
    pub stride: usize,
}

/// `weight [channels/sharing, in_channels, kernel, kernel]`, `bias [channels]`; see [`kernels::conv2d`].
pub struct Conv2d {
    weight: Tensor,
    bias: Tensor,
    stride: usize,
}

impl Conv2d {
    pub fn new(filters: Filters, builder: VarBuilder) -> Result<Self> {
        let Filters { in_channels, channels, sharing, kernel, stride } = filters;
        let init = uniform(in_channels * kernel * kernel);
        Ok(Conv2d {
            weight: builder.get_with_hints((channels / sharing, in_channels, kernel, kernel), "weight", init)?,
            bias: builder.get_with_hints(channels, "bias", init)?,
            stride,
        })
    }

    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        kernels::conv2d(x, &self.weight, &self.bias, self.stride)
    }

    /// The layer with a ReLU behind it.
    pub fn forward_relu(&self, x: &Tensor) -> Result<Tensor> {
        kernels::conv2d_relu(x, &self.weight, &self.bias, self.stride)
    }
}

/// `weight [outputs, inputs]`, `bias [outputs]`; see [`kernels::linear`].
pub struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    pub fn new(inputs: usize, outputs: usize, builder: VarBuilder) -> Result<Self> {
        let init = uniform(inputs);
        Ok(Linear {
            weight: builder.get_with_hints((outputs, inputs), "weight", init)?,
            bias: builder.get_with_hints(outputs, "bias", init)?,
        })
    }

    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        kernels::linear(x, &self.weight, &self.bias)
    }
}

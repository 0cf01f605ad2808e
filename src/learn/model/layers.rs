//! Convolutional and fully connected layers in candle's graph, with PyTorch's initial distribution: uniform in ±1/√fan_in.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};

use super::layout::{ConvolutionLayer, DenseLayer};
use crate::learn::kernels::{self, Activation};

pub(super) fn uniform(fan_in: usize) -> Init {
    let bound = 1. / (fan_in as f64).sqrt();
    Init::Uniform { lo: -bound, up: bound }
}

/// A convolution with its activation; see [`kernels::conv2d`].
pub struct Conv2d {
    weight: Tensor,
    bias: Tensor,
    stride: usize,
    activation: Activation,
}

impl Conv2d {
    pub fn new(layer: &ConvolutionLayer, builder: &VarBuilder) -> Result<Self> {
        let (weight, builder) = (layer.weight(), builder.pp(layer.name));
        let init = uniform(weight[1..].iter().product());
        Ok(Conv2d {
            weight: builder.get_with_hints(weight.as_slice(), "weight", init)?,
            bias: builder.get_with_hints(layer.channels, "bias", init)?,
            stride: layer.stride,
            activation: layer.activation,
        })
    }

    /// x `[batch, in_channels, h, w]`; gives `[batch, channels, h', w']`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self.activation {
            Activation::None => kernels::conv2d(x, &self.weight, &self.bias, self.stride),
            Activation::Relu => kernels::conv2d_relu(x, &self.weight, &self.bias, self.stride),
        }
    }
}

/// A fully connected layer with its activation; see [`kernels::linear`].
pub struct Linear {
    weight: Tensor,
    bias: Tensor,
    activation: Activation,
}

impl Linear {
    pub fn new(layer: &DenseLayer, builder: &VarBuilder) -> Result<Self> {
        let (init, builder) = (uniform(layer.inputs), builder.pp(layer.name));
        Ok(Linear {
            weight: builder.get_with_hints(layer.weight().as_slice(), "weight", init)?,
            bias: builder.get_with_hints(layer.outputs, "bias", init)?,
            activation: layer.activation,
        })
    }

    /// x `[batch, ..]`, all values of a sample being inputs; gives `[batch, outputs]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = if x.rank() > 2 { &x.flatten_from(1)? } else { x };
        let y = kernels::linear(x, &self.weight, &self.bias)?;
        match self.activation {
            Activation::None => Ok(y),
            Activation::Relu => kernels::relu(&y),
        }
    }
}

//! The capsule layers: primary capsules read from a convolution, class capsules found by routing.

use candle_core::{D, Result, Tensor};
use candle_nn::{Init, VarBuilder};

use super::{
    config::{CapsNetConfig, ClassSharing, Squash},
    layers::{Conv2d, Filters},
};
use crate::learn::{data::ImageShape, kernels};

/// Standard deviation of the initial matrices of class capsules: 0.05 for full size's 1152 primary capsules, more where fewer
/// vote, less where `sharing` positions vote by one matrix and so in one direction. Class capsules then begin at a useful
/// length whatever the network. Too long, and all of them saturate within a few steps at a learning rate of 1e-3, from
/// where no gradient leads back.
fn votes_stdev(capsules: usize, sharing: usize) -> f64 {
    const FULL_SIZE: f64 = 1152.;
    0.05 * (FULL_SIZE / capsules as f64).sqrt() / (sharing as f64).sqrt()
}

/// The first two convolutions: image `[batch, channels, h, w]` to squashed primary capsules `[batch, types × positions, dim]`.
///
/// Capsule `type × positions + position` is made of the channels `type × dim ..` at one position.
pub struct PrimaryCapsules {
    conv1: Conv2d,
    primary: Conv2d,
    types: usize,
    dim: usize,
    squash: Squash,
}

impl PrimaryCapsules {
    pub fn new(config: &CapsNetConfig, shape: ImageShape, builder: VarBuilder) -> Result<Self> {
        let conv1 = Filters {
            in_channels: shape.channels,
            channels: config.conv1_channels,
            sharing: config.conv1_sharing,
            kernel: config.conv1_kernel,
            stride: config.conv1_stride,
        };
        let primary = Filters {
            in_channels: config.conv1_channels,
            channels: config.primary_types * config.primary_dim,
            sharing: config.primary_sharing,
            kernel: config.primary_kernel,
            stride: config.primary_stride,
        };
        Ok(PrimaryCapsules {
            conv1: Conv2d::new(conv1, builder.pp("conv1"))?,
            primary: Conv2d::new(primary, builder.pp("primary"))?,
            types: config.primary_types,
            dim: config.primary_dim,
            squash: config.squash,
        })
    }

    pub fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let channels = self.primary.forward(&self.conv1.forward_relu(images)?)?;
        let (batch, _, h, w) = channels.dims4()?;
        let capsules = channels.reshape((batch, self.types, self.dim, h * w))?.transpose(2, 3)?.contiguous()?;
        kernels::squash(&capsules.reshape((batch, self.types * h * w, self.dim))?, self.squash)
    }
}

/// Votes `û_ij = W_ij u_i` and their routing: primary capsules `[batch, capsules, dim]` to class capsules
/// `[batch, classes, class_dim]`.
///
/// `class_caps.weight [matrices, dim, classes × class_dim]`, one matrix per capsule, or per type if they are shared by type;
/// `class_caps.bias [classes, class_dim]`.
pub struct ClassCapsules {
    weight: Tensor,
    bias: Tensor,
    iterations: usize,
    squash: Squash,
}

impl ClassCapsules {
    pub fn new(config: &CapsNetConfig, shape: ImageShape, classes: usize, builder: VarBuilder) -> Result<Self> {
        let matrices = match config.class_sharing {
            ClassSharing::None => config.primary_capsules(shape),
            ClassSharing::ByType => config.primary_types,
        };
        let capsules = config.primary_capsules(shape);
        let normal = Init::Randn { mean: 0., stdev: votes_stdev(capsules, capsules / matrices) };
        let weight_shape = (matrices, config.primary_dim, classes * config.class_dim);
        Ok(ClassCapsules {
            weight: builder.get_with_hints(weight_shape, "weight", normal)?,
            bias: builder.get_with_hints((classes, config.class_dim), "bias", Init::Const(0.))?,
            iterations: config.routing_iterations,
            squash: config.squash,
        })
    }

    pub fn forward(&self, primary: &Tensor) -> Result<Tensor> {
        kernels::class_capsules(primary, &self.weight, &self.bias, self.iterations, self.squash)
    }
}

/// `√(|v|² + 1e-9)` of capsules `[.., dim]`, finite in its gradient at 0; gives `[..]`.
pub fn lengths(capsules: &Tensor) -> Result<Tensor> {
    (capsules.sqr()?.sum(D::Minus1)? + kernels::EPSILON)?.sqrt()
}

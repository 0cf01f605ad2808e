//! The capsule layers in candle's graph: primary capsules read from a convolution or a dense layer, class capsules found by routing
//! or without.

use candle_core::{D, Result, Tensor};
use candle_nn::{Init, VarBuilder};

use super::{
    config::Squash,
    layout::{ClassCapsuleLayer, HomogeneousCapsuleLayer, PrimaryCapsuleLayer},
};
use crate::learn::kernels;

/// Standard deviation of the initial matrices of class capsules: 0.05 for full size's 1152 primary capsules, more where fewer
/// vote, less where `sharing` positions vote by one matrix and so in one direction. Class capsules then begin at a useful
/// length whatever the network. Too long, and all of them saturate within a few steps at a learning rate of 1e-3, from
/// where no gradient leads back.
fn votes_stdev(capsules: usize, sharing: usize) -> f64 {
    const FULL_SIZE: f64 = 1152.;
    0.05 * (FULL_SIZE / capsules as f64).sqrt() / (sharing as f64).sqrt()
}

/// Channels `[batch, types × dim, h, w]` of a convolution as squashed capsules `[batch, types × h × w, dim]`; outputs
/// `[batch, types × dim]` of a dense layer likewise.
pub fn primary_capsules(channels: &Tensor, layer: &PrimaryCapsuleLayer) -> Result<Tensor> {
    let PrimaryCapsuleLayer { types, dim, positions, squash } = *layer;
    let batch = channels.dim(0)?;
    let capsules = channels.reshape((batch, types, dim, positions))?.transpose(2, 3)?.contiguous()?;
    kernels::squash(&capsules.reshape((batch, types * positions, dim))?, squash)
}

/// Votes of primary capsules `[batch, capsules, in_dim]` and their routing to class capsules `[batch, classes, dim]`.
pub struct ClassCapsules {
    weight: Tensor,
    bias: Tensor,
    iterations: usize,
    squash: Squash,
}

impl ClassCapsules {
    pub fn new(layer: &ClassCapsuleLayer, builder: &VarBuilder) -> Result<Self> {
        let builder = builder.pp(layer.name);
        let stdev = votes_stdev(layer.capsules, layer.capsules / layer.matrices);
        let normal = Init::Randn { mean: 0., stdev };
        Ok(ClassCapsules {
            weight: builder.get_with_hints(layer.weight().as_slice(), "weight", normal)?,
            bias: builder.get_with_hints(layer.bias().as_slice(), "bias", Init::Const(0.))?,
            iterations: layer.iterations,
            squash: layer.squash,
        })
    }

    /// With another number of iterations than the layer's own where one is given.
    pub fn forward(&self, primary: &Tensor, iterations: Option<usize>) -> Result<Tensor> {
        let iterations = iterations.unwrap_or(self.iterations);
        kernels::class_capsules(primary, &self.weight, &self.bias, iterations, self.squash)
    }
}

/// Votes of primary capsules `[batch, capsules, dim]` by element-wise products, and class capsules `[batch, classes, dim]`, their
/// squashed sums.
pub struct HomogeneousCapsules {
    weight: Tensor,
    bias: Tensor,
    squash: Squash,
}

impl HomogeneousCapsules {
    /// The vectors begin such that class capsules are as long as those of a first routing iteration: it sums `dim` products for a
    /// value of a vote, and divides the votes among the classes.
    pub fn new(layer: &HomogeneousCapsuleLayer, builder: &VarBuilder) -> Result<Self> {
        let builder = builder.pp(layer.name);
        let of_matrices = votes_stdev(layer.capsules, layer.capsules / layer.vectors);
        let normal = Init::Randn { mean: 0., stdev: of_matrices * (layer.dim as f64).sqrt() / layer.classes as f64 };
        Ok(HomogeneousCapsules {
            weight: builder.get_with_hints(layer.weight().as_slice(), "weight", normal)?,
            bias: builder.get_with_hints(layer.bias().as_slice(), "bias", Init::Const(0.))?,
            squash: layer.squash,
        })
    }

    pub fn forward(&self, primary: &Tensor) -> Result<Tensor> {
        kernels::reference::homogeneous_capsules(primary, &self.weight, &self.bias, self.squash)
    }
}

/// `√(|v|² + 1e-9)` of capsules `[.., dim]`, finite in its gradient at 0; gives `[..]`.
pub fn lengths(capsules: &Tensor) -> Result<Tensor> {
    (capsules.sqr()?.sum(D::Minus1)? + kernels::EPSILON)?.sqrt()
}

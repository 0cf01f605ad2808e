//! The capsule layers of Efficient-CapsNet in candle's graph.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};

use super::{
    layers::uniform,
    layout::{AttentionCapsuleLayer, DepthwiseCapsuleLayer},
};
use crate::learn::kernels;

/// Primary capsules `[batch, capsules, dim]` of a map `[batch, capsules × dim, h, w]`: a value of a capsule sees one channel.
pub struct DepthwiseCapsules {
    weight: Tensor,
    bias: Tensor,
    layer: DepthwiseCapsuleLayer,
}

impl DepthwiseCapsules {
    pub fn new(layer: &DepthwiseCapsuleLayer, builder: &VarBuilder) -> Result<Self> {
        let (weight, builder) = (layer.weight(), builder.pp(layer.name));
        let init = uniform(weight[1..].iter().product());
        Ok(DepthwiseCapsules {
            weight: builder.get_with_hints(weight.as_slice(), "weight", init)?,
            bias: builder.get_with_hints(weight[0], "bias", init)?,
            layer: *layer,
        })
    }

    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let values = kernels::whole_map_depthwise(x, &self.weight, &self.bias)?;
        kernels::exponential_squash(&values.reshape((x.dim(0)?, self.layer.capsules(), self.layer.dim))?)
    }
}

/// Votes of primary capsules `[batch, capsules, in_dim]` and their self-attention routing to class capsules
/// `[batch, classes, dim]`.
pub struct AttentionCapsules {
    weight: Tensor,
    prior: Tensor,
}

impl AttentionCapsules {
    pub fn new(layer: &AttentionCapsuleLayer, builder: &VarBuilder) -> Result<Self> {
        let builder = builder.pp(layer.name);
        // As the published program has it: He's, with all that enters any class counted as what enters.
        let stdev = (2. / (layer.capsules * layer.in_dim * layer.classes) as f64).sqrt();
        let normal = Init::Randn { mean: 0., stdev };
        Ok(AttentionCapsules {
            weight: builder.get_with_hints(layer.weight().as_slice(), "weight", normal)?,
            prior: builder.get_with_hints(layer.prior().as_slice(), "prior", Init::Const(0.))?,
        })
    }

    pub fn forward(&self, primary: &Tensor) -> Result<Tensor> {
        kernels::exponential_squash(&kernels::attention_routing(primary, &self.weight, &self.prior)?)
    }
}

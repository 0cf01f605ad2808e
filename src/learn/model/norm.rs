//! Batch normalisation in candle's graph, with running statistics that stand among the network's variables.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};

use super::{
    layout::BatchNormLayer,
    parameters::{RUNNING_MEAN, RUNNING_VARIANCE},
};
use crate::learn::kernels;

/// How a network computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By the running statistics.
    Evaluation,
    /// By those of the batch, which the running ones take in. `step` counts the steps of the training from 1.
    Training { step: u64 },
}

/// The share of a batch in the running statistics from step 100 on: that of Keras.
const SHARE: f64 = 0.01;

/// How far the running statistics move to those of the batch of step `step`, counted from 1: they are the mean over all batches so
/// far, up to 100 of them, and then an exponential moving average.
pub fn share_of_batch(step: u64) -> f64 {
    SHARE.max(1. / step.max(1) as f64)
}

/// A normalisation with its variables.
pub struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
}

impl BatchNorm {
    pub fn new(layer: &BatchNormLayer, builder: &VarBuilder) -> Result<Self> {
        let builder = builder.pp(layer.name);
        let constant = |name, value| builder.get_with_hints(layer.channels(), name, Init::Const(value));
        Ok(BatchNorm {
            weight: constant("weight", 1.)?,
            bias: constant("bias", 0.)?,
            mean: constant(RUNNING_MEAN, 0.)?.detach(),
            variance: constant(RUNNING_VARIANCE, 1.)?.detach(),
        })
    }

    /// x `[batch, channels, h, w]`; gives the same shape.
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let BatchNorm { weight, bias, mean, variance } = self;
        match mode {
            Mode::Evaluation => kernels::batch_norm_by(x, weight, bias, mean, variance),
            Mode::Training { step } => {
                let (y, statistics) = kernels::batch_norm(x, weight, bias)?;
                statistics.take_into(mean, variance, share_of_batch(step))?;
                Ok(y)
            }
        }
    }
}

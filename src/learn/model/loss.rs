//! What training minimises.

use candle_core::{Result, Tensor};

use super::decoder::one_hot;
use crate::learn::kernels::{
    self,
    loss::{ABSENT, ABSENT_WEIGHT, PRESENT},
};

/// `Σ_k T_k max(0, 0.9−|v_k|)² + 0.5 (1−T_k) max(0, |v_k|−0.1)²`, mean over the batch.
///
/// lengths `[batch, classes]`, labels u32 `[batch]`; gives a scalar.
pub fn margin(lengths: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let present = one_hot(labels, lengths.dim(1)?, lengths.dtype())?;
    let absent = (1. - &present)?;
    let short = kernels::relu(&(PRESENT - lengths)?)?.sqr()?.mul(&present)?;
    let long = kernels::relu(&(lengths - ABSENT)?)?.sqr()?.mul(&absent)?;
    (short + (long * ABSENT_WEIGHT)?)?.sum(1)?.mean(0)
}

/// `Σ_pixels (reconstruction − image)²`, mean over the batch: reconstruction `[batch, pixels]`, images `[batch, c, h, w]`.
pub fn reconstruction(reconstruction: &Tensor, images: &Tensor) -> Result<Tensor> {
    (reconstruction - images.flatten_from(1)?)?.sqr()?.sum(1)?.mean(0)
}

/// `−log softmax(logits)[label]`, mean over the batch: logits `[batch, classes]`, labels u32 `[batch]`.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    candle_nn::loss::cross_entropy(logits, labels)
}

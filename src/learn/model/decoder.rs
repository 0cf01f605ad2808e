//! The decoder in candle's graph, which reconstructs the image from the class capsules.

use candle_core::{D, DType, Result, Tensor};

use super::{layers::Linear, layout::MaskLayer};

/// Fully connected layers behind a mask, and a sigmoid behind the last.
pub struct Decoder {
    pub(super) mask: MaskLayer,
    pub(super) layers: Vec<Linear>,
}

impl Decoder {
    /// Capsules `[batch, classes, dim]` and the class chosen in each, u32 `[batch]`; gives `[batch, pixels]` in 0..=1.
    pub fn forward(&self, capsules: &Tensor, chosen: &Tensor) -> Result<Tensor> {
        let mask = one_hot(chosen, capsules.dim(1)?, capsules.dtype())?;
        let masked = capsules.broadcast_mul(&mask.unsqueeze(D::Minus1)?)?;
        let mut x = if self.mask.keeps_all { masked.flatten_from(1)? } else { masked.sum(1)? };
        for layer in &self.layers {
            x = layer.forward(&x)?;
        }
        candle_nn::ops::sigmoid(&x)
    }
}

/// Labels u32 `[batch]` as rows of zeros and a one: `[batch, classes]`.
pub(super) fn one_hot(labels: &Tensor, classes: usize, dtype: DType) -> Result<Tensor> {
    let all = Tensor::arange(0u32, classes as u32, labels.device())?.unsqueeze(0)?;
    labels.to_dtype(DType::U32)?.unsqueeze(1)?.broadcast_eq(&all)?.to_dtype(dtype)
}

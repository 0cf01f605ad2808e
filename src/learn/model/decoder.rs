//! The decoder, which reconstructs the image from the class capsules.

use candle_core::{D, DType, Result, Tensor};
use candle_nn::VarBuilder;

use super::{
    config::{CapsNetConfig, Decoder as Kind},
    layers::Linear,
};
use crate::learn::kernels;

/// Three fully connected layers (ReLU, ReLU, sigmoid) on the chosen class capsule: `decoder.0`, `decoder.2`, `decoder.4`.
pub struct Decoder {
    input: Input,
    layers: [Linear; 3],
}

/// What enters the decoder.
enum Input {
    /// All capsules, those that are not chosen set to 0: `[batch, classes × class_dim]`.
    Masked,
    /// The chosen capsule: `[batch, class_dim]`.
    Chosen,
}

impl Decoder {
    /// The decoder to images of `pixels` values, if the configuration has one.
    pub fn new(config: &CapsNetConfig, classes: usize, pixels: usize, builder: VarBuilder) -> Result<Option<Self>> {
        let input = match config.decoder {
            Kind::Full => Input::Masked,
            Kind::Small => Input::Chosen,
            Kind::None => return Ok(None),
        };
        let [first, second] = config.decoder_hidden;
        let layers = [
            Linear::new(config.decoder_inputs(classes), first, builder.pp("0"))?,
            Linear::new(first, second, builder.pp("2"))?,
            Linear::new(second, pixels, builder.pp("4"))?,
        ];
        Ok(Some(Decoder { input, layers }))
    }

    /// Capsules `[batch, classes, dim]` and the class chosen in each, u32 `[batch]`; gives `[batch, pixels]` in 0..=1.
    pub fn forward(&self, capsules: &Tensor, chosen: &Tensor) -> Result<Tensor> {
        let mask = one_hot(chosen, capsules.dim(1)?, capsules.dtype())?;
        let masked = capsules.broadcast_mul(&mask.unsqueeze(D::Minus1)?)?;
        let x = match self.input {
            Input::Masked => masked.flatten_from(1)?,
            Input::Chosen => masked.sum(1)?,
        };
        let [first, second, last] = &self.layers;
        let x = kernels::relu(&first.forward(&x)?)?;
        let x = kernels::relu(&second.forward(&x)?)?;
        candle_nn::ops::sigmoid(&last.forward(&x)?)
    }
}

/// Labels u32 `[batch]` as rows of zeros and a one: `[batch, classes]`.
pub(super) fn one_hot(labels: &Tensor, classes: usize, dtype: DType) -> Result<Tensor> {
    let all = Tensor::arange(0u32, classes as u32, labels.device())?.unsqueeze(0)?;
    labels.to_dtype(DType::U32)?.unsqueeze(1)?.broadcast_eq(&all)?.to_dtype(dtype)
}

//! What reconstructs an image from class capsules, as a configuration has it: which capsules enter, how wide the layers are, and
//! what the error weighs in the loss.

use serde::{Deserialize, Serialize};

use super::{
    checks::within,
    layout::{DecoderLayers, DenseLayer, MaskLayer},
};
use crate::{base::invalid::Invalid, learn::kernels::Activation};

/// What reconstructs the image from the class capsules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decoder {
    /// All class capsules, masked to the chosen one, enter (10 × 16 = 160 inputs at full size).
    Full,
    /// Only the chosen capsule's values enter (16 inputs at full size).
    Small,
    /// No decoder, no reconstruction loss.
    None,
}

/// A decoder with its sizes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reconstruction {
    pub decoder: Decoder,
    /// Widths of the two hidden layers.
    pub hidden: [usize; 2],
    /// Weight of the summed squared error in the loss.
    pub weight: f64,
}

impl Reconstruction {
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.decoder == Decoder::None {
            return Ok(());
        }
        within("model.decoder_hidden", self.hidden[0], 1..=16384)?;
        within("model.decoder_hidden", self.hidden[1], 1..=16384)?;
        if self.weight >= 0. && self.weight.is_finite() {
            return Ok(());
        }
        Err(Invalid::new("model.reconstruction_weight", self.weight, "a finite number of at least 0"))
    }

    /// The same in one spelling: sizes of no decoder are 0.
    pub fn canonical(self) -> Reconstruction {
        match self.decoder {
            Decoder::None => Reconstruction { decoder: Decoder::None, hidden: [0, 0], weight: 0. },
            Decoder::Full | Decoder::Small => self,
        }
    }

    /// The layers behind class capsules `[classes, dim]`, up to an image of `pixels` values; none without a decoder.
    pub fn layers(&self, classes: usize, dim: usize, pixels: usize) -> Option<DecoderLayers> {
        let keeps_all = match self.decoder {
            Decoder::Full => true,
            Decoder::Small => false,
            Decoder::None => return None,
        };
        let mask = MaskLayer { classes, dim, keeps_all, reconstruction_weight: self.weight };
        let dense = |name, inputs, outputs, activation| DenseLayer { name, inputs, outputs, activation };
        let [first, second] = self.hidden;
        Some(DecoderLayers {
            mask,
            dense: [
                dense("decoder.0", mask.values(), first, Activation::Relu),
                dense("decoder.2", first, second, Activation::Relu),
                dense("decoder.4", second, pixels, Activation::None),
            ],
        })
    }
}

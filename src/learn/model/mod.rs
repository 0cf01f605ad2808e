//! The networks: CapsNet (Sabour, Frosst, Hinton 2017) with its light-weight variants, and LeNet-5.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use fastrcaps::learn::{data::ImageShape, model::{Mask, Network, config::{ModelConfig, preset}, parameters::Parameters}};
//!
//! let shape = ImageShape { channels: 1, height: 28, width: 28 };
//! let config = ModelConfig::Capsnet(preset("tiny").unwrap());
//! let parameters = Parameters::new(0);
//! let network = Network::new(&config, shape, 10, parameters.builder(DType::F32, &Device::Cpu))?;
//! let images = Tensor::zeros((2, 1, 28, 28), DType::F32, &Device::Cpu)?;
//! let labels = Tensor::new(&[3u32, 7], &Device::Cpu)?;
//! let output = network.forward(&images, Mask::TrueLabels(&labels))?;
//! assert_eq!(output.scores.dims(), [2, 10]);
//! let gradients = network.loss(&output, &images, &labels)?.backward()?;
//! # Ok::<(), anyhow::Error>(())
//! ```

pub mod capsules;
pub mod config;
pub mod decoder;
#[cfg(feature = "cuda")]
pub mod device_pass;
pub mod layers;
pub mod lenet;
pub mod loss;
pub mod parameters;
pub mod pass;
pub mod tensor_file;

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::learn::data::ImageShape;
use capsules::{ClassCapsules, PrimaryCapsules};
use config::ModelConfig;
use decoder::Decoder;
use lenet::LeNet;

/// A network that classifies images.
pub enum Network {
    Capsnet(CapsNet),
    Lenet5(LeNet),
}

/// A capsule network.
pub struct CapsNet {
    primary: PrimaryCapsules,
    classes: ClassCapsules,
    decoder: Option<Decoder>,
    reconstruction_weight: f64,
}

/// Which class capsule the decoder reconstructs the image from.
#[derive(Clone, Copy, Debug)]
pub enum Mask<'a> {
    /// That of the true label, u32 `[batch]`: in training.
    TrueLabels(&'a Tensor),
    /// The longest: in evaluation.
    Longest,
    /// None: the decoder does not run.
    NoReconstruction,
}

/// What a network says about a batch.
#[derive(Clone, Debug)]
pub struct Output {
    /// Lengths of the class capsules, or logits: `[batch, classes]`, the largest is the prediction.
    pub scores: Tensor,
    /// `[batch, pixels]`, where there is a decoder and it ran.
    pub reconstruction: Option<Tensor>,
}

impl Network {
    /// Builds the network; `config` has been validated for `shape`.
    pub fn new(config: &ModelConfig, shape: ImageShape, classes: usize, builder: VarBuilder) -> Result<Self> {
        Ok(match config {
            ModelConfig::Capsnet(config) => Network::Capsnet(CapsNet {
                primary: PrimaryCapsules::new(config, shape, builder.clone())?,
                classes: ClassCapsules::new(config, shape, classes, builder.pp("class_caps"))?,
                decoder: Decoder::new(config, classes, shape.pixels(), builder.pp("decoder"))?,
                reconstruction_weight: config.reconstruction_weight,
            }),
            ModelConfig::Lenet5 => Network::Lenet5(LeNet::new(shape, classes, builder)?),
        })
    }

    /// Classifies images `[batch, c, h, w]`, values in 0..=1, and reconstructs them if there is a decoder.
    pub fn forward(&self, images: &Tensor, mask: Mask) -> Result<Output> {
        match self {
            Network::Capsnet(network) => network.forward(images, mask),
            Network::Lenet5(network) => Ok(Output { scores: network.forward(images)?, reconstruction: None }),
        }
    }

    /// The scalar that training minimises, mean over the batch; labels u32 `[batch]`.
    ///
    /// CapsNet: margin loss + reconstruction_weight × summed squared reconstruction error. LeNet-5: cross-entropy.
    pub fn loss(&self, output: &Output, images: &Tensor, labels: &Tensor) -> Result<Tensor> {
        match self {
            Network::Lenet5(_) => loss::cross_entropy(&output.scores, labels),
            Network::Capsnet(network) => {
                let margin = loss::margin(&output.scores, labels)?;
                match &output.reconstruction {
                    Some(r) => margin + (loss::reconstruction(r, images)? * network.reconstruction_weight)?,
                    None => Ok(margin),
                }
            }
        }
    }
}

/// Index of the first largest value; NaN is never the largest.
pub fn argmax<T: PartialOrd>(values: &[T]) -> usize {
    let is_nan = |value: &T| value.partial_cmp(value).is_none();
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] || is_nan(&values[best]) {
            best = index;
        }
    }
    best
}

impl CapsNet {
    fn forward(&self, images: &Tensor, mask: Mask) -> Result<Output> {
        let capsules = self.classes.forward(&self.primary.forward(images)?)?;
        let scores = capsules::lengths(&capsules)?;
        let reconstruction = match (&self.decoder, mask) {
            (None, _) | (_, Mask::NoReconstruction) => None,
            (Some(decoder), Mask::TrueLabels(labels)) => Some(decoder.forward(&capsules, labels)?),
            (Some(decoder), Mask::Longest) => Some(decoder.forward(&capsules, &scores.argmax(1)?)?),
        };
        Ok(Output { scores, reconstruction })
    }
}

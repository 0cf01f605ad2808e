//! The networks: CapsNet (Sabour, Frosst, Hinton 2017) with its light-weight variants, Efficient-CapsNet, and LeNet-5.
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

pub mod attention;
pub mod capsules;
mod checks;
pub mod config;
pub mod decoder;
#[cfg(feature = "cuda")]
pub mod device_pass;
pub mod efficient;
pub mod graph_work;
pub mod layers;
pub mod layout;
pub mod lenet;
pub mod loss;
pub mod norm;
pub mod parameters;
pub mod pass;
mod reconstruction;
pub mod scope;
pub mod tensor_file;

use candle_core::{Result, Tensor, bail};
use candle_nn::VarBuilder;

use crate::learn::{data::ImageShape, kernels};
use attention::{AttentionCapsules, DepthwiseCapsules};
use capsules::{ClassCapsules, HomogeneousCapsules};
use config::ModelConfig;
use decoder::Decoder;
use layers::{Conv2d, Linear};
use layout::{Layer, PrimaryCapsuleLayer};
use norm::{BatchNorm, Mode};
use scope::Scope;

/// A network that classifies images, in candle's graph: any network whose layers are those of [`layout::Layer`].
pub struct Network {
    layers: Vec<Built>,
    decoder: Option<Decoder>,
}

/// A layer with its variables.
enum Built {
    Convolution(Conv2d),
    MaxPool,
    PrimaryCapsules(PrimaryCapsuleLayer),
    ClassCapsules(ClassCapsules),
    HomogeneousCapsules(HomogeneousCapsules),
    BatchNorm(BatchNorm),
    DepthwiseCapsules(DepthwiseCapsules),
    AttentionCapsules(AttentionCapsules),
    Dense(Linear),
}

impl Built {
    fn has_weight(&self) -> bool {
        !matches!(self, Built::MaxPool | Built::PrimaryCapsules(_))
    }
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
        let mut network = Network { layers: Vec::new(), decoder: None };
        for layer in config.layers(shape, classes) {
            let built = match layer {
                Layer::Convolution(layer) => Built::Convolution(Conv2d::new(&layer, &builder)?),
                Layer::MaxPool(_) => Built::MaxPool,
                Layer::PrimaryCapsules(layer) => Built::PrimaryCapsules(layer),
                Layer::ClassCapsules(layer) => Built::ClassCapsules(ClassCapsules::new(&layer, &builder)?),
                Layer::HomogeneousCapsules(layer) => {
                    Built::HomogeneousCapsules(HomogeneousCapsules::new(&layer, &builder)?)
                }
                Layer::BatchNorm(layer) => Built::BatchNorm(BatchNorm::new(&layer, &builder)?),
                Layer::DepthwiseCapsules(layer) => Built::DepthwiseCapsules(DepthwiseCapsules::new(&layer, &builder)?),
                Layer::AttentionCapsules(layer) => Built::AttentionCapsules(AttentionCapsules::new(&layer, &builder)?),
                Layer::Mask(mask) => {
                    network.decoder = Some(Decoder { mask, layers: Vec::new() });
                    continue;
                }
                Layer::Dense(layer) => Built::Dense(Linear::new(&layer, &builder)?),
            };
            match (&mut network.decoder, built) {
                (None, built) => network.layers.push(built),
                (Some(decoder), Built::Dense(layer)) => decoder.layers.push(layer),
                (Some(_), _) => bail!("a decoder has dense layers only"),
            }
        }
        Ok(network)
    }

    /// Classifies images `[batch, c, h, w]`, values in 0..=1, and reconstructs them if there is a decoder.
    pub fn forward(&self, images: &Tensor, mask: Mask) -> Result<Output> {
        self.compute(Mode::Evaluation, Scope::default(), images, mask)
    }

    /// [`Network::forward`] in step `step` of a training, counted from 1, that computes and trains what `scope` says: variables that
    /// it does not train have no gradient. Batch normalisation goes by the batch, and the running statistics take that in.
    pub fn forward_in_step(&self, step: u64, scope: Scope, images: &Tensor, mask: Mask) -> Result<Output> {
        self.compute(Mode::Training { step }, scope, images, mask)
    }

    fn compute(&self, mode: Mode, scope: Scope, images: &Tensor, mask: Mask) -> Result<Output> {
        let mask = if scope.skips_decoder { Mask::NoReconstruction } else { mask };
        let mut x = images.clone();
        let mut frozen = scope.frozen.layers();
        for layer in &self.layers {
            let is_frozen = frozen > 0 && layer.has_weight();
            x = match layer {
                Built::Convolution(layer) => layer.forward(&x)?,
                Built::MaxPool => kernels::max_pool_2x2(&x)?,
                Built::PrimaryCapsules(layer) => capsules::primary_capsules(&x, layer)?,
                Built::ClassCapsules(layer) => layer.forward(&x, scope.iterations)?,
                Built::HomogeneousCapsules(layer) => layer.forward(&x)?,
                Built::BatchNorm(layer) => layer.forward(&x, mode)?,
                Built::DepthwiseCapsules(layer) => layer.forward(&x)?,
                Built::AttentionCapsules(layer) => layer.forward(&x)?,
                Built::Dense(layer) => layer.forward(&x)?,
            };
            if is_frozen {
                frozen -= 1;
                x = x.detach();
            }
        }
        let scores = if self.has_class_capsules() { capsules::lengths(&x)? } else { x.clone() };
        let reconstruction = match (&self.decoder, mask) {
            (None, _) | (_, Mask::NoReconstruction) => None,
            (Some(decoder), Mask::TrueLabels(labels)) => Some(decoder.forward(&x, labels)?),
            (Some(decoder), Mask::Longest) => Some(decoder.forward(&x, &scores.argmax(1)?)?),
        };
        Ok(Output { scores, reconstruction })
    }

    /// The scalar that training minimises, mean over the batch; labels u32 `[batch]`.
    ///
    /// Of class capsules: margin loss + reconstruction_weight × summed squared reconstruction error. Of logits: cross-entropy.
    pub fn loss(&self, output: &Output, images: &Tensor, labels: &Tensor) -> Result<Tensor> {
        if !self.has_class_capsules() {
            return loss::cross_entropy(&output.scores, labels);
        }
        let margin = loss::margin(&output.scores, labels)?;
        match (&output.reconstruction, &self.decoder) {
            (Some(reconstruction), Some(decoder)) => {
                margin + (loss::reconstruction(reconstruction, images)? * decoder.mask.reconstruction_weight)?
            }
            _ => Ok(margin),
        }
    }

    /// Whether it is class capsules that classify, not logits.
    pub fn has_class_capsules(&self) -> bool {
        matches!(
            self.layers.last(),
            Some(Built::ClassCapsules(_) | Built::HomogeneousCapsules(_) | Built::AttentionCapsules(_))
        )
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

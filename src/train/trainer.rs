//! One optimizer step, and what it needs.

use std::time::{Duration, Instant};

use anyhow::Result;
use candle_core::{DType, Device, Tensor};

use super::evaluate::count_correct;
use crate::{
    config::{TrainConfig, TrialConfig},
    data::{
        Dataset,
        batch::{Shift, gather},
    },
    kernels::adam::{Adam, Constants},
    model::{Mask, Network, parameters::Parameters},
};

/// A network in training, with its optimizer and its buffers.
pub struct Trainer {
    pub parameters: Parameters,
    pub network: Network,
    adam: Adam,
    seed: u64,
    shift: usize,
    pixels: Vec<f32>,
    labels: Vec<u32>,
}

/// What a step did.
#[derive(Clone, Copy, Debug)]
pub struct StepOutcome {
    /// Mean over the batch, before the step.
    pub loss: f64,
    /// Samples of the batch that were classified rightly, before the step.
    pub correct: usize,
    /// Batch assembly, forward, backward and optimizer.
    pub duration: Duration,
}

impl Trainer {
    /// A network with its initial weights, which depend on the config's seed and the shapes alone.
    pub fn new(config: &TrialConfig, data: &Dataset) -> Result<Trainer> {
        let parameters = Parameters::new(config.seed);
        let builder = parameters.builder(DType::F32, &Device::Cpu);
        let network = Network::new(&config.model, data.shape, data.classes, builder)?;
        let TrainConfig { beta1, beta2, epsilon, .. } = config.train;
        let adam = Adam::new(parameters.vars(), Constants { beta1, beta2, epsilon })?;
        let shift = config.data.shift;
        Ok(Trainer { parameters, network, adam, seed: config.seed, shift, pixels: Vec::new(), labels: Vec::new() })
    }

    /// Trains on the training samples `indices`, seen in epoch `epoch`.
    pub fn step(&mut self, data: &Dataset, indices: &[u32], epoch: usize, learning_rate: f64) -> Result<StepOutcome> {
        let start = Instant::now();
        let (images, labels) = self.batch(data, indices, epoch)?;
        let output = self.network.forward(&images, Mask::TrueLabels(&labels))?;
        let loss = self.network.loss(&output, &images, &labels)?;
        let gradients = loss.backward()?;
        self.adam.step(&gradients, learning_rate)?;
        let loss = f64::from(loss.to_scalar::<f32>()?);
        let duration = start.elapsed();
        let correct = count_correct(&output.scores.to_vec2()?, &self.labels);
        Ok(StepOutcome { loss, correct, duration })
    }

    /// Augmented images `[batch, channels, height, width]` in 0..=1 and their labels `[batch]`.
    fn batch(&mut self, data: &Dataset, indices: &[u32], epoch: usize) -> Result<(Tensor, Tensor)> {
        let shape = data.shape;
        self.pixels.resize(indices.len() * shape.pixels(), 0.0);
        self.labels.resize(indices.len(), 0);
        let shift = Shift { max: self.shift, seed: self.seed, epoch };
        gather(&data.train, shape, indices, Some(shift), &mut self.pixels, &mut self.labels);
        let size = (indices.len(), shape.channels, shape.height, shape.width);
        let images = Tensor::from_slice(&self.pixels, size, &Device::Cpu)?;
        let labels = Tensor::from_slice(&self.labels, indices.len(), &Device::Cpu)?;
        Ok((images, labels))
    }
}

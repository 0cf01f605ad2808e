//! One optimizer step, and what it needs.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Result;
use candle_core::{DType, Device, Tensor};

use super::{
    evaluate::{self, Evaluation, count_correct},
    laps::{Laps, Part, Watched},
};
use crate::{
    config::{TrainConfig, TrialConfig},
    data::{
        Dataset, Images,
        batch::{Shift, gather},
    },
    kernels::adam::{Adam, Constants},
    model::{
        Mask, Network,
        config::ModelConfig,
        parameters::Parameters,
        pass::{Pass, Work},
    },
};

/// A network in training, with its optimizer and its buffers.
pub struct Trainer {
    pub parameters: Parameters,
    pub network: Network,
    /// What trains capsule networks; others are trained through candle's graph.
    pass: Option<Box<Pass<f32>>>,
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
    /// A network with its initial weights, which depend on the config's seed and the shapes alone, to be trained on `device`.
    pub fn new(config: &TrialConfig, data: &Dataset, device: &Device) -> Result<Trainer> {
        anyhow::ensure!(device.is_cpu(), "not on {device:?}");
        let parameters = Parameters::new(config.seed);
        let builder = parameters.builder(DType::F32, &Device::Cpu);
        let network = Network::new(&config.model, data.shape, data.classes, builder)?;
        let pass = match &config.model {
            ModelConfig::Capsnet(model) => Some(Box::new(Pass::new(model, data.shape, data.classes, &parameters)?)),
            ModelConfig::Lenet5 => None,
        };
        let TrainConfig { beta1, beta2, epsilon, .. } = config.train;
        let adam = Adam::new(parameters.vars(), Constants { beta1, beta2, epsilon })?;
        let shift = config.data.shift;
        Ok(Trainer { parameters, network, pass, adam, seed: config.seed, shift, pixels: vec![], labels: vec![] })
    }

    /// Trains on the training samples `indices`, seen in epoch `epoch`.
    pub fn step(&mut self, data: &Dataset, indices: &[u32], epoch: usize, learning_rate: f64) -> Result<StepOutcome> {
        self.timed_step(data, indices, epoch, learning_rate, None)
    }

    /// [`Trainer::step`], its time told apart.
    pub fn step_in_parts(
        &mut self,
        data: &Dataset,
        indices: &[u32],
        epoch: usize,
        learning_rate: f64,
        laps: &mut Laps,
    ) -> Result<StepOutcome> {
        self.timed_step(data, indices, epoch, learning_rate, Some(laps))
    }

    fn timed_step(
        &mut self,
        data: &Dataset,
        indices: &[u32],
        epoch: usize,
        learning_rate: f64,
        mut laps: Option<&mut Laps>,
    ) -> Result<StepOutcome> {
        let start = Instant::now();
        laps.iter_mut().for_each(|laps| laps.begin());
        let shift = Shift { max: self.shift, seed: self.seed, epoch };
        self.gather(data, &data.train, indices, Some(shift));
        laps.iter_mut().for_each(|laps| laps.end(Part::Batch));
        let Some(pass) = &mut self.pass else {
            let (loss, scores) = self.step_in_graph(data, learning_rate, laps)?;
            let duration = start.elapsed();
            return Ok(StepOutcome { loss, correct: count_correct(&scores, &self.labels), duration });
        };
        self.adam.begin(learning_rate);
        let loss = match laps {
            None => pass.train(&self.pixels, &self.labels, &mut self.adam)?,
            Some(laps) => pass.train(&self.pixels, &self.labels, &mut Watched { adam: &mut self.adam, laps })?,
        };
        let duration = start.elapsed();
        Ok(StepOutcome { loss, correct: count_correct(pass.scores(), &self.labels), duration })
    }

    /// A step through candle's graph: the loss, and the scores of the batch.
    fn step_in_graph(
        &mut self,
        data: &Dataset,
        learning_rate: f64,
        mut laps: Option<&mut Laps>,
    ) -> Result<(f64, Vec<f32>)> {
        let (images, labels) = evaluate::tensors(data.shape, &self.pixels, &self.labels)?;
        let output = self.network.forward(&images, Mask::TrueLabels(&labels))?;
        let loss = self.network.loss(&output, &images, &labels)?;
        let gradients = loss.backward()?;
        laps.iter_mut().for_each(|laps| laps.end(Part::Graph));
        self.adam.step(&gradients, learning_rate)?;
        laps.iter_mut().for_each(|laps| laps.end(Part::Adam));
        Ok((f64::from(loss.to_scalar::<f32>()?), output.scores.flatten_all()?.to_vec1()?))
    }

    /// The work of the parts of the last step, as far as it is known.
    pub fn work(&self) -> Vec<(Part, Work)> {
        let pixels = self.pixels.len();
        let parameters = self.parameters.count();
        // Bytes of images become floats; values and both moments are read and written.
        let own = [
            (Part::Batch, Work::moving(pixels * (size_of::<u8>() + size_of::<f32>()))),
            (Part::Adam, Work::moving(6 * parameters * size_of::<f32>())),
        ];
        let stages = self.pass.iter().flat_map(|pass| pass.work());
        own.into_iter().chain(stages.map(|(stage, work)| (Part::Pass(stage), work))).collect()
    }

    /// Loss and accuracy of the network on `images`, which belong to `data`.
    pub fn evaluate(&mut self, data: &Dataset, images: &Images) -> Result<Evaluation> {
        let (mut loss, mut correct) = (0.0, 0);
        for (start, count) in evaluate::batches(images.len()) {
            let indices: [u32; evaluate::BATCH] = std::array::from_fn(|index| (start + index) as u32);
            self.gather(data, images, &indices[..count], None);
            let batch_loss = match &mut self.pass {
                Some(pass) => {
                    let loss = pass.evaluate(&self.pixels, &self.labels)?;
                    correct += count_correct(pass.scores(), &self.labels);
                    loss
                }
                None => {
                    let (images, labels) = evaluate::tensors(data.shape, &self.pixels, &self.labels)?;
                    let output = self.network.forward(&images, Mask::Longest)?;
                    correct += count_correct(&output.scores.flatten_all()?.to_vec1()?, &self.labels);
                    f64::from(self.network.loss(&output, &images, &labels)?.to_scalar::<f32>()?)
                }
            };
            loss += batch_loss * count as f64;
        }
        let count = images.len() as f64;
        Ok(Evaluation { loss: loss / count, accuracy: correct as f64 / count })
    }

    /// What a checkpoint holds of the optimizer: its steps, and its moments by variable, which the next step changes.
    pub(super) fn optimizer(&self) -> (u64, BTreeMap<String, Tensor>) {
        self.adam.view()
    }

    /// Goes on after `steps` steps, whose weights and moments stand in their tensors by now. Nothing else is kept from step to
    /// step.
    pub(super) fn go_on_after(&mut self, steps: u64) {
        self.adam.go_on_after(steps);
    }

    /// Fills `pixels` `[batch, channels, height, width]`, in 0..=1, and `labels` `[batch]`.
    fn gather(&mut self, data: &Dataset, images: &Images, indices: &[u32], shift: Option<Shift>) {
        self.pixels.resize(indices.len() * data.shape.pixels(), 0.0);
        self.labels.resize(indices.len(), 0);
        gather(images, data.shape, indices, shift, &mut self.pixels, &mut self.labels);
    }
}

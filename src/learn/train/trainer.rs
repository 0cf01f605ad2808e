//! One optimizer step, and what it needs.

mod work;

use std::{collections::BTreeMap, path::Path, time::Instant};

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor};

#[cfg(feature = "cuda")]
use super::on_device::{Most, OnDevice, Plan};
use super::{
    evaluate::{self, Evaluation, count_correct},
    laps::{Laps, Part, Watched},
    outcome::StepOutcome,
    rule::rule,
    update::Update,
};
use crate::learn::{
    config::{OptimizerConfig, TrialConfig},
    data::{
        Dataset, Images,
        batch::{Shift, gather},
    },
    kernels::{self, Average, Optimizer, loss},
    model::{
        Mask, Network,
        config::{ModelConfig, Precision},
        layout::Layer,
        parameters::{Parameters, Snapshot},
        pass::Pass,
        scope::Scope,
    },
};

/// A network in training, with its optimizer and its buffers.
pub struct Trainer {
    pub parameters: Parameters,
    pub network: Network,
    engine: Engine,
    optimizer: Optimizer,
    /// Of the weights, by which the network is judged, if the configuration has one.
    average: Option<Average>,
    seed: u64,
    shift: usize,
    /// Of steps that were taken and not yet asked for.
    outcomes: Vec<StepOutcome>,
    /// The name of the GPU that computes, if one does.
    gpu: Option<String>,
    pixels: Vec<f32>,
    labels: Vec<u32>,
    /// Of the samples of the last step, before it, where the schedule asks for them.
    losses: Option<Vec<f32>>,
}

/// What computes the steps.
enum Engine {
    /// A capsule network on CPU cores.
    Pass(Box<Pass<f32>>),
    /// Another network there: its layers, and what the last step computed and trained of them.
    Graph(Vec<Layer>, Scope),
    /// A capsule network on a CUDA GPU; the parameters and the optimizer's moments of the trainer are where its own are brought.
    #[cfg(feature = "cuda")]
    Device(Box<OnDevice>),
}

impl Trainer {
    /// A network with its initial weights, which depend on the config's seed and the shapes alone, to be trained on `device`.
    ///
    /// From now on the calling thread and those of its rayon pool flush denormal numbers to zero.
    pub fn new(config: &TrialConfig, data: &Dataset, device: &Device) -> Result<Trainer> {
        kernels::flush_denormals_in_pool();
        let parameters = Parameters::new(config.seed);
        let builder = parameters.builder(DType::F32, &Device::Cpu);
        let network = Network::new(&config.model, data.shape, data.classes, builder)?;
        let optimizer = Optimizer::new(parameters.trained(), rule(&config.train))?;
        let engine = Engine::new(config, data, &parameters, &optimizer, device)?;
        let average = match (config.train.ema, config.train.optimizer) {
            (Some(ema), _) => Some(Average::new(parameters.vars(), ema.decay)?),
            (None, OptimizerConfig::ScheduleFree { .. }) => Some(Average::found(parameters.vars())?),
            (None, _) => None,
        };
        Ok(Trainer {
            parameters,
            network,
            engine,
            optimizer,
            average,
            seed: config.seed,
            shift: config.data.shift,
            outcomes: vec![],
            gpu: gpu_name(device)?,
            pixels: vec![],
            labels: vec![],
            losses: (!config.schedule.samples.is_all()).then(Vec::new),
        })
    }

    /// Trains on the training samples `indices`, seen in epoch `epoch`, and waits for the outcome.
    pub fn step(
        &mut self,
        data: &Dataset,
        indices: &[u32],
        epoch: usize,
        update: impl Into<Update>,
    ) -> Result<StepOutcome> {
        self.enqueue(data, indices, epoch, update)?;
        self.settle()?.pop().context("a step without an outcome")
    }

    /// Tells of the steps of epoch `epoch` that are to be enqueued next, by their number of samples, in `order`, and how they are taken:
    /// a GPU takes all of them at once then. Others may be enqueued all the same.
    pub fn prepare(&mut self, data: &Dataset, order: &[u32], epoch: usize, steps: Vec<(usize, Update)>) -> Result<()> {
        match &mut self.engine {
            #[cfg(feature = "cuda")]
            Engine::Device(device) => {
                device.prepare(Plan { data, epoch, order, steps }, &self.parameters, &self.optimizer)
            }
            _ => {
                let _ = (data, order, epoch, steps);
                Ok(())
            }
        }
    }

    /// [`Trainer::step`] whose outcome [`Trainer::settle`] gives: a GPU goes on with it while the next is enqueued.
    pub fn enqueue(&mut self, data: &Dataset, indices: &[u32], epoch: usize, update: impl Into<Update>) -> Result<()> {
        let update = update.into();
        #[cfg(feature = "cuda")]
        if let Engine::Device(device) = &mut self.engine {
            return device.enqueue(data, indices, epoch, update, &self.parameters, &mut self.optimizer);
        }
        let outcome = self.timed_step(data, indices, epoch, update, None)?;
        self.outcomes.push(outcome);
        Ok(())
    }

    /// What the steps did that were enqueued since the last call, once they are done.
    pub fn settle(&mut self) -> Result<Vec<StepOutcome>> {
        #[cfg(feature = "cuda")]
        if let Engine::Device(device) = &mut self.engine {
            return device.settle();
        }
        Ok(std::mem::take(&mut self.outcomes))
    }

    /// Whether steps go on while others are enqueued, so that their outcomes are better asked for by many.
    pub fn is_asynchronous(&self) -> bool {
        match &self.engine {
            #[cfg(feature = "cuda")]
            Engine::Device(_) => true,
            _ => false,
        }
    }

    /// The name of the GPU that computes the steps; none of CPU cores.
    pub fn gpu(&self) -> Option<&str> {
        self.gpu.as_deref()
    }

    /// Brings what is trained to `parameters` and the optimizer, if it is elsewhere: before these are looked at.
    pub fn pull(&mut self) -> Result<()> {
        match &mut self.engine {
            #[cfg(feature = "cuda")]
            Engine::Device(device) => device.pull(&self.parameters, &self.optimizer),
            _ => Ok(()),
        }
    }

    /// Takes what stands in `parameters` and the optimizer as what is trained.
    fn push(&mut self) -> Result<()> {
        match &mut self.engine {
            #[cfg(feature = "cuda")]
            Engine::Device(device) => device.push(&self.parameters, &self.optimizer),
            _ => Ok(()),
        }
    }

    /// A copy of all weights that the network is judged by: of their average, where there is one.
    pub fn snapshot(&mut self) -> Result<Snapshot> {
        self.pull()?;
        self.find_average()?;
        match &self.average {
            None => Ok(self.parameters.snapshot()?),
            Some(average) => Ok(Snapshot::from(average.view()).copy()?),
        }
    }

    /// Puts the weights of a snapshot back; an average begins anew with them.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.pull()?;
        self.parameters.restore(snapshot)?;
        self.begin_at_weights()
    }

    /// [`Trainer::restore`] of weights in a file.
    pub fn load(&mut self, path: &Path) -> Result<()> {
        self.pull()?;
        self.parameters.load(path)?;
        self.begin_at_weights()
    }

    fn begin_at_weights(&mut self) -> Result<()> {
        if let Some(average) = &mut self.average {
            average.reset()?;
        }
        self.optimizer.begin_at_values()?;
        self.push()
    }

    /// [`Trainer::step`], its time told apart.
    pub fn step_in_parts(
        &mut self,
        data: &Dataset,
        indices: &[u32],
        epoch: usize,
        update: impl Into<Update>,
        laps: &mut Laps,
    ) -> Result<StepOutcome> {
        self.timed_step(data, indices, epoch, update.into(), Some(laps))
    }

    fn timed_step(
        &mut self,
        data: &Dataset,
        indices: &[u32],
        epoch: usize,
        update: Update,
        mut laps: Option<&mut Laps>,
    ) -> Result<StepOutcome> {
        #[cfg(feature = "cuda")]
        if let (Engine::Device(device), Some(laps)) = (&mut self.engine, &mut laps) {
            return device.step_in_parts(data, indices, epoch, update, laps, &self.parameters, &mut self.optimizer);
        }
        // This thread may be another than the one that made the trainer.
        kernels::flush_denormals();
        let start = Instant::now();
        laps.iter_mut().for_each(|laps| laps.begin());
        let shift = Shift { max: self.shift, seed: self.seed, epoch };
        self.gather(data, &data.train, indices, Some(shift));
        laps.iter_mut().for_each(|laps| laps.end(Part::Batch));
        let (loss, scores) = if let Engine::Pass(pass) = &mut self.engine {
            let Update { learning_rate, scope } = update;
            self.optimizer.begin(learning_rate);
            let optimizer = &mut self.optimizer;
            let loss = match &mut laps {
                None => pass.train_within(scope, &self.pixels, &self.labels, optimizer)?,
                Some(laps) => pass.train_within(scope, &self.pixels, &self.labels, &mut Watched { optimizer, laps })?,
            };
            (loss, None)
        } else {
            let (loss, scores) = self.step_in_graph(data, update, laps.as_deref_mut())?;
            (loss, Some(scores))
        };
        if let Some(average) = self.average.as_mut().filter(|average| average.is_kept()) {
            average.step(self.optimizer.steps())?;
            laps.iter_mut().for_each(|laps| laps.end(Part::Average));
        }
        let scores = match (&scores, &self.engine) {
            (Some(scores), _) => scores.as_slice(),
            (None, Engine::Pass(pass)) => pass.scores(),
            (None, _) => bail!("a step without scores"),
        };
        if let Some(losses) = &mut self.losses {
            losses.clear();
            match self.network.has_class_capsules() {
                true => losses.extend(loss::margins(scores, &self.labels).map(|loss| loss as f32)),
                false => losses.extend(loss::cross_entropies(scores, &self.labels).map(|loss| loss as f32)),
            }
        }
        let duration = start.elapsed();
        Ok(StepOutcome { loss, correct: count_correct(scores, &self.labels), duration })
    }

    /// The loss of each sample of the last step by its class, before the step: the margin loss without the reconstruction, or the
    /// cross-entropy. Empty where the schedule does not choose samples by it.
    pub fn losses(&self) -> &[f32] {
        self.losses.as_deref().unwrap_or_default()
    }

    /// A step through candle's graph: the loss, and the scores of the batch.
    fn step_in_graph(
        &mut self,
        data: &Dataset,
        Update { learning_rate, scope }: Update,
        mut laps: Option<&mut Laps>,
    ) -> Result<(f64, Vec<f32>)> {
        let (images, labels) = evaluate::tensors(data.shape, &self.pixels, &self.labels)?;
        let step = self.optimizer.steps() + 1;
        let output = self.network.forward_in_step(step, scope, &images, Mask::TrueLabels(&labels))?;
        let loss = self.network.loss(&output, &images, &labels)?;
        let gradients = loss.backward()?;
        if let Engine::Graph(_, last) = &mut self.engine {
            *last = scope;
        }
        laps.iter_mut().for_each(|laps| laps.end(Part::Graph));
        self.optimizer.step(&gradients, learning_rate)?;
        laps.iter_mut().for_each(|laps| laps.end(Part::Optimizer));
        Ok((f64::from(loss.to_scalar::<f32>()?), output.scores.flatten_all()?.to_vec1()?))
    }

    /// Loss and accuracy of the network on `images`, which belong to `data`: of its average weights, where it has some.
    pub fn evaluate(&mut self, data: &Dataset, images: &Images) -> Result<Evaluation> {
        kernels::flush_denormals();
        self.find_average()?;
        self.swap_average()?;
        let evaluated = self.evaluate_weights(data, images);
        // Whatever came of it, the training goes on with its own weights.
        self.swap_average()?;
        evaluated
    }

    /// Brings an average that is not kept from step to step up to the last one.
    fn find_average(&mut self) -> Result<()> {
        Ok(self.average.as_mut().map_or(Ok(()), |average| self.optimizer.find(average))?)
    }

    /// Puts the average, where there is one, in the place of the weights, or back.
    fn swap_average(&mut self) -> Result<()> {
        Ok(self.average.as_mut().map_or(Ok(()), Average::swap)?)
    }

    fn evaluate_weights(&mut self, data: &Dataset, images: &Images) -> Result<Evaluation> {
        #[cfg(feature = "cuda")]
        if let Engine::Device(device) = &mut self.engine {
            let (loss, correct) = device.evaluate(images)?;
            let count = images.len() as f64;
            return Ok(Evaluation { loss: loss / count, accuracy: correct as f64 / count });
        }
        let (mut loss, mut correct) = (0.0, 0);
        for (start, count) in evaluate::batches(images.len()) {
            let indices: [u32; evaluate::BATCH] = std::array::from_fn(|index| (start + index) as u32);
            self.gather(data, images, &indices[..count], None);
            let batch_loss = match &mut self.engine {
                Engine::Pass(pass) => {
                    let loss = pass.evaluate(&self.pixels, &self.labels)?;
                    correct += count_correct(pass.scores(), &self.labels);
                    loss
                }
                _ => {
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
        self.optimizer.view()
    }

    /// Beside these what [`Optimizer::squares`] is.
    pub(super) fn squares(&self) -> Option<f64> {
        self.optimizer.squares()
    }

    /// The average of the weights by variable, which the next step changes; empty where none is kept from step to step.
    pub(super) fn average(&self) -> BTreeMap<String, Tensor> {
        self.average.as_ref().filter(|average| average.is_kept()).map_or_else(BTreeMap::new, Average::view)
    }

    /// Goes on after `steps` steps, whose weights, moments and average stand in their tensors by now, and whose
    /// [`Optimizer::squares`] are these. Nothing else is kept from step to step.
    pub(super) fn go_on_after(&mut self, steps: u64, squares: Option<f64>) -> Result<()> {
        self.optimizer.go_on_after(steps, squares);
        self.push()
    }

    /// Fills `pixels` `[batch, channels, height, width]`, in 0..=1, and `labels` `[batch]`.
    fn gather(&mut self, data: &Dataset, images: &Images, indices: &[u32], shift: Option<Shift>) {
        self.pixels.resize(indices.len() * data.shape.pixels(), 0.0);
        self.labels.resize(indices.len(), 0);
        gather(images, data.shape, indices, shift, &mut self.pixels, &mut self.labels);
    }
}

impl Engine {
    fn new(
        config: &TrialConfig,
        data: &Dataset,
        parameters: &Parameters,
        optimizer: &Optimizer,
        device: &Device,
    ) -> Result<Engine> {
        let precision = config.train.precision;
        match (&config.model, device) {
            (_, Device::Cpu) if precision != Precision::F32 => bail!(
                "train.precision = {} is for CUDA GPUs: CPU cores compute in f32; give --device cuda:0, or a slot \
                 on a GPU",
                precision.as_str()
            ),
            (ModelConfig::Capsnet(model), Device::Cpu) => {
                Ok(Engine::Pass(Box::new(Pass::new(&model.layers(data.shape, data.classes), parameters)?)))
            }
            (model, Device::Cpu) => Ok(Engine::Graph(model.layers(data.shape, data.classes), Scope::default())),
            #[cfg(feature = "cuda")]
            (model, Device::Cuda(_)) => {
                config.check_for_gpu()?;
                let shift = config.data.shift;
                let epochs = config.train.epochs;
                let sizes = config.schedule.steps_by_size(epochs, epochs, data.train.len());
                let iterations = match model {
                    ModelConfig::Capsnet(model) => config.schedule.routing.most(model.routing_iterations),
                    ModelConfig::Lenet5 | ModelConfig::EfficientCapsnet(_) => 0,
                };
                let most = Most { samples: sizes.keys().max().copied().unwrap_or(0), iterations };
                let device =
                    OnDevice::new(model, precision, data, parameters, optimizer, device, config.seed, shift, most)?;
                Ok(Engine::Device(Box::new(device)))
            }
            (_, device) => {
                let _ = optimizer;
                bail!("no training on {device:?}")
            }
        }
    }
}

#[cfg(feature = "cuda")]
fn gpu_name(device: &Device) -> Result<Option<String>> {
    use crate::learn::kernels::cuda::Gpu;
    if device.is_cuda() { Ok(Some(Gpu::of(device)?.name()?)) } else { Ok(None) }
}

#[cfg(not(feature = "cuda"))]
fn gpu_name(_: &Device) -> Result<Option<String>> {
    Ok(None)
}

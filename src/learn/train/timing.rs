//! How long a step takes, and from it how long a training would.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use anyhow::Result;
use candle_core::Device;

use super::Trainer;
use crate::{
    base::stats::Spread,
    learn::{
        config::TrialConfig,
        data::{DataConfig, Dataset, DatasetName, Images, descriptor::Origin},
    },
};

/// How many steps are timed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub least: usize,
    pub most: usize,
    /// Time after which no step beyond the least is begun.
    pub patience: Duration,
}

/// Optimizer steps of a whole training on `samples` training samples, by number of samples in the step.
pub fn steps_by_size(config: &TrialConfig, samples: usize) -> BTreeMap<usize, u64> {
    let epochs = config.train.epochs;
    config.schedule.steps_by_size(epochs, epochs, samples)
}

/// Predicts how long trainings take on a device, from steps that it times there: each kind of step once.
pub struct StepClock {
    device: Device,
    known: HashMap<String, f64>,
    data: BTreeMap<&'static str, Dataset>,
}

/// A forward pass without its backward pass: roughly so much of a step's time.
const EVALUATION: f64 = 1.0 / 3.0;
/// Of a process: it starts, makes its network, writes its files.
const START_SECONDS: f64 = 0.1;
/// Reading an image of a published data set, of which all are read whatever is used of them.
const READ_SECONDS: f64 = 7e-6;
/// Drawing an image of a data set that is drawn.
const DRAW_SECONDS: f64 = 25e-6;

/// On CPU cores.
impl Default for StepClock {
    fn default() -> Self {
        StepClock::on(Device::Cpu)
    }
}

impl StepClock {
    pub fn on(device: Device) -> StepClock {
        StepClock { device, known: HashMap::new(), data: BTreeMap::new() }
    }

    /// Seconds of training steps that `config` would take, alone on the machine.
    pub fn predict(&mut self, config: &TrialConfig) -> Result<f64> {
        let mut seconds = 0.0;
        for (size, steps) in steps_by_size(config, config.data.counts().train) {
            seconds += self.step_seconds(config, size)? * steps as f64;
        }
        Ok(seconds)
    }

    /// Seconds from start to end of the process that trains `config`: with evaluation and start-up, which are guessed.
    pub fn predict_wall(&mut self, config: &TrialConfig) -> Result<f64> {
        let counts = config.data.counts();
        // The largest step is the closest to an evaluation's batches.
        let largest = steps_by_size(config, counts.train).into_keys().next_back().unwrap_or(1);
        let of_a_sample = self.step_seconds(config, largest)? / largest as f64;
        // Twice on test images: by the last weights and by the best ones.
        let evaluated = (config.train.epochs * counts.validation + 2 * counts.test) as f64;
        let set = config.data.name.descriptor();
        let loading = match set.origin {
            Origin::Drawn(_) => DRAW_SECONDS * (counts.train + counts.validation + counts.test) as f64,
            Origin::Files(_) => READ_SECONDS * (set.available.0 + set.available.1) as f64,
        };
        Ok(START_SECONDS + loading + self.predict(config)? + EVALUATION * evaluated * of_a_sample)
    }

    /// Seconds of one step: they depend on the network and the number of samples, not on the schedule.
    fn step_seconds(&mut self, config: &TrialConfig, size: usize) -> Result<f64> {
        let name = config.data.name;
        let TrialConfig { model, data: DataConfig { shift, .. }, train, .. } = config;
        let kind = format!("{} {model:?} {shift} {:?} {size}", name.as_str(), train.precision);
        if let Some(seconds) = self.known.get(&kind) {
            return Ok(*seconds);
        }
        let data = self.data.entry(name.as_str()).or_insert_with(|| stand_in(name));
        let seconds = time_step(config, data, &self.device, size)?;
        self.known.insert(kind, seconds);
        Ok(seconds)
    }
}

/// Median seconds of a step of `config` on `size` samples of `data`, after a first one that is not counted.
pub fn time_step(config: &TrialConfig, data: &Dataset, device: &Device, size: usize) -> Result<f64> {
    let mut trainer = Trainer::new(config, data, device)?;
    let limits = Limits { least: 1, most: 7, patience: Duration::from_millis(400) };
    if trainer.is_asynchronous() {
        return Ok(Spread::of(&in_training(&mut trainer, data, size, limits)?).median);
    }
    let indices = indices(data, size);
    let mut step = || Ok(trainer.step(data, &indices, 0, STILL)?.duration);
    step()?;
    let times = repeat(limits, step)?;
    Ok(Spread::of(&times).median)
}

/// A learning rate of almost 0: the weights stay what they are, the work is the same.
pub(super) const STILL: f64 = 1e-12;

/// Samples of a step of `size` samples, as often as it takes.
pub(super) fn indices(data: &Dataset, size: usize) -> Vec<u32> {
    (0..size).map(|index| (index % data.train.len()) as u32).collect()
}

/// Seconds of each of the steps that the limits allow.
pub(super) fn repeat(limits: Limits, mut step: impl FnMut() -> Result<Duration>) -> Result<Vec<f64>> {
    let (mut times, mut spent) = (Vec::new(), Duration::ZERO);
    while times.len() < limits.least || (times.len() < limits.most && spent < limits.patience) {
        let time = step()?;
        spent += time;
        times.push(time.as_secs_f64());
    }
    Ok(times)
}

/// Seconds of a step, the mean of each of several runs of steps that are enqueued together.
pub(super) fn in_training(trainer: &mut Trainer, data: &Dataset, batch: usize, limits: Limits) -> Result<Vec<f64>> {
    /// Steps of a run, and runs.
    const TOGETHER: usize = 20;
    const RUNS: usize = 7;
    let together = TOGETHER.min(limits.most);
    let order = indices(data, together * batch);
    let mut run = || -> Result<Duration> {
        trainer.prepare(data, &order, 0, vec![(batch, STILL); together])?;
        for indices in order.chunks_exact(batch) {
            trainer.enqueue(data, indices, 0, STILL)?;
        }
        let outcomes = trainer.settle()?;
        Ok(outcomes.iter().map(|outcome| outcome.duration).sum::<Duration>() / together as u32)
    };
    run()?;
    let runs = limits.least.div_ceil(together).max(RUNS.min(limits.most));
    repeat(Limits { least: runs, most: limits.most.div_ceil(together).max(runs), ..limits }, run)
}

/// Images of a data set's shape without its meaning: enough to time steps on, without its files.
pub fn stand_in(name: DatasetName) -> Dataset {
    const IMAGES: usize = 256;
    let (shape, classes) = (name.image_shape(), name.classes());
    let images = || Images {
        pixels: (0..IMAGES * shape.pixels()).map(|at| (at * 97 % 251) as u8).collect(),
        labels: (0..IMAGES).map(|at| (at % classes) as u8).collect(),
    };
    Dataset { shape, classes, train: images(), validation: images(), test: images(), fingerprint: String::new() }
}

//! How long a step takes, and from it how long a training would.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;

use super::Trainer;
use crate::{
    config::TrialConfig,
    data::{Dataset, DatasetName, Images},
    stats::Spread,
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
    let mut steps = BTreeMap::new();
    for epoch in 0..config.train.epochs {
        for step in config.schedule.epoch_steps(epoch, config.train.epochs, samples) {
            *steps.entry(step.samples.len()).or_default() += 1;
        }
    }
    steps
}

/// Median seconds of a step of `config` on `size` samples of `data`, after a first one that is not counted.
pub fn time_step(config: &TrialConfig, data: &Dataset, size: usize) -> Result<f64> {
    let mut trainer = Trainer::new(config, data)?;
    let indices = indices(data, size);
    let mut step = || Ok(trainer.step(data, &indices, 0, STILL)?.duration);
    step()?;
    let times = repeat(Limits { least: 1, most: 7, patience: Duration::from_millis(400) }, step)?;
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

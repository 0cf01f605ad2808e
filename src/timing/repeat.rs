//! The same step over and over, at a learning rate of almost 0: how long one takes.

use std::time::Duration;

use anyhow::Result;
use candle_core::Device;

use crate::{
    base::stats::Spread,
    learn::{
        config::TrialConfig,
        data::Dataset,
        model::scope::Scope,
        train::{Trainer, Update},
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

/// A learning rate of almost 0: the weights stay what they are, the work is the same.
const STILL: f64 = 1e-12;

/// Such a step.
pub(crate) fn still(scope: Scope) -> Update {
    Update { learning_rate: STILL, scope }
}

/// Median seconds of a step of `config` on `size` samples of `data` within `scope`, after a first one that is not counted.
pub fn step_seconds(config: &TrialConfig, data: &Dataset, device: &Device, size: usize, scope: Scope) -> Result<f64> {
    let mut trainer = Trainer::new(config, data, device)?;
    let limits = Limits { least: 1, most: 7, patience: Duration::from_millis(400) };
    if trainer.is_asynchronous() {
        return Ok(Spread::of(&together(&mut trainer, data, size, scope, limits)?).median);
    }
    let indices = indices(data, size);
    let mut step = || Ok(trainer.step(data, &indices, 0, still(scope))?.duration);
    step()?;
    let times = repeat(limits, step)?;
    Ok(Spread::of(&times).median)
}

/// Seconds of a step, the mean of each of several runs of steps that are enqueued together.
pub(crate) fn together(
    trainer: &mut Trainer,
    data: &Dataset,
    batch: usize,
    scope: Scope,
    limits: Limits,
) -> Result<Vec<f64>> {
    /// Steps of a run, and runs.
    const TOGETHER: usize = 20;
    const RUNS: usize = 7;
    let together = TOGETHER.min(limits.most);
    let order = indices(data, together * batch);
    let mut run = || -> Result<Duration> {
        trainer.prepare(data, &order, 0, vec![(batch, still(scope)); together])?;
        for indices in order.chunks_exact(batch) {
            trainer.enqueue(data, indices, 0, still(scope))?;
        }
        let outcomes = trainer.settle()?;
        Ok(outcomes.iter().map(|outcome| outcome.duration).sum::<Duration>() / together as u32)
    };
    run()?;
    let runs = limits.least.div_ceil(together).max(RUNS.min(limits.most));
    repeat(Limits { least: runs, most: limits.most.div_ceil(together).max(runs), ..limits }, run)
}

/// Samples of a step of `size` samples, as often as it takes.
pub(crate) fn indices(data: &Dataset, size: usize) -> Vec<u32> {
    (0..size).map(|index| (index % data.train.len()) as u32).collect()
}

/// Seconds of each of the steps that the limits allow.
pub(crate) fn repeat(limits: Limits, mut step: impl FnMut() -> Result<Duration>) -> Result<Vec<f64>> {
    let (mut times, mut spent) = (Vec::new(), Duration::ZERO);
    while times.len() < limits.least || (times.len() < limits.most && spent < limits.patience) {
        let time = step()?;
        spent += time;
        times.push(time.as_secs_f64());
    }
    Ok(times)
}

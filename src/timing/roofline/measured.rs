//! Training steps measured part by part.

use std::{collections::BTreeMap, ops::Add, time::Duration};

use anyhow::Result;
use candle_core::Device;

use super::{Bound, Ceilings, launches};
use crate::{
    base::stats::{Spread, mean},
    learn::{
        config::TrialConfig,
        data::Dataset,
        model::{pass::Work, scope::Scope},
        train::{
            Trainer,
            laps::{Laps, Part},
        },
    },
    timing::repeat::{Limits, indices, repeat, still, together},
};

/// Steps of one size, measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Samples of a step.
    pub batch: usize,
    /// What they compute and train of the network.
    pub scope: Scope,
    /// Seconds of each step.
    pub steps: Vec<f64>,
    /// In the order of a step.
    pub parts: Vec<MeasuredPart>,
    /// Of a device that goes on with one step while the next is enqueued: seconds of a step as a training takes it, each the mean of some
    /// that followed one another. `steps` are taken one by one there, with an event after each part.
    pub in_training: Vec<f64>,
}

/// A part of the steps.
#[derive(Clone, Debug)]
pub struct MeasuredPart {
    pub part: Part,
    /// Seconds of it in each step.
    pub seconds: Vec<f64>,
    /// None where nobody counts it.
    pub work: Option<Work>,
}

/// How fast something went.
#[derive(Clone, Debug)]
pub struct Speed {
    /// Seconds.
    pub seconds: Spread,
    pub work: Option<Work>,
    /// Floating-point operations a second, a multiply-add being two, and those of convolutions by their definition; none where
    /// there are none. These and the following are of the median time.
    pub flops: Option<f64>,
    pub direct_flops: Option<f64>,
    /// Bytes a second.
    pub bandwidth: Option<f64>,
    /// The least time by the ceilings over the median time.
    pub of_ceiling: Option<f64>,
    /// Which ceiling that is; none of a whole step, whose parts differ in it.
    pub bound: Option<Bound>,
}

impl Speed {
    fn new(seconds: Spread, work: Option<Work>, least: Option<f64>, bound: Option<Bound>) -> Speed {
        let rate = |amount: fn(Work) -> u64| work.map(amount).filter(|amount| *amount > 0);
        let rate = |amount, each: f64| rate(amount).map(|amount| each * amount as f64 / seconds.median);
        Speed {
            seconds,
            work,
            flops: rate(|work| work.multiply_adds, 2.0),
            direct_flops: rate(|work| work.direct_multiply_adds, 2.0),
            bandwidth: rate(|work| work.bytes, 1.0),
            of_ceiling: least.map(|least| least / seconds.median),
            bound,
        }
    }
}

impl MeasuredPart {
    /// The mean over the steps of the share that this part had: shares of all parts add up to 1, but for what is between them.
    pub fn share(&self, of: &Measured) -> f64 {
        let shares: Vec<f64> = self.seconds.iter().zip(&of.steps).map(|(part, step)| part / step).collect();
        mean(&shares).unwrap_or(f64::NAN)
    }

    pub fn speed(&self, ceilings: Ceilings) -> Speed {
        let least = self.work.and_then(|work| ceilings.least_seconds(work));
        let (least, bound) = least.unzip();
        Speed::new(Spread::of(&self.seconds), self.work, least, bound)
    }
}

impl Measured {
    /// Of whole steps; of their work only where that of every part is known.
    pub fn speed(&self, ceilings: Ceilings) -> Speed {
        let works: Option<Vec<Work>> = self.parts.iter().map(|part| part.work).collect();
        let least = works.iter().flatten().filter_map(|work| ceilings.least_seconds(*work)).map(|(least, _)| least);
        let least = works.is_some().then(|| least.sum());
        let work = works.map(|works| works.into_iter().fold(Work::default(), Work::add));
        Speed::new(self.step(), work, least, None)
    }

    pub fn step(&self) -> Spread {
        Spread::of(&self.steps)
    }

    /// Of steps as a training takes them, where that is another way.
    pub fn step_in_training(&self) -> Option<Spread> {
        (!self.in_training.is_empty()).then(|| Spread::of(&self.in_training))
    }

    /// At the median step of a training.
    pub fn samples_per_second(&self) -> f64 {
        self.batch as f64 / self.step_in_training().unwrap_or_else(|| self.step()).median
    }
}

/// How many steps [`measure`] times unless told otherwise: seven, and more of short ones, for about two seconds.
pub const LIMITS: Limits = Limits { least: 7, most: 1000, patience: Duration::from_secs(2) };

/// Measures training steps of `config` on `batch` samples of `data` within `scope`, after two that are not counted. Calls `watch`
/// with the number of steps before each.
pub fn measure(
    config: &TrialConfig,
    data: &Dataset,
    device: &Device,
    batch: usize,
    scope: Scope,
    limits: Limits,
    watch: &mut dyn FnMut(usize),
) -> Result<Measured> {
    /// The first makes the buffers, the second finds them.
    const UNCOUNTED: usize = 2;
    let mut trainer = Trainer::new(config, data, device)?;
    let (indices, mut laps) = (indices(data, batch), Laps::default());
    for _ in 0..UNCOUNTED {
        watch(0);
        trainer.step_in_parts(data, &indices, 0, still(scope), &mut laps)?;
    }
    let mut work = trainer.work()?;
    if work.is_empty() && !device.is_cpu() {
        work = work_of_launches(config, scope, batch);
    }
    let mut parts: Vec<MeasuredPart> = laps
        .parts()
        .iter()
        .map(|&(part, _)| MeasuredPart {
            part,
            seconds: Vec::new(),
            work: work.iter().find(|(known, _)| *known == part).map(|(_, work)| *work),
        })
        .collect();
    let mut steps = 0;
    let times = repeat(limits, || {
        watch(steps);
        steps += 1;
        let outcome = trainer.step_in_parts(data, &indices, 0, still(scope), &mut laps)?;
        // Every step has the same parts.
        for (measured, (_, time)) in parts.iter_mut().zip(laps.parts()) {
            measured.seconds.push(time.as_secs_f64());
        }
        Ok(outcome.duration)
    })?;
    parts.sort_by_key(|measured| measured.part);
    let in_training =
        if trainer.is_asynchronous() { together(&mut trainer, data, batch, scope, limits)? } else { vec![] };
    Ok(Measured { batch, scope, steps: times, parts, in_training })
}

/// The work of the parts of a step on a GPU: that of their launches. None of networks whose launches nobody counts.
fn work_of_launches(config: &TrialConfig, scope: Scope, batch: usize) -> Vec<(Part, Work)> {
    let mut work: BTreeMap<Part, Work> = BTreeMap::new();
    for launch in launches(config, scope, batch).unwrap_or_default() {
        let sum = work.entry(launch.part).or_default();
        *sum = *sum + launch.work();
    }
    work.into_iter().collect()
}

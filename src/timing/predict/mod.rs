//! A training's time predicted from a few of its steps, before it is begun.

mod apart;
mod costs;

pub use apart::{step_seconds, wall_seconds};
pub use costs::StepCosts;

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use candle_core::Device;

use crate::{
    learn::{
        config::TrialConfig,
        data::{Dataset, descriptor::Origin},
    },
    timing::{
        repeat,
        shape::{Shape, shapes, steps_of},
        stand_in::stand_in,
    },
};

/// Predicts how long trainings take on a device, from steps that it times there: each kind of step once.
pub struct StepClock {
    device: Device,
    /// Seconds of a step, by data set and [`Shape::id`].
    known: HashMap<(&'static str, String), f64>,
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
        self.predict_first(config, config.train.epochs)
    }

    /// Those of its first `epochs` epochs.
    pub fn predict_first(&mut self, config: &TrialConfig, epochs: usize) -> Result<f64> {
        let mut seconds = 0.0;
        for (shape, steps) in steps_of(config, epochs) {
            seconds += self.step_seconds(config, &shape)? * steps as f64;
        }
        Ok(seconds)
    }

    /// Seconds from start to end of the process that trains `config`: with evaluation and start-up, which are guessed.
    pub fn predict_wall(&mut self, config: &TrialConfig) -> Result<f64> {
        let counts = config.data.counts();
        // The largest step is the closest to an evaluation's batches; of those that leave something out, the longest is.
        let kinds = steps_of(config, config.train.epochs);
        let most = kinds.iter().map(|(shape, _)| shape.samples).max();
        let mut of_a_sample = 0.0;
        for (shape, _) in kinds.iter().filter(|(shape, _)| Some(shape.samples) == most) {
            of_a_sample = f64::max(of_a_sample, self.step_seconds(config, shape)? / shape.samples as f64);
        }
        // Twice on test images: by the last weights and by the best ones.
        let evaluated = (config.train.epochs * counts.validation + 2 * counts.test) as f64;
        let set = config.data.name.descriptor();
        let loading = match set.origin {
            Origin::Drawn(_) => DRAW_SECONDS * (counts.train + counts.validation + counts.test) as f64,
            Origin::Files(_) | Origin::Own(_) => READ_SECONDS * (set.available.0 + set.available.1) as f64,
        };
        Ok(START_SECONDS + loading + self.predict(config)? + EVALUATION * evaluated * of_a_sample)
    }

    /// Seconds of every kind of step of these trainings, by [`Shape::id`].
    pub fn steps(&mut self, configs: &[&TrialConfig]) -> Result<BTreeMap<String, f64>> {
        let kinds = shapes(configs).into_iter();
        kinds.map(|(id, (shape, config))| Ok((id, self.step_seconds(config, &shape)?))).collect()
    }

    /// Seconds of one step: they depend on its shape, not on the schedule.
    fn step_seconds(&mut self, config: &TrialConfig, shape: &Shape) -> Result<f64> {
        let name = config.data.name;
        let kind = (name.as_str(), shape.id());
        if let Some(seconds) = self.known.get(&kind) {
            return Ok(*seconds);
        }
        let data = self.data.entry(name.as_str()).or_insert_with(|| stand_in(name));
        let seconds = repeat::step_seconds(config, data, &self.device, shape.samples, shape.scope_in(config))?;
        self.known.insert(kind, seconds);
        Ok(seconds)
    }
}

//! A sample: training steps of one kind, timed as a training takes them.

use std::time::Duration;

use anyhow::Result;
use candle_core::Device;

use crate::learn::{
    config::TrialConfig,
    data::{Dataset, batch::epoch_order},
    model::scope::Scope,
    train::{Trainer, Update},
};

/// How long steps are timed.
#[derive(Clone, Copy, Debug)]
pub struct Length {
    /// Steps go on until they took so long.
    pub timed: Duration,
    /// Uncounted steps before those.
    pub warm_up: Duration,
}

impl Length {
    /// For samples of about `seconds`: half as long before, at most 50 ms, to fill the caches and to wake the clock.
    pub fn of(seconds: f64) -> Length {
        let timed = Duration::from_secs_f64(seconds.clamp(0.0, 3600.0));
        Length { timed, warm_up: (timed / 2).min(Duration::from_millis(50)) }
    }
}

/// Steps that are timed at least, and that are not counted before them: the first makes the buffers, the second finds them.
const LEAST: usize = 3;
const UNCOUNTED: usize = 2;

/// Steps that a GPU takes before it is waited for.
const AT_ONCE: usize = 32;

/// Of the steps that are timed: the weights move, as in training, so that no value stays what it is by chance (0, or one too
/// small for the processor to be quick with). That of no configuration in particular, as a shape is one of many; so small that
/// nothing diverges. What it is does not matter to the work.
const LEARNING_RATE: f64 = 1e-4;

/// Number of timed steps of `config` on `samples` samples within `scope`, and the mean of their seconds, by the clock of `train_seconds`.
///
/// From the beginning of a training: initial weights, epochs in their shuffled order, shifted images.
pub fn take(
    config: &TrialConfig,
    data: &Dataset,
    device: &Device,
    samples: usize,
    scope: Scope,
    length: Length,
) -> Result<(usize, f64)> {
    let update = Update { learning_rate: LEARNING_RATE, scope };
    let mut trainer = Trainer::new(config, data, device)?;
    let mut walk = Walk::new(config, data, samples);
    let mut steps = |least: usize, length: Duration| -> Result<(usize, Duration)> {
        let (mut count, mut spent) = (0, Duration::ZERO);
        while count < least || spent < length {
            // A GPU is asked for several steps at once, as in training.
            let epoch = walk.advance(if trainer.is_asynchronous() { AT_ONCE } else { 1 });
            trainer.prepare(data, walk.seen(), epoch, walk.steps().map(|step| (step.len(), update)).collect())?;
            for step in walk.steps() {
                trainer.enqueue(data, step, epoch, update)?;
            }
            for outcome in trainer.settle()? {
                spent += outcome.duration;
                count += 1;
            }
        }
        Ok((count, spent))
    };
    steps(UNCOUNTED, length.warm_up)?;
    let (count, spent) = steps(LEAST, length.timed)?;
    Ok((count, spent.as_secs_f64() / count as f64))
}

/// Walks through the epochs in steps of one size.
struct Walk {
    seed: u64,
    order: Vec<u32>,
    epoch: usize,
    /// Where the present steps begin and end in the epoch.
    start: usize,
    end: usize,
    samples: usize,
}

impl Walk {
    fn new(config: &TrialConfig, data: &Dataset, samples: usize) -> Walk {
        let order = epoch_order(data.train.len(), config.seed, 0);
        // No training has a step of more samples than it has.
        let samples = samples.clamp(1, order.len().max(1));
        Walk { seed: config.seed, order, epoch: 0, start: 0, end: 0, samples }
    }

    /// Goes to the next steps, up to `most` of one epoch; gives that.
    fn advance(&mut self, most: usize) -> usize {
        if self.end + self.samples > self.order.len() {
            self.epoch += 1;
            self.order = epoch_order(self.order.len(), self.seed, self.epoch);
            self.end = 0;
        }
        self.start = self.end;
        let left = (self.order.len() - self.start) / self.samples;
        self.end += left.min(most) * self.samples;
        self.epoch
    }

    /// The samples of the present steps.
    fn seen(&self) -> &[u32] {
        &self.order[self.start..self.end]
    }

    fn steps(&self) -> impl Iterator<Item = &[u32]> {
        self.seen().chunks(self.samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        learn::data::{DatasetName, sets::glyphs},
        timing::stand_in::stand_in,
    };

    #[test]
    fn steps_walk_through_the_epochs_as_a_training_does() {
        let config = TrialConfig::resolve("[model]\npreset = 'tiny'\n".parse().unwrap()).unwrap();
        let data = stand_in(DatasetName::of(&glyphs::SET));
        let mut walk = Walk::new(&config, &data, 100);
        for (epoch, start) in [(0, 0), (0, 100), (1, 0), (1, 100), (2, 0)] {
            assert_eq!(walk.advance(1), epoch);
            let order = epoch_order(data.train.len(), config.seed, epoch);
            assert_eq!(walk.seen(), &order[start..start + 100]);
        }
        for (epoch, start, end) in [(2, 100, 200), (3, 0, 200)] {
            assert_eq!(walk.advance(7), epoch);
            let order = epoch_order(data.train.len(), config.seed, epoch);
            assert_eq!(walk.seen(), &order[start..end]);
            assert!(walk.steps().all(|step| step.len() == 100));
        }
        let (steps, seconds) = take(&config, &data, &Device::Cpu, 7, Scope::default(), Length::of(0.0)).unwrap();
        assert!(steps == LEAST && seconds > 0.0);
    }
}

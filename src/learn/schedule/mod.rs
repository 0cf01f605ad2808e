//! Schedules: learning rate and batch size as pure functions of progress in epochs.
//!
//! Nothing here keeps state: any policy can be drawn without training, resumed without saving it,
//! and a change of batch size cannot make the learning rate jump.

pub mod batch;
mod digest;
pub mod lr;
pub mod outline;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use batch::BatchPolicy;
pub use digest::StepDigests;
pub use lr::LearningRatePolicy;

use crate::base::invalid::Invalid;

/// The two policies of a trial and its warm-up.
///
/// WarmAdaBatch is the pair of [`LearningRatePolicy::WarmRestarts`] with one cycle per batch phase
/// and [`BatchPolicy::Adabatch`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleConfig {
    pub lr: LearningRatePolicy,
    pub batch: BatchPolicy,
    /// Epochs over which the learning rate grows linearly from 0 to what the policy says; 0 for none.
    pub warmup_epochs: f64,
}

/// A moment in training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Epochs done, with their fraction.
    pub epoch: f64,
    /// Epochs of the whole training.
    pub epochs: f64,
}

/// One optimizer step of an epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Progress at its start.
    pub progress: Progress,
    pub learning_rate: f64,
    /// What the policy says; the epoch's last step may have fewer samples.
    pub batch_size: usize,
    /// Positions in the epoch's order of samples.
    pub samples: std::ops::Range<usize>,
}

impl Progress {
    /// Share of the training that is done, in 0..=1.
    pub fn fraction(&self) -> f64 {
        if self.epochs > 0.0 { (self.epoch / self.epochs).clamp(0.0, 1.0) } else { 0.0 }
    }
}

impl ScheduleConfig {
    /// The learning rate at `progress`.
    pub fn learning_rate(&self, progress: Progress) -> f64 {
        let rate = self.lr.at(progress, &self.batch);
        if progress.epoch < self.warmup_epochs { rate * progress.epoch / self.warmup_epochs } else { rate }
    }

    /// The batch size at `progress`.
    pub fn batch_size(&self, progress: Progress) -> usize {
        self.batch.at(progress)
    }

    /// The steps of epoch `epoch` (from 0) of `epochs` over `samples` training samples: what the training loop takes.
    /// Every sample is seen once; the last step of an epoch may be smaller.
    pub fn epoch_steps(&self, epoch: usize, epochs: usize, samples: usize) -> impl Iterator<Item = Step> {
        let mut start = 0;
        std::iter::from_fn(move || {
            if start >= samples {
                return None;
            }
            let progress = Progress { epoch: epoch as f64 + start as f64 / samples as f64, epochs: epochs as f64 };
            let batch_size = self.batch_size(progress);
            let step = Step {
                progress,
                learning_rate: self.learning_rate(progress),
                batch_size,
                samples: start..(start + batch_size).min(samples),
            };
            start = step.samples.end;
            Some(step)
        })
    }

    /// Optimizer steps of the first `stop` epochs of a training of `epochs` on `samples` training samples, by number of
    /// samples in the step.
    pub fn steps_by_size(&self, stop: usize, epochs: usize, samples: usize) -> BTreeMap<usize, u64> {
        let mut steps = BTreeMap::new();
        let mut add = |size: usize, count: u64| {
            if size > 0 && count > 0 {
                *steps.entry(size).or_default() += count;
            }
        };
        let mut epoch = 0;
        while epoch < stop {
            let progress = Progress { epoch: epoch as f64, epochs: epochs as f64 };
            let (_, end) = self.batch.phase_span(progress);
            let alike = (end as usize).min(stop).saturating_sub(epoch);
            if alike > 0 {
                // Whole epochs of one phase need not be walked through: a hundred thousand epochs of single samples would take long.
                let size = self.batch_size(progress);
                add(size, (samples / size * alike) as u64);
                add(samples % size, alike as u64);
                epoch += alike;
            } else {
                self.epoch_steps(epoch, epochs, samples).for_each(|step| add(step.samples.len(), 1));
                epoch += 1;
            }
        }
        steps
    }

    /// The epochs after which a training of `epochs` may be read as one that was planned to end there: up to then, every
    /// step is that of the shorter training. Ascending; the last is `epochs`.
    ///
    /// Every epoch after the warm-up where the learning rate does not depend on the length of the training; of warm restarts
    /// those that end a cycle, as within one the rate is still high; none but the last of policies that plan the whole.
    pub fn stops(&self, epochs: usize) -> Vec<usize> {
        let is_warm = |epoch: &usize| *epoch as f64 >= self.warmup_epochs;
        let stops =
            (1..epochs).filter(is_warm).filter(|epoch| self.lr.may_end_at(*epoch as f64, epochs as f64, &self.batch));
        stops.chain([epochs]).collect()
    }

    /// What the values do that may not be what was meant; none where nothing is conspicuous.
    pub fn note(&self) -> Option<String> {
        Some(format!("schedule.lr: {}", self.lr.note()?))
    }

    /// Checks every value; `epochs` is the length of the training.
    pub fn validate(&self, epochs: usize) -> Result<(), Invalid> {
        let epochs = epochs as f64;
        self.lr.validate("schedule.lr")?;
        self.batch.validate("schedule.batch")?;
        if !(self.warmup_epochs >= 0.0 && self.warmup_epochs <= epochs) {
            return Err(Invalid::new(
                "schedule.warmup_epochs",
                self.warmup_epochs,
                format!("a number of epochs from 0 to train.epochs ({epochs})"),
            ));
        }
        Ok(())
    }
}

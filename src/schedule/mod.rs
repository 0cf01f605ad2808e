//! Schedules: learning rate and batch size as pure functions of progress in epochs.
//!
//! Nothing here keeps state: any policy can be drawn without training, resumed without saving it,
//! and a change of batch size cannot make the learning rate jump.

pub mod batch;
pub mod lr;

use serde::{Deserialize, Serialize};

pub use batch::BatchPolicy;
pub use lr::LearningRatePolicy;

use crate::config::Invalid;

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

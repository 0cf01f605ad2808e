//! Schedules: learning rate, batch size, how many samples an epoch sees, and how much of the network a step computes and trains, as
//! pure functions of progress in epochs.
//!
//! Nothing here keeps state: any policy can be drawn without training, resumed without saving it,
//! and a change of batch size cannot make the learning rate jump.

pub mod batch;
mod digest;
pub mod freeze;
pub mod lr;
pub mod outline;
pub mod reconstruction;
pub mod routing;
pub mod samples;
mod steps;

use serde::{Deserialize, Serialize};

pub use batch::BatchPolicy;
pub use digest::StepDigests;
pub use freeze::FreezeSchedule;
pub use lr::LearningRatePolicy;
pub use reconstruction::ReconstructionSchedule;
pub use routing::RoutingPolicy;
pub use samples::SampleSchedule;

use crate::{
    base::invalid::Invalid,
    learn::model::{
        config::{CapsNetConfig, ClassCapsules, Decoder, ModelConfig},
        efficient,
        scope::Scope,
    },
};

/// What changes over the course of a trial.
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
    /// This and the following are not written where every step computes and trains the whole network, so that trainings of before
    /// there was a choice are what they were.
    #[serde(skip_serializing_if = "RoutingPolicy::is_model")]
    pub routing: RoutingPolicy,
    #[serde(skip_serializing_if = "ReconstructionSchedule::is_always")]
    pub reconstruction: ReconstructionSchedule,
    #[serde(skip_serializing_if = "FreezeSchedule::is_never")]
    pub freeze: FreezeSchedule,
    /// Not written where every epoch sees all samples: for the same reason.
    #[serde(skip_serializing_if = "SampleSchedule::is_all")]
    pub samples: SampleSchedule,
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
    /// Positions in the epoch's order of the samples that it sees.
    pub samples: std::ops::Range<usize>,
    /// What it computes and trains of the network.
    pub scope: Scope,
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

    /// What a step at `progress` computes and trains of the network, which is the `number`th of its epoch (from 0).
    pub fn scope(&self, progress: Progress, number: usize) -> Scope {
        Scope {
            iterations: self.routing.at(progress),
            skips_decoder: !self.reconstruction.at(progress, number),
            frozen: self.freeze.at(progress),
        }
    }

    /// Whether every step computes and trains the whole network.
    pub fn is_whole(&self) -> bool {
        self.routing.is_model() && self.reconstruction.is_always() && self.freeze.is_never()
    }

    /// Shares of the training at which what steps compute or train changes, but for a reconstruction in every k-th step.
    fn turns_of_scope(&self) -> impl Iterator<Item = f64> {
        self.routing.turns().chain(self.reconstruction.turn()).chain(self.freeze.turns())
    }

    /// The epochs after which a training of `epochs` may be read as one that was planned to end there: up to then, every
    /// step is that of the shorter training. Ascending; the last is `epochs`.
    ///
    /// Every epoch after the warm-up where the learning rate does not depend on the length of the training; of warm restarts
    /// those that end a cycle, as within one the rate is still high; none but the last of policies that plan the whole, as do all
    /// that go by shares of the training.
    pub fn stops(&self, epochs: usize) -> Vec<usize> {
        if self.turns_of_scope().next().is_some() {
            return vec![epochs];
        }
        let is_warm = |epoch: &usize| *epoch as f64 >= self.warmup_epochs;
        let stops =
            (1..epochs).filter(is_warm).filter(|epoch| self.lr.may_end_at(*epoch as f64, epochs as f64, &self.batch));
        stops.chain([epochs]).collect()
    }

    /// What the values do that may not be what was meant; none where nothing is conspicuous.
    pub fn note(&self) -> Option<String> {
        Some(format!("schedule.lr: {}", self.lr.note()?))
    }

    /// The same schedule in its one spelling: what cannot matter to a training of `epochs` of a network of `model` is left out.
    pub(crate) fn canonical(self, model: &ModelConfig, epochs: usize) -> ScheduleConfig {
        let schedule = ScheduleConfig { samples: self.samples.canonical(epochs), ..self };
        schedule.canonical_for(model)
    }

    fn canonical_for(self, model: &ModelConfig) -> ScheduleConfig {
        let has_decoder = model.decoder() != Decoder::None;
        let reconstruction = if has_decoder { self.reconstruction } else { ReconstructionSchedule::default() };
        let schedule = ScheduleConfig { reconstruction, ..self };
        match model {
            ModelConfig::Capsnet(CapsNetConfig { routing_iterations, .. }) => {
                ScheduleConfig { routing: schedule.routing.canonical(*routing_iterations), ..schedule }
            }
            ModelConfig::EfficientCapsnet(_) => schedule,
            // Of the layers that can be frozen it has the first.
            ModelConfig::Lenet5 => ScheduleConfig {
                routing: RoutingPolicy::default(),
                freeze: FreezeSchedule { primary: 1.0, ..schedule.freeze },
                ..schedule
            },
        }
    }

    /// Checks every value; `epochs` is the length of the training.
    pub fn validate(&self, epochs: usize) -> Result<(), Invalid> {
        let epochs = epochs as f64;
        self.lr.validate("schedule.lr")?;
        self.batch.validate("schedule.batch")?;
        self.routing.validate("schedule.routing")?;
        self.reconstruction.validate("schedule.reconstruction")?;
        self.freeze.validate("schedule.freeze")?;
        self.samples.validate("schedule.samples")?;
        if !(self.warmup_epochs >= 0.0 && self.warmup_epochs <= epochs) {
            return Err(Invalid::new(
                "schedule.warmup_epochs",
                self.warmup_epochs,
                format!("a number of epochs from 0 to train.epochs ({epochs})"),
            ));
        }
        Ok(())
    }

    /// Refuses what a network of `model` cannot do.
    pub(crate) fn suits(&self, model: &ModelConfig) -> Result<(), Invalid> {
        let routing = match model {
            ModelConfig::Capsnet(CapsNetConfig { class_capsules: ClassCapsules::Homogeneous, .. }) => {
                Some("model.class_capsules = \"homogeneous\" routes nothing".to_string())
            }
            ModelConfig::EfficientCapsnet(_) => Some(format!("the routing of kind {:?} has one pass", efficient::KIND)),
            ModelConfig::Capsnet(_) | ModelConfig::Lenet5 => None,
        };
        if let Some(reason) = routing.filter(|_| !self.routing.is_model()) {
            return Err(Invalid::new("schedule.routing.policy", "\"phases\"", format!("\"model\": {reason}")));
        }
        if matches!(model, ModelConfig::EfficientCapsnet(_)) && !self.freeze.is_never() {
            let allowed = format!(
                "1, which is never: layers of kind {:?} are not frozen, because their running statistics would still change",
                efficient::KIND
            );
            return Err(Invalid::new("schedule.freeze.conv1", self.freeze.conv1, allowed));
        }
        Ok(())
    }
}

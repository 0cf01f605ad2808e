//! One trial's configuration: `{data, model, schedule, train, seed}`, its checks and its identity.

use serde::{Deserialize, Serialize};

use crate::{data::DataConfig, model::config::ModelConfig, schedule::ScheduleConfig};

/// Everything that decides the bits a trial produces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialConfig {
    /// Seed of the initial weights, of the order of the samples and of the augmentation.
    pub seed: u64,
    pub data: DataConfig,
    pub model: ModelConfig,
    pub schedule: ScheduleConfig,
    pub train: TrainConfig,
}

/// How long a trial trains and with which optimizer constants (Adam; Kingma and Ba 2015).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    pub epochs: usize,
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig { epochs: 10, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

/// A value that cannot be used: what it is, where it stands and what would be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} = {value}: {allowed}")]
pub struct Invalid {
    /// Dotted path into [`TrialConfig`].
    pub path: String,
    pub value: String,
    /// What is allowed, as a phrase.
    pub allowed: String,
}

impl Invalid {
    pub fn new(path: &str, value: impl std::fmt::Display, allowed: impl Into<String>) -> Self {
        Invalid { path: path.into(), value: value.to_string(), allowed: allowed.into() }
    }
}

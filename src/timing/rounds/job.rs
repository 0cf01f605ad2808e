//! What is asked of the process that times steps, and what it answers: a line of JSON, and lines of JSON.

use serde::{Deserialize, Serialize};

use crate::{
    learn::{config::TrialConfig, model::scope::Scope},
    timing::sets::{Fingerprint, Sample, Sentinel},
};

/// A round, or what is missing of one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    pub round: usize,
    /// About how long a sample is.
    pub sample_seconds: f64,
    /// In the order in which they are done.
    pub tasks: Vec<Task>,
    /// Whether the process first tells where it runs.
    #[serde(default)]
    pub tells_origin: bool,
}

/// Where steps are timed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    pub host: String,
    pub fingerprint: Fingerprint,
}

/// Steps of one shape.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    /// Id of the shape.
    pub shape: String,
    pub samples: usize,
    /// What the steps compute and train of the network of `config`.
    #[serde(default, skip_serializing_if = "Scope::is_whole")]
    pub scope: Scope,
    /// A training that has steps of the shape.
    pub config: TrialConfig,
    /// Fingerprint of its data.
    pub data: String,
}

/// What comes of a job, line by line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Line {
    Sample(Sample),
    Sentinel(Sentinel),
    Origin(Origin),
}

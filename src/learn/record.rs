//! What a trial leaves behind: one row per epoch and one record per trial. Units are in the names;
//! what is unknown is absent, never 0.

use serde::{Deserialize, Serialize};

use crate::learn::config::TrialConfig;

/// How a trial ended, or that it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    Pending,
    Running,
    /// Trained to its last epoch.
    Done,
    /// The loss left the finite numbers (or grew far beyond its start): the configuration's own fault.
    Diverged,
    /// The process ended without a result: panic, kill, out of memory.
    Failed,
    /// The search gave it up before its last epoch.
    Stopped,
    /// The search set it aside at a checkpoint, from which it may go on.
    Paused,
}

impl Status {
    /// The name as it stands in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Running => "running",
            Status::Done => "done",
            Status::Diverged => "diverged",
            Status::Failed => "failed",
            Status::Stopped => "stopped",
            Status::Paused => "paused",
        }
    }

    /// Whether the trial has ended, well or not, or was given up.
    pub fn is_final(self) -> bool {
        matches!(self, Status::Done | Status::Diverged | Status::Failed | Status::Stopped)
    }
}

/// Whose fault a failure is, which decides whether the trial is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// It diverged, panicked or cannot be trained as it is: it would end so again.
    Configuration,
    /// Killed by a signal, lost with its host, without room on the disk: what it trained is as good as before.
    Machine,
    /// No memory was left. Tried once more with nothing beside it; if there is none then either, the
    /// configuration is too large for this machine.
    Memory,
    /// It took longer than the time a trial may take.
    Timeout,
}

impl Fault {
    /// The name as it stands in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Fault::Configuration => "configuration",
            Fault::Machine => "machine",
            Fault::Memory => "memory",
            Fault::Timeout => "timeout",
        }
    }
}

/// One epoch of one trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRow {
    /// Epochs completed, from 1.
    pub epoch: usize,
    /// Learning rate of the epoch's last step.
    pub learning_rate: f64,
    /// Batch size that the policy gave the epoch's last step.
    pub batch_size: usize,
    /// Mean loss over the epoch's training samples, as seen while training.
    #[serde(with = "any_number")]
    pub train_loss: f64,
    /// Accuracy over the epoch's training samples, as seen while training, in 0..=1.
    pub train_accuracy: f64,
    #[serde(with = "any_number")]
    pub validation_loss: f64,
    /// In 0..=1.
    pub validation_accuracy: f64,
    /// Seconds spent in training steps since the start of training; evaluation, decoding and start-up are not counted.
    /// Wall time beside whatever ran at the same time: `co_runners` of the record.
    #[serde(alias = "train_seconds")]
    pub train_seconds_screen: f64,
    /// Training samples seen since the start of training.
    pub samples: u64,
    /// Optimizer steps taken since the start of training.
    pub steps: u64,
}

/// One trial, as it stands in the journal, in `trial.json` and in `trials.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialRecord {
    /// Identity: hash of the resolved config and the data's fingerprint.
    pub key: String,
    pub status: Status,
    /// Processes that were started for it; 0 in committed records, which do not tell.
    #[serde(default)]
    pub attempts: usize,
    pub replicate: usize,
    pub seed: u64,
    /// Trainable parameters of the network.
    pub parameters: usize,
    /// Epochs completed.
    pub epochs: usize,
    /// The epoch of the best validation accuracy (the earliest, on a tie), from 1.
    pub best_epoch: Option<usize>,
    /// Best validation accuracy over the epochs, in 0..=1: what selections are made by.
    pub validation_accuracy: Option<f64>,
    /// Test accuracy of the weights of `best_epoch`, in 0..=1: reported, never selected by.
    pub test_accuracy: Option<f64>,
    /// Test accuracy of the last weights, in 0..=1.
    pub last_test_accuracy: Option<f64>,
    /// Seconds spent in training steps, by the wall clock, beside the trials that ran at the same time.
    #[serde(alias = "train_seconds")]
    pub train_seconds_screen: Option<f64>,
    /// The most trials of the sweep that ran at the same time as this one, itself not counted.
    pub co_runners: Option<usize>,
    pub samples_per_second: Option<f64>,
    /// Threads the trial was given.
    pub threads: Option<usize>,
    pub peak_memory_bytes: Option<u64>,
    /// UTC, RFC 3339.
    pub started: Option<String>,
    pub ended: Option<String>,
    pub host: Option<String>,
    /// Kind of the processor it was trained on: of the GPU, where it was one.
    pub processor: Option<String>,
    /// `cpu`, or the GPU by its number and name, as in `cuda:0 NVIDIA H100 80GB HBM3`.
    pub device: Option<String>,
    pub git_revision: Option<String>,
    /// SHA-256 of `weights.safetensors`.
    pub weights_sha256: Option<String>,
    /// Of one that failed or diverged.
    pub fault: Option<Fault>,
    pub error: Option<String>,
    /// Its first epochs, where another trial of the study had trained them: to the same bits, and in `train_seconds_screen` as if
    /// it had trained them itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_epochs: Option<usize>,
}

impl TrialRecord {
    /// The record of a trial that has not begun.
    pub fn pending(key: String, replicate: usize, config: &TrialConfig) -> TrialRecord {
        TrialRecord {
            key,
            status: Status::Pending,
            attempts: 0,
            replicate,
            seed: config.seed,
            parameters: config.parameters(),
            epochs: 0,
            best_epoch: None,
            validation_accuracy: None,
            test_accuracy: None,
            last_test_accuracy: None,
            train_seconds_screen: None,
            co_runners: None,
            samples_per_second: None,
            threads: None,
            peak_memory_bytes: None,
            started: None,
            ended: None,
            host: None,
            processor: None,
            device: None,
            git_revision: None,
            weights_sha256: None,
            fault: None,
            error: None,
            shared_epochs: None,
        }
    }

    /// Whether it was trained on a GPU.
    pub fn is_of_gpu(&self) -> bool {
        self.device.as_ref().is_some_and(|device| device.starts_with("cuda"))
    }
}

/// Losses that left the finite numbers: JSON has no word for them, so that they stand there as `"NaN"` or `"inf"`.
pub(crate) mod any_number {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        if value.is_finite() { serializer.serialize_f64(*value) } else { serializer.serialize_str(&value.to_string()) }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Number {
            Finite(f64),
            Word(String),
        }
        match Number::deserialize(deserializer)? {
            Number::Finite(value) => Ok(value),
            Number::Word(word) => word.parse().map_err(D::Error::custom),
        }
    }
}

//! One trial's configuration: `{seed, data, model, schedule, train}`, how it is read, checked and identified.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use toml::{Table, Value};

use crate::{
    data::DataConfig,
    model::config::{CapsNetConfig, ModelConfig, PRESETS, preset},
    schedule::ScheduleConfig,
};

/// Everything that decides the bits a trial produces, but for the data's own bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialConfig {
    /// Seed of the initial weights, of the order of the samples and of the augmentation.
    #[serde(default)]
    pub seed: u64,
    #[serde(default)]
    pub data: DataConfig,
    pub model: ModelConfig,
    #[serde(default)]
    pub schedule: ScheduleConfig,
    #[serde(default)]
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
#[error("{path} = {value} is not allowed; expected {allowed}")]
pub struct Invalid {
    /// Dotted path into [`TrialConfig`].
    pub path: String,
    pub value: String,
    /// What is allowed, as a phrase that follows "expected".
    pub allowed: String,
}

impl Invalid {
    pub fn new(path: &str, value: impl std::fmt::Display, allowed: impl Into<String>) -> Self {
        Invalid { path: path.into(), value: value.to_string(), allowed: allowed.into() }
    }
}

/// Why a table is not a [`TrialConfig`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// A key or type that does not fit; `path` is where, as far as it is known.
    #[error("{path}: {message}")]
    Shape { path: String, message: String },
}

impl ConfigError {
    /// Dotted path of the value at fault.
    pub fn path(&self) -> &str {
        match self {
            ConfigError::Invalid(invalid) => &invalid.path,
            ConfigError::Shape { path, .. } => path,
        }
    }
}

impl TrialConfig {
    /// Reads a config from a table as a user writes it: presets filled in, values checked, synonyms collapsed.
    pub fn resolve(mut table: Table) -> Result<TrialConfig, ConfigError> {
        expand_model(&mut table)?;
        let config: TrialConfig =
            serde_path_to_error::deserialize(Value::Table(table)).map_err(|error| shape_error(&error))?;
        config.validate()?;
        Ok(config.canonical())
    }

    fn validate(&self) -> Result<(), Invalid> {
        self.data.validate()?;
        self.model.validate(self.data.name.image_shape())?;
        self.train.validate()?;
        self.schedule.validate(self.train.epochs)
    }

    /// The same training spelled in the one way that identifies it.
    fn canonical(self) -> TrialConfig {
        TrialConfig { data: self.data.canonical(), model: self.model.canonical(), ..self }
    }

    /// The config as a table: every field, presets resolved.
    pub fn to_table(&self) -> Table {
        // Every field is a number, a string, an array or a table of those: what TOML can hold.
        Table::try_from(self).expect("a config is TOML")
    }

    /// The resolved config as a TOML document.
    pub fn to_toml(&self) -> String {
        // As above: a config is TOML.
        toml::to_string_pretty(self).expect("a config is TOML")
    }

    /// The trial's identity: 16 hexadecimal digits of the hash of this config and the data's `fingerprint`.
    pub fn key(&self, fingerprint: &str) -> String {
        // Numbers, strings, arrays and string-keyed maps: what JSON can hold.
        let json = serde_json::to_string(self).expect("a config is JSON");
        let digest = Sha256::new().chain_update(json).chain_update([0]).chain_update(fingerprint).finalize();
        digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The config of replicate `replicate`: the same but for the seed, so that equal replicates of two
    /// configs see the same order of samples and, where shapes agree, the same initial weights.
    pub fn replicate(&self, replicate: usize) -> TrialConfig {
        TrialConfig { seed: self.seed.wrapping_add(replicate as u64), ..self.clone() }
    }

    /// Trainable parameters of the network.
    pub fn parameters(&self) -> usize {
        self.model.parameters(self.data.name.image_shape(), self.data.name.classes())
    }
}

impl TrainConfig {
    fn validate(&self) -> Result<(), Invalid> {
        if !(1..=100_000).contains(&self.epochs) {
            return Err(Invalid::new("train.epochs", self.epochs, "a number of epochs from 1 to 100000"));
        }
        for (path, value) in [("train.beta1", self.beta1), ("train.beta2", self.beta2)] {
            if !(0.0..1.0).contains(&value) {
                return Err(Invalid::new(path, value, "a decay rate from 0 to below 1"));
            }
        }
        if !(self.epsilon > 0.0 && self.epsilon <= 1.0) {
            return Err(Invalid::new("train.epsilon", self.epsilon, "a number above 0, up to 1"));
        }
        Ok(())
    }
}

/// Turns `model = { preset = "tiny", … }` into every field of the network, and drops what LeNet-5 has no use for,
/// so that an axis over capsule options collapses there.
fn expand_model(table: &mut Table) -> Result<(), ConfigError> {
    let shape = |path: &str, message: String| ConfigError::Shape { path: path.into(), message };
    let model = table.entry("model").or_insert_with(|| Value::Table(Table::new()));
    let Value::Table(model) = model else {
        return Err(shape("model", format!("invalid type: {}, expected a table", model.type_str())));
    };
    let kind = model.get("kind").and_then(Value::as_str).unwrap_or("capsnet");
    let is_lenet = kind == "lenet5";
    let name = model.get("preset").map_or(Ok("small"), |value| {
        value.as_str().ok_or_else(|| Invalid::new("model.preset", value, format!("one of {}", PRESETS.join(", "))))
    })?;
    let Some(sizes) = preset(name) else {
        return Err(Invalid::new("model.preset", format!("{name:?}"), format!("one of {}", PRESETS.join(", "))).into());
    };
    let mut fields = capsnet_fields(&sizes);
    if is_lenet {
        if let Some(key) = model.keys().find(|key| *key != "kind" && *key != "preset" && !fields.contains_key(*key)) {
            let allowed: Vec<_> = fields.keys().map(String::as_str).collect();
            let message = format!("unknown field `{key}`, expected one of kind, preset, {}", allowed.join(", "));
            return Err(shape("model", message));
        }
        *model = Table::from_iter([("kind".to_string(), Value::from("lenet5"))]);
        return Ok(());
    }
    for (key, value) in std::mem::take(model) {
        if key != "preset" {
            fields.insert(key, value);
        }
    }
    fields.entry("kind").or_insert_with(|| Value::from("capsnet"));
    *model = fields;
    Ok(())
}

fn capsnet_fields(sizes: &CapsNetConfig) -> Table {
    // Numbers, strings and an array: what TOML can hold.
    Table::try_from(sizes).expect("sizes are TOML")
}

fn shape_error(error: &serde_path_to_error::Error<toml::de::Error>) -> ConfigError {
    let message = error.inner().message().trim_end().to_string();
    let mut path = error.path().to_string();
    // serde names an unknown key in the message only: add it to the path, so that it can be found in the file.
    if let Some(key) = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next()) {
        if path == "." {
            path = key.to_string();
        } else if !path.ends_with(&format!(".{key}")) && path != key {
            path = format!("{path}.{key}");
        }
    }
    ConfigError::Shape { path, message }
}

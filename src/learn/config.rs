//! One trial's configuration: `{seed, data, model, schedule, train}`, how it is read, checked and identified.

mod blame;
mod expand;
mod optimizer;
mod work;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use toml::{Table, Value};

pub use optimizer::{EmaConfig, OptimizerConfig, OptimizerKind};

use crate::{
    base::{invalid::Invalid, seal::hex},
    learn::{
        data::DataConfig,
        model::{
            config::{CapsNetConfig, ClassCapsules, Decoder, ModelConfig, Precision, Primary},
            efficient,
            layout::Layer,
        },
        schedule::ScheduleConfig,
    },
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

/// How long a trial trains, and how its gradients move the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    pub epochs: usize,
    /// Of Adam and its kin, here and in the next two.
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    /// What products are computed in: on CPU cores `f32` alone. Not written where it is that, so that trainings of before there
    /// was a choice are what they were.
    #[serde(skip_serializing_if = "Precision::is_f32")]
    pub precision: Precision,
    /// Not written where it is Adam, and the next not where there is none: for the same reason.
    #[serde(skip_serializing_if = "OptimizerConfig::is_adam")]
    pub optimizer: OptimizerConfig,
    /// The average of the weights that evaluations and the saved weights are of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<EmaConfig>,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            epochs: 10,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            precision: Precision::F32,
            optimizer: OptimizerConfig::default(),
            ema: None,
        }
    }
}

/// Why a table is not a [`TrialConfig`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// A key that is not there, a value of the wrong type.
    #[error("{path}{}: {message}", value.as_ref().map(|value| format!(" = {value}")).unwrap_or_default())]
    Shape { path: String, value: Option<String>, message: String },
}

/// The policy of learning rate and batch size where none is given, as in their `Default`s.
const DEFAULT_POLICY: &str = "fixed";

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
    /// Reads a config from a table as a user writes it: presets and default policies filled in, values checked, synonyms collapsed.
    pub fn resolve(mut table: Table) -> Result<TrialConfig, ConfigError> {
        expand::expand_model(&mut table)?;
        expand::name_policies(&mut table);
        let config: TrialConfig = blame::read(&table)?;
        if config.model == ModelConfig::Lenet5 {
            // What such a network has no use for may stand there all the same, if a capsule network could use it.
            if let Some(Value::Table(model)) = table.get_mut("model") {
                // A config is numbers and strings: what TOML can hold.
                let own = Table::try_from(&config.model).expect("a config is TOML");
                model.retain(|key, _| !own.contains_key(key));
                model.insert("kind".into(), Value::from("capsnet"));
            }
            blame::read(&table)?;
        }
        config.validate()?;
        Ok(config.canonical())
    }

    fn validate(&self) -> Result<(), Invalid> {
        self.data.validate()?;
        self.model.validate(self.data.name.image_shape(), self.data.name.classes())?;
        self.train.validate()?;
        self.schedule.validate(self.train.epochs)?;
        self.schedule.suits(&self.model)?;
        self.train.optimizer.suits(&self.model, self.train.ema)
    }

    /// The same training spelled in the one way that identifies it.
    fn canonical(self) -> TrialConfig {
        TrialConfig {
            data: self.data.canonical(),
            schedule: self.schedule.canonical(&self.model, self.train.epochs),
            model: self.model.canonical(),
            train: self.train.canonical(),
            ..self
        }
    }

    /// The config as a table: every field, presets resolved.
    pub fn to_table(&self) -> Table {
        // Every field is a number, a string, an array or a table of those: what TOML can hold.
        let mut table = Table::try_from(self).expect("a config is TOML");
        if let Some(Value::Table(train)) = table.get_mut("train") {
            train.insert("precision".into(), self.train.precision.as_str().into());
            let ema = self.train.ema.unwrap_or(EmaConfig::NONE);
            // As above.
            train.insert("optimizer".into(), Value::try_from(self.train.optimizer).expect("a config is TOML"));
            train.insert("ema".into(), Value::try_from(ema).expect("a config is TOML"));
        }
        if let Some(Value::Table(schedule)) = table.get_mut("schedule") {
            schedule.extend(self.parts_of_schedule());
        }
        if let (Some(Value::Table(model)), ModelConfig::Capsnet(CapsNetConfig { primary, class_capsules, .. })) =
            (table.get_mut("model"), &self.model)
        {
            // As above.
            model.insert("primary".into(), Value::try_from(primary).expect("a config is TOML"));
            model.insert("class_capsules".into(), Value::try_from(class_capsules).expect("a config is TOML"));
        }
        table
    }

    /// The fields of the schedule that are not written where they are at their default: those that can matter to the network.
    fn parts_of_schedule(&self) -> Table {
        let ScheduleConfig { lr: _, batch: _, warmup_epochs: _, routing, reconstruction, freeze, samples } =
            &self.schedule;
        let mut parts = Table::new();
        // Numbers, strings and lists of tables of them: what TOML can hold.
        let part = |part: Result<Value, _>| part.expect("a part of a schedule is TOML");
        let mut frozen = part(Value::try_from(freeze));
        parts.insert("samples".into(), part(Value::try_from(samples)));
        if self.model.decoder() != Decoder::None {
            parts.insert("reconstruction".into(), part(Value::try_from(reconstruction)));
        }
        match &self.model {
            ModelConfig::Capsnet(CapsNetConfig { class_capsules: ClassCapsules::Routed, .. }) => {
                parts.insert("routing".into(), part(Value::try_from(routing)));
            }
            ModelConfig::Capsnet(CapsNetConfig { class_capsules: ClassCapsules::Homogeneous, .. }) => {}
            ModelConfig::Lenet5 => {
                frozen.as_table_mut().and_then(|freeze| freeze.remove("primary"));
            }
            ModelConfig::EfficientCapsnet(_) => return parts,
        }
        parts.insert("freeze".into(), frozen);
        parts
    }

    /// The resolved config as a TOML document.
    pub fn to_toml(&self) -> String {
        // As above: a config is TOML.
        toml::to_string_pretty(&self.to_table()).expect("a config is TOML")
    }

    /// That CPU cores cannot train this, if they cannot.
    pub fn check_for_cpu(&self) -> Result<(), Invalid> {
        match self.train.precision {
            Precision::F32 => Ok(()),
            other => Err(Invalid::new(
                "train.precision",
                format!("{:?}", other.as_str()),
                "\"f32\" on CPU cores, or a GPU: train and time take --device cuda:0, explore takes --slots cuda:0",
            )),
        }
    }

    /// That a GPU cannot train this, if it cannot.
    pub fn check_for_gpu(&self) -> Result<(), Invalid> {
        const CPU: &str = "CPU cores: train and time without --device, explore without slots on GPUs";
        match &self.model {
            ModelConfig::Lenet5 => {}
            ModelConfig::EfficientCapsnet(_) => {
                let allowed = format!("\"capsnet\" or \"lenet5\" on a GPU, or {CPU}");
                return Err(Invalid::new("model.kind", format!("{:?}", efficient::KIND), allowed));
            }
            ModelConfig::Capsnet(CapsNetConfig { primary, class_capsules, .. }) => {
                if *primary == Primary::Dense {
                    let allowed = format!("\"convolution\" on a GPU, or {CPU}");
                    return Err(Invalid::new("model.primary", "\"dense\"", allowed));
                }
                if *class_capsules == ClassCapsules::Homogeneous {
                    let allowed = format!("\"routed\" on a GPU, or {CPU}");
                    return Err(Invalid::new("model.class_capsules", "\"homogeneous\"", allowed));
                }
            }
        }
        match self.train.optimizer.kind() {
            OptimizerKind::Adam | OptimizerKind::Adamw => {}
            kind @ (OptimizerKind::Sgd | OptimizerKind::ScheduleFree | OptimizerKind::Muon) => {
                let allowed = format!("\"adam\" or \"adamw\" on a GPU, or {CPU}");
                return Err(Invalid::new("train.optimizer.kind", format!("{:?}", kind.as_str()), allowed));
            }
        }
        if let Some(EmaConfig { decay }) = self.train.ema {
            return Err(Invalid::new("train.ema.decay", decay, format!("0, which is no average, on a GPU, or {CPU}")));
        }
        let samples = &self.schedule.samples;
        if !samples.is_all() {
            let allowed = format!("1, which is all samples, on a GPU, or {CPU}");
            return Err(Invalid::new("schedule.samples.share", samples.share, allowed));
        }
        Ok(())
    }

    /// The trial's identity: 16 hexadecimal digits of the hash of this config and the data's `fingerprint`. Where the user's own images
    /// lie is no part of it.
    pub fn key(&self, fingerprint: &str) -> String {
        // Numbers, strings, arrays and string-keyed maps: what JSON can hold.
        let identified = TrialConfig { data: self.data.identity(), ..self.clone() };
        let json = serde_json::to_string(&identified).expect("a config is JSON");
        let digest = Sha256::new().chain_update(json).chain_update([0]).chain_update(fingerprint).finalize();
        hex(&digest[..8])
    }

    /// Identity of the first `epochs` epochs of this training on `samples` samples: the same for every training that is the same
    /// up to there, whatever its schedule does afterwards and however long it is.
    pub fn beginning(&self, epochs: usize, samples: usize, fingerprint: &str) -> String {
        let digest = match epochs {
            0 => None,
            _ => self.schedule.step_digests(self.train.epochs, samples).nth(epochs - 1),
        };
        self.beginning_of_steps(&digest.unwrap_or_default(), fingerprint)
    }

    /// [`TrialConfig::beginning`], where the hash of its steps is known.
    pub fn beginning_of_steps(&self, digest: &[u8; 32], fingerprint: &str) -> String {
        // Length and schedule are what they make of the steps, and nothing else.
        let train = TrainConfig { epochs: 0, ..self.train.clone() };
        let plain = TrialConfig { schedule: ScheduleConfig::default(), train, ..self.clone() };
        plain.key(&format!("{fingerprint} {}", hex(digest)))
    }

    /// The same training with its products computed in `precision`.
    pub fn in_precision(&self, precision: Precision) -> TrialConfig {
        let train = TrainConfig { precision, ..self.train.clone() };
        TrialConfig { train, ..self.clone() }.canonical()
    }

    /// The config of replicate `replicate`: the same but for the seed, so that equal replicates of two
    /// configs see the same order of samples and, where shapes agree, the same initial weights.
    pub fn replicate(&self, replicate: usize) -> TrialConfig {
        TrialConfig { seed: self.seed.wrapping_add(replicate as u64), ..self.clone() }
    }

    /// Optimizer steps of the whole training on `samples` training samples, by number of samples in the step.
    pub fn steps_by_size(&self, samples: usize) -> BTreeMap<usize, u64> {
        let epochs = self.train.epochs;
        self.schedule.steps_by_size(epochs, epochs, samples)
    }

    /// Samples that the whole training on `samples` training samples sees, one as often as it is seen.
    pub fn samples_seen(&self, samples: usize) -> usize {
        self.schedule.samples_seen(self.train.epochs, samples)
    }

    /// The layers of the network, in the order of its forward pass.
    pub fn layers(&self) -> Vec<Layer> {
        self.model.layers(self.data.name.image_shape(), self.data.name.classes())
    }

    /// Values of the network's running statistics, which are saved with its weights and not trained.
    pub fn statistics(&self) -> usize {
        self.layers().iter().map(Layer::statistics).sum()
    }

    /// Trainable parameters of the network.
    pub fn parameters(&self) -> usize {
        self.model.parameters(self.data.name.image_shape(), self.data.name.classes())
    }
}

impl TrainConfig {
    /// The same with values that cannot matter set to fixed ones.
    fn canonical(self) -> TrainConfig {
        let ema = self.ema.filter(|ema| *ema != EmaConfig::NONE);
        match self.optimizer.kind() {
            OptimizerKind::Sgd => {
                let TrainConfig { beta1, beta2, epsilon, .. } = TrainConfig::default();
                TrainConfig { beta1, beta2, epsilon, ema, ..self }
            }
            // It has a β₁ of its own.
            OptimizerKind::ScheduleFree => TrainConfig { beta1: TrainConfig::default().beta1, ema, ..self },
            OptimizerKind::Adam | OptimizerKind::Adamw | OptimizerKind::Muon => TrainConfig { ema, ..self },
        }
    }

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
        self.optimizer.validate("train.optimizer")?;
        self.ema.map_or(Ok(()), |ema| ema.validate("train.ema"))
    }
}

//! By which rule the gradients of a training move its weights, and whether these are averaged.

use serde::{Deserialize, Serialize};

use crate::{
    base::invalid::Invalid,
    learn::model::{config::ModelConfig, efficient},
};

/// The optimizer of a training, with what it has beside [`super::TrainConfig`]'s constants of Adam. Defaults are PyTorch's, but for
/// Muon's weight decay, which is its authors'.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum OptimizerConfig {
    /// Kingma and Ba 2015.
    // Of no fields, rather than none at all: serde would let any field pass there.
    Adam {},
    /// Adam with a weight decay that is decoupled from the gradient (Loshchilov and Hutter 2019).
    Adamw {
        #[serde(default = "decoupled_decay")]
        weight_decay: f64,
    },
    /// Stochastic gradient descent with Nesterov's momentum (Sutskever et al. 2013); the weight decay is a part of the gradient.
    Sgd {
        #[serde(default = "momentum")]
        momentum: f64,
        #[serde(default)]
        weight_decay: f64,
    },
    /// Schedule-Free AdamW (Defazio et al. 2024): the network is judged by an average that it finds beside its steps, and its
    /// training has no planned end. Defaults are the authors'.
    ScheduleFree {
        /// Of the average, in where gradients are taken; the rest is what steps move.
        #[serde(default = "interpolation")]
        beta1: f64,
        #[serde(default)]
        weight_decay: f64,
    },
    /// Matrices and filters by their momentum made orthogonal (Jordan et al. 2024), all else by AdamW.
    Muon {
        #[serde(default = "muon_momentum")]
        momentum: f64,
        #[serde(default)]
        weight_decay: f64,
    },
}

/// Which optimizer it is, whatever its constants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerKind {
    #[default]
    Adam,
    Adamw,
    Sgd,
    ScheduleFree,
    Muon,
}

/// An exponential moving average of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmaConfig {
    /// What the average keeps of itself in a step; less in the first steps, as METHODOLOGY.md says.
    #[serde(default = "decay")]
    pub decay: f64,
}

fn decoupled_decay() -> f64 {
    0.01
}
fn momentum() -> f64 {
    0.9
}
fn interpolation() -> f64 {
    0.9
}
fn muon_momentum() -> f64 {
    0.95
}
fn decay() -> f64 {
    0.999
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        OptimizerConfig::Adam {}
    }
}

impl OptimizerConfig {
    pub fn kind(&self) -> OptimizerKind {
        match self {
            OptimizerConfig::Adam {} => OptimizerKind::Adam,
            OptimizerConfig::Adamw { .. } => OptimizerKind::Adamw,
            OptimizerConfig::Sgd { .. } => OptimizerKind::Sgd,
            OptimizerConfig::ScheduleFree { .. } => OptimizerKind::ScheduleFree,
            OptimizerConfig::Muon { .. } => OptimizerKind::Muon,
        }
    }

    /// Whether it is the one of trainings of before there was a choice.
    pub fn is_adam(&self) -> bool {
        self.kind().is_adam()
    }

    pub(super) fn validate(&self, path: &str) -> Result<(), Invalid> {
        let (momentum, weight_decay) = match *self {
            OptimizerConfig::Adam {} => return Ok(()),
            OptimizerConfig::Adamw { weight_decay } => (0., weight_decay),
            OptimizerConfig::ScheduleFree { beta1, weight_decay } => {
                // The average is found by a division by it.
                if !(0.1..1.0).contains(&beta1) {
                    return Err(Invalid::new(&format!("{path}.beta1"), beta1, "a number from 0.1 to below 1"));
                }
                (0., weight_decay)
            }
            OptimizerConfig::Sgd { momentum, weight_decay } | OptimizerConfig::Muon { momentum, weight_decay } => {
                (momentum, weight_decay)
            }
        };
        if !(0.0..1.0).contains(&momentum) {
            return Err(Invalid::new(&format!("{path}.momentum"), momentum, "a number from 0 to below 1"));
        }
        if !(0.0..=1.0).contains(&weight_decay) {
            return Err(Invalid::new(&format!("{path}.weight_decay"), weight_decay, "a number from 0 to 1"));
        }
        Ok(())
    }
}

impl OptimizerConfig {
    /// Refuses what Schedule-Free steps cannot be combined with; of other optimizers nothing.
    pub(super) fn suits(&self, model: &ModelConfig, ema: Option<EmaConfig>) -> Result<(), Invalid> {
        let OptimizerConfig::ScheduleFree { .. } = self else { return Ok(()) };
        let kind = self.kind().as_str();
        if let Some(EmaConfig { decay }) = ema.filter(|ema| *ema != EmaConfig::NONE) {
            let allowed = format!("0, which is no average: train.optimizer.kind = {kind:?} has an average of its own");
            return Err(Invalid::new("train.ema.decay", decay, allowed));
        }
        if let ModelConfig::EfficientCapsnet(_) = model {
            let allowed = format!(
                "another for a network of kind {:?}: the running statistics of its batch normalisation are those of the \
                 weights that are trained, and it would be judged by others",
                efficient::KIND
            );
            return Err(Invalid::new("train.optimizer.kind", format!("{kind:?}"), allowed));
        }
        Ok(())
    }
}

impl OptimizerKind {
    pub fn is_adam(&self) -> bool {
        *self == OptimizerKind::Adam
    }

    /// The name as it stands in configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            OptimizerKind::Adam => "adam",
            OptimizerKind::Adamw => "adamw",
            OptimizerKind::Sgd => "sgd",
            OptimizerKind::ScheduleFree => "schedule-free",
            OptimizerKind::Muon => "muon",
        }
    }
}

impl EmaConfig {
    /// The one that keeps nothing: it is the weights themselves.
    pub const NONE: EmaConfig = EmaConfig { decay: 0. };

    pub(super) fn validate(&self, path: &str) -> Result<(), Invalid> {
        if (0.0..1.0).contains(&self.decay) {
            return Ok(());
        }
        let allowed = "a decay rate from 0, which is no average, to below 1";
        Err(Invalid::new(&format!("{path}.decay"), self.decay, allowed))
    }
}

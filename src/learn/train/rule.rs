//! The rule that a configuration has its weights move by.

use crate::learn::{
    config::{OptimizerConfig, TrainConfig},
    kernels::optimizer::{Constants, Rule},
};

/// The rule of `train`, with its constants.
pub fn rule(train: &TrainConfig) -> Rule {
    let TrainConfig { epochs: _, beta1, beta2, epsilon, precision: _, optimizer, ema: _ } = *train;
    let constants = Constants { beta1, beta2, epsilon };
    match optimizer {
        OptimizerConfig::Adam {} => Rule::adam(constants),
        OptimizerConfig::Adamw { weight_decay } => Rule::Adam { constants, weight_decay },
        OptimizerConfig::Sgd { momentum, weight_decay } => Rule::Nesterov { momentum, weight_decay },
        OptimizerConfig::ScheduleFree { beta1, weight_decay } => {
            Rule::ScheduleFree { constants: Constants { beta1, ..constants }, weight_decay }
        }
        OptimizerConfig::Muon { momentum, weight_decay } => Rule::Muon { momentum, weight_decay, others: constants },
    }
}

//! How an optimizer step is taken.

use crate::learn::{model::scope::Scope, schedule::Step};

/// What a step needs to know beside its samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    pub learning_rate: f64,
    /// What it computes and trains of the network.
    pub scope: Scope,
}

/// A step of the whole network at a learning rate.
impl From<f64> for Update {
    fn from(learning_rate: f64) -> Update {
        Update { learning_rate, scope: Scope::default() }
    }
}

/// As a schedule has it.
impl From<&Step> for Update {
    fn from(step: &Step) -> Update {
        Update { learning_rate: step.learning_rate, scope: step.scope }
    }
}

//! In which steps the decoder runs.

use serde::{Deserialize, Serialize};

use super::Progress;
use crate::base::invalid::Invalid;

/// Which training steps reconstruct. The others leave the decoder out: neither its passes nor its optimizer's are computed, and its
/// weights and their moments stay what they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReconstructionSchedule {
    /// The first step of every epoch, and from there every k-th, with this k.
    pub every: usize,
    /// Share of the training after which none does.
    pub until: f64,
}

impl Default for ReconstructionSchedule {
    fn default() -> Self {
        ReconstructionSchedule { every: 1, until: 1.0 }
    }
}

impl ReconstructionSchedule {
    /// Whether every step reconstructs.
    pub fn is_always(&self) -> bool {
        *self == ReconstructionSchedule::default()
    }

    /// Whether a step at `progress` reconstructs, which is the `number`th of its epoch (from 0).
    pub fn at(&self, progress: Progress, number: usize) -> bool {
        !self.is_over(progress) && number.is_multiple_of(self.every)
    }

    /// Whether no step reconstructs from `progress` on.
    pub fn is_over(&self, progress: Progress) -> bool {
        self.until < 1.0 && progress.fraction() >= self.until
    }

    /// The share of the training at which it ends, if it does.
    pub(super) fn turn(&self) -> Option<f64> {
        Some(self.until).filter(|until| *until < 1.0)
    }

    pub(super) fn validate(&self, path: &str) -> Result<(), Invalid> {
        if !(1..=65536).contains(&self.every) {
            return Err(Invalid::new(&format!("{path}.every"), self.every, "a number of steps from 1 to 65536"));
        }
        if !(self.until > 0.0 && self.until <= 1.0) {
            let allowed = "a share of the training above 0, up to 1; model.decoder = \"none\" has no reconstruction";
            return Err(Invalid::new(&format!("{path}.until"), self.until, allowed));
        }
        Ok(())
    }
}

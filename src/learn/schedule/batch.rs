//! Batch-size policies.

use serde::{Deserialize, Serialize};

use super::Progress;
use crate::base::invalid::Invalid;

/// How many samples a step takes, over the epochs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "policy", rename_all = "kebab-case", deny_unknown_fields)]
pub enum BatchPolicy {
    Fixed {
        #[serde(default = "default_size")]
        size: usize,
    },
    /// A list of phases, each with its batch size (AdaBatch; Devarakonda et al. 2017).
    /// Absent: the FasTrCaps paper's, with P = 4.
    Adabatch {
        #[serde(default = "paper_phases")]
        phases: Vec<BatchPhase>,
    },
}

/// A stretch of training at one batch size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchPhase {
    /// Length in epochs; absent in the last phase, which lasts to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    pub size: usize,
}

fn default_size() -> usize {
    128
}

/// Batch 1 for epochs 1–3, 2^4 for 4–33, 2^5 for 34–63, 2^6 after.
fn paper_phases() -> Vec<BatchPhase> {
    let phase = |epochs, size| BatchPhase { epochs, size };
    vec![phase(Some(3.0), 1), phase(Some(30.0), 16), phase(Some(30.0), 32), phase(None, 64)]
}

impl Default for BatchPolicy {
    fn default() -> Self {
        BatchPolicy::Fixed { size: default_size() }
    }
}

impl BatchPolicy {
    /// The batch size at `progress`.
    pub fn at(&self, progress: Progress) -> usize {
        match self {
            BatchPolicy::Fixed { size } => *size,
            BatchPolicy::Adabatch { phases } => {
                let mut end = 0.0;
                for phase in phases {
                    end += phase.epochs.unwrap_or(f64::INFINITY);
                    if progress.epoch < end {
                        return phase.size;
                    }
                }
                phases.last().map_or(1, |phase| phase.size)
            }
        }
    }

    /// Start and end, in epochs, of the phase that `progress` lies in; the end of training ends the last phase.
    pub fn phase_span(&self, progress: Progress) -> (f64, f64) {
        let BatchPolicy::Adabatch { phases } = self else { return (0.0, progress.epochs) };
        let mut start = 0.0;
        for phase in &phases[..phases.len().saturating_sub(1)] {
            let end = start + phase.epochs.unwrap_or(f64::INFINITY);
            if progress.epoch < end {
                return (start, end.min(progress.epochs));
            }
            start = end;
        }
        (start, progress.epochs)
    }

    /// Epochs at which a phase ends and another begins, ascending.
    pub(super) fn turns(&self) -> Vec<f64> {
        let BatchPolicy::Adabatch { phases } = self else { return Vec::new() };
        let lengths = phases[..phases.len().saturating_sub(1)].iter().filter_map(|phase| phase.epochs);
        lengths
            .scan(0.0, |end, length| {
                *end += length;
                Some(*end)
            })
            .collect()
    }

    pub(super) fn validate(&self, path: &str) -> Result<(), Invalid> {
        const SIZE: &str = "a number of samples from 1 to 65536";
        let allowed_size = |size: usize| (1..=65536).contains(&size);
        match self {
            BatchPolicy::Fixed { size } if !allowed_size(*size) => {
                Err(Invalid::new(&format!("{path}.size"), size, SIZE))
            }
            BatchPolicy::Fixed { .. } => Ok(()),
            BatchPolicy::Adabatch { phases } => {
                if phases.is_empty() {
                    return Err(Invalid::new(
                        &format!("{path}.phases"),
                        "[]",
                        "at least one phase, as { epochs, size }",
                    ));
                }
                for (index, phase) in phases.iter().enumerate() {
                    let path = format!("{path}.phases[{index}]");
                    if !allowed_size(phase.size) {
                        return Err(Invalid::new(&format!("{path}.size"), phase.size, SIZE));
                    }
                    let last = index + 1 == phases.len();
                    match phase.epochs {
                        Some(epochs) if !(epochs > 0.0 && epochs.is_finite()) => {
                            return Err(Invalid::new(&format!("{path}.epochs"), epochs, "a number of epochs above 0"));
                        }
                        None if !last => {
                            let allowed = "a number of epochs: only the last phase may leave it out";
                            return Err(Invalid::new(&format!("{path}.epochs"), "absent", allowed));
                        }
                        _ => {}
                    }
                }
                Ok(())
            }
        }
    }
}

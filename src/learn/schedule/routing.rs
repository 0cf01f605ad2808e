//! Routing iterations over the training.

use serde::{Deserialize, Serialize};

use super::Progress;
use crate::base::invalid::Invalid;

/// How many routing iterations a training step takes. Evaluation takes the network's own number, whatever the phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "policy", rename_all = "kebab-case", deny_unknown_fields)]
pub enum RoutingPolicy {
    /// The network's own number, in every step.
    Model {},
    /// A list of phases, each with its number, as AdaBatch (Devarakonda et al. 2017) has them for the batch size.
    /// Absent: 1 iteration for the first 80 % of the training, then the network's own number.
    Phases {
        #[serde(default = "default_phases")]
        phases: Vec<RoutingPhase>,
    },
}

/// A stretch of training with one number of routing iterations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutingPhase {
    /// Where it ends, as a share of the training; absent in the last phase, which lasts to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<f64>,
    /// The network's own number where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iterations: Option<usize>,
}

fn default_phases() -> Vec<RoutingPhase> {
    vec![RoutingPhase { until: Some(0.8), iterations: Some(1) }, RoutingPhase { until: None, iterations: None }]
}

impl Default for RoutingPolicy {
    fn default() -> Self {
        RoutingPolicy::Model {}
    }
}

impl RoutingPolicy {
    /// Whether every step takes the network's own number.
    pub fn is_model(&self) -> bool {
        matches!(self, RoutingPolicy::Model {})
    }

    fn phases(&self) -> &[RoutingPhase] {
        match self {
            RoutingPolicy::Model {} => &[],
            RoutingPolicy::Phases { phases } => phases,
        }
    }

    /// The number of iterations at `progress`; absent for the network's own.
    pub fn at(&self, progress: Progress) -> Option<usize> {
        let share = progress.fraction();
        let is_over = |phase: &RoutingPhase| phase.until.is_some_and(|until| share >= until);
        let phases = self.phases();
        phases.iter().find(|phase| !is_over(phase)).or(phases.last())?.iterations
    }

    /// The largest number that a step of a network of `own` iterations takes.
    pub fn most(&self, own: usize) -> usize {
        self.phases().iter().map(|phase| phase.iterations.unwrap_or(own)).max().unwrap_or(own)
    }

    /// Shares of the training at which a phase ends and another begins, ascending.
    pub(super) fn turns(&self) -> impl Iterator<Item = f64> {
        self.phases().iter().filter_map(|phase| phase.until)
    }

    /// The same policy in its one spelling, for a network of `own` iterations: a phase that has as many names none, phases that
    /// are alike are one, and a single one without a number is the network's own.
    pub(crate) fn canonical(self, own: usize) -> RoutingPolicy {
        let RoutingPolicy::Phases { mut phases } = self else { return self };
        for phase in &mut phases {
            phase.iterations = phase.iterations.filter(|iterations| *iterations != own);
        }
        phases.dedup_by(|next, kept| {
            let is_alike = next.iterations == kept.iterations;
            if is_alike {
                kept.until = next.until;
            }
            is_alike
        });
        match phases.as_slice() {
            [RoutingPhase { iterations: None, .. }] => RoutingPolicy::Model {},
            _ => RoutingPolicy::Phases { phases },
        }
    }

    pub(super) fn validate(&self, path: &str) -> Result<(), Invalid> {
        let RoutingPolicy::Phases { phases } = self else { return Ok(()) };
        if phases.is_empty() {
            let allowed = "at least one phase, as { until, iterations }";
            return Err(Invalid::new(&format!("{path}.phases"), "[]", allowed));
        }
        let mut before = 0.0;
        for (index, RoutingPhase { until, iterations }) in phases.iter().enumerate() {
            let path = format!("{path}.phases[{index}]");
            if let Some(iterations) = iterations.filter(|iterations| !(1..=10).contains(iterations)) {
                return Err(Invalid::new(&format!("{path}.iterations"), iterations, "1 to 10"));
            }
            let path = format!("{path}.until");
            match (*until, index + 1 == phases.len()) {
                (Some(until), true) => {
                    return Err(Invalid::new(&path, until, "absent: the last phase lasts to the end of the training"));
                }
                (None, false) => {
                    return Err(Invalid::new(&path, "absent", "a share of the training: only the last phase has none"));
                }
                (Some(until), false) if !(until > before && until < 1.0) => {
                    let allowed = format!("a share of the training above {before}, below 1");
                    return Err(Invalid::new(&path, until, allowed));
                }
                (until, _) => before = until.unwrap_or(1.0),
            }
        }
        Ok(())
    }
}

//! What a step says when it is done.

use std::time::Duration;

/// What a step did.
#[derive(Clone, Copy, Debug)]
pub struct StepOutcome {
    /// Mean over the batch, before the step.
    pub loss: f64,
    /// Samples of the batch that were classified rightly, before the step.
    pub correct: usize,
    /// Batch assembly, forward, backward and optimizer.
    pub duration: Duration,
}

//! What is known of a configuration: the curves of its trials up to where the process has taken them up.

use crate::search::space::Trial;
use crate::search::strategy::{Costs, Progress, Told};

/// Errors below this one are all the same: logarithms of them would be noise.
const LEAST_ERROR: f64 = 2e-4;
/// Epochs up to which all configurations are trained at first, as a share of the longest training's.
const FIRST_SHARE: f64 = 0.03;
/// How much further than the one before it a rung is.
const GROWTH: f64 = 1.6;

/// A configuration with its trials.
pub(crate) struct Unit {
    pub candidate: usize,
    /// By replicate.
    pub trials: Vec<usize>,
    pub epochs: usize,
    /// Epochs after which its training counts as a point.
    pub stops: Vec<usize>,
    /// Predicted seconds of training up to each epoch, from the first.
    pub seconds: Vec<f64>,
    pub parameters: f64,
    /// Epochs of its rungs; the last one is all of them.
    pub rungs: Vec<usize>,
    /// Of each trial, the best accuracy up to each epoch that was taken up.
    pub curves: Vec<Vec<f64>>,
    /// A trial of it diverged or failed: it is on no front.
    pub is_dead: bool,
}

/// Shares of a training at which it is judged, the last of them 1: so many for each configuration of a space.
pub(crate) fn shares(longest: usize) -> Vec<f64> {
    let longest = longest.max(1);
    let mut epochs = vec![((FIRST_SHARE * longest as f64).ceil() as usize).max(1)];
    while let Some(last) = epochs.last().copied().filter(|last| *last < longest) {
        let next = (GROWTH * last as f64).round() as usize;
        // No short last step.
        epochs.push(if next as f64 * GROWTH.sqrt() > longest as f64 { longest } else { next.max(last + 1) });
    }
    epochs.into_iter().map(|of| of as f64 / longest as f64).collect()
}

impl Unit {
    pub fn new(trials: &[Trial], first: usize, shares: &[f64], costs: &Costs) -> Unit {
        let Trial { candidate, config, .. } = &trials[first];
        let epochs = config.train.epochs;
        let rung = |share: &f64| ((share * epochs as f64).round() as usize).clamp(1, epochs);
        Unit {
            candidate: *candidate,
            trials: vec![first],
            epochs,
            stops: config.schedule.stops(epochs),
            seconds: costs.seconds[*candidate].clone(),
            parameters: costs.parameters[*candidate] as f64,
            rungs: shares.iter().map(rung).collect(),
            curves: vec![Vec::new()],
            is_dead: false,
        }
    }

    /// Epochs of its first trial that are taken up.
    pub fn seen(&self) -> usize {
        self.curves[0].len()
    }

    /// Whether everything is known of it that can be.
    pub fn is_whole(&self) -> bool {
        self.is_dead || self.curves.iter().all(|curve| curve.len() >= self.epochs)
    }

    /// Seconds that a trial takes from one number of epochs to another.
    pub fn cost(&self, from: usize, to: usize) -> f64 {
        let until =
            |epochs: usize| epochs.checked_sub(1).map_or(0.0, |last| self.seconds[last.min(self.seconds.len() - 1)]);
        (until(to) - until(from)).max(0.0)
    }

    /// The rung that the first trial has come to; none before the first.
    pub fn level(&self) -> Option<usize> {
        self.rungs.iter().rposition(|rung| *rung <= self.seen())
    }

    /// Mean of the best accuracy up to `stop` over the trials that have come there, and how many these are.
    pub fn accuracy(&self, stop: usize) -> Option<(f64, usize)> {
        let known = self.curves.iter().filter_map(|curve| curve.get(stop - 1));
        let (sum, count) = known.fold((0.0, 0), |(sum, count), accuracy| (sum + accuracy, count + 1));
        (count > 0).then(|| (sum / count as f64, count))
    }

    /// Logarithm of the first trial's least error up to so many epochs.
    pub fn log_error(&self, epochs: usize) -> f64 {
        log_error(self.curves[0][epochs - 1])
    }

    /// How it goes on where it may be on the front up to epoch `until`: the trial by its replicate, and the epochs.
    pub fn next(&self, until: usize) -> (usize, usize) {
        let seen = self.seen();
        if seen < until {
            return (0, self.rungs.iter().copied().find(|rung| *rung > seen).unwrap_or(self.epochs));
        }
        let behind = (0..self.trials.len()).find(|replicate| self.curves[*replicate].len() < until);
        (behind.unwrap_or(0), until)
    }

    /// Takes up what is told of trial number `replicate` up to so many epochs.
    pub fn take_up(&mut self, replicate: usize, epochs: usize, progress: &Progress) {
        let curve = &mut self.curves[replicate];
        for row in progress.epochs.iter().take(epochs).skip(curve.len()) {
            let accuracy = row.validation_accuracy;
            let best = curve.last().map_or(accuracy, |best: &f64| best.max(accuracy));
            curve.push(best);
        }
        self.is_dead |= curve.len() < epochs || is_lost(progress, epochs == self.epochs);
    }
}

/// Whether a trial ended so that its configuration is on no front.
fn is_lost(progress: &Progress, is_last: bool) -> bool {
    use crate::learn::record::Status::{Diverged, Failed};
    is_last && matches!(progress.status, Diverged | Failed)
}

/// Whether a trial has come to so many epochs, or never will.
pub(crate) fn has_come(told: &Told, trial: usize, epochs: usize) -> bool {
    let progress = &told.progress[trial];
    let is_last = epochs >= told.trials[trial].config.train.epochs;
    progress.status.is_final() || !is_last && progress.epochs.len() >= epochs
}

pub(crate) fn log_error(accuracy: f64) -> f64 {
    (1.0 - accuracy).max(LEAST_ERROR).ln()
}

/// The accuracy of a logarithm of an error.
pub(crate) fn accuracy_of(log_error: f64) -> f64 {
    1.0 - log_error.exp().clamp(0.0, 1.0)
}

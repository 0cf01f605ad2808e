//! A study that several machines or builds screened: what it says of speed on each of them, as their times do not compare.

use super::view::{Origin, StudyView};
use crate::{base::stats, learn::record::Status};

/// What the trials of one origin say.
#[derive(Clone, Debug, PartialEq)]
pub struct OnOrigin {
    pub origin: Origin,
    /// Trials of it that ended well.
    pub trials: usize,
    /// The baseline's mean time by each configuration's, of whole trainings; absent where either is not known there.
    pub speedups: Vec<Option<f64>>,
}

/// The speed-up of every configuration over the baseline on every origin, by its own screening times alone.
pub fn speedups(view: &StudyView) -> Vec<OnOrigin> {
    let of = |(origin, trials): (Origin, usize)| {
        let mut seconds: Vec<Vec<f64>> = vec![Vec::new(); view.expansion.candidates.len()];
        for (trial, record) in view.trials.iter().zip(&view.records) {
            let record = record.as_ref().filter(|of| of.status == Status::Done && Origin::of(of) == origin);
            seconds[trial.candidate].extend(record.and_then(|record| record.train_seconds_screen));
        }
        let means: Vec<Option<f64>> = seconds.iter().map(|seconds| stats::mean(seconds)).collect();
        let base = view.expansion.baseline.and_then(|baseline| means[baseline]);
        let speedups = means.iter().map(|mean| Some(base? / (*mean)?)).collect();
        OnOrigin { origin, trials, speedups }
    };
    view.origins().into_iter().map(of).collect()
}

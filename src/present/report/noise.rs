//! How far times of a sweep are off, by its trainings that should have taken as long.

use std::collections::{BTreeMap, HashMap};

use super::view::{Origin, StudyView};
use crate::{
    analysis::{Extent, Point},
    base::words::plural,
    learn::record::Status,
};

/// Trainings of the very same steps, held against each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// How many there are of which another takes the same steps, and of how many kinds.
    pub trainings: usize,
    pub kinds: usize,
    /// How many times as long as the fastest of its kind the slowest took, of the kind where that is most.
    pub most: f64,
}

/// The noise of the screened times of a study; none where no two trainings take the same steps.
pub fn noise(view: &StudyView, points: &[Point]) -> Option<Noise> {
    let origin = view.common_origin()?;
    let whole = points.iter().filter(|point| point.extent == Extent::Whole);
    let steps: HashMap<usize, u64> = whole.filter_map(|point| Some((point.candidate, point.steps?))).collect();
    let mut kinds: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for (trial, record) in view.trials.iter().zip(&view.records) {
        let ended = record.as_ref().filter(|of| of.status == Status::Done && Origin::of(of) == origin);
        let seconds = ended.and_then(|of| of.train_seconds_screen).filter(|seconds| *seconds > 0.0);
        if let (Some(steps), Some(seconds)) = (steps.get(&trial.candidate), seconds) {
            kinds.entry(*steps).or_default().push(seconds);
        }
    }
    kinds.retain(|_, seconds| seconds.len() > 1);
    let ratio = |seconds: &Vec<f64>| {
        let (least, most) = seconds.iter().fold((f64::MAX, 0.0_f64), |(a, b), of| (a.min(*of), b.max(*of)));
        most / least
    };
    let most = kinds.values().map(ratio).reduce(f64::max)?;
    Some(Noise { trainings: kinds.values().map(Vec::len).sum(), kinds: kinds.len(), most })
}

/// What of screened times must not be decided by, as a sentence.
pub fn caution(of: Option<Noise>) -> String {
    match of {
        Some(Noise { trainings, kinds, most }) => format!(
            "Trainings of the very same steps took up to {most:.2} times as long as each other here ({trainings} trainings of {}): \
             decide nothing by smaller differences.",
            plural(kinds, "kind")
        ),
        None => "How far they are off is not known, as no two trainings take the same steps: decide nothing by small \
                 differences."
            .into(),
    }
}

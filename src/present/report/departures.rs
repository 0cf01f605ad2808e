//! Confirmed times held against the trainings that they stand for.

use serde::Serialize;

use crate::{
    analysis::{Basis, Extent, Point},
    base::stats,
    present::report::view::StudyView,
};

/// A training and its confirmed time apart by this factor are worth a warning: trials beside each other, and a host's other
/// guests, account for less, once what all trainings have in common is taken out.
const MUCH: f64 = 1.5;

/// A configuration whose confirmed time is not that of its trainings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Departure {
    pub configuration: String,
    /// Mean seconds of its trainings in the sweep.
    pub screened: f64,
    pub confirmed: f64,
    /// How many times longer its trainings took than its confirmed time says, by the measure of the other configurations;
    /// below 1 where they were shorter.
    pub factor: f64,
}

/// Configurations whose trainings took much more or less time than is confirmed for them, the furthest first.
///
/// Trials that ran beside others are measured by the usual ratio of screened to confirmed time in their study; those that ran
/// alone, by 1.
pub fn departures(view: &StudyView) -> Vec<Departure> {
    let mut departures: Vec<Departure> = view.points().iter().filter_map(|point| compared(view, point)).collect();
    let mut ratios: Vec<f64> = departures.iter().map(|of| of.factor).collect();
    ratios.sort_by(f64::total_cmp);
    let are_alone = view.records.iter().flatten().all(|record| record.co_runners == Some(0));
    // Of two the lower one: what was disturbed took longer, not shorter.
    let usual = if are_alone { Some(1.0) } else { ratios.get(ratios.len().saturating_sub(1) / 2).copied() };
    departures.iter_mut().for_each(|of| of.factor /= usual.unwrap_or(1.0));
    let distance = |of: &Departure| of.factor.ln().abs();
    departures.retain(|of| distance(of) > MUCH.ln());
    departures.sort_by(|a, b| distance(b).total_cmp(&distance(a)));
    departures
}

/// The two times of a whole training, where both are known.
fn compared(view: &StudyView, point: &Point) -> Option<Departure> {
    if point.time.basis != Basis::Confirmed || point.extent != Extent::Whole {
        return None;
    }
    let seconds: Vec<f64> = view.screen_seconds(point).into_values().collect();
    let (screened, confirmed) = (stats::mean(&seconds)?, point.seconds().filter(|seconds| *seconds > 0.0)?);
    Some(Departure { configuration: point.label.clone(), screened, confirmed, factor: screened / confirmed })
}

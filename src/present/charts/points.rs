//! The points of a study as several charts show them.

use super::facts::Facts;
use super::front::{Clock, FrontPoint, Role, Standing, StoppedPoint};
use crate::analysis::{Basis, Extent, Point, bootstrap};
use crate::base::stats;
use crate::learn::record::Status;
use crate::present::report::findings::{accuracy_sd, test_accuracy};

/// Whole trainings that none diverged of, each with its candidate; and, where `with_beginnings`, the beginnings of trainings
/// that are on the front of time and accuracy.
pub(super) fn points(study: &Facts, with_beginnings: bool) -> Vec<(usize, FrontPoint)> {
    let findings = study.findings();
    let is_shown = |index: usize, point: &Point| {
        let is_whole = point.extent == Extent::Whole;
        point.diverged == 0 && (is_whole || with_beginnings && findings.front.contains(&index))
    };
    let shown = findings.points.iter().enumerate().filter(|(index, point)| is_shown(*index, point));
    shown.map(|(index, point)| (point.candidate, front_point(study, index, point))).collect()
}

fn front_point(study: &Facts, index: usize, of: &Point) -> FrontPoint {
    let findings = study.findings();
    // What is not known is counted as such.
    let [train_seconds, accuracy] = [of.seconds(), of.mean_accuracy()].map(|value| value.unwrap_or(f64::NAN));
    let deviation = || stats::standard_deviation(&of.time.values());
    let (clock, seconds_range) = match of.time.basis {
        Basis::Confirmed => (Clock::Confirmed, bootstrap::time_interval(of)),
        Basis::Screened => (Clock::Screened, deviation().map(|sd| (train_seconds - sd, train_seconds + sd))),
    };
    let is_on_front = findings.front.contains(&index) || findings.wide_front.contains(&index);
    FrontPoint {
        label: of.label.clone(),
        train_seconds,
        clock,
        seconds_range,
        accuracy,
        accuracy_sd: accuracy_sd(of),
        is_chance: study.view.is_chance(of),
        test_accuracy: test_accuracy(of),
        parameters: of.parameters,
        replicates: of.accuracy.len(),
        standing: if is_on_front { Standing::Front } else { Standing::Dominated },
        role: if findings.baseline == Some(index) { Role::Baseline } else { Role::Other },
    }
}

/// Configurations that the search gave up, and that none was trained to its end of: how far they came.
pub(super) fn stopped(study: &Facts) -> Vec<(usize, StoppedPoint)> {
    let (done, stopped) = (study.epochs_of(Status::Done), study.epochs_of(Status::Stopped));
    let given_up = stopped.iter().filter(|(candidate, _)| !done.contains_key(*candidate));
    let point = |(candidate, trials): (&usize, &Vec<&[_]>)| {
        let epochs = trials.iter().map(|rows| rows.len()).max()?;
        let (train_seconds, _) = study.seconds(*candidate, epochs, trials)?;
        let best =
            |rows: &&[crate::learn::record::EpochRow]| rows.iter().map(|row| row.validation_accuracy).reduce(f64::max);
        let accuracy = stats::mean(&trials.iter().filter_map(best).collect::<Vec<_>>())?;
        let label = study.view.expansion.candidates[*candidate].label.clone();
        Some((*candidate, StoppedPoint { label, epochs, train_seconds, accuracy }))
    };
    given_up.filter_map(point).collect()
}

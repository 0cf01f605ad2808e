//! What the charts of a study show.

use super::{
    findings::{Findings, accuracy_sd, test_accuracy},
    view::StudyView,
};
use crate::{
    analysis::{Basis, Extent, Point, bootstrap},
    base::{stats, words::plural},
    learn::record::Status,
    present::charts::{
        curves::{Curve, CurvesChart, Emphasis, Over, Quantity},
        front::{Clock, FrontChart, FrontPoint, Role, Standing},
    },
};

/// Accuracy over training time: every configuration that was trained, the fronts and the baseline. Of beginnings of
/// trainings those that are on the front of time and accuracy.
pub fn front_chart(view: &StudyView, findings: &Findings) -> FrontChart {
    let Findings { points: all, front, wide_front, baseline, .. } = findings;
    let is_shown =
        |index: usize, point: &Point| point.diverged == 0 && (point.extent == Extent::Whole || front.contains(&index));
    let points: Vec<FrontPoint> = (all.iter().enumerate())
        .filter(|(index, point)| is_shown(*index, point))
        .map(|(index, of)| {
            // What is not known is counted as such.
            let [train_seconds, accuracy] = [of.seconds(), of.mean_accuracy()].map(|value| value.unwrap_or(f64::NAN));
            let deviation = || stats::standard_deviation(&of.time.values());
            let seconds_range = match of.time.basis {
                Basis::Confirmed => bootstrap::time_interval(of),
                Basis::Screened => deviation().map(|sd| (train_seconds - sd, train_seconds + sd)),
            };
            FrontPoint {
                label: of.label.clone(),
                train_seconds,
                clock: match of.time.basis {
                    Basis::Confirmed => Clock::Confirmed,
                    Basis::Screened => Clock::Screened,
                },
                seconds_range,
                accuracy,
                accuracy_sd: accuracy_sd(of),
                test_accuracy: test_accuracy(of),
                parameters: of.parameters,
                replicates: of.accuracy.len(),
                standing: if front.contains(&index) || wide_front.contains(&index) {
                    Standing::Front
                } else {
                    Standing::Dominated
                },
                role: if *baseline == Some(index) { Role::Baseline } else { Role::Other },
            }
        })
        .collect();
    let whole = || all.iter().filter(|point| point.extent == Extent::Whole);
    let diverged = whole().filter(|point| point.diverged > 0).count();
    let trained = whole().filter(|point| point.diverged == 0 && !point.accuracy.is_empty()).count();
    let mut subtitle = format!(
        "{trained} of {}, {} on the front",
        plural(view.expansion.candidates.len(), "configuration"),
        plural(front.len(), "point")
    );
    let replicates = whole().map(|point| point.accuracy.len()).max().unwrap_or(0);
    if replicates > 1 {
        subtitle.push_str(&format!(" · mean ± standard deviation of up to {replicates} replicates"));
    }
    if diverged > 0 {
        subtitle.push_str(&format!(" · {diverged} diverged"));
    }
    let title = format!("{}: accuracy over training time", view.space.name);
    FrontChart { title, subtitle, footnote: super::time_note(view), points }
}

/// Validation accuracy over the epochs, mean over the replicates that ended well.
pub fn curves_chart(view: &StudyView, findings: &Findings) -> CurvesChart {
    let candidates = &view.expansion.candidates;
    let is_on_front = |candidate| findings.front.iter().any(|index| findings.points[*index].candidate == candidate);
    let mut accuracies: Vec<Vec<Vec<f64>>> = vec![Vec::new(); candidates.len()];
    for ((trial, record), rows) in view.trials.iter().zip(&view.records).zip(&view.epochs) {
        if record.as_ref().is_none_or(|record| record.status != Status::Done) {
            continue;
        }
        let of = &mut accuracies[trial.candidate];
        for row in rows {
            of.resize(of.len().max(row.epoch), Vec::new());
            of[row.epoch - 1].push(row.validation_accuracy);
        }
    }
    let curves = (candidates.iter().zip(accuracies).enumerate())
        .filter(|(_, (_, epochs))| !epochs.is_empty())
        .map(|(candidate, (of, epochs))| Curve {
            label: of.label.clone(),
            emphasis: if view.expansion.baseline == Some(candidate) {
                Emphasis::Baseline
            } else if is_on_front(candidate) {
                Emphasis::Front
            } else {
                Emphasis::Context
            },
            points: (epochs.iter().enumerate())
                .filter_map(|(index, values)| Some(((index + 1) as f64, stats::mean(values)?)))
                .collect(),
        })
        .collect();
    CurvesChart {
        title: format!("{}: validation accuracy over the epochs", view.space.name),
        subtitle: "mean over replicates".into(),
        quantity: Quantity::Accuracy,
        over: Over::Epochs,
        curves,
    }
}

//! What the charts of a study show.

use std::collections::HashMap;

use super::view::{Objectives, StudyView, front};
use crate::{
    charts::{
        curves::{Curve, CurvesChart, Emphasis, Over, Quantity},
        front::{FrontChart, FrontPoint, Role, Standing},
    },
    record::{EpochRow, Status},
    stats,
};

/// Accuracy over training time: every configuration that was trained, the front and the baseline.
pub fn front_chart(view: &StudyView) -> FrontChart {
    let summaries = view.summaries();
    let on_front = front(&summaries, Objectives::TimeAccuracy);
    let points: Vec<FrontPoint> = summaries
        .iter()
        .filter(|of| of.diverged == 0)
        .filter_map(|of| {
            let (time, accuracy) = (of.train_seconds?, of.validation_accuracy?);
            Some(FrontPoint {
                label: of.label.clone(),
                train_seconds: time.mean,
                train_seconds_sd: time.sd,
                accuracy: accuracy.mean,
                accuracy_sd: accuracy.sd,
                test_accuracy: of.test_accuracy.map(|mean| mean.mean),
                parameters: of.parameters,
                replicates: of.done,
                standing: if on_front.contains(&of.candidate) { Standing::Front } else { Standing::Dominated },
                role: if view.expansion.baseline == Some(of.candidate) { Role::Baseline } else { Role::Other },
            })
        })
        .collect();
    let diverged = summaries.iter().filter(|of| of.diverged > 0).count();
    let mut subtitle =
        format!("{} of {} configurations, {} on the front", points.len(), summaries.len(), on_front.len());
    if view.space.replicates > 1 {
        subtitle.push_str(&format!(" · mean ± standard deviation of up to {} replicates", view.space.replicates));
    }
    if diverged > 0 {
        subtitle.push_str(&format!(" · {diverged} diverged"));
    }
    let footnote = match view.origin.as_str() {
        "" => "time: training steps only".to_string(),
        origin => format!("time: training steps only, on {origin}"),
    };
    FrontChart { title: format!("{}: accuracy over training time", view.space.name), subtitle, footnote, points }
}

/// Validation accuracy over the epochs, mean over the replicates that ended well.
pub fn curves_chart(view: &StudyView, epochs: &[(String, EpochRow)]) -> CurvesChart {
    let summaries = view.summaries();
    let on_front = front(&summaries, Objectives::TimeAccuracy);
    let mut accuracies: Vec<Vec<Vec<f64>>> = vec![Vec::new(); summaries.len()];
    let candidate_of: HashMap<&str, usize> = (view.trials.iter().zip(&view.keys).zip(&view.records))
        .filter(|(_, record)| record.as_ref().is_some_and(|record| record.status == Status::Done))
        .map(|((trial, key), _)| (key.as_str(), trial.candidate))
        .collect();
    for (key, row) in epochs {
        let Some(&candidate) = candidate_of.get(key.as_str()) else { continue };
        let of = &mut accuracies[candidate];
        of.resize(of.len().max(row.epoch), Vec::new());
        of[row.epoch - 1].push(row.validation_accuracy);
    }
    let curves = (summaries.iter().zip(accuracies))
        .filter(|(_, epochs)| !epochs.is_empty())
        .map(|(of, epochs)| Curve {
            label: of.label.clone(),
            emphasis: if view.expansion.baseline == Some(of.candidate) {
                Emphasis::Baseline
            } else if on_front.contains(&of.candidate) {
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

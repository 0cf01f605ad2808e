//! Accuracy or loss of many configurations while they train: the front and the baseline stand out, the rest is context.

mod draw;

pub use draw::{CurveLine, CurvesLayout, EndLabel, arrange, draw};

use serde::Serialize;

use super::facts::Facts;
use super::kind::{ChartKind, OnSheet, Ranges, boxed};
use super::{Scene, Style};
use crate::analysis::Basis;
use crate::base::stats;
use crate::learn::record::{EpochRow, Status};

pub const KIND: ChartKind = ChartKind {
    name: "curves",
    title: "Validation accuracy over the epochs",
    help: "validation accuracy after each epoch, mean and band over the replicates",
    ranges: Ranges::Both,
    data: |study, _| boxed(data(study, Over::Epochs)),
};

pub const OVER_SECONDS: ChartKind = ChartKind {
    name: "curves-seconds",
    title: "Validation accuracy over the training time",
    help: "validation accuracy after each epoch over the seconds trained, mean and band over the replicates",
    ranges: Ranges::Both,
    data: |study, _| boxed(data(study, Over::TrainSeconds)),
};

/// What to draw.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CurvesChart {
    pub title: String,
    pub subtitle: String,
    pub footnote: String,
    pub quantity: Quantity,
    pub over: Over,
    pub curves: Vec<Curve>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quantity {
    /// Validation accuracy in 0..=1.
    Accuracy,
    /// Validation loss.
    Loss,
}

/// What runs along the lower axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Over {
    Epochs,
    TrainSeconds,
}

/// One configuration, as pairs of what runs along and the quantity.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Curve {
    pub label: String,
    pub emphasis: Emphasis,
    pub points: Vec<(f64, f64)>,
    /// Of each point the mean less and plus one standard deviation of the replicates; empty where there is one.
    pub band: Vec<(f64, f64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Emphasis {
    /// The search gave it up.
    Stopped,
    Context,
    Front,
    Baseline,
}

/// Validation accuracy of a study's configurations while they train, mean over the replicates that ended well.
pub fn data(study: &Facts, over: Over) -> CurvesChart {
    let view = study.view;
    let findings = study.findings();
    let is_on_front = |candidate| findings.front.iter().any(|index| findings.points[*index].candidate == candidate);
    let emphasis = |candidate| match () {
        () if view.expansion.baseline == Some(candidate) => Emphasis::Baseline,
        () if is_on_front(candidate) => Emphasis::Front,
        () => Emphasis::Context,
    };
    let done = study.epochs_of(Status::Done);
    let mut curves: Vec<Curve> =
        done.iter().map(|(of, trials)| curve(study, over, *of, trials, emphasis(*of))).collect();
    let stopped = study.epochs_of(Status::Stopped);
    let given_up = stopped.iter().filter(|(candidate, _)| !done.contains_key(*candidate));
    curves.extend(given_up.map(|(of, trials)| curve(study, over, *of, trials, Emphasis::Stopped)));
    let replicates = done.values().map(Vec::len).max().unwrap_or(0);
    let mut subtitle = match replicates {
        0 | 1 => "one replicate of each configuration".to_string(),
        several => format!("mean of up to {several} replicates, band ± 1 standard deviation"),
    };
    let count = curves.iter().filter(|curve| curve.emphasis == Emphasis::Stopped).count();
    if count > 0 {
        subtitle.push_str(&format!(" · {count} given up, dotted"));
    }
    let (what, footnote) = match over {
        Over::Epochs => ("the epochs", study.accuracy_note()),
        Over::TrainSeconds => ("the training time", study.figures_note()),
    };
    CurvesChart {
        title: format!("{}: validation accuracy over {what}", view.space.name),
        subtitle,
        footnote,
        quantity: Quantity::Accuracy,
        over,
        curves,
    }
}

/// Whether the time of any training is confirmed, so that the others must be told from it.
fn is_any_confirmed(study: &Facts) -> bool {
    study.findings().points.iter().any(|point| point.time.basis == Basis::Confirmed)
}

fn curve(study: &Facts, over: Over, candidate: usize, trials: &[&[EpochRow]], emphasis: Emphasis) -> Curve {
    let longest = trials.iter().map(|rows| rows.len()).max().unwrap_or(0);
    let (mut points, mut band) = (Vec::new(), Vec::new());
    // Times of a line are all confirmed or none is.
    let basis = study.seconds(candidate, longest, trials).map(|(_, basis)| basis);
    for epoch in 1..=longest {
        let values: Vec<f64> =
            trials.iter().filter_map(|rows| Some(rows.get(epoch - 1)?.validation_accuracy)).collect();
        let x = match over {
            Over::Epochs => Some(epoch as f64),
            Over::TrainSeconds => {
                study.seconds(candidate, epoch, trials).filter(|(_, of)| Some(*of) == basis).map(|(seconds, _)| seconds)
            }
        };
        let (Some(x), Some(mean)) = (x, stats::mean(&values)) else { continue };
        points.push((x, mean));
        let sd = stats::standard_deviation(&values).unwrap_or(0.0);
        band.push((mean - sd, mean + sd));
    }
    let label = study.view.expansion.candidates[candidate].label.clone();
    let label = match (over, basis) {
        (Over::TrainSeconds, Some(Basis::Screened)) if is_any_confirmed(study) => {
            format!("{label}, time not confirmed")
        }
        _ => label,
    };
    Curve { label, emphasis, points, band: if trials.len() > 1 { band } else { Vec::new() } }
}

impl OnSheet for CurvesChart {
    fn on_sheet(&self, style: &Style) -> Scene {
        draw(self, style)
    }
}

//! A study as one JSON document, in the form of docs/export.schema.json.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use crate::{
    analysis::{Basis, Objectives, Point, bootstrap},
    learn::record::{EpochRow, TrialRecord},
    present::report::{
        findings::{Findings, accuracy_sd, test_accuracy},
        view::StudyView,
    },
};

/// Version of the form: it changes where a field goes or means something else, not where one is added.
pub const VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    format: &'static str,
    version: u32,
    study: &'a str,
    /// Label of the configuration that others are compared to.
    baseline: Option<&'a str>,
    /// Where and how the times were taken.
    times: String,
    axes: Vec<Axis<'a>>,
    trials: Vec<Trial<'a>>,
    front: Vec<OnFront<'a>>,
}

#[derive(Serialize)]
struct Axis<'a> {
    path: &'a str,
    values: Vec<&'a str>,
}

#[derive(Serialize)]
struct Trial<'a> {
    configuration: &'a str,
    /// By the path of each axis; null where the axis does not matter to it.
    values: BTreeMap<&'a str, Option<&'a str>>,
    #[serde(flatten)]
    record: TrialRecord,
    /// Confirmed seconds of its whole training.
    train_seconds: Option<f64>,
    curve: &'a [EpochRow],
}

/// A point of the front of time, accuracy and parameters.
#[derive(Serialize)]
struct OnFront<'a> {
    configuration: &'a str,
    epochs: usize,
    on_time_accuracy_front: bool,
    front_probability: Option<f64>,
    replicates: usize,
    train_seconds: Option<f64>,
    train_seconds_interval: Option<(f64, f64)>,
    time_basis: &'static str,
    validation_accuracy: Option<f64>,
    validation_accuracy_sd: Option<f64>,
    validation_accuracy_interval: Option<(f64, f64)>,
    test_accuracy: Option<f64>,
    parameters: usize,
    speedup: Option<f64>,
    accuracy_change: Option<f64>,
}

/// The study as JSON, a line.
pub fn json(view: &StudyView, findings: &Findings) -> Result<Vec<u8>> {
    let candidates = &view.expansion.candidates;
    let axis = |axis: &'_ crate::search::space::Axis| -> (String, Vec<String>) {
        (axis.path.clone(), axis.values.iter().map(|value| value.label.clone()).collect())
    };
    let axes: Vec<(String, Vec<String>)> = view.space.axes.iter().map(axis).collect();
    let trial = |index: usize| {
        let (trial, key) = (&view.trials[index], &view.keys[index]);
        let of = &candidates[trial.candidate];
        let pending = || TrialRecord::pending(key.clone(), trial.replicate, &trial.config);
        Trial {
            configuration: &of.label,
            values: (axes.iter().map(|(path, _)| path.as_str())).zip(of.values.iter().map(Option::as_deref)).collect(),
            record: view.records[index].clone().unwrap_or_else(pending),
            train_seconds: view.confirmed_seconds(trial.candidate, trial.config.train.epochs),
            curve: &view.epochs[index],
        }
    };
    let document = Document {
        format: "fastrcaps-study",
        version: VERSION,
        study: &view.space.name,
        baseline: view.expansion.baseline.map(|of| candidates[of].label.as_str()),
        times: view.times_line(),
        axes: (axes.iter())
            .map(|(path, values)| Axis { path, values: values.iter().map(String::as_str).collect() })
            .collect(),
        trials: view.wanted().map(trial).collect(),
        front: findings.wide_front.iter().map(|index| on_front(findings, *index)).collect(),
    };
    let mut bytes = serde_json::to_vec(&document)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn on_front(findings: &Findings, index: usize) -> OnFront<'_> {
    let of: &Point = &findings.points[index];
    let change = findings.change(index);
    OnFront {
        configuration: &of.label,
        epochs: of.epochs,
        on_time_accuracy_front: findings.front.contains(&index),
        front_probability: findings.memberships()[index].of(Objectives::TimeAccuracyParameters),
        replicates: of.accuracy.len(),
        train_seconds: of.seconds(),
        train_seconds_interval: bootstrap::time_interval(of).filter(|_| of.time.basis == Basis::Confirmed),
        time_basis: of.time.basis.as_str(),
        validation_accuracy: of.mean_accuracy(),
        validation_accuracy_sd: accuracy_sd(of),
        validation_accuracy_interval: bootstrap::accuracy_interval(of),
        test_accuracy: test_accuracy(of),
        parameters: of.parameters,
        speedup: change.and_then(|change| change.speedup),
        accuracy_change: change.and_then(|change| change.accuracy_change),
    }
}

//! The CSV files of a study.

use std::collections::HashMap;

use anyhow::Result;

use super::view::{Mean, Objectives, StudyView, front as front_of};
use crate::record::{EpochRow, Fault, TrialRecord};

/// `trials.csv`: one row per trial of the space, in grid order.
pub fn trials(view: &StudyView) -> Result<Vec<u8>> {
    let mut table = csv::Writer::from_writer(Vec::new());
    let axes = view.space.axes.iter().map(|axis| axis.path.as_str());
    let fixed = [
        "attempts",
        "replicate",
        "seed",
        "parameters",
        "epochs",
        "best_epoch",
        "validation_accuracy",
        "test_accuracy",
        "last_test_accuracy",
        "train_seconds_screen",
        "co_runners",
        "samples_per_second",
        "threads",
        "peak_memory_bytes",
        "started",
        "ended",
        "host",
        "processor",
        "git_revision",
        "weights_sha256",
        "fault",
        "error",
    ];
    table.write_record(["key", "status", "configuration"].into_iter().chain(axes).chain(fixed))?;
    for ((trial, key), record) in view.trials.iter().zip(&view.keys).zip(&view.records) {
        let pending = || TrialRecord::pending(key.clone(), trial.replicate, &trial.config);
        let record = record.clone().unwrap_or_else(pending);
        let candidate = &view.expansion.candidates[trial.candidate];
        let mut row = vec![record.key.clone(), record.status.as_str().into(), candidate.label.clone()];
        row.extend(candidate.values.iter().map(|value| value.clone().unwrap_or_default()));
        row.extend(record_cells(&record));
        table.write_record(row)?;
    }
    Ok(table.into_inner().map_err(|error| error.into_error())?)
}

fn record_cells(record: &TrialRecord) -> [String; 22] {
    [
        record.attempts.to_string(),
        record.replicate.to_string(),
        record.seed.to_string(),
        record.parameters.to_string(),
        record.epochs.to_string(),
        cell(&record.best_epoch),
        cell(&record.validation_accuracy),
        cell(&record.test_accuracy),
        cell(&record.last_test_accuracy),
        cell(&record.train_seconds_screen),
        cell(&record.co_runners),
        cell(&record.samples_per_second),
        cell(&record.threads),
        cell(&record.peak_memory_bytes),
        cell(&record.started),
        cell(&record.ended),
        cell(&record.host),
        cell(&record.processor),
        cell(&record.git_revision),
        cell(&record.weights_sha256),
        cell(&record.fault.map(Fault::as_str)),
        cell(&record.error),
    ]
}

/// Unknown is empty, never 0.
fn cell<T: ToString>(value: &Option<T>) -> String {
    value.as_ref().map(T::to_string).unwrap_or_default()
}

/// `epochs.csv`: one row per epoch of every trial that ended.
pub fn epochs(view: &StudyView, epochs: &[(String, EpochRow)]) -> Result<Vec<u8>> {
    let mut of: HashMap<&str, Vec<&EpochRow>> = HashMap::new();
    for (key, row) in epochs {
        of.entry(key).or_default().push(row);
    }
    let mut table = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    table.write_record([
        "key",
        "configuration",
        "replicate",
        "epoch",
        "learning_rate",
        "batch_size",
        "train_loss",
        "train_accuracy",
        "validation_loss",
        "validation_accuracy",
        "train_seconds_screen",
        "samples",
        "steps",
    ])?;
    for (trial, key) in view.trials.iter().zip(&view.keys) {
        let label = &view.expansion.candidates[trial.candidate].label;
        for row in of.get(key.as_str()).into_iter().flatten() {
            // The fields of a row follow in their order.
            table.serialize((key, label, trial.replicate, row))?;
        }
    }
    Ok(table.into_inner().map_err(|error| error.into_error())?)
}

/// `front.csv`: the configurations no other beats in time, accuracy and parameters together, by time.
pub fn front(view: &StudyView) -> Result<Vec<u8>> {
    let summaries = view.summaries();
    let flat = front_of(&summaries, Objectives::TimeAccuracy);
    let baseline = view.expansion.baseline.map(|index| &summaries[index]);
    let mut table = csv::Writer::from_writer(Vec::new());
    let axes = view.space.axes.iter().map(|axis| axis.path.as_str());
    let fixed = [
        "on_time_accuracy_front",
        "replicates",
        "train_seconds",
        "train_seconds_sd",
        "validation_accuracy",
        "validation_accuracy_sd",
        "test_accuracy",
        "test_accuracy_sd",
        "parameters",
        "speedup",
        "accuracy_change",
    ];
    table.write_record(std::iter::once("configuration").chain(axes).chain(fixed))?;
    for index in front_of(&summaries, Objectives::TimeAccuracyParameters) {
        let of = &summaries[index];
        let mut row = vec![of.label.clone()];
        row.extend(view.expansion.candidates[index].values.iter().map(|value| value.clone().unwrap_or_default()));
        let mean = |mean: Option<Mean>| cell(&mean.map(|mean| mean.mean));
        let sd = |mean: Option<Mean>| cell(&mean.and_then(|mean| mean.sd));
        let change = baseline.map(|baseline| of.compare(baseline));
        row.extend([
            flat.contains(&index).to_string(),
            of.done.to_string(),
            mean(of.train_seconds),
            sd(of.train_seconds),
            mean(of.validation_accuracy),
            sd(of.validation_accuracy),
            mean(of.test_accuracy),
            sd(of.test_accuracy),
            of.parameters.to_string(),
            cell(&change.and_then(|change| change.speedup)),
            cell(&change.and_then(|change| change.accuracy_change)),
        ]);
        table.write_record(row)?;
    }
    Ok(table.into_inner().map_err(|error| error.into_error())?)
}

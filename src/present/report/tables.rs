//! The CSV files of a study.

use anyhow::Result;

use super::{
    findings::{Findings, accuracy_sd, test_accuracy, test_accuracy_sd},
    view::StudyView,
};
use crate::{
    analysis::{Basis, Objectives, bootstrap},
    base::stats,
    learn::record::{Fault, TrialRecord},
    search::space::FORMULA,
};

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
        "train_seconds",
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
        "device",
        "shared_epochs",
    ];
    table.write_record(["key", "status", "configuration"].into_iter().chain(axes).chain(fixed))?;
    for index in view.wanted() {
        let (trial, key, record) = (&view.trials[index], &view.keys[index], &view.records[index]);
        let pending = || TrialRecord::pending(key.clone(), trial.replicate, &trial.config);
        let record = record.clone().unwrap_or_else(pending);
        let candidate = &view.expansion.candidates[trial.candidate];
        let mut row = vec![record.key.clone(), record.status.as_str().into(), text(&candidate.label)];
        row.extend(candidate.values.iter().map(text_cell));
        let confirmed = view.confirmed_seconds(trial.candidate, trial.config.train.epochs);
        row.extend(record_cells(&record, confirmed));
        table.write_record(row)?;
    }
    Ok(table.into_inner().map_err(|error| error.into_error())?)
}

/// A record's cells; `train_seconds` are those of its configuration, confirmed.
fn record_cells(record: &TrialRecord, train_seconds: Option<f64>) -> [String; 25] {
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
        cell(&train_seconds),
        cell(&record.train_seconds_screen),
        cell(&record.co_runners),
        cell(&record.samples_per_second),
        cell(&record.threads),
        cell(&record.peak_memory_bytes),
        cell(&record.started),
        cell(&record.ended),
        text_cell(&record.host),
        text_cell(&record.processor),
        text_cell(&record.git_revision),
        cell(&record.weights_sha256),
        cell(&record.fault.map(Fault::as_str)),
        text_cell(&record.error),
        text_cell(&record.device),
        cell(&record.shared_epochs),
    ]
}

/// A text as a cell, in every table. What a spreadsheet would compute has an apostrophe before it: reasons of failures and
/// names of machines may begin with anything, labels may not. Numbers stay as they are.
pub fn text(text: &str) -> String {
    let is_formula = text.starts_with(|first| FORMULA.contains(&first) || matches!(first, '\t' | '\r' | '\n'));
    if is_formula && text.parse::<f64>().is_err() { format!("'{text}") } else { text.into() }
}

/// [`text`], empty where there is none.
fn text_cell(of: &Option<String>) -> String {
    of.as_deref().map(text).unwrap_or_default()
}

/// Unknown is empty, never 0.
fn cell<T: ToString>(value: &Option<T>) -> String {
    value.as_ref().map(T::to_string).unwrap_or_default()
}

/// `epochs.csv`: one row per epoch of every trial that ended.
pub fn epochs(view: &StudyView) -> Result<Vec<u8>> {
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
        "train_seconds",
    ])?;
    // Replicates of a configuration share its confirmed times.
    let mut confirmed: Vec<Option<Vec<Option<f64>>>> = vec![None; view.expansion.candidates.len()];
    for ((trial, key), rows) in
        view.trials.iter().zip(&view.keys).zip(&view.epochs).filter(|(_, rows)| !rows.is_empty())
    {
        let label = text(&view.expansion.candidates[trial.candidate].label);
        let median = |stop| view.confirmed_seconds(trial.candidate, stop);
        let times =
            confirmed[trial.candidate].get_or_insert_with(|| (1..=trial.config.train.epochs).map(median).collect());
        for row in rows {
            // The fields of a row follow in their order.
            let time = times.get(row.epoch.saturating_sub(1)).copied().flatten();
            table.serialize((key, &label, trial.replicate, row, time))?;
        }
    }
    Ok(table.into_inner().map_err(|error| error.into_error())?)
}

/// `front.csv`: what no other beats in time, accuracy and parameters together, by time.
pub fn front(view: &StudyView, findings: &Findings) -> Result<Vec<u8>> {
    let mut table = csv::Writer::from_writer(Vec::new());
    let axes = view.space.axes.iter().map(|axis| axis.path.as_str());
    let fixed = [
        "epochs",
        "on_time_accuracy_front",
        "time_accuracy_front_probability",
        "front_probability",
        "accuracy_group",
        "replicates",
        "train_seconds",
        "train_seconds_low",
        "train_seconds_high",
        "train_seconds_screen",
        "validation_accuracy",
        "validation_accuracy_sd",
        "validation_accuracy_low",
        "validation_accuracy_high",
        "test_accuracy",
        "test_accuracy_sd",
        "parameters",
        "speedup",
        "accuracy_change",
    ];
    table.write_record(std::iter::once("configuration").chain(axes).chain(fixed))?;
    let groups = findings.groups(Objectives::TimeAccuracyParameters);
    for (&index, group) in findings.wide_front.iter().zip(groups) {
        let of = &findings.points[index];
        let mut row = vec![text(&of.label)];
        row.extend(view.expansion.candidates[of.candidate].values.iter().map(text_cell));
        let change = findings.change(index);
        let membership = &findings.memberships()[index];
        let is_confirmed = of.time.basis == Basis::Confirmed;
        let (low, high) = bootstrap::time_interval(of).filter(|_| is_confirmed).unzip();
        let (least, most) = bootstrap::accuracy_interval(of).unzip();
        row.extend([
            of.epochs.to_string(),
            findings.front.contains(&index).to_string(),
            cell(&membership.of(Objectives::TimeAccuracy)),
            cell(&membership.of(Objectives::TimeAccuracyParameters)),
            cell(&group),
            of.accuracy.len().to_string(),
            cell(&of.seconds().filter(|_| is_confirmed)),
            cell(&low),
            cell(&high),
            cell(&stats::mean(&view.screen_seconds(of).into_values().collect::<Vec<_>>())),
            cell(&of.mean_accuracy()),
            cell(&accuracy_sd(of)),
            cell(&least),
            cell(&most),
            cell(&test_accuracy(of)),
            cell(&test_accuracy_sd(of)),
            of.parameters.to_string(),
            cell(&change.and_then(|change| change.speedup)),
            cell(&change.and_then(|change| change.accuracy_change)),
        ]);
        table.write_record(row)?;
    }
    Ok(table.into_inner().map_err(|error| error.into_error())?)
}

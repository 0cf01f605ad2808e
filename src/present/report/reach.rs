//! How long trainings take to an accuracy.

use anyhow::Result;

use super::{
    tables::text,
    view::{Origin, StudyView},
};
use crate::{
    analysis::Basis,
    base::stats,
    learn::record::{EpochRow, Status},
};

/// When the trainings of a configuration first reached an accuracy.
#[derive(Clone, Debug, PartialEq)]
pub struct Reach {
    pub candidate: usize,
    pub label: String,
    /// Replicates that came to an end, well or diverged.
    pub replicates: usize,
    /// Those of them whose validation accuracy reached it after some epoch.
    pub reached: usize,
    /// Mean over those; absent where there is none.
    pub epochs: Option<f64>,
    /// Mean over those of the seconds of training steps up to the end of that epoch: where they are not confirmed, over
    /// those whose times may be compared with the others'.
    pub seconds: Option<f64>,
    pub basis: Basis,
}

/// When each configuration first had a validation accuracy of `target` (in 0..=1) after an epoch: those that reached it in
/// all replicates by time, then the others.
pub fn time_to_accuracy(view: &StudyView, target: f64) -> Vec<Reach> {
    let mut found: Vec<Reach> = Vec::new();
    let origin = view.common_origin();
    for (candidate, of) in view.expansion.candidates.iter().enumerate() {
        let trials = (view.trials.iter().zip(&view.records).zip(&view.epochs))
            .filter(|((trial, _), _)| trial.candidate == candidate)
            .filter_map(|((_, record), rows)| Some((record.as_ref()?, rows)))
            .filter(|(record, _)| matches!(record.status, Status::Done | Status::Diverged));
        let mut reach = Reach {
            candidate,
            label: of.label.clone(),
            replicates: 0,
            reached: 0,
            epochs: None,
            seconds: None,
            basis: Basis::Confirmed,
        };
        let mut rows_of: Vec<&EpochRow> = Vec::new();
        let mut screened: Vec<f64> = Vec::new();
        for (record, rows) in trials {
            reach.replicates += 1;
            let Some(row) = rows.iter().find(|row| row.validation_accuracy >= target) else { continue };
            rows_of.push(row);
            screened.extend(origin.as_ref().filter(|of| **of == Origin::of(record)).map(|_| row.train_seconds_screen));
        }
        if reach.replicates == 0 {
            continue;
        }
        reach.reached = rows_of.len();
        reach.epochs = stats::mean(&rows_of.iter().map(|row| row.epoch as f64).collect::<Vec<_>>());
        let confirmed = |row: &&EpochRow| view.confirmed_seconds(candidate, row.epoch);
        let seconds: Vec<f64> = rows_of.iter().filter_map(confirmed).collect();
        if seconds.len() == rows_of.len() {
            reach.seconds = stats::mean(&seconds);
        } else {
            reach.basis = Basis::Screened;
            reach.seconds = stats::mean(&screened);
        }
        found.push(reach);
    }
    let order = |of: &Reach| (of.reached < of.replicates, of.seconds.unwrap_or(f64::INFINITY));
    found.sort_by(|a, b| {
        let (a, b) = (order(a), order(b));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
    });
    found
}

/// The same as CSV.
pub fn table(reaches: &[Reach]) -> Result<Vec<u8>> {
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(["configuration", "replicates", "reached", "epochs", "time_to_accuracy", "confirmed"])?;
    for of in reaches {
        let cell = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        let is_confirmed = of.seconds.map(|_| (of.basis == Basis::Confirmed).to_string()).unwrap_or_default();
        table.write_record([
            text(&of.label),
            of.replicates.to_string(),
            of.reached.to_string(),
            cell(of.epochs),
            cell(of.seconds),
            is_confirmed,
        ])?;
    }
    Ok(table.into_inner().map_err(|error| error.into_error())?)
}

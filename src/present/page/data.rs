//! What scripts read: the table of trials column by column, points and curves, as compact as JSON allows. All of it comes from
//! the functions that write the tables; nothing is computed here.

use std::collections::HashMap;

use anyhow::Result;
use serde_json::{Value, json};

use super::Report;
use crate::{
    analysis::{
        Basis, Extent, Objectives, Point,
        bootstrap::{accuracy_interval, time_interval},
    },
    present::{
        charts::{
            Facts,
            curves::{self, Emphasis, Over},
        },
        report::{
            findings::{accuracy_sd, test_accuracy},
            tables,
        },
    },
};

/// Trials above which the page leaves out what few ask for, so that it stays small.
const MANY: usize = 2000;
const LEFT_OUT: [&str; 4] = ["weights_sha256", "samples_per_second", "started", "ended"];
/// Values of curves above which the page has those of the front and the baseline only.
const MOST_VALUES: usize = 150_000;

pub fn of(report: &Report) -> Result<Value> {
    let view = &report.view;
    let candidates = &view.expansion.candidates;
    Ok(json!({
        "name": view.space.name,
        "axes": axes(report),
        "labels": candidates.iter().map(|of| &of.label).collect::<Vec<_>>(),
        "baseline": view.expansion.baseline,
        "trials": trials(report)?,
        "points": points(report),
        "front": report.findings.front,
        "curves": curves(report),
    }))
}

/// Every axis with its values, and which of them each configuration has; -1 where the axis does not matter to it.
fn axes(report: &Report) -> Value {
    let view = &report.view;
    let of = |(at, axis): (usize, &crate::search::space::Axis)| {
        let own: Vec<Option<&String>> = view.expansion.candidates.iter().map(|of| of.values[at].as_ref()).collect();
        let mut values: Vec<&String> = Vec::new();
        for value in own.iter().flatten() {
            if !values.contains(value) {
                values.push(value);
            }
        }
        let numbers: Option<Vec<f64>> = values.iter().map(|value| value.parse().ok()).collect();
        if let Some(numbers) = numbers {
            let mut order: Vec<usize> = (0..values.len()).collect();
            order.sort_by(|a, b| numbers[*a].total_cmp(&numbers[*b]));
            values = order.into_iter().map(|at| values[at]).collect();
        }
        let code = |value: &Option<&String>| value.and_then(|of| values.iter().position(|other| *other == of));
        let codes: Vec<i64> = own.iter().map(|value| code(value).map_or(-1, |code| code as i64)).collect();
        json!({ "path": axis.path, "values": values, "codes": codes })
    };
    view.space.axes.iter().enumerate().map(of).collect()
}

/// The columns of `trials.csv`, cell by cell as they stand there, and the configuration and the wanted epochs of each row.
fn trials(report: &Report) -> Result<Value> {
    let view = &report.view;
    let bytes = tables::trials(view)?;
    let mut reader = csv::Reader::from_reader(bytes.as_slice());
    let names: Vec<String> = reader.headers()?.iter().map(String::from).collect();
    let mut cells: Vec<Vec<String>> = vec![Vec::new(); names.len()];
    for record in reader.records() {
        for (column, cell) in cells.iter_mut().zip(record?.iter()) {
            column.push(cell.into());
        }
    }
    let rows: Vec<usize> = view.wanted().collect();
    let is_kept = |name: &str| rows.len() <= MANY || !LEFT_OUT.contains(&name);
    let kept = names.iter().zip(&cells).filter(|(name, _)| is_kept(name));
    let columns: Vec<Value> = kept.map(|(name, cells)| column(name, cells)).collect();
    Ok(json!({
        "rows": rows.len(),
        "columns": columns,
        "candidate": rows.iter().map(|index| view.trials[*index].candidate).collect::<Vec<_>>(),
        "wanted_epochs": rows.iter().map(|index| view.trials[*index].config.train.epochs).collect::<Vec<_>>(),
    }))
}

/// A column: its cells, or where they repeat each other the distinct ones and their numbers.
fn column(name: &str, cells: &[String]) -> Value {
    let mut distinct: Vec<&str> = Vec::new();
    let mut codes: HashMap<&str, usize> = HashMap::new();
    let numbers: Vec<usize> = (cells.iter())
        .map(|cell| {
            *codes.entry(cell).or_insert_with(|| {
                distinct.push(cell);
                distinct.len() - 1
            })
        })
        .collect();
    match 2 * distinct.len() <= cells.len() {
        true => json!({ "name": name, "distinct": distinct, "cells": numbers }),
        false => json!({ "name": name, "cells": cells }),
    }
}

fn points(report: &Report) -> Value {
    let findings = &report.findings;
    let all = &findings.points;
    let wide: Vec<usize> = findings.wide_front.clone();
    let each = |of: &dyn Fn(&Point) -> Value| all.iter().map(of).collect::<Value>();
    let by_index = |of: &dyn Fn(usize) -> Value| (0..all.len()).map(of).collect::<Value>();
    let change = |index: usize| findings.change(index);
    let has_replicates = all.iter().any(|point| point.accuracy.len() > 1);
    json!({
        "candidate": each(&|of| of.candidate.into()),
        "epochs": each(&|of| of.epochs.into()),
        "whole": each(&|of| u8::from(of.extent == Extent::Whole).into()),
        "seconds": each(&|of| number(of.seconds())),
        "seconds_low": each(&|of| number(time_interval(of).map(|of| of.0))),
        "seconds_high": each(&|of| number(time_interval(of).map(|of| of.1))),
        "confirmed": each(&|of| u8::from(of.time.basis == Basis::Confirmed).into()),
        "times": each(&|of| of.time.seconds.len().into()),
        "accuracy": each(&|of| number(of.mean_accuracy())),
        "accuracy_sd": each(&|of| number(accuracy_sd(of))),
        "accuracy_low": each(&|of| number(accuracy_interval(of).map(|of| of.0))),
        "accuracy_high": each(&|of| number(accuracy_interval(of).map(|of| of.1))),
        "test": each(&|of| number(test_accuracy(of))),
        "replicates": each(&|of| of.accuracy.len().into()),
        "parameters": each(&|of| of.parameters.into()),
        "diverged": each(&|of| of.diverged.into()),
        "speedup": by_index(&|at| number(change(at).and_then(|of| of.speedup))),
        "accuracy_change": by_index(&|at| number(change(at).and_then(|of| of.accuracy_change))),
        "wide_front": wide,
        "probability": match has_replicates {
            true => findings.memberships().iter().map(|of| number(of.of(Objectives::TimeAccuracy))).collect(),
            false => Value::Null,
        },
    })
}

/// Mean validation accuracy after each epoch, by configuration.
fn curves(report: &Report) -> Value {
    let chart = curves::data(&Facts::of(&report.view), Over::Epochs);
    let labels = report.view.expansion.candidates.iter().enumerate();
    let candidates: HashMap<&str, usize> = labels.map(|(index, of)| (of.label.as_str(), index)).collect();
    let values: usize = chart.curves.iter().map(|curve| curve.points.len()).sum();
    let is_all = values <= MOST_VALUES;
    let kept = chart
        .curves
        .iter()
        .filter(|curve| curve.emphasis > Emphasis::Context || is_all && curve.emphasis == Emphasis::Context);
    let curve = |of: &crate::present::charts::curves::Curve| {
        let candidate = candidates.get(of.label.as_str());
        json!([candidate, of.points.iter().map(|point| number(Some(point.1))).collect::<Vec<_>>()])
    };
    json!({ "all": is_all, "of": kept.map(curve).collect::<Vec<_>>() })
}

/// A figure to seven digits, which is more than any picture shows; null where it is not known.
fn number(of: Option<f64>) -> Value {
    let short = of.filter(|of| of.is_finite()).and_then(|of| format!("{of:.6e}").parse::<f64>().ok());
    short.map_or(Value::Null, Value::from)
}

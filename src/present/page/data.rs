//! What scripts read: the table of trials column by column, points and curves, as compact as JSON allows. All of it comes from
//! the functions that write the tables; nothing is computed here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Result;
use serde_json::{Value, json};

use super::Report;
use crate::{
    analysis::{
        Basis, Extent, Objectives, Point,
        bootstrap::{accuracy_interval, time_interval},
    },
    present::{
        charts::curves::{self, Emphasis, Over},
        report::{
            findings::{Findings, accuracy_sd, test_accuracy},
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
    let axes: Vec<AxisCodes> = (0..view.space.axes.len()).map(|at| axis(report, at)).collect();
    let labels: Vec<&String> = view.expansion.candidates.iter().map(|of| &of.label).collect();
    let shown = shown(&report.findings);
    // Of a front every point is shown.
    let place: BTreeMap<usize, usize> = shown.iter().enumerate().map(|(place, index)| (*index, place)).collect();
    Ok(json!({
        "name": view.space.name,
        "trials": trials(report, &labels, &axes)?,
        "axes": axes.iter().map(AxisCodes::json).collect::<Vec<_>>(),
        "labels": labels,
        "baseline": view.expansion.baseline,
        "points": points(report, &shown),
        "front": report.findings.front.iter().map(|index| place[index]).collect::<Vec<_>>(),
        "curves": curves(report),
    }))
}

/// The points that are in any picture: whole trainings, and of their beginnings those on a front. All others would be several
/// times as many.
fn shown(findings: &Findings) -> Vec<usize> {
    let on_front: BTreeSet<usize> = findings.front.iter().chain(&findings.wide_front).copied().collect();
    let is_shown = |index: &usize| findings.points[*index].extent == Extent::Whole || on_front.contains(index);
    (0..findings.points.len()).filter(is_shown).collect()
}

/// An axis with its values, and which of them each configuration has; -1 where the axis does not matter to it.
struct AxisCodes<'a> {
    path: &'a str,
    values: Vec<&'a String>,
    codes: Vec<i64>,
}

impl AxisCodes<'_> {
    fn json(&self) -> Value {
        json!({ "path": self.path, "values": self.values, "codes": self.codes })
    }

    /// What a configuration has on it; nothing where it does not matter.
    fn value(&self, candidate: usize) -> &str {
        usize::try_from(self.codes[candidate]).map_or("", |code| self.values[code].as_str())
    }
}

fn axis(report: &Report, at: usize) -> AxisCodes<'_> {
    let view = &report.view;
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
    let codes = own.iter().map(|value| code(value).map_or(-1, |code| code as i64)).collect();
    AxisCodes { path: &view.space.axes[at].path, values, codes }
}

/// The columns of `trials.csv`, cell by cell as they stand there, and the configuration and the wanted epochs of each row.
fn trials(report: &Report, labels: &[&String], axes: &[AxisCodes]) -> Result<Value> {
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
    let candidates: Vec<usize> = rows.iter().map(|index| view.trials[*index].candidate).collect();
    let is_kept = |name: &str| rows.len() <= MANY || !LEFT_OUT.contains(&name);
    let kept = names.iter().zip(&cells).filter(|(name, _)| is_kept(name));
    // What the configuration says already stands in the page once.
    let follows = |cells: &[String], of: &dyn Fn(usize) -> String| {
        cells.iter().zip(&candidates).all(|(cell, candidate)| *cell == of(*candidate))
    };
    let columns = kept.map(|(name, cells)| {
        let axis = axes.iter().position(|axis| axis.path == name);
        match axis {
            None if follows(cells, &|candidate| labels[candidate].clone()) => json!({ "name": name, "of": "labels" }),
            Some(at) if follows(cells, &|candidate| axes[at].value(candidate).into()) => {
                json!({ "name": name, "axis": at })
            }
            _ => column(name, cells),
        }
    });
    Ok(json!({
        "rows": rows.len(),
        "columns": columns.collect::<Vec<_>>(),
        "candidate": candidates,
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

fn points(report: &Report, shown: &[usize]) -> Value {
    let findings = &report.findings;
    let by_index = |of: &dyn Fn(usize) -> Value| shown.iter().map(|index| of(*index)).collect::<Value>();
    let each = |of: &dyn Fn(&Point) -> Value| by_index(&|index| of(&findings.points[index]));
    let change = |index: usize| findings.change(index);
    let has_replicates = findings.points.iter().any(|point| point.accuracy.len() > 1);
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
        "images": each(&|of| report.view.validated_on(of.candidate).into()),
        "chance": each(&|of| u8::from(report.view.is_chance(of)).into()),
        "test": each(&|of| number(test_accuracy(of))),
        "replicates": each(&|of| of.accuracy.len().into()),
        "parameters": each(&|of| of.parameters.into()),
        "diverged": each(&|of| of.diverged.into()),
        "speedup": by_index(&|at| number(change(at).and_then(|of| of.speedup))),
        "same_steps": by_index(&|at| u8::from(change(at).is_some_and(|of| of.same_steps)).into()),
        "accuracy_change": by_index(&|at| number(change(at).and_then(|of| of.accuracy_change))),
        "probability": match has_replicates {
            true => by_index(&|at| number(findings.memberships()[at].of(Objectives::TimeAccuracy))),
            false => Value::Null,
        },
    })
}

/// Mean validation accuracy after each epoch, by configuration.
fn curves(report: &Report) -> Value {
    let chart = curves::data(&report.facts(), Over::Epochs);
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

//! How values and configurations are called in tables and charts.

use std::collections::HashSet;

use toml::{Table, Value};

use super::{Axis, Candidate};
use crate::base::words::{code_point, is_control, short_numbers};

/// Why nothing can be called so, where it cannot: names go to terminals, logs, tables and charts as they are.
pub fn why_no_name(name: &str) -> Option<String> {
    if name.trim().is_empty() {
        return Some("there must be something in it".into());
    }
    let control = name.chars().find(|letter| is_control(*letter))?;
    Some(format!("{} in it would disturb terminals and tables: leave it out", code_point(control)))
}

/// As [`why_no_name`], of what begins a cell of a table: spreadsheets compute it if it begins as a formula does. It is
/// not changed instead, as tables are joined by their labels.
pub fn why_no_label(label: &str) -> Option<String> {
    let formula = || {
        let first = label.trim_start().chars().next().filter(|first| FORMULA.contains(first))?;
        Some(format!("a spreadsheet takes what begins with {first} for a formula: begin with a letter or a digit"))
    };
    why_no_name(label).or_else(formula)
}

/// What a formula of a spreadsheet begins with, in narrow and in wide letters.
pub const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// Keys whose value names a table.
const NAMING: [&str; 4] = ["policy", "kind", "preset", "name"];

/// Names of an axis's values, with the labels the user gave: short ones where they tell the values apart.
pub fn name_values(values: &[(Value, Option<String>)]) -> Vec<String> {
    let short: Vec<String> =
        values.iter().map(|(value, label)| label.clone().unwrap_or_else(|| brief(value))).collect();
    let is_shared = |name: &String| short.iter().filter(|other| *other == name).count() > 1;
    let mut names: Vec<String> = (values.iter().zip(&short))
        .map(|((value, label), name)| if label.is_none() && is_shared(name) { full(value) } else { name.clone() })
        .collect();
    // Two values may still be called the same: by the user, or for differing in nothing but their spelling.
    for index in 1..names.len() {
        if names[..index].contains(&names[index]) {
            names[index] = format!("{} ({})", names[index], index + 1);
        }
    }
    names
}

/// A table by its naming key, or by its parts; anything else as written.
fn brief(value: &Value) -> String {
    match value {
        Value::Table(table) => match naming(table) {
            Some(name) => name.to_string(),
            None => join(table, brief),
        },
        other => full(other),
    }
}

fn full(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Table(table) => match naming(table) {
            Some(name) => {
                let rest: Table = table
                    .iter()
                    .filter(|(key, _)| !NAMING.contains(&key.as_str()))
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect();
                if rest.is_empty() { name.to_string() } else { format!("{name} ({})", join(&rest, full)) }
            }
            None => join(table, full),
        },
        Value::Array(items) => format!("[{}]", items.iter().map(full).collect::<Vec<_>>().join(", ")),
        other => short_numbers(&other.to_string()),
    }
}

fn naming(table: &Table) -> Option<&str> {
    NAMING.iter().find_map(|key| table.get(*key)).and_then(Value::as_str)
}

fn join(table: &Table, show: impl Fn(&Value) -> String) -> String {
    table.iter().map(|(key, value)| format!("{} {}", words(key), show(value))).collect::<Vec<_>>().join(", ")
}

fn words(key: &str) -> String {
    key.replace('_', " ")
}

/// Names every candidate by what sets it apart from the baseline, or by all that varies where there is none.
pub fn name_candidates(axes: &[Axis], candidates: &mut [Candidate], baseline: Option<usize>) {
    let reference: Option<Vec<Option<String>>> = baseline.map(|index| candidates[index].values.clone());
    let varies: Vec<bool> =
        (0..axes.len()).map(|axis| candidates.iter().any(|of| of.values[axis] != candidates[0].values[axis])).collect();
    for candidate in candidates {
        let mut parts = Vec::new();
        for (index, axis) in axes.iter().enumerate() {
            let Some(value) = &candidate.values[index] else { continue };
            let same = reference.as_ref().is_some_and(|of| of[index].as_ref() == Some(value));
            if varies[index] && !same {
                parts.push(name_on_axis(axis, value, axes));
            }
        }
        candidate.label = if !parts.is_empty() {
            parts.join(", ")
        } else if reference.is_some() {
            "baseline".into()
        } else {
            "the only configuration".into()
        };
    }
}

/// Numbers the candidates that are called as an earlier one is.
pub fn tell_apart(candidates: &mut [Candidate]) {
    let mut seen: HashSet<String> = HashSet::new();
    for candidate in candidates {
        let name = candidate.label.clone();
        let mut number = 1;
        while !seen.insert(candidate.label.clone()) {
            number += 1;
            candidate.label = format!("{name} ({number})");
        }
    }
}

/// A label that two candidates have.
pub fn first_shared(candidates: &[Candidate]) -> Option<&str> {
    let mut seen = HashSet::new();
    candidates.iter().map(|candidate| candidate.label.as_str()).find(|label| !seen.insert(*label))
}

/// A value of a table-valued axis speaks for itself, unless another axis has one of that name; a bare number or word needs
/// the axis's name before it.
pub fn name_on_axis(axis: &Axis, label: &str, axes: &[Axis]) -> String {
    let has = |axis: &Axis| axis.values.iter().any(|value| value.label == label);
    let speaks = axis.values.iter().any(|value| value.label == label && value.value.is_table());
    if speaks && axes.iter().filter(|axis| has(axis)).count() == 1 {
        return label.to_string();
    }
    let name = axis.path.rsplit('.').next().unwrap_or(&axis.path);
    let is_shared = axes.iter().filter(|other| other.path.rsplit('.').next() == Some(name)).count() > 1;
    format!("{} {label}", words(if is_shared { &axis.path } else { name }))
}

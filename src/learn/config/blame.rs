//! Reading a config, and finding the value at fault where it cannot be read.
//!
//! serde alone does not say where a tagged table (`kind`, `policy`) went wrong. So the values are tried one by one: the one
//! without which the complaint is another is to blame.

use serde::Deserialize;
use toml::{Table, Value};

use super::{ConfigError, DEFAULT_POLICY, TrialConfig};
use crate::base::words::short_numbers;

/// Reads a config whose presets are filled in.
pub(super) fn read(table: &Table) -> Result<TrialConfig, ConfigError> {
    attempt(table).map_err(|complaint| {
        let path = culprit(table, &complaint);
        let value = path.iter().try_fold(&Value::Table(table.clone()), |value, step| child(value, step)).cloned();
        let value = value.filter(|value| !value.is_table() && !value.is_array());
        ConfigError::Shape {
            path: dotted(&path),
            value: value.map(|value| short_numbers(&value.to_string())),
            message: short_numbers(&words(&complaint)) + &whose_fields(table, &path, &complaint),
        }
    })
}

fn attempt(table: &Table) -> Result<TrialConfig, String> {
    TrialConfig::deserialize(table.clone()).map_err(|error| error.message().trim_end().to_string())
}

/// Values that are tried, at most: each try reads all of the config anew, and no config of ours has as many.
const TRIES: usize = 200;

/// Path to the deepest value without which the complaint is another one.
fn culprit(table: &Table, complaint: &str) -> Vec<String> {
    let mut path: Vec<String> = Vec::new();
    let mut tries = 0;
    loop {
        let here = path.iter().try_fold(&Value::Table(table.clone()), |value, step| child(value, step)).cloned();
        let steps: Vec<String> = match here {
            Some(Value::Table(inner)) => {
                let mut keys: Vec<String> = inner.keys().cloned().collect();
                // Without the key that says what the table is, any complaint is another one: ask it last.
                keys.sort_by_key(|key| key == "policy" || key == "kind");
                keys
            }
            // A list of the wrong length is at fault as a whole.
            Some(Value::Array(items)) if !complaint.starts_with("invalid length") => {
                (0..items.len()).map(|index| index.to_string()).collect()
            }
            _ => return path,
        };
        let mut is_at_fault = |step: &String| {
            tries += 1;
            if tries > TRIES {
                return false;
            }
            let mut rest = Value::Table(table.clone());
            remove(&mut rest, &path, step);
            rest.as_table().is_none_or(|rest| attempt(rest).err().as_deref() != Some(complaint))
        };
        match steps.into_iter().find(|step| is_at_fault(step)) {
            Some(step) => path.push(step),
            None => return path,
        }
    }
}

fn child<'a>(value: &'a Value, step: &str) -> Option<&'a Value> {
    match value {
        Value::Table(table) => table.get(step),
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        _ => None,
    }
}

fn remove(value: &mut Value, path: &[String], last: &str) {
    match (value, path) {
        (Value::Table(table), []) => {
            table.remove(last);
        }
        (Value::Array(items), []) => {
            if let Some(index) = last.parse::<usize>().ok().filter(|index| *index < items.len()) {
                items.remove(index);
            }
        }
        (Value::Table(table), [step, rest @ ..]) => {
            if let Some(inner) = table.get_mut(step) {
                remove(inner, rest, last);
            }
        }
        (Value::Array(items), [step, rest @ ..]) => {
            if let Some(inner) = step.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                remove(inner, rest, last);
            }
        }
        _ => {}
    }
}

/// `["phases", "1", "size"]` as `phases[1].size`.
fn dotted(path: &[String]) -> String {
    path.iter().fold(String::new(), |text, step| match step.parse::<usize>() {
        Ok(index) => format!("{text}[{index}]"),
        Err(_) if text.is_empty() => step.clone(),
        Err(_) => format!("{text}.{step}"),
    })
}

/// After the fields that a policy or a kind has: which that is.
fn whose_fields(table: &Table, path: &[String], complaint: &str) -> String {
    let named = |key: &str| {
        let [part, which, _] = path else { return None };
        table.get(part)?.get(which)?.get(key)?.as_str()
    };
    if !complaint.starts_with("unknown field") {
        return String::new();
    }
    match (named("policy"), named("kind")) {
        (Some(policy), _) => {
            let default = if policy == DEFAULT_POLICY { ", which is meant where none is given" } else { "" };
            format!(": the fields of policy {policy:?}{default}")
        }
        (None, Some(kind)) => format!(": the fields of kind {kind:?}"),
        (None, None) => String::new(),
    }
}

/// The complaint without the names of Rust's types.
fn words(complaint: &str) -> String {
    const WORDS: [(&str, &str); 12] = [
        ("expected usize", "expected a whole number of at least 0"),
        ("expected u64", "expected a whole number of at least 0"),
        ("expected f64", "expected a number"),
        ("expected variant identifier", "expected a string"),
        ("expected string or map", "expected a string"),
        ("expected internally tagged enum LearningRatePolicy", "expected a table, as in { policy = \"fixed\" }"),
        ("expected internally tagged enum BatchPolicy", "expected a table, as in { policy = \"fixed\" }"),
        ("expected internally tagged enum OptimizerConfig", "expected a table, as in { kind = \"adamw\" }"),
        ("expected struct EmaConfig", "expected a table, as in { decay = 0.999 }"),
        ("expected struct SampleSchedule", "expected a table, as in { share = 0.5 }"),
        ("expected internally tagged enum RoutingPolicy", "expected a table, as in { policy = \"phases\" }"),
        ("expected struct ", "expected a table: "),
    ];
    WORDS.iter().fold(complaint.to_string(), |text, (rust, plain)| text.replace(rust, plain))
}

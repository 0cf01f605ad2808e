//! Dotted paths into tables, and patterns that pick configurations.

use std::collections::HashMap;

use toml::{Table, Value};

/// A partial configuration: it matches where every value it names agrees.
///
/// A list stands for any of its values; a string matches a table-valued axis by its label.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern(Table);

impl Pattern {
    /// Reads `{ "model.class_sharing" = "by-type", schedule = { … } }`: dotted keys and nested tables mean the same.
    pub fn new(table: &Table) -> Result<Pattern, String> {
        let mut nested = Table::new();
        for (path, value) in table {
            set(&mut nested, path, value.clone())?;
        }
        Ok(Pattern(nested))
    }

    /// The number that it gives at a path, if it does.
    pub fn number(&self, path: &str) -> Option<f64> {
        match get(&self.0, path)? {
            Value::Integer(whole) => Some(*whole as f64),
            Value::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// Whether it says something of what a path leads to, and a resolved config agrees in that.
    pub fn agrees_at(&self, path: &str, resolved: &Table, labels: &HashMap<&str, &str>) -> Option<bool> {
        Some(matches(get(&self.0, path)?, path, get(resolved, path), labels))
    }

    /// Whether a resolved config, with the labels of its values by axis path, is meant.
    pub fn matches(&self, resolved: &Table, labels: &HashMap<&str, &str>) -> bool {
        self.0.iter().all(|(key, pattern)| matches(pattern, key, resolved.get(key), labels))
    }
}

fn matches(pattern: &Value, path: &str, value: Option<&Value>, labels: &HashMap<&str, &str>) -> bool {
    if let Value::Array(any) = pattern {
        return value == Some(pattern) || any.iter().any(|pattern| matches(pattern, path, value, labels));
    }
    if let (Value::String(label), Some(given)) = (pattern, labels.get(path)) {
        return label == given || value == Some(pattern);
    }
    match (pattern, value) {
        (Value::Table(pattern), Some(Value::Table(value))) => {
            pattern.iter().all(|(key, inner)| matches(inner, &format!("{path}.{key}"), value.get(key), labels))
        }
        (pattern, value) => value.is_some_and(|value| same(pattern, value)),
    }
}

/// Whether two values are the same; 1 and 1.0 are.
pub fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Integer(whole), Value::Float(real)) | (Value::Float(real), Value::Integer(whole)) => {
            *whole as f64 == *real
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (one, other) => one == other,
    }
}

/// The value that a dotted path leads to.
pub fn get<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        None => table.get(path),
        Some((key, rest)) => get(table.get(key)?.as_table()?, rest),
    }
}

/// Tables above a value, at most: no configuration is that deep, and what is nested without end ends in an overflow of the stack.
const DEEPEST: usize = 16;

/// Puts a value where a dotted path leads, making tables on the way; an error where something else is in the way, and where no
/// configuration could have a value.
pub fn set(table: &mut Table, path: &str, value: Value) -> Result<(), String> {
    let depth = path.matches('.').count();
    if depth > DEEPEST {
        let start: String = path.chars().take(40).collect();
        return Err(format!("{start}…: a path of {} parts; no value of a configuration is that deep", depth + 1));
    }
    put(table, path, value)
}

fn put(table: &mut Table, path: &str, value: Value) -> Result<(), String> {
    match path.split_once('.') {
        None => {
            table.insert(path.to_string(), value);
            Ok(())
        }
        Some((key, rest)) => match table.entry(key).or_insert_with(|| Value::Table(Table::new())) {
            Value::Table(inner) => put(inner, rest, value),
            other => Err(format!("{path}: {key} is {other}, not a table that could hold {rest}")),
        },
    }
}

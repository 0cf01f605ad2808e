//! Axes of numbers between two ends: `{ from = 1e-4, to = 1e-2, scale = "log" }`.

use serde::Deserialize;
use toml::{Table, Value};

/// Decimal digits that a point between the ends keeps: its name is as short.
const DIGITS: usize = 4;
const KEYS: [&str; 5] = ["from", "to", "scale", "integer", "points"];
/// The largest whole number that a float holds with all before it.
const LARGEST_WHOLE: f64 = 9_007_199_254_740_992.0;

/// How the points of a range are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// The same difference from one to the next.
    #[default]
    Linear,
    /// The same ratio.
    Log,
}

/// Numbers from one end to another, both included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    pub from: f64,
    pub to: f64,
    pub scale: Scale,
    /// Whole numbers alone.
    pub is_whole: bool,
    /// How many of its numbers are meant, evenly spread; absent where any of them may be taken.
    pub points: Option<usize>,
}

impl Range {
    /// Points of a range for which nobody gave a number: a strategy that proposes chooses among them.
    pub const RESOLUTION: usize = 1001;

    /// Whether a table that stands where an axis has its values is meant as a range: nothing in a configuration is called `from` or
    /// `to`, and no axis is a single value.
    pub fn is_meant(table: &Table) -> bool {
        let is_single = |value: &Value| !value.is_table() && !value.is_array();
        let has_end = ["from", "to"].iter().any(|key| table.get(*key).is_some_and(is_single));
        let is_of_keys = table.iter().all(|(key, value)| KEYS.contains(&key.as_str()) && is_single(value));
        has_end || is_of_keys && !table.is_empty()
    }

    /// Reads a range; an error with the key at fault.
    pub fn read(table: &Table, most: usize) -> Result<Range, (&'static str, String)> {
        if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(("", format!("unknown key `{key}`: a range has {}", KEYS.join(", "))));
        }
        let (from, to) = (end(table, "from")?, end(table, "to")?);
        let scale = match table.get("scale") {
            None => Scale::Linear,
            Some(value) => value.clone().try_into().map_err(|_| {
                ("scale", format!("scale = {value}: it must be \"linear\", which it is where absent, or \"log\""))
            })?,
        };
        let is_whole = match table.get("integer") {
            None => false,
            Some(Value::Boolean(is_whole)) => *is_whole,
            Some(other) => return Err(("integer", format!("integer = {other}: it must be true or false"))),
        };
        let points = match table.get("points") {
            None => None,
            Some(Value::Integer(points)) if (2..=most as i64).contains(points) => Some(*points as usize),
            Some(other) => {
                return Err(("points", format!("points = {other}: it must be a whole number from 2 to {most}")));
            }
        };
        let range = Range { from, to, scale, is_whole, points };
        range.check()?;
        Ok(range)
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        let Range { from, to, scale, is_whole, points } = *self;
        if from >= to {
            return Err(("from", format!("from = {from}, to = {to}: from must be below to")));
        }
        if scale == Scale::Log && from <= 0.0 {
            return Err(("from", format!("from = {from}: on the scale \"log\" it must be above 0")));
        }
        for (key, end) in [("from", from), ("to", to)] {
            if is_whole && (end.fract() != 0.0 || end.abs() > LARGEST_WHOLE) {
                return Err((
                    key,
                    format!(
                        "{key} = {end}: with integer = true it must be a whole number, of {LARGEST_WHOLE} at most either way"
                    ),
                ));
            }
        }
        let whole = to - from + 1.0;
        match points.filter(|points| is_whole && *points as f64 > whole) {
            Some(points) => {
                Err(("points", format!("points = {points}: there are {whole} whole numbers from {from} to {to}")))
            }
            None => Ok(()),
        }
    }

    /// Its numbers, ascending, each once: as many as were asked for, fewer where some round to the same whole number.
    pub fn numbers(&self) -> Vec<f64> {
        let all = if self.is_whole {
            (self.to - self.from + 1.0).min(Self::RESOLUTION as f64) as usize
        } else {
            Self::RESOLUTION
        };
        let points = self.points.unwrap_or(all);
        let mut numbers: Vec<f64> = (0..points).map(|point| self.at(point as f64 / (points - 1) as f64)).collect();
        numbers.dedup();
        numbers
    }

    /// The number at a share of the way from end to end.
    fn at(&self, share: f64) -> f64 {
        let Range { from, to, scale, is_whole, .. } = *self;
        let number = match (scale, share) {
            (_, 0.0) => return from,
            (_, 1.0) => return to,
            (Scale::Linear, _) => from + share * (to - from),
            (Scale::Log, _) => (from.ln() + share * (to.ln() - from.ln())).exp(),
        };
        let number = if is_whole { number.round() } else { shortened(number) };
        number.clamp(from, to)
    }

    /// A number as a configuration has it.
    pub fn value(&self, number: f64) -> Value {
        if self.is_whole { Value::Integer(number as i64) } else { Value::Float(number) }
    }

    /// Whether a number is one of the range's.
    pub fn has(&self, number: f64) -> bool {
        (self.from..=self.to).contains(&number) && (!self.is_whole || number.fract() == 0.0)
    }
}

fn end(table: &Table, key: &'static str) -> Result<f64, (&'static str, String)> {
    let number = match table.get(key) {
        Some(Value::Integer(whole)) => *whole as f64,
        Some(Value::Float(number)) => *number,
        Some(other) => return Err((key, format!("{key} = {other}: it must be a number"))),
        None => return Err(("", format!("a range from one number to another lacks `{key}`"))),
    };
    if !number.is_finite() {
        return Err((key, format!("{key} = {number}: it must be a finite number")));
    }
    Ok(number)
}

/// The closest number of few digits.
fn shortened(number: f64) -> f64 {
    // What a float prints can be read again.
    format!("{number:.*e}", DIGITS - 1).parse().unwrap_or(number)
}

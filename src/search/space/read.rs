//! Reading a space: `name`, `replicates`, `timeout_minutes`, `[base]`, `[axes]`, `[[exclude]]`, `[baseline]`.

use std::path::Path;

use anyhow::{Error, Result};
use toml::{Table, Value};

use super::{
    Axis, AxisValue, Space, label,
    pattern::{self, Pattern},
    range::Range,
};
use crate::{
    base::{
        source::{Document, SourceError},
        words::short_numbers,
    },
    learn::data::own::Looked,
};

/// Values of an axis above which it is taken for a mistake: names are told apart pair by pair.
const LONGEST_AXIS: usize = 10_000;

const KEYS: [&str; 7] = ["name", "replicates", "timeout_minutes", "base", "axes", "exclude", "baseline"];

impl Space {
    /// Reads a space file; `sets` are `(path, value)` pairs that go over its base (and replace an axis of that path). Images of the
    /// user's own are looked at, and what was seen is set, too: who reads the space again need not have them.
    pub fn read(path: &Path, sets: &[(String, String)]) -> Result<Space> {
        let stem = path.file_stem().map_or_else(|| "space".into(), |stem| stem.to_string_lossy().into_owned());
        let document = Document::read(path)?;
        let mut set = document.clone();
        for (key, value) in sets {
            apply_set(&mut set.table, key, value)?;
        }
        // A path in the file begins where the file lies, one on the command line where the command is given.
        let is_set = sets.iter().any(|(key, _)| key == "data" || key == "data.path");
        let folder = if is_set { Path::new("") } else { path.parent().unwrap_or(Path::new("")) };
        let data = set.table.get("base").and_then(|base| base.get("data")).and_then(Value::as_table);
        let looked = data.map_or(Ok(None), |data| Looked::at(data, folder)).map_err(|error| {
            let place = ["base", "data", "path"].map(String::from);
            Error::new(document.error_at(&place, format!("{error:#}")))
        })?;
        let looked = looked.map_or(Vec::new(), |looked| looked.sets());
        Space::from_document(document, &stem, &[sets, &looked].concat())
    }

    /// Reads a space; `default_name` serves where the document names none.
    pub fn from_document(mut document: Document, default_name: &str, sets: &[(String, String)]) -> Result<Space> {
        for (key, value) in sets {
            apply_set(&mut document.table, key, value)?;
        }
        Ok(Space { sets: sets.to_vec(), ..Space::declared(document, default_name)? })
    }

    fn declared(document: Document, default_name: &str) -> Result<Space, SourceError> {
        let declaration = Declaration { document: &document };
        declaration.check_keys()?;
        let name = declaration.name(default_name)?;
        let replicates = declaration.replicates()?;
        let timeout_minutes = declaration.timeout_minutes()?;
        let base = declaration.base()?;
        let axes = declaration.axes()?;
        let exclude = declaration.exclude()?;
        let baseline = declaration.baseline()?;
        let axes = axes.into_iter().map(|axis| axis.with_baseline(baseline.as_ref())).collect();
        Ok(Space { name, replicates, timeout_minutes, axes, base, exclude, baseline, document, sets: Vec::new() })
    }
}

/// What a document declares, key by key.
struct Declaration<'a> {
    document: &'a Document,
}

impl Declaration<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.document.table.get(key)
    }

    fn error(&self, path: &[&str], message: String) -> SourceError {
        self.document.error_at(&path.iter().map(|segment| segment.to_string()).collect::<Vec<_>>(), message)
    }

    fn no_table(&self, path: &[&str], value: &Value) -> SourceError {
        self.error(path, format!("{} is {}, it must be a table", path[0], value.type_str()))
    }

    fn check_keys(&self) -> Result<(), SourceError> {
        match self.document.table.keys().find(|key| !KEYS.contains(&key.as_str())) {
            Some(key) => Err(self.error(&[key], format!("unknown key `{key}`: a space has {}", KEYS.join(", ")))),
            None => Ok(()),
        }
    }

    fn name(&self, default_name: &str) -> Result<String, SourceError> {
        match self.get("name") {
            None => match label::why_no_name(default_name) {
                None => Ok(default_name.to_string()),
                Some(why) => {
                    let message =
                        format!("the file's name names the space, {default_name:?}: {why}, or give a name = ...");
                    Err(self.error(&[], message))
                }
            },
            Some(Value::String(name)) if is_folder_name(name) => Ok(name.clone()),
            Some(other) => {
                let allowed = "it must be a string of letters, digits, '-', '_' and '.': it names the study's folder";
                Err(self.error(&["name"], format!("name = {other}: {allowed}")))
            }
        }
    }

    fn replicates(&self) -> Result<usize, SourceError> {
        match self.get("replicates") {
            None => Ok(1),
            Some(Value::Integer(count)) if (1..=10_000).contains(count) => Ok(*count as usize),
            Some(other) => {
                let message = format!("replicates = {other}: it must be a whole number from 1 to 10000");
                Err(self.error(&["replicates"], message))
            }
        }
    }

    fn timeout_minutes(&self) -> Result<Option<f64>, SourceError> {
        match self.get("timeout_minutes") {
            None => Ok(None),
            Some(Value::Integer(minutes)) if (1..=1_000_000).contains(minutes) => Ok(Some(*minutes as f64)),
            Some(Value::Float(minutes)) if *minutes > 0.0 && *minutes <= 1e6 => Ok(Some(*minutes)),
            Some(other) => {
                let allowed = "it must be a number of minutes above 0, up to 1000000";
                Err(self.error(&["timeout_minutes"], format!("timeout_minutes = {other}: {allowed}")))
            }
        }
    }

    fn base(&self) -> Result<Table, SourceError> {
        match self.get("base") {
            None => Ok(Table::new()),
            Some(Value::Table(base)) => Ok(base.clone()),
            Some(other) => Err(self.no_table(&["base"], other)),
        }
    }

    fn axes(&self) -> Result<Vec<Axis>, SourceError> {
        let mut axes = Vec::new();
        match self.get("axes") {
            None => {}
            Some(Value::Table(declared)) => read_axes(self.document, declared, "", &mut axes)?,
            Some(other) => return Err(self.no_table(&["axes"], other)),
        }
        Ok(axes)
    }

    fn exclude(&self) -> Result<Vec<Pattern>, SourceError> {
        match self.get("exclude") {
            None => Ok(Vec::new()),
            Some(Value::Array(patterns)) => {
                let pattern = |(index, value): (usize, &Value)| self.pattern(&["exclude", &index.to_string()], value);
                patterns.iter().enumerate().map(pattern).collect()
            }
            Some(_) => Err(self.error(&["exclude"], "exclude must be a list of tables: write [[exclude]]".into())),
        }
    }

    fn baseline(&self) -> Result<Option<Pattern>, SourceError> {
        self.get("baseline").map(|value| self.pattern(&["baseline"], value)).transpose()
    }

    fn pattern(&self, path: &[&str], value: &Value) -> Result<Pattern, SourceError> {
        match value {
            Value::Table(table) => Pattern::new(table).map_err(|message| self.error(path, message)),
            other => Err(self.no_table(path, other)),
        }
    }
}

/// `"model.routing_iterations" = [1, 3]` and `model.routing_iterations = [1, 3]` declare the same axis.
fn read_axes(document: &Document, table: &Table, prefix: &str, axes: &mut Vec<Axis>) -> Result<(), SourceError> {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        let fail = |message: String| document.error_at(&axis_place(&document.table, &path), message);
        match value {
            Value::Table(inner) if Range::is_meant(inner) => {
                check_axis(&path, axes).map_err(fail)?;
                let range = Range::read(inner, LONGEST_AXIS).map_err(|(key, message)| {
                    let place = axis_place(&document.table, &path).into_iter().chain([key.to_string()]);
                    document.error_at(&place.collect::<Vec<_>>(), format!("axis {path}: {message}"))
                })?;
                axes.push(Axis::of_range(path.clone(), range));
            }
            Value::Table(inner) => read_axes(document, inner, &path, axes)?,
            Value::Array(values) if values.is_empty() => {
                return Err(fail(format!("axis {path} is empty: give at least one value, or remove it")));
            }
            Value::Array(values) if values.len() > LONGEST_AXIS => {
                let count = values.len();
                return Err(fail(format!("axis {path} has {count} values; at most {LONGEST_AXIS} are allowed")));
            }
            Value::Array(values) => {
                check_axis(&path, axes).map_err(fail)?;
                let at_value = |(index, message): (usize, String)| {
                    let mut place = axis_place(&document.table, &path);
                    place.extend([index.to_string(), "label".into()]);
                    document.error_at(&place, message)
                };
                axes.push(read_axis(path.clone(), values).map_err(at_value)?);
            }
            other => {
                return Err(fail(format!(
                    "axis {path} is {other}: it must be a list of values, as in {path} = [{other}], or a range of numbers, as in \
                     {path} = {{ from = 1, to = 10 }}"
                )));
            }
        }
    }
    Ok(())
}

/// That there may be an axis of this path beside those before it.
fn check_axis(path: &str, axes: &[Axis]) -> Result<(), String> {
    if let Some(mend) = why_no_axis(path) {
        return Err(format!("{path} is no axis: {mend}"));
    }
    match axes.iter().find(|axis| overlaps(&axis.path, path)) {
        Some(other) => Err(format!("axes {} and {path} set the same values: keep one of them", other.path)),
        None => Ok(()),
    }
}

/// Why configurations of one space must not differ in `path`, if they must not.
fn why_no_axis(path: &str) -> Option<&'static str> {
    match path {
        "seed" => Some("replicates = n trains every configuration under n seeds"),
        // The shift is an optimisation of training; all else says which images there are.
        "data.shift" => None,
        _ if path == "data" || path.starts_with("data.") => {
            Some("accuracies on different images cannot be compared; declare a space for each, or use --set")
        }
        _ => None,
    }
}

/// An axis; an error with the number of the value at fault.
fn read_axis(path: String, given: &[Value]) -> Result<Axis, (usize, String)> {
    let mut values = Vec::new();
    for (index, value) in given.iter().enumerate() {
        let mut value = value.clone();
        // `label` in a table is how the user wants it called, not part of the configuration.
        let label = match value.as_table_mut().and_then(|table| table.remove("label")) {
            None => None,
            Some(Value::String(label)) => match label::why_no_label(&label) {
                None => Some(label),
                Some(why) => return Err((index, format!("axis {path}: label = {label:?}: {why}"))),
            },
            Some(other) => {
                return Err((index, format!("axis {path}: label = {other}: it must be a string")));
            }
        };
        values.push((value, label));
    }
    let names = label::name_values(&values);
    let values = values.into_iter().zip(names).map(|((value, _), label)| AxisValue { value, label }).collect();
    Ok(Axis { path, values, range: None })
}

impl Axis {
    fn of_range(path: String, range: Range) -> Axis {
        let values = range.numbers().into_iter().map(|number| AxisValue::of_number(&range, number)).collect();
        Axis { path, values, range: Some(range) }
    }

    /// The same where a range has the baseline's number among those that may be taken.
    fn with_baseline(mut self, baseline: Option<&Pattern>) -> Axis {
        let given = baseline.and_then(|baseline| baseline.number(&self.path));
        if let (Some(range), Some(number)) = (self.range.filter(|range| range.points.is_none()), given) {
            self.insert(&range, number);
        }
        self
    }

    /// The place of a number of its range, which is put among its values where it is not there.
    pub(super) fn insert(&mut self, range: &Range, number: f64) -> Option<usize> {
        if !range.has(number) {
            return None;
        }
        let value = AxisValue::of_number(range, number);
        let height = |of: &AxisValue| of.value.as_float().or(of.value.as_integer().map(|whole| whole as f64));
        let at = self.values.partition_point(|of| height(of).is_some_and(|of| of < number));
        if self.values.get(at).is_none_or(|there| height(there) != Some(number)) {
            self.values.insert(at, value);
        }
        Some(at)
    }
}

impl AxisValue {
    fn of_number(range: &Range, number: f64) -> AxisValue {
        let value = range.value(number);
        AxisValue { label: short_numbers(&value.to_string()), value }
    }
}

fn overlaps(one: &str, other: &str) -> bool {
    one == other || one.starts_with(&format!("{other}.")) || other.starts_with(&format!("{one}."))
}

/// The keys under which an axis stands in the document.
pub fn axis_place(table: &Table, path: &str) -> Vec<String> {
    let mut place = vec!["axes".to_string()];
    let mut table = table.get("axes").and_then(Value::as_table);
    let mut rest = path;
    // At each level the axis may go on under its whole remaining path or under a first part of it.
    while let Some(inner) = table {
        let Some(key) = inner.keys().find(|key| rest == key.as_str() || rest.starts_with(&format!("{key}."))) else {
            break;
        };
        place.push(key.clone());
        rest = rest[key.len()..].trim_start_matches('.');
        table = inner.get(key).and_then(Value::as_table);
    }
    place
}

/// A value as `--set path=value` gives it: TOML, or else a bare string.
fn apply_set(table: &mut Table, path: &str, text: &str) -> Result<()> {
    let value = format!("value = {text}").parse::<Table>().ok().and_then(|mut parsed| parsed.remove("value"));
    let value = value.unwrap_or_else(|| Value::String(text.to_string()));
    if path == "replicates" {
        table.insert(path.to_string(), value);
        return Ok(());
    }
    if let Some(Value::Table(axes)) = table.get_mut("axes") {
        if let Some(above) = prefixes(path).find(|above| find_axis(axes, above)) {
            anyhow::bail!(
                "--set {path}={text} would change nothing: the axis {above} sets the whole table. \
                 Set {above} itself, or edit the axis in the file"
            );
        }
        remove_axis(axes, path);
    }
    let full = format!("base.{path}");
    pattern::set(table, &full, value).map_err(|message| anyhow::anyhow!("--set {path}={text}: {message}"))
}

/// The paths above a path: `a` and `a.b` of `a.b.c`.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('.').map(|(end, _)| &path[..end])
}

/// Whether there is an axis of exactly this path, under its quoted path or as nested keys.
fn find_axis(axes: &Table, path: &str) -> bool {
    let nested = || {
        let (key, rest) = path.split_once('.')?;
        Some(find_axis(axes.get(key)?.as_table()?, rest))
    };
    let is_axis = |value: &Value| value.is_array() || value.as_table().is_some_and(Range::is_meant);
    axes.get(path).is_some_and(is_axis) || nested().unwrap_or(false)
}

fn remove_axis(axes: &mut Table, path: &str) {
    axes.remove(path);
    if let Some((key, rest)) = path.split_once('.')
        && let Some(Value::Table(inner)) = axes.get_mut(key)
    {
        remove_axis(inner, rest);
    }
}

fn is_folder_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && name.len() <= 64 && !name.starts_with('.') && name.chars().all(allowed)
}

//! A space of configurations: a base, axes over it, exclusions; expanded to the distinct configs it means.

mod label;
mod pattern;
mod proposed;
mod range;
mod read;

use std::collections::HashMap;

use toml::{Table, Value};

use crate::{
    base::source::{Document, SourceError, segments},
    learn::config::{ConfigError, TrialConfig},
};
pub use label::FORMULA;
use pattern::Pattern;
pub use range::{Range, Scale};

/// Combinations above which a grid is taken for a mistake.
const LARGEST_GRID: usize = 1_000_000;
/// Trials that a space, or a study with its further replicates, may have: all of them are held in memory.
pub const MOST_TRIALS: usize = 1_000_000;

/// A declared space, not yet expanded.
#[derive(Clone, Debug)]
pub struct Space {
    pub name: String,
    /// Trainings of each configuration, with seeds counted up from the base's.
    pub replicates: usize,
    /// Wall time that an attempt of a trial may take.
    pub timeout_minutes: Option<f64>,
    pub axes: Vec<Axis>,
    base: Table,
    exclude: Vec<Pattern>,
    baseline: Option<Pattern>,
    document: Document,
    /// `path=value` pairs that went over the base.
    sets: Vec<(String, String)>,
}

/// One dimension of the space.
#[derive(Clone, Debug)]
pub struct Axis {
    /// Dotted path into [`TrialConfig`].
    pub path: String,
    pub values: Vec<AxisValue>,
    /// The numbers that the values are of, where they were declared by their ends.
    pub range: Option<Range>,
}

/// One value of an axis: a number, a string, or a whole table.
#[derive(Clone, Debug)]
pub struct AxisValue {
    pub value: Value,
    /// How it is called in tables and charts.
    pub label: String,
}

/// One distinct configuration of a space.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub config: TrialConfig,
    /// The value on each axis as it stands in the configuration, a table by its label; absent where the axis cannot matter
    /// to this configuration.
    pub values: Vec<Option<String>>,
    /// What sets it apart from the baseline (or, without one, its value on every axis that varies).
    pub label: String,
}

/// All that a space means.
#[derive(Clone, Debug)]
pub struct Expansion {
    pub candidates: Vec<Candidate>,
    /// Index of the configuration that others are compared to.
    pub baseline: Option<usize>,
    /// Combinations of the axes' values.
    pub combinations: usize,
    /// Combinations that an `[[exclude]]` pattern took out.
    pub excluded: usize,
    /// Combinations that mean the same configuration as an earlier one.
    pub duplicates: usize,
}

/// One training to be done: a configuration under one seed.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Index into [`Expansion::candidates`].
    pub candidate: usize,
    pub replicate: usize,
    pub config: TrialConfig,
}

impl Space {
    /// Combinations of the axes' values, before exclusions and duplicates are taken out.
    pub fn size(&self) -> usize {
        self.axes.iter().map(|axis| axis.values.len()).fold(1, usize::saturating_mul)
    }

    /// The text of the space file, as it was read.
    pub fn text(&self) -> &str {
        &self.document.text
    }

    /// The `(path, value)` pairs that went over the base.
    pub fn sets(&self) -> &[(String, String)] {
        &self.sets
    }

    /// What the space declares, with everything that was set over it.
    pub fn declaration(&self) -> &Table {
        &self.document.table
    }

    /// What the value of an axis is called where it is what sets a configuration apart, as in [`Candidate::label`].
    pub fn value_name(&self, axis: usize, value: &str) -> String {
        label::name_on_axis(&self.axes[axis], value, &self.axes)
    }

    /// Every distinct configuration, in grid order (the first axis changes slowest), each valid.
    ///
    /// Errors: as [`Space::check_listable`]; a configuration that is not valid; patterns that match nothing.
    pub fn expand(&self) -> Result<Expansion, SourceError> {
        self.check_listable()?;
        let combinations = self.size();
        let mut candidates: Vec<Candidate> = Vec::new();
        let mut seen: HashMap<String, usize> = HashMap::new();
        let (mut excluded, mut duplicates) = (0, 0);
        let mut exclude_used = vec![false; self.exclude.len()];
        let mut baselines = Vec::new();
        let mut first = None;
        for number in 0..combinations {
            let choice = self.choice(number);
            let config = self.config(&choice)?;
            let resolved = config.to_table();
            let labels = self.labels(&choice);
            let matching = self.exclude.iter().map(|pattern| pattern.matches(&resolved, &labels));
            // Each that matches is used: none is left out for the sake of another.
            let is_excluded = exclude_used.iter_mut().zip(matching).fold(false, |any, (used, matches)| {
                *used |= matches;
                any | matches
            });
            if is_excluded {
                excluded += 1;
                continue;
            }
            let index = *seen.entry(config.key("")).or_insert(candidates.len());
            if index < candidates.len() {
                duplicates += 1;
            } else {
                let values = self.values(&choice, &resolved);
                candidates.push(Candidate { config, values, label: String::new() });
            }
            if number == 0 {
                first = Some(index);
            }
            if self.baseline.as_ref().is_some_and(|pattern| pattern.matches(&resolved, &labels))
                && !baselines.contains(&index)
            {
                baselines.push(index);
            }
        }
        self.check_patterns(&candidates, &exclude_used, &baselines)?;
        self.check_trials(candidates.len())?;
        let baseline = if self.baseline.is_some() { baselines.first().copied() } else { first };
        label::name_candidates(&self.axes, &mut candidates, baseline);
        if let Some(twice) = label::first_shared(&candidates) {
            let message = format!("two configurations would be called {twice:?}: give their values other labels");
            return Err(self.document.error_at(&["axes".into()], message));
        }
        Ok(Expansion { candidates, baseline, combinations, excluded, duplicates })
    }

    fn check_trials(&self, configurations: usize) -> Result<(), SourceError> {
        let replicates = self.replicates;
        let trials = configurations.saturating_mul(replicates);
        if trials > MOST_TRIALS {
            let message = format!(
                "{configurations} configurations × {replicates} replicates are {trials} trials; at most {MOST_TRIALS} are allowed: \
                 take fewer of either"
            );
            return Err(self.document.error_at(&["replicates".into()], message));
        }
        Ok(())
    }

    fn check_patterns(
        &self,
        left: &[Candidate],
        exclude_used: &[bool],
        baselines: &[usize],
    ) -> Result<(), SourceError> {
        // A pattern may be about an axis that was set to one value: what it matches then is nobody's mistake.
        let is_as_written = self.sets.iter().all(|(path, _)| path == "data.path" || path == "data.images");
        if let Some(index) = exclude_used.iter().position(|used| !used).filter(|_| is_as_written) {
            let message = format!(
                "[[exclude]] number {} matches no configuration; check its paths and values, or remove it",
                index + 1
            );
            return Err(self.document.error_at(&["exclude".into(), index.to_string()], message));
        }
        if left.is_empty() {
            let message = "[[exclude]] takes out every configuration; nothing is left to explore";
            return Err(self.document.error_at(&["exclude".into()], message));
        }
        if self.baseline.is_some() && (baselines.len() > 1 || (baselines.is_empty() && is_as_written)) {
            let message = format!(
                "[baseline] must match exactly one configuration, it matches {}; give the value of every axis that varies",
                baselines.len()
            );
            return Err(self.document.error_at(&["baseline".into()], message));
        }
        Ok(())
    }

    /// Index of the value on each axis in combination `number`.
    fn choice(&self, number: usize) -> Vec<usize> {
        let mut rest = number;
        let mut choice: Vec<usize> = (self.axes.iter().rev())
            .map(|axis| {
                let index = rest % axis.values.len();
                rest /= axis.values.len();
                index
            })
            .collect();
        choice.reverse();
        choice
    }

    fn config(&self, choice: &[usize]) -> Result<TrialConfig, SourceError> {
        let mut table = self.base.clone();
        for (axis, index) in self.axes.iter().zip(choice) {
            pattern::set(&mut table, &axis.path, axis.values[*index].value.clone())
                .map_err(|message| self.document.error_at(&self.axis_place(&axis.path), message))?;
        }
        TrialConfig::resolve(table).map_err(|error| self.place_error(error, choice))
    }

    /// Says where in the file the value stands that makes a configuration invalid.
    fn place_error(&self, error: ConfigError, choice: &[usize]) -> SourceError {
        let at = segments(error.path());
        for (axis, index) in self.axes.iter().zip(choice) {
            let path = segments(&axis.path);
            let shorter = path.len().min(at.len());
            if path[..shorter] == at[..shorter] {
                let mut place = self.axis_place(&axis.path);
                place.push(index.to_string());
                place.extend_from_slice(&at[shorter..]);
                return self.document.error_at(&place, format!("axis {}: {error}", axis.path));
            }
        }
        for (path, value) in &self.sets {
            let set = segments(path);
            let shorter = set.len().min(at.len());
            if set[..shorter] == at[..shorter] {
                return SourceError { origin: format!("--set {path}={value}"), line: None, message: error.to_string() };
            }
        }
        let mut place = vec!["base".to_string()];
        place.extend(at);
        self.document.error_at(&place, error.to_string())
    }

    /// Where an axis is declared: under its quoted dotted path, or as nested keys.
    fn axis_place(&self, path: &str) -> Vec<String> {
        read::axis_place(&self.document.table, path)
    }

    fn labels<'a>(&'a self, choice: &[usize]) -> HashMap<&'a str, &'a str> {
        let pairs = self.axes.iter().zip(choice);
        pairs.map(|(axis, index)| (axis.path.as_str(), axis.values[*index].label.as_str())).collect()
    }

    fn values(&self, choice: &[usize], resolved: &Table) -> Vec<Option<String>> {
        let is_capsnet = pattern::get(resolved, "model.kind").and_then(Value::as_str) == Some("capsnet");
        let pairs = self.axes.iter().zip(choice);
        pairs
            .map(|(axis, index)| {
                let AxisValue { value, label } = &axis.values[*index];
                match pattern::get(resolved, &axis.path) {
                    // Presets are resolved to what they stand for.
                    None => (axis.path == "model.preset" && is_capsnet).then(|| label.clone()),
                    Some(Value::Table(_)) => Some(label.clone()),
                    // A value that was replaced by the one for "does not matter" did not matter.
                    Some(found) => pattern::same(value, found).then(|| label.clone()),
                }
            })
            .collect()
    }
}

impl Expansion {
    /// Every configuration with its label.
    pub fn labelled(&self) -> impl Iterator<Item = (&str, &TrialConfig)> {
        self.candidates.iter().map(|candidate| (candidate.label.as_str(), &candidate.config))
    }

    /// The trainings of the whole space: every configuration once, then every configuration again, `replicates` times,
    /// so that a front stands early.
    pub fn trials(&self, replicates: usize) -> Vec<Trial> {
        let round = |replicate| {
            let candidates = self.candidates.iter().enumerate();
            candidates.map(move |(candidate, of)| Trial {
                candidate,
                replicate,
                config: of.config.replicate(replicate),
            })
        };
        (0..replicates).flat_map(round).collect()
    }
}

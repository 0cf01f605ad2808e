//! A space of which not all is listed: its combinations are counted, and those that somebody proposes become configurations.

use std::collections::{HashMap, HashSet};

use super::{Axis, Candidate, Expansion, LARGEST_GRID, Range, Space, label, pattern};
use crate::base::source::SourceError;

impl Space {
    /// That its configurations can be listed.
    ///
    /// Errors: an axis that is a range of which no points are meant; more combinations than a grid may have.
    pub fn check_listable(&self) -> Result<(), SourceError> {
        if let Some(axis) = self.axes.iter().find(|axis| axis.range.is_some_and(|range| range.points.is_none())) {
            let message = format!(
                "axis {} is a range: a list of configurations needs its numbers: give points = 5, or as many as are meant, or have \
                 --strategy evolve propose",
                axis.path
            );
            return Err(self.document.error_at(&self.axis_place(&axis.path), message));
        }
        let combinations = self.size();
        if combinations > LARGEST_GRID {
            let message = format!(
                "the axes make {combinations} combinations; at most {LARGEST_GRID} are allowed, more with --strategy evolve, which lists \
                 those alone that it proposes"
            );
            return Err(self.document.error_at(&["axes".into()], message));
        }
        Ok(())
    }

    /// The baseline: the value on each axis by its index. Where it says nothing of an axis, that is the first.
    ///
    /// Errors: a baseline that no combination is, or that is not valid, or excluded.
    pub fn baseline_choice(&self) -> Result<Vec<usize>, SourceError> {
        let mut choice = vec![0; self.axes.len()];
        let none = |message: &str| Err(self.document.error_at(&["baseline".into()], format!("[baseline] {message}")));
        if let Some(baseline) = &self.baseline {
            for (at, axis) in self.axes.iter().enumerate() {
                let mut agrees = |index: usize| -> Result<Option<bool>, SourceError> {
                    if axis.range.is_some() {
                        let value = &axis.values[index].value;
                        return Ok(baseline.number(&axis.path).map(|number| pattern::same(&number.into(), value)));
                    }
                    choice[at] = index;
                    let resolved = self.config(&choice)?.to_table();
                    Ok(baseline.agrees_at(&axis.path, &resolved, &self.labels(&choice)))
                };
                let mut found = None;
                for index in 0..axis.values.len() {
                    match agrees(index)? {
                        Some(false) => {}
                        None | Some(true) => {
                            found = Some(index);
                            break;
                        }
                    }
                }
                let Some(found) = found else {
                    return none(&format!("says of {} what none of the axis's values is", axis.path));
                };
                choice[at] = found;
            }
            let resolved = self.config(&choice)?.to_table();
            if !baseline.matches(&resolved, &self.labels(&choice)) {
                return none("matches no configuration; check its paths and values");
            }
        }
        match self.at(&choice)? {
            Some(_) => Ok(choice),
            None => none("is excluded: everything is compared with it"),
        }
    }

    /// The configuration of a combination, the value on each axis by its index; none where it is excluded. Its label is empty.
    ///
    /// Errors: one that is not valid.
    pub fn at(&self, choice: &[usize]) -> Result<Option<Candidate>, SourceError> {
        let config = self.config(choice)?;
        let resolved = config.to_table();
        let labels = self.labels(choice);
        if self.exclude.iter().any(|pattern| pattern.matches(&resolved, &labels)) {
            return Ok(None);
        }
        let values = self.values(choice, &resolved);
        Ok(Some(Candidate { config, values, label: String::new() }))
    }

    /// How a combination is written down: by the name of its value on each axis.
    pub fn names(&self, choice: &[usize]) -> Vec<String> {
        self.axes.iter().zip(choice).map(|(axis, index)| axis.values[*index].label.clone()).collect()
    }

    /// That each value of each axis, beside those of the baseline on all others, makes a configuration: what is wrong with a value by
    /// itself shows before anything is trained.
    /// Gives these configurations.
    pub fn check_values(&self) -> Result<Vec<Candidate>, SourceError> {
        let baseline = self.baseline_choice()?;
        let mut candidates = Vec::new();
        for (at, axis) in self.axes.iter().enumerate() {
            let last = axis.values.len() - 1;
            // Of a range the ends tell.
            let indices: Vec<usize> = if axis.range.is_some() { vec![0, last] } else { (0..=last).collect() };
            for index in indices {
                let mut choice = baseline.clone();
                choice[at] = index;
                let label = format!("{} = {}", axis.path, axis.values[index].label);
                candidates.extend(self.at(&choice)?.map(|of| Candidate { label, ..of }));
            }
        }
        Ok(candidates)
    }

    /// The configurations that were proposed, in their order, as [`Space::names`] writes them down, and the space with those values
    /// alone that they have.
    ///
    /// Errors: a name that no value of the axis has; a configuration that is not valid.
    pub fn listed(&self, proposed: &[Vec<String>]) -> Result<(Space, Expansion), SourceError> {
        let unknown = |name: &str, path: &str| {
            let message = format!(
                "axis {path} has no value {name:?}, which a configuration of the study has: bring it back, or explore into another folder with --out"
            );
            self.document.error_at(&self.axis_place(path), message)
        };
        let mut axes = Vec::with_capacity(self.axes.len());
        for (at, axis) in self.axes.iter().enumerate() {
            let names: HashSet<&str> = proposed.iter().filter_map(|of| of.get(at)).map(String::as_str).collect();
            axes.push(narrowed(axis, &names).map_err(|name| unknown(name, &axis.path))?);
        }
        let narrow = Space { axes, ..self.clone() };
        let places: Vec<HashMap<&str, usize>> = (narrow.axes.iter())
            .map(|axis| axis.values.iter().enumerate().map(|(index, value)| (value.label.as_str(), index)).collect())
            .collect();
        let mut candidates: Vec<Candidate> = Vec::with_capacity(proposed.len());
        let mut seen: HashMap<String, usize> = HashMap::new();
        for names in proposed {
            let choice: Option<Vec<usize>> =
                places.iter().zip(names).map(|(places, name)| places.get(name.as_str()).copied()).collect();
            let Some(choice) = choice.filter(|choice| choice.len() == self.axes.len()) else {
                let message = "a configuration of the study has values on other axes than the space: bring these back, or explore into another folder with --out";
                return Err(self.document.error_at(&["axes".into()], message));
            };
            let config = narrow.config(&choice)?;
            let next = candidates.len();
            if *seen.entry(config.key("")).or_insert(next) == next {
                let values = narrow.values(&choice, &config.to_table());
                candidates.push(Candidate { config, values, label: String::new() });
            }
        }
        let baseline = self.at(&self.baseline_choice()?)?.and_then(|of| seen.get(&of.config.key("")).copied());
        // Names must not change with what is proposed later, so that all values have a say in them but the numbers of ranges.
        let whole: Vec<Axis> = (self.axes.iter().zip(&narrow.axes))
            .map(|(whole, narrow)| if whole.range.is_some() { narrow.clone() } else { whole.clone() })
            .collect();
        label::name_candidates(&whole, &mut candidates, baseline);
        label::tell_apart(&mut candidates);
        let combinations = self.size();
        Ok((narrow, Expansion { candidates, baseline, combinations, excluded: 0, duplicates: 0 }))
    }
}

/// An axis with the values of these names alone; the name that it has no value of, if there is one.
fn narrowed<'a>(axis: &Axis, names: &HashSet<&'a str>) -> Result<Axis, &'a str> {
    let mut narrow = axis.clone();
    let known: HashSet<&str> = axis.values.iter().map(|value| value.label.as_str()).collect();
    for name in names.iter().filter(|name| !known.contains(**name)) {
        let number = |range: &Range| Some((*range, name.parse::<f64>().ok()?));
        let inserted = axis.range.as_ref().and_then(number).and_then(|(range, number)| narrow.insert(&range, number));
        inserted.ok_or(*name)?;
    }
    narrow.values.retain(|value| names.contains(value.label.as_str()));
    Ok(narrow)
}

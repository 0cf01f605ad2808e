//! What charts are made of: a study, and what is found out about it once and for all of them.

use std::{cell::OnceCell, collections::BTreeMap};

use anyhow::{Context, Result};

use super::images::Sample;
use crate::analysis::Basis;
use crate::base::{stats, words::three_digits};
use crate::learn::record::{EpochRow, Status, TrialRecord};
use crate::present::report::{cells::from_to, effects::Effects, findings::Findings, view::StudyView};

/// What a chart is asked to show, beyond what its study says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Labels of configurations to show in the place of the chart's own choice, where it makes one.
    pub configurations: Vec<String>,
}

/// A study as charts see it.
pub struct Facts<'a> {
    pub view: &'a StudyView,
    /// Images of the picked configuration beside what its decoder makes of them; charts run no network.
    pub samples: Vec<Sample>,
    /// The configuration that they are of.
    pub picked: Option<usize>,
    findings: Known<'a, Findings>,
    effects: Known<'a, Effects>,
}

/// What is given, or else found out when it is first asked for.
enum Known<'a, T> {
    Given(&'a T),
    Found(OnceCell<T>),
}

impl<T> Known<'_, T> {
    fn get_or(&self, find: impl FnOnce() -> T) -> &T {
        match self {
            Known::Given(given) => given,
            Known::Found(found) => found.get_or_init(find),
        }
    }
}

impl<'a> Facts<'a> {
    pub fn of(view: &'a StudyView) -> Facts<'a> {
        let (findings, effects) = (Known::Found(OnceCell::new()), Known::Found(OnceCell::new()));
        Facts { view, samples: Vec::new(), picked: None, findings, effects }
    }

    /// The same of a study whose findings and effects are known already.
    pub fn known(view: &'a StudyView, findings: &'a Findings, effects: &'a Effects) -> Facts<'a> {
        Facts { findings: Known::Given(findings), effects: Known::Given(effects), ..Facts::of(view) }
    }

    pub fn findings(&self) -> &Findings {
        self.findings.get_or(|| Findings::of(self.view))
    }

    pub fn effects(&self) -> &Effects {
        self.effects.get_or(|| Effects::among(self.view, &self.findings().points))
    }

    /// What a chart says of its accuracies and times.
    pub fn figures_note(&self) -> String {
        let notes = [self.accuracy_note(), self.time_note()];
        notes.into_iter().filter(|note| !note.is_empty()).collect::<Vec<_>>().join(" · ")
    }

    /// What a chart says of its accuracies: of how many images they are.
    pub fn accuracy_note(&self) -> String {
        let [(least, most), _] = self.view.images();
        match least {
            0 => String::new(),
            _ => format!(
                "accuracy: of {} validation images, one is {} points",
                from_to((least, most)),
                three_digits(100.0 / least as f64)
            ),
        }
    }

    /// What a chart says of its times.
    pub fn time_note(&self) -> String {
        match self.view.times_line() {
            line if line.is_empty() => "time: training steps only".into(),
            line => format!("time: training steps only, {line}"),
        }
    }

    /// Records of trials that were started, each with its candidate and its epochs, in grid order.
    pub fn begun(&self) -> impl Iterator<Item = (usize, &TrialRecord, &[EpochRow])> {
        let records = self.view.trials.iter().zip(&self.view.records).zip(&self.view.epochs);
        records.filter_map(|((trial, record), rows)| Some((trial.candidate, record.as_ref()?, rows.as_slice())))
    }

    /// The epochs of the trials of each configuration that ended so.
    pub fn epochs_of(&self, status: Status) -> BTreeMap<usize, Vec<&[EpochRow]>> {
        let mut of: BTreeMap<usize, Vec<&[EpochRow]>> = BTreeMap::new();
        for (candidate, _, rows) in self.begun().filter(|(_, record, rows)| record.status == status && !rows.is_empty())
        {
            of.entry(candidate).or_default().push(rows);
        }
        of
    }

    /// Seconds of the first epochs of a configuration: confirmed, or else the mean over trials that took them.
    pub fn seconds(&self, candidate: usize, epochs: usize, trials: &[&[EpochRow]]) -> Option<(f64, Basis)> {
        if let Some(seconds) = self.view.confirmed_seconds(candidate, epochs) {
            return Some((seconds, Basis::Confirmed));
        }
        let screened: Vec<f64> =
            trials.iter().filter_map(|rows| Some(rows.get(epochs.checked_sub(1)?)?.train_seconds_screen)).collect();
        Some((stats::mean(&screened)?, Basis::Screened))
    }

    /// The configurations that are asked for, if any are.
    pub fn asked(&self, options: &Options) -> Result<Option<Vec<usize>>> {
        let candidates = &self.view.expansion.candidates;
        let find = |label: &String| {
            let found = candidates.iter().position(|candidate| candidate.label == *label);
            found.with_context(|| {
                format!(
                    "the study has no configuration {label:?}: give one as the column `configuration` of trials.csv has it"
                )
            })
        };
        let asked = options.configurations.iter().map(find).collect::<Result<Vec<usize>>>()?;
        Ok((!asked.is_empty()).then_some(asked))
    }

    /// What a configuration has on the axes that vary and whose paths begin so, in words.
    pub fn values_below(&self, candidate: usize, path: &str) -> String {
        let (space, of) = (&self.view.space, &self.view.expansion.candidates[candidate]);
        let is_below = |of: &str| of == path || of.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
        let below = self.axes().into_iter().filter(|axis| is_below(&space.axes[*axis].path));
        let values = below.filter_map(|axis| Some(space.value_name(axis, of.values[axis].as_ref()?)));
        values.collect::<Vec<_>>().join(", ")
    }

    /// The axes of the space that more than one configuration differs on.
    pub fn axes(&self) -> Vec<usize> {
        let candidates = &self.view.expansion.candidates;
        let varies = |axis: &usize| {
            let mut values = candidates.iter().map(|candidate| &candidate.values[*axis]);
            let first = values.next();
            values.any(|value| Some(value) != first)
        };
        (0..self.view.space.axes.len()).filter(varies).collect()
    }
}

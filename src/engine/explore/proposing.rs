//! A space of which not all is listed: what a strategy may choose among, and how the study's list grows by what it proposes.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use anyhow::{Result, bail};

use super::{Exploration, declared::fingerprints};
use crate::search::{
    space::{Axis, AxisValue, Space},
    strategy::{Ground, Line, Offered},
    study::{Lock, Plan},
};

/// A space by its combinations.
#[derive(Debug)]
struct Unlisted {
    space: Space,
    lines: Vec<Line>,
    baseline: Vec<usize>,
    /// What slots there are for trials.
    has_cpu: bool,
    has_gpu: bool,
    /// What was asked for: a searcher that is made anew asks for the same again.
    known: RefCell<HashMap<Vec<usize>, Option<Offered>>>,
}

impl Unlisted {
    fn find(&self, place: &[usize]) -> Option<Offered> {
        // A combination that is not valid is nothing that may be trained: what is wrong with a value by itself was an error before.
        let config = self.space.at(place).ok().flatten()?.config;
        if self.has_cpu && config.check_for_cpu().is_err() || self.has_gpu && config.check_for_gpu().is_err() {
            return None;
        }
        let epochs = config.train.epochs;
        let each = config.rough_work() / epochs as f64;
        Some(Offered {
            key: config.key(""),
            stops: config.schedule.stops(epochs),
            seconds: (1..=epochs).map(|epoch| each * epoch as f64).collect(),
            parameters: config.parameters(),
        })
    }
}

impl Ground for Unlisted {
    fn lines(&self) -> &[Line] {
        &self.lines
    }

    fn start(&self) -> Option<Vec<usize>> {
        Some(self.baseline.clone())
    }

    fn at(&self, place: &[usize]) -> Option<Offered> {
        if let Some(known) = self.known.borrow().get(place) {
            return known.clone();
        }
        let found = self.find(place);
        self.known.borrow_mut().insert(place.to_vec(), found.clone());
        found
    }

    fn places(&self) -> Option<&[Vec<usize>]> {
        None
    }
}

impl Exploration {
    /// The configurations on the list of a study whose strategy proposes; none where another strategy is asked for, or the study is
    /// of its whole space.
    ///
    /// Errors: a space in which a value of an axis is wrong by itself; no end in sight.
    pub(super) fn proposed(&self) -> Result<Option<Vec<Vec<String>>>> {
        if !self.strategy.proposes {
            return Ok(None);
        }
        let baseline = self.space.baseline_choice()?;
        let Some(proposed) = self.study.proposed(self.space.names(&baseline))? else { return Ok(None) };
        self.check_slots(&self.space.check_values()?)?;
        if self.limits.deadline.is_none() && self.limit.is_none() {
            bail!(
                "--strategy {} proposes configurations without end: give --until, --budget or --limit",
                self.strategy.name
            );
        }
        Ok(Some(proposed))
    }

    /// What the strategy may choose among.
    pub(super) fn ground(&self) -> Result<Rc<dyn Ground>> {
        let line = |axis: &Axis| {
            let height = |of: &AxisValue| of.value.as_float().or(of.value.as_integer().map(|whole| whole as f64));
            let heights: Option<Vec<f64>> = axis.values.iter().map(height).collect();
            let is_ordered = heights.is_some_and(|of| of.is_sorted() || of.is_sorted_by(|one, other| one >= other));
            Line { values: axis.values.len(), is_ordered }
        };
        Ok(Rc::new(Unlisted {
            lines: self.space.axes.iter().map(line).collect(),
            baseline: self.space.baseline_choice()?,
            space: self.space.clone(),
            has_cpu: self.slots.has_cpu(),
            has_gpu: self.slots.gpus().next().is_some(),
            known: RefCell::default(),
        }))
    }

    /// Puts on the study's list what the searcher wants further; gives the longer plan.
    pub(super) fn list_further(&self, lock: &Lock, further: &[Vec<usize>]) -> Result<Plan> {
        let candidates = further.iter().map(|place| self.space.at(place)).collect::<Result<Vec<_>, _>>()?;
        let selections = candidates.iter().flatten().map(|candidate| &candidate.config.data);
        let data = fingerprints(selections, self.study.read()?.data, &self.data_dirs)?;
        self.study.propose(lock, further.iter().map(|place| self.space.names(place)).collect(), data)
    }
}

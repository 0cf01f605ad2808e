//! What an exploration trains, and by which searcher.

use std::{path::Path, rc::Rc, time::SystemTime};

use anyhow::{Context, Result};

use super::events::{Event, Observer};
use crate::{
    base::device::Place,
    learn::{config::TrialConfig, record::Status},
    search::{
        dispatch::Past,
        space::{Expansion, Trial},
        strategy::{Brief, Costs, Deadline, Ground, Predicted, Searcher, Settings, Strategy},
        study::Study,
        worker::Tasks,
    },
    timing::predict::{self, StepCosts},
};

/// What is trained, and by whom it is chosen.
pub(super) struct Chosen {
    pub searcher: Box<dyn Searcher>,
    pub order: Vec<usize>,
}

/// What there is to choose from.
pub(super) struct Choice<'a> {
    pub expansion: &'a Expansion,
    pub trials: &'a [Trial],
    /// How many of them were asked for, the first ones.
    pub asked: usize,
    /// Those after them that go on all the same, as they were begun. None where there is a limit.
    pub begun: &'a [usize],
    pub strategy: &'static Strategy,
    pub settings: Settings,
    /// A file of step times, for a study that has none.
    pub costs: Option<&'a Path>,
    /// No more than so many, the first of the order.
    pub limit: Option<usize>,
    pub deadline: Option<SystemTime>,
    /// The devices that have slots: where steps are timed if there is a deadline.
    pub places: Vec<Place>,
    pub tasks: &'a dyn Tasks,
    /// Where configurations are proposed that nobody has listed.
    pub ground: Option<&'a Rc<dyn Ground>>,
}

impl Choice<'_> {
    /// Chooses with regard to what trials have behind them: a study, its keys and its past.
    pub fn make(&self, past: Option<(&Study, &[String], &[Past])>, observer: &mut Observer) -> Result<Chosen> {
        // To a strategy that proposes, a deadline is only an end.
        if let Some(deadline) = self.deadline.filter(|_| !self.strategy.proposes) {
            observer(&Event::Predicting { deadline });
            let searcher = self.before_a_deadline(past)?;
            return Ok(Chosen { order: searcher.trials().to_vec(), searcher: Box::new(searcher) });
        }
        let Choice { trials, asked, limit, begun, settings, .. } = *self;
        // What would be trained without a study is the same at any cost.
        let costs = match past.filter(|_| self.strategy.needs_costs) {
            Some((study, ..)) => Some(self.costs_of(study, observer)?),
            None => None,
        };
        let searcher = (self.strategy.searcher)(&Brief {
            trials,
            candidates: &self.expansion.candidates,
            costs: costs.as_ref(),
            settings,
            asked,
            limit,
            begun,
            baseline: self.expansion.baseline,
            ground: self.ground,
        });
        Ok(Chosen { order: searcher.trials().to_vec(), searcher })
    }

    /// What trainings cost, by the step times that the study keeps.
    fn costs_of(&self, study: &Study, observer: &mut Observer) -> Result<Costs> {
        let given = match self.costs {
            Some(path) => {
                let missing = || format!("{} does not exist: give costs.json of a study", path.display());
                Some(StepCosts::read(path)?.with_context(missing)?)
            }
            None => None,
        };
        observer(&Event::Timing);
        let configs = super::configs_of(self.expansion);
        // The first device stands for all: its slots were named first.
        let place = self.places.first().copied().unwrap_or_default();
        Ok(StepCosts::of_study(study, given, self.tasks, place, &configs)?.costs(&configs))
    }

    fn before_a_deadline(&self, past: Option<(&Study, &[String], &[Past])>) -> Result<Deadline> {
        let left = past.map_or(vec![1.0; self.trials.len()], |(study, keys, past)| self.left(study, keys, past));
        let configs: Vec<&TrialConfig> = super::configs_of(self.expansion);
        let on = |place: Place| {
            let seconds = predict::wall_seconds(self.tasks, place, &configs)?;
            let of_trials = self.trials.iter().zip(&left).map(|(trial, left)| left * seconds[trial.candidate]);
            Ok(Predicted::new(place, of_trials.collect()))
        };
        let predicted = self.places.iter().map(|place| on(*place)).collect::<Result<Vec<Predicted>>>()?;
        let Expansion { candidates, baseline, .. } = self.expansion;
        Ok(Deadline::new(self.trials, candidates, *baseline, predicted, self.limit)
            .only(|index| index < self.asked || self.begun.contains(&index))
            .with_begun(left.iter().map(|left| *left < 1.0).collect()))
    }

    /// Share of each trial that is still to be trained: less than all where it goes on from a checkpoint.
    fn left(&self, study: &Study, keys: &[String], past: &[Past]) -> Vec<f64> {
        let left = |((trial, key), past): ((&Trial, &String), &Past)| {
            if !matches!(past.status, Status::Pending | Status::Paused) || !study.trial(key).checkpoint().exists() {
                return 1.0;
            }
            // Within its first epoch it has something behind it, too.
            let samples = trial.config.data.counts().train;
            let seen = |epochs: usize| trial.config.schedule.samples_seen(epochs, samples) as f64;
            (1.0 - seen(past.epochs.len()) / seen(trial.config.train.epochs)).clamp(0.01, 0.99)
        };
        self.trials.iter().zip(keys).zip(past).map(left).collect()
    }
}

//! What an exploration trains, and in which order.

use std::time::SystemTime;

use anyhow::{Context, Result};
use clap::ValueEnum;
use fastrcaps::{
    base::{device::Place, machine},
    learn::record::Status,
    search::{
        dispatch::Past,
        space::{Expansion, Trial},
        strategy::{Deadline, Grid, Halving, Order, Predicted, Searcher},
        study::Study,
    },
    timing::predict,
};

use super::{display::Mode, input::errln};

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StrategyArg {
    /// Every trial to its end, as the space lists them
    Grid,
    /// Every trial to its end, shuffled, always in the same way
    Random,
    /// Successive halving: all configurations to 1/9 of their epochs, the most accurate third of them to 1/3, a third of those
    /// to the end; the others are given up
    Halving,
}

/// What is trained, and in which order.
pub struct Chosen {
    pub searcher: Box<dyn Searcher>,
    pub order: Vec<usize>,
}

/// What there is to choose from.
pub struct Choice<'a> {
    pub expansion: &'a Expansion,
    pub trials: &'a [Trial],
    /// How many of them were asked for, the first ones.
    pub asked: usize,
    /// Those after them that go on all the same, as they were begun. None where there is a limit.
    pub begun: &'a [usize],
    pub deadline: Option<SystemTime>,
    /// The devices that have slots: where steps are timed if there is a deadline.
    pub places: Vec<Place>,
    pub mode: Mode,
}

impl Choice<'_> {
    /// No more than the first `limit` of them, with regard to what `begun` trials have behind them: a study, its keys and its past.
    pub fn make(
        &self,
        strategy: Option<StrategyArg>,
        limit: Option<usize>,
        begun: Option<(&Study, &[String], &[Past])>,
    ) -> Result<Chosen> {
        let Some(deadline) = self.deadline else {
            let order = if strategy == Some(StrategyArg::Random) { Order::Random } else { Order::Grid };
            let asked = Grid::new(self.asked, order).limited(limit);
            let order: Vec<usize> = asked.trials().iter().chain(self.begun).copied().collect();
            let searcher: Box<dyn Searcher> = match strategy {
                Some(StrategyArg::Halving) => {
                    Box::new(Halving::new(self.trials, order.clone(), self.expansion.baseline))
                }
                None | Some(StrategyArg::Grid | StrategyArg::Random) => Box::new(Grid::over(order.clone())),
            };
            return Ok(Chosen { searcher, order });
        };
        if self.mode == Mode::Progress {
            errln!("until {}: timing a few steps, to begin with what tells most", machine::rfc3339(deadline));
        }
        let left = begun.map_or(vec![1.0; self.trials.len()], |(study, keys, past)| self.left(study, keys, past));
        let configs: Vec<_> = self.expansion.candidates.iter().map(|candidate| &candidate.config).collect();
        let program = machine::this_program().context("cannot find this program's own file")?;
        let on = |place: Place| {
            let seconds = predict::wall_seconds(&program, place, &configs)?;
            let of_trials = self.trials.iter().zip(&left).map(|(trial, left)| left * seconds[trial.candidate]);
            Ok(Predicted::new(place, of_trials.collect()))
        };
        let predicted = self.places.iter().map(|place| on(*place)).collect::<Result<Vec<Predicted>>>()?;
        let Expansion { candidates, baseline, .. } = self.expansion;
        let deadline = Deadline::new(self.trials, candidates, *baseline, predicted, limit)
            .only(|index| index < self.asked || self.begun.contains(&index))
            .with_begun(left.iter().map(|left| *left < 1.0).collect());
        Ok(Chosen { order: deadline.trials().to_vec(), searcher: Box::new(deadline) })
    }

    /// Share of each trial that is still to be trained: less than all where it goes on from a checkpoint.
    fn left(&self, study: &Study, keys: &[String], past: &[Past]) -> Vec<f64> {
        let left = |((trial, key), past): ((&Trial, &String), &Past)| {
            let folder = study.trial(key);
            if past.status != Status::Pending || !folder.checkpoint().exists() {
                return 1.0;
            }
            // Within its first epoch it has something behind it, too.
            let done = folder.read_epochs().map_or(0, |rows| rows.len()) as f64;
            (1.0 - done / trial.config.train.epochs as f64).clamp(0.01, 0.99)
        };
        self.trials.iter().zip(keys).zip(past).map(left).collect()
    }
}

//! What is trained next, and how far: a searcher proposes, and is told what became of its proposals.
//!
//! A proposal is a function of what was told, without clock, thread or file, so that decisions can be replayed. What is told
//! stands in the order of the trials, whichever of them was first to end.

mod deadline;
mod evolve;
mod freeze;
mod grid;
mod ground;
mod halving;

pub use deadline::{Deadline, Predicted};
pub use freeze::{Audit, Basis, Decision, FreezeThaw, Settings, Why, upper_bound};
pub use grid::{Grid, Order};
pub use ground::{Ground, Line, Offered};
pub use halving::Halving;

use std::rc::Rc;

use crate::{
    base::device::Place,
    learn::record::{EpochRow, Status},
    search::space::{Candidate, Trial},
};

/// What is known of a trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// [`Status::Pending`] or [`Status::Paused`] where it may be started: it has not begun, or it rests after its epochs.
    /// `Running` while it runs or waits for another attempt.
    pub status: Status,
    /// The epochs that it has completed, in order.
    pub epochs: Vec<EpochRow>,
    /// Where a single attempt of this run trained it from start to end: the device, and the wall seconds.
    pub took: Option<(Place, f64)>,
}

impl Progress {
    /// Of a trial of which nothing is known but this.
    pub fn new(status: Status) -> Progress {
        Progress { status, epochs: Vec::new(), took: None }
    }

    /// Whether it may be started: nobody runs it, and it has not ended.
    pub fn is_resting(&self) -> bool {
        matches!(self.status, Status::Pending | Status::Paused)
    }

    /// Best validation accuracy of its first `epochs` epochs, in 0..=1.
    pub fn accuracy_after(&self, epochs: usize) -> Option<f64> {
        self.epochs.iter().take(epochs).map(|row| row.validation_accuracy).max_by(f64::total_cmp)
    }
}

/// All that a searcher is told.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    pub trials: &'a [Trial],
    /// Of each trial.
    pub progress: &'a [Progress],
    /// Seconds until nothing may run any more; absent without a deadline.
    pub seconds_left: Option<f64>,
}

impl Told<'_> {
    /// Whether a trial may be started in a slot.
    fn may_start(&self, trial: usize, slot: &Offer) -> bool {
        self.progress[trial].is_resting() && slot.takes(trial)
    }

    /// A proposal to train a trial to its end.
    fn whole(&self, trial: usize) -> Proposal {
        Proposal::Train { trial, epochs: self.trials[trial].config.train.epochs }
    }
}

/// A free slot, for which a searcher is asked.
pub struct Offer<'a> {
    pub place: Place,
    /// Whether a trial will never fit there.
    pub refuses: &'a dyn Fn(usize) -> bool,
}

impl Offer<'_> {
    /// A slot on CPU cores that refuses nothing.
    pub const ANY: Offer<'static> = Offer { place: Place::Cpu, refuses: &|_| false };

    /// Whether a trial may ever run there.
    pub fn takes(&self, trial: usize) -> bool {
        !(self.refuses)(trial)
    }
}

/// What a searcher wants. Trials go by their index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proposal {
    /// Start or continue a pending trial in the slot, and pause it once it has completed so many epochs. All of its epochs train
    /// it to its end.
    Train { trial: usize, epochs: usize },
    /// Give a pending trial up, for this reason. Its epochs are kept.
    Stop { trial: usize, reason: String },
    /// Set a resting trial aside at its checkpoint, for this reason: it may go on later.
    Pause { trial: usize, reason: String },
    /// Nothing for this slot until more is told.
    Wait,
    /// Nothing any more, whatever is told.
    Done,
}

/// What trainings cost, which is known before they begin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Costs {
    /// Of each configuration, predicted seconds of training up to each epoch, from the first.
    pub seconds: Vec<Vec<f64>>,
    /// Of each configuration.
    pub parameters: Vec<usize>,
}

impl Costs {
    /// Where nothing is known of them: an epoch of every training is one second.
    fn blank(brief: &Brief) -> Costs {
        let epochs = |epochs: usize| (1..=epochs).map(|epoch| epoch as f64).collect();
        Costs {
            seconds: brief.candidates.iter().map(|of| epochs(of.config.train.epochs)).collect(),
            parameters: brief.candidates.iter().map(|of| of.config.parameters()).collect(),
        }
    }
}

/// What there is to search.
#[derive(Clone, Copy, Debug)]
pub struct Brief<'a> {
    pub trials: &'a [Trial],
    /// The configurations that they are of.
    pub candidates: &'a [Candidate],
    /// Of each configuration, for a strategy that [`Strategy::needs_costs`].
    pub costs: Option<&'a Costs>,
    pub settings: Settings,
    /// How many of them were asked for, the first ones.
    pub asked: usize,
    /// Trains no more than so many of those, the first of the strategy's order.
    pub limit: Option<usize>,
    /// Those after them that go on all the same, as an earlier run began them.
    pub begun: &'a [usize],
    /// Index of the configuration that others are compared to.
    pub baseline: Option<usize>,
    /// The configurations that may be proposed beyond those of the trials, for a strategy that [`Strategy::proposes`]; absent where
    /// there are no others.
    pub ground: Option<&'a Rc<dyn Ground>>,
}

/// A strategy by its name.
#[derive(Debug)]
pub struct Strategy {
    pub name: &'static str,
    /// What it does, for its user.
    pub help: &'static str,
    /// Whether it goes on with what an earlier strategy gave up.
    pub reopens: bool,
    /// Whether it may leave trainings unfinished.
    pub gives_up: bool,
    /// Whether it decides by what trainings cost: steps are timed before it begins.
    pub needs_costs: bool,
    /// Whether it chooses among configurations that nobody has listed. It need not come to an end by itself: a deadline ends it, or a
    /// limit.
    pub proposes: bool,
    /// Whether it bounds what was lost, by training to their end some of what it paused.
    pub audits: bool,
    pub searcher: fn(&Brief) -> Box<dyn Searcher>,
}

/// Every strategy that can be asked for, the default first.
pub const STRATEGIES: [&Strategy; 5] =
    [&grid::GRID, &grid::RANDOM, &halving::HALVING, &freeze::FREEZE_THAW, &evolve::EVOLVE];

/// Chooses what to train next.
pub trait Searcher {
    /// What to do with a free slot. A function of what is told: the same again gives the same again.
    fn propose(&self, told: &Told, slot: &Offer) -> Proposal;

    /// The trials that it may train, in the order in which it would begin them if there were time for all.
    fn trials(&self) -> &[usize];

    /// The decisions from number `from` on that were made by now, as far as it tells them.
    fn decisions(&self, _from: usize) -> Vec<Decision> {
        Vec::new()
    }

    /// Configurations that it wants to go on with and that no trial is of, by their places on the ground: once they are on the study's
    /// list, a searcher that is made anew goes on where this one proposed nothing more. They follow from what was told, as its
    /// proposals do.
    fn further(&self) -> Vec<Vec<usize>> {
        Vec::new()
    }

    /// What its audit found by now, where it makes one.
    fn audit(&self) -> Option<Audit> {
        None
    }
}

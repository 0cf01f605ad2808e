//! Every trial to its end, in a fixed order.

use rand::seq::SliceRandom;

use super::{Brief, Offer, Proposal, Searcher, Strategy, Told};
use crate::base::rng;

pub(super) const GRID: Strategy = Strategy {
    name: "grid",
    help: "Every trial to its end, as the space lists them",
    reopens: true,
    gives_up: false,
    needs_costs: false,
    proposes: false,
    audits: false,
    searcher: |brief| Box::new(Grid::of(brief, Order::Grid)),
};

pub(super) const RANDOM: Strategy = Strategy {
    name: "random",
    help: "Every trial to its end, shuffled, always in the same way",
    reopens: true,
    gives_up: false,
    needs_costs: false,
    proposes: false,
    audits: false,
    searcher: |brief| Box::new(Grid::of(brief, Order::Random)),
};

/// The order of trials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As the space lists them.
    Grid,
    /// Shuffled by a fixed seed, so that an early end leaves a fair sample.
    Random,
}

/// Trains every trial to its end.
pub struct Grid {
    order: Vec<usize>,
}

impl Grid {
    pub fn new(trials: usize, order: Order) -> Grid {
        let mut indices: Vec<usize> = (0..trials).collect();
        if order == Order::Random {
            indices.shuffle(&mut rng::stream(0, "sweep order", 0));
        }
        Grid { order: indices }
    }

    /// The trials that were asked for, in that order, then those that were begun.
    pub(super) fn of(brief: &Brief, order: Order) -> Grid {
        let mut grid = Grid::new(brief.asked, order).limited(brief.limit);
        grid.order.extend(brief.begun);
        grid
    }

    /// These trials, in this order.
    pub fn over(order: Vec<usize>) -> Grid {
        Grid { order }
    }

    /// The first `limit` trials of the order, and no others.
    pub fn limited(mut self, limit: Option<usize>) -> Grid {
        self.order.truncate(limit.unwrap_or(usize::MAX));
        self
    }
}

impl Searcher for Grid {
    fn propose(&self, told: &Told, slot: &Offer) -> Proposal {
        let is_open = |index: &&usize| !told.progress[**index].status.is_final();
        match self.order.iter().find(|index| told.may_start(**index, slot)) {
            Some(trial) => told.whole(*trial),
            None if self.order.iter().any(|index| is_open(&index)) => Proposal::Wait,
            None => Proposal::Done,
        }
    }

    fn trials(&self) -> &[usize] {
        &self.order
    }
}

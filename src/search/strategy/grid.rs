//! Every trial to its end, in a fixed order.

use rand::seq::SliceRandom;

use super::{Offer, Proposal, Searcher, Told};
use crate::base::rng;

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

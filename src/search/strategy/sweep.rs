//! Every trial once, in a fixed order.

use rand::seq::SliceRandom;

use super::{Moment, Strategy};
use crate::{base::rng, learn::record::Status};

/// The order of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As the space lists them.
    Grid,
    /// Shuffled by a fixed seed, so that an early end leaves a fair sample.
    Random,
}

/// Trains every trial once.
pub struct Sweep {
    order: Vec<usize>,
}

impl Sweep {
    pub fn new(trials: usize, order: Order) -> Sweep {
        let mut indices: Vec<usize> = (0..trials).collect();
        if order == Order::Random {
            indices.shuffle(&mut rng::stream(0, "sweep order", 0));
        }
        Sweep { order: indices }
    }

    /// These trials, in this order.
    pub fn over(order: Vec<usize>) -> Sweep {
        Sweep { order }
    }

    /// The first `limit` trials of the order, and no others.
    pub fn limited(mut self, limit: Option<usize>) -> Sweep {
        self.order.truncate(limit.unwrap_or(usize::MAX));
        self
    }

    /// Indices of the trials it will train, in order.
    pub fn order(&self) -> &[usize] {
        &self.order
    }
}

impl Strategy for Sweep {
    fn next(&self, moment: &Moment) -> Option<usize> {
        self.order.iter().copied().find(|index| moment.history[*index] == Status::Pending)
    }
}

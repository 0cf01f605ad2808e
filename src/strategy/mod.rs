//! Which trial is next: a function of the trials and their history, without clock, thread or file.

mod sweep;

pub use sweep::{Order, Sweep};

use crate::{record::Status, space::Trial};

/// Chooses what to train next.
pub trait Strategy {
    /// Index of the trial to start now, or none while nothing is to be started.
    ///
    /// `history[i]` is the status of `trials[i]`; trials that have not been started are [`Status::Pending`].
    fn next(&self, trials: &[Trial], history: &[Status]) -> Option<usize>;
}

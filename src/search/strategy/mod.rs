//! Which trial is next: a function of the trials and what is known of them, without clock, thread or file.

mod deadline;
mod sweep;

pub use deadline::Deadline;
pub use sweep::{Order, Sweep};

use crate::{learn::record::Status, search::space::Trial};

/// What is known of a sweep when its next trial is chosen.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    pub trials: &'a [Trial],
    /// Status of each trial; trials that have not been started are [`Status::Pending`].
    pub history: &'a [Status],
    /// Wall seconds that trials of this run took from start to end, where they ended.
    pub took: &'a [Option<f64>],
    /// Seconds until nothing may run any more; absent without a deadline.
    pub seconds_left: Option<f64>,
}

/// Chooses what to train next.
pub trait Strategy {
    /// Index of the trial to start now, or none while nothing is to be started.
    fn next(&self, moment: &Moment) -> Option<usize>;
}

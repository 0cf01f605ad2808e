//! What happens in a sweep, for who watches it.

use std::time::Duration;

use anyhow::{Error, Result};

use crate::{
    base::device::Place,
    learn::record::{EpochRow, Status, TrialRecord},
    search::strategy::Progress,
};

/// What happens in a sweep. Trials and slots go by their index.
#[derive(Debug)]
pub enum Event<'a> {
    Started {
        trial: usize,
        slot: usize,
        /// Its device.
        place: Place,
        /// Epochs that an earlier attempt trained: it goes on from about there.
        epochs_before: usize,
    },
    /// A running trial completed another epoch.
    Epoch {
        trial: usize,
        row: &'a EpochRow,
    },
    /// It has ended: trained, diverged, failed, or given up.
    Ended {
        trial: usize,
        record: &'a TrialRecord,
    },
    /// It failed for no fault of its configuration, and is tried again.
    Retried {
        trial: usize,
        record: &'a TrialRecord,
        /// Time until then; absent where it waits until nothing runs beside it.
        wait: Option<Duration>,
    },
    /// It has completed the epochs that the searcher wanted, and waits at a checkpoint for what the searcher decides.
    Rested {
        trial: usize,
        record: &'a TrialRecord,
    },
    /// It ended at a checkpoint, as the sweep is stopping; it is pending.
    Stopped {
        trial: usize,
        record: &'a TrialRecord,
    },
    /// Nothing is started for now, because of this; it is tried again.
    Paused {
        reason: &'a str,
    },
    Resumed,
    /// Nothing is started any more, and what runs is asked to end at a checkpoint.
    Stopping {
        why: Ending,
        running: usize,
    },
}

/// Takes events; an error from it ends the sweep.
pub type Observe<'a> = dyn FnMut(&Event) -> Result<()> + 'a;

/// Why a sweep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The searcher wants nothing more.
    Finished,
    /// It was asked to.
    Asked,
    /// Its time is over, or too short for what is left.
    Deadline,
    /// More trials failed than may.
    Failures,
    /// The journal refuses what it is given.
    Broken,
    /// What was started goes on by itself, and is taken up by the next run.
    Detached,
}

/// What an earlier run knows of a trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    /// Pending where it may be trained: it has not begun, or goes on from a checkpoint.
    pub status: Status,
    /// Processes that were started for it.
    pub attempts: usize,
    /// Epochs that it completed.
    pub epochs: Vec<EpochRow>,
    /// The slot in which it runs, where an earlier engine left it running and the worker adopted it.
    pub running_in: Option<usize>,
}

impl Past {
    pub const NONE: Past = Past { status: Status::Pending, attempts: 0, epochs: Vec::new(), running_in: None };
}

/// A sweep that has ended.
#[derive(Debug)]
pub struct Swept {
    /// What is known of each trial; `Running` is one that was to be tried again.
    pub progress: Vec<Progress>,
    pub ending: Ending,
    /// Why the ends of some trials could not be written into the journal before the sweep had to end.
    pub unwritten: Option<Error>,
}

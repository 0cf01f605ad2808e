//! Where trials run: a worker has slots, starts a trial in one, and reports what becomes of it.
//!
//! A trial is a folder: what it is asked for stands there, and what it leaves behind. How it runs is the worker's affair: as a
//! process of this machine ([`Local`]), as a job of a cluster ([`slurm`]), or not at all, in a time that only seems to pass
//! ([`Simulated`]).

mod ended;
mod gpu_memory;
mod local;
mod memory;
mod probe;
mod simulated;
mod slots;
pub mod slurm;
mod tasks;

pub use gpu_memory::GpuMemory;
pub use local::Local;
pub use memory::{Admissions, Fit, Memory};
pub use probe::probe_all;
pub use simulated::{Curve, Simulated};
pub use slots::{Slot, SlotError, Slots};
pub use tasks::{Dialogue, Heard, LocalTasks, Task, Tasks};

use std::{
    path::PathBuf,
    time::{Instant, SystemTime},
};

use anyhow::Result;

use crate::learn::{
    config::TrialConfig,
    folder::TrialFolder,
    record::{EpochRow, Fault},
    train::beginning::Shared,
};

/// Exit code of `run-trial` where it was asked to stop, or has completed the epochs that it was asked for: a checkpoint is
/// written and the record is pending again (EX_TEMPFAIL of sysexits.h).
pub const STOPPED: i32 = 75;

/// A trial to be trained, in its folder as [`TrialFolder::prepare`] leaves it.
#[derive(Clone, Copy, Debug)]
pub struct Work<'a> {
    pub folder: &'a TrialFolder,
    pub config: &'a TrialConfig,
    /// Epochs after which it pauses; all of its configuration's train it to its end.
    pub epochs: usize,
    /// Epochs that earlier attempts trained, from which it goes on: 0 where there is no checkpoint.
    pub behind: usize,
    /// Without a checkpoint it goes on from the first of these that can be used, and it leaves some for others. They lie in
    /// [`Worker::beginnings`], if the worker has such a folder.
    pub shared: Shared<'a>,
}

/// Whether a trial may start in a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    Now,
    /// Once what runs there has ended. A reason is given where that is not this worker's alone.
    Later(Option<String>),
    /// Never there, for this reason.
    Never(String),
}

/// What becomes of what runs in a slot.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// It has begun to train, where it had to wait for that ([`Worker::is_elsewhere`]).
    Began,
    /// It waits again, and will go on from its checkpoint: its host was lost, or somebody else needed it.
    Queued,
    /// It completed an epoch.
    Epoch(EpochRow),
    /// It has ended, and the slot is free.
    Ended(End),
}

/// How a trial ended, as far as its worker knows; its folder says the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself. The words tell of it where its folder holds no result.
    Exited(String),
    /// At a checkpoint, as it was asked to, or as it has completed the epochs that were wanted.
    Stopped,
    /// By [`Worker::kill`].
    Killed,
    /// Without a result, for somebody's fault, and why.
    Broken(Fault, String),
}

/// Runs trials in slots, one in each at a time. Slots go by their index.
pub trait Worker {
    fn slots(&self) -> &[Slot];

    /// Whether a trial may start in a free slot, beside what runs in the others.
    fn admits(&mut self, config: &TrialConfig, slot: usize) -> Admission;

    /// Starts a trial in a free slot, from the checkpoint in its folder if there is one.
    ///
    /// Errors: it cannot be started; an `io::Error` in the chain is no fault of the trial's, and may pass.
    fn start(&mut self, work: &Work, slot: usize) -> Result<()>;

    /// What happened since the last time, in the order of the slots.
    fn reports(&mut self) -> Vec<(usize, Report)>;

    /// Asks what runs in a slot to write a checkpoint and end.
    fn ask_to_stop(&mut self, slot: usize);

    /// Ends what runs in a slot now.
    fn kill(&mut self, slot: usize);

    /// Lets time pass until there may be something to report. Not longer than a second.
    fn wait(&mut self);

    /// Whether trials run on other hosts, each when there is room for it there: then [`Report::Began`] tells when one begins,
    /// and its own record where.
    fn is_elsewhere(&self) -> bool {
        false
    }

    /// The folder of beginnings, where trials do not reach the study's. What lies there, perhaps only in name, is what they can take
    /// up; what is removed from there, no trial needs any more.
    fn beginnings(&self) -> Option<PathBuf> {
        None
    }

    /// Why nothing can be told or begun for now, where that is so and may pass.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// Whether what was started goes on without this process.
    fn is_handed_over(&self) -> bool {
        false
    }

    /// The time by this worker's clock.
    fn now(&self) -> Instant {
        Instant::now()
    }

    /// The date and time by this worker's clock, which deadlines are held against.
    fn date(&self) -> SystemTime {
        SystemTime::now()
    }

    /// Sees to what an earlier engine left running in a trial's folder: the slot in which it goes on under this worker, or
    /// none once it is gone.
    ///
    /// Errors: it does not go away.
    fn adopt(&mut self, folder: &TrialFolder) -> Result<Option<usize>>;
}

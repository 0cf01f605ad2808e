//! How a trial is started and ended. A trial is a process and a folder; an executor starts the process.

mod local;
mod probe;
mod slots;

pub use local::Local;
pub use probe::probe;
pub use slots::{Slot, SlotError, Slots};

use std::path::Path;

use anyhow::Result;

/// Exit code of `run-trial` where it was asked to stop: a checkpoint is written and the record is pending again
/// (EX_TEMPFAIL of sysexits.h).
pub const STOPPED: i32 = 75;

/// Starts trials somewhere.
pub trait Executor {
    /// Starts `run-trial` for the trial prepared in `folder`, on `slot`.
    fn start(&mut self, folder: &Path, slot: &Slot) -> Result<Box<dyn Process>>;
}

/// A started trial; dropping it ends it.
pub trait Process {
    /// How it ended, once it has.
    fn poll(&mut self) -> Result<Option<Exit>>;
    /// Asks it to write a checkpoint and end with [`STOPPED`].
    fn ask_to_stop(&mut self);
    /// Ends it now.
    fn kill(&mut self);
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    /// Ended by this signal.
    Signal(i32),
}

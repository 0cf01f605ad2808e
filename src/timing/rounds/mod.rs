//! Takes the times of steps anew, alone on the machine: what a study's trainings take is known from these.
//!
//! Every shape of step is timed once a round, in a process of its own for each round, in an order that chance gives; what
//! somebody disturbed is kept with the reason, does not count, and is taken again. [`take`] is the loop over the rounds, a
//! [`Child`] the process of one, [`worker`] that process's own side, and [`disturbance`] judges what else the machine did.

mod child;
mod disturbance;
mod job;
mod run;
pub mod worker;

pub use child::Child;
pub use disturbance::disturbance;
pub use job::{Job, Line, Origin, Task};
pub use run::take;

use std::{
    ops::ControlFlow,
    sync::atomic::AtomicBool,
    time::{Duration, SystemTime},
};

use anyhow::Result;

use crate::{
    learn::config::TrialConfig,
    search::study::Study,
    timing::{
        sets::{ENOUGH_ROUNDS, Fingerprint, Sample, TimeSet},
        shape::Shape,
    },
};

/// Rounds where nobody asks for another number: one more than an interval needs.
pub const ROUNDS: usize = ENOUGH_ROUNDS + 1;

/// What is to be timed, and on what terms.
pub struct Request<'a> {
    pub study: &'a Study,
    /// Name of the set.
    pub name: &'a str,
    /// Of this machine, as it is used here; the clock knows it where steps are timed elsewhere.
    pub fingerprint: Fingerprint,
    /// Forgets what the set held.
    pub anew: bool,
    /// Whose steps are timed; of the study.
    pub configs: &'a [&'a TrialConfig],
    pub rounds: usize,
    /// About how long a sample is, in seconds.
    pub sample_seconds: f64,
    /// For waiting until the machine is idle, and for samples that were disturbed.
    pub patience: Duration,
    pub deadline: Option<SystemTime>,
    /// Once set, it ends.
    pub stop: &'a AtomicBool,
}

/// Times steps, and sees what else the machine does.
pub trait Clock {
    /// Where steps are timed, where that is not this machine.
    fn origin(&mut self) -> Result<Option<Origin>> {
        Ok(None)
    }
    /// What keeps the machine busy now, in words; looking takes a moment.
    fn busy(&mut self) -> Option<String>;
    /// Does a job. Tells every line as it comes and, now and then, that none came; ends when it is told to break off.
    fn run(&mut self, job: &Job, told: &mut dyn FnMut(Option<Line>) -> Result<ControlFlow<()>>) -> Result<()>;
}

/// What happens meanwhile.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// There are so many samples to take, in all rounds together.
    Begun { shapes: usize, samples: usize },
    /// The machine is busy.
    Waiting { why: &'a str },
    /// A round begins (from 0); `again` where it takes what was disturbed before.
    Round { round: usize, samples: usize, again: bool },
    /// A sample was taken. `clean` of the samples to take are there by now.
    Sample { sample: &'a Sample, clean: usize, samples: usize, eta_seconds: Option<f64> },
}

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// All samples are there, and clean.
    Finished,
    /// The machine did not become idle for long enough.
    Patience,
    Deadline,
    /// Somebody asked for it.
    Asked,
}

/// A shape that still lacks clean samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Lacking {
    pub shape: Shape,
    /// Those that it has.
    pub clean: usize,
    /// What disturbed the last one that does not count.
    pub why: Option<String>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Confirmed {
    pub set: TimeSet,
    pub ending: EndReason,
    /// Samples taken in this run, and those of them that were disturbed.
    pub taken: usize,
    pub tainted: usize,
    pub lacking: Vec<Lacking>,
    /// What kept the machine busy when it was last waited for.
    pub busy: Option<String>,
    /// By what share the machine was slower than when earlier visits took samples that count beside these, where that is
    /// more than drift may be.
    pub moved: Option<f64>,
}

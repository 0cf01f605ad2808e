//! What a sweep may take: time, failures, attempts.

use std::time::{Duration, SystemTime};

/// The limits of a sweep.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Further attempts of a trial that failed by the machine's fault.
    pub retries: usize,
    /// Time before the first of them; twice as long before each further one.
    pub backoff: Duration,
    /// Failures that end the sweep.
    pub failures: Option<MaxFailures>,
    /// Wall time of one attempt of a trial.
    pub timeout: Option<Duration>,
    /// When nothing may run any more.
    pub deadline: Option<SystemTime>,
    /// Time that trials have to write a checkpoint and end, when the sweep stops.
    pub grace: Duration,
    /// Ends once all that can be started is, and leaves it running where it goes on without this process.
    pub detach: bool,
    /// Trials that ended in earlier sweeps of the same exploration, and those of them that failed: these count, too.
    pub ended_before: usize,
    pub failed_before: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            retries: 2,
            backoff: Duration::from_secs(5),
            failures: None,
            timeout: None,
            deadline: None,
            grace: Duration::from_secs(60),
            detach: false,
            ended_before: 0,
            failed_before: 0,
        }
    }
}

/// Failed trials that are too many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxFailures {
    Count(usize),
    /// Of the trials that ended, once there are enough of them to judge by.
    Share(f64),
}

impl MaxFailures {
    /// Trials that must have ended before a share counts.
    pub const LEAST: usize = 10;

    /// Whether `failed` of `ended` trials are too many.
    pub fn reached(self, failed: usize, ended: usize) -> bool {
        match self {
            MaxFailures::Count(most) => failed >= most,
            MaxFailures::Share(most) => ended >= Self::LEAST && failed as f64 >= most * ended as f64,
        }
    }
}

impl Limits {
    /// Seconds from `now` until the deadline; below 0 after it.
    pub(super) fn seconds_left(&self, now: SystemTime) -> Option<f64> {
        self.deadline.map(|deadline| match deadline.duration_since(now) {
            Ok(left) => left.as_secs_f64(),
            Err(over) => -over.duration().as_secs_f64(),
        })
    }
}

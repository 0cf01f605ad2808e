//! Where a sweep stands: what runs, what waits for another attempt, what ended and is not written down yet.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use anyhow::{Error, Result};

use super::{
    Ending, Event, Observe, Past,
    limits::Limits,
    outcome::{Cut, Outcome, Verdict, failed},
};
use crate::{
    base::device::Place,
    learn::{
        folder::TrialFolder,
        record::{Fault, Status, TrialRecord},
    },
    search::executor::Process,
};

/// Between looks at what made a sweep pause, at first and at last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Before another attempt.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

pub(super) struct Sweep {
    pub phase: Phase,
    /// Status of each trial. One that waits to be tried again is `Running`: it is not to be started by the strategy.
    pub history: Vec<Status>,
    pub attempts: Vec<usize>,
    /// Wall seconds of the trials that one process of this run trained to their end.
    pub took: Vec<Option<f64>>,
    /// What runs in each slot.
    pub places: Vec<Option<Running>>,
    /// Ends that the journal does not hold yet, in order.
    pub unwritten: VecDeque<Ended>,
    /// Present while nothing is started, until something can be again.
    pub pause: Option<Pause>,
    /// What the journal refused: the sweep must stop.
    pub broken: Option<Error>,
    /// Why ends were left unwritten when the sweep had to end.
    pub lost: Option<Error>,
    /// When epochs were last read.
    pub looked: Instant,
    /// Trials that ended in this run, and those of them that failed.
    pub ended: usize,
    pub failed: usize,
    /// Attempts of this run that failed by the machine's fault, by trial.
    failures: Vec<usize>,
    waits: Vec<(usize, Instant)>,
    /// Trials that ran out of memory, to be tried with nothing beside them.
    alone: Vec<Alone>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Going,
    /// Nothing is started; what still runs `until` then is ended.
    Stopping {
        why: Ending,
        until: Instant,
    },
}

pub(super) struct Running {
    pub trial: usize,
    pub folder: TrialFolder,
    pub process: Box<dyn Process>,
    pub epochs_seen: usize,
    pub place: Place,
    /// The most trials of this sweep that ran on the same GPU at the same time.
    pub on_its_gpu: usize,
    /// The most trials that ran at the same time, also beside the attempts that it goes on from.
    pub co_runners: usize,
    /// Whether it goes on from what was trained on another processor.
    pub is_mixed: bool,
    pub began: Instant,
    /// Processes that the system had killed for want of memory when it was started.
    pub oom_kills: Option<u64>,
    /// Why it was made to end, if it was.
    pub cut: Option<Cut>,
    /// When it is ended if it has not by then.
    pub end_at: Option<Instant>,
}

impl Running {
    /// Asks it to end at a checkpoint, for this reason; ends it where it has not `until` then. Later reasons change nothing
    /// but to shorten its time.
    pub fn end(&mut self, why: Cut, until: Instant) {
        if self.cut.is_none() {
            self.process.ask_to_stop();
            self.cut = Some(why);
        }
        let end_at = self.end_at.map_or(until, |earlier| earlier.min(until));
        self.end_at = Some(end_at);
        if Instant::now() >= end_at {
            self.process.kill();
        }
    }
}

pub(super) struct Pause {
    looked: Instant,
    /// Until the next look.
    wait: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Alone {
    Wanted(usize),
    Tried(usize),
}

/// An end that is to be written down.
pub(super) struct Ended {
    pub outcome: Outcome,
    then: Then,
}

enum Then {
    Over,
    Again {
        wait: Option<Duration>,
    },
    Stopped,
    /// It was not even begun.
    Nothing,
}

impl Ended {
    pub fn event(&self) -> Option<Event<'_>> {
        let (trial, record) = (self.outcome.trial, &self.outcome.record);
        match self.then {
            Then::Over => Some(Event::Ended { trial, record }),
            Then::Again { wait } => Some(Event::Retried { trial, record, wait }),
            Then::Stopped => Some(Event::Stopped { trial, record }),
            Then::Nothing => None,
        }
    }
}

impl Sweep {
    pub fn new(past: Vec<Past>, slots: usize) -> Sweep {
        Sweep {
            phase: Phase::Going,
            history: past.iter().map(|past| past.status).collect(),
            attempts: past.iter().map(|past| past.attempts).collect(),
            took: vec![None; past.len()],
            places: (0..slots).map(|_| None).collect(),
            unwritten: VecDeque::new(),
            pause: None,
            broken: None,
            lost: None,
            looked: Instant::now(),
            ended: 0,
            failed: 0,
            failures: vec![0; past.len()],
            waits: Vec::new(),
            alone: Vec::new(),
        }
    }

    pub fn running(&self) -> impl Iterator<Item = &Running> {
        self.places.iter().flatten()
    }

    /// Takes note of who runs at the same time.
    pub fn count_co_runners(&mut self) {
        let others = self.running().count().saturating_sub(1);
        let places: Vec<Place> = self.running().map(|running| running.place).collect();
        for running in self.places.iter_mut().flatten() {
            running.co_runners = running.co_runners.max(others);
            let on_its_gpu = places.iter().filter(|place| **place == running.place && !place.is_cpu()).count();
            running.on_its_gpu = running.on_its_gpu.max(on_its_gpu.saturating_sub(1));
        }
    }

    /// The first slot in which nothing runs, but for those `without`.
    pub fn free_slot(&self, without: &[usize]) -> Option<usize> {
        (0..self.places.len()).find(|slot| self.places[*slot].is_none() && !without.contains(slot))
    }

    /// Trials that run on a device.
    pub fn running_on(&self, place: Place) -> Vec<usize> {
        self.running().filter(|running| running.place == place).map(|running| running.trial).collect()
    }

    /// Takes note that a process was started for `trial`, or could not be.
    pub fn attempted(&mut self, trial: usize) {
        self.attempts[trial] += 1;
        self.history[trial] = Status::Running;
        for alone in &mut self.alone {
            if *alone == Alone::Wanted(trial) {
                *alone = Alone::Tried(trial);
            }
        }
    }

    pub fn stop(&mut self, why: Ending, grace: Duration) {
        self.phase = Phase::Stopping { why, until: Instant::now() + grace };
    }

    /// Starts nothing until something can be started again. Tells of it once; while it lasts, looks come less often.
    pub fn pause(&mut self, reason: String, observe: &mut Observe) -> Result<()> {
        let looked = Instant::now();
        match &mut self.pause {
            Some(pause) => {
                *pause = Pause { looked, wait: (2 * pause.wait).min(LONGEST_PAUSE) };
                Ok(())
            }
            None => {
                self.pause = Some(Pause { looked, wait: FIRST_PAUSE });
                observe(&Event::Paused { reason: &reason })
            }
        }
    }

    /// Whether a pause is to be tried out.
    pub fn is_time_to_try(&self) -> bool {
        self.pause.as_ref().is_none_or(|pause| pause.looked.elapsed() >= pause.wait)
    }

    /// Ends a pause, if there is one.
    pub fn resume(&mut self, observe: &mut Observe) -> Result<()> {
        match self.pause.take() {
            Some(_) => observe(&Event::Resumed),
            None => Ok(()),
        }
    }

    /// Has a trial written down as pending that could not be begun.
    pub fn take_back(&mut self, trial: usize, record: TrialRecord) {
        let record = TrialRecord { status: Status::Pending, ..record };
        let outcome = Outcome { trial, record, epochs: Vec::new(), verdict: Verdict::Stopped };
        self.unwritten.push_back(Ended { outcome, then: Then::Nothing });
    }

    /// Lets trials whose wait is over be chosen again.
    pub fn end_waits(&mut self) {
        let now = Instant::now();
        for (trial, _) in self.waits.extract_if(.., |(_, until)| *until <= now) {
            self.history[trial] = Status::Pending;
        }
    }

    pub fn is_waiting(&self) -> bool {
        !self.waits.is_empty() || self.alone.iter().any(|alone| matches!(alone, Alone::Wanted(_)))
    }

    /// Whether what runs must have nothing beside it.
    pub fn runs_alone(&self) -> bool {
        self.running().any(|running| self.alone.contains(&Alone::Tried(running.trial)))
    }

    /// A trial that waits to run alone, once nothing runs and nothing else waits.
    pub fn next_alone(&self) -> Option<usize> {
        let is_quiet = self.running().next().is_none() && self.waits.is_empty();
        let wanted = self.alone.iter().find_map(|alone| match alone {
            Alone::Wanted(trial) => Some(*trial),
            Alone::Tried(_) => None,
        });
        wanted.filter(|_| is_quiet)
    }

    /// Decides what follows from an attempt's end.
    pub fn settle(&mut self, mut outcome: Outcome, limits: &Limits) {
        let trial = outcome.trial;
        let then = match outcome.verdict {
            Verdict::Over => Then::Over,
            _ if self.phase != Phase::Going => Then::Stopped,
            // By somebody else, as nothing is stopping here: no failure, but no reason for haste either.
            Verdict::Stopped => {
                self.waits.push((trial, Instant::now() + limits.backoff));
                Then::Again { wait: Some(limits.backoff) }
            }
            Verdict::AgainAlone if !self.alone.contains(&Alone::Tried(trial)) => {
                self.alone.push(Alone::Wanted(trial));
                Then::Again { wait: None }
            }
            Verdict::Again if self.failures[trial] < limits.retries => {
                let doubled = 2u32.saturating_pow(self.failures[trial] as u32);
                let wait = limits.backoff.saturating_mul(doubled).min(LONGEST_WAIT);
                self.failures[trial] += 1;
                self.waits.push((trial, Instant::now() + wait));
                Then::Again { wait: Some(wait) }
            }
            Verdict::Again | Verdict::AgainAlone => Then::Over,
        };
        self.history[trial] = match then {
            Then::Over => {
                self.ended += 1;
                self.failed += usize::from(outcome.record.status == Status::Failed);
                if outcome.verdict == Verdict::AgainAlone {
                    // Alone, it had the whole machine.
                    let error = outcome.record.error.take().unwrap_or_default();
                    let error = format!("{error}, also with nothing beside it");
                    outcome.record = failed(outcome.record, Fault::Memory, error);
                }
                outcome.record.status
            }
            Then::Again { .. } => {
                outcome.record.status = Status::Pending;
                Status::Running
            }
            Then::Stopped | Then::Nothing => {
                outcome.record.status = Status::Pending;
                Status::Pending
            }
        };
        self.unwritten.push_back(Ended { outcome, then });
    }
}

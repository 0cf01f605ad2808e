//! Where a sweep stands: what runs, what waits for another attempt, what ended and is not written down yet.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use anyhow::{Error, Result};

use super::{
    events::{Ending, Event, Observe, Past},
    limits::Limits,
    outcome::{Outcome, Verdict, failed, now},
    running::Running,
};
use crate::{
    base::device::Place,
    learn::record::{EpochRow, Fault, Status, TrialRecord},
    search::strategy::Progress,
};

/// Between looks at what made a sweep pause, at first and at last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Before another attempt.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

pub(super) struct State {
    pub phase: Phase,
    /// What is known of each trial. One that waits to be tried again is `Running`: no searcher is to start it.
    pub progress: Vec<Progress>,
    pub attempts: Vec<usize>,
    /// What runs in each slot.
    pub places: Vec<Option<Running>>,
    /// Why trials will never fit on a device, by both.
    pub never: HashMap<(usize, Place), String>,
    /// Ends that the journal does not hold yet, in order.
    pub unwritten: VecDeque<Ended>,
    /// Present while nothing is started, until something can be again.
    pub pause: Option<Pause>,
    /// What the journal refused: the sweep must stop.
    pub broken: Option<Error>,
    /// Why ends were left unwritten when the sweep had to end.
    pub lost: Option<Error>,
    /// Names of the beginnings that were there when these were last listed, and when that was.
    pub left: HashSet<String>,
    pub listed: Option<Instant>,
    /// Decisions of the searcher that are written down.
    pub noted: usize,
    /// Trials that ended in this run, and those of them that failed.
    pub ended: usize,
    pub failed: usize,
    /// Attempts of this run that failed by the machine's fault, by trial.
    failures: BTreeMap<usize, usize>,
    waits: Vec<(usize, Instant)>,
    /// Trials that ran out of memory, to be tried with nothing beside them.
    alone: Vec<Alone>,
    /// Those that were tried again with more of it.
    larger: HashSet<usize>,
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
    /// It may go on.
    Paused,
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
            Then::Paused => Some(Event::Rested { trial, record }),
            Then::Nothing => None,
        }
    }
}

impl State {
    pub fn new(past: Vec<Past>, slots: usize) -> State {
        State {
            phase: Phase::Going,
            attempts: past.iter().map(|past| past.attempts).collect(),
            progress: past
                .into_iter()
                .map(|past| Progress { epochs: past.epochs, ..Progress::new(past.status) })
                .collect(),
            places: (0..slots).map(|_| None).collect(),
            never: HashMap::new(),
            unwritten: VecDeque::new(),
            pause: None,
            broken: None,
            lost: None,
            left: HashSet::new(),
            listed: None,
            noted: 0,
            ended: 0,
            failed: 0,
            failures: BTreeMap::new(),
            waits: Vec::new(),
            alone: Vec::new(),
            larger: HashSet::new(),
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

    /// Whether a trial will never fit on a device.
    pub fn refuses(&self, trial: usize, place: Place) -> bool {
        !self.never.is_empty() && self.never.contains_key(&(trial, place))
    }

    /// Takes up an epoch that a trial completed.
    pub fn completed(&mut self, trial: usize, row: &EpochRow) {
        let epochs = &mut self.progress[trial].epochs;
        if row.epoch == epochs.len() + 1 {
            epochs.push(row.clone());
        }
    }

    /// Takes note that a process was started for `trial`, or could not be.
    pub fn attempted(&mut self, trial: usize) {
        self.attempts[trial] += 1;
        self.progress[trial].status = Status::Running;
        for alone in &mut self.alone {
            if *alone == Alone::Wanted(trial) {
                *alone = Alone::Tried(trial);
            }
        }
    }

    pub fn stop(&mut self, why: Ending, until: Instant) {
        self.phase = Phase::Stopping { why, until };
    }

    /// Starts nothing until something can be started again. Tells of it once; while it lasts, looks come less often.
    pub fn pause(&mut self, reason: String, looked: Instant, observe: &mut Observe) -> Result<()> {
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
    pub fn is_time_to_try(&self, now: Instant) -> bool {
        self.pause.as_ref().is_none_or(|pause| now.saturating_duration_since(pause.looked) >= pause.wait)
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
    pub fn end_waits(&mut self, now: Instant) {
        for (trial, _) in self.waits.extract_if(.., |(_, until)| *until <= now) {
            self.progress[trial].status = Status::Pending;
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

    /// Has a trial that is not running written down as given up, or paused.
    pub fn set_aside(&mut self, trial: usize, status: Status, record: TrialRecord, reason: String) {
        let epochs = self.progress[trial].epochs.clone();
        let record = TrialRecord {
            status,
            epochs: epochs.len(),
            validation_accuracy: self.progress[trial].accuracy_after(usize::MAX),
            best_epoch: None,
            ended: Some(now()),
            error: Some(reason),
            ..record
        };
        self.progress[trial].status = status;
        self.ended += usize::from(status.is_final());
        let then = if status.is_final() { Then::Over } else { Then::Paused };
        let outcome = Outcome { trial, record, epochs, verdict: Verdict::Over };
        self.unwritten.push_back(Ended { outcome, then });
    }

    /// Decides what follows from an attempt's end.
    pub fn settle(&mut self, mut outcome: Outcome, limits: &Limits, now: Instant) {
        let trial = outcome.trial;
        let failures = self.failures.entry(trial).or_default();
        let then = match outcome.verdict {
            Verdict::Over => Then::Over,
            _ if self.phase != Phase::Going => Then::Stopped,
            Verdict::Paused => Then::Paused,
            // By somebody else, as nothing is stopping here: no failure, but no reason for haste either.
            Verdict::Stopped => {
                self.waits.push((trial, now + limits.backoff));
                Then::Again { wait: Some(limits.backoff) }
            }
            Verdict::AgainAlone if !self.alone.contains(&Alone::Tried(trial)) => {
                self.alone.push(Alone::Wanted(trial));
                Then::Again { wait: None }
            }
            Verdict::AgainLarger if self.larger.insert(trial) => {
                self.waits.push((trial, now + limits.backoff));
                Then::Again { wait: Some(limits.backoff) }
            }
            Verdict::Again if *failures < limits.retries => {
                let doubled = 2u32.saturating_pow(*failures as u32);
                let wait = limits.backoff.saturating_mul(doubled).min(LONGEST_WAIT);
                *failures += 1;
                self.waits.push((trial, now + wait));
                Then::Again { wait: Some(wait) }
            }
            Verdict::Again | Verdict::AgainAlone | Verdict::AgainLarger => Then::Over,
        };
        self.progress[trial].status = match then {
            Then::Over => {
                self.ended += 1;
                self.failed += usize::from(outcome.record.status == Status::Failed);
                if outcome.verdict == Verdict::AgainAlone {
                    // Alone, it had the whole machine.
                    let error = outcome.record.error.take().unwrap_or_default();
                    let error = format!("{error}, also with nothing beside it");
                    outcome.record = failed(outcome.record, Fault::Memory, error);
                } else if outcome.verdict == Verdict::AgainLarger {
                    let error = outcome.record.error.take().unwrap_or_default();
                    outcome.record.error = Some(format!("{error}, also with twice the memory"));
                }
                outcome.record.status
            }
            Then::Again { .. } => {
                outcome.record.status = Status::Pending;
                Status::Running
            }
            Then::Stopped | Then::Paused | Then::Nothing => {
                outcome.record.status = Status::Pending;
                Status::Pending
            }
        };
        // What it left is what it trained: a training that began anew may have fewer epochs than were told.
        self.progress[trial].epochs = outcome.epochs.clone();
        self.unwritten.push_back(Ended { outcome, then });
    }
}

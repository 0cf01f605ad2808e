//! The one loop that joins strategy, executor and journal.
//!
//! Whatever becomes of a trial, of the disk or of this process: what has ended stays ended, and what was running goes on
//! from its last checkpoint when it is started again.

mod limits;
mod outcome;
mod sweep;

pub use limits::{Limits, MaxFailures, Memory};

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result};

use crate::{
    executor::{Executor, Slot},
    files,
    journal::Journal,
    machine,
    record::{EpochRow, Fault, Status, TrialRecord},
    space::Trial,
    strategy::{Moment, Strategy},
    study::Study,
};
use outcome::{Cut, Outcome, Verdict};
use sweep::{Phase, Running, Sweep};

/// How often processes are looked at.
const POLL: Duration = Duration::from_millis(20);
/// How often their epochs are read.
const PROGRESS: Duration = Duration::from_millis(500);
/// How often a disk without room is looked at.
const ROOM: Duration = Duration::from_secs(1);

/// What happens in a sweep, for who watches it.
#[derive(Debug)]
pub enum Event<'a> {
    Started {
        trial: usize,
        slot: usize,
        /// Those that it goes on after.
        epochs_before: usize,
    },
    /// A running trial completed another epoch.
    Epoch {
        trial: usize,
        row: &'a EpochRow,
    },
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
    /// It ended at a checkpoint, as the sweep is stopping; it is pending.
    Stopped {
        trial: usize,
        record: &'a TrialRecord,
    },
    /// Nothing is started for now, because of this.
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

/// Why a sweep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The strategy wants nothing more.
    Finished,
    /// It was asked to.
    Asked,
    /// Its time is over, or too short for what is left.
    Deadline,
    /// More trials failed than may.
    Failures,
}

/// What an earlier run knows of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    pub status: Status,
    /// Processes that were started for it.
    pub attempts: usize,
}

impl Past {
    pub const NONE: Past = Past { status: Status::Pending, attempts: 0 };
}

/// A sweep that has ended.
#[derive(Clone, Debug)]
pub struct Swept {
    /// Status of each trial.
    pub history: Vec<Status>,
    pub ending: Ending,
}

/// A sweep of trials over slots.
pub struct Dispatcher<'a> {
    pub study: &'a Study,
    pub trials: &'a [Trial],
    /// Identity of each trial.
    pub keys: &'a [String],
    pub slots: &'a [Slot],
    pub journal: &'a mut Journal,
    pub executor: &'a mut dyn Executor,
    pub limits: Limits,
    /// Set by who wants the sweep to stop.
    pub stop: &'a AtomicBool,
}

/// Takes events; an error from it ends the sweep.
pub type Observe<'a> = dyn FnMut(&Event) -> Result<()> + 'a;

impl Dispatcher<'_> {
    /// Trains what `strategy` chooses until it chooses nothing more and nothing runs, or until the sweep must stop.
    ///
    /// `past[i]` is what earlier runs know of trial `i`; trials that ended stay ended. After each event `observe` is called.
    pub fn run(&mut self, strategy: &dyn Strategy, past: Vec<Past>, observe: &mut Observe) -> Result<Swept> {
        let mut sweep = Sweep::new(past, self.slots.len());
        loop {
            self.write_down(&mut sweep, observe)?;
            if sweep.phase == Phase::Going
                && let Some(why) = self.reason_to_stop(&sweep)
            {
                sweep.stop(why, self.limits.grace);
                observe(&Event::Stopping { why, running: sweep.running().count() })?;
            }
            let wants_more = self.launch(&mut sweep, strategy, observe)?;
            if sweep.running().next().is_none() && sweep.unwritten.is_empty() {
                match sweep.phase {
                    Phase::Stopping { why, .. } => return Ok(Swept { history: sweep.history, ending: why }),
                    Phase::Going if !wants_more => {
                        let is_cut = strategy.next(&Moment { seconds_left: None, ..self.moment(&sweep) }).is_some();
                        let ending = if is_cut { Ending::Deadline } else { Ending::Finished };
                        return Ok(Swept { history: sweep.history, ending });
                    }
                    Phase::Going => {}
                }
            }
            self.look_after(&mut sweep, observe)?;
            thread::sleep(POLL);
        }
    }

    fn reason_to_stop(&self, sweep: &Sweep) -> Option<Ending> {
        if self.stop.load(Ordering::Relaxed) {
            return Some(Ending::Asked);
        }
        if self.limits.seconds_left().is_some_and(|seconds| seconds <= 0.0) {
            return Some(Ending::Deadline);
        }
        self.limits.failures.filter(|most| most.reached(sweep.failed, sweep.ended)).map(|_| Ending::Failures)
    }

    /// Fills free slots; tells whether there is, or will be, something to start.
    fn launch(&mut self, sweep: &mut Sweep, strategy: &dyn Strategy, observe: &mut Observe) -> Result<bool> {
        if sweep.phase != Phase::Going {
            return Ok(false);
        }
        if sweep.pause.is_some() && !self.may_resume(sweep, observe)? {
            return Ok(true);
        }
        sweep.end_waits();
        while let Some(slot) = sweep.free_slot() {
            let Some(trial) = self.next(sweep, strategy) else { break };
            if !self.limits.has_memory(sweep.running().map(|running| running.trial), trial) {
                return Ok(true);
            }
            if let Err(shortage) = self.has_room(trial) {
                sweep.pause(shortage, observe)?;
                return Ok(true);
            }
            self.start(sweep, trial, slot, observe)?;
            if sweep.pause.is_some() {
                return Ok(true);
            }
        }
        Ok(sweep.is_waiting() || self.next(sweep, strategy).is_some())
    }

    /// What to start now: what the strategy wants, or what must run alone once nothing else is to be done.
    fn next(&self, sweep: &Sweep, strategy: &dyn Strategy) -> Option<usize> {
        if sweep.runs_alone() {
            return None;
        }
        strategy.next(&self.moment(sweep)).or_else(|| sweep.next_alone())
    }

    fn moment<'a>(&'a self, sweep: &'a Sweep) -> Moment<'a> {
        let seconds_left = self.limits.seconds_left();
        Moment { trials: self.trials, history: &sweep.history, took: &sweep.took, seconds_left }
    }

    /// Whether the file system has room for what a trial writes: its weights, and two checkpoints of four values a parameter.
    fn has_room(&self, trial: usize) -> Result<(), String> {
        const OTHER: u64 = 1 << 20;
        let wanted = OTHER + 36 * self.trials[trial].config.parameters() as u64;
        let folder = &self.study.folder;
        match files::free_bytes(folder) {
            Some(free) if free < wanted => Err(format!(
                "{} has {:.1} MB free, a trial wants {:.1} MB",
                folder.display(),
                free as f64 / 1e6,
                wanted as f64 / 1e6
            )),
            _ => Ok(()),
        }
    }

    /// Looks, now and then, whether what made the sweep pause is over.
    fn may_resume(&mut self, sweep: &mut Sweep, observe: &mut Observe) -> Result<bool> {
        let Some(pause) = &mut sweep.pause else { return Ok(true) };
        if pause.looked.elapsed() < ROOM || !sweep.unwritten.is_empty() {
            return Ok(false);
        }
        pause.looked = Instant::now();
        let trial = sweep.history.iter().position(|status| *status == Status::Pending);
        if trial.is_some_and(|trial| self.has_room(trial).is_err()) || files::try_room(&self.study.folder).is_err() {
            return Ok(false);
        }
        sweep.pause = None;
        observe(&Event::Resumed)?;
        Ok(true)
    }

    /// Starts a trial. One that cannot be started is settled as one that failed.
    fn start(&mut self, sweep: &mut Sweep, trial: usize, slot: usize, observe: &mut Observe) -> Result<()> {
        let (of, place) = (&self.trials[trial], &self.slots[slot]);
        let record = TrialRecord {
            status: Status::Running,
            attempts: sweep.attempts[trial] + 1,
            started: Some(now()),
            threads: Some(place.threads),
            host: Some(machine::host()),
            git_revision: machine::git_revision(),
            ..TrialRecord::pending(self.keys[trial].clone(), of.replicate, &of.config)
        };
        let folder = self.study.trial(&record.key);
        let begun = (self.journal.put(&record, &[]))
            .and_then(|()| folder.prepare(&of.config, &record))
            .and_then(|()| self.executor.start(&folder.path, place));
        match begun {
            Ok(process) => {
                sweep.attempted(trial);
                sweep.places[slot] = Some(Running {
                    trial,
                    folder,
                    process,
                    epochs_seen: 0,
                    began: Instant::now(),
                    oom_kills: machine::oom_kills(),
                    cut: None,
                });
                observe(&Event::Started { trial, slot, epochs_before: 0 })
            }
            Err(error) if files::is_out_of_room(&error) => sweep.pause(format!("{error:#}"), observe),
            Err(error) => {
                sweep.attempted(trial);
                let record = outcome::failed(record, Fault::Machine, format!("could not be started: {error:#}"));
                sweep.settle(Outcome { trial, record, epochs: Vec::new(), verdict: Verdict::Again }, &self.limits);
                Ok(())
            }
        }
    }

    /// Takes up what ended, ends what took too long, tells of new epochs.
    fn look_after(&mut self, sweep: &mut Sweep, observe: &mut Observe) -> Result<()> {
        let is_time = sweep.looked.elapsed() >= PROGRESS;
        if is_time {
            sweep.looked = Instant::now();
        }
        let phase = sweep.phase;
        for slot in 0..self.slots.len() {
            let Some(now) = &mut sweep.places[slot] else { continue };
            if let Some(exit) = now.process.poll()? {
                let Some(ended) = sweep.places[slot].take() else { continue };
                let trial = ended.trial;
                let blank = TrialRecord {
                    attempts: sweep.attempts[trial],
                    threads: Some(self.slots[slot].threads),
                    host: Some(machine::host()),
                    git_revision: machine::git_revision(),
                    ..TrialRecord::pending(
                        self.keys[trial].clone(),
                        self.trials[trial].replicate,
                        &self.trials[trial].config,
                    )
                };
                let outcome = outcome::judge(&ended, exit, blank);
                // A later attempt went on from a checkpoint, and says nothing of a whole training.
                if outcome.record.status == Status::Done && sweep.attempts[trial] == 1 {
                    sweep.took[trial] = Some(ended.began.elapsed().as_secs_f64());
                }
                self.limits.learn(trial, outcome.record.peak_memory_bytes);
                sweep.settle(outcome, &self.limits);
                continue;
            }
            match phase {
                Phase::Stopping { until, .. } => {
                    if now.cut.is_none() {
                        now.process.ask_to_stop();
                        now.cut = Some(Cut::Stop);
                    }
                    if Instant::now() >= until {
                        now.process.kill();
                    }
                }
                Phase::Going if self.limits.timeout.is_some_and(|most| now.began.elapsed() >= most) => {
                    now.cut = self.limits.timeout.map(Cut::Timeout);
                    now.process.kill();
                }
                Phase::Going => {}
            }
            if is_time {
                // A row that cannot be read now is read with the trial's end.
                let rows = now.folder.read_epochs().unwrap_or_default();
                for row in rows.iter().skip(now.epochs_seen) {
                    observe(&Event::Epoch { trial: now.trial, row })?;
                }
                now.epochs_seen = now.epochs_seen.max(rows.len());
            }
        }
        Ok(())
    }

    /// Writes ends into folder and journal, and tells of them then. Where there is no room, they wait.
    fn write_down(&mut self, sweep: &mut Sweep, observe: &mut Observe) -> Result<()> {
        if sweep.pause.as_ref().is_some_and(|pause| pause.looked.elapsed() < ROOM) {
            return Ok(());
        }
        while let Some(ended) = sweep.unwritten.front() {
            let record = &ended.outcome.record;
            let folder = self.study.trial(&record.key);
            // Where no folder could be made, the journal alone holds the row.
            let written = if folder.path.is_dir() { folder.write_record(record) } else { Ok(()) };
            let epochs: &[EpochRow] = if record.status.is_final() { &ended.outcome.epochs } else { &[] };
            let written = written.and_then(|()| self.journal.put(record, epochs));
            match written {
                Err(error) if files::is_out_of_room(&error) => {
                    if let Some(pause) = &mut sweep.pause {
                        pause.looked = Instant::now();
                    }
                    // A sweep that stops does not wait for room: this end is found in the trial's folder, or trained again.
                    return match sweep.phase {
                        Phase::Stopping { until, .. } if Instant::now() >= until => Err(error),
                        _ => sweep.pause(format!("{error:#}"), observe),
                    };
                }
                written => written.with_context(|| format!("trial {}", record.key))?,
            }
            let Some(ended) = sweep.unwritten.pop_front() else { break };
            observe(&ended.event())?;
        }
        Ok(())
    }
}

/// This moment in UTC.
fn now() -> String {
    machine::rfc3339(SystemTime::now())
}

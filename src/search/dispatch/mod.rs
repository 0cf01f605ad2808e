//! The one loop that joins strategy, executor and journal.
//!
//! Whatever becomes of a trial, of the disk or of this process: what has ended stays ended, and what was running goes on
//! from its last checkpoint when it is started again.

mod gpu_memory;
mod limits;
mod outcome;
mod sweep;

pub use gpu_memory::GpuMemory;
pub use limits::{Fit, Limits, MaxFailures, Memory};

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Error, Result};

use crate::{
    base::{device::Place, files, machine},
    learn::{
        folder::trials_folder,
        record::{EpochRow, Fault, Status, TrialRecord},
    },
    search::{
        executor::{Executor, Exit, Slot},
        journal::Journal,
        space::Trial,
        strategy::{Moment, Strategy},
        study::Study,
    },
};
use outcome::{Cut, Outcome, Verdict};
use sweep::{Phase, Running, Sweep};

/// How often processes are looked at.
const POLL: Duration = Duration::from_millis(20);
/// How often their epochs are read.
const PROGRESS: Duration = Duration::from_millis(500);
/// Bytes that a trial writes beside weights and checkpoints.
const OTHER_FILES: u64 = 1 << 20;

/// What happens in a sweep, for who watches it.
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
    /// The journal refuses what it is given.
    Broken,
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
#[derive(Debug)]
pub struct Swept {
    /// Status of each trial; `Running` for one that was to be tried again.
    pub history: Vec<Status>,
    pub ending: Ending,
    /// Why the ends of some trials could not be written into the journal before the sweep had to end.
    pub unwritten: Option<Error>,
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
    ///
    /// What may pass (a full disk, a journal that somebody else holds, a process that cannot be started now) makes the
    /// sweep pause and try again. Errors: the journal refuses what it is given; an error of `observe`. Both after what ran
    /// had its time to write a checkpoint.
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
                let ending = match sweep.phase {
                    Phase::Stopping { why: Ending::Failures, .. } => Some(Ending::Failures),
                    Phase::Stopping { why, .. } if self.is_wanting(&sweep, strategy) => Some(why),
                    Phase::Going if wants_more => None,
                    Phase::Going if self.is_wanting(&sweep, strategy) => Some(Ending::Deadline),
                    _ => Some(Ending::Finished),
                };
                match (ending, sweep.broken) {
                    (Some(_), Some(error)) => return Err(error),
                    (Some(ending), None) => {
                        self.limits.ended_before += sweep.ended;
                        self.limits.failed_before += sweep.failed;
                        return Ok(Swept { history: sweep.history, ending, unwritten: sweep.lost });
                    }
                    (None, broken) => sweep.broken = broken,
                }
            }
            self.look_after(&mut sweep, observe)?;
            thread::sleep(POLL);
        }
    }

    fn reason_to_stop(&self, sweep: &Sweep) -> Option<Ending> {
        if sweep.broken.is_some() {
            return Some(Ending::Broken);
        }
        if self.stop.load(Ordering::Relaxed) {
            return Some(Ending::Asked);
        }
        if self.limits.seconds_left().is_some_and(|seconds| seconds <= 0.0) {
            return Some(Ending::Deadline);
        }
        let (failed, ended) = (self.limits.failed_before + sweep.failed, self.limits.ended_before + sweep.ended);
        self.limits.failures.filter(|most| most.reached(failed, ended)).map(|_| Ending::Failures)
    }

    /// Fills free slots; tells whether there is, or will be, something to start.
    fn launch(&mut self, sweep: &mut Sweep, strategy: &dyn Strategy, observe: &mut Observe) -> Result<bool> {
        if sweep.phase != Phase::Going {
            return Ok(false);
        }
        sweep.end_waits();
        if sweep.pause.is_some() && !self.may_try_again(sweep, strategy, observe)? {
            return Ok(true);
        }
        // Slots on GPUs that have no memory for the next trial; one on another device may have.
        let mut full: Vec<usize> = Vec::new();
        let mut refusal = None;
        while let Some(slot) = sweep.free_slot(&full) {
            let Some(trial) = self.next(sweep, strategy) else { break };
            if let Some(why) = self.never_fits(trial) {
                self.refuse(sweep, trial, slot, why);
                continue;
            }
            let place = self.slots[slot].place;
            if !self.limits.has_memory(sweep.running(), trial, place) {
                return Ok(true);
            }
            if let Some(memory) = &mut self.limits.gpu_memory
                && let Some(why) = memory.refusal(place, &sweep.running_on(place), trial)
            {
                full.push(slot);
                refusal = Some(why);
                continue;
            }
            if let Err(shortage) = self.has_room(sweep, trial) {
                sweep.pause(shortage, observe)?;
                return Ok(true);
            }
            if !self.start(sweep, trial, slot, observe)? {
                return Ok(true);
            }
        }
        if let Some(why) = refusal.filter(|_| sweep.running().next().is_none()) {
            // Nothing of ours ends there and leaves memory: somebody else has it.
            sweep.pause(why, observe)?;
        }
        Ok(sweep.is_waiting() || self.next(sweep, strategy).is_some())
    }

    /// Why `trial` can be trained in no slot, if that is known.
    fn never_fits(&self, trial: usize) -> Option<String> {
        let places: Vec<Place> = self.slots.iter().map(|slot| slot.place).collect();
        self.limits.gpu_memory.as_ref()?.too_large(&places, trial)
    }

    /// Has a trial written down as failed without starting it.
    fn refuse(&self, sweep: &mut Sweep, trial: usize, slot: usize, why: String) {
        let record = outcome::failed(self.blank(trial, sweep.attempts[trial], slot), Fault::Memory, why);
        // So that its folder holds it, too; where it cannot, the journal does.
        let _ = self.prepare(trial, &record);
        sweep.settle(Outcome { trial, record, epochs: Vec::new(), verdict: Verdict::Over }, &self.limits);
    }

    /// Makes a trial's folder ready; an error where a link stands in its place, behind which nothing is written or removed.
    fn prepare(&self, trial: usize, record: &TrialRecord) -> Result<()> {
        let folder = self.study.trial(&record.key);
        folder.check_place()?;
        folder.prepare(&self.trials[trial].config, record)
    }

    /// What to start now: what the strategy wants, or what must run alone once nothing else is to be done.
    fn next(&self, sweep: &Sweep, strategy: &dyn Strategy) -> Option<usize> {
        if sweep.runs_alone() {
            return None;
        }
        strategy.next(&self.moment(sweep, &sweep.history)).or_else(|| {
            // The strategy has the last word: there may be no time left for it.
            let trial = sweep.next_alone()?;
            let mut history = sweep.history.clone();
            history[trial] = Status::Pending;
            strategy.next(&self.moment(sweep, &history))
        })
    }

    /// Whether there would be something to train if there were time.
    fn is_wanting(&self, sweep: &Sweep, strategy: &dyn Strategy) -> bool {
        let moment = Moment { seconds_left: None, ..self.moment(sweep, &sweep.history) };
        sweep.is_waiting() || sweep.next_alone().is_some() || strategy.next(&moment).is_some()
    }

    fn moment<'a>(&'a self, sweep: &'a Sweep, history: &'a [Status]) -> Moment<'a> {
        Moment { trials: self.trials, history, took: &sweep.took, seconds_left: self.limits.seconds_left() }
    }

    /// Whether the file system has room for what `trial` writes, beside what the running ones may still write.
    fn has_room(&self, sweep: &Sweep, trial: usize) -> Result<(), String> {
        // Weights, and three checkpoints of four values a parameter: while one is written, two are there.
        let of = |trial: usize| OTHER_FILES + 52 * self.trials[trial].config.parameters() as u64;
        let wanted = of(trial) + sweep.running().map(|running| of(running.trial)).sum::<u64>();
        let folder = &self.study.folder;
        match files::free_bytes(folder) {
            Some(free) if free < wanted => Err(format!(
                "{} has {:.1} MB free, the next trial and those running want {:.1} MB",
                folder.display(),
                free as f64 / 1e6,
                wanted as f64 / 1e6
            )),
            _ => Ok(()),
        }
    }

    /// Looks, now and then, whether what made the sweep pause is over. It is, where there is nothing to start; else once
    /// something could be started again.
    fn may_try_again(&mut self, sweep: &mut Sweep, strategy: &dyn Strategy, observe: &mut Observe) -> Result<bool> {
        if !sweep.unwritten.is_empty() || !sweep.is_time_to_try() {
            return Ok(false);
        }
        let Some(trial) = self.next(sweep, strategy) else {
            sweep.resume(observe)?;
            return Ok(true);
        };
        if let Err(shortage) = self.has_room(sweep, trial) {
            sweep.pause(shortage, observe)?;
            return Ok(false);
        }
        // Before the first trial there is no folder of trials.
        let folder = Some(trials_folder(&self.study.folder)).filter(|folder| folder.is_dir());
        if let Err(error) = files::try_room(folder.as_ref().unwrap_or(&self.study.folder)) {
            sweep.pause(error.to_string(), observe)?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Starts a trial; tells whether others may be started after it. A trial that cannot be started is settled as one that
    /// failed, but where that is not for its own sake: then the sweep pauses.
    fn start(&mut self, sweep: &mut Sweep, trial: usize, slot: usize, observe: &mut Observe) -> Result<bool> {
        let place = &self.slots[slot];
        let blank = self.blank(trial, sweep.attempts[trial] + 1, slot);
        let folder = self.study.trial(&blank.key);
        let is_continued = folder.checkpoint().exists();
        let epochs_before = if is_continued { folder.read_epochs().map_or(0, |rows| rows.len()) } else { 0 };
        // What is in the checkpoint was trained beside these, and perhaps on another processor.
        let earlier = folder.read_record().ok().filter(|earlier| is_continued && earlier.key == blank.key);
        let co_runners = earlier.as_ref().and_then(|earlier| earlier.co_runners);
        let is_mixed = earlier.is_some_and(|earlier| earlier.processor != blank.processor);
        let record = TrialRecord {
            status: Status::Running,
            started: Some(now()),
            co_runners,
            processor: blank.processor.clone().filter(|_| !is_mixed),
            ..blank
        };
        if let Err(error) = self.prepare(trial, &record) {
            let is_common =
                files::is_out_of_room(&error) || files::try_room(&trials_folder(&self.study.folder)).is_err();
            return self.could_not_start(sweep, trial, record, error, is_common, observe);
        }
        if let Err(error) = self.journal.put(&record, &[]) {
            return match may_pass(&error) {
                true => sweep.pause(format!("{error:#}"), observe).map(|()| false),
                false => Err(error),
            };
        }
        match self.executor.start(&folder.path, place) {
            Ok(process) => {
                sweep.attempted(trial);
                sweep.places[slot] = Some(Running {
                    trial,
                    folder,
                    process,
                    epochs_seen: epochs_before,
                    place: place.place,
                    on_its_gpu: 0,
                    co_runners: co_runners.unwrap_or(0),
                    is_mixed,
                    began: Instant::now(),
                    oom_kills: machine::oom_kills(),
                    cut: None,
                    end_at: None,
                });
                sweep.count_co_runners();
                sweep.resume(observe)?;
                observe(&Event::Started { trial, slot, place: self.slots[slot].place, epochs_before })?;
                Ok(true)
            }
            Err(error) => {
                let is_common = may_pass(&error);
                self.could_not_start(sweep, trial, record, error, is_common, observe)
            }
        }
    }

    fn could_not_start(
        &mut self,
        sweep: &mut Sweep,
        trial: usize,
        record: TrialRecord,
        error: Error,
        is_common: bool,
        observe: &mut Observe,
    ) -> Result<bool> {
        if is_common {
            // It was not begun: the journal may say otherwise by now.
            sweep.take_back(trial, TrialRecord { attempts: sweep.attempts[trial], started: None, ..record });
            return sweep.pause(format!("{error:#}"), observe).map(|()| false);
        }
        sweep.attempted(trial);
        let record = outcome::failed(record, Fault::Machine, format!("could not be started: {error:#}"));
        sweep.settle(Outcome { trial, record, epochs: Vec::new(), verdict: Verdict::Again }, &self.limits);
        Ok(true)
    }

    /// The record of an attempt of `trial` in `slot` without any result.
    fn blank(&self, trial: usize, attempts: usize, slot: usize) -> TrialRecord {
        let (of, slot) = (&self.trials[trial], &self.slots[slot]);
        TrialRecord {
            attempts,
            threads: Some(slot.threads),
            host: Some(machine::host()),
            processor: if slot.place.is_cpu() { machine::processor() } else { slot.gpu.clone() },
            device: Some(slot.device()),
            git_revision: machine::git_revision(),
            ..TrialRecord::pending(self.keys[trial].clone(), of.replicate, &of.config)
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
            // How it ended may not be known (its parent ignores the ends of children): then what it left says it all.
            if let Some(exit) = now.process.poll().unwrap_or(Some(Exit::Code(-1))) {
                let Some(ended) = sweep.places[slot].take() else { continue };
                let trial = ended.trial;
                let outcome = outcome::judge(&ended, exit, self.blank(trial, sweep.attempts[trial], slot));
                // A later attempt went on from a checkpoint, and says nothing of a whole training.
                if outcome.record.status == Status::Done && sweep.attempts[trial] == 1 {
                    sweep.took[trial] = Some(ended.began.elapsed().as_secs_f64());
                }
                if ended.place.is_cpu() {
                    self.limits.learn(trial, outcome.record.peak_memory_bytes);
                }
                sweep.settle(outcome, &self.limits);
                continue;
            }
            match phase {
                Phase::Stopping { until, .. } => now.end(Cut::Stop, until),
                Phase::Going => {
                    if let Some(most) = self.limits.timeout.filter(|most| now.began.elapsed() >= *most)
                        // What waits for room on the disk is not slow.
                        && (now.cut.is_some() || (is_time && files::try_room(&now.folder.path).is_ok()))
                    {
                        let patience =
                            (most / 20).clamp(Duration::from_secs(1), self.limits.grace.max(Duration::from_secs(1)));
                        now.end(Cut::Timeout(most), Instant::now() + patience);
                    }
                }
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

    /// Writes ends into folder and journal, and tells of them then. While they cannot be written, they wait.
    fn write_down(&mut self, sweep: &mut Sweep, observe: &mut Observe) -> Result<()> {
        while let Some(ended) = sweep.unwritten.front() {
            if sweep.pause.is_some() && !sweep.is_time_to_try() {
                return Ok(());
            }
            let Outcome { record, epochs, .. } = &ended.outcome;
            let folder = self.study.trial(&record.key);
            // Where no folder could be made, the journal alone holds the row.
            let written = if files::is_folder(&folder.path) { folder.write_record(record) } else { Ok(()) };
            let epochs: &[EpochRow] = if record.status.is_final() { epochs } else { &[] };
            let written = written.and_then(|()| self.journal.put(record, epochs));
            if let Err(error) = written.with_context(|| format!("trial {}", record.key)) {
                match sweep.phase {
                    // It is found in the trial's folder by the next run, or trained again.
                    Phase::Stopping { until, .. } if Instant::now() >= until => {
                        sweep.unwritten.clear();
                        sweep.lost = Some(error);
                    }
                    _ if may_pass(&error) => sweep.pause(format!("{error:#}"), observe)?,
                    _ => {
                        sweep.unwritten.pop_front();
                        sweep.broken.get_or_insert(error);
                    }
                }
                return Ok(());
            }
            let Some(ended) = sweep.unwritten.pop_front() else { break };
            if let Some(event) = ended.event() {
                observe(&event)?;
            }
        }
        Ok(())
    }
}

/// Whether an error is of the system, not of what was asked of it: what may be otherwise in a while.
fn may_pass(error: &Error) -> bool {
    error.chain().any(|cause| cause.is::<io::Error>())
}

/// This moment in UTC.
fn now() -> String {
    machine::rfc3339(SystemTime::now())
}

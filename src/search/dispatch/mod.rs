//! The one loop that joins searcher, worker and journal.
//!
//! Whatever becomes of a trial, of the disk or of this process: what has ended stays ended, and what was running goes on
//! from its last checkpoint when it is started again.

mod events;
mod launch;
mod limits;
mod outcome;
mod running;
mod sharing;
mod state;

pub use events::{Ending, Event, Observe, Past, Swept};
pub use limits::{Limits, MaxFailures};

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context, Error, Result};

use crate::{
    base::{files, machine},
    learn::record::{EpochRow, Status, TrialRecord},
    search::{
        beginnings::Beginnings,
        journal::{Journal, Noted, NotedBasis},
        space::Trial,
        strategy::{Decision, Offer, Proposal, Searcher, Told},
        study::Study,
        worker::{End, Report, Worker},
    },
};
use outcome::Outcome;
use running::{Cut, Running};
use state::{Phase, State};

/// The least time that a trial which took too long has to write a checkpoint.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// A sweep of trials over the slots of a worker.
pub struct Dispatcher<'a> {
    pub study: &'a Study,
    pub trials: &'a [Trial],
    /// Identity of each trial.
    pub keys: &'a [String],
    /// What trials have in common.
    pub beginnings: &'a Beginnings,
    pub journal: &'a mut Journal,
    pub worker: &'a mut dyn Worker,
    pub limits: Limits,
    /// Set by who wants the sweep to stop.
    pub stop: &'a AtomicBool,
}

impl Dispatcher<'_> {
    /// Trains what `searcher` proposes until it proposes nothing more and nothing runs, or until the sweep must stop.
    ///
    /// `past[i]` is what earlier runs know of trial `i`; trials that ended stay ended. After each event `observe` is called.
    ///
    /// What may pass (a full disk, a journal that somebody else holds, a process that cannot be started now) makes the
    /// sweep pause and try again. Errors: the journal refuses what it is given; an error of `observe`. Both after what ran
    /// had its time to write a checkpoint.
    pub fn run(&mut self, searcher: &dyn Searcher, past: Vec<Past>, observe: &mut Observe) -> Result<Swept> {
        let mut state = self.begin(past);
        loop {
            self.write_down(&mut state, observe)?;
            if state.phase == Phase::Going
                && let Some(why) = self.reason_to_stop(&state)
            {
                state.stop(why, self.worker.now() + self.limits.grace);
                observe(&Event::Stopping { why, running: state.running().count() })?;
            }
            let wants_more = self.launch(&mut state, searcher, observe)?;
            self.note(&mut state, searcher);
            if self.limits.detach && self.has_handed_over(&state, searcher) {
                return Ok(Swept { progress: state.progress, ending: Ending::Detached, unwritten: None });
            }
            if state.running().next().is_none()
                && state.unwritten.is_empty()
                && let Some(ending) = self.ending(&state, searcher, wants_more)
            {
                if let Some(error) = state.broken {
                    return Err(error);
                }
                self.limits.ended_before += state.ended;
                self.limits.failed_before += state.failed;
                return Ok(Swept { progress: state.progress, ending, unwritten: state.lost });
            }
            // A slot that has become free gets its next trial at once.
            if !self.look_after(&mut state, observe)? {
                self.worker.wait();
            }
        }
    }

    /// Writes down what the searcher decided since it was last asked. What cannot be written now is written with the next.
    fn note(&mut self, state: &mut State, searcher: &dyn Searcher) {
        let decisions = searcher.decisions(state.noted);
        if decisions.is_empty() {
            return;
        }
        let noted: Vec<Noted> = decisions.iter().map(|of| noted(of, &self.keys[of.trial])).collect();
        match self.journal.note(state.noted, &noted) {
            Ok(()) => state.noted += noted.len(),
            Err(error) if may_pass(&error) => {}
            Err(error) => {
                state.broken.get_or_insert(error);
            }
        }
    }

    /// Where a sweep begins: with what the worker adopted running.
    fn begin(&self, past: Vec<Past>) -> State {
        let adopted: Vec<(usize, usize)> =
            past.iter().enumerate().filter_map(|(trial, past)| Some((trial, past.running_in?))).collect();
        let mut state = State::new(past, self.worker.slots().len());
        for (trial, slot) in adopted {
            let folder = self.study.trial(&self.keys[trial]);
            // How far an earlier searcher had it trained is not known: it comes back as one that stopped, and is asked for anew.
            let until = self.trials[trial].config.train.epochs;
            state.places[slot] = Some(Running::new(trial, slot, folder, until, self.worker));
            state.progress[trial].status = Status::Running;
        }
        state.count_co_runners();
        self.remove_unwanted_beginnings(&state);
        state
    }

    /// How a sweep ends in which nothing runs, if it does.
    fn ending(&self, state: &State, searcher: &dyn Searcher, wants_more: bool) -> Option<Ending> {
        // If there were time.
        let would_want = || self.is_wanting(state, searcher, &Told { seconds_left: None, ..self.told(state) });
        match state.phase {
            Phase::Stopping { why: Ending::Failures, .. } => Some(Ending::Failures),
            Phase::Stopping { why, .. } if would_want() => Some(why),
            Phase::Going if wants_more => None,
            Phase::Going if would_want() => Some(Ending::Deadline),
            _ => Some(Ending::Finished),
        }
    }

    /// Why no sweep may go on now or begin, if none may: a wish, or the deadline.
    pub fn asked_to_end(&self) -> Option<Ending> {
        if self.stop.load(Ordering::Relaxed) {
            return Some(Ending::Asked);
        }
        let is_over = self.limits.seconds_left(self.worker.date()).is_some_and(|seconds| seconds <= 0.0);
        is_over.then_some(Ending::Deadline)
    }

    fn reason_to_stop(&self, state: &State) -> Option<Ending> {
        if state.broken.is_some() {
            return Some(Ending::Broken);
        }
        if let Some(why) = self.asked_to_end() {
            return Some(why);
        }
        let (failed, ended) = (self.limits.failed_before + state.failed, self.limits.ended_before + state.ended);
        self.limits.failures.filter(|most| most.reached(failed, ended)).map(|_| Ending::Failures)
    }

    /// Whether everything that can be started is, and goes on without this process.
    fn has_handed_over(&self, state: &State, searcher: &dyn Searcher) -> bool {
        state.unwritten.is_empty()
            && self.worker.is_handed_over()
            && !self.is_wanting(state, searcher, &self.told(state))
    }

    /// Whether there is something to train, by what a searcher is told.
    fn is_wanting(&self, state: &State, searcher: &dyn Searcher, told: &Told) -> bool {
        let wants = |slot: usize| {
            let refuses = |trial: usize| state.refuses(trial, self.worker.slots()[slot].place);
            let offer = Offer { place: self.worker.slots()[slot].place, refuses: &refuses };
            matches!(
                searcher.propose(told, &offer),
                Proposal::Train { .. } | Proposal::Stop { .. } | Proposal::Pause { .. }
            )
        };
        state.is_waiting() || state.next_alone().is_some() || (0..self.worker.slots().len()).any(wants)
    }

    fn told<'a>(&'a self, state: &'a State) -> Told<'a> {
        Told {
            trials: self.trials,
            progress: &state.progress,
            seconds_left: self.limits.seconds_left(self.worker.date()),
        }
    }

    /// The record of an attempt of `trial` in `slot` without any result.
    fn blank(&self, trial: usize, attempts: usize, slot: usize) -> TrialRecord {
        let (of, slot) = (&self.trials[trial], &self.worker.slots()[slot]);
        // Where trials run elsewhere, each writes down itself where that is.
        let is_here = !self.worker.is_elsewhere();
        TrialRecord {
            attempts,
            threads: Some(slot.threads),
            host: is_here.then(machine::host),
            processor: if slot.place.is_cpu() && is_here { machine::processor() } else { slot.gpu.clone() },
            device: Some(slot.device()),
            git_revision: machine::git_revision(),
            ..TrialRecord::pending(self.keys[trial].clone(), of.replicate, &of.config)
        }
    }

    /// Takes up what the worker reports, and ends what took too long. Whether something has ended.
    fn look_after(&mut self, state: &mut State, observe: &mut Observe) -> Result<bool> {
        let mut has_ended = false;
        for (slot, report) in self.worker.reports() {
            match report {
                Report::Epoch(row) => {
                    if let Some(running) = &state.places[slot] {
                        let trial = running.trial;
                        state.completed(trial, &row);
                        observe(&Event::Epoch { trial, row: &row })?;
                    }
                }
                Report::Began | Report::Queued => {
                    let began = (report == Report::Began).then(|| self.worker.now());
                    state.places[slot].iter_mut().for_each(|running| running.began = began);
                }
                Report::Ended(end) => {
                    has_ended = true;
                    self.take_up(state, slot, end);
                }
            }
        }
        let now = self.worker.now();
        let phase = state.phase;
        for running in state.places.iter_mut().flatten() {
            match phase {
                Phase::Stopping { until, .. } => running.end(Cut::Stop, until, self.worker),
                Phase::Going => {
                    if let Some(most) = self.limits.timeout.filter(|most| running.began.is_some_and(|began| now - began >= *most))
                        // What waits for room on the disk is not slow.
                        && (running.cut.is_some() || files::try_room(&running.folder.path).is_ok())
                    {
                        let patience = (most / 20).clamp(LEAST_PATIENCE, self.limits.grace.max(LEAST_PATIENCE));
                        running.end(Cut::Timeout(most), now + patience, self.worker);
                    }
                }
            }
        }
        Ok(has_ended)
    }

    /// Takes up that what ran in a slot has ended.
    fn take_up(&mut self, state: &mut State, slot: usize, end: End) {
        let Some(ended) = state.places[slot].take() else { return };
        let trial = ended.trial;
        let outcome = outcome::judge(&ended, end, self.blank(trial, state.attempts[trial], slot));
        let now = self.worker.now();
        // A later attempt went on from a checkpoint, others from a beginning: they say nothing of a whole training.
        let is_whole = outcome.record.status == Status::Done && outcome.record.shared_epochs.is_none();
        if is_whole && state.attempts[trial] == 1 {
            state.progress[trial].took = ended.began.map(|began| (ended.place, (now - began).as_secs_f64()));
        }
        state.settle(outcome, &self.limits, now);
        self.remove_unwanted_beginnings(state);
    }

    /// Writes ends into folder and journal, and tells of them then. While they cannot be written, they wait.
    fn write_down(&mut self, state: &mut State, observe: &mut Observe) -> Result<()> {
        while let Some(ended) = state.unwritten.front() {
            let now = self.worker.now();
            if state.pause.is_some() && !state.is_time_to_try(now) {
                return Ok(());
            }
            let Outcome { record, epochs, .. } = &ended.outcome;
            let folder = self.study.trial(&record.key);
            // Where no folder could be made, the journal alone holds the row.
            let written = if files::is_folder(&folder.path) { folder.write_record(record) } else { Ok(()) };
            let keeps_epochs = record.status.is_final() || record.status == Status::Paused;
            let epochs: &[EpochRow] = if keeps_epochs { epochs } else { &[] };
            let written = written.and_then(|()| self.journal.put(record, epochs));
            if let Err(error) = written.with_context(|| format!("trial {}", record.key)) {
                match state.phase {
                    // It is found in the trial's folder by the next run, or trained again.
                    Phase::Stopping { until, .. } if now >= until => {
                        state.unwritten.clear();
                        state.lost = Some(error);
                    }
                    _ if may_pass(&error) => state.pause(format!("{error:#}"), now, observe)?,
                    _ => {
                        state.unwritten.pop_front();
                        state.broken.get_or_insert(error);
                    }
                }
                return Ok(());
            }
            let Some(ended) = state.unwritten.pop_front() else { break };
            if let Some(event) = ended.event() {
                observe(&event)?;
            }
        }
        Ok(())
    }
}

/// A decision as the journal has it.
fn noted(of: &Decision, key: &str) -> Noted {
    let basis = of.basis.map(|basis| NotedBasis {
        trained_epochs: basis.trained,
        validation_accuracy: basis.reached,
        point_epochs: basis.stop,
        point_seconds: basis.seconds,
        expected_accuracy: basis.expected,
        possible_accuracy: basis.possible,
        accuracy_to_beat: basis.to_beat,
    });
    Noted { key: key.into(), round: of.round, epochs: of.epochs, why: of.why.as_str().into(), words: of.words(), basis }
}

/// Whether an error is of the system, not of what was asked of it: what may be otherwise in a while.
fn may_pass(error: &Error) -> bool {
    error.chain().any(|cause| cause.is::<io::Error>())
}

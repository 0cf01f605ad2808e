//! What is started, where, and what keeps it from being started now.

use anyhow::{Error, Result};

use super::{
    Dispatcher,
    events::{Event, Observe},
    may_pass,
    outcome::{self, Outcome, Verdict, now},
    running::Running,
    state::{Phase, State},
};
use crate::{
    base::files,
    learn::{
        folder::trials_folder,
        record::{Fault, Status, TrialRecord},
        train::beginning::Shared,
    },
    search::{
        strategy::{Offer, Proposal, Searcher, Told},
        worker::{Admission, Work},
    },
};

/// Bytes that a trial writes beside weights and checkpoints.
const OTHER_FILES: u64 = 1 << 20;

/// What a free slot is to do.
enum Next {
    Train {
        trial: usize,
        epochs: usize,
    },
    /// It is trained no further, and is of this status then.
    SetAside {
        trial: usize,
        status: Status,
        reason: String,
    },
    /// Nothing now.
    Nothing,
}

/// What came of a try to start a trial.
enum Start {
    Started,
    /// It was settled without being started; the slot is still free.
    Settled,
    /// Nothing is to be started now.
    Paused,
}

impl Dispatcher<'_> {
    /// Fills free slots; tells whether there is, or will be, something to start.
    pub(super) fn launch(&mut self, state: &mut State, searcher: &dyn Searcher, observe: &mut Observe) -> Result<bool> {
        if state.phase != Phase::Going {
            return Ok(false);
        }
        state.end_waits(self.worker.now());
        if let Some(why) = self.worker.trouble() {
            if state.running().next().is_none() && !self.is_wanting(state, searcher, &self.told(state)) {
                // Nothing waits for its end.
                return Ok(false);
            }
            if state.is_time_to_try(self.worker.now()) {
                state.pause(why, self.worker.now(), observe)?;
            }
            return Ok(true);
        }
        if state.pause.is_some() && !self.may_try_again(state, searcher, observe)? {
            return Ok(true);
        }
        self.list_beginnings(state);
        // What keeps a slot from what it is to do, where that is not ours.
        let mut refusal = None;
        // Whether there is something for a slot that it cannot start yet.
        let mut is_kept = false;
        'slots: for slot in 0..self.worker.slots().len() {
            while state.places[slot].is_none() {
                let (trial, epochs) = match self.next(state, searcher, slot) {
                    // Slots of a cluster are alike: what one has nothing for, none has.
                    Next::Nothing if self.worker.is_elsewhere() => break 'slots,
                    Next::Nothing => break,
                    Next::SetAside { trial, status, reason } => {
                        let record = self.record_of(trial, state.attempts[trial], slot);
                        state.set_aside(trial, status, record, reason);
                        continue;
                    }
                    Next::Train { trial, epochs } => (trial, epochs),
                };
                match self.worker.admits(&self.trials[trial].config, slot) {
                    Admission::Now => {}
                    Admission::Never(why) => {
                        self.refuse(state, trial, slot, why);
                        continue;
                    }
                    Admission::Later(why) => {
                        (refusal, is_kept) = (why.or(refusal), true);
                        break;
                    }
                }
                if let Err(shortage) = self.has_room(state, trial) {
                    state.pause(shortage, self.worker.now(), observe)?;
                    return Ok(true);
                }
                if let Start::Paused = self.start(state, trial, epochs, slot, observe)? {
                    return Ok(true);
                }
            }
        }
        if let Some(why) = refusal.filter(|_| state.running().next().is_none()) {
            // Nothing of ours ends there and leaves room: somebody else has it.
            state.pause(why, self.worker.now(), observe)?;
        }
        Ok(is_kept || state.is_waiting() || state.running().next().is_some())
    }

    /// Takes note that `trial` will never fit where `slot` is; where no slot is left for it, it is written down as failed.
    fn refuse(&mut self, state: &mut State, trial: usize, slot: usize, why: String) {
        let slots = self.worker.slots();
        state.never.insert((trial, slots[slot].place), why.clone());
        if slots.iter().any(|slot| !state.refuses(trial, slot.place)) {
            return;
        }
        let record = outcome::failed(self.blank(trial, state.attempts[trial], slot), Fault::Memory, why);
        // So that its folder holds it, too; where it cannot, the journal does.
        let _ = self.prepare(trial, &record);
        let outcome = Outcome { trial, record, epochs: Vec::new(), verdict: Verdict::Over };
        state.settle(outcome, &self.limits, self.worker.now());
    }

    /// Makes a trial's folder ready; an error where a link stands in its place, behind which nothing is written or removed.
    fn prepare(&self, trial: usize, record: &TrialRecord) -> Result<()> {
        let folder = self.study.trial(&record.key);
        folder.check_place()?;
        folder.prepare(&self.trials[trial].config, record)
    }

    /// The record that a trial which rests at a checkpoint has left; a blank one where there is none.
    fn record_of(&self, trial: usize, attempts: usize, slot: usize) -> TrialRecord {
        let blank = self.blank(trial, attempts, slot);
        let left = self.study.trial(&blank.key).read_record().ok();
        left.filter(|record| record.key == blank.key).unwrap_or(blank)
    }

    /// What a free slot is to do: what the searcher proposes, or what must run alone once nothing else is to be done.
    fn next(&self, state: &State, searcher: &dyn Searcher, slot: usize) -> Next {
        if state.runs_alone() {
            return Next::Nothing;
        }
        let place = self.worker.slots()[slot].place;
        let refuses = |trial: usize| state.refuses(trial, place);
        // First what need not wait for a beginning that is being trained, then anything.
        let trained = self.trained(state);
        let holds = |trial: usize| refuses(trial) || self.is_held(state, &trained, trial, slot);
        let told = self.told(state);
        let rounds = if self.waits_for_beginnings() { 1 } else { 2 };
        for refuses in [&holds as &dyn Fn(usize) -> bool, &refuses].into_iter().take(rounds) {
            match searcher.propose(&told, &Offer { place, refuses }) {
                Proposal::Train { trial, epochs } => return Next::Train { trial, epochs },
                Proposal::Stop { trial, reason } => return Next::SetAside { trial, status: Status::Stopped, reason },
                Proposal::Pause { trial, reason } => return Next::SetAside { trial, status: Status::Paused, reason },
                Proposal::Wait | Proposal::Done => {}
            }
        }
        // The searcher has the last word: there may be no time left for it.
        let Some(alone) = state.next_alone() else { return Next::Nothing };
        let mut progress = state.progress.clone();
        progress[alone].status = Status::Pending;
        let told = Told { progress: &progress, ..told };
        match searcher.propose(&told, &Offer { place, refuses: &refuses }) {
            Proposal::Train { trial, epochs } => Next::Train { trial, epochs },
            _ => Next::Nothing,
        }
    }

    /// Whether the file system has room for what `trial` writes, beside what the running ones may still write.
    fn has_room(&self, state: &State, trial: usize) -> Result<(), String> {
        // Weights, and three checkpoints of four values a parameter: while one is written, two are there.
        // And what it may leave for others.
        let of = |trial: usize| {
            let left = self.beginnings.branches(trial).len() as u64;
            OTHER_FILES + (52 + 16 * left) * self.trials[trial].config.parameters() as u64
        };
        let wanted = of(trial) + state.running().map(|running| of(running.trial)).sum::<u64>();
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
    fn may_try_again(&mut self, state: &mut State, searcher: &dyn Searcher, observe: &mut Observe) -> Result<bool> {
        let now = self.worker.now();
        if !state.unwritten.is_empty() || !state.is_time_to_try(now) {
            return Ok(false);
        }
        let free = (0..state.places.len()).filter(|slot| state.places[*slot].is_none());
        let next = free.map(|slot| self.next(state, searcher, slot)).find_map(|next| match next {
            Next::Train { trial, .. } => Some(trial),
            _ => None,
        });
        let Some(trial) = next else {
            state.resume(observe)?;
            return Ok(true);
        };
        if let Err(shortage) = self.has_room(state, trial) {
            state.pause(shortage, now, observe)?;
            return Ok(false);
        }
        // Before the first trial there is no folder of trials.
        let folder = Some(trials_folder(&self.study.folder)).filter(|folder| folder.is_dir());
        if let Err(error) = files::try_room(folder.as_ref().unwrap_or(&self.study.folder)) {
            state.pause(error.to_string(), now, observe)?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Starts a trial. One that cannot be started is settled as one that failed, but where that is not for its own sake: then
    /// the sweep pauses.
    fn start(
        &mut self,
        state: &mut State,
        trial: usize,
        epochs: usize,
        slot: usize,
        observe: &mut Observe,
    ) -> Result<Start> {
        let blank = self.blank(trial, state.attempts[trial] + 1, slot);
        let folder = self.study.trial(&blank.key);
        let is_continued = folder.checkpoint().exists();
        let behind = if is_continued { folder.read_epochs().map_or(0, |rows| rows.len()) } else { 0 };
        // What is in the checkpoint was trained beside these, and perhaps on another processor.
        let earlier = folder.read_record().ok().filter(|earlier| is_continued && earlier.key == blank.key);
        let co_runners = earlier.as_ref().and_then(|earlier| earlier.co_runners);
        let is_elsewhere = self.worker.is_elsewhere();
        let before = earlier.map(|earlier| earlier.processor);
        let is_mixed = !is_elsewhere && before.as_ref().is_some_and(|before| *before != blank.processor);
        let processor = match before {
            // On which it goes on is known when it has begun.
            Some(before) if is_elsewhere => before,
            _ => blank.processor.clone().filter(|_| !is_mixed),
        };
        let record = TrialRecord { status: Status::Running, started: Some(now()), co_runners, processor, ..blank };
        if let Err(error) = self.prepare(trial, &record) {
            let is_common =
                files::is_out_of_room(&error) || files::try_room(&trials_folder(&self.study.folder)).is_err();
            return self.could_not_start(state, trial, record, error, is_common, observe);
        }
        if let Err(error) = self.journal.put(&record, &[]) {
            return match may_pass(&error) {
                true => state.pause(format!("{error:#}"), self.worker.now(), observe).map(|()| Start::Paused),
                false => Err(error),
            };
        }
        let from = if is_continued { Vec::new() } else { self.beginnings_for(trial, slot, epochs) };
        let leave = self.beginnings_of(state, trial, slot, behind, &from);
        let shared = Shared { from: &from, leave: &leave };
        let work = Work { folder: &folder, config: &self.trials[trial].config, epochs, behind, shared };
        if let Err(error) = self.worker.start(&work, slot) {
            let is_common = may_pass(&error);
            return self.could_not_start(state, trial, record, error, is_common, observe);
        }
        state.attempted(trial);
        state.progress[trial].epochs.truncate(behind);
        let mut running = Running::new(trial, slot, folder, epochs, self.worker);
        (running.co_runners, running.is_mixed) = (co_runners.unwrap_or(0), is_mixed);
        state.places[slot] = Some(running);
        state.count_co_runners();
        state.resume(observe)?;
        observe(&Event::Started { trial, slot, place: self.worker.slots()[slot].place, epochs_before: behind })?;
        Ok(Start::Started)
    }

    fn could_not_start(
        &mut self,
        state: &mut State,
        trial: usize,
        record: TrialRecord,
        error: Error,
        is_common: bool,
        observe: &mut Observe,
    ) -> Result<Start> {
        let now = self.worker.now();
        if is_common {
            // It was not begun: the journal may say otherwise by now.
            state.take_back(trial, TrialRecord { attempts: state.attempts[trial], started: None, ..record });
            return state.pause(format!("{error:#}"), now, observe).map(|()| Start::Paused);
        }
        state.attempted(trial);
        let record = outcome::failed(record, Fault::Machine, format!("could not be started: {error:#}"));
        state.settle(Outcome { trial, record, epochs: Vec::new(), verdict: Verdict::Again }, &self.limits, now);
        Ok(Start::Settled)
    }
}

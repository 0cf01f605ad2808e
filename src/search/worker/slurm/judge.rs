//! What becomes of the trials that run: what their folders tell, and what Slurm tells where they do not.

use std::{collections::HashMap, time::Instant};

use super::{
    Ask, Running, Slurm,
    arrays::Job,
    queue::{self, Line, Over, State},
};
use crate::{
    learn::record::Fault,
    search::worker::{End, Report, ended},
};

/// Looks at the queue that must find a job over, or gone, before its folder is taken to have nothing more to tell: a file system
/// over a network may show late what is there.
const SILENT: usize = 3;
/// Exit codes of a shell from here on are signals.
const SIGNALS: i32 = 128;

impl Slurm {
    /// Takes up the words of trials that are over.
    pub(super) fn listen(&mut self) {
        for over in self.work.take_ended() {
            let Some(running) = self.slot_of.get(&over.attempt).and_then(|slot| self.running[*slot].as_mut()) else {
                continue;
            };
            let left = running.attempt.best(&running.key);
            let end = match (over.code, left) {
                (code, Some(left)) if code > SIGNALS => {
                    // The system of that node says nothing of memory here; Slurm does, where it is asked.
                    ended::by_signal(code - SIGNALS, false, &left)
                }
                (code, Some(left)) => ended::with_code(code, &left),
                (code, None) => {
                    End::Broken(Fault::Machine, format!("its job ended with exit code {code} before it began"))
                }
            };
            running.has_word = true;
            if over.code == SIGNALS + libc::SIGKILL {
                // Slurm knows whether for want of memory.
                running.killed = Some(end);
            } else {
                running.end.get_or_insert(end);
            }
        }
    }

    /// Reports that a trial began, and its new epochs.
    pub(super) fn look_at(&mut self, slot: usize, reports: &mut Vec<(usize, Report)>) {
        let may_tell = |running: &&mut Running| running.is_running || running.has_begun || running.end.is_some();
        let Some(running) = self.running[slot].as_mut().filter(may_tell) else { return };
        let Some(start) = running.attempt.best(&running.key) else { return };
        // One that has ended before anybody looked began at a moment that nobody here knows.
        let is_new = !running.has_begun && running.end.is_none();
        if is_new && start.read_record().is_ok_and(|record| record.host.is_some()) {
            running.has_begun = true;
            reports.push((slot, Report::Began));
        }
        // A row that cannot be read now is read with the trial's end.
        let rows = start.read_epochs().unwrap_or_default();
        let new = rows.into_iter().skip(running.epochs_seen).map(|row| (slot, Report::Epoch(row)));
        let before = reports.len();
        reports.extend(new);
        running.epochs_seen += reports.len() - before;
    }

    /// Takes up what the queue shows, as it was asked for at that moment.
    pub(super) fn seen(&mut self, lines: &[Line], asked: Instant) {
        self.find_batches(lines, asked);
        let mut states: HashMap<(u64, usize), (State, &str)> = HashMap::new();
        let mut held = None;
        for line in lines {
            if line.state == State::Pending {
                held = held.or(queue::never_begins(&line.reason).map(|why| (line, why)));
            }
            for task in line.tasks.iter().flat_map(|(first, last)| *first..=*last) {
                // An array that was submitted twice has its tasks twice; what is alive of them tells.
                let known = states.entry((line.number, task)).or_insert((line.state, &line.reason));
                if line.state < known.0 {
                    *known = (line.state, &line.reason);
                }
            }
        }
        if let Some((line, why)) = held {
            self.trouble = Some(format!("job {} waits and cannot begin ({}): {why}", line.job, line.reason));
        }
        for slot in 0..self.slots.len() {
            let Some(task) = self.running[slot].as_ref().and_then(|running| running.task) else { continue };
            if let Some(Job::Known(_)) = self.batches.get(&task.0).map(|batch| &batch.job) {
                self.seen_one(slot, states.get(&task).copied());
            }
        }
    }

    /// Learns which arrays Slurm has of which nobody knew.
    fn find_batches(&mut self, lines: &[Line], asked: Instant) {
        let jobs: HashMap<u64, &str> = lines.iter().map(|line| (line.number, line.job.as_str())).collect();
        for (number, batch) in &mut self.batches {
            if let Job::Unknown(since) = batch.job {
                match jobs.get(number) {
                    Some(job) => batch.job = Job::Known(job.to_string()),
                    None if asked > since => batch.job = Job::Later(Instant::now() + super::AGAIN),
                    None => {}
                }
            }
        }
    }

    fn seen_one(&mut self, slot: usize, seen: Option<(State, &str)>) {
        let Some(running) = self.running[slot].as_mut().filter(|running| running.end.is_none()) else { return };
        match seen {
            Some((State::Pending, reason)) if queue::is_launch_failure(reason) => {
                let why = "Slurm could not start its job on a node (launch failed)".to_string();
                running.end = Some(End::Broken(Fault::Machine, why));
            }
            Some((State::Pending, _)) if running.is_running || running.has_begun => {
                (running.is_running, running.silent) = (false, 0);
                // A node that was lost, or cut off, may have ended the training before.
                if running.attempt.is_whole(&running.key) {
                    running.end = Some(End::Exited("ended".into()));
                } else if std::mem::take(&mut running.has_begun) {
                    self.requeued.push(slot);
                }
            }
            Some((State::Pending, _)) => running.silent = 0,
            Some((State::Running, _)) => (running.is_running, running.silent) = (true, 0),
            Some((State::Ending, _)) => {}
            Some((State::Over(over), reason)) => {
                running.silent += 1;
                let is_patient = running.silent < SILENT && over != Over::OutOfMemory;
                if !is_patient && running.asked_for_exit.is_none() {
                    self.judge_silent(slot, over, reason.to_string());
                }
            }
            None => {
                running.silent += 1;
                if running.silent >= SILENT {
                    self.judge_silent(slot, Over::Other, "gone from the queue".into());
                }
            }
        }
    }

    /// Judges a trial whose job is over without a word of its own.
    fn judge_silent(&mut self, slot: usize, over: Over, reason: String) {
        let Some(running) = self.running[slot].as_mut() else { return };
        let task = running.task;
        if running.attempt.is_whole(&running.key) {
            running.end = Some(End::Exited("ended".into()));
            return;
        }
        match (over, self.job_of(task)) {
            (Over::Failed | Over::Other, Some(job)) => {
                self.control.ask(Ask::Exit(job));
                if let Some(running) = &mut self.running[slot] {
                    running.asked_for_exit = Some((over, reason));
                }
            }
            _ => self.end_by_slurm(slot, queue::end(over, &reason, None)),
        }
    }

    /// Takes up how a job ended, by accounting where that knows more than the queue.
    pub(super) fn exited(&mut self, job: &str, accounted: Option<Over>, exit: Option<&str>) {
        let is_it = |slot: &usize| {
            let running = self.running[*slot].as_ref().filter(|running| running.asked_for_exit.is_some());
            running.is_some_and(|running| self.job_of(running.task).as_deref() == Some(job))
        };
        let Some(slot) = (0..self.slots.len()).find(is_it) else { return };
        let asked = self.running[slot].as_mut().and_then(|running| running.asked_for_exit.take());
        if let Some((over, reason)) = asked {
            self.end_by_slurm(slot, queue::end(accounted.unwrap_or(over), &reason, exit));
        }
    }

    /// Ends a trial as Slurm says; one that had too little memory gets twice as much, once.
    fn end_by_slurm(&mut self, slot: usize, end: End) {
        if let Some(running) = &mut self.running[slot] {
            let is_of_memory = matches!(end, End::Broken(Fault::Memory, _));
            if is_of_memory {
                self.doubled.insert(running.key.clone());
            }
            let killed = running.killed.take().filter(|_| !is_of_memory);
            running.end.get_or_insert(killed.unwrap_or(end));
        }
    }

    /// Brings home what a trial left, and reports its end. Where it cannot be brought home, it is tried again.
    pub(super) fn bring_home(&mut self, slot: usize, reports: &mut Vec<(usize, Report)>) {
        self.look_at(slot, reports);
        let Some(running) = &self.running[slot] else { return };
        if running.task.is_some() && self.far.as_ref().is_some_and(|far| !far.has_whole(&running.name)) {
            // The next round brings it here.
            return;
        }
        if let Err(error) = running.attempt.bring_home(&running.key, &running.folder) {
            self.trouble = Some(format!("{error:#}"));
            return;
        }
        let Some(running) = self.running[slot].take() else { return };
        self.slot_of.remove(&running.name);
        self.outbox.retain(|waiting| *waiting != slot);
        running.attempt.remove();
        self.far.iter_mut().for_each(|far| far.removed(&running.name));
        // Its job may still be there: it waits, or trains on a node that nobody reaches.
        self.to_cancel.extend(self.job_of(running.task).filter(|_| !running.has_word));
        self.close(running.task);
        reports.extend(running.end.map(|end| (slot, Report::Ended(end))));
    }

    /// Forgets an array of which all tasks are over.
    fn close(&mut self, task: Option<(u64, usize)>) {
        let Some((number, _)) = task else { return };
        if let Some(batch) = self.batches.get_mut(&number) {
            batch.open = batch.open.saturating_sub(1);
            if batch.open == 0 {
                self.batches.remove(&number);
                self.work.remove_batch(number);
            }
        }
    }
}

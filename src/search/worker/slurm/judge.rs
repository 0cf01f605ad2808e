//! What becomes of the trials that run: what their folders tell, and what Slurm tells where they do not.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use super::{
    Ask, Running, Slurm,
    arrays::Job,
    queue::{self, Line, Over, State, Told},
    work::Word,
};
use crate::{
    learn::record::Fault,
    search::worker::{End, Report, STOPPED, ended},
};

/// Looks at the queue that must find a job over, or gone, before its folder is taken to have nothing more to tell: a file system
/// over a network may show late what is there.
const SILENT: usize = 3;
/// As long as what a start left may take to show after its word: a file system over a network keeps a listing for half a minute.
const WORD: Duration = Duration::from_secs(40);
/// Exit code of our script where it cannot lay out a start.
const EARLY: i32 = 66;
/// Trials whose starts failed early on a node, from which on it gets no more.
const TOO_EARLY: usize = 3;
/// Exit codes of a shell from here on are signals.
const SIGNALS: i32 = 128;

impl Slurm {
    /// Takes up the words of trials that are over.
    pub(super) fn listen(&mut self) {
        let heard = self.work.take_ended().into_iter().map(|word| (word, Instant::now()));
        for (word, since) in std::mem::take(&mut self.words).into_iter().chain(heard) {
            if !self.hear(&word, since.elapsed() < WORD) {
                self.words.push((word, since));
            }
        }
    }

    /// Takes up the word of a start, if what it left shows yet, or never will.
    fn hear(&mut self, word: &Word, may_show: bool) -> bool {
        let Some(slot) = self.slot_of.get(&word.attempt).copied() else { return true };
        let Some(running) = self.running[slot].as_mut() else { return true };
        let is_whole = running.attempt.is_whole(&running.key);
        let is_before = running.requeued_after.is_some_and(|last| word.restart <= last)
            || running.attempt.numbers().last().is_some_and(|last| word.restart < *last);
        // Of one that has another start, that one's job is left.
        running.has_word = !is_before;
        if is_before && !is_whole {
            // A node that was cut off came back: its job goes on in another start.
            return true;
        }
        let own = running.attempt.start(word.restart);
        let shows = match word.code {
            0 => is_whole || matches!(own.read_end(&running.key), Ok(Some(_))),
            code => is_whole || code == EARLY || own.path.is_dir(),
        };
        if !shows && may_show {
            return false;
        }
        if matches!(word.code, 0 | STOPPED) && !word.node.is_empty() {
            self.failed_early.remove(&word.node);
            self.proven.insert(word.node.clone());
        }
        let end = match word.code {
            EARLY => self.early(slot, &word.node, "its job could not read or write the work folder"),
            code if !own.path.is_dir() => {
                End::Broken(Fault::Machine, format!("its job ended with exit code {code} before it began"))
            }
            // The system of that node says nothing of memory here; Slurm does, where it is asked.
            code if code > SIGNALS => ended::by_signal(code - SIGNALS, false, &own),
            code => ended::with_code(code, &own),
        };
        let Some(running) = self.running[slot].as_mut() else { return true };
        if word.code == SIGNALS + libc::SIGKILL {
            // Slurm knows whether for want of memory.
            running.killed = Some(end);
        } else {
            running.end.get_or_insert(end);
        }
        true
    }

    /// The end of a start that failed on a node before it trained. A node on which those of several trials did gets no more jobs.
    fn early(&mut self, slot: usize, node: &str, why: &str) -> End {
        let Some(running) = &self.running[slot] else { return End::Killed };
        if node.is_empty() {
            return End::Broken(Fault::Machine, why.into());
        }
        self.proven.remove(node);
        let trials = self.failed_early.entry(node.into()).or_default();
        trials.insert(running.key.clone());
        let then = match trials.len() >= TOO_EARLY {
            true => ", as those of others there: that node gets no more of this sweep, if another trains",
            false => "",
        };
        End::Broken(Fault::Machine, format!("{why} (on {node}{then})"))
    }

    /// Nodes that get no more jobs. Where starts fail on all of them, it is not for a node's sake.
    pub(super) fn excluded(&self) -> Vec<String> {
        if self.proven.is_empty() {
            return Vec::new();
        }
        self.failed_early.iter().filter(|(_, trials)| trials.len() >= TOO_EARLY).map(|(node, _)| node.clone()).collect()
    }

    /// Reports that a trial began, and its new epochs.
    pub(super) fn look_at(&mut self, slot: usize, reports: &mut Vec<(usize, Report)>) {
        let may_tell = |running: &&mut Running| running.is_running || running.has_begun || running.end.is_some();
        let Some(running) = self.running[slot].as_mut().filter(may_tell) else { return };
        running.note_start();
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
        self.cancel_strays(lines);
        let mut states: HashMap<(u64, usize), (State, &str)> = HashMap::new();
        for line in lines {
            for task in line.tasks.iter().flat_map(|(first, last)| *first..=*last) {
                // An array that was submitted twice has its tasks twice; what is alive of them tells.
                let known = states.entry((line.number, task)).or_insert((line.state, &line.reason));
                if line.state < known.0 {
                    *known = (line.state, &line.reason);
                }
            }
        }
        let own = lines.iter().filter(|line| self.batches.contains_key(&line.number));
        self.trouble = queue::stuck(own);
        for slot in 0..self.slots.len() {
            let Some(task) = self.running[slot].as_ref().and_then(|running| running.task) else { continue };
            if let Some(Job::Known(_)) = self.batches.get(&task.0).map(|batch| &batch.job) {
                self.seen_one(slot, states.get(&task).copied(), asked);
            }
        }
    }

    /// Ends jobs that train what nobody wants any more: those that an earlier explorer could not end, and those of an array that was
    /// submitted twice. One that has just ended by itself is seen only once.
    fn cancel_strays(&mut self, lines: &[Line]) {
        let is_wanted = |number: u64, task: usize| {
            let batch = self.batches.get(&number);
            batch.and_then(|batch| batch.attempts.get(task)).is_some_and(|name| self.slot_of.contains_key(name))
        };
        let tasks = lines.iter().filter(|line| line.is_alive()).flat_map(|line| {
            let tasks = line.tasks.iter().flat_map(|(first, last)| *first..=*last);
            tasks.filter(|task| !is_wanted(line.number, *task)).map(|task| format!("{}_{task}", line.job))
        });
        let strays: BTreeSet<String> = tasks.collect();
        self.to_cancel.extend(strays.intersection(&self.strays).cloned());
        self.strays = strays;
    }

    /// Learns which arrays Slurm has of which nobody knew.
    fn find_batches(&mut self, lines: &[Line], asked: Instant) {
        let jobs: HashMap<u64, &str> = lines.iter().map(|line| (line.number, line.job.as_str())).collect();
        for (number, batch) in &mut self.batches {
            if let Job::Unknown(since) = batch.job {
                match jobs.get(number) {
                    Some(job) => {
                        batch.job = Job::Known(job.to_string());
                        self.refused = None;
                    }
                    None if asked > since => batch.job = Job::Later(Instant::now() + super::AGAIN),
                    None => {}
                }
            }
        }
    }

    fn seen_one(&mut self, slot: usize, seen: Option<(State, &str)>, asked: Instant) {
        // What a word says is known once what its start left shows.
        let is_open = |running: &&mut Running| running.end.is_none() && (!running.has_word || running.killed.is_some());
        let Some(running) = self.running[slot].as_mut().filter(is_open) else { return };
        match seen {
            Some((State::Pending, reason)) if queue::is_launch_failure(reason) => {
                let why = "Slurm could not start its job on a node (launch failed)".to_string();
                running.end = Some(End::Broken(Fault::Machine, why));
            }
            Some((State::Pending, _)) if running.is_running || running.has_begun => {
                (running.is_running, running.silent) = (false, 0);
                running.waited(asked);
                // A node that was lost, or cut off, may have ended the training before.
                if running.attempt.is_whole(&running.key) {
                    running.end = Some(End::Exited("ended".into()));
                } else if std::mem::take(&mut running.has_begun) {
                    self.requeued.push(slot);
                }
            }
            Some((State::Pending, _)) => {
                running.silent = 0;
                running.waited(asked);
            }
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

    /// Takes up how a job ended, as Slurm tells it of the job alone, or accounting.
    pub(super) fn exited(&mut self, job: &str, told: &Told) {
        let is_it = |slot: &usize| {
            let running = self.running[*slot].as_ref().filter(|running| running.asked_for_exit.is_some());
            running.is_some_and(|running| self.job_of(running.task).as_deref() == Some(job))
        };
        let Some(slot) = (0..self.slots.len()).find(is_it) else { return };
        let asked = self.running[slot].as_mut().and_then(|running| running.asked_for_exit.take());
        let Some((over, reason)) = asked else { return };
        if told.is_alive {
            // The queue does not show it, or shows another's.
            self.running[slot].iter_mut().for_each(|running| running.silent = 0);
            return;
        }
        let mut end = queue::end(told.over.unwrap_or(over), &reason, told.exit.as_deref());
        if told.exit.as_deref().is_some_and(queue::is_early)
            && let End::Broken(Fault::Machine, why) = &end
        {
            end = self.early(slot, told.node.as_deref().unwrap_or_default(), why);
        }
        self.end_by_slurm(slot, end);
    }

    /// Ends a trial as Slurm says.
    fn end_by_slurm(&mut self, slot: usize, end: End) {
        if let Some(running) = &mut self.running[slot] {
            let is_of_memory = matches!(end, End::Broken(Fault::Memory, _));
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
        if matches!(running.end, Some(End::Broken(Fault::Memory, _))) {
            self.doubled.insert(running.key.clone());
        }
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

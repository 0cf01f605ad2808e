//! Arrays of jobs: gathered, written, submitted, and submitted again where Slurm turns out not to have them.

use std::{fmt::Write, time::Instant};

use anyhow::Result;

use super::{AGAIN, Array, Ask, GATHER, Need, Slurm, Work, WorkFolder, queue::Refusal, script};
use crate::{
    base::files::{name, write_atomically},
    learn::record::Fault,
    search::worker::End,
};

/// An array.
pub(super) struct Batch {
    /// Names of its attempts; which of them are not over.
    pub attempts: Vec<String>,
    pub open: usize,
    pub job: Job,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// Told to Slurm, which did not answer yet.
    Asked,
    /// Nobody knows whether Slurm has it: known by the first look at the queue after this moment.
    Unknown(Instant),
    /// To be submitted after this moment.
    Later(Instant),
    Known(String),
}

impl Slurm {
    /// Writes arrays of what was gathered, and submits them.
    pub(super) fn submit(&mut self) {
        // Where Slurm took less than it was given, it is asked for one array after the other.
        let is_careful = self.at_most < self.site.most_tasks;
        let is_asked = |batch: &Batch| !matches!(batch.job, Job::Known(_));
        if self.gathering.is_none_or(|since| since.elapsed() < GATHER)
            || is_careful && self.batches.values().any(is_asked)
        {
            return;
        }
        self.gathering = None;
        let need = |slot: &usize| self.running[*slot].as_ref().filter(|of| of.task.is_none()).map(|of| of.need);
        let (slots, needs): (Vec<usize>, Vec<Need>) =
            std::mem::take(&mut self.outbox).into_iter().filter_map(|slot| Some((slot, need(&slot)?))).unzip();
        let arrays: Vec<Vec<usize>> =
            arrays(&needs, self.at_most).iter().map(|of| of.iter().map(|at| slots[*at]).collect()).collect();
        for (at, array) in arrays.iter().enumerate() {
            let written = self.write_array(array);
            let rest = &arrays[at + usize::from(written.is_ok())..];
            if written.is_ok() && (!is_careful || rest.is_empty()) {
                continue;
            }
            self.outbox = rest.concat();
            self.gathering = Some(Instant::now());
            if let Err(error) = written {
                self.trouble = Some(format!("{error:#}"));
                self.gathering = Some(Instant::now() + AGAIN);
            }
            return;
        }
    }

    /// Writes an array of trials that need the same.
    fn write_array(&mut self, slots: &[usize]) -> Result<()> {
        let number = self.next;
        let mut lines = String::new();
        let mut attempts = Vec::new();
        let mut need = Need { mebibytes: None, time: None };
        for slot in slots {
            let Some(running) = &self.running[*slot] else { continue };
            need = running.need;
            lines += &format!("{}{}\n", running.name, running.arguments);
            attempts.push(running.name.clone());
        }
        let array = Array {
            profile: &self.profile,
            name: &self.name,
            work: &self.there,
            number,
            tasks: attempts.len(),
            need,
            exclude: &self.excluded(),
            program: &self.program,
            arguments: &self.arguments,
        };
        self.work.write_batch(number, &lines, &script(&array))?;
        self.next += 1;
        for (task, slot) in slots.iter().enumerate() {
            self.running[*slot].iter_mut().for_each(|running| running.task = Some((number, task)));
        }
        self.control.ask(Ask::Submit(number, attempts.len()));
        self.batches.insert(number, Batch { open: attempts.len(), attempts, job: Job::Asked });
        Ok(())
    }

    /// What an attempt is told beside what all are told.
    pub(super) fn arguments_of(&self, work: &Work) -> String {
        let mut text = String::new();
        if work.epochs < work.config.train.epochs {
            let _ = write!(text, " --until-epoch {}", work.epochs);
        }
        let there = WorkFolder::beginnings_in(&self.there);
        for (option, beginnings) in [("--begin-from", work.shared.from), ("--leave", work.shared.leave)] {
            for beginning in beginnings {
                let file = there.join(name(&beginning.path));
                // The folder of work has no blanks in its path.
                let _ = write!(text, " {option} {}={}", beginning.epochs, file.display());
            }
        }
        text
    }

    /// Takes up that Slurm took an array, or why it did not.
    pub(super) fn submitted(&mut self, number: u64, job: Result<String, Refusal>) {
        let Some(batch) = self.batches.get_mut(&number) else { return };
        match job {
            Ok(job) => {
                // For who looks there by hand.
                let _ = write_atomically(&self.work.batch(number).join("job"), job.as_bytes());
                batch.job = Job::Known(job);
                self.refused = None;
                self.at_most = (2 * self.at_most).min(self.site.most_tasks);
            }
            Err(Refusal::Passing(said)) => {
                batch.job = Job::Unknown(Instant::now());
                self.refused = Some(format!("Slurm does not take jobs: {said}"));
            }
            Err(Refusal::TooMany(said)) => self.take_apart(number, said),
            Err(Refusal::Lasting(said)) if !self.failed_early.is_empty() => {
                // The nodes that are left may be too small.
                self.failed_early.clear();
                self.take_apart(number, said);
            }
            Err(Refusal::Lasting(said)) => {
                let end = End::Broken(Fault::Machine, format!("Slurm refused its job: {said}"));
                for name in batch.attempts.clone() {
                    if let Some(running) = self.slot_of.get(&name).and_then(|slot| self.running[*slot].as_mut()) {
                        running.end.get_or_insert(end.clone());
                    }
                }
            }
        }
    }

    /// Has the trials of an array that was too large submitted again, in smaller ones; a single one when others have ended.
    fn take_apart(&mut self, number: u64, said: String) {
        let Some(batch) = self.batches.remove(&number) else { return };
        self.work.remove_batch(number);
        for slot in batch.attempts.iter().filter_map(|name| self.slot_of.get(name)) {
            self.running[*slot].iter_mut().for_each(|running| running.task = None);
            self.outbox.push(*slot);
        }
        self.at_most = (batch.attempts.len() / 2).max(1);
        let waits = batch.attempts.len() == 1;
        self.gathering = Some(if waits { Instant::now() + AGAIN } else { Instant::now() });
        // As long as jobs of ours are left, that one of them ends is all that is waited for.
        if waits && self.batches.is_empty() {
            self.refused = Some(format!("Slurm takes no more jobs for now: {said}"));
        }
    }

    /// Submits again what Slurm turned out not to have.
    pub(super) fn submit_again(&mut self) {
        for (number, batch) in &mut self.batches {
            if matches!(batch.job, Job::Later(after) if Instant::now() >= after) {
                batch.job = Job::Asked;
                self.control.ask(Ask::Submit(*number, batch.attempts.len()));
            }
        }
    }

    /// The job of a task, as `scancel` takes it.
    pub(super) fn job_of(&self, task: Option<(u64, usize)>) -> Option<String> {
        let (number, index) = task?;
        match &self.batches.get(&number)?.job {
            Job::Known(job) => Some(format!("{job}_{index}")),
            _ => None,
        }
    }
}

/// Arrays of what needs so much, by their places: those of one need together, in order, and at most so many in one.
pub(super) fn arrays(needs: &[Need], most: usize) -> Vec<Vec<usize>> {
    let mut alike: Vec<(Need, Vec<usize>)> = Vec::new();
    for (at, need) in needs.iter().enumerate() {
        match alike.iter_mut().find(|(of, _)| of == need) {
            Some((_, places)) => places.push(at),
            None => alike.push((*need, vec![at])),
        }
    }
    alike.iter().flat_map(|(_, places)| places.chunks(most.max(1)).map(<[usize]>::to_vec)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_that_need_the_same_share_arrays_up_to_what_a_site_takes() {
        let need = |mebibytes| Need { mebibytes: Some(mebibytes), time: None };
        let needs = [1, 2, 1, 1, 2].map(need);
        assert_eq!(arrays(&needs, 2), [vec![0, 2], vec![3], vec![1, 4]]);
        assert!(arrays(&[], 2).is_empty());
    }
}

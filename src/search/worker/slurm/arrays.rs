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
    /// Writes arrays of what was gathered, one for each need, and submits them.
    pub(super) fn submit(&mut self) {
        if self.gathering.is_none_or(|since| since.elapsed() < GATHER) {
            return;
        }
        self.gathering = None;
        let mut waiting = std::mem::take(&mut self.outbox);
        waiting.retain(|slot| self.running[*slot].as_ref().is_some_and(|running| running.task.is_none()));
        while let Some(need) = waiting.first().and_then(|slot| self.running[*slot].as_ref()).map(|running| running.need)
        {
            let is_like = |slot: &usize| self.running[*slot].as_ref().is_some_and(|running| running.need == need);
            let (mut alike, others): (Vec<usize>, Vec<usize>) = waiting.into_iter().partition(is_like);
            let rest = alike.split_off(alike.len().min(self.most_tasks));
            waiting = rest.into_iter().chain(others).collect();
            if let Err(error) = self.write_array(&alike, need) {
                self.trouble = Some(format!("{error:#}"));
                self.outbox.extend(alike);
                self.outbox.append(&mut waiting);
                self.gathering = Some(Instant::now() + AGAIN);
                return;
            }
        }
    }

    fn write_array(&mut self, slots: &[usize], need: Need) -> Result<()> {
        let number = self.next;
        let mut lines = String::new();
        let mut attempts = Vec::new();
        for slot in slots {
            let Some(running) = &self.running[*slot] else { continue };
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
            program: &self.program,
            arguments: &self.arguments,
        };
        self.work.write_batch(number, &lines, &script(&array))?;
        self.next += 1;
        for (task, slot) in slots.iter().enumerate() {
            self.running[*slot].iter_mut().for_each(|running| running.task = Some((number, task)));
        }
        self.control.ask(Ask::Submit(number));
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
                self.trouble = None;
            }
            Err(Refusal::Passing(said)) => {
                batch.job = Job::Unknown(Instant::now());
                self.trouble = Some(format!("Slurm does not take jobs: {said}"));
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

    /// Submits again what Slurm turned out not to have.
    pub(super) fn submit_again(&mut self) {
        for (number, batch) in &mut self.batches {
            if matches!(batch.job, Job::Later(after) if Instant::now() >= after) {
                batch.job = Job::Asked;
                self.control.ask(Ask::Submit(*number));
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

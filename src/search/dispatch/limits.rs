//! What a sweep may take: time, memory, failures, attempts.

use std::time::{Duration, SystemTime};

use super::{GpuMemory, sweep::Running};
use crate::base::device::Place;

/// The limits of a sweep.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Further attempts of a trial that failed by the machine's fault.
    pub retries: usize,
    /// Time before the first of them; twice as long before each further one.
    pub backoff: Duration,
    /// Failures that end the sweep.
    pub failures: Option<MaxFailures>,
    /// Wall time of one attempt of a trial.
    pub timeout: Option<Duration>,
    /// When nothing may run any more.
    pub deadline: Option<SystemTime>,
    /// Time that trials have to write a checkpoint and end, when the sweep stops.
    pub grace: Duration,
    pub memory: Option<Memory>,
    /// Of the GPUs that trials run on.
    pub gpu_memory: Option<GpuMemory>,
    /// Trials that ended in earlier sweeps of the same exploration, and those of them that failed: these count, too.
    pub ended_before: usize,
    pub failed_before: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            retries: 2,
            backoff: Duration::from_secs(5),
            failures: None,
            timeout: None,
            deadline: None,
            grace: Duration::from_secs(60),
            memory: None,
            gpu_memory: None,
            ended_before: 0,
            failed_before: 0,
        }
    }
}

/// Failed trials that are too many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxFailures {
    Count(usize),
    /// Of the trials that ended, once there are enough of them to judge by.
    Share(f64),
}

impl MaxFailures {
    /// Trials that must have ended before a share counts.
    pub const LEAST: usize = 10;

    /// Whether `failed` of `ended` trials are too many.
    pub fn reached(self, failed: usize, ended: usize) -> bool {
        match self {
            MaxFailures::Count(most) => failed >= most,
            MaxFailures::Share(most) => ended >= Self::LEAST && failed as f64 >= most * ended as f64,
        }
    }
}

/// One trial that took far more than expected is no reason to let all others run one by one.
const LARGEST_CORRECTION: f64 = 2.0;

/// Memory that trials share, and what each is expected to take of it at its peak.
#[derive(Clone, Debug)]
pub struct Memory {
    pub bytes: u64,
    /// Of each trial on CPU cores.
    pub expected: Vec<u64>,
    /// Of each trial on a GPU, whose memory is another.
    beside_gpu: Vec<u64>,
    /// The largest ratio of measured to expected so far.
    correction: f64,
}

/// What memory has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// The most trials that run at once: at least 1, as what runs alone always may.
    pub at_once: usize,
    /// Trials that are expected to take more than all of it.
    pub too_large: usize,
    /// Bytes that the largest trial is expected to take.
    pub largest: u64,
}

impl Memory {
    /// What trials on CPU cores take; those on GPUs are taken to take nothing.
    pub fn new(bytes: u64, expected: Vec<u64>) -> Memory {
        Memory { bytes, beside_gpu: vec![0; expected.len()], expected, correction: 0.0 }
    }

    /// The same, with what trials on GPUs take.
    pub fn beside_gpus(self, beside_gpu: Vec<u64>) -> Memory {
        Memory { beside_gpu, ..self }
    }

    /// How many of `trials` fit at once at most, where they run on devices like `places`; each on that which takes least of
    /// this memory.
    pub fn fit(&self, trials: &[usize], places: &[Place]) -> Fit {
        let least = |trial: &usize| places.iter().map(|place| self.of(*trial, *place)).fold(f64::INFINITY, f64::min);
        let mut expected: Vec<f64> = trials.iter().map(least).collect();
        expected.sort_by(f64::total_cmp);
        let together = expected.iter().scan(0.0, |sum, bytes| {
            *sum += bytes;
            Some(*sum)
        });
        let at_once = together.take_while(|sum| *sum <= self.bytes as f64).count().max(1);
        let too_large = expected.iter().filter(|bytes| **bytes > self.bytes as f64).count();
        Fit { at_once, too_large, largest: expected.last().map_or(0, |bytes| *bytes as u64) }
    }

    fn of(&self, trial: usize, place: Place) -> f64 {
        if !place.is_cpu() {
            return self.beside_gpu[trial] as f64;
        }
        let correction = if self.correction > 0.0 { self.correction } else { 1.0 };
        self.expected[trial] as f64 * correction
    }
}

impl Limits {
    /// Seconds until the deadline; below 0 after it.
    pub(super) fn seconds_left(&self) -> Option<f64> {
        let now = SystemTime::now();
        self.deadline.map(|deadline| match deadline.duration_since(now) {
            Ok(left) => left.as_secs_f64(),
            Err(over) => -over.duration().as_secs_f64(),
        })
    }

    /// Whether `trial` fits beside what runs. What runs alone always does: it could not have more.
    pub(super) fn has_memory<'a>(
        &self,
        running: impl Iterator<Item = &'a Running>,
        trial: usize,
        place: Place,
    ) -> bool {
        let Some(memory) = &self.memory else { return true };
        let taken: Vec<f64> = running.map(|running| memory.of(running.trial, running.place)).collect();
        taken.is_empty() || taken.iter().sum::<f64>() + memory.of(trial, place) <= memory.bytes as f64
    }

    /// Takes up what a trial on CPU cores really took at its peak.
    pub(super) fn learn(&mut self, trial: usize, peak_bytes: Option<u64>) {
        if let (Some(memory), Some(peak)) = (&mut self.memory, peak_bytes) {
            let ratio = peak as f64 / memory.expected[trial].max(1) as f64;
            memory.correction = memory.correction.max(ratio.min(LARGEST_CORRECTION));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_room_for_the_smallest_trials_at_once_and_always_for_one() {
        let gpu: Place = "cuda:0".parse().unwrap();
        let memory = Memory::new(100, vec![60, 30, 50, 120]).beside_gpus(vec![5, 5, 5, 5]);
        let fit = |trials: &[usize], places: &[Place]| {
            let Fit { at_once, too_large, largest } = memory.fit(trials, places);
            (at_once, too_large, largest)
        };
        assert_eq!(fit(&[0, 1, 2, 3], &[Place::Cpu]), (2, 1, 120));
        assert_eq!(fit(&[0, 2], &[Place::Cpu]), (1, 0, 60));
        assert_eq!(fit(&[3], &[Place::Cpu]), (1, 1, 120));
        assert_eq!(fit(&[0, 1, 2, 3], &[Place::Cpu, gpu]), (4, 0, 5));
    }
}

//! The times of a study's trainings confirmed: what is timed first, how long, and in how many visits before a deadline.

use std::{
    collections::HashMap,
    ffi::OsString,
    sync::atomic::AtomicBool,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};

use crate::{
    base::{
        device::{Gpu, Place},
        machine,
    },
    learn::config::TrialConfig,
    search::{
        study::{Lock, Study},
        worker::{Slots, Tasks},
    },
    timing::{
        rounds::{self, Child, Clock, Confirmed, EndReason, Request},
        sets::Fingerprint,
        shape::{shapes, steps_of},
    },
};

/// Share of the time of its sweep that the confirmation of a study may take, but for the bounds: a sample of that length
/// has half as much before it that is not counted.
pub const OF_SWEEP: f64 = 0.2;
/// Bounds of a sample's length, in seconds: of short steps 20 ms are dozens, and more than half a second tells no more.
const SAMPLE: (f64, f64) = (0.02, 0.5);
/// A sample takes about as long before it as it is long, with what makes its network and looks at the machine.
const OF_SAMPLE: f64 = 2.0;
/// Bounds of the patience after a sweep, in seconds; it is as long as the sweep took.
const PATIENCE: (f64, f64) = (10.0, 600.0);
/// The least patience where the sweep had nothing left to train: what it took says nothing then.
const PATIENCE_ALONE: f64 = 60.0;
/// The most of the time before a deadline that a sweep leaves for confirming.
const LEFT: f64 = 0.1;

/// When a sweep over these configurations is to end, so that there is time to confirm its times in so many rounds before
/// the deadline.
pub fn end_of_sweep(deadline: SystemTime, configs: &[&TrialConfig], rounds: usize) -> SystemTime {
    let left = seconds_until(deadline);
    let samples = (shapes(configs).len() * rounds) as f64;
    let length = (OF_SWEEP * left / samples).clamp(SAMPLE.0, SAMPLE.1);
    let wanted = (OF_SAMPLE * samples * length).min(LEFT * left);
    deadline.checked_sub(Duration::from_secs_f64(wanted)).unwrap_or(deadline)
}

/// How long to wait for others to leave the machine alone after a sweep that took so long, if it had anything to train.
pub fn patience_after(took: Duration, has_trained: bool) -> Duration {
    let least = if has_trained { PATIENCE.0 } else { PATIENCE_ALONE };
    Duration::from_secs_f64(took.as_secs_f64().clamp(least, PATIENCE.1))
}

fn seconds_until(deadline: SystemTime) -> f64 {
    deadline.duration_since(SystemTime::now()).unwrap_or_default().as_secs_f64()
}

/// The trainings of a study whose times are confirmed, and what is known of their times.
pub struct Trainings<'a> {
    /// Whose steps are timed: those that matter most come first.
    pub configs: Vec<&'a TrialConfig>,
    /// How many of them are timed in a visit of their own where the time is too short for all.
    pub first: usize,
    /// Every training of the study that the sweep timed, and its seconds.
    pub swept: Vec<(&'a TrialConfig, f64)>,
}

/// How the times of a study are confirmed.
pub struct Confirmation<'a> {
    pub study: &'a Study,
    /// Name of the set of times.
    pub name: &'a str,
    /// Forgets what the set held.
    pub anew: bool,
    /// Samples of every kind of step.
    pub rounds: usize,
    /// Of a step on CPU cores; one on a GPU has 1.
    pub threads: usize,
    /// What steps are timed on, and what that is if it is a GPU.
    pub place: Place,
    pub gpu: Option<&'a Gpu>,
    /// Length of a sample where it is given.
    pub sample_seconds: Option<f64>,
    /// Where it is not: the samples of all shapes in all rounds take this share of the wall time of the sweep (what its
    /// trainings took, divided by how many fit on the machine at once), or what is left until the deadline where that is
    /// less; each within 20 ms and half a second.
    pub of_sweep: f64,
    /// For waiting until the machine is idle, and for samples that were disturbed.
    pub patience: Duration,
    pub deadline: Option<SystemTime>,
    /// Once set, it ends.
    pub stop: &'a AtomicBool,
    /// What starts `time-steps`, and what that is told beside what is to be timed.
    pub tasks: &'a dyn Tasks,
    pub arguments: Vec<OsString>,
}

/// What happens meanwhile.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A step has more threads than there are cores.
    CoresShared {
        threads: usize,
        cores: usize,
    },
    VisitBegun,
    Rounds(rounds::Event<'a>),
    /// Whether it came to its end or failed.
    VisitEnded,
}

impl Confirmation<'_> {
    /// Takes the times of the trainings' steps, of a study that is held, in processes of their own. Where the time until the
    /// deadline is too short for all of them, the first ones come first, in a visit of their own.
    ///
    /// Errors: a configuration that the device cannot train; those of [`rounds::take`].
    pub fn take(&self, trainings: &Trainings, lock: &Lock, observer: &mut dyn FnMut(&Event)) -> Result<Confirmed> {
        if self.place.is_cpu() {
            trainings.configs.iter().try_for_each(|config| config.check_for_cpu())?;
        }
        let cores = machine::usable_cores();
        if self.threads() > cores && !self.tasks.is_elsewhere() {
            observer(&Event::CoresShared { threads: self.threads(), cores });
        }
        self.take_by(&mut self.child(), trainings, lock, observer)
    }

    /// The same by another clock.
    pub fn take_by(
        &self,
        clock: &mut dyn Clock,
        trainings: &Trainings,
        _lock: &Lock,
        observer: &mut dyn FnMut(&Event),
    ) -> Result<Confirmed> {
        let sample_seconds = self.sample_seconds(trainings);
        let mut last: Option<Confirmed> = None;
        for configs in self.visits(trainings, sample_seconds) {
            let request = self.request(configs, sample_seconds, last.is_none());
            observer(&Event::VisitBegun);
            let confirmed = rounds::take(&request, clock, &mut |event| observer(&Event::Rounds(*event)));
            observer(&Event::VisitEnded);
            let mut confirmed = confirmed?;
            if let Some(before) = last {
                confirmed.taken += before.taken;
                confirmed.tainted += before.tainted;
                confirmed.moved = confirmed.moved.or(before.moved);
            }
            let is_over = confirmed.ending != EndReason::Finished;
            last = Some(confirmed);
            if is_over {
                break;
            }
        }
        last.context("there is nothing to be timed")
    }

    /// A clock that starts processes, which have the cores of a trial that runs alone.
    fn child(&self) -> Child<'_> {
        let threads = self.threads();
        let slots = if self.place.is_cpu() && !self.tasks.is_elsewhere() {
            Slots::on_cores(1, threads).place(&machine::own_cores())
        } else {
            Vec::new()
        };
        Child {
            tasks: self.tasks,
            threads,
            cores: slots.into_iter().next().map_or(Vec::new(), |slot| slot.cores),
            place: self.place,
            gpu: self.gpu.map(|gpu| gpu.uuid.clone()),
            arguments: self.arguments.clone(),
        }
    }

    fn request<'a>(&'a self, configs: &'a [&'a TrialConfig], sample_seconds: f64, is_first: bool) -> Request<'a> {
        Request {
            study: self.study,
            name: self.name,
            fingerprint: self.gpu.map_or_else(|| Fingerprint::this(self.threads()), Fingerprint::of_gpu),
            anew: self.anew && is_first,
            configs,
            rounds: self.rounds,
            sample_seconds,
            patience: self.patience,
            deadline: self.deadline,
            stop: self.stop,
        }
    }

    fn threads(&self) -> usize {
        if self.place.is_cpu() { self.threads } else { 1 }
    }

    fn seconds_left(&self) -> Option<f64> {
        self.deadline.map(seconds_until)
    }

    /// What is timed in each visit: all at once, but for the first ones alone before where the time is too short. What they
    /// have then is not taken again.
    fn visits<'a>(&self, trainings: &'a Trainings<'a>, sample_seconds: f64) -> Vec<&'a [&'a TrialConfig]> {
        let Trainings { configs, first, .. } = trainings;
        let is_short = self.seconds_left().is_some_and(|left| left < self.cost(trainings, sample_seconds));
        let has_first = is_short && *first > 0 && *first < configs.len();
        has_first.then(|| &configs[..*first]).into_iter().chain([configs.as_slice()]).collect()
    }

    /// About how many seconds all samples take. A long step is taken several times whatever its sample's length.
    fn cost(&self, trainings: &Trainings, sample_seconds: f64) -> f64 {
        // Three steps at least, and two that are not counted.
        const STEPS: f64 = 5.0;
        let mut mean_steps: HashMap<String, f64> = HashMap::new();
        for (config, seconds) in &trainings.swept {
            let steps = steps_of(config, config.train.epochs);
            let count: u64 = steps.iter().map(|(_, count)| count).sum();
            for (shape, _) in steps {
                mean_steps.entry(shape.id()).or_insert(seconds / count.max(1) as f64);
            }
        }
        let of = |id: &String| (STEPS * mean_steps.get(id).copied().unwrap_or(0.0)).max(OF_SAMPLE * sample_seconds);
        self.rounds as f64 * shapes(&trainings.configs).keys().map(of).sum::<f64>()
    }

    /// Length of a sample: see [`Confirmation::of_sweep`].
    fn sample_seconds(&self, trainings: &Trainings) -> f64 {
        if let Some(seconds) = self.sample_seconds {
            return seconds;
        }
        let swept: f64 = trainings.swept.iter().map(|(_, seconds)| seconds).sum();
        let at_once = if self.place.is_cpu() { (machine::usable_cores() / self.threads.max(1)).max(1) } else { 1 };
        let samples = (shapes(&trainings.configs).len() * self.rounds).max(1) as f64;
        let fair = self.of_sweep * swept / at_once as f64 / samples;
        let most = self.seconds_left().map_or(f64::INFINITY, |left| left / OF_SAMPLE / samples);
        fair.min(most).clamp(SAMPLE.0, SAMPLE.1)
    }
}

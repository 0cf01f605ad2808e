//! How close a front of some curves is to that of all.

use std::collections::BTreeSet;

use serde::Serialize;

use super::Recording;
use crate::{
    analysis::{Objectives, front, hypervolume},
    base::stats,
};

/// Accuracy below which nothing counts in the hypervolume.
const CHANCE: f64 = 0.1;
/// Share of the whole cost between two looks at the hypervolume.
const LOOKS: f64 = 0.002;

/// A configuration and the epochs of its training: a point.
type Name = (usize, usize);

/// What all curves come to.
pub struct Exhaustive {
    pub objectives: Objectives,
    /// Of training, of all trials.
    pub seconds: f64,
    /// Points on the front.
    pub front: BTreeSet<Name>,
    hypervolume: f64,
    /// The worst time and size: figures of other points are cut there.
    points: Vec<(Name, [f64; 3])>,
    /// Standard error of the difference of two members' mean accuracies; 0 where there is one seed, and none is known.
    noise: f64,
}

/// How close a front is to that of all curves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Reached {
    /// Of its points, by what all their replicates say, as a share of that of all curves.
    pub hypervolume: f64,
    /// Share of the members of the true front that are found, and members that are not of it.
    pub recall: f64,
    pub false_members: usize,
    /// Share of the members of the true front that are found or have a stand-in: a member of the front of what is known that takes
    /// no more (time, parameters) and is no less accurate than by the standard error of the difference of two means.
    pub recall_within_noise: f64,
}

/// A moment of a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Step {
    /// As a share of that of all trials.
    pub cost: f64,
    pub hypervolume: f64,
    pub recall: f64,
    pub recall_within_noise: f64,
    pub same_front: bool,
}

impl Exhaustive {
    pub fn of(recording: &Recording, objectives: Objectives) -> Exhaustive {
        let whole: Vec<usize> = recording.curves.iter().map(|curve| curve.accuracies.len()).collect();
        let points = points(recording, &whole);
        let figures: Vec<[f64; 3]> = points.iter().map(|(_, figures)| *figures).collect();
        let seconds = (recording.trials.iter().zip(&recording.curves))
            .map(|(trial, curve)| until(recording, trial.candidate, curve.accuracies.len()))
            .sum();
        let front: BTreeSet<Name> = front(&figures, objectives).into_iter().map(|at| points[at].0).collect();
        Exhaustive {
            objectives,
            seconds,
            noise: noise(recording, &front),
            front,
            hypervolume: hypervolume(&figures, objectives, CHANCE).map_or(0.0, |of| of.volume),
            points,
        }
    }

    /// Of the front of what is known, so many epochs of each trial.
    pub fn reached(&self, recording: &Recording, known: &[usize]) -> Reached {
        let found = points(recording, known);
        let figures: Vec<[f64; 3]> = found.iter().map(|(_, figures)| *figures).collect();
        let members: BTreeSet<Name> = front(&figures, self.objectives).into_iter().map(|at| found[at].0).collect();
        let hits = members.intersection(&self.front).count();
        // By their true accuracies.
        let truly = |of: &&(Name, [f64; 3])| members.contains(&of.0);
        let mut figures: Vec<[f64; 3]> = self.points.iter().filter(truly).map(|(_, figures)| *figures).collect();
        let stood_for = self.points.iter().filter(|(name, _)| self.front.contains(name));
        let stood_for = stood_for.filter(|(_, of)| figures.iter().any(|by| self.stands_for(by, of))).count();
        // Up to the reference of all: the points that are slowest and largest come along, and are cut away.
        figures.extend(self.worst());
        Reached {
            hypervolume: hypervolume(&figures, self.objectives, CHANCE).map_or(0.0, |of| of.volume) / self.hypervolume,
            recall: hits as f64 / self.front.len().max(1) as f64,
            false_members: members.len() - hits,
            recall_within_noise: stood_for as f64 / self.front.len().max(1) as f64,
        }
    }

    /// Whether a point is as good as a member of the front, as far as its replicates tell.
    fn stands_for(&self, by: &[f64; 3], member: &[f64; 3]) -> bool {
        let is_no_larger = self.objectives == Objectives::TimeAccuracy || by[2] <= member[2];
        by[0] <= member[0] && by[1] >= member[1] - self.noise && is_no_larger
    }

    /// A point of no volume that keeps the reference where all curves have it.
    fn worst(&self) -> Option<[f64; 3]> {
        let finite =
            self.points.iter().map(|(_, figures)| figures).filter(|of| of.iter().all(|value| value.is_finite()));
        let worst = finite.fold([f64::NAN; 3], |worst, of| [worst[0].max(of[0]), 0.0, worst[2].max(of[2])]);
        worst[0].is_finite().then_some(worst)
    }

    /// Configurations on the true front with nothing there that is known.
    pub fn lost(&self, recording: &Recording, known: &[usize]) -> usize {
        let found: BTreeSet<Name> = points(recording, known).into_iter().map(|(name, _)| name).collect();
        let lost = |candidate: &usize| !self.front.iter().any(|of| of.0 == *candidate && found.contains(of));
        self.front.iter().map(|of| of.0).collect::<BTreeSet<_>>().iter().filter(|of| lost(of)).count()
    }
}

/// Standard error of the difference of two mean accuracies, by the spread of the members of a front over their replicates.
fn noise(recording: &Recording, members: &BTreeSet<Name>) -> f64 {
    let variances = members.iter().filter_map(|(candidate, stop)| {
        let of = recording.trials.iter().zip(&recording.curves).filter(|(trial, _)| trial.candidate == *candidate);
        let best = of.map(|(_, curve)| curve.accuracies.iter().take(*stop).copied().fold(0.0, f64::max));
        let best: Vec<f64> = best.collect();
        Some((stats::standard_deviation(&best)?.powi(2), best.len()))
    });
    let of: Vec<f64> = variances.map(|(variance, count)| 2.0 * variance / count as f64).collect();
    stats::mean(&of).map_or(0.0, f64::sqrt)
}

/// Seconds of a trial's first epochs.
fn until(recording: &Recording, candidate: usize, epochs: usize) -> f64 {
    epochs.checked_sub(1).map_or(0.0, |last| recording.costs.seconds[candidate][last])
}

/// All points of which a trial is known: as a study has them.
fn points(recording: &Recording, known: &[usize]) -> Vec<(Name, [f64; 3])> {
    let mut of: Vec<Vec<usize>> = vec![Vec::new(); recording.candidates.len()];
    for (index, trial) in recording.trials.iter().enumerate() {
        of[trial.candidate].push(index);
    }
    let mut points = Vec::new();
    for (candidate, trials) in of.iter().enumerate() {
        let has_diverged = |trial: &usize| {
            let curve = &recording.curves[*trial];
            curve.diverged && known[*trial] >= curve.accuracies.len()
        };
        if trials.iter().any(has_diverged) {
            continue;
        }
        let config = &recording.candidates[candidate].config;
        let mut best: Vec<f64> = vec![0.0; trials.len()];
        let mut before = 0;
        for stop in config.schedule.stops(config.train.epochs) {
            let (mut sum, mut count) = (0.0, 0);
            for (best, trial) in best.iter_mut().zip(trials) {
                if known[*trial] >= stop {
                    let curve = &recording.curves[*trial].accuracies;
                    *best = curve[before..stop].iter().copied().fold(*best, f64::max);
                    (sum, count) = (sum + *best, count + 1);
                }
            }
            before = stop;
            if count == 0 {
                break;
            }
            // Without what depends on the order of the sum, as a study's points.
            let mean = (1e12 * sum / count as f64).round() / 1e12;
            let parameters = recording.costs.parameters[candidate] as f64;
            points.push(((candidate, stop), [until(recording, candidate, stop), mean, parameters]));
        }
    }
    points
}

/// Hypervolume over cost, as a simulation goes.
pub(super) struct Course<'a> {
    recording: &'a Recording,
    exhaustive: &'a Exhaustive,
    pub seconds: f64,
    next: f64,
    pub steps: Vec<Step>,
}

impl Course<'_> {
    pub fn new<'a>(recording: &'a Recording, exhaustive: &'a Exhaustive) -> Course<'a> {
        Course { recording, exhaustive, seconds: 0.0, next: 0.0, steps: Vec::new() }
    }

    /// Takes up an epoch of a trial.
    pub fn take(&mut self, trial: usize, epoch: usize, known: &[usize]) {
        let candidate = self.recording.trials[trial].candidate;
        self.seconds += until(self.recording, candidate, epoch) - until(self.recording, candidate, epoch - 1);
        if self.seconds >= self.next {
            self.look(known);
            self.next = self.seconds + LOOKS * self.exhaustive.seconds;
        }
    }

    fn look(&mut self, known: &[usize]) {
        let Reached { hypervolume, recall, false_members, recall_within_noise } =
            self.exhaustive.reached(self.recording, known);
        let cost = self.seconds / self.exhaustive.seconds;
        let same_front = recall == 1.0 && false_members == 0;
        self.steps.push(Step { cost, hypervolume, recall, recall_within_noise, same_front });
    }

    pub fn finish(mut self, known: &[usize]) -> Self {
        self.look(known);
        self
    }

    /// The cost after which so much of the hypervolume was reached.
    pub fn cost_of(&self, share: f64) -> Option<f64> {
        self.steps.iter().find(|step| step.hypervolume >= share).map(|step| step.cost)
    }

    /// The cost after which so much of the front was found, as far as replicates tell.
    pub fn cost_of_recall(&self, share: f64) -> Option<f64> {
        self.steps.iter().find(|step| step.recall_within_noise >= share).map(|step| step.cost)
    }

    /// The cost from which on the front was that of all curves.
    pub fn cost_of_same_front(&self) -> Option<f64> {
        let same = self.steps.iter().rev().take_while(|step| step.same_front);
        same.last().map(|step| step.cost)
    }
}

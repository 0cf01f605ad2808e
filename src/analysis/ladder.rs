//! From the baseline to a configuration, one optimisation at a time.

use std::collections::{BTreeMap, BTreeSet};

use crate::analysis::{
    Basis, Design, Extent, Point,
    attribution::NoBaseline,
    contrast::{Measured, SpeedUp, accuracy, log_times, speed_up},
    whole,
};

/// Configurations between the baseline and another, each differing from the one before in as little as could be.
#[derive(Clone, Debug, PartialEq)]
pub struct Ladder {
    /// The baseline first.
    pub rungs: Vec<Rung>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Rung {
    pub step: LadderStep,
    /// Index of the point that stands on this rung.
    pub point: usize,
    /// Against the rung before; absent on the first, and where times or replicates cannot be paired.
    pub speed_up: Option<SpeedUp>,
    pub accuracy: Option<Measured>,
    /// Against the baseline.
    pub total_speed_up: Option<SpeedUp>,
    pub total_accuracy: Option<Measured>,
}

/// What a rung changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LadderStep {
    Baseline,
    /// Values on axes, as (axis, value): several where no configuration between was trained to its end.
    Change(Vec<(usize, Option<String>)>),
    /// The same training, stopped after so many epochs.
    Stop(usize),
}

/// Axes above which only the ends are looked at: the search is over all subsets of them.
const MOST_AXES: usize = 12;

/// The ladder from the baseline to the point of index `target`: with as many rungs as there can be, the largest speed-up first.
pub fn ladder(design: &Design, points: &[Point], target: usize) -> Result<Ladder, NoBaseline> {
    let baseline = design.baseline.ok_or(NoBaseline::Undeclared)?;
    let start = whole(points, baseline).ok_or(NoBaseline::Untrained)?;
    let end = whole(points, points[target].candidate).unwrap_or(target);
    let ends = Ends { design, points, start, end };
    // A configuration without comparable times still tells the accuracies apart: taken where more rungs are had by it.
    let (timed, any) = (ends.climb(true), ends.climb(false));
    let mut path = if any.len() > timed.len() { any } else { timed };
    if target != end {
        path.push(target);
    }
    Ok(Ladder { rungs: rungs(design, points, &path) })
}

/// Where a ladder begins and ends: indices of points of whole trainings.
struct Ends<'a> {
    design: &'a Design,
    points: &'a [Point],
    start: usize,
    end: usize,
}

impl Ends<'_> {
    fn values(&self, point: usize) -> &[Option<String>] {
        &self.design.values[self.points[point].candidate]
    }

    /// Axes whose values differ at the ends. One that does not matter at one of them follows the others.
    fn changed(&self) -> Vec<usize> {
        let (from, to) = (self.values(self.start), self.values(self.end));
        (0..from.len()).filter(|&axis| from[axis].is_some() && to[axis].is_some() && from[axis] != to[axis]).collect()
    }

    /// Points from start to end, by the longest way.
    fn climb(&self, needs_times: bool) -> Vec<usize> {
        if self.start == self.end {
            return vec![self.start];
        }
        let changed = self.changed();
        if changed.is_empty() || changed.len() > MOST_AXES {
            return vec![self.start, self.end];
        }
        let steps = self.steps(&changed, needs_times);
        let full = (1_usize << changed.len()) - 1;
        // Rungs from each set of changes to all of them, found from the largest set down: a set's number is above its parts'.
        let mut rungs: BTreeMap<usize, usize> = BTreeMap::from([(full, 0)]);
        for &set in steps.keys().rev().filter(|set| **set != full) {
            let above = rungs.range(set + 1..).filter(|(other, _)| *other & set == set).map(|(_, rungs)| *rungs);
            // The full set lies above every other.
            rungs.insert(set, above.max().unwrap_or(0) + 1);
        }
        let (mut at, mut path) = (0, vec![self.start]);
        while at != full {
            let next = rungs.iter().filter(|&(set, left)| *set != at && set & at == at && left + 1 == rungs[&at]);
            let gain = |set: usize| self.gain(steps[&at], steps[&set]) / f64::from((set & !at).count_ones());
            // Of equals the one that changes what the space declares first.
            let best = next.map(|(set, _)| *set).rev().max_by(|a, b| gain(*a).total_cmp(&gain(*b)));
            at = best.unwrap_or(full);
            path.push(steps[&at]);
        }
        path
    }

    /// The point that stands for each set of changes (a bit each) of which there is one that ended well.
    fn steps(&self, changed: &[usize], needs_times: bool) -> BTreeMap<usize, usize> {
        let (from, to) = (self.values(self.start), self.values(self.end));
        let mut steps = BTreeMap::new();
        for (index, point) in self.points.iter().enumerate().filter(|(_, point)| point.extent == Extent::Whole) {
            let values = self.values(index);
            let lies_between = (0..values.len()).all(|axis| values[axis] == from[axis] || values[axis] == to[axis]);
            if lies_between && self.is_sound(point, needs_times) {
                let bits = changed.iter().enumerate().filter(|(_, axis)| values[**axis] == to[**axis]);
                steps.entry(bits.map(|(bit, _)| 1 << bit).sum()).or_insert(index);
            }
        }
        // The ends are given, however they ended.
        steps.insert(0, self.start);
        steps.insert((1 << changed.len()) - 1, self.end);
        steps
    }

    /// Whether a point has all that both ends have.
    fn is_sound(&self, point: &Point, needs_times: bool) -> bool {
        let (start, end) = (&self.points[self.start], &self.points[self.end]);
        let has_all = |of: BTreeSet<usize>, a: BTreeSet<usize>, b: BTreeSet<usize>| {
            a.intersection(&b).all(|key| of.contains(key))
        };
        let replicates = |point: &Point| point.accuracy.keys().copied().collect();
        let times = |point: &Point| log_times(point).into_keys().collect();
        let is_timed = || {
            start.time.basis != end.time.basis
                || (point.time.basis == start.time.basis && has_all(times(point), times(start), times(end)))
        };
        point.diverged == 0
            && !point.accuracy.is_empty()
            && has_all(replicates(point), replicates(start), replicates(end))
            && (!needs_times || is_timed())
    }

    /// Logarithm of the speed-up from one point to another; the least there is where it is not known.
    fn gain(&self, from: usize, to: usize) -> f64 {
        let (of, _) = speed_up(&[vec![(1.0, &self.points[to]), (-1.0, &self.points[from])]]);
        of.map_or(f64::NEG_INFINITY, |of| of.factor.estimate.ln())
    }
}

/// The rungs of a path, all over the same replicates and rounds: so factors multiply to their total, and differences add.
fn rungs(design: &Design, points: &[Point], path: &[usize]) -> Vec<Rung> {
    let replicates = shared(path.iter().map(|of| points[*of].accuracy.keys().copied().collect()));
    // Of what has none, no rung has a speed-up anyway.
    let timed = |basis| {
        let of_basis = path.iter().map(|of| &points[*of]).filter(|point| point.time.basis == basis);
        shared(
            of_basis.map(|point| log_times(point).into_keys().collect()).filter(|keys: &BTreeSet<_>| !keys.is_empty()),
        )
    };
    let times = [Basis::Confirmed, Basis::Screened].map(|basis| (basis, timed(basis)));
    let even: Vec<Point> = path.iter().map(|of| restricted(&points[*of], &replicates, &times)).collect();
    let values = |rung: usize| &design.values[even[rung].candidate];
    (0..even.len())
        .map(|rung| {
            let step = match rung.checked_sub(1) {
                None => LadderStep::Baseline,
                Some(before) if even[before].candidate == even[rung].candidate => LadderStep::Stop(even[rung].epochs),
                Some(before) => LadderStep::Change(
                    (0..design.axes.len())
                        .filter(|&axis| values(before)[axis] != values(rung)[axis])
                        .map(|axis| (axis, values(rung)[axis].clone()))
                        .collect(),
                ),
            };
            let against = |other: usize| [vec![(1.0, &even[rung]), (-1.0, &even[other])]];
            let before = rung.checked_sub(1);
            Rung {
                step,
                point: path[rung],
                speed_up: before.and_then(|before| speed_up(&against(before)).0),
                accuracy: before.and_then(|before| accuracy(&against(before))),
                total_speed_up: before.and_then(|_| speed_up(&against(0)).0),
                total_accuracy: before.and_then(|_| accuracy(&against(0))),
            }
        })
        .collect()
}

/// What all of them have.
fn shared(keys: impl Iterator<Item = BTreeSet<usize>>) -> BTreeSet<usize> {
    keys.reduce(|a, b| &a & &b).unwrap_or_default()
}

/// A point with these replicates alone, and of its times with those of its basis.
fn restricted(point: &Point, replicates: &BTreeSet<usize>, times: &[(Basis, BTreeSet<usize>)]) -> Point {
    let mut point = point.clone();
    let basis = point.time.basis;
    point.accuracy.retain(|replicate, _| replicates.contains(replicate));
    point.time.seconds.retain(|key, _| times.iter().any(|(of, keys)| *of == basis && keys.contains(key)));
    point
}

//! How sure a study's figures are: intervals, the probability to be on the front, and who cannot be told from whom.
//!
//! Replicate r of every configuration has the same seed, and round r of the times is one visit to the machine: what is drawn
//! here keeps what configurations have in common by that. With two to five replicates, drawing replicates again would come
//! out far too narrow; the means are drawn from a multivariate t distribution instead, so that each of them, and each
//! difference of two, is spread exactly as its t-interval says.

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::analysis::{Basis, Fronts, LEVEL, Objectives, Point};
use crate::base::{
    rng,
    stats::{self, ENOUGH_ROUNDS},
};

/// Draws that a probability is a share of: it is known to about one percentage point.
pub const DRAWS: usize = 2000;

/// Interval of a point's mean validation accuracy; none below two replicates.
pub fn accuracy_interval(point: &Point) -> Option<(f64, f64)> {
    stats::mean_interval(&point.accuracy.values().copied().collect::<Vec<_>>(), LEVEL)
}

/// Interval of a point's time: of the median of its rounds where it is confirmed, else of the mean over its replicates. The
/// latter is one of logarithms about it, so that it does not reach below 0.
pub fn time_interval(point: &Point) -> Option<(f64, f64)> {
    match point.time.basis {
        Basis::Confirmed => stats::median_interval(&point.time.values(), LEVEL),
        Basis::Screened => {
            let seconds = point.time.values();
            let logarithms: Vec<f64> = seconds.iter().map(|seconds| seconds.ln()).collect();
            let (low, high) = stats::mean_interval(&logarithms, LEVEL)?;
            let (mean, reach) = (stats::mean(&seconds)?, (high - low) / 2.0);
            Some((mean * (-reach).exp(), mean * reach.exp()))
        }
    }
}

/// Interval of how much more accurate `a` is than `b`, over the replicates that both have; none with fewer than two.
pub fn difference_interval(a: &Point, b: &Point) -> Option<(f64, f64)> {
    stats::mean_interval(&a.differences(b), LEVEL)
}

/// A study's points as they could as well have been, again and again: the same draws every time.
pub struct Draws {
    points: Vec<Drawn>,
    replicates: usize,
    rounds: usize,
}

struct Drawn {
    seconds: Seconds,
    accuracy: Scatter,
    parameters: f64,
}

enum Seconds {
    /// Resampled by round: the median. The same place is the same round for all points, where they have enough in common.
    Rounds(Vec<f64>),
    /// The mean, times the exponential of a scatter of logarithms: no draw is below 0.
    Replicates(f64, Scatter),
}

/// A mean that is spread by Student's t.
struct Scatter {
    centre: f64,
    /// By replicate; divided by √(n (n − 1)). None of fewer than two values, whose spread is not known: the mean stays.
    residuals: Vec<(usize, f64)>,
}

impl Scatter {
    fn of(values: &BTreeMap<usize, f64>) -> Scatter {
        let count = values.len() as f64;
        let centre = stats::mean(&values.values().copied().collect::<Vec<_>>()).unwrap_or(f64::NAN);
        let scale = (count * (count - 1.0)).sqrt();
        let residuals = values.iter().map(|(replicate, value)| (*replicate, (value - centre) / scale));
        Scatter { centre, residuals: if values.len() < 2 { Vec::new() } else { residuals.collect() } }
    }

    fn is_known(&self) -> bool {
        !self.residuals.is_empty()
    }

    fn draw(&self, shared: &Shared) -> f64 {
        let Some(degrees) = self.residuals.len().checked_sub(1) else { return self.centre };
        let sum: f64 = self.residuals.iter().map(|(replicate, residual)| residual * shared.normal[*replicate]).sum();
        self.centre + sum / shared.roots[degrees]
    }
}

/// Whether its time is one of rounds, of which there are several.
fn is_by_rounds(point: &Point) -> bool {
    point.time.basis == Basis::Confirmed && point.time.seconds.len() > 1
}

/// What all points of a draw share.
#[derive(Default)]
struct Shared {
    /// By replicate.
    normal: Vec<f64>,
    /// By degrees of freedom: the root of the mean of the squares of as many of another list of normal values.
    roots: Vec<f64>,
}

impl Shared {
    /// Draws it anew, for so many replicates.
    fn draw(&mut self, count: usize, rng: &mut ChaCha8Rng) {
        let mut normal = || -> f64 { StandardNormal.sample(&mut *rng) };
        self.normal.clear();
        self.normal.extend((0..count).map(|_| normal()));
        self.roots.clear();
        let mut sum = 0.0;
        self.roots.extend((0..=count).map(|degrees| {
            if degrees > 0 {
                sum += normal().powi(2);
            }
            (sum / degrees as f64).sqrt()
        }));
    }
}

impl Draws {
    /// Rounds are drawn from those that all confirmed points have, if these are enough for an interval; else each point's
    /// from its own, by their order.
    pub fn of(points: &[Point]) -> Draws {
        let confirmed = points.iter().filter(|point| is_by_rounds(point));
        let common = confirmed.map(|point| point.time.seconds.keys().copied().collect::<BTreeSet<_>>());
        let common = common.reduce(|a, b| &a & &b).filter(|common| common.len() >= ENOUGH_ROUNDS);
        let rounds_of = |point: &Point| -> Vec<f64> {
            let is_drawn = |round: &usize| common.as_ref().is_none_or(|common| common.contains(round));
            point.time.seconds.iter().filter(|(round, _)| is_drawn(round)).map(|(_, seconds)| *seconds).collect()
        };
        let drawn = |point: &Point| {
            let logarithms = || point.time.seconds.iter().map(|(key, value)| (*key, value.ln())).collect();
            Drawn {
                seconds: match is_by_rounds(point) {
                    true => Seconds::Rounds(rounds_of(point)),
                    false => Seconds::Replicates(point.objectives()[0], Scatter::of(&logarithms())),
                },
                accuracy: Scatter { centre: point.objectives()[1], ..Scatter::of(&point.accuracy) },
                parameters: point.parameters as f64,
            }
        };
        let keys = points.iter().flat_map(|point| point.accuracy.keys().chain(point.time.seconds.keys()));
        let replicates = keys.max().map_or(0, |last| last + 1);
        let rounds = points.iter().map(|point| point.time.seconds.len()).max().unwrap_or(0);
        Draws { points: points.iter().map(drawn).collect(), replicates, rounds }
    }

    /// Whether it is known how far a point's mean accuracy is spread: from two replicates on.
    pub fn knows_accuracy(&self, point: usize) -> bool {
        self.points[point].accuracy.is_known()
    }

    /// The same of its time.
    pub fn knows_seconds(&self, point: usize) -> bool {
        match &self.points[point].seconds {
            Seconds::Rounds(_) => true,
            Seconds::Replicates(_, scatter) => scatter.is_known(),
        }
    }

    /// Hands on [`DRAWS`] draws. A figure whose spread is not known stays what it is in each.
    pub fn each(&self, mut visit: impl FnMut(&Draw)) {
        let mut rng = rng::stream(0, "front", 0);
        let mut draw = Draw { of: self, accuracy: Shared::default(), time: Shared::default(), rounds: Vec::new() };
        for _ in 0..DRAWS {
            draw.accuracy.draw(self.replicates, &mut rng);
            draw.time.draw(self.replicates, &mut rng);
            draw.rounds.clear();
            draw.rounds.extend((0..self.rounds).map(|_| rng.random::<f64>()));
            visit(&draw);
        }
    }
}

/// A study's points as they could as well have been, once.
pub struct Draw<'a> {
    of: &'a Draws,
    accuracy: Shared,
    time: Shared,
    /// Which of the rounds are drawn, as shares of their number.
    rounds: Vec<f64>,
}

impl Draw<'_> {
    /// The objectives of a point, as [`Point::objectives`] has them.
    pub fn objectives(&self, point: usize) -> [f64; 3] {
        let of = &self.of.points[point];
        let seconds = match &of.seconds {
            Seconds::Rounds(seconds) => {
                let again = self.rounds.iter().take(seconds.len());
                // Below the length, as what is random is below 1.
                stats::median(again.map(|at| seconds[(at * seconds.len() as f64) as usize]).collect())
            }
            // So far out, two replicates may come to lie; a time stays a number there too.
            Seconds::Replicates(mean, of) => mean * (of.draw(&self.time) - of.centre).clamp(-300.0, 300.0).exp(),
        };
        [seconds, of.accuracy.draw(&self.accuracy), of.parameters]
    }

    /// The accuracy alone, which is found faster.
    pub fn accuracy(&self, point: usize) -> f64 {
        self.of.points[point].accuracy.draw(&self.accuracy)
    }
}

/// How probable it is that a point is on the true front.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Membership {
    /// Absent where the spread of its accuracy or of its time is not known, or where it can be on no front.
    pub time_accuracy: Option<f64>,
    pub time_accuracy_parameters: Option<f64>,
}

impl Membership {
    pub fn of(&self, objectives: Objectives) -> Option<f64> {
        match objectives {
            Objectives::TimeAccuracy => self.time_accuracy,
            Objectives::TimeAccuracyParameters => self.time_accuracy_parameters,
        }
    }
}

/// The probability of every point to be on the front: the share of draws in whose front it is.
pub fn memberships(points: &[Point]) -> Vec<Membership> {
    let draws = Draws::of(points);
    let can_be = |point: &Point| point.objectives().iter().all(|value| value.is_finite());
    let known: Vec<bool> = (points.iter().enumerate())
        .map(|(index, point)| can_be(point) && draws.knows_accuracy(index) && draws.knows_seconds(index))
        .collect();
    let both = [Objectives::TimeAccuracy, Objectives::TimeAccuracyParameters];
    let mut counts = vec![[0_usize; 2]; points.len()];
    if known.contains(&true) {
        let mut fronts = both.map(Fronts::new);
        let mut objectives = Vec::with_capacity(points.len());
        draws.each(|draw| {
            objectives.clear();
            objectives.extend((0..points.len()).map(|index| draw.objectives(index)));
            for (which, fronts) in fronts.iter_mut().enumerate() {
                fronts.next(&objectives).iter().for_each(|index| counts[*index][which] += 1);
            }
        });
    }
    let share = |count: usize, known: bool| known.then_some(count as f64 / DRAWS as f64);
    (counts.into_iter().zip(known))
        .map(|([flat, solid], known)| Membership {
            time_accuracy: share(flat, known),
            time_accuracy_parameters: share(solid, known),
        })
        .collect()
}

/// Candidates of which it is still open whether any of their points is on the front: the probability of the likeliest one
/// lies between `low` and `high`. Ascending; without those of whose points no probability is known.
pub fn undecided(points: &[Point], probabilities: &[Option<f64>], low: f64, high: f64) -> Vec<usize> {
    let mut best: BTreeMap<usize, f64> = BTreeMap::new();
    for (point, probability) in points.iter().zip(probabilities) {
        if let Some(probability) = probability {
            let best = best.entry(point.candidate).or_insert(*probability);
            *best = best.max(*probability);
        }
    }
    let is_open = |probability: f64| probability > low && probability < high;
    best.into_iter().filter(|(_, probability)| is_open(*probability)).map(|(candidate, _)| candidate).collect()
}

/// Which of the points at `indices` cannot be told apart by accuracy: the number of each one's group, from 0 for the most
/// accurate. A group is the best point that is in none yet, and all after it whose difference to it may be 0 by the
/// interval over their common replicates. Absent for a point with fewer than two in common with the best of a
/// group before its own.
pub fn groups(points: &[Point], indices: &[usize]) -> Vec<Option<usize>> {
    let accuracy = |at: usize| points[indices[at]].mean_accuracy().unwrap_or(f64::NEG_INFINITY);
    let mut left: Vec<usize> = (0..indices.len()).filter(|at| points[indices[*at]].accuracy.len() > 1).collect();
    left.sort_by(|a, b| accuracy(*b).total_cmp(&accuracy(*a)).then(a.cmp(b)));
    let mut groups = vec![None; indices.len()];
    let mut number = 0;
    while !left.is_empty() {
        let best = left.remove(0);
        groups[best] = Some(number);
        left.retain(|at| match difference_interval(&points[indices[best]], &points[indices[*at]]) {
            None => false,
            Some((low, high)) if low <= 0.0 && 0.0 <= high => {
                groups[*at] = Some(number);
                false
            }
            Some(_) => true,
        });
        number += 1;
    }
    groups
}

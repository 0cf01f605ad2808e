//! What a study's figures say, and how surely: pure functions of its points.

pub mod attribution;
pub mod bootstrap;
pub mod contrast;
pub mod ladder;
pub mod pareto;
pub mod pick;
pub mod range_test;

use std::collections::BTreeMap;

use crate::{
    analysis::pareto::Goal,
    base::stats::{self, Spread},
};

/// Probability with which an interval covers what it is of.
pub const LEVEL: f64 = 0.95;

/// A configuration, trained for so many epochs.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Index of the configuration in its space.
    pub candidate: usize,
    /// The configuration by name, and the epochs where they are not all.
    pub label: String,
    pub epochs: usize,
    pub extent: Extent,
    pub parameters: usize,
    /// Best validation accuracy up to there, in 0..=1, by replicate; of those that ended well.
    pub accuracy: BTreeMap<usize, f64>,
    /// Test accuracy of the weights of that best epoch, by replicate, where it is known: reported, never chosen by.
    pub test_accuracy: BTreeMap<usize, f64>,
    pub time: Time,
    /// Of which steps its training consists: two points of one number take the very same steps, as many of each kind, so that
    /// their times differ by how they were measured alone. Absent where that is not known.
    pub steps: Option<u64>,
    /// Replicates that diverged: a point with any is on no front.
    pub diverged: usize,
}

/// Whether all of the training or its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    Whole,
    /// The first epochs of a training whose schedule is the same for every length.
    Prefix,
}

/// Training time, measured several times.
#[derive(Clone, Debug, PartialEq)]
pub struct Time {
    pub basis: Basis,
    /// Seconds: by round where it is confirmed, by replicate where it was screened; empty where it is not known.
    pub seconds: BTreeMap<usize, f64>,
}

impl Time {
    /// The seconds without their numbers.
    pub fn values(&self) -> Vec<f64> {
        self.seconds.values().copied().collect()
    }
}

/// How a time came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// From steps that were timed alone on the machine.
    Confirmed,
    /// During the sweep, beside other trials.
    Screened,
}

impl Basis {
    /// As tables and JSON call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Basis::Confirmed => "confirmed",
            Basis::Screened => "screening",
        }
    }
}

/// How the configurations of a space differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Design {
    /// Dotted path of each axis.
    pub axes: Vec<String>,
    /// The value of each configuration on each axis; absent where the axis does not matter to it.
    pub values: Vec<Vec<Option<String>>>,
    /// Index of the configuration that others are compared to.
    pub baseline: Option<usize>,
}

impl Point {
    /// Mean over the replicates of the best validation accuracy.
    pub fn mean_accuracy(&self) -> Option<f64> {
        mean_share(self.accuracy.values().copied())
    }

    /// How many times as fast it trains as `base`; absent where the two times did not come about in the same way, or a
    /// replicate of either diverged.
    pub fn speedup(&self, base: &Point) -> Option<f64> {
        let is_alike = self.time.basis == base.time.basis && self.diverged == 0 && base.diverged == 0;
        Some(base.seconds()? / self.seconds()?).filter(|_| is_alike)
    }

    /// How much more accurate it is than `base`: the mean over the replicates that both have, as other seeds are other luck;
    /// absent where there is none, or a replicate of either diverged.
    pub fn accuracy_change(&self, base: &Point) -> Option<f64> {
        mean_share(self.differences(base).into_iter()).filter(|_| self.diverged == 0 && base.diverged == 0)
    }

    /// How much more accurate it is than `base` in each replicate that both have.
    fn differences(&self, base: &Point) -> Vec<f64> {
        self.accuracy.iter().filter_map(|(replicate, own)| Some(own - base.accuracy.get(replicate)?)).collect()
    }

    /// Whether its training takes the very same steps as that of `other`: by construction the two take as long.
    pub fn takes_steps_of(&self, other: &Point) -> bool {
        self.steps.is_some() && self.steps == other.steps
    }

    /// What stands for the point's time: the median of its rounds where it is confirmed, else the mean over its replicates.
    pub fn seconds(&self) -> Option<f64> {
        match self.time.basis {
            _ if self.time.seconds.is_empty() => None,
            Basis::Confirmed => Some(Spread::of(&self.time.values()).median),
            Basis::Screened => stats::mean(&self.time.values()),
        }
    }

    /// Seconds, validation accuracy, parameters; NaN where they are not known, or where a replicate diverged: such a point is
    /// on no front.
    pub fn objectives(&self) -> [f64; 3] {
        let known = |value: Option<f64>| value.filter(|_| self.diverged == 0).unwrap_or(f64::NAN);
        [known(self.seconds()), known(self.mean_accuracy()), self.parameters as f64]
    }
}

/// Mean of shares of images, without what depends on the order of the sum: equal ones are equal.
fn mean_share(values: impl Iterator<Item = f64>) -> Option<f64> {
    stats::mean(&values.collect::<Vec<_>>()).map(|mean| (1e12 * mean).round() / 1e12)
}

/// Standard deviations of a normal distribution on both sides of its mean that 95 % of it lie within.
const NORMAL: f64 = 1.96;

/// How far the share that is right of so many images may lie from that of all such images, 95 %: the binomial error.
pub fn error_of_images(accuracy: f64, images: usize) -> f64 {
    NORMAL * (accuracy * (1.0 - accuracy) / images.max(1) as f64).max(0.0).sqrt()
}

/// Whether an accuracy on so many images is none that guessing among so many classes would not come to as well: within the
/// binomial error of that, or below.
pub fn is_chance(accuracy: f64, images: usize, classes: usize) -> bool {
    let chance = 1.0 / classes.max(1) as f64;
    accuracy <= chance + error_of_images(chance, images)
}

/// Index of the point that others are compared to: the whole training of the baseline, if it has ended.
pub fn baseline(points: &[Point], design: &Design) -> Option<usize> {
    design.baseline.and_then(|candidate| whole(points, candidate))
}

/// Index of the whole training of a configuration.
fn whole(points: &[Point], candidate: usize) -> Option<usize> {
    points.iter().position(|point| point.candidate == candidate && point.extent == Extent::Whole)
}

/// What the front weighs up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objectives {
    TimeAccuracy,
    TimeAccuracyParameters,
}

const GOALS: [Goal; 3] = [Goal::Minimise, Goal::Maximise, Goal::Minimise];

/// Indices of the points on the front, by time; `points` are [`Point::objectives`].
pub fn front(points: &[[f64; 3]], objectives: Objectives) -> Vec<usize> {
    match objectives {
        Objectives::TimeAccuracy => pareto::front_2d(&flat(points), &[GOALS[0], GOALS[1]]),
        Objectives::TimeAccuracyParameters => pareto::front(points, &GOALS),
    }
}

/// [`front`] of the same points again and again, with other figures each time.
pub enum Fronts {
    Flat(pareto::Fronts<2>),
    Solid(pareto::Fronts<3>),
}

impl Fronts {
    pub fn new(objectives: Objectives) -> Fronts {
        match objectives {
            Objectives::TimeAccuracy => Fronts::Flat(pareto::Fronts::new([GOALS[0], GOALS[1]])),
            Objectives::TimeAccuracyParameters => Fronts::Solid(pareto::Fronts::new(GOALS)),
        }
    }

    /// Indices of the points that are on the front with these figures, in no order.
    pub fn next(&mut self, points: &[[f64; 3]]) -> &[usize] {
        match self {
            Fronts::Flat(fronts) => fronts.next(points.len(), |index| [points[index][0], points[index][1]]),
            Fronts::Solid(fronts) => fronts.next(points.len(), |index| points[index]),
        }
    }
}

fn flat(points: &[[f64; 3]]) -> Vec<[f64; 2]> {
    points.iter().map(|[seconds, accuracy, _]| [*seconds, *accuracy]).collect()
}

/// Volume that a front dominates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hypervolume {
    /// In seconds × accuracy (× parameters).
    pub volume: f64,
    /// The worst point that counts: seconds, accuracy, parameters.
    pub reference: [f64; 3],
    /// Share of the box between the ideal point (0 s, accuracy 1, 0 parameters) and the reference.
    pub share: f64,
}

/// The volume of the front up to the worst time and size seen and the accuracy of guessing.
pub fn hypervolume(points: &[[f64; 3]], objectives: Objectives, chance: f64) -> Option<Hypervolume> {
    let points: Vec<[f64; 3]> =
        points.iter().copied().filter(|point| point.iter().all(|value| value.is_finite())).collect();
    let worst = |axis: usize| points.iter().map(|point| point[axis]).fold(f64::NAN, f64::max);
    let reference = [worst(0), chance, worst(2)];
    if points.is_empty() {
        return None;
    }
    let (volume, unit) = match objectives {
        Objectives::TimeAccuracy => (
            pareto::hypervolume_2d(&flat(&points), &[GOALS[0], GOALS[1]], [reference[0], reference[1]]),
            reference[0] * (1.0 - chance),
        ),
        Objectives::TimeAccuracyParameters => {
            (pareto::hypervolume_3d(&points, &GOALS, reference), reference[0] * (1.0 - chance) * reference[2])
        }
    };
    Some(Hypervolume { volume, reference, share: volume / unit })
}

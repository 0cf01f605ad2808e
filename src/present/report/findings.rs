//! What a study's points amount to: its fronts, and every point beside the baseline.

use std::cell::OnceCell;

use super::view::StudyView;
use crate::{
    analysis::{
        self, Extent, Objectives, Point,
        bootstrap::{self, Membership},
    },
    base::stats,
};

/// A study's points and its fronts.
pub struct Findings {
    pub points: Vec<Point>,
    /// Index of the baseline's whole training, if it has ended.
    pub baseline: Option<usize>,
    /// Indices of the points on the front of time and accuracy, by time.
    pub front: Vec<usize>,
    /// Indices of the points on the front of time, accuracy and parameters, by time.
    pub wide_front: Vec<usize>,
    memberships: OnceCell<Vec<Membership>>,
}

/// A point beside the baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// [`Point::speedup`].
    pub speedup: Option<f64>,
    /// Whether it takes the very same steps as the baseline, and is not the baseline: the speed-up is 1 by construction.
    pub same_steps: bool,
    /// [`Point::accuracy_change`].
    pub accuracy_change: Option<f64>,
    /// Its parameters as a share of the baseline's.
    pub parameter_share: f64,
}

impl Findings {
    pub fn of(view: &StudyView) -> Findings {
        let points = view.points();
        let objectives: Vec<[f64; 3]> = points.iter().map(Point::objectives).collect();
        let front = |of| without_copies(view, &points, analysis::front(&objectives, of));
        Findings {
            baseline: analysis::baseline(&points, &view.design()),
            front: front(Objectives::TimeAccuracy),
            wide_front: front(Objectives::TimeAccuracyParameters),
            points,
            memberships: OnceCell::new(),
        }
    }

    /// How probable it is that each point is on each front: drawn when it is first asked for.
    pub fn memberships(&self) -> &[Membership] {
        self.memberships.get_or_init(|| bootstrap::memberships(&self.points))
    }

    /// Points of a front that cannot be told apart by accuracy have the same number, from 0 for the most accurate; in the
    /// order of [`Findings::on`].
    pub fn groups(&self, objectives: Objectives) -> Vec<Option<usize>> {
        bootstrap::groups(&self.points, self.on(objectives))
    }

    /// Indices of the points on a front, by time.
    pub fn on(&self, objectives: Objectives) -> &[usize] {
        match objectives {
            Objectives::TimeAccuracy => &self.front,
            Objectives::TimeAccuracyParameters => &self.wide_front,
        }
    }

    /// A point beside the baseline, if that has ended.
    pub fn change(&self, point: usize) -> Option<Change> {
        let (of, base) = (&self.points[point], &self.points[self.baseline?]);
        Some(Change {
            speedup: of.speedup(base),
            same_steps: self.baseline != Some(point) && of.takes_steps_of(base),
            accuracy_change: of.accuracy_change(base),
            parameter_share: of.parameters as f64 / base.parameters as f64,
        })
    }
}

/// A front with each training once: where configurations differ in their length alone, the shorter one's training is a beginning of
/// the longer one's. Of such points the one stays that is a whole training, else the first.
fn without_copies(view: &StudyView, points: &[Point], front: Vec<usize>) -> Vec<usize> {
    let rank = |index: usize| (points[index].extent != Extent::Whole, index);
    let is_copy = |index: usize| {
        front.iter().any(|&other| {
            rank(other) < rank(index)
                && points[other].objectives() == points[index].objectives()
                && view.is_same_training(&points[other], &points[index])
        })
    };
    front.iter().copied().filter(|index| !is_copy(*index)).collect()
}

/// Standard deviation of a point's validation accuracy over its replicates.
pub fn accuracy_sd(point: &Point) -> Option<f64> {
    stats::standard_deviation(&point.accuracy.values().copied().collect::<Vec<_>>())
}

/// Test accuracies by replicate, if they are known of all that ended well; else none.
fn tested(point: &Point) -> Vec<f64> {
    let is_whole = point.test_accuracy.len() == point.accuracy.len();
    point.test_accuracy.values().copied().filter(|_| is_whole).collect()
}

/// Mean over the replicates of their test accuracy, if that is known of all that ended well.
pub fn test_accuracy(point: &Point) -> Option<f64> {
    stats::mean(&tested(point))
}

/// Standard deviation of the same.
pub fn test_accuracy_sd(point: &Point) -> Option<f64> {
    stats::standard_deviation(&tested(point))
}

//! Dominance, fronts and hypervolume: pure functions of numbers.
//!
//! A point is an array with one value per objective, and `goals` says which way each is better. A point with a value
//! that is not finite (unknown, diverged) is absent: never on a front, dominating nothing, of no volume.

use std::cmp::Ordering;

/// Which way an objective is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    Minimise,
    Maximise,
}

impl Goal {
    /// `value` as a cost: less is better. Adding 0 makes −0 and 0 one value.
    fn cost(self, value: f64) -> f64 {
        match self {
            Goal::Minimise => value + 0.0,
            Goal::Maximise => -value + 0.0,
        }
    }
}

/// Whether `a` is at least as good as `b` in every objective and better in one.
pub fn dominates<const K: usize>(a: &[f64; K], b: &[f64; K], goals: &[Goal; K]) -> bool {
    match (costs(a, goals), costs(b, goals)) {
        (Some(a), Some(b)) => cheaper(&a, &b),
        _ => false,
    }
}

/// Indices of the points that no other dominates, by the first objective from its best value, then by the next ones,
/// then by index. Equal points stand beside each other: neither dominates.
///
/// Compares each of n points with the front found so far: n log n + n × front.
pub fn front<const K: usize>(points: &[[f64; K]], goals: &[Goal; K]) -> Vec<usize> {
    let mut front: Vec<(usize, [f64; K])> = Vec::new();
    // Whatever dominates a point stands before it in this order, so that one pass is enough.
    for (index, cost) in sorted(points, goals) {
        if !front.iter().any(|(_, other)| cheaper(other, &cost)) {
            front.push((index, cost));
        }
    }
    front.into_iter().map(|(index, _)| index).collect()
}

/// Fronts of the same points again and again, with other values each time. What was on the last front is looked at first: it
/// dominates nearly all others.
pub struct Fronts<const K: usize> {
    goals: [Goal; K],
    /// The last front: indices and costs, about by how many others they dominate.
    front: Vec<(usize, [f64; K])>,
    /// Which points are looked at already.
    is_seen: Vec<bool>,
    /// Indices of the last front.
    indices: Vec<usize>,
}

impl<const K: usize> Fronts<K> {
    pub fn new(goals: [Goal; K]) -> Fronts<K> {
        Fronts { goals, front: Vec::new(), is_seen: Vec::new(), indices: Vec::new() }
    }

    /// The front of `count` points, whose values `point` gives by index: that of [`front`], in no order.
    pub fn next(&mut self, count: usize, point: impl Fn(usize) -> [f64; K]) -> &[usize] {
        self.is_seen.clear();
        self.is_seen.resize(count, false);
        self.front.clear();
        for index in self.indices.drain(..).filter(|index| *index < count).chain(0..count) {
            if std::mem::replace(&mut self.is_seen[index], true) {
                continue;
            }
            let Some(cost) = costs(&point(index), &self.goals) else { continue };
            match self.front.iter().position(|(_, other)| cheaper(other, &cost)) {
                // What dominates one point is likely to dominate the next.
                Some(at) => self.front.swap(at, at / 2),
                None => {
                    self.front.retain(|(_, other)| !cheaper(&cost, other));
                    self.front.push((index, cost));
                }
            }
        }
        self.indices.extend(self.front.iter().map(|(index, _)| *index));
        &self.indices
    }
}

/// [`front`] of two objectives in n log n.
pub fn front_2d(points: &[[f64; 2]], goals: &[Goal; 2]) -> Vec<usize> {
    let mut front = Vec::new();
    let mut last: Option<[f64; 2]> = None;
    for (index, cost) in sorted(points, goals) {
        if last.is_none_or(|last| cost[1] < last[1] || cost == last) {
            front.push(index);
            last = Some(cost);
        }
    }
    front
}

/// Area that the points dominate, up to the reference point; what lies beyond the reference contributes nothing.
pub fn hypervolume_2d(points: &[[f64; 2]], goals: &[Goal; 2], reference: [f64; 2]) -> f64 {
    let Some(reference) = costs(&reference, goals) else { return 0.0 };
    area(&sorted(points, goals).into_iter().map(|(_, cost)| cost).collect::<Vec<_>>(), reference)
}

/// Volume that the points dominate, up to the reference point; what lies beyond the reference contributes nothing.
///
/// Cuts the volume into slices between neighbouring values of the third objective: n² log n.
pub fn hypervolume_3d(points: &[[f64; 3]], goals: &[Goal; 3], reference: [f64; 3]) -> f64 {
    let Some([x, y, z]) = costs(&reference, goals) else { return 0.0 };
    let points = sorted(points, goals);
    let mut levels: Vec<f64> = points.iter().map(|(_, cost)| cost[2]).filter(|level| *level < z).collect();
    levels.sort_by(f64::total_cmp);
    levels.dedup();
    let ends = levels.iter().skip(1).copied().chain([z]);
    let slice = |level: f64| {
        let below: Vec<[f64; 2]> =
            points.iter().filter(|(_, cost)| cost[2] <= level).map(|(_, cost)| [cost[0], cost[1]]).collect();
        area(&below, [x, y])
    };
    levels.iter().zip(ends).map(|(level, end)| slice(*level) * (end - level)).sum()
}

/// Area dominated by costs that are sorted by their first value.
fn area(sorted: &[[f64; 2]], [x, y]: [f64; 2]) -> f64 {
    let (mut area, mut ceiling) = (0.0, y);
    for cost in sorted.iter().filter(|cost| cost[0] < x) {
        if cost[1] < ceiling {
            area += (x - cost[0]) * (ceiling - cost[1]);
            ceiling = cost[1];
        }
    }
    area
}

fn costs<const K: usize>(point: &[f64; K], goals: &[Goal; K]) -> Option<[f64; K]> {
    point.iter().all(|value| value.is_finite()).then(|| std::array::from_fn(|k| goals[k].cost(point[k])))
}

fn cheaper<const K: usize>(a: &[f64; K], b: &[f64; K]) -> bool {
    a != b && a.iter().zip(b).all(|(a, b)| a <= b)
}

/// Index and costs of every present point, in lexicographic order of the costs.
fn sorted<const K: usize>(points: &[[f64; K]], goals: &[Goal; K]) -> Vec<(usize, [f64; K])> {
    let mut sorted: Vec<_> =
        points.iter().enumerate().filter_map(|(i, point)| Some((i, costs(point, goals)?))).collect();
    sorted.sort_by(|(i, a), (j, b)| {
        let by_cost = a.iter().zip(b).map(|(a, b)| a.total_cmp(b)).find(|order| order.is_ne());
        by_cost.unwrap_or(Ordering::Equal).then(i.cmp(j))
    });
    sorted
}

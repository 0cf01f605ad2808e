//! Which points meet the constraints, in which order they are preferred, and how surely.

use std::cmp::Ordering;

use super::{BaselineLacks, Choice, Confidence, Constraint, Constraints, NearBest, PickError, constraint};
use crate::{
    analysis::{
        Design, Point, baseline,
        bootstrap::{DRAWS, Draws},
    },
    base::stats,
};

/// The points as they are chosen among.
pub struct Field<'a> {
    pub points: &'a [Point],
    pub objectives: Vec<[f64; 3]>,
    pub considered: Vec<usize>,
    pub baseline: Option<usize>,
    /// The baseline's objectives as each point is compared with them: see [`against`].
    pub against: Vec<[f64; 3]>,
    /// Points that were left out as they cannot be compared with the baseline.
    pub incomparable: usize,
    pub limits: &'a [Constraint],
    pub wants_fastest: bool,
}

impl<'a> Field<'a> {
    pub fn new(points: &'a [Point], design: &Design, constraints: &'a Constraints) -> Result<Field<'a>, PickError> {
        let objectives: Vec<[f64; 3]> = points.iter().map(Point::objectives).collect();
        let is_known = |index: &usize| objectives[*index].iter().all(|v| v.is_finite()) && objectives[*index][0] > 0.0;
        let known: Vec<usize> = (0..points.len()).filter(is_known).collect();
        if known.is_empty() {
            return Err(PickError::NoPoints);
        }
        let baseline = baseline(points, design);
        let against: Vec<[f64; 3]> = points.iter().map(|of| against(of, baseline.map(|base| &points[base]))).collect();
        let base = baseline.map_or([f64::NAN; 3], |index| objectives[index]);
        let relative = || constraints.limits.iter().filter(|constraint| constraint.is_relative());
        for constraint in relative() {
            if constraint.value(&base, &base).is_nan() {
                let why = match (design.baseline, baseline) {
                    (None, _) => BaselineLacks::Declaration,
                    (_, None) => BaselineLacks::End,
                    (_, Some(index)) if points[index].diverged > 0 => BaselineLacks::Convergence,
                    _ => BaselineLacks::Figures,
                };
                return Err(PickError::NoBaseline { constraint: *constraint, why });
            }
        }
        let is_comparable = |index: &usize| {
            relative().all(|constraint| !constraint.value(&objectives[*index], &against[*index]).is_nan())
        };
        let considered: Vec<usize> = known.iter().copied().filter(is_comparable).collect();
        if considered.is_empty() {
            return Err(PickError::NoPoints);
        }
        let incomparable = known.len() - considered.len();
        let wants_fastest = constraints.near_best.is_some()
            || constraints.limits.iter().any(|constraint| constraint.is_about_accuracy());
        let limits = &constraints.limits;
        Ok(Field { points, objectives, considered, baseline, against, incomparable, limits, wants_fastest })
    }

    pub fn meets(&self, index: usize, constraint: Constraint) -> bool {
        constraint.is_met(&self.objectives[index], &self.against[index])
    }

    pub fn within_limits(&self) -> Result<Vec<usize>, PickError> {
        let meets_all = |index: &usize| self.limits.iter().all(|constraint| self.meets(*index, *constraint));
        let met: Vec<usize> = self.considered.iter().copied().filter(meets_all).collect();
        if met.is_empty() { Err(PickError::NothingMeets { nearest: self.nearest() }) } else { Ok(met) }
    }

    pub fn near_best(&self, within: &[usize], near: Option<NearBest>) -> Result<Vec<usize>, PickError> {
        let Some(near) = near else { return Ok(within.to_vec()) };
        let Some(best) = within.iter().copied().min_by(|a, b| self.by_accuracy(*a, *b)) else { return Ok(Vec::new()) };
        let margin = match near {
            NearBest::Within(margin) => margin,
            NearBest::OneStandardError => standard_error(&self.points[best])
                .ok_or_else(|| PickError::NoStandardError { label: self.points[best].label.clone() })?,
        };
        let least = self.objectives[best][1] - margin - constraint::SLACK;
        Ok(within.iter().copied().filter(|index| self.objectives[*index][1] >= least).collect())
    }

    /// The better by the constraints first; then by the other of time and accuracy, by parameters, in grid order.
    pub fn compare(&self, a: usize, b: usize) -> Ordering {
        if self.wants_fastest { self.by_time(a, b) } else { self.by_accuracy(a, b) }
    }

    fn by_time(&self, a: usize, b: usize) -> Ordering {
        let [a, b] = [a, b].map(|index| (self.objectives[index], index));
        let less = |k: usize| a.0[k].total_cmp(&b.0[k]);
        less(0).then(less(1).reverse()).then(less(2)).then(a.1.cmp(&b.1))
    }

    pub fn by_accuracy(&self, a: usize, b: usize) -> Ordering {
        self.objectives[b][1].total_cmp(&self.objectives[a][1]).then(self.by_time(a, b))
    }

    pub fn ordered(&self, mut among: Vec<usize>) -> Vec<usize> {
        among.sort_by(|a, b| self.compare(*a, *b));
        among
    }

    pub fn confidence(&self, constraints: &Constraints, chosen: usize, within_limits: &[usize]) -> Confidence {
        let margin = match constraints.near_best {
            Some(NearBest::Within(margin)) => Some(margin),
            _ => None,
        };
        let draws = Draws::of(self.points);
        let mut needed: Vec<(bool, bool, usize)> = Vec::new();
        for constraint in self.limits {
            let (time, accuracy) = (constraint.is_about_time(), constraint.is_about_accuracy());
            needed.push((time, accuracy, chosen));
            needed.extend(self.baseline.filter(|_| constraint.is_relative()).map(|base| (time, accuracy, base)));
        }
        if margin.is_some() {
            needed.extend(within_limits.iter().map(|index| (false, true, *index)));
        }
        let is_known = |(time, accuracy, index): &(bool, bool, usize)| {
            (!time || draws.knows_seconds(*index)) && (!accuracy || draws.knows_accuracy(*index))
        };
        // What draws do not judge.
        let has_more = constraints.choice == Choice::Knee || constraints.near_best == Some(NearBest::OneStandardError);
        if !needed.iter().any(|(time, accuracy, _)| *time || *accuracy) {
            return if has_more { Confidence::NotComputed } else { Confidence::Certain };
        }
        if !needed.iter().all(is_known) {
            return Confidence::Unknown;
        }
        // From the mean over all replicates of the baseline to that over those which the point has too.
        let shift = self.baseline.map_or(0.0, |base| self.against[chosen][1] - self.objectives[base][1]);
        let mut kept = 0_usize;
        draws.each(|draw| {
            let base = self.baseline.map_or([f64::NAN; 3], |index| {
                let [seconds, accuracy, parameters] = draw.objectives(index);
                [seconds, accuracy + shift, parameters]
            });
            let own = draw.objectives(chosen);
            let keeps_limits = self.limits.iter().all(|constraint| constraint.is_met(&own, &base));
            let is_near = margin.is_none_or(|margin| {
                let best = within_limits.iter().map(|index| draw.accuracy(*index)).fold(f64::NEG_INFINITY, f64::max);
                own[1] >= best - margin - constraint::SLACK
            });
            kept += usize::from(keeps_limits && is_near);
        });
        let share = kept as f64 / DRAWS as f64;
        if has_more { Confidence::ShareOfOthers(share) } else { Confidence::Share(share) }
    }
}

/// The baseline's objectives as a point is compared with them: NaN without a baseline, and where the two cannot be compared.
/// Its accuracy is the point's mean less what the point has more in the replicates of both.
fn against(point: &Point, baseline: Option<&Point>) -> [f64; 3] {
    let Some(base) = baseline else { return [f64::NAN; 3] };
    let [seconds, _, parameters] = base.objectives();
    let seconds = if point.speedup(base).is_some() { seconds } else { f64::NAN };
    let accuracy = point.mean_accuracy().zip(point.accuracy_change(base));
    [seconds, accuracy.map_or(f64::NAN, |(own, change)| own - change), parameters]
}

/// Standard error of a point's mean accuracy; none below two replicates.
fn standard_error(point: &Point) -> Option<f64> {
    let values: Vec<f64> = point.accuracy.values().copied().collect();
    stats::standard_deviation(&values).map(|deviation| deviation / (values.len() as f64).sqrt())
}

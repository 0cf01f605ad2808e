//! One configuration out of a study: what is wished for, which one it is, why, and how sure that is.

mod knee;
mod wish;

use std::cmp::Ordering;

pub use wish::Wish;

use super::{Basis, Design, Extent, Point, bootstrap::Draws, bootstrap::DRAWS};
use crate::stats;

/// What is wished for: at least one thing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wishes {
    pub limits: Vec<Wish>,
    pub near_best: Option<NearBest>,
    pub choice: Choice,
}

/// How near to the most accurate of those within the limits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NearBest {
    /// In 0..=1: 0.001 is a tenth of a percentage point.
    Within(f64),
    /// Its standard error, over its replicates.
    OneStandardError,
}

/// Which one is taken of those that keep to everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The fastest where a wish is about accuracy, else the most accurate.
    #[default]
    ByWishes,
    /// Where the front bends most.
    Knee,
}

/// The configuration that was wished for.
#[derive(Clone, Debug, PartialEq)]
pub struct Pick {
    /// Index of the point.
    pub point: usize,
    pub why: String,
    /// Points with a time, an accuracy, and no replicate that diverged.
    pub considered: usize,
    /// Those of them that keep to everything.
    pub met: usize,
    pub runner_up: Option<RunnerUp>,
    /// Share of draws of the study in which the point keeps to the wishes; absent where a spread that it takes is not
    /// known, or no wish is about a measured figure.
    pub confidence: Option<f64>,
    /// The whole training of the baseline, where it has ended.
    pub baseline: Option<usize>,
    /// What its figures must not be taken for.
    pub notes: Vec<String>,
}

/// What would have been taken instead.
#[derive(Clone, Debug, PartialEq)]
pub struct RunnerUp {
    pub point: usize,
    pub why_not: String,
}

/// Why there is nothing to pick.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PickError {
    #[error("nothing is wished for: ask for a time, an accuracy, a speed-up, a size, or the knee of the front")]
    NoWish,
    #[error("no configuration has a time, an accuracy, and no replicate that diverged: there is nothing to pick from yet")]
    NoPoints,
    #[error("{wish:?} compares with the baseline, and {why}")]
    NoBaseline { wish: String, why: &'static str },
    #[error("no configuration meets every wish. {nearest}")]
    NothingMeets { nearest: String },
    #[error(
        "the standard error of the most accurate configuration ({label}) is not known, it has one replicate: explore the \
         space with two or more, or say how far below it is near enough"
    )]
    NoStandardError { label: String },
    #[error(
        "there is no knee: it takes a point of the front above the straight line between its ends, and the front of what is \
         left has {0}; ask for a time or an accuracy"
    )]
    NoKnee(String),
}

/// Index of the point that others are compared to: the whole training of the baseline.
pub fn baseline(points: &[Point], design: &Design) -> Option<usize> {
    points.iter().position(|point| Some(point.candidate) == design.baseline && point.extent == Extent::Whole)
}

/// The point that `wishes` ask for, out of a study's.
pub fn pick(points: &[Point], design: &Design, wishes: &Wishes) -> Result<Pick, PickError> {
    if *wishes == Wishes::default() {
        return Err(PickError::NoWish);
    }
    let field = Field::new(points, design, wishes)?;
    let within_limits = field.within_limits()?;
    let met = field.near_best(&within_limits, wishes.near_best)?;
    let order = match wishes.choice {
        Choice::Knee => knee::order(&field.objectives, &met)?,
        Choice::ByWishes => field.ordered(met.clone()),
    };
    // Of a limit something kept to, the best is within any distance of itself, and a knee was found.
    let chosen = order[0];
    Ok(Pick {
        point: chosen,
        why: field.why(wishes, &met),
        considered: field.considered.len(),
        met: met.len(),
        runner_up: field.runner_up(wishes, &order, &within_limits),
        confidence: field.confidence(wishes, chosen, &within_limits),
        baseline: field.baseline,
        notes: field.notes(chosen),
    })
}

/// The points as they are chosen among.
struct Field<'a> {
    points: &'a [Point],
    objectives: Vec<[f64; 3]>,
    considered: Vec<usize>,
    baseline: Option<usize>,
    /// The baseline's objectives; NaN without one, and nothing asks for them then.
    base: [f64; 3],
    limits: &'a [Wish],
    wants_fastest: bool,
}

impl<'a> Field<'a> {
    fn new(points: &'a [Point], design: &Design, wishes: &'a Wishes) -> Result<Field<'a>, PickError> {
        let objectives: Vec<[f64; 3]> = points.iter().map(Point::objectives).collect();
        let is_known = |index: &usize| objectives[*index].iter().all(|v| v.is_finite()) && objectives[*index][0] > 0.0;
        let considered: Vec<usize> = (0..points.len()).filter(is_known).collect();
        if considered.is_empty() {
            return Err(PickError::NoPoints);
        }
        let baseline = baseline(points, design);
        let base = baseline.map_or([f64::NAN; 3], |index| objectives[index]);
        for wish in wishes.limits.iter().filter(|wish| wish.is_relative()) {
            if wish.value(&base, &base).is_nan() {
                let why = match (design.baseline, baseline) {
                    (None, _) => "the space has none: its [baseline] was excluded, or set to something else",
                    (_, None) => "none of its trials has ended yet",
                    (_, Some(index)) if points[index].diverged > 0 => "a replicate of it diverged",
                    _ => "its time or its accuracy is not known",
                };
                return Err(PickError::NoBaseline { wish: wish.words(), why });
            }
        }
        let wants_fastest = wishes.near_best.is_some() || wishes.limits.iter().any(|wish| wish.is_about_accuracy());
        Ok(Field { points, objectives, considered, baseline, base, limits: &wishes.limits, wants_fastest })
    }

    fn meets(&self, index: usize, wish: Wish) -> bool {
        wish.is_met(&self.objectives[index], &self.base)
    }

    fn within_limits(&self) -> Result<Vec<usize>, PickError> {
        let meets_all = |index: &usize| self.limits.iter().all(|wish| self.meets(*index, *wish));
        let met: Vec<usize> = self.considered.iter().copied().filter(meets_all).collect();
        if met.is_empty() { Err(PickError::NothingMeets { nearest: self.nearest() }) } else { Ok(met) }
    }

    /// For every wish, what comes closest to it among those that meet all others, or among all where none does.
    fn nearest(&self) -> String {
        let mut lines = Vec::new();
        for (which, wish) in self.limits.iter().enumerate() {
            let others = || self.limits.iter().enumerate().filter(|(other, _)| *other != which);
            let meets_others = |index: &&usize| others().all(|(_, other)| self.meets(**index, *other));
            let mut among: Vec<usize> = self.considered.iter().filter(meets_others).copied().collect();
            let are_all = among.is_empty() || self.limits.len() == 1;
            if among.is_empty() {
                among.clone_from(&self.considered);
            }
            let short = |index: &usize| wish.shortfall(&self.objectives[*index], &self.base);
            let nearest = among.into_iter().min_by(|a, b| short(a).total_cmp(&short(b)).then(self.compare(*a, *b)));
            // There is one: something is considered, or there would be nothing to miss a wish.
            let Some(nearest) = nearest else { continue };
            let figure = wish.figure(wish.value(&self.objectives[nearest], &self.base));
            let of = if are_all { "of all" } else { "of those that meet the rest" };
            lines.push(format!("{}: {of}, {} comes closest, with {figure}", wish.words(), self.points[nearest].label));
        }
        format!("{}.", lines.join("; "))
    }

    fn near_best(&self, within: &[usize], near: Option<NearBest>) -> Result<Vec<usize>, PickError> {
        let Some(near) = near else { return Ok(within.to_vec()) };
        let Some(best) = within.iter().copied().min_by(|a, b| self.by_accuracy(*a, *b)) else { return Ok(Vec::new()) };
        let margin = match near {
            NearBest::Within(margin) => margin,
            NearBest::OneStandardError => standard_error(&self.points[best])
                .ok_or_else(|| PickError::NoStandardError { label: self.points[best].label.clone() })?,
        };
        let least = self.objectives[best][1] - margin - wish::SLACK;
        Ok(within.iter().copied().filter(|index| self.objectives[*index][1] >= least).collect())
    }

    /// The better by the wishes first; then by the other of time and accuracy, by parameters, in grid order.
    fn compare(&self, a: usize, b: usize) -> Ordering {
        if self.wants_fastest { self.by_time(a, b) } else { self.by_accuracy(a, b) }
    }

    fn by_time(&self, a: usize, b: usize) -> Ordering {
        let [a, b] = [a, b].map(|index| (self.objectives[index], index));
        let less = |k: usize| a.0[k].total_cmp(&b.0[k]);
        less(0).then(less(1).reverse()).then(less(2)).then(a.1.cmp(&b.1))
    }

    fn by_accuracy(&self, a: usize, b: usize) -> Ordering {
        self.objectives[b][1].total_cmp(&self.objectives[a][1]).then(self.by_time(a, b))
    }

    fn ordered(&self, mut among: Vec<usize>) -> Vec<usize> {
        among.sort_by(|a, b| self.compare(*a, *b));
        among
    }

    fn why(&self, wishes: &Wishes, met: &[usize]) -> String {
        let mut asked: Vec<String> = self.limits.iter().map(|wish| wish.words()).collect();
        asked.extend(wishes.near_best.map(|near| match near {
            NearBest::Within(margin) => {
                format!("at most {} less accurate than the best of what is left", wish::points(margin))
            }
            NearBest::OneStandardError => "within one standard error of the most accurate of what is left".into(),
        }));
        let which = match wishes.choice {
            Choice::Knee => "the knee of the front",
            Choice::ByWishes if self.wants_fastest => "the fastest",
            Choice::ByWishes => "the most accurate",
        };
        let (met, considered) = (met.len(), self.considered.len());
        match asked.is_empty() {
            true => format!("{which} of {considered}"),
            false => format!("{which} of the {met} of {considered} that meet: {}", asked.join("; ")),
        }
    }

    fn runner_up(&self, wishes: &Wishes, order: &[usize], within_limits: &[usize]) -> Option<RunnerUp> {
        if let Some(&point) = order.get(1) {
            let [chosen, next] = [order[0], point].map(|index| self.objectives[index]);
            let [time, accuracy] = [wish::seconds(next[0]), wish::percent(next[1])];
            let why_not = match wishes.choice {
                Choice::Knee => "nearer to the straight line between the ends of the front".into(),
                Choice::ByWishes if next[..2] == chosen[..2] => "as fast and as accurate, and larger or later".into(),
                Choice::ByWishes if (self.wants_fastest) == (next[0] != chosen[0]) && self.wants_fastest => {
                    format!("slower: {time} instead of {}", wish::seconds(chosen[0]))
                }
                Choice::ByWishes if next[1] == chosen[1] => {
                    format!("as accurate, and slower: {time} instead of {}", wish::seconds(chosen[0]))
                }
                Choice::ByWishes => format!("less accurate: {accuracy} instead of {}", wish::percent(chosen[1])),
            };
            return Some(RunnerUp { point, why_not });
        }
        // None is left beside the chosen one: what was left out by least.
        let too_far = within_limits.iter().copied().filter(|index| !order.contains(index));
        if let Some(point) = too_far.min_by(|a, b| self.by_accuracy(*a, *b)) {
            let why_not = format!("too far from the most accurate: {}", wish::percent(self.objectives[point][1]));
            return Some(RunnerUp { point, why_not });
        }
        let missed = |index: usize| self.limits.iter().filter(move |wish| !self.meets(index, **wish));
        let failed = self.considered.iter().copied().filter(|index| missed(*index).next().is_some());
        let measure = |index: usize| (missed(index).count(), missed(index).map(|wish| self.relative(index, *wish)).sum::<f64>());
        let point = failed.min_by(|a, b| {
            let [(count, short), (other_count, other_short)] = [*a, *b].map(measure);
            count.cmp(&other_count).then(short.total_cmp(&other_short)).then(self.compare(*a, *b))
        })?;
        let misses = missed(point).map(|wish| {
            let figure = wish.figure(wish.value(&self.objectives[point], &self.base));
            format!("{figure}, not {}", wish.words())
        });
        Some(RunnerUp { point, why_not: misses.collect::<Vec<_>>().join("; ") })
    }

    /// By how much a point misses a wish, as a share of the most that any misses it by.
    fn relative(&self, index: usize, wish: Wish) -> f64 {
        let short = |index: usize| wish.shortfall(&self.objectives[index], &self.base);
        let most = self.considered.iter().map(|index| short(*index)).fold(f64::MIN_POSITIVE, f64::max);
        short(index) / most
    }

    fn confidence(&self, wishes: &Wishes, chosen: usize, within_limits: &[usize]) -> Option<f64> {
        let margin = match wishes.near_best {
            Some(NearBest::Within(margin)) => Some(margin),
            _ => None,
        };
        let draws = Draws::of(self.points);
        let mut needed: Vec<(bool, bool, usize)> = Vec::new();
        for wish in self.limits {
            let (time, accuracy) = (wish.is_about_time(), wish.is_about_accuracy());
            needed.push((time, accuracy, chosen));
            needed.extend(self.baseline.filter(|_| wish.is_relative()).map(|base| (time, accuracy, base)));
        }
        if margin.is_some() {
            needed.extend(within_limits.iter().map(|index| (false, true, *index)));
        }
        let is_known = |(time, accuracy, index): &(bool, bool, usize)| {
            (!time || draws.knows_seconds(*index)) && (!accuracy || draws.knows_accuracy(*index))
        };
        if !needed.iter().any(|(time, accuracy, _)| *time || *accuracy) || !needed.iter().all(is_known) {
            return None;
        }
        let mut kept = 0_usize;
        draws.each(|drawn| {
            let base = self.baseline.map_or([f64::NAN; 3], |index| drawn[index]);
            let keeps_limits = self.limits.iter().all(|wish| wish.is_met(&drawn[chosen], &base));
            let is_near = margin.is_none_or(|margin| {
                let best = within_limits.iter().map(|index| drawn[*index][1]).fold(f64::NEG_INFINITY, f64::max);
                drawn[chosen][1] >= best - margin - wish::SLACK
            });
            kept += usize::from(keeps_limits && is_near);
        });
        Some(kept as f64 / DRAWS as f64)
    }

    fn notes(&self, chosen: usize) -> Vec<String> {
        let basis = |index: usize| self.points[index].time.basis;
        let mut notes = Vec::new();
        if let Some(base) = self.baseline.filter(|base| basis(*base) != basis(chosen)) {
            let words = |index| if basis(index) == Basis::Confirmed { "confirmed" } else { "of screening" };
            notes.push(format!(
                "its time is {}, the baseline's {}: their ratio compares what was measured in two ways",
                words(chosen),
                words(base)
            ));
        }
        let screened = self.considered.iter().filter(|index| basis(**index) == Basis::Screened).count();
        if screened > 0 && screened < self.considered.len() {
            let all = self.considered.len();
            notes.push(format!("{screened} of the {all} that were chosen among have times of screening only"));
        }
        notes
    }
}

/// Standard error of a point's mean accuracy; none below two replicates.
fn standard_error(point: &Point) -> Option<f64> {
    let values: Vec<f64> = point.accuracy.values().copied().collect();
    stats::standard_deviation(&values).map(|deviation| deviation / (values.len() as f64).sqrt())
}

//! A choice in words: why this one, why not the next, what came closest, and what its figures must not be taken for.

use super::{Choice, Constraint, Constraints, NearBest, Nearest, RunnerUp, constraint, field::Field};
use crate::{
    analysis::Basis,
    base::words::{by_count, plural},
};

impl Nearest {
    /// The constraint, and what comes closest to it.
    pub(super) fn words(&self) -> String {
        let of = if self.meets_the_rest { "of those that meet the rest" } else { "of all" };
        let figure = self.constraint.figure(self.value);
        format!("{}: {of}, {} comes closest, with {figure}", self.constraint.words(), self.label)
    }
}

/// What a front of so many points has, that has no knee.
pub(super) fn knee_lacks(points: usize) -> String {
    if points > 2 { format!("{points} points, none of them above") } else { plural(points, "point") }
}

impl Field<'_> {
    /// For every constraint, what comes closest to it among those that meet all others, or among all where none does.
    pub fn nearest(&self) -> Vec<Nearest> {
        let mut nearest = Vec::new();
        for (which, constraint) in self.limits.iter().enumerate() {
            let others = || self.limits.iter().enumerate().filter(|(other, _)| *other != which);
            let meets_others = |index: &&usize| others().all(|(_, other)| self.meets(**index, *other));
            let mut among: Vec<usize> = self.considered.iter().filter(meets_others).copied().collect();
            let meets_the_rest = !among.is_empty() && self.limits.len() > 1;
            if among.is_empty() {
                among.clone_from(&self.considered);
            }
            let short = |index: &usize| constraint.shortfall(&self.objectives[*index], &self.against[*index]);
            let closest = among.into_iter().min_by(|a, b| short(a).total_cmp(&short(b)).then(self.compare(*a, *b)));
            // There is one: something is considered, or there would be nothing to miss a constraint.
            let Some(point) = closest else { continue };
            let value = constraint.value(&self.objectives[point], &self.against[point]);
            nearest.push(Nearest {
                constraint: *constraint,
                point,
                label: self.points[point].label.clone(),
                value,
                meets_the_rest,
            });
        }
        nearest
    }

    pub fn why(&self, constraints: &Constraints, met: &[usize]) -> String {
        let mut asked: Vec<String> = self.limits.iter().map(|constraint| constraint.words()).collect();
        asked.extend(constraints.near_best.map(|near| match near {
            NearBest::Within(margin) => {
                format!("at most {} less accurate than the best of what is left", constraint::points(margin))
            }
            NearBest::OneStandardError => "within one standard error of the most accurate of what is left".into(),
        }));
        let which = match constraints.choice {
            Choice::Knee => "the knee of the front",
            Choice::ByConstraints if self.wants_fastest => "the fastest",
            Choice::ByConstraints => "the most accurate",
        };
        let (met, considered) = (met.len(), self.considered.len());
        match asked.is_empty() {
            true => format!("{which} of {}", plural(considered, "point")),
            false => {
                let asked = asked.join("; ");
                match (met, considered) {
                    (1, 1) => format!("the only point that can be chosen, and it meets: {asked}"),
                    (1, _) => format!("the only one of {considered} points that meets: {asked}"),
                    _ => format!("{which} of the {met} of {considered} points that meet: {asked}"),
                }
            }
        }
    }

    pub fn runner_up(&self, constraints: &Constraints, order: &[usize], within_limits: &[usize]) -> Option<RunnerUp> {
        if let Some(&point) = order.get(1) {
            let [chosen, next] = [order[0], point].map(|index| self.objectives[index]);
            let [time, accuracy] = [constraint::seconds(next[0]), constraint::percent(next[1])];
            let slower = || format!("slower: {time} instead of {}", constraint::seconds(chosen[0]));
            let lesser = || format!("less accurate: {accuracy} instead of {}", constraint::percent(chosen[1]));
            let why_not = match constraints.choice {
                Choice::Knee => "nearer to the straight line between the ends of the front".into(),
                Choice::ByConstraints if next[..2] == chosen[..2] => {
                    "as fast and as accurate, and larger or later".into()
                }
                Choice::ByConstraints if self.wants_fastest && next[0] == chosen[0] => format!("as fast, {}", lesser()),
                Choice::ByConstraints if self.wants_fastest => slower(),
                Choice::ByConstraints if next[1] == chosen[1] => format!("as accurate, {}", slower()),
                Choice::ByConstraints => lesser(),
            };
            return Some(RunnerUp { point, why_not });
        }
        // None is left beside the chosen one: what was left out by least.
        let too_far = within_limits.iter().copied().filter(|index| !order.contains(index));
        if let Some(point) = too_far.min_by(|a, b| self.by_accuracy(*a, *b)) {
            let why_not = format!("too far from the most accurate: {}", constraint::percent(self.objectives[point][1]));
            return Some(RunnerUp { point, why_not });
        }
        let missed = |index: usize| self.limits.iter().filter(move |constraint| !self.meets(index, **constraint));
        let failed = self.considered.iter().copied().filter(|index| missed(*index).next().is_some());
        let measure = |index: usize| {
            (missed(index).count(), missed(index).map(|constraint| self.relative(index, *constraint)).sum::<f64>())
        };
        let point = failed.min_by(|a, b| {
            let [(count, short), (other_count, other_short)] = [*a, *b].map(measure);
            count.cmp(&other_count).then(short.total_cmp(&other_short)).then(self.compare(*a, *b))
        })?;
        let misses = missed(point).map(|constraint| {
            let figure = constraint.figure(constraint.value(&self.objectives[point], &self.against[point]));
            format!("{figure}, not {}", constraint.words())
        });
        Some(RunnerUp { point, why_not: misses.collect::<Vec<_>>().join("; ") })
    }

    /// By how much a point misses a constraint, as a share of the most that any misses it by.
    fn relative(&self, index: usize, constraint: Constraint) -> f64 {
        let short = |index: usize| constraint.shortfall(&self.objectives[index], &self.against[index]);
        let most = self.considered.iter().map(|index| short(*index)).fold(f64::MIN_POSITIVE, f64::max);
        short(index) / most
    }

    pub fn notes(&self, chosen: usize) -> Vec<String> {
        let basis = |index: usize| self.points[index].time.basis;
        let mut notes = Vec::new();
        if let Some(base) = self.baseline.filter(|base| basis(*base) != basis(chosen)) {
            notes.push(format!(
                "its time came about in another way ({}) than the baseline's ({}): how many times as fast it is, is not known",
                basis(chosen).as_str(),
                basis(base).as_str()
            ));
        }
        if self.incomparable > 0 {
            notes.push(format!(
                "left out: {} whose times, or replicates, cannot be compared with the baseline's",
                self.incomparable
            ));
        }
        let screened = self.considered.iter().filter(|index| basis(**index) == Basis::Screened).count();
        if screened > 0 && screened < self.considered.len() {
            let all = self.considered.len();
            let have = by_count(screened, "has", "have");
            notes.push(format!("{screened} of the {all} that were chosen among {have} times of screening only"));
        }
        notes
    }
}

//! As much of a space as fits before a deadline, the most telling trials first.

use std::collections::HashMap;

use rand::seq::SliceRandom;

use super::{Offer, Progress, Proposal, Searcher, Told};
use crate::{
    base::{device::Place, rng},
    search::space::{Candidate, Trial},
};

/// Distances taken while putting candidates in order, at most: a large space's last ones follow shuffled.
const DISTANCES: usize = 20_000_000;
/// How much of its cost counts against a candidate: 0 would choose for diversity alone, 1 the cheapest of all before any other.
const THRIFT: f64 = 0.5;

/// Orders trials so that a front is telling early, and starts none that could not end in time.
///
/// The baseline comes first. Then, one after the other, the candidate that is far from all before it (in the values on its
/// axes) for what it costs. Every configuration is trained once before any is trained again under another seed.
pub struct Deadline {
    order: Vec<usize>,
    /// Of each device that has slots; the first one's for any other.
    predicted: Vec<Predicted>,
    /// Trials that go on from a checkpoint: what they train is not lost where they do not end.
    begun: Vec<bool>,
}

/// Times of trainings on a device.
#[derive(Clone, Debug)]
pub struct Predicted {
    pub place: Place,
    /// Of each trial, in seconds or in any other unit: it is measured as the first ones end. A time that is not above 0 is
    /// one that nobody knows, and taken for the mean of the others.
    pub seconds: Vec<f64>,
}

impl Predicted {
    pub fn new(place: Place, seconds: Vec<f64>) -> Predicted {
        Predicted { place, seconds }
    }

    /// The same with all times known.
    fn filled(self) -> Predicted {
        let is_known = |seconds: &&f64| seconds.is_finite() && **seconds > 0.0;
        let known: Vec<f64> = self.seconds.iter().filter(is_known).copied().collect();
        let mean = if known.is_empty() { 1.0 } else { known.iter().sum::<f64>() / known.len() as f64 };
        let fill = |seconds: &f64| if is_known(&seconds) { *seconds } else { mean };
        Predicted { seconds: self.seconds.iter().map(fill).collect(), ..self }
    }
}

/// Share of what is left of a trial that must fit for it to go on a while.
const WORTH_GOING_ON: f64 = 0.05;

impl Deadline {
    /// `predicted` are the times of trials on each device that has slots. No more than the first `limit` trials of the order
    /// are trained.
    ///
    /// Panics unless there is a device, and a prediction for each trial on each.
    pub fn new(
        trials: &[Trial],
        candidates: &[Candidate],
        baseline: Option<usize>,
        predicted: Vec<Predicted>,
        limit: Option<usize>,
    ) -> Deadline {
        assert!(!predicted.is_empty(), "times on a device at least");
        let predicted: Vec<Predicted> = predicted.into_iter().map(Predicted::filled).collect();
        for of in &predicted {
            assert_eq!(trials.len(), of.seconds.len(), "a prediction for each trial");
        }
        // It is trained where it takes least, if it can be.
        let least = |trial: usize| predicted.iter().map(|of| of.seconds[trial]).fold(f64::INFINITY, f64::min);
        let least: Vec<f64> = (0..trials.len()).map(least).collect();
        let mean = if least.is_empty() { 1.0 } else { least.iter().sum::<f64>() / least.len() as f64 };
        let mut costs = vec![mean; candidates.len()];
        for (trial, seconds) in trials.iter().zip(&least).rev() {
            costs[trial.candidate] = *seconds;
        }
        let mut rank = vec![0; candidates.len()];
        for (place, candidate) in Positions::of(candidates).order(&costs, baseline).into_iter().enumerate() {
            rank[candidate] = place;
        }
        let mut order: Vec<usize> = (0..trials.len()).collect();
        order.sort_by_key(|index| (trials[*index].replicate, rank[trials[*index].candidate]));
        order.truncate(limit.unwrap_or(usize::MAX));
        Deadline { order, begun: vec![false; trials.len()], predicted }
    }

    /// The same, where `begun[i]` says whether `trials[i]` goes on from a checkpoint: where nothing fits that could end, such a
    /// one is trained a part of the way.
    pub fn with_begun(self, begun: Vec<bool>) -> Deadline {
        Deadline { begun, ..self }
    }

    /// Of its trials those that `keep` says.
    pub fn only(mut self, keep: impl Fn(usize) -> bool) -> Deadline {
        self.order.retain(|index| keep(*index));
        self
    }

    /// How many times as long as predicted trials take on a device: the median of those that ended there, 1 before the
    /// first.
    pub fn pace(&self, place: Place, progress: &[Progress]) -> f64 {
        let predicted = &self.on(place).seconds;
        let ended = progress.iter().zip(predicted).filter_map(|(progress, predicted)| match progress.took {
            Some((on, took)) if on == place => Some(took / predicted),
            _ => None,
        });
        let mut paces: Vec<f64> = ended.filter(|pace| pace.is_finite()).collect();
        let middle = paces.len() / 2;
        if paces.is_empty() { 1.0 } else { *paces.select_nth_unstable_by(middle, f64::total_cmp).1 }
    }

    fn on(&self, place: Place) -> &Predicted {
        // There is one: `new` looks.
        self.predicted.iter().find(|of| of.place == place).unwrap_or(&self.predicted[0])
    }
}

impl Searcher for Deadline {
    fn propose(&self, told: &Told, slot: &Offer) -> Proposal {
        let mut pending = self.order.iter().copied().filter(|index| told.may_start(*index, slot));
        let chosen = match told.seconds_left {
            None => pending.next(),
            Some(left) => {
                let (predicted, pace) = (&self.on(slot.place).seconds, self.pace(slot.place, told.progress));
                let fits = |index: &usize, share: f64| share * predicted[*index] * pace <= left;
                let begun = pending.clone().find(|index| self.begun[*index] && fits(index, WORTH_GOING_ON));
                pending.find(|index| fits(index, 1.0)).or(begun)
            }
        };
        let is_open = |index: &usize| !told.progress[*index].status.is_final();
        match chosen {
            Some(trial) => told.whole(trial),
            None if self.order.iter().any(is_open) => Proposal::Wait,
            None => Proposal::Done,
        }
    }

    /// In order, if there were time for all.
    fn trials(&self) -> &[usize] {
        &self.order
    }
}

/// Where candidates stand in their space.
struct Positions {
    /// The place of each candidate on each axis.
    places: Vec<Vec<Position>>,
}

/// A value on an axis.
#[derive(Clone, Copy, PartialEq)]
struct Position {
    /// Which of the axis's values it is.
    index: usize,
    /// Of numbers, how far up the axis, in 0..=1.
    height: Option<f64>,
}

impl Positions {
    fn of(candidates: &[Candidate]) -> Positions {
        let axes = candidates.first().map_or(0, |candidate| candidate.values.len());
        let mut places = vec![Vec::with_capacity(axes); candidates.len()];
        for axis in 0..axes {
            let number = |value: Option<&String>| value?.parse::<f64>().ok().filter(|number| number.is_finite());
            let mut values: Vec<Option<&String>> = candidates.iter().map(|of| of.values[axis].as_ref()).collect();
            values.sort_by(|a, b| {
                let [x, y] = [*a, *b].map(|value| number(value).unwrap_or(f64::NEG_INFINITY));
                x.total_cmp(&y).then(a.cmp(b))
            });
            values.dedup();
            let last = values.len().saturating_sub(1).max(1) as f64;
            let known: HashMap<_, _> = values.iter().enumerate().map(|(index, value)| (*value, index)).collect();
            for (place, candidate) in places.iter_mut().zip(candidates) {
                let value = candidate.values[axis].as_ref();
                let index = known[&value];
                place.push(Position { index, height: number(value).map(|_| index as f64 / last) });
            }
        }
        Positions { places }
    }

    /// From 0 to the number of axes. Another number is at least half as far as another word, as it may change as much.
    fn distance(&self, one: usize, other: usize) -> f64 {
        let apart = |(one, other): (&Position, &Position)| match (one.height, other.height) {
            _ if one.index == other.index => 0.0,
            (Some(one), Some(other)) => 0.5 + 0.5 * (one - other).abs(),
            _ => 1.0,
        };
        self.places[one].iter().zip(&self.places[other]).map(apart).sum()
    }

    /// All candidates, the baseline (or else the cheapest) first.
    fn order(&self, costs: &[f64], baseline: Option<usize>) -> Vec<usize> {
        let cheapest = || (0..costs.len()).min_by(|a, b| costs[*a].total_cmp(&costs[*b]));
        let Some(first) = baseline.or_else(cheapest) else { return Vec::new() };
        let mut order = vec![first];
        let mut rest: Vec<usize> = (0..costs.len()).filter(|candidate| *candidate != first).collect();
        // To the closest and to all of those chosen.
        let mut apart: Vec<(f64, f64)> = vec![(f64::INFINITY, 0.0); costs.len()];
        let chosen_well = (DISTANCES / costs.len()).clamp(1, costs.len());
        while !rest.is_empty() && order.len() < chosen_well {
            // There is a last one: the first was put there.
            let last = order[order.len() - 1];
            for candidate in &rest {
                let distance = self.distance(*candidate, last);
                let (closest, sum) = &mut apart[*candidate];
                (*closest, *sum) = (closest.min(distance), *sum + distance);
            }
            let count = order.len() as f64;
            let worth = |candidate: usize| {
                let (closest, sum) = apart[candidate];
                (closest + 0.5 * sum / count) / costs[candidate].powf(THRIFT)
            };
            let best = (0..rest.len()).max_by(|a, b| worth(rest[*a]).total_cmp(&worth(rest[*b])).then(b.cmp(a)));
            // There is one: the rest is not empty.
            order.extend(best.map(|at| rest.remove(at)));
        }
        rest.shuffle(&mut rng::stream(0, "deadline order", 0));
        order.extend(rest);
        order
    }
}

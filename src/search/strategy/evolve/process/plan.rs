//! What a round is to have: what goes on, and what is new.

use std::collections::HashSet;

use super::{
    super::{breed, weigh::Guess},
    Fresh, Going, Process, Segment,
};
use crate::{
    base::{rng, words::plural},
    search::strategy::{
        Offered, Why,
        freeze::{
            bar::Bar,
            outlook::{Models, Outlook},
            unit::Unit,
        },
    },
};

/// Trainings of a round: configurations that go on, new ones that promise most, and strangers.
const GOING: usize = 8;
const PROMISING: usize = 6;
const STRANGERS: usize = 2;
/// Children and strangers that the promising ones are chosen from; all configurations where there are no more than these.
const BRED: usize = 192;
const DRAWN: usize = 64;
/// Whole trainings that others are predicted from, at most.
const MOST_EXAMPLES: usize = 100;
/// Two new ones of a round differ by so much, in the sum of squares of their features, where there is a choice.
const APART: f64 = 0.01;

/// A configuration that is weighed.
struct Weighed {
    place: Vec<usize>,
    offered: Offered,
    features: Vec<f64>,
    /// Whose child it is.
    parents: Vec<usize>,
    outlook: Outlook,
    /// Gain a second.
    worth: f64,
}

impl Process {
    /// The next round: what goes on and what is new; decisions about what does not go on are made.
    pub(super) fn plan(&mut self) -> (Vec<Going>, Vec<Fresh>) {
        let mut used = vec![false; self.shares.len()];
        used[0] = true;
        for level in self.units.iter().filter(|unit| !unit.is_whole()).filter_map(Unit::level) {
            used[level] = true;
        }
        let models = Models::fit(&self.units, &self.axes, &self.examples(), &used);
        let points = self.units.iter().flat_map(|unit| models.points(unit)).collect();
        let bar = Bar::of(points, self.settings.objectives);
        let going = self.going(&models, &bar);
        let room = self.limit.saturating_sub(self.units.len());
        let mut fresh = self.promising(&models, &bar);
        // A list that holds nothing open any more is done with; of a space that nobody has listed there is always more.
        let strangers = if self.ground.places().is_some() { 0 } else { STRANGERS };
        let seen = fresh.iter().map(|of| of.offered.key.clone()).collect();
        for (place, offered) in self.strangers(strangers, seen) {
            let (why, based_on) = (Why::Drawn, String::new());
            fresh.push(Fresh { place, offered, why, is_whole: false, basis: None, based_on });
        }
        fresh.truncate(room);
        (going, fresh)
    }

    /// Whole trainings that others are predicted from, and whether what came of each had no part in its choice.
    fn examples(&self) -> Vec<(usize, bool)> {
        let is_whole =
            |unit: &usize| !self.units[*unit].is_dead && self.units[*unit].seen() == self.units[*unit].epochs;
        let (random, chosen): (Vec<usize>, Vec<usize>) =
            (0..self.units.len()).filter(is_whole).partition(|unit| self.random.contains(unit));
        // The last ones are the closest to what is proposed now.
        let chosen = chosen.into_iter().rev().map(|unit| (unit, false));
        random.into_iter().map(|unit| (unit, true)).chain(chosen).take(MOST_EXAMPLES).collect()
    }

    /// Units that go on, by the best gain a second. One that was open until now and is not is closed.
    fn going(&mut self, models: &Models, bar: &Bar) -> Vec<Going> {
        let mut open: Vec<(f64, Going)> = Vec::new();
        for at in 0..self.units.len() {
            let unit = &self.units[at];
            if unit.is_whole() {
                continue;
            }
            let Outlook { basis, until, is_certain, gain } = models.outlook(unit, &self.axes[unit.candidate], bar);
            let Some(until) = until else {
                if std::mem::replace(&mut self.is_open[at], false) {
                    let why = if is_certain { Why::Dominated } else { Why::Unlikely };
                    self.decide(at, 0, None, why, Some(basis), String::new());
                }
                continue;
            };
            let (replicate, epochs) = unit.next(until);
            let seconds = unit.cost(unit.curves[replicate].len(), epochs).max(1e-9);
            let why = if self.is_open[at] { Why::Open } else { Why::Thawed };
            open.push((gain / seconds, Going { segment: Segment { unit: at, replicate, epochs }, why, basis }));
        }
        open.sort_by(|one, other| other.0.total_cmp(&one.0));
        open.truncate(GOING);
        open.into_iter().map(|(_, going)| going).collect()
    }

    /// New configurations that may beat the front, by the best gain a second.
    fn promising(&self, models: &Models, bar: &Bar) -> Vec<Fresh> {
        let lines = self.ground.lines();
        let guess = Guess::learn(&self.units, |unit| self.axes[self.units[unit].candidate].clone(), self.rate());
        let mut weighed: Vec<Weighed> = Vec::new();
        for (place, offered, parents) in self.offers(models, bar) {
            let features = breed::features(lines, &place);
            let (outlook, seconds) = guess.outlook(&offered, &self.shares, &features, models, bar);
            if outlook.until.is_some() {
                let worth = outlook.gain / seconds.max(1e-9);
                weighed.push(Weighed { place, offered, features, parents, outlook, worth });
            }
        }
        weighed.sort_by(|one, other| other.worth.total_cmp(&one.worth));
        let open = weighed.len();
        let mut taken: Vec<(usize, Weighed)> = Vec::new();
        let mut rest = Vec::new();
        for (rank, of) in (1..).zip(weighed) {
            let is_apart = taken.iter().all(|(_, other)| distance(&of.features, &other.features) >= APART);
            match taken.len() < PROMISING && is_apart {
                true => taken.push((rank, of)),
                false => rest.push((rank, of)),
            }
        }
        let more = PROMISING - taken.len();
        taken.extend(rest.into_iter().take(more));
        taken.into_iter().map(|(rank, of)| self.fresh(of, rank, open)).collect()
    }

    fn fresh(&self, of: Weighed, rank: usize, open: usize) -> Fresh {
        let name = |unit: &usize| format!("{:?}", self.labels[self.units[*unit].candidate]);
        let from = match of.parents.as_slice() {
            [] => "drawn at random".to_string(),
            [one] => format!("a child of {}", name(one)),
            [one, other, ..] => format!("a child of {} and {}", name(one), name(other)),
        };
        let told = plural(self.units.len(), "configuration");
        let based_on = format!(
            "{from}; its gain for its time is number {rank} of {} that may beat the front, by what {told} came to",
            open
        );
        let Weighed { place, offered, outlook, .. } = of;
        Fresh { place, offered, why: Why::Proposed, is_whole: false, basis: Some(outlook.basis), based_on }
    }

    /// What is weighed: children of the front and strangers, or all that there is.
    fn offers(&self, models: &Models, bar: &Bar) -> Vec<(Vec<usize>, Offered, Vec<usize>)> {
        let mut seen: HashSet<String> = HashSet::new();
        let mut new = |place: &[usize]| {
            let offered = self.ground.at(place).filter(|of| !self.known.contains(&of.key))?;
            seen.insert(offered.key.clone()).then_some(offered)
        };
        let mut offers = Vec::new();
        if let Some(places) = self.ground.places().filter(|places| places.len() <= BRED + DRAWN + self.units.len()) {
            offers.extend(places.iter().filter_map(|place| Some((place.clone(), new(place)?, Vec::new()))));
            return offers;
        }
        let parents = self.parents(models, bar);
        let places: Vec<&[usize]> = parents.iter().map(|unit| self.places[*unit].0.as_slice()).collect();
        let mut rng = rng::stream(self.settings.seed, "breed", self.rounds as u64);
        for _ in 0..if places.is_empty() { 0 } else { BRED } {
            let (place, mut of) = breed::child(&mut rng, self.ground.lines(), &places);
            of.sort_unstable();
            if let Some(offered) = new(&place) {
                let mut of = of.map(|parent| parents[parent]).to_vec();
                of.dedup();
                offers.push((place, offered, of));
            }
        }
        for _ in 0..DRAWN {
            let place = breed::stranger(&mut rng, self.ground.lines());
            offers.extend(new(&place).map(|offered| (place, offered, Vec::new())));
        }
        offers
    }

    /// The units that are on the front of what is known; all that live where there are none.
    fn parents(&self, models: &Models, bar: &Bar) -> Vec<usize> {
        let is_on_front = |unit: &usize| {
            let mut points = models.points(&self.units[*unit]);
            points.any(|(seconds, parameters, accuracy)| accuracy >= bar.at(seconds, parameters))
        };
        let living: Vec<usize> = (0..self.units.len()).filter(|unit| !self.units[*unit].is_dead).collect();
        let front: Vec<usize> = living.iter().copied().filter(is_on_front).collect();
        if front.is_empty() { living } else { front }
    }

    /// Seconds of a unit over those that the ground has for it, in the median.
    fn rate(&self) -> f64 {
        let rate = |(unit, (_, guessed)): (&Unit, &(Vec<usize>, f64))| Some(unit.seconds.last()? / guessed);
        let mut rates: Vec<f64> = self
            .units
            .iter()
            .zip(&self.places)
            .filter_map(rate)
            .filter(|rate| rate.is_finite() && *rate > 0.0)
            .collect();
        let middle = rates.len() / 2;
        if rates.is_empty() { 1.0 } else { *rates.select_nth_unstable_by(middle, f64::total_cmp).1 }
    }
}

fn distance(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| (a - b) * (a - b)).sum()
}

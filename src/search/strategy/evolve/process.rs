//! The process of proposing, round by round: a function of curves, whichever of them came first.
//!
//! A round is decided from the results of all rounds before it, in the order of the list. So neither the number of slots nor the
//! order of ends decides anything, and who begins anew with the same curves comes to the same rounds.

mod plan;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    rc::Rc,
};

use super::breed;
use crate::{
    base::rng,
    search::strategy::{
        Basis, Brief, Costs, Decision, Ground, Offered, Proposal, Settings, Told, Why,
        freeze::{
            proposals::set_aside,
            unit::{Unit, has_come, shares},
        },
    },
};

/// Configurations that are drawn at random at first. Every second of them is trained to its end, so that others can be predicted.
const FIRST: usize = 16;
/// Draws for each configuration that is wanted, at most: places may be excluded, or known.
const TRIES: usize = 50;

/// A training that was decided.
#[derive(Clone, Copy, Debug)]
struct Segment {
    unit: usize,
    replicate: usize,
    epochs: usize,
}

/// A configuration that is to be trained for the first time.
struct Fresh {
    place: Vec<usize>,
    offered: Offered,
    why: Why,
    is_whole: bool,
    basis: Option<Basis>,
    based_on: String,
}

/// What was decided of a configuration that goes on, or does not.
struct Going {
    segment: Segment,
    why: Why,
    basis: Basis,
}

pub(super) struct Process {
    settings: Settings,
    ground: Rc<dyn Ground>,
    /// No more configurations than these.
    limit: usize,
    shares: Vec<f64>,
    /// What is on the list, by key, and not taken up yet.
    listed: HashMap<String, Unit>,
    /// Names of configurations.
    labels: Vec<String>,
    units: Vec<Unit>,
    /// Of each unit: its place, and its seconds as the ground has them.
    places: Vec<(Vec<usize>, f64)>,
    known: HashSet<String>,
    /// Units that were trained to their end whatever came of them.
    random: BTreeSet<usize>,
    /// Features, by configuration.
    axes: Vec<Vec<f64>>,
    rounds: usize,
    /// The trainings of the round.
    round: Vec<Segment>,
    /// What the next round is to have, where not all of it is listed.
    next: Option<(Vec<Going>, Vec<Fresh>)>,
    is_over: bool,
    is_open: Vec<bool>,
    /// Units, from the first, of which nothing is left to be set aside.
    aside: usize,
    pub decisions: Vec<Decision>,
    /// The last decision about each unit.
    last: Vec<Option<usize>>,
}

impl Process {
    pub fn new(brief: &Brief, order: &[usize], costs: &Costs, ground: Rc<dyn Ground>) -> Process {
        let trials = brief.trials;
        let first = order.first().map(|trial| &trials[*trial].config);
        // Of the first configuration of the list, which is the same however long it is.
        let shares = shares(first.map_or(1, |config| config.train.epochs));
        let mut keys: Vec<Option<String>> = vec![None; brief.candidates.len()];
        let mut listed: HashMap<String, Unit> = HashMap::new();
        for trial in order {
            let candidate = trials[*trial].candidate;
            match &keys[candidate] {
                None => {
                    let key = brief.candidates[candidate].config.key("");
                    keys[candidate] = Some(key.clone());
                    listed.insert(key, Unit::new(trials, *trial, &shares, costs));
                }
                Some(key) => {
                    if let Some(unit) = listed.get_mut(key) {
                        unit.trials.push(*trial);
                        unit.curves.push(Vec::new());
                    }
                }
            }
        }
        // Another seed of the space is another exploration.
        let seed = brief.settings.seed.wrapping_add(first.map_or(0, |config| config.seed));
        let mut process = Process {
            settings: Settings { seed, ..brief.settings },
            ground,
            limit: brief.limit.unwrap_or(usize::MAX),
            shares,
            listed,
            labels: brief.candidates.iter().map(|of| of.label.clone()).collect(),
            units: Vec::new(),
            places: Vec::new(),
            known: HashSet::new(),
            random: BTreeSet::new(),
            axes: vec![Vec::new(); brief.candidates.len()],
            rounds: 0,
            round: Vec::new(),
            next: None,
            is_over: false,
            is_open: Vec::new(),
            aside: 0,
            decisions: Vec::new(),
            last: Vec::new(),
        };
        process.next = Some((Vec::new(), process.first_round()));
        process
    }

    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// The places of what is wanted and not listed.
    pub fn further(&self) -> Vec<Vec<usize>> {
        let fresh = self.next.iter().flat_map(|(_, fresh)| fresh);
        fresh.filter(|of| !self.listed.contains_key(&of.offered.key)).map(|of| of.place.clone()).collect()
    }

    /// The baseline and some that are drawn at random.
    fn first_round(&self) -> Vec<Fresh> {
        let mut fresh: Vec<Fresh> = Vec::new();
        if let Some(place) = self.ground.start()
            && let Some(offered) = self.ground.at(&place)
        {
            fresh.push(Fresh {
                place,
                offered,
                why: Why::Baseline,
                is_whole: true,
                basis: None,
                based_on: String::new(),
            });
        }
        let seen = fresh.iter().map(|of| of.offered.key.clone()).collect();
        for (number, (place, offered)) in self.strangers(FIRST, seen).into_iter().enumerate() {
            let is_whole = number % 2 == 0;
            let why = if is_whole { Why::Calibration } else { Why::Drawn };
            fresh.push(Fresh { place, offered, why, is_whole, basis: None, based_on: String::new() });
        }
        fresh.truncate(self.limit);
        fresh
    }

    /// So many configurations drawn at random that are not known, and not `seen`; fewer where no more are found.
    fn strangers(&self, count: usize, mut seen: HashSet<String>) -> Vec<(Vec<usize>, Offered)> {
        let mut rng = rng::stream(self.settings.seed, "strangers", self.rounds as u64);
        let mut drawn = Vec::new();
        for _ in 0..TRIES * count {
            if drawn.len() == count {
                break;
            }
            let place = match self.ground.places() {
                Some(places) => places[rand::Rng::random_range(&mut rng, 0..places.len())].clone(),
                None => breed::stranger(&mut rng, self.ground.lines()),
            };
            let offered = self.ground.at(&place).filter(|of| !self.known.contains(&of.key));
            if let Some(offered) = offered.filter(|of| seen.insert(of.key.clone())) {
                drawn.push((place, offered));
            }
        }
        drawn
    }

    /// Takes up what is told, and decides all that can be decided from it.
    pub fn advance(&mut self, told: &Told) {
        while !self.is_over {
            let trial = |of: &Segment| self.units[of.unit].trials[of.replicate];
            if !self.round.iter().all(|of| has_come(told, trial(of), of.epochs)) {
                return;
            }
            for of in std::mem::take(&mut self.round) {
                let progress = &told.progress[trial_of(&self.units, of)];
                self.units[of.unit].take_up(of.replicate, of.epochs, progress);
            }
            if self.next.is_none() {
                let (going, fresh) = self.plan();
                self.is_over = going.is_empty() && fresh.is_empty();
                self.next = Some((going, fresh));
            }
            if self.is_over || !self.begin_round() {
                return;
            }
        }
    }

    /// Begins the next round; not where some of it has to be listed before.
    fn begin_round(&mut self) -> bool {
        if !self.further().is_empty() {
            return false;
        }
        let Some((going, fresh)) = self.next.take() else { return false };
        for Going { segment, why, basis } in going {
            self.is_open[segment.unit] = true;
            self.decide(segment.unit, segment.replicate, Some(segment.epochs), why, Some(basis), String::new());
            self.round.push(segment);
        }
        for of in fresh {
            let Some((unit, whole)) = self.add(&of) else { continue };
            let Fresh { why, is_whole, mut basis, based_on, .. } = of;
            if let Some(basis) = &mut basis
                && let Some(at) = basis.stop.checked_sub(1)
            {
                // Now that it is listed, it is known what it takes.
                basis.seconds = self.units[unit].seconds.get(at).copied().unwrap_or(basis.seconds);
            }
            let epochs = if is_whole { whole } else { self.units[unit].rungs[0] };
            let replicates = if why == Why::Baseline { self.units[unit].trials.len() } else { 1 };
            for replicate in 0..replicates {
                self.decide(unit, replicate, Some(epochs), why, basis, based_on.clone());
                self.round.push(Segment { unit, replicate, epochs });
            }
        }
        let cost = |of: &Segment| {
            let unit = &self.units[of.unit];
            unit.cost(unit.curves[of.replicate].len(), of.epochs)
        };
        // The longest first: what is short fills the slots at the end.
        let mut round = std::mem::take(&mut self.round);
        round.sort_by(|one, other| cost(other).total_cmp(&cost(one)));
        self.round = round;
        self.rounds += 1;
        true
    }

    /// Takes a configuration up from the list: its unit and its epochs.
    fn add(&mut self, of: &Fresh) -> Option<(usize, usize)> {
        let unit = self.listed.remove(&of.offered.key)?;
        let (at, epochs) = (self.units.len(), unit.epochs);
        self.axes[unit.candidate] = breed::features(self.ground.lines(), &of.place);
        self.known.insert(of.offered.key.clone());
        self.places.push((of.place.clone(), of.offered.seconds.last().copied().unwrap_or(0.0)));
        if of.is_whole {
            self.random.insert(at);
        }
        self.is_open.push(true);
        self.last.push(None);
        self.units.push(unit);
        Some((at, epochs))
    }

    fn decide(
        &mut self,
        unit: usize,
        replicate: usize,
        epochs: Option<usize>,
        why: Why,
        basis: Option<Basis>,
        based_on: String,
    ) {
        let trial = self.units[unit].trials[replicate];
        self.last[unit] = Some(self.decisions.len());
        self.decisions.push(Decision { round: self.rounds, trial, epochs, why, basis, based_on });
    }

    /// The round's trainings, in the order in which they are begun: trial and epochs.
    pub fn wanted(&self) -> impl Iterator<Item = (usize, usize)> {
        self.round.iter().map(|of| (trial_of(&self.units, *of), of.epochs))
    }

    /// What a resting trial that is trained no further is to become, one after the other.
    pub fn set_aside(&mut self, told: &Told) -> Option<Proposal> {
        let last = |unit: usize| self.last[unit].map(|at| &self.decisions[at]);
        set_aside(&self.units, &mut self.aside, told, last)
    }
}

fn trial_of(units: &[Unit], of: Segment) -> usize {
    units[of.unit].trials[of.replicate]
}

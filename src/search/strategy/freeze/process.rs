//! The process of deciding, round by round: a function of curves, whichever of them came first.
//!
//! A round is a list of trainings that were decided together. Each is decided from the results of all rounds but the one
//! before it, which may be running still: so slots find work while the last of a round ends, and neither their number nor the
//! order of ends decides anything.

mod closing;

use std::collections::BTreeSet;

use rand::seq::SliceRandom;

use super::{
    Decision, Settings, Why,
    bar::Bar,
    features,
    outlook::{Models, Outlook},
    proposals::set_aside,
    unit::{Unit, has_come, shares},
};
use crate::{
    base::rng,
    search::strategy::{Brief, Costs, Proposal, Told},
};

/// Share of the configurations that are trained to their end at first, and the fewest and most of them.
const CALIBRATION: (f64, usize, usize) = (0.03, 8, 160);
/// One of so many of these is trained under a second seed, where there are replicates.
const SECOND_SEEDS: usize = 3;
/// Configurations for each training of a round, and the fewest and most trainings.
const ROUND: (usize, usize, usize) = (16, 8, 2000);
/// Whole trainings that others are predicted from, at most.
const MOST_EXAMPLES: usize = 200;

/// A training that was decided.
#[derive(Clone, Copy, Debug)]
struct Segment {
    unit: usize,
    replicate: usize,
    epochs: usize,
}

/// What the process is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Search,
    Audit,
    Over,
}

pub(super) struct Process {
    settings: Settings,
    /// Features of every configuration.
    axes: Vec<Vec<f64>>,
    pub units: Vec<Unit>,
    rounds: Vec<Vec<Segment>>,
    /// Rounds whose results are taken up; segments of each later one that have come to their end, from the first.
    absorbed: usize,
    /// Trainings of the next round, from the first, that have come to their end.
    come: usize,
    /// As many rounds were taken up when nothing was found to be open: that is not looked for again before more are.
    idle_since: Option<usize>,
    /// Trainings of the audit: nothing waits for them until nothing else is open.
    deferred: Vec<Segment>,
    phase: Phase,
    /// Units that were trained to their end as they were drawn, without regard to what they promise.
    random: BTreeSet<usize>,
    /// Of each unit a number from 0 to 1 that was drawn before anything was known of it: the audit finishes the paused with
    /// numbers below a threshold, those with the least first.
    lots: Vec<f64>,
    threshold: f64,
    /// Units that were ever paused though they might be on the front.
    paused: Vec<usize>,
    looks: usize,
    has_kept: bool,
    /// Units, from the first, of which nothing is left to be set aside.
    aside: usize,
    is_open: Vec<bool>,
    was_closed: Vec<bool>,
    pub decisions: Vec<Decision>,
    /// The last decision about each unit.
    last: Vec<Option<usize>>,
}

impl Process {
    pub fn new(brief: &Brief, order: &[usize], costs: &Costs, settings: Settings) -> Process {
        let longest = order.iter().map(|trial| brief.trials[*trial].config.train.epochs).max().unwrap_or(1);
        let shares = shares(longest);
        let mut of_candidate = vec![usize::MAX; brief.candidates.len()];
        let mut units: Vec<Unit> = Vec::new();
        for trial in order {
            let at = &mut of_candidate[brief.trials[*trial].candidate];
            if *at == usize::MAX {
                *at = units.len();
                units.push(Unit::new(brief.trials, *trial, &shares, costs));
            } else {
                units[*at].trials.push(*trial);
                units[*at].curves.push(Vec::new());
            }
        }
        let baseline = brief.baseline.map(|candidate| of_candidate[candidate]).filter(|unit| *unit != usize::MAX);
        let mut process = Process {
            settings,
            axes: features::of_axes(brief.candidates),
            is_open: vec![true; units.len()],
            was_closed: vec![false; units.len()],
            units,
            rounds: Vec::new(),
            absorbed: 0,
            come: 0,
            aside: 0,
            idle_since: None,
            deferred: Vec::new(),
            phase: Phase::Search,
            random: BTreeSet::new(),
            lots: Vec::new(),
            threshold: settings.audit,
            paused: Vec::new(),
            looks: 0,
            has_kept: false,
            decisions: Vec::new(),
            last: Vec::new(),
        };
        process.last = vec![None; process.units.len()];
        process.draw_lots();
        let first = process.first_round(baseline);
        process.push(first);
        process
    }

    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// All configurations a little, and some that are drawn at random, and the baseline, to their end.
    fn first_round(&mut self, baseline: Option<usize>) -> Vec<Segment> {
        let count = self.units.len();
        let (share, fewest, most) = CALIBRATION;
        let drawn = ((share * count as f64).round() as usize).clamp(fewest, most).min(count);
        let calibration = self.shuffled((0..count).collect(), "calibration");
        self.random.extend(&calibration[..drawn]);
        let seconds = self.random.iter().copied().step_by(SECOND_SEEDS).collect::<Vec<_>>();
        let mut segments = Vec::new();
        for unit in 0..count {
            let (is_random, is_baseline) = (self.random.contains(&unit), Some(unit) == baseline);
            let why = if is_baseline {
                Why::Baseline
            } else if is_random {
                Why::Calibration
            } else {
                Why::First
            };
            let of = &self.units[unit];
            let epochs = if is_random || is_baseline { of.epochs } else { of.rungs[0] };
            let replicates = match () {
                () if is_baseline => of.trials.len(),
                () if is_random && seconds.contains(&unit) => of.trials.len().min(2),
                () => 1,
            };
            for replicate in 0..replicates {
                segments.push(self.decide(Segment { unit, replicate, epochs }, why, None));
            }
        }
        segments
    }

    fn shuffled(&self, mut of: Vec<usize>, purpose: &str) -> Vec<usize> {
        of.shuffle(&mut rng::stream(self.settings.seed, purpose, self.looks as u64));
        of
    }

    fn decide(&mut self, segment: Segment, why: Why, outlook: Option<&Outlook>) -> Segment {
        let trial = self.units[segment.unit].trials[segment.replicate];
        let basis = outlook.map(|outlook| outlook.basis);
        self.last[segment.unit] = Some(self.decisions.len());
        self.decisions.push(Decision {
            round: self.rounds.len(),
            trial,
            epochs: Some(segment.epochs),
            why,
            basis,
            based_on: String::new(),
        });
        segment
    }

    /// Adds a round, the longest trainings first: what is short fills the slots at its end.
    fn push(&mut self, mut round: Vec<Segment>) {
        let cost = |of: &Segment| {
            let unit = &self.units[of.unit];
            unit.cost(unit.curves[of.replicate].len(), of.epochs)
        };
        round.sort_by(|one, other| cost(other).total_cmp(&cost(one)));
        self.rounds.push(round);
    }

    /// Takes up what is told, and decides all that can be decided from it.
    pub fn advance(&mut self, told: &Told) {
        while self.phase != Phase::Over {
            let next = self.rounds.len();
            // The first round is awaited by the second; of later ones the one before may be running.
            let needed = if next < 2 { next } else { next - 1 };
            if !self.absorb(told, needed) {
                return;
            }
            let mut round = self.plan_once();
            if round.is_empty() {
                if !self.absorb(told, next) {
                    return;
                }
                if self.absorbed > needed {
                    round = self.plan_once();
                }
            }
            if round.is_empty() && !self.deferred.is_empty() {
                if !self.take_up(told, &self.deferred.clone()) {
                    return;
                }
                self.deferred.clear();
                self.idle_since = None;
                continue;
            }
            if round.is_empty() {
                round = self.next_phase();
                self.idle_since = None;
            }
            if !round.is_empty() {
                self.push(round);
            }
        }
    }

    /// Takes up the results of rounds before `until`; tells whether they are all there.
    fn absorb(&mut self, told: &Told, until: usize) -> bool {
        while self.absorbed < until {
            let round = &self.rounds[self.absorbed];
            let trial = |of: &Segment| self.units[of.unit].trials[of.replicate];
            let more = round[self.come..].iter().take_while(|of| has_come(told, trial(of), of.epochs)).count();
            self.come += more;
            if self.come < round.len() {
                return false;
            }
            self.take_up(told, &round.clone());
            (self.absorbed, self.come) = (self.absorbed + 1, 0);
        }
        true
    }

    /// Takes up the results of trainings, if they are all there.
    fn take_up(&mut self, told: &Told, segments: &[Segment]) -> bool {
        let trial = |of: &Segment| self.units[of.unit].trials[of.replicate];
        if !segments.iter().all(|of| has_come(told, trial(of), of.epochs)) {
            return false;
        }
        for of in segments {
            let progress = &told.progress[self.units[of.unit].trials[of.replicate]];
            self.units[of.unit].take_up(of.replicate, of.epochs, progress);
        }
        true
    }

    /// Trainings that were decided and are not taken up, in the order in which they are begun: trial and epochs.
    pub fn wanted(&self) -> impl Iterator<Item = (usize, usize)> {
        let segments = self.rounds[self.absorbed..].iter().flatten().skip(self.come).chain(&self.deferred);
        segments.map(|of| (self.units[of.unit].trials[of.replicate], of.epochs))
    }

    /// What a resting trial that is trained no further is to become, one after the other.
    pub fn set_aside(&mut self, told: &Told) -> Option<Proposal> {
        let last = |unit: usize| self.last[unit].map(|at| &self.decisions[at]);
        set_aside(&self.units, &mut self.aside, told, last)
    }

    /// Whole trainings that others are predicted from, and whether each was drawn at random.
    fn examples(&self) -> Vec<(usize, bool)> {
        let is_whole =
            |unit: &usize| !self.units[*unit].is_dead && self.units[*unit].seen() == self.units[*unit].epochs;
        let (random, chosen): (Vec<usize>, Vec<usize>) =
            (0..self.units.len()).filter(is_whole).partition(|unit| self.random.contains(unit));
        let drawn = random.into_iter().map(|unit| (unit, true));
        drawn.chain(chosen.into_iter().map(|unit| (unit, false))).take(MOST_EXAMPLES).collect()
    }

    fn bar(&self, models: &Models) -> Bar {
        Bar::of(self.units.iter().flat_map(|unit| models.points(unit)).collect(), self.settings.objectives)
    }

    fn models(&self) -> Models {
        let mut used = vec![false; self.units.first().map_or(1, |unit| unit.rungs.len())];
        for level in self.units.iter().filter(|unit| !unit.is_whole()).filter_map(Unit::level) {
            used[level] = true;
        }
        Models::fit(&self.units, &self.axes, &self.examples(), &used)
    }

    /// As [`Process::plan`], but nothing where it was found so from the same results.
    fn plan_once(&mut self) -> Vec<Segment> {
        if self.idle_since == Some(self.absorbed) {
            return Vec::new();
        }
        let round = self.plan();
        self.idle_since = round.is_empty().then_some(self.absorbed);
        round
    }

    /// What may still beat what is known, by the best gain a second.
    fn plan(&mut self) -> Vec<Segment> {
        if self.phase != Phase::Search {
            return Vec::new();
        }
        let models = self.models();
        let bar = self.bar(&models);
        let running = self.rounds[self.absorbed..].iter().flatten().chain(&self.deferred);
        let running: BTreeSet<usize> = running.map(|of| of.unit).collect();
        let mut open: Vec<(f64, Segment, Outlook)> = Vec::new();
        let mut drawn = Vec::new();
        for unit in 0..self.units.len() {
            let of = &self.units[unit];
            if of.is_whole() || running.contains(&unit) {
                continue;
            }
            let outlook = models.outlook(of, &self.axes[of.candidate], &bar);
            match outlook.until {
                Some(until) => {
                    let segment = next_segment(of, unit, until);
                    let cost = of.cost(of.curves[segment.replicate].len(), segment.epochs).max(1e-9);
                    open.push((outlook.gain / cost, segment, outlook));
                }
                None => self.close(unit, &outlook, &mut drawn),
            }
        }
        open.sort_by(|one, other| other.0.total_cmp(&one.0));
        let (each, fewest, most) = ROUND;
        open.truncate((self.units.len() / each).clamp(fewest, most));
        let audited = self.finish(drawn, Why::Audit);
        self.deferred.extend(audited);
        let mut round = Vec::new();
        for (_, segment, outlook) in open {
            let why = if self.is_open[segment.unit] { Why::Open } else { Why::Thawed };
            self.is_open[segment.unit] = true;
            round.push(self.decide(segment, why, Some(&outlook)));
        }
        round
    }

    /// Pauses a configuration that was open until now. If its lot is that of the audit, it is one of `drawn`.
    fn close(&mut self, unit: usize, outlook: &Outlook, drawn: &mut Vec<usize>) {
        if !std::mem::replace(&mut self.is_open[unit], false) {
            return;
        }
        let trial = self.units[unit].trials[0];
        let why = if outlook.is_certain { Why::Dominated } else { Why::Unlikely };
        let basis = Some(outlook.basis);
        self.last[unit] = Some(self.decisions.len());
        self.decisions.push(Decision {
            round: self.rounds.len(),
            trial,
            epochs: None,
            why,
            basis,
            based_on: String::new(),
        });
        if !outlook.is_certain && !self.was_closed[unit] {
            self.paused.push(unit);
            if self.lots[unit] < self.threshold {
                self.random.insert(unit);
                drawn.push(unit);
            }
        }
        self.was_closed[unit] = true;
    }
}

/// How a configuration that may beat the bar at `until` goes on.
fn next_segment(of: &Unit, unit: usize, until: usize) -> Segment {
    let (replicate, epochs) = of.next(until);
    Segment { unit, replicate, epochs }
}

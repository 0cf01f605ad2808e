//! What follows once nothing is open: the audit of what was paused, and what effects of factors are estimated from.

use std::collections::BTreeSet;

use super::{
    super::{
        Why,
        audit::{Audit, DOUBT, doubt_of, draws_for, upper_bound},
        outlook::Models,
        unit::Unit,
    },
    Phase, Process, Segment,
};

/// A value that fewer configurations have is none of a factor, but one of many on a scale.
const FEWEST_OF_A_VALUE: usize = 4;

impl Process {
    /// Draws the lots, and how many of them the audit takes as it goes.
    pub(super) fn draw_lots(&mut self) {
        let count = self.units.len();
        let order = self.shuffled((0..count).collect(), "audit");
        self.lots = vec![0.0; count];
        for (place, unit) in order.into_iter().enumerate() {
            self.lots[unit] = (place as f64 + 0.5) / count as f64;
        }
        if let Some(risk) = self.settings.risk {
            self.threshold = (draws_for(0, risk, doubt_of(0, true)) as f64 / count as f64).min(1.0);
        }
    }

    /// What follows once nothing is open: all of some configurations, if any.
    pub(super) fn next_phase(&mut self) -> Vec<Segment> {
        match self.phase {
            Phase::Search if self.settings.keep_factors > 0.0 && !self.has_kept => {
                self.has_kept = true;
                let kept = self.kept_factors();
                self.finish(kept, Why::Factors)
            }
            Phase::Search => {
                let round = self.draw();
                self.phase = if round.is_empty() { Phase::Over } else { Phase::Audit };
                round
            }
            // What was finished may have opened others.
            Phase::Audit | Phase::Over => {
                self.phase = Phase::Search;
                Vec::new()
            }
        }
    }

    /// The next configurations of the audit; none where it says enough.
    fn draw(&mut self) -> Vec<Segment> {
        let mut order = self.paused.clone();
        order.sort_by(|one, other| self.lots[*one].total_cmp(&self.lots[*other]));
        loop {
            let before = order.partition_point(|unit| self.lots[*unit] < self.threshold);
            let audit = self.audit();
            let wanted = match self.settings.risk {
                Some(risk) if audit.remaining > 0 && audit.risk > risk => {
                    // As if no more of them belonged on the front than are known to; more where these do not suffice.
                    draws_for(audit.on_front, risk, doubt_of(self.looks, true)).max(before + before / 4 + 1)
                }
                Some(_) => before,
                None => (self.settings.audit * order.len() as f64).ceil() as usize,
            };
            if wanted <= before || before == order.len() {
                return Vec::new();
            }
            self.looks += 1;
            let wanted = wanted.min(order.len());
            self.threshold = order.get(wanted).map_or(2.0, |next| self.lots[*next]);
            self.random.extend(&order[before..wanted]);
            let round = self.finish(order[before..wanted].to_vec(), Why::Audit);
            // Those drawn may be finished already, as others opened them.
            if !round.is_empty() {
                return round;
            }
        }
    }

    /// All trials of configurations to their end.
    pub(super) fn finish(&mut self, units: Vec<usize>, why: Why) -> Vec<Segment> {
        let mut round = Vec::new();
        for unit in units {
            for replicate in 0..self.units[unit].trials.len() {
                let of = &self.units[unit];
                if of.curves[replicate].len() < of.epochs && !of.is_dead {
                    let epochs = of.epochs;
                    round.push(self.decide(Segment { unit, replicate, epochs }, why, None));
                }
            }
        }
        round
    }

    /// Paused configurations, drawn at random, so that of each value of each axis the wanted share is trained to its end.
    fn kept_factors(&self) -> Vec<usize> {
        let share = self.settings.keep_factors;
        let dimensions = self.axes.first().map_or(0, Vec::len);
        let is_whole: Vec<bool> = self.units.iter().map(Unit::is_whole).collect();
        let mut kept: BTreeSet<usize> = BTreeSet::new();
        let order = self.shuffled((0..self.units.len()).collect(), "factors");
        for axis in 0..dimensions {
            let value = |unit: usize| self.axes[self.units[unit].candidate][axis].to_bits();
            let values: BTreeSet<u64> = (0..self.units.len()).map(value).collect();
            for of in values {
                let there: Vec<usize> = order.iter().copied().filter(|unit| value(*unit) == of).collect();
                if there.len() < FEWEST_OF_A_VALUE {
                    continue;
                }
                let wanted = (share * there.len() as f64).ceil() as usize;
                let finished = there.iter().filter(|unit| is_whole[**unit] || kept.contains(unit)).count();
                let open = there.iter().filter(|unit| !is_whole[**unit] && !kept.contains(unit)).copied();
                let more: Vec<usize> = open.take(wanted.saturating_sub(finished)).collect();
                kept.extend(more);
            }
        }
        kept.into_iter().collect()
    }

    /// What the audit says by now.
    pub fn audit(&self) -> Audit {
        let models = Models::exact();
        let bar = self.bar(&models);
        let is_on_front = |unit: &&usize| {
            let mut points = models.points(&self.units[**unit]);
            points.any(|(seconds, parameters, accuracy)| accuracy >= bar.at(seconds, parameters))
        };
        let all = self.paused.len();
        let drawn = || self.paused.iter().filter(|unit| self.lots[**unit] < self.threshold);
        let (finished, on_front) = (drawn().count(), drawn().filter(is_on_front).count());
        let bound = upper_bound(on_front, finished, doubt_of(self.looks, self.settings.risk.is_some()));
        let (whole, rest): (Vec<usize>, Vec<usize>) =
            self.paused.iter().partition(|unit| self.units[**unit].is_whole());
        let found = whole.iter().filter(is_on_front).count();
        let remaining = rest.len();
        let remaining_on_front = ((bound * all as f64 + 1e-9).floor() as usize).saturating_sub(found).min(remaining);
        Audit {
            paused: all,
            finished,
            on_front,
            bound,
            remaining,
            remaining_on_front,
            risk: if remaining > 0 { remaining_on_front as f64 / remaining as f64 } else { 0.0 },
            level: 1.0 - DOUBT,
        }
    }
}

//! Points weighed against each other, replicate by replicate and round by round: the arithmetic under effects, interactions
//! and ladders.

use std::collections::{BTreeMap, BTreeSet};

use crate::analysis::{Basis, LEVEL, Point};
use crate::base::stats;

/// Points with their weights, in one context: a configuration and the one that it is compared to, or the four of an
/// interaction.
pub(super) type Contrast<'a> = Vec<(f64, &'a Point)>;

/// An estimate with its interval, and how it differs between contexts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    pub estimate: f64,
    /// Where the estimate over other seeds (of times: other rounds) may lie, 95 %; absent with one measurement.
    pub interval: Option<(f64, f64)>,
    /// Replicates or rounds.
    pub measurements: usize,
    /// Contexts that all of these measurements were taken in.
    pub contexts: usize,
    /// Over the contexts.
    pub least: f64,
    pub greatest: f64,
    /// Contexts in which it is better or worse than no change at all.
    pub better: usize,
    pub worse: usize,
}

/// A ratio of times, as a factor of speed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpeedUp {
    pub factor: Measured,
    pub basis: Basis,
    /// Whether the steps that are compared are the very same in every context: then it is 1 by construction, and what was
    /// measured is how far the measuring is off.
    pub same_steps: bool,
}

/// Below this a difference is rounding.
const ROUNDING: f64 = 1e-12;

/// The weighed accuracy, over contexts in which nothing diverged.
pub(super) fn accuracy(contrasts: &[Contrast]) -> Option<Measured> {
    let rows: Vec<BTreeMap<usize, f64>> = contrasts
        .iter()
        .filter(|contrast| !has_diverged(contrast))
        .map(|contrast| combined(contrast.iter().map(|(weight, point)| (*weight, point.accuracy.clone()))))
        .collect();
    measured(&rows)
}

/// The weighed times as a factor of speed, above 1 where time is saved; and the contexts whose times are not known, not
/// paired, or not of this basis. Confirmed times are preferred to any number of screened ones.
pub(super) fn speed_up(contrasts: &[Contrast]) -> (Option<SpeedUp>, usize) {
    let whole: Vec<&Contrast> = contrasts.iter().filter(|contrast| !has_diverged(contrast)).collect();
    for basis in [Basis::Confirmed, Basis::Screened] {
        let rows: Vec<BTreeMap<usize, f64>> = (whole.iter())
            .filter(|contrast| contrast.iter().all(|(_, point)| point.time.basis == basis))
            // Less time is more speed.
            .map(|contrast| combined(contrast.iter().map(|(weight, point)| (-weight, log_times(point)))))
            .collect();
        if let Some(of) = measured(&rows) {
            let interval = of.interval.map(|(low, high)| (low.exp(), high.exp()));
            let (estimate, least, greatest) = (of.estimate.exp(), of.least.exp(), of.greatest.exp());
            let factor = Measured { estimate, interval, least, greatest, ..of };
            let timed = rows.iter().filter(|row| !row.is_empty()).count();
            let same_steps = whole.iter().all(|contrast| cancels(contrast));
            return (Some(SpeedUp { factor, basis, same_steps }), whole.len() - timed);
        }
    }
    (None, whole.len())
}

/// Whether every step that is weighed on one side is weighed on the other.
fn cancels(contrast: &Contrast) -> bool {
    let mut weights: BTreeMap<u64, f64> = BTreeMap::new();
    for (weight, point) in contrast {
        let Some(steps) = point.steps else { return false };
        *weights.entry(steps).or_default() += weight;
    }
    weights.values().all(|weight| *weight == 0.0)
}

pub(super) fn has_diverged(contrast: &Contrast) -> bool {
    contrast.iter().any(|(_, point)| point.diverged > 0)
}

/// Logarithms of a point's times, by round or by replicate.
pub(super) fn log_times(point: &Point) -> BTreeMap<usize, f64> {
    let logarithms = point.time.seconds.iter().map(|(key, seconds)| (*key, seconds.ln()));
    logarithms.filter(|(_, log)| log.is_finite()).collect()
}

/// The weighed sum of what all of them have, by replicate or round.
fn combined(terms: impl Iterator<Item = (f64, BTreeMap<usize, f64>)>) -> BTreeMap<usize, f64> {
    let scaled = terms.map(|(weight, values)| values.into_iter().map(|(key, value)| (key, weight * value)).collect());
    let sum = |all: BTreeMap<usize, f64>, of: BTreeMap<usize, f64>| {
        all.into_iter().filter_map(|(key, value)| Some((key, value + of.get(&key)?))).collect()
    };
    scaled.reduce(sum).unwrap_or_default()
}

/// The mean over contexts (one row each), and over replicates of these means; its interval is Student's over the replicates:
/// the contexts are the ones asked about, not a sample of others.
fn measured(rows: &[BTreeMap<usize, f64>]) -> Option<Measured> {
    let (contexts, keys) = block(rows)?;
    let cell = |context: usize, key: usize| rows[context][&key];
    let mean = |values: Vec<f64>| stats::mean(&values).unwrap_or(f64::NAN);
    let by_key: Vec<f64> =
        keys.iter().map(|&key| mean(contexts.iter().map(|&context| cell(context, key)).collect())).collect();
    let by_context: Vec<f64> =
        contexts.iter().map(|&context| mean(keys.iter().map(|&key| cell(context, key)).collect())).collect();
    Some(Measured {
        estimate: stats::mean(&by_key)?,
        interval: stats::mean_interval(&by_key, LEVEL),
        measurements: keys.len(),
        contexts: contexts.len(),
        least: by_context.iter().copied().fold(f64::INFINITY, f64::min),
        greatest: by_context.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        better: by_context.iter().filter(|effect| **effect > ROUNDING).count(),
        worse: by_context.iter().filter(|effect| **effect < -ROUNDING).count(),
    })
}

/// Contexts and replicates such that every one of these contexts has every one of these replicates: only then are the means of
/// the replicates over the same contexts. Looked at are the replicates that one context has, or that two share: of these blocks
/// one with the most pairs; of equals the one with more replicates.
fn block(rows: &[BTreeMap<usize, f64>]) -> Option<(Vec<usize>, Vec<usize>)> {
    let sets: BTreeSet<BTreeSet<usize>> = rows.iter().map(|row| row.keys().copied().collect()).collect();
    let shared = sets.iter().flat_map(|a| sets.iter().map(move |b| a.intersection(b).copied().collect()));
    let candidates: BTreeSet<BTreeSet<usize>> = shared.filter(|set: &BTreeSet<usize>| !set.is_empty()).collect();
    let contexts = |set: &BTreeSet<usize>| -> Vec<usize> {
        (0..rows.len()).filter(|context| set.iter().all(|key| rows[*context].contains_key(key))).collect()
    };
    let blocks = candidates.iter().map(|set| (contexts(set), set));
    // The first of the best, in the order of the sets.
    let best = blocks.rev().max_by_key(|(contexts, set)| (contexts.len() * set.len(), set.len()))?;
    Some((best.0, best.1.iter().copied().collect()))
}

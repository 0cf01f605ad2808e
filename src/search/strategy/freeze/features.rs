//! Where configurations stand in their space, as numbers.

use std::collections::BTreeMap;

use crate::search::space::Candidate;

/// Numbers for the axes' values of each configuration: one for an axis of numbers, by its rank; one for each value of another
/// axis. Two values of one axis are at most 1 apart.
pub(super) fn of_axes(candidates: &[Candidate]) -> Vec<Vec<f64>> {
    let axes = candidates.first().map_or(0, |candidate| candidate.values.len());
    let mut features = vec![Vec::new(); candidates.len()];
    for axis in 0..axes {
        let values: Vec<Option<&str>> = candidates.iter().map(|of| of.values[axis].as_deref()).collect();
        let mut known: BTreeMap<Option<&str>, usize> = BTreeMap::new();
        for value in &values {
            let next = known.len();
            known.entry(*value).or_insert(next);
        }
        if known.len() < 2 {
            continue;
        }
        match ranks(&known) {
            Some(ranks) => values.iter().zip(&mut features).for_each(|(value, of)| of.push(ranks[value])),
            None => {
                for (value, of) in values.iter().zip(&mut features) {
                    let at = of.len();
                    of.resize(at + known.len(), 0.0);
                    of[at + known[value]] = std::f64::consts::FRAC_1_SQRT_2;
                }
            }
        }
    }
    features
}

/// The rank of each value in 0..=1, where all are numbers.
fn ranks<'a>(values: &BTreeMap<Option<&'a str>, usize>) -> Option<BTreeMap<Option<&'a str>, f64>> {
    let number = |value: &Option<&'a str>| value.as_ref()?.parse::<f64>().ok().filter(|number| number.is_finite());
    let mut numbers = values.keys().map(|value| Some((number(value)?, *value))).collect::<Option<Vec<_>>>()?;
    numbers.sort_by(|one, other| one.0.total_cmp(&other.0));
    let last = (numbers.len() - 1) as f64;
    Some(numbers.into_iter().enumerate().map(|(rank, (_, value))| (value, rank as f64 / last)).collect())
}

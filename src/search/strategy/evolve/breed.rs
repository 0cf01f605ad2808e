//! How places on the ground come from others, or from chance.

use rand::Rng;

use crate::search::strategy::Line;

/// Probability that a child has two parents.
const CROSSED: f64 = 0.5;
/// Probability that an ordered value jumps anywhere instead of moving along its axis.
const JUMP: f64 = 0.2;
/// The farthest that it moves, as a share of the axis; one step at least.
const FARTHEST: f64 = 0.2;

/// A place drawn evenly.
pub(super) fn stranger(rng: &mut impl Rng, lines: &[Line]) -> Vec<usize> {
    lines.iter().map(|line| rng.random_range(0..line.values)).collect()
}

/// A child of one or two parents (by their numbers), with one value or more changed; and who these are.
pub(super) fn child(rng: &mut impl Rng, lines: &[Line], parents: &[&[usize]]) -> (Vec<usize>, [usize; 2]) {
    let one = rng.random_range(0..parents.len());
    let other = if rng.random_bool(CROSSED) { rng.random_range(0..parents.len()) } else { one };
    let mut place: Vec<usize> = (parents[one].iter().zip(parents[other]))
        .map(|(mine, yours)| if rng.random_bool(0.5) { *mine } else { *yours })
        .collect();
    let free: Vec<usize> = (0..lines.len()).filter(|axis| lines[*axis].values > 1).collect();
    if free.is_empty() {
        return (place, [one, other]);
    }
    let surely = free[rng.random_range(0..free.len())];
    for axis in &free {
        if *axis == surely || rng.random_bool(1.0 / (free.len() as f64 + 1.0)) {
            place[*axis] = moved(rng, lines[*axis], place[*axis]);
        }
    }
    (place, [one, other])
}

/// Another value of an axis.
fn moved(rng: &mut impl Rng, Line { values, is_ordered }: Line, from: usize) -> usize {
    if !is_ordered || rng.random_bool(JUMP) {
        return (from + rng.random_range(1..values)) % values;
    }
    let farthest = ((FARTHEST * values as f64) as usize).clamp(1, values - 1);
    let step = rng.random_range(1..=farthest);
    match rng.random_bool(0.5) {
        // From an end there is one way only.
        true => from.checked_sub(step).unwrap_or(if from > 0 { 0 } else { step }),
        false if from + step < values => from + step,
        false => {
            if from + 1 < values {
                values - 1
            } else {
                from - step
            }
        }
    }
}

/// Where a place stands, as numbers: an ordered axis gives one, another one for each value. Two values of an axis are at most 1
/// apart.
pub(super) fn features(lines: &[Line], place: &[usize]) -> Vec<f64> {
    let mut features = Vec::new();
    for (Line { values, is_ordered }, at) in lines.iter().zip(place) {
        match (values, is_ordered) {
            (..2, _) => {}
            (values, true) => features.push(*at as f64 / (values - 1) as f64),
            (values, false) => {
                let start = features.len();
                features.resize(start + values, 0.0);
                features[start + at] = std::f64::consts::FRAC_1_SQRT_2;
            }
        }
    }
    features
}

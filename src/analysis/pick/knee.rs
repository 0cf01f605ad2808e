//! The knee of a front: where it bends most.

use super::PickError;
use crate::analysis::{Objectives, front};

/// The points of the front of `among`, its knee first: by their distance above the straight line between the front's ends,
/// with accuracy and the logarithm of time each scaled to 0..=1. Of equal distance the faster one comes first, of equal
/// points only the first is counted. An error where no point lies above the line, as with fewer than three.
pub fn order(objectives: &[[f64; 3]], among: &[usize]) -> Result<Vec<usize>, PickError> {
    let own: Vec<[f64; 3]> = among.iter().map(|index| objectives[*index]).collect();
    let mut line: Vec<usize> = front(&own, Objectives::TimeAccuracy).into_iter().map(|at| among[at]).collect();
    line.dedup_by_key(|index| [objectives[*index][0], objectives[*index][1]]);
    let ends = line.first().zip(line.last()).map(|(first, last)| (objectives[*first], objectives[*last]));
    let Some(([fast, low, _], [slow, high, _])) = ends.filter(|_| line.len() > 2) else {
        return Err(PickError::NoKnee { points: line.len() });
    };
    let above = |index: usize| {
        let [seconds, accuracy, _] = objectives[index];
        let along = (seconds.ln() - fast.ln()) / (slow.ln() - fast.ln());
        ((accuracy - low) / (high - low) - along) / 2_f64.sqrt()
    };
    line.sort_by(|a, b| above(*b).total_cmp(&above(*a)));
    // Of the ends it is 0, but for rounding.
    if above(line[0]) > 1e-12 { Ok(line) } else { Err(PickError::NoKnee { points: line.len() }) }
}

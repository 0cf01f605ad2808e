//! The audit: a random sample of what was paused is trained to its end, and bounds what was lost.

use serde::{Deserialize, Serialize};

/// Probability with which a bound may be wrong.
pub const DOUBT: f64 = 0.05;

/// What is known of the share of paused configurations that belong on the front.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// Configurations that were paused when the audit began.
    pub paused: usize,
    /// Those of them that were drawn at random and finished, and those of these that are on the front.
    pub finished: usize,
    pub on_front: usize,
    /// At most this share of the paused belonged on the front, with confidence `level`.
    pub bound: f64,
    /// Those that are paused still, and the most of them that belong on the front by that bound.
    pub remaining: usize,
    pub remaining_on_front: usize,
    /// The same as a share of the remaining.
    pub risk: f64,
    pub level: f64,
}

/// The exact upper bound (Clopper and Pearson 1934) on a share, of which `hits` of `drawn` were found: it is too small with
/// probability `doubt` at most.
pub fn upper_bound(hits: usize, drawn: usize, doubt: f64) -> f64 {
    if hits >= drawn {
        return 1.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    // Probability of no more hits falls as the share grows.
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if at_most(hits, drawn, middle) > doubt { low = middle } else { high = middle }
    }
    high
}

/// Probability of no more than `hits` of `drawn` where each is one with probability `share`.
fn at_most(hits: usize, drawn: usize, share: f64) -> f64 {
    let odds = (share / (1.0 - share)).ln();
    let mut term = drawn as f64 * (1.0 - share).ln();
    let mut sum = term.exp();
    for hit in 1..=hits {
        term += ((drawn - hit + 1) as f64 / hit as f64).ln() + odds;
        sum += term.exp();
    }
    sum
}

/// The least number to draw so that the bound is no more than `risk` with `hits` among them.
pub fn draws_for(hits: usize, risk: f64, doubt: f64) -> usize {
    let mut draws = hits + 1;
    while upper_bound(hits, draws, doubt) > risk && draws < 1_000_000 {
        draws += 1 + draws / 50;
    }
    draws
}

/// The doubt that look number `look`, from 0, at a growing sample may spend, where there may be several.
pub(super) fn doubt_of(look: usize, may_repeat: bool) -> f64 {
    if may_repeat { DOUBT * 0.5f64.powi(look as i32 + 1) } else { DOUBT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_clopper_and_pearson() {
        // None of n: 1 − doubt^(1/n). The others from R's binom.test(x, n, alternative = "less").
        assert!((upper_bound(0, 59, 0.05) - (1.0 - 0.05f64.powf(1.0 / 59.0))).abs() < 1e-9);
        assert!((upper_bound(1, 20, 0.05) - 0.216_106).abs() < 1e-5, "{}", upper_bound(1, 20, 0.05));
        assert!((upper_bound(5, 10, 0.05) - 0.777_559).abs() < 1e-5, "{}", upper_bound(5, 10, 0.05));
        assert_eq!((upper_bound(3, 3, 0.05), upper_bound(0, 0, 0.05)), (1.0, 1.0));
        assert_eq!(draws_for(0, 1.0, 0.05), 1);
        assert!((59..=60).contains(&draws_for(0, 0.05, 0.05)));
    }
}

//! What is said of points: how sure it is, and which one is picked.

mod coverage;
mod pick;

use std::collections::BTreeMap;

use fastrcaps::analysis::{
    Basis, Design, Extent, Objectives, Point, Time,
    bootstrap::{Draw, Draws, accuracy_interval, difference_interval, groups, memberships, time_interval, undecided},
    error_of_images, front, is_chance,
};

/// Times by round or replicate, from 0.
fn numbered(seconds: &[f64]) -> BTreeMap<usize, f64> {
    seconds.iter().copied().enumerate().collect()
}

/// A point of the configuration `candidate`, with a value for each replicate and for each time.
pub fn point(candidate: usize, seconds: &[f64], accuracy: &[f64]) -> Point {
    Point {
        candidate,
        label: format!("configuration {candidate}"),
        epochs: 5,
        extent: Extent::Whole,
        parameters: 1000,
        accuracy: accuracy.iter().copied().enumerate().collect(),
        test_accuracy: BTreeMap::new(),
        time: Time { basis: Basis::Confirmed, seconds: numbered(seconds) },
        steps: None,
        diverged: 0,
    }
}

/// A space of so many configurations, of which the first is the baseline.
fn design(count: usize) -> Design {
    Design { axes: Vec::new(), values: vec![Vec::new(); count], baseline: Some(0) }
}

#[test]
fn an_accuracy_within_the_binomial_error_of_guessing_is_chance() {
    // Of 300 images, a tenth: ± 3.4 points.
    assert!(is_chance(0.10, 300, 10) && is_chance(0.13, 300, 10) && is_chance(0.02, 300, 10));
    assert!(!is_chance(0.14, 300, 10));
    assert!(!is_chance(0.13, 6000, 10) && is_chance(0.105, 6000, 10));
    assert!(is_chance(0.55, 300, 2) && !is_chance(0.56, 300, 2));
    assert!((error_of_images(0.5, 100) - 0.098).abs() < 1e-9);
    assert_eq!(error_of_images(1.0, 100), 0.0);
}

const TEN: [f64; 6] = [10.0; 6];
const TWENTY: [f64; 6] = [20.0; 6];

#[test]
fn what_was_measured_once_has_no_interval_and_no_probability() {
    let once = point(0, &[10.0], &[0.9]);
    assert_eq!((accuracy_interval(&once), time_interval(&once)), (None, None));
    let points = [once, point(1, &TWENTY, &[0.95, 0.96])];
    let of = memberships(&points);
    assert_eq!(of[0].of(Objectives::TimeAccuracy), None);
    assert!(of[1].of(Objectives::TimeAccuracy).is_some());
    assert_eq!(difference_interval(&points[0], &points[1]), None);
}

#[test]
fn intervals_are_those_of_the_tables() {
    let of = point(0, &[], &[0.90, 0.91, 0.92]);
    let (low, high) = accuracy_interval(&of).unwrap();
    // 4.303 standard errors of 0.00577 about 0.91.
    assert!((low - 0.885_158_622_9).abs() < 1e-9 && (high - 0.934_841_377_1).abs() < 1e-9, "{low} {high}");
    // Replicates that rise and fall together: the difference is surer than either.
    let other = point(1, &[], &[0.905, 0.915, 0.925]);
    let (low, high) = difference_interval(&other, &of).unwrap();
    assert!((low - 0.005).abs() < 1e-9 && (high - 0.005).abs() < 1e-9, "{low} {high}");
    // Seven rounds: between the extremes (coverage 126/128) and their neighbours (112/128).
    let rounds = point(0, &[7.0, 1.0, 2.0, 3.0, 6.0, 5.0, 4.0], &[]);
    let (low, high) = time_interval(&rounds).unwrap();
    assert!(1.0 < low && low < 2.0 && (low + high - 8.0).abs() < 1e-12, "{low} {high}");
    assert_eq!(time_interval(&point(0, &[1.0; 5], &[])), None);
    // Two replicates, far apart: the interval is wide, about the mean, and above 0.
    let time = Time { basis: Basis::Screened, seconds: numbered(&[1.0, 2.0]) };
    let (low, high) = time_interval(&Point { time, ..point(0, &[], &[]) }).unwrap();
    assert!(0.0 < low && low < 1.5 && 1.5 < high && (low * high - 1.5 * 1.5).abs() < 1e-9, "{low} {high}");
}

#[test]
fn what_is_plain_is_certain_and_what_diverged_is_on_no_front() {
    let fast = point(0, &TEN, &[0.90, 0.901, 0.899]);
    let accurate = point(1, &TWENTY, &[0.98, 0.981, 0.979]);
    let neither = point(2, &TWENTY, &[0.80, 0.801, 0.799]);
    let diverged = Point { diverged: 1, ..point(3, &TEN, &[0.99, 0.99, 0.99]) };
    let of = memberships(&[fast, accurate, neither, diverged]);
    let sure: Vec<Option<f64>> = of.iter().map(|of| of.of(Objectives::TimeAccuracy)).collect();
    assert_eq!(sure[0], Some(1.0));
    assert!(sure[1].unwrap() > 0.99 && sure[2].unwrap() < 0.01, "{sure:?}");
    assert_eq!(sure[3], None);
}

#[test]
fn draws_are_the_same_every_time_and_spread_as_the_intervals_say() {
    let points = [point(0, &TEN, &[0.90, 0.92, 0.91]), point(1, &TEN, &[0.91, 0.93, 0.92])];
    let all = || {
        let mut all = Vec::new();
        Draws::of(&points).each(|draw| all.push([0, 1].map(|point| draw.objectives(point)[1])));
        all
    };
    let drawn = all();
    assert_eq!(drawn, all());
    // The two rise and fall together, so that their difference never changes.
    assert!(drawn.iter().all(|[a, b]| (b - a - 0.01).abs() < 1e-9));
    let (low, high) = accuracy_interval(&points[0]).unwrap();
    let inside = drawn.iter().filter(|[a, _]| low <= *a && *a <= high).count() as f64 / drawn.len() as f64;
    assert!((inside - 0.95).abs() < 0.02, "{inside}");
}

#[test]
fn rounds_and_replicates_are_drawn_by_their_numbers_whatever_is_missing() {
    // The machine is slower from round to round, and one is always a tenth faster than the other.
    let rounds = |factor: f64, missing: usize| -> BTreeMap<usize, f64> {
        (0..9).filter(|round| *round != missing).map(|round| (round, factor * (10.0 + round as f64))).collect()
    };
    let timed =
        |candidate, basis, seconds| Point { time: Time { basis, seconds }, ..point(candidate, &[], &[0.9, 0.91]) };
    let seconds = |draw: &Draw, point: usize| draw.objectives(point)[0];
    let points = [timed(0, Basis::Confirmed, rounds(1.0, 8)), timed(1, Basis::Confirmed, rounds(0.9, 0))];
    Draws::of(&points).each(|draw| assert!((seconds(draw, 1) / seconds(draw, 0) - 0.9).abs() < 1e-9));
    // Replicate 1 is the slow one of both, wherever it stands: they move together, and by their places never would.
    let points = [
        timed(0, Basis::Screened, BTreeMap::from([(0, 10.0), (1, 20.0)])),
        timed(1, Basis::Screened, BTreeMap::from([(1, 20.0), (2, 10.0)])),
    ];
    let mut together = 0;
    Draws::of(&points).each(|draw| together += usize::from((seconds(draw, 0) > 15.0) == (seconds(draw, 1) > 15.0)));
    // Two thirds of 2000.
    assert!((1250..1420).contains(&together), "{together}");
    // Too few in common: each has its own, and draws of it.
    let few = |range: std::ops::Range<usize>| range.map(|round| (round, 10.0)).collect();
    let points = [timed(0, Basis::Confirmed, few(0..7)), timed(1, Basis::Confirmed, few(3..10))];
    Draws::of(&points).each(|draw| assert_eq!(seconds(draw, 0), seconds(draw, 1)));
}

#[test]
fn the_order_of_replicates_does_not_decide_between_equals() {
    let shares = [0.9712, 0.9834, 0.9655, 0.9787, 0.9701];
    let mut other = shares;
    for _ in 0..shares.len() {
        other.rotate_left(1);
        let points = [point(0, &TEN, &shares), point(1, &TEN, &other)];
        assert_eq!(points[0].mean_accuracy(), points[1].mean_accuracy());
        let objectives: Vec<[f64; 3]> = points.iter().map(Point::objectives).collect();
        assert_eq!(front(&objectives, Objectives::TimeAccuracy), [0, 1]);
    }
}

#[test]
fn a_change_is_over_the_replicates_that_both_have() {
    let base = point(0, &TWENTY, &[0.90, 0.92]);
    // The seeds after the first two were good ones, and say nothing of the difference.
    let of = point(1, &TEN, &[0.91, 0.93, 0.99, 0.99]);
    assert_eq!((of.speedup(&base), of.accuracy_change(&base)), (Some(2.0), Some(0.01)));
    let (low, high) = difference_interval(&of, &base).unwrap();
    assert!((low - 0.01).abs() < 1e-9 && (high - 0.01).abs() < 1e-9);
    let diverged = Point { diverged: 1, ..base.clone() };
    assert_eq!((of.speedup(&diverged), of.accuracy_change(&diverged)), (None, None));
    let screened = Point { time: Time { basis: Basis::Screened, ..of.time.clone() }, ..of };
    assert_eq!((screened.speedup(&base), screened.accuracy_change(&base)), (None, Some(0.01)));
}

#[test]
fn groups_are_told_apart_by_paired_differences() {
    let points = [
        point(0, &TEN, &[0.90, 0.94, 0.92]),
        // As far apart as the spread of either, and always above it.
        point(1, &TEN, &[0.91, 0.951, 0.93]),
        point(2, &TEN, &[0.93, 0.93, 0.93]),
        point(3, &TEN, &[0.5]),
    ];
    assert_eq!(groups(&points, &[0, 1]), [Some(1), Some(0)]);
    assert_eq!(groups(&points, &[1, 2]), [Some(0), Some(0)]);
    assert_eq!(groups(&points, &[3, 0]), [None, Some(0)]);
    assert!(groups(&points, &[]).is_empty());
}

#[test]
fn undecided_is_what_may_or_may_not_be_on_the_front() {
    let prefix = Point { extent: Extent::Prefix, ..point(1, &TEN, &[]) };
    let points = [point(0, &TEN, &[]), prefix, point(1, &TEN, &[]), point(2, &TEN, &[]), point(3, &TEN, &[])];
    let probabilities = [Some(0.5), Some(0.3), Some(0.99), Some(0.01), None];
    assert_eq!(undecided(&points, &probabilities, 0.05, 0.95), [0]);
}

//! Which point is picked: by rule, held against trying all.

use fastrcaps::analysis::{
    Basis, Extent, Point, Time,
    pick::{BaselineLacks, Choice, Confidence, Constraint, Constraints, NearBest, Nearest, Pick, PickError, pick},
};
use proptest::prelude::*;

use super::{TEN, TWENTY, design, numbered, point};
use crate::facts::Facts;

fn limited(limits: &[Constraint]) -> Constraints {
    Constraints { limits: limits.to_vec(), ..Constraints::default() }
}

fn near(near_best: NearBest) -> Constraints {
    Constraints { near_best: Some(near_best), ..Constraints::default() }
}

fn knee() -> Constraints {
    Constraints { choice: Choice::Knee, ..Constraints::default() }
}

/// Baseline, faster ones, a slow and accurate one, and one that diverged.
fn study() -> Vec<Point> {
    let mut points = vec![
        point(0, &[100.0; 7], &[0.96, 0.97, 0.98]),
        point(1, &[50.0; 7], &[0.959, 0.969, 0.979]),
        point(2, &[20.0; 7], &[0.93, 0.94, 0.95]),
        point(3, &[200.0; 7], &[0.97, 0.98, 0.99]),
        point(4, &[10.0; 7], &[0.99, 0.99, 0.99]),
    ];
    points[4].diverged = 1;
    points
}

fn picked(points: &[Point], constraints: &Constraints) -> Pick {
    pick(points, &design(points.len()), constraints).unwrap()
}

fn refused(points: &[Point], constraints: &Constraints) -> PickError {
    pick(points, &design(points.len()), constraints).unwrap_err()
}

/// That no point meets all constraints, and for each constraint the point that comes closest, its figure, and whether it meets the others.
fn closest(points: &[Point], constraints: &[Constraint]) -> Vec<(usize, f64, bool)> {
    let PickError::NothingMeets { nearest } = refused(points, &limited(constraints)) else { panic!("another error") };
    assert_eq!(nearest.iter().map(|of| of.constraint).collect::<Vec<_>>(), constraints);
    let told = |of: Nearest| {
        assert_eq!(of.label, points[of.point].label);
        (of.point, (of.value * 1e9).round() / 1e9, of.meets_the_rest)
    };
    nearest.into_iter().map(told).collect()
}

#[test]
fn a_time_asks_for_the_most_accurate_an_accuracy_for_the_fastest() {
    let points = study();
    let of = |constraints: &Constraints| picked(&points, constraints).point;
    assert_eq!(of(&limited(&[Constraint::MaxSeconds(60.0)])), 1);
    assert_eq!(of(&limited(&[Constraint::MaxSeconds(20.0)])), 2);
    assert_eq!(of(&limited(&[Constraint::MinAccuracy(0.93)])), 2);
    assert_eq!(of(&limited(&[Constraint::MinAccuracy(0.97)])), 0);
    assert_eq!(of(&limited(&[Constraint::MinSpeedup(2.0)])), 1);
    assert_eq!(of(&limited(&[Constraint::MaxAccuracyLoss(0.001)])), 1, "0.001 below is not more than 0.001 below");
    assert_eq!(of(&limited(&[Constraint::MinSpeedup(2.0), Constraint::MaxAccuracyLoss(0.05)])), 2);
    assert_eq!(of(&limited(&[Constraint::MaxParameters(1000)])), 3);
    assert_eq!(of(&near(NearBest::Within(0.011))), 1);
    // sd 0.01 of three: 0.0058.
    assert_eq!(of(&near(NearBest::OneStandardError)), 3);
    assert_eq!(of(&knee()), 1);
}

#[test]
fn a_pick_says_why_how_surely_and_what_came_next() {
    let of = picked(&study(), &limited(&[Constraint::MaxSeconds(60.0), Constraint::MinAccuracy(0.93)]));
    assert_eq!((of.point, of.considered, of.met, of.baseline), (2, 4, 2, Some(0)));
    of.why.names(["2", "4", "60.00 s", "93.000 %"]);
    let next = of.runner_up.unwrap();
    assert_eq!(next.point, 1);
    next.why_not.names(["50.00 s", "20.00 s"]);
    let sure = of.confidence.share().unwrap();
    assert!((0.8..1.0).contains(&sure), "{sure}");
    assert!(of.notes.is_empty());

    let alone = picked(&study(), &limited(&[Constraint::MaxSeconds(20.0)]));
    let next = alone.runner_up.unwrap();
    assert_eq!(next.point, 1);
    next.why_not.names(["50.00 s", "20.00 s"]);
    assert_eq!(alone.confidence, Confidence::Share(1.0), "times that never differ");
    assert_eq!(picked(&study(), &knee()).confidence, Confidence::NotComputed);
}

#[test]
fn a_confidence_takes_only_the_spreads_that_the_constraints_are_about() {
    let points = [point(0, &TWENTY, &[0.9]), point(1, &TEN, &[0.8])];
    assert_eq!(picked(&points, &limited(&[Constraint::MinSpeedup(1.5)])).confidence, Confidence::Share(1.0));
    assert_eq!(picked(&points, &limited(&[Constraint::MinAccuracy(0.7)])).confidence, Confidence::Unknown);
    assert_eq!(picked(&points, &limited(&[Constraint::MaxParameters(1000)])).confidence, Confidence::Certain);
    let both = Constraints { choice: Choice::Knee, ..limited(&[Constraint::MaxSeconds(300.0)]) };
    assert_eq!(picked(&study(), &both).confidence, Confidence::ShareOfOthers(1.0));
    let small = Constraints { choice: Choice::Knee, ..limited(&[Constraint::MaxParameters(1000)]) };
    assert_eq!(picked(&study(), &small).confidence, Confidence::NotComputed);
}

#[test]
fn what_is_measured_in_two_ways_is_noted() {
    let mut points = study();
    points[1].time = Time { basis: Basis::Screened, seconds: numbered(&[50.0, 51.0, 49.0]) };
    let of = picked(&points, &limited(&[Constraint::MaxSeconds(60.0)]));
    assert_eq!(of.point, 1);
    assert_eq!(of.notes.len(), 2, "{:?}", of.notes);
}

#[test]
fn a_speed_up_is_asked_only_of_what_was_timed_as_the_baseline_was() {
    let mut points = study();
    // 20 s, as fast as the fastest, but of the sweep.
    points[1].time = Time { basis: Basis::Screened, seconds: numbered(&[20.0, 20.0, 20.0]) };
    let of = picked(&points, &limited(&[Constraint::MinSpeedup(2.0)]));
    assert_eq!((of.point, of.considered, of.met), (2, 3, 1));
    // One is left out.
    of.notes[0].names(["1"]);
    assert_eq!(closest(&points, &[Constraint::MinSpeedup(20.0)]), [(2, 5.0, false)]);
    points[0].diverged = 1;
    let constraint = Constraint::MinSpeedup(2.0);
    let error = refused(&points, &limited(&[constraint]));
    assert_eq!(error, PickError::NoBaseline { constraint, why: BaselineLacks::Convergence });
}

#[test]
fn a_loss_of_accuracy_is_over_the_replicates_that_the_baseline_has_too() {
    let mut points = vec![point(0, &TWENTY, &[0.90, 0.92]), point(1, &TEN, &[0.89, 0.91, 0.99, 0.99])];
    let within =
        |points: &[Point], loss| pick(points, &design(2), &limited(&[Constraint::MaxAccuracyLoss(loss)])).unwrap();
    assert_eq!(within(&points, 0.011).point, 1);
    // Its later seeds were good ones: its mean is above the baseline's, and it is 0.01 below all the same.
    assert_eq!(within(&points, 0.009).point, 0);
    points[1].accuracy.retain(|replicate, _| *replicate > 1);
    assert_eq!((within(&points, 0.5).point, within(&points, 0.5).considered), (0, 1));
}

#[test]
fn what_cannot_be_picked_says_why() {
    let points = study();
    assert_eq!(pick(&points, &design(5), &Constraints::default()), Err(PickError::NoConstraint));
    assert_eq!(pick(&points[4..], &design(5), &knee()), Err(PickError::NoPoints));
    let both = [Constraint::MaxSeconds(30.0), Constraint::MinAccuracy(0.96)];
    assert_eq!(closest(&points, &both), [(1, 50.0, true), (2, 0.94, true)]);
    assert_eq!(closest(&points, &[Constraint::MaxSeconds(1.0)]), [(2, 20.0, false)]);
    // No point meets the other: the closest of all is named.
    assert_eq!(
        closest(&points, &[Constraint::MaxSeconds(1.0), Constraint::MinAccuracy(0.999)]),
        [(2, 20.0, false), (3, 0.98, false)]
    );
    let constraint = Constraint::MinSpeedup(2.0);
    assert_eq!(
        refused(&points[1..], &limited(&[constraint])),
        PickError::NoBaseline { constraint, why: BaselineLacks::End }
    );
    let once = [point(0, &TEN, &[0.9])];
    let label = once[0].label.clone();
    assert_eq!(refused(&once, &near(NearBest::OneStandardError)), PickError::NoStandardError { label });
    assert_eq!(refused(&once, &knee()), PickError::NoKnee { points: 1 });
    // Three points in a hollow: twice the time for ever more accuracy.
    let hollow = [point(0, &[10.0; 6], &[0.8]), point(1, &[20.0; 6], &[0.81]), point(2, &[40.0; 6], &[0.9])];
    assert_eq!(refused(&hollow, &knee()), PickError::NoKnee { points: 3 });
}

#[test]
fn the_only_point_that_meets_the_constraints_is_called_that() {
    let of = picked(&study(), &limited(&[Constraint::MaxSeconds(20.0)]));
    assert_eq!((of.considered, of.met), (4, 1));
    of.why.names(["only", "4", "20.00 s"]);
}

/// Small numbers, so that ties are frequent.
fn points() -> impl Strategy<Value = Vec<Point>> {
    let of = (1..6_u32, 0..6_u32, 1..4_usize, prop::bool::weighted(0.1));
    prop::collection::vec(of, 1..12).prop_map(|all| {
        let make = |(candidate, (seconds, accuracy, parameters, diverged)): (usize, (u32, u32, usize, bool))| Point {
            parameters,
            diverged: usize::from(diverged && candidate > 0),
            extent: Extent::Whole,
            ..point(candidate, &[f64::from(seconds)], &[0.9 + 0.01 * f64::from(accuracy)])
        };
        all.into_iter().enumerate().map(make).collect()
    })
}

fn constraints() -> impl Strategy<Value = Constraints> {
    let maybe = |of: std::ops::Range<u32>| prop::option::weighted(0.4, of.prop_map(f64::from));
    (maybe(1..7), maybe(0..6), maybe(1..4), maybe(0..4), maybe(1..4), maybe(0..4)).prop_map(
        |(seconds, accuracy, speedup, loss, parameters, within)| {
            let limits = [
                seconds.map(Constraint::MaxSeconds),
                accuracy.map(|of| Constraint::MinAccuracy(0.9 + 0.01 * of)),
                speedup.map(|of| Constraint::MinSpeedup(0.5 * of)),
                loss.map(|of| Constraint::MaxAccuracyLoss(0.01 * of)),
                parameters.map(|of| Constraint::MaxParameters(of as usize)),
            ];
            let near_best = within.map(|of| NearBest::Within(0.01 * of));
            Constraints { limits: limits.into_iter().flatten().collect(), near_best, choice: Choice::ByConstraints }
        },
    )
}

/// The rule, word for word: the points that keep to every constraint.
fn meeting(points: &[Point], constraints: &Constraints) -> Vec<usize> {
    let [base_seconds, base_accuracy, _] = points[0].objectives();
    let within: Vec<usize> = (0..points.len())
        .filter(|index| points[*index].diverged == 0)
        .filter(|index| {
            let [seconds, accuracy, parameters] = points[*index].objectives();
            constraints.limits.iter().all(|constraint| match constraint {
                Constraint::MaxSeconds(most) => seconds <= *most,
                Constraint::MinAccuracy(least) => accuracy >= least - 1e-6,
                Constraint::MinSpeedup(least) => base_seconds / seconds >= *least,
                Constraint::MaxAccuracyLoss(most) => base_accuracy - accuracy <= most + 1e-6,
                Constraint::MaxParameters(most) => parameters <= *most as f64,
            })
        })
        .collect();
    let best = within.iter().map(|index| points[*index].objectives()[1]).fold(0.0, f64::max);
    let is_near = |index: &usize| match constraints.near_best {
        Some(NearBest::Within(margin)) => points[*index].objectives()[1] >= best - margin - 1e-6,
        _ => true,
    };
    within.into_iter().filter(is_near).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_pick_meets_every_constraint_and_nothing_that_does_is_better(points in points(), constraints in constraints()) {
        prop_assume!(constraints != Constraints::default());
        let met = meeting(&points, &constraints);
        match pick(&points, &design(points.len()), &constraints) {
            Err(error) => prop_assert!(met.is_empty(), "{error}, and {met:?} meet"),
            Ok(of) => {
                prop_assert!(met.contains(&of.point), "{} does not meet", of.point);
                prop_assert_eq!(of.met, met.len());
                let is_about_accuracy = |constraint: &Constraint| matches!(constraint, Constraint::MinAccuracy(_) | Constraint::MaxAccuracyLoss(_));
                let fastest = constraints.near_best.is_some() || constraints.limits.iter().any(is_about_accuracy);
                // What is less comes first.
                let rank = |index: usize| {
                    let [seconds, accuracy, parameters] = points[index].objectives();
                    let first = if fastest { [seconds, -accuracy] } else { [-accuracy, seconds] };
                    (first, parameters, index)
                };
                for other in met {
                    prop_assert!(rank(of.point) <= rank(other), "{other} is better than {}", of.point);
                }
                let next = of.runner_up.map(|next| next.point);
                prop_assert_ne!(next, Some(of.point));
            }
        }
    }

    #[test]
    fn more_time_never_brings_less_accuracy(points in points(), first in 1..7_u32, more in 0..4_u32) {
        let of = |seconds: u32| pick(&points, &design(points.len()), &limited(&[Constraint::MaxSeconds(f64::from(seconds))]));
        if let Ok(tight) = of(first) {
            let loose = of(first + more).unwrap();
            let accuracy = |of: Pick| points[of.point].mean_accuracy();
            prop_assert!(accuracy(loose) >= accuracy(tight));
        }
    }
}

//! What is planted in a study is what attribution finds in it.

use std::collections::BTreeMap;

use fastrcaps::analysis::{
    Basis, Design, Extent, Point, Time,
    attribution::{self, Effect, NoBaseline},
    ladder::{Ladder, LadderStep, ladder},
};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::analysis::point;

#[test]
fn optimisations_of_the_same_steps_are_as_fast_by_construction() {
    // Two axes: the first changes the steps, the second does not, and times say otherwise.
    let seconds = [10.0, 11.0, 5.0, 6.5];
    let mut points: Vec<Point> = (0..4).map(|of| point(of, &[seconds[of]; 6], &[0.9])).collect();
    let same = |points: &[Point]| {
        let effects = attribution::effects(&design(&[2, 2]), points).unwrap();
        let by_axis = |axis| effects.iter().find(|of| of.optimisation.axis == axis).unwrap().overall.speed_up.unwrap();
        let together = attribution::interactions(&design(&[2, 2]), points).unwrap();
        [by_axis(0).same_steps, by_axis(1).same_steps, together[0].speed_up.unwrap().same_steps]
    };
    assert_eq!(same(&points), [false; 3], "of which steps they are is not known");
    for (point, steps) in points.iter_mut().zip([1, 1, 2, 2]) {
        point.steps = Some(steps);
    }
    assert_eq!(same(&points), [false, true, true]);
    points[3].steps = Some(3);
    assert_eq!(same(&points), [false; 3]);
}

/// A grid of axes with so many values each, the first of each axis the baseline's.
fn design(sizes: &[usize]) -> Design {
    let count: usize = sizes.iter().product();
    let values = (0..count).map(|mut number| {
        let mut values: Vec<Option<String>> = (sizes.iter().rev())
            .map(|size| {
                let value = number % size;
                number /= size;
                Some(value.to_string())
            })
            .collect();
        values.reverse();
        values
    });
    let axes = (0..sizes.len()).map(|axis| format!("axis{axis}")).collect();
    Design { axes, values: values.collect(), baseline: Some(0) }
}

/// Values of a candidate as numbers.
fn choice(design: &Design, candidate: usize) -> Vec<usize> {
    design.values[candidate].iter().map(|value| value.as_ref().unwrap().parse().unwrap()).collect()
}

/// A study in which every value of every axis has an effect of its own, and nothing else is.
struct Planted {
    design: Design,
    points: Vec<Point>,
    /// By axis and value: factor of speed, change of accuracy, share of parameters.
    effects: Vec<Vec<(f64, f64, f64)>>,
}

fn planted(sizes: &[usize], seed: u64) -> Planted {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let design = design(sizes);
    let mut effect =
        || (random.random_range(0.5..4.0), random.random_range(-0.05..0.05), random.random_range(1..4) as f64);
    let effects: Vec<Vec<_>> = (sizes.iter())
        .map(|size| (0..*size).map(|value| if value == 0 { (1.0, 0.0, 1.0) } else { effect() }).collect())
        .collect();
    // What all configurations share in a replicate or a round is no effect of any.
    let rounds: Vec<f64> = (0..3).map(|_| random.random_range(0.8..1.25)).collect();
    let seeds: Vec<f64> = (0..3).map(|_| random.random_range(-0.01..0.01)).collect();
    let points = (0..design.values.len())
        .map(|candidate| {
            let of: Vec<_> = choice(&design, candidate).into_iter().enumerate().map(|(a, v)| effects[a][v]).collect();
            let seconds = 100.0 / of.iter().map(|of| of.0).product::<f64>();
            let accuracy = 0.9 + of.iter().map(|of| of.1).sum::<f64>();
            let seconds: Vec<f64> = rounds.iter().map(|round| seconds * round).collect();
            let accuracy: Vec<f64> = seeds.iter().map(|seed| accuracy + seed).collect();
            let parameters = of.iter().map(|of| of.2).product::<f64>() as usize * 1000;
            Point { parameters, ..point(candidate, &seconds, &accuracy) }
        })
        .collect();
    Planted { design, points, effects }
}

fn close(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-9 * expected.abs().max(1.0)
}

fn of<'a>(effects: &'a [Effect], axis: usize, to: &str) -> &'a Effect {
    effects.iter().find(|of| of.optimisation.axis == axis && of.optimisation.to == to).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn effects_without_noise_are_found_exactly_whatever_contexts_are_missing(
        seed in any::<u64>(), missing in prop::collection::vec(any::<bool>(), 36)
    ) {
        let Planted { design, mut points, effects } = planted(&[3, 2, 3, 2], seed);
        points.retain(|point| point.candidate == 0 || !missing[point.candidate]);
        let found = attribution::effects(&design, &points).unwrap();
        for Effect { optimisation, overall, at_baseline } in &found {
            let (factor, change, share) = effects[optimisation.axis][optimisation.to.parse::<usize>().unwrap()];
            for of in at_baseline.iter().chain([overall]) {
                let (speed, accuracy) = (of.speed_up.unwrap().factor, of.accuracy.unwrap());
                let (low, high) = accuracy.interval.unwrap();
                prop_assert!(close(speed.estimate, factor) && close(speed.least, factor) && close(speed.greatest, factor));
                prop_assert!(close(accuracy.estimate, change) && close(low, change) && close(high, change));
                prop_assert!(close(of.parameters.mean, share) && close(of.parameters.greatest, share));
                prop_assert_eq!(accuracy.better + accuracy.worse, accuracy.contexts);
                prop_assert_eq!((of.contexts, of.diverged, of.without_time), (accuracy.contexts, 0, 0));
            }
        }
        for of in attribution::interactions(&design, &points).unwrap() {
            prop_assert!(close(of.accuracy.unwrap().estimate, 0.0), "{:?}", of);
            prop_assert!(close(of.speed_up.unwrap().factor.estimate, 1.0), "{:?}", of);
        }
    }

    #[test]
    fn a_ladder_goes_by_what_was_trained_and_multiplies_to_its_total(
        seed in any::<u64>(), missing in prop::collection::vec(any::<bool>(), 32), target in 1..32_usize
    ) {
        let Planted { design, mut points, .. } = planted(&[2; 5], seed);
        points.retain(|point| point.candidate == 0 || point.candidate == target || !missing[point.candidate]);
        let at = points.iter().position(|point| point.candidate == target).unwrap();
        let Ladder { rungs } = ladder(&design, &points, at).unwrap();
        prop_assert_eq!((points[rungs[0].point].candidate, rungs.last().unwrap().point), (0, at));
        let (mut factor, mut change, mut axes) = (1.0, 0.0, Vec::new());
        for (before, rung) in rungs.iter().zip(&rungs[1..]) {
            let LadderStep::Change(changes) = &rung.step else { panic!("{rung:?}") };
            let (from, to) = (choice(&design, points[before.point].candidate), choice(&design, points[rung.point].candidate));
            let differ: Vec<usize> = (0..5).filter(|axis| from[*axis] != to[*axis]).collect();
            prop_assert_eq!(&differ, &changes.iter().map(|(axis, _)| *axis).collect::<Vec<_>>());
            axes.extend(differ);
            factor *= rung.speed_up.unwrap().factor.estimate;
            change += rung.accuracy.unwrap().estimate;
            prop_assert!(close(factor, rung.total_speed_up.unwrap().factor.estimate));
            prop_assert!(close(change, rung.total_accuracy.unwrap().estimate));
        }
        axes.sort_unstable();
        let changed: Vec<usize> = (0..5).filter(|axis| choice(&design, target)[*axis] == 1).collect();
        prop_assert_eq!(axes, changed);
        prop_assert!(close(factor, points[0].seconds().unwrap() / points[at].seconds().unwrap()));
    }

    #[test]
    fn the_numbers_of_replicates_do_not_matter(seed in any::<u64>()) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let Planted { design, mut points, .. } = planted(&[2, 2, 2], seed);
        for point in &mut points {
            point.accuracy.values_mut().for_each(|accuracy| *accuracy += random.random_range(-0.01..0.01));
            point.time.basis = Basis::Screened;
            point.time.seconds.values_mut().for_each(|seconds| *seconds *= random.random_range(0.9..1.1));
        }
        let before = attribution::effects(&design, &points).unwrap();
        for point in &mut points {
            for values in [&mut point.accuracy, &mut point.time.seconds] {
                *values = values.values().rev().copied().enumerate().map(|(at, value)| (at * 7, value)).collect();
            }
        }
        for (a, b) in before.iter().zip(attribution::effects(&design, &points).unwrap()) {
            let (a, b) = (&a.overall, &b.overall);
            let ends = |of: Option<(f64, f64)>| of.unwrap();
            for (a, b) in [(a.accuracy, b.accuracy), (a.speed_up.map(|of| of.factor), b.speed_up.map(|of| of.factor))] {
                let (a, b) = (a.unwrap(), b.unwrap());
                prop_assert!(close(a.estimate, b.estimate) && close(ends(a.interval).0, ends(b.interval).0));
                prop_assert!(close(a.least, b.least) && close(a.greatest, b.greatest));
            }
        }
    }
}

#[test]
fn a_planted_interaction_is_found_and_stands_first() {
    let Planted { design, mut points, .. } = planted(&[2, 3, 2], 3);
    for point in &mut points {
        let values = choice(&design, point.candidate);
        if (values[0], values[1]) == (1, 2) {
            point.accuracy.values_mut().for_each(|accuracy| *accuracy -= 0.04);
            point.time.seconds.values_mut().for_each(|seconds| *seconds /= 1.5);
        }
    }
    let found = attribution::interactions(&design, &points).unwrap();
    assert_eq!(found.len(), 5);
    let first = &found[0];
    assert_eq!((first.first.axis, first.second.axis, first.second.to.as_str(), first.contexts), (0, 1, "2", 2));
    assert!(close(first.accuracy.unwrap().estimate, -0.04) && close(first.speed_up.unwrap().factor.estimate, 1.5));
    assert!(found[1..].iter().all(|of| close(of.accuracy.unwrap().estimate, 0.0)));
    // Seen from one of them, the other's effect differs by context.
    let effects = attribution::effects(&design, &points).unwrap();
    let accuracy = of(&effects, 0, "1").overall.accuracy.unwrap();
    assert!(close(accuracy.greatest - accuracy.least, 0.04));
}

#[test]
fn replicates_are_compared_over_the_same_contexts() {
    let design = design(&[2, 2]);
    // Replicate 1 of the second context is not trained yet: its own level must not look like an effect.
    let points = [
        point(0, &[4.0], &[0.5, 0.9]),
        point(1, &[4.0], &[0.6]),
        point(2, &[2.0], &[0.51, 0.91]),
        point(3, &[2.0], &[0.63, 0.2]),
    ];
    let effects = attribution::effects(&design, &points).unwrap();
    let accuracy = of(&effects, 0, "1").overall.accuracy.unwrap();
    // One context with two replicates weighs as much as two with one: the one that tells of the spread is taken.
    assert_eq!((accuracy.contexts, accuracy.measurements), (1, 2));
    assert!(close(accuracy.estimate, 0.01));
    assert_eq!(of(&effects, 0, "1").overall.contexts, 2);
}

#[test]
fn what_diverged_is_counted_and_in_no_mean() {
    let design = design(&[2, 2]);
    let mut points =
        vec![point(0, &[4.0], &[0.5]), point(1, &[4.0], &[0.6]), point(2, &[2.0], &[0.6]), point(3, &[9.0], &[0.1])];
    points[3].diverged = 1;
    let effects = attribution::effects(&design, &points).unwrap();
    let overall = &of(&effects, 0, "1").overall;
    assert_eq!((overall.contexts, overall.diverged), (2, 1));
    assert!(close(overall.accuracy.unwrap().estimate, 0.1) && overall.accuracy.unwrap().interval.is_none());
    assert!(close(overall.speed_up.unwrap().factor.estimate, 2.0));
}

#[test]
fn times_of_two_bases_are_not_compared() {
    let design = design(&[2, 2]);
    let mut points =
        vec![point(0, &[4.0], &[0.5]), point(1, &[4.0], &[0.6]), point(2, &[2.0], &[0.6]), point(3, &[1.0], &[0.6])];
    points[3].time.basis = Basis::Screened;
    let overall = of(&attribution::effects(&design, &points).unwrap(), 0, "1").overall.clone();
    assert_eq!((overall.without_time, overall.speed_up.unwrap().factor.contexts), (1, 1));
    assert!(close(overall.speed_up.unwrap().factor.estimate, 2.0));
    points[2].time.basis = Basis::Screened;
    let overall = of(&attribution::effects(&design, &points).unwrap(), 0, "1").overall.clone();
    assert_eq!((overall.without_time, overall.speed_up), (2, None));
    // Screened times of no replicate in common.
    points.iter_mut().for_each(|point| point.time.basis = Basis::Screened);
    points[3].time.seconds = BTreeMap::from([(1, 1.0)]);
    assert_eq!(of(&attribution::effects(&design, &points).unwrap(), 0, "1").overall.without_time, 1);
}

#[test]
fn a_context_that_the_block_leaves_out_is_not_one_without_times() {
    let design = design(&[2, 2]);
    let mut points: Vec<Point> = (0..4).map(|candidate| point(candidate, &[4.0, 5.0], &[0.5, 0.6])).collect();
    points[3].time.seconds = BTreeMap::from([(1, 4.0)]);
    let overall = of(&attribution::effects(&design, &points).unwrap(), 0, "1").overall.clone();
    assert_eq!((overall.speed_up.unwrap().factor.contexts, overall.without_time), (1, 0));
}

#[test]
fn times_are_paired_by_their_numbers_whatever_is_missing() {
    let design = design(&[2, 2]);
    // Every round twice as slow as the one before: paired by their place, 1 is 2.
    let round = |round: usize| 2_f64.powi(round as i32);
    let all = [0, 1, 2, 3, 4, 5, 6, 7];
    for basis in [Basis::Confirmed, Basis::Screened] {
        let mut points: Vec<Point> = (0..4).map(|candidate| point(candidate, &[], &[0.5; 8])).collect();
        for (candidate, (factor, missing)) in [(1.0, 0), (1.0, 7), (3.0, 1), (3.0, 4)].into_iter().enumerate() {
            let there = all.into_iter().filter(|of| *of != missing);
            points[candidate].time = Time { basis, seconds: there.map(|of| (of, round(of) / factor)).collect() };
        }
        let speed = of(&attribution::effects(&design, &points).unwrap(), 0, "1").overall.speed_up.unwrap().factor;
        assert!(close(speed.least, 3.0) && close(speed.greatest, 3.0), "{speed:?}");
        let Ladder { rungs } = ladder(&design, &points, 3).unwrap();
        let total = rungs.last().unwrap().total_speed_up.unwrap().factor;
        assert!(close(total.estimate, 3.0) && close(total.interval.unwrap().1, 3.0), "{total:?}");
    }
}

#[test]
fn an_axis_that_does_not_matter_makes_no_pair() {
    let mut design = design(&[2, 2]);
    design.values[3][0] = None;
    let points: Vec<Point> = (0..4).map(|candidate| point(candidate, &[1.0], &[0.5])).collect();
    let effects = attribution::effects(&design, &points).unwrap();
    assert_eq!(of(&effects, 0, "1").overall.contexts, 1);
    design.baseline = None;
    assert_eq!(attribution::effects(&design, &points), Err(NoBaseline::Undeclared));
    design.baseline = Some(0);
    assert_eq!(ladder(&design, &points[1..], 0), Err(NoBaseline::Untrained));
}

/// Standard normal numbers, two of them.
fn normal(random: &mut ChaCha8Rng) -> f64 {
    let (a, b): (f64, f64) = (random.random_range(f64::MIN_POSITIVE..1.0), random.random());
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

/// Share of simulated studies whose interval holds the true effect of accuracy, and of time.
fn coverage(replicates: usize, random: &mut ChaCha8Rng) -> [f64; 2] {
    let design = design(&[2, 3, 2]);
    const STUDIES: usize = 3000;
    let mut held = [0, 0];
    for _ in 0..STUDIES {
        // A replicate has luck that all its configurations share, luck that all with the optimisation share, and its own.
        let mut luck = || -> Vec<Vec<f64>> {
            let [level, effect]: [Vec<f64>; 2] = [(); 2].map(|()| (0..replicates).map(|_| normal(random)).collect());
            let of = |candidate: usize, r: usize| 2.0 * level[r] + (candidate / 6) as f64 * effect[r];
            (0..12)
                .map(|candidate| (0..replicates).map(|r| of(candidate, r) + 0.5 * normal(random)).collect())
                .collect()
        };
        let (accuracy, time) = (luck(), luck());
        let points: Vec<Point> = (0..12)
            .map(|candidate| {
                let on = (candidate / 6) as f64;
                let accuracy: Vec<f64> = accuracy[candidate].iter().map(|luck| 0.9 + 0.02 * on + 0.01 * luck).collect();
                let seconds: Vec<f64> =
                    time[candidate].iter().map(|luck| (3.0 - 0.5 * on + 0.1 * luck).exp()).collect();
                point(candidate, &seconds, &accuracy)
            })
            .collect();
        let effects = attribution::effects(&design, &points).unwrap();
        let overall = &of(&effects, 0, "1").overall;
        let holds =
            |interval: Option<(f64, f64)>, truth| interval.is_some_and(|(low, high)| low <= truth && truth <= high);
        held[0] += usize::from(holds(overall.accuracy.unwrap().interval, 0.02));
        held[1] += usize::from(holds(overall.speed_up.unwrap().factor.interval, 0.5_f64.exp()));
    }
    held.map(|held| held as f64 / STUDIES as f64)
}

#[test]
fn intervals_hold_the_true_effect_in_95_of_100_studies() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for replicates in [3, 5] {
        let shares = coverage(replicates, &mut random);
        println!("n = {replicates}: accuracy {:.4}, time {:.4}", shares[0], shares[1]);
        assert!(shares.iter().all(|share| (0.93..=0.97).contains(share)), "n = {replicates}: {shares:?}");
    }
}

fn steps(ladder: &Ladder) -> Vec<String> {
    let words = |(axis, value): &(usize, Option<String>)| format!("{axis}={}", value.as_deref().unwrap_or("none"));
    let step = |step: &LadderStep| match step {
        LadderStep::Baseline => "baseline".into(),
        LadderStep::Change(changes) => changes.iter().map(words).collect::<Vec<_>>().join(" "),
        LadderStep::Stop(epochs) => format!("stop {epochs}"),
    };
    ladder.rungs.iter().map(|rung| step(&rung.step)).collect()
}

/// Axes with factors 2, 3 and 1.5 of speed.
fn three() -> (Design, Vec<Point>) {
    let design = design(&[2, 2, 2]);
    let time = |candidate| -> f64 {
        let factors = choice(&design, candidate).into_iter().zip([2.0, 3.0, 1.5]);
        36.0 / factors.map(|(value, factor)| if value == 1 { factor } else { 1.0 }).product::<f64>()
    };
    let points =
        (0..8).map(|candidate| point(candidate, &[time(candidate), 1.1 * time(candidate)], &[0.5, 0.6])).collect();
    (design, points)
}

#[test]
fn a_ladder_takes_the_largest_speed_up_first_where_it_can() {
    let (design, points) = three();
    assert_eq!(steps(&ladder(&design, &points, 7).unwrap()), ["baseline", "1=1", "0=1", "2=1"]);
    let without = |missing: &[usize]| {
        let points: Vec<Point> = points.iter().filter(|of| !missing.contains(&of.candidate)).cloned().collect();
        steps(&ladder(&design, &points, points.len() - 1).unwrap())
    };
    // Candidates are 4 × axis 0 + 2 × axis 1 + axis 2.
    assert_eq!(without(&[2]), ["baseline", "0=1", "1=1", "2=1"]);
    assert_eq!(without(&[6]), ["baseline", "1=1", "2=1", "0=1"]);
    assert_eq!(without(&[1, 2, 4]), ["baseline", "0=1 1=1", "2=1"]);
    assert_eq!(without(&[1, 2, 3, 4, 5, 6]), ["baseline", "0=1 1=1 2=1"]);
    // One that diverged is no rung.
    let mut diverged = points.clone();
    diverged[2].diverged = 1;
    assert_eq!(steps(&ladder(&design, &diverged, 7).unwrap()), without(&[2]));
}

#[test]
fn a_ladder_ends_where_a_training_is_stopped() {
    let (design, mut points) = three();
    let early = Point { epochs: 4, extent: Extent::Prefix, ..point(4, &[9.0, 9.9], &[0.45, 0.55]) };
    points.push(early);
    let found = ladder(&design, &points, 8).unwrap();
    assert_eq!(steps(&found), ["baseline", "0=1", "stop 4"]);
    assert!(close(found.rungs[2].speed_up.unwrap().factor.estimate, 2.0));
    assert!(close(found.rungs[2].total_speed_up.unwrap().factor.estimate, 4.0));
    assert!(close(found.rungs[2].total_accuracy.unwrap().estimate, -0.05));
    assert_eq!(steps(&ladder(&design, &points, 0).unwrap()), ["baseline"]);
}

#[test]
fn a_rung_without_comparable_times_says_so_and_is_kept() {
    let (design, mut points) = three();
    points[2].time.basis = Basis::Screened;
    // Other ways are timed: they are gone.
    assert_eq!(steps(&ladder(&design, &points, 7).unwrap()), ["baseline", "0=1", "1=1", "2=1"]);
    for of in [1, 4] {
        points[of].time.basis = Basis::Screened;
    }
    let found = ladder(&design, &points, 7).unwrap();
    assert_eq!(found.rungs.len(), 4);
    assert!(found.rungs[1].speed_up.is_none() && found.rungs[1].accuracy.is_some());
    assert!(close(found.rungs[3].total_speed_up.unwrap().factor.estimate, 9.0));
}

//! Intervals and probabilities held against synthetic studies whose truth is known. `-- --nocapture` prints the figures.

use fastrcaps::{
    analysis::{
        Objectives, Point,
        bootstrap::{accuracy_interval, difference_interval, memberships, time_interval},
        front,
    },
    base::rng,
};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::point;

/// Of a seed on every configuration, and of a configuration's own chance: standard deviations of accuracy.
const SEED: f64 = 0.004;
const OWN: f64 = 0.003;
/// Of a round of times on every configuration, and of a configuration within its round, as shares.
const ROUND: f64 = 0.02;
const NOISE: f64 = 0.01;

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    StandardNormal.sample(rng)
}

/// A study of configurations whose true seconds and accuracies are `truth`; `replicates` go round.
fn study(truth: &[[f64; 2]], replicates: &[usize], rounds: usize, rng: &mut ChaCha8Rng) -> Vec<Point> {
    let most = replicates.iter().max().unwrap();
    let seeds: Vec<f64> = (0..*most).map(|_| SEED * normal(rng)).collect();
    let machine: Vec<f64> = (0..rounds).map(|_| ROUND * normal(rng)).collect();
    let mut points = Vec::new();
    for (candidate, [seconds, accuracy]) in truth.iter().enumerate() {
        let mut accuracies: Vec<f64> = seeds.iter().map(|seed| accuracy + seed + OWN * normal(rng)).collect();
        accuracies.truncate(replicates[candidate % replicates.len()]);
        let times: Vec<f64> = machine.iter().map(|round| seconds * (1.0 + round + NOISE * normal(rng))).collect();
        points.push(point(candidate, &times, &accuracies));
    }
    points
}

fn covers(interval: Option<(f64, f64)>, truth: f64) -> bool {
    interval.is_some_and(|(low, high)| low <= truth && truth <= high)
}

#[test]
fn intervals_cover_the_truth_as_often_as_they_say() {
    const STUDIES: u64 = 6000;
    let truth = [[100.0, 0.970], [60.0, 0.965]];
    let all: [&[usize]; 4] = [&[2], &[3], &[5], &[2, 5]];
    for replicates in all {
        let stream = replicates.iter().sum::<usize>() as u64;
        let mut covered = [0_usize; 3];
        for number in 0..STUDIES {
            let points = study(&truth, replicates, 7, &mut rng::stream(1, "coverage", number * 8 + stream));
            covered[0] += usize::from(covers(accuracy_interval(&points[0]), truth[0][1]));
            let difference = difference_interval(&points[0], &points[1]);
            covered[1] += usize::from(covers(difference, truth[0][1] - truth[1][1]));
            covered[2] += usize::from(covers(time_interval(&points[0]), truth[0][0]));
        }
        let shares = covered.map(|count| 100.0 * count as f64 / STUDIES as f64);
        let [accuracy, difference, time] = shares;
        println!(
            "coverage of 95 % intervals, {replicates:?} replicates, 7 rounds, {STUDIES} studies: mean accuracy {accuracy:.1} %, \
             paired difference {difference:.1} %, confirmed time {time:.1} %"
        );
        assert!(shares.iter().all(|share| (93.0..=97.0).contains(share)), "{shares:?}");
    }
}

/// Points below a curve that flattens, up to two percentage points below: a front that is known, with gaps near the noise.
/// So many in a hundred lie on the curve itself, however close to each other, and so all on the front.
fn truth(on_curve: u32, rng: &mut ChaCha8Rng) -> Vec<[f64; 2]> {
    let mut draw = || {
        let seconds = 20.0 * 10_f64.powf(rng.random::<f64>());
        let below = if rng.random_range(0..100) < on_curve { 0.0 } else { 0.02 * rng.random::<f64>() };
        [seconds, 0.99 - 0.4 / seconds - below]
    };
    (0..12).map(|_| draw()).collect()
}

#[test]
fn of_points_that_are_on_the_front_with_a_probability_about_so_many_are() {
    const STUDIES: u64 = 150;
    let all: [(&[usize], u32); 6] = [(&[3], 0), (&[5], 0), (&[2, 5], 0), (&[3], 50), (&[5], 50), (&[2, 5], 50)];
    for (replicates, on_curve) in all {
        let stream = replicates.iter().sum::<usize>() as u64;
        // By fifths of the predicted probability: points, sum of the predictions, those that truly are on the front.
        let mut bins = [[0.0_f64; 3]; 5];
        let mut squares = 0.0;
        for number in 0..STUDIES {
            let mut rng = rng::stream(2, "calibration", number * 8 + stream);
            let truth = truth(on_curve, &mut rng);
            let objectives: Vec<[f64; 3]> =
                truth.iter().map(|[seconds, accuracy]| [*seconds, *accuracy, 1.0]).collect();
            let true_front = front(&objectives, Objectives::TimeAccuracy);
            let points = study(&truth, replicates, 7, &mut rng);
            for (index, of) in memberships(&points).iter().enumerate() {
                let probability = of.of(Objectives::TimeAccuracy).unwrap();
                let is_on = f64::from(u8::from(true_front.contains(&index)));
                squares += (probability - is_on).powi(2);
                let bin = &mut bins[((probability * 5.0) as usize).min(4)];
                [1.0, probability, is_on].iter().zip(bin).for_each(|(more, sum)| *sum += more);
            }
        }
        let [count, predicted, actual] = [0, 1, 2].map(|k| bins.iter().map(|bin| bin[k]).sum::<f64>());
        let (predicted, actual, error) = (predicted / count, actual / count, squares / count);
        // What always saying the share of points that are on the front would come to.
        let ignorance = actual * (1.0 - actual);
        println!(
            "front membership, {replicates:?} replicates, {on_curve} % on the curve, {STUDIES} studies of 12 points: predicted \
             {predicted:.3}, actual {actual:.3}, mean squared error {error:.3} (knowing the share alone: {ignorance:.3})"
        );
        for [count, predicted, actual] in bins {
            println!("  {count:5} points: predicted {:.3}, actual {:.3}", predicted / count, actual / count);
        }
        assert!(error < ignorance);
        if on_curve == 0 {
            assert!((predicted - actual).abs() < 0.05, "{predicted} {actual}");
        } else {
            // Too low where more points than could be told apart are on the front; never too high.
            assert!(predicted < actual + 0.02, "{predicted} {actual}");
        }
    }
}

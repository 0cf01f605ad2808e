//! What a configuration may still come to, by what whole trainings of others came to.

use std::f64::consts::PI;

use super::{
    bar::Bar,
    regression::Regression,
    unit::{Unit, accuracy_of, log_error},
};

/// How many deviations above what is expected is still thought possible.
const OPTIMISM: f64 = 3.0;
/// How many deviations below its mean a point with trials to come is taken for, where others are held against it.
const DOUBT: f64 = 1.0;
/// Weight of an axis among the features beside what the curve tells.
const CURVE_WEIGHT: f64 = 0.6;
/// Deviation of the logarithm of errors between seeds where no two trainings tell, and how many it counts for.
const SEED_DEVIATION: (f64, f64) = (0.15, 2.0);

/// What a decision about a configuration rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Basis {
    /// Epochs of its first trial, and the best accuracy up to there.
    pub trained: usize,
    pub reached: f64,
    /// The point at which it has the best chance: its epochs, its predicted seconds of training.
    pub stop: usize,
    pub seconds: f64,
    /// The accuracy that is expected there, and the highest that is thought possible.
    pub expected: f64,
    pub possible: f64,
    /// The best accuracy that is known for no more time (and parameters).
    pub to_beat: f64,
}

/// What a configuration may still come to.
pub(crate) struct Outlook {
    pub basis: Basis,
    /// The last point at which it may beat the bar; none where it can at no point.
    pub until: Option<usize>,
    /// Whether no accuracy at all would beat the bar.
    pub is_certain: bool,
    /// What is gained by training on, in accuracy, where it may beat the bar.
    pub gain: f64,
}

/// What is known of how errors fall between rungs, from trainings that were taken to their end.
pub(crate) struct Models {
    /// By rung: of trainings that have come to it and no further.
    levels: Vec<Option<Level>>,
    /// Deviation of the logarithm of errors between seeds.
    between_seeds: f64,
}

struct Level {
    regression: Regression,
    /// Centre and deviation of the features that the curve gives.
    scales: Vec<(f64, f64)>,
    /// For each later rung.
    deviations: Vec<f64>,
}

impl Models {
    /// Learns from `whole`, trainings that came to their end; how far they stray from what the others say is judged by
    /// those of them that were chosen at random. `used` says for which rungs.
    pub fn fit(units: &[Unit], axes: &[Vec<f64>], whole: &[(usize, bool)], used: &[bool]) -> Models {
        let last = used.len() - 1;
        let level = |level: usize| {
            (level < last && used[level] && !whole.is_empty()).then(|| Level::fit(units, axes, whole, level, last))
        };
        Models { levels: (0..used.len()).map(level).collect(), between_seeds: between_seeds(units) }
    }

    /// That know nothing, and take each mean for what it is.
    pub fn exact() -> Models {
        Models { levels: Vec::new(), between_seeds: 0.0 }
    }

    /// Relative deviation of the mean of `count` trials' errors from that of all.
    fn deviation(&self, unit: &Unit, count: usize) -> f64 {
        self.between_seeds * (1.0 / count as f64 - 1.0 / unit.trials.len() as f64).max(0.0).sqrt()
    }

    /// The points of a configuration that others must beat: seconds, parameters, accuracy.
    pub fn points<'a>(&'a self, unit: &'a Unit) -> impl Iterator<Item = (f64, f64, f64)> + 'a {
        let point = |stop: &usize| {
            let (accuracy, count) = unit.accuracy(*stop)?;
            let doubt = DOUBT * self.deviation(unit, count);
            let accuracy = if doubt > 0.0 { accuracy_of(log_error(accuracy) + doubt) } else { accuracy };
            Some((unit.seconds[*stop - 1], unit.parameters, accuracy))
        };
        unit.stops.iter().filter(|_| !unit.is_dead).filter_map(point)
    }

    /// What a configuration may come to at its later points.
    pub fn outlook(&self, unit: &Unit, axes: &[f64], bar: &Bar) -> Outlook {
        self.outlook_of(unit, axes, bar, 0.0)
    }

    /// The same of one that is not trained yet: its curve up to the first rung is a guess, whose logarithm of the error strays by
    /// so much.
    pub fn outlook_of(&self, unit: &Unit, axes: &[f64], bar: &Bar, guess: f64) -> Outlook {
        let seen = unit.seen();
        let reached = unit.curves[0].last().copied().unwrap_or(0.0);
        let mut outlook = Outlook {
            basis: Basis { trained: seen, reached, possible: f64::NEG_INFINITY, to_beat: 0.0, ..Basis::default() },
            until: None,
            is_certain: true,
            gain: 0.0,
        };
        let Some(at) = unit.level() else { return outlook };
        let path = self.levels[at].as_ref().map(|level| level.path(unit, axes, at));
        let mut best = f64::NEG_INFINITY;
        for stop in unit.stops.iter().copied() {
            let (center, deviation) = match unit.accuracy(stop) {
                Some((accuracy, _)) if guess > 0.0 => (log_error(accuracy), guess),
                Some((_, count)) if count == unit.trials.len() => continue,
                Some((accuracy, count)) => (log_error(accuracy), self.deviation(unit, count)),
                None => {
                    // Where nobody tells, nothing is known but that errors fall.
                    let (fall, spread) = path.as_ref().map_or((0.0, 3.0), |path| path.at(stop));
                    let seeds = self.deviation(unit, 1);
                    (log_error(reached) + fall, (spread * spread + seeds * seeds + guess * guess).sqrt())
                }
            };
            let to_beat = bar.at(unit.seconds[stop - 1], unit.parameters);
            let (expected, possible) = (accuracy_of(center), accuracy_of(center - OPTIMISM * deviation));
            outlook.is_certain &= to_beat >= 1.0;
            if possible > to_beat {
                outlook.until = Some(stop);
                let spread = (deviation * (1.0 - expected)).max(1e-9);
                outlook.gain = outlook.gain.max(expected_gain(expected - to_beat, spread));
            }
            if possible - to_beat > best {
                best = possible - to_beat;
                let seconds = unit.seconds[stop - 1];
                outlook.basis = Basis { stop, seconds, expected, possible, to_beat, ..outlook.basis };
            }
        }
        outlook
    }
}

/// Of a normal figure with this mean and deviation, what is above 0 of it.
fn expected_gain(mean: f64, deviation: f64) -> f64 {
    let at = mean / deviation;
    let density = (-0.5 * at * at).exp() / (2.0 * PI).sqrt();
    deviation * (density + at * below(at))
}

/// Share of a standard normal below `at`, to about 1e-7 (Abramowitz and Stegun 26.2.17).
fn below(at: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * at.abs());
    let series =
        t * (0.319_381_530 + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let above = (-0.5 * at * at).exp() / (2.0 * PI).sqrt() * series;
    if at >= 0.0 { 1.0 - above } else { above }
}

/// Deviation of the logarithm of errors between trials of a configuration, over all that have several.
fn between_seeds(units: &[Unit]) -> f64 {
    let (prior, weight) = SEED_DEVIATION;
    let (mut sum, mut degrees) = (weight * prior * prior, weight);
    for unit in units.iter().filter(|unit| unit.curves.len() > 1 && !unit.curves[1].is_empty()) {
        let common = unit.curves.iter().map(Vec::len).filter(|length| *length > 0).min().unwrap_or(0);
        let errors: Vec<f64> =
            unit.curves.iter().filter_map(|curve| curve.get(common.checked_sub(1)?)).map(|of| log_error(*of)).collect();
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        sum += errors.iter().map(|error| (error - mean) * (error - mean)).sum::<f64>();
        degrees += errors.len() as f64 - 1.0;
    }
    (sum / degrees).sqrt()
}

/// How the error of a configuration is expected to fall.
struct Path {
    /// Epochs, change of the logarithm of the error, its deviation: at the rung that it has come to and at the later ones.
    steps: Vec<(f64, f64, f64)>,
}

impl Path {
    /// At so many epochs, between rungs along the logarithm of epochs.
    fn at(&self, stop: usize) -> (f64, f64) {
        let stop = stop as f64;
        let next = self.steps.partition_point(|step| step.0 < stop).min(self.steps.len() - 1);
        let ((after, fall, spread), (before, earlier, closer)) = (self.steps[next], self.steps[next.saturating_sub(1)]);
        let share = if after > before { ((stop / before).ln() / (after / before).ln()).clamp(0.0, 1.0) } else { 1.0 };
        (earlier + share * (fall - earlier), closer + share.sqrt() * (spread - closer))
    }
}

impl Level {
    fn fit(units: &[Unit], axes: &[Vec<f64>], whole: &[(usize, bool)], level: usize, last: usize) -> Level {
        let told: Vec<Vec<f64>> = whole.iter().map(|(of, _)| told_by_curve(&units[*of], level)).collect();
        let scales: Vec<(f64, f64)> = (0..told[0].len()).map(|at| scale(told.iter().map(|of| of[at]))).collect();
        let examples: Vec<Vec<f64>> =
            whole.iter().zip(&told).map(|((of, _), told)| place(&axes[units[*of].candidate], told, &scales)).collect();
        let fall = |of: usize, to: usize| {
            let unit = &units[of];
            unit.log_error(unit.rungs[to]) - unit.log_error(unit.rungs[level])
        };
        let targets: Vec<Vec<f64>> =
            (level + 1..=last).map(|to| whole.iter().map(|(of, _)| fall(*of, to)).collect()).collect();
        let regression = Regression::fit(examples, &targets);
        let deviation = |target: usize| {
            let residuals = regression.residuals(target).iter().zip(whole);
            let fair: Vec<f64> = residuals.filter(|(_, (_, is_random))| *is_random).map(|(of, _)| *of).collect();
            let count = fair.len() as f64;
            // Few tell less of how far others stray.
            let squares = fair.iter().map(|of| of * of).sum::<f64>();
            (squares / (count - 1.5).max(0.5)).sqrt()
        };
        let deviations = (0..targets.len()).map(deviation).collect();
        Level { regression, scales, deviations }
    }

    fn path(&self, unit: &Unit, axes: &[f64], level: usize) -> Path {
        let falls = self.regression.at(&place(axes, &told_by_curve(unit, level), &self.scales));
        let later = falls.into_iter().zip(&self.deviations).enumerate();
        let step =
            |(at, (fall, spread)): (usize, (f64, &f64))| (unit.rungs[level + 1 + at] as f64, fall.min(0.0), *spread);
        let here = (unit.rungs[level] as f64, 0.0, 0.0);
        Path { steps: std::iter::once(here).chain(later.map(step)).collect() }
    }
}

/// What the curve up to a rung tells: the error there, and how it fell since the rung before.
fn told_by_curve(unit: &Unit, level: usize) -> Vec<f64> {
    let here = unit.log_error(unit.rungs[level]);
    let before = unit.log_error(if level > 0 { unit.rungs[level - 1] } else { 1 });
    vec![here, here - before]
}

fn scale(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / count;
    let variance = values.map(|value| (value - mean) * (value - mean)).sum::<f64>() / count;
    (mean, variance.sqrt().max(1e-6))
}

/// The features of a configuration.
fn place(axes: &[f64], told: &[f64], scales: &[(f64, f64)]) -> Vec<f64> {
    let curve = told.iter().zip(scales).map(|(value, (center, deviation))| CURVE_WEIGHT * (value - center) / deviation);
    axes.iter().copied().chain(curve).collect()
}

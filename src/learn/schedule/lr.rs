//! Learning-rate policies.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::{BatchPolicy, Progress};
use crate::base::invalid::Invalid;

/// The learning rate over the epochs. Defaults are the FasTrCaps paper's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "policy", rename_all = "kebab-case", deny_unknown_fields)]
pub enum LearningRatePolicy {
    Fixed {
        #[serde(default = "base_rate")]
        rate: f64,
    },
    /// `initial × decay^(epoch / period)`; with `staircase`, the exponent is rounded down.
    Exponential {
        #[serde(default = "base_rate")]
        initial: f64,
        #[serde(default = "decay")]
        decay: f64,
        /// Epochs per factor of `decay`.
        #[serde(default = "decay_period")]
        period: f64,
        #[serde(default)]
        staircase: bool,
    },
    /// `initial × factor^(milestones passed)`.
    Step {
        #[serde(default = "base_rate")]
        initial: f64,
        #[serde(default = "step_factor")]
        factor: f64,
        /// Epochs at which the rate is multiplied by `factor`, ascending.
        milestones: Vec<f64>,
    },
    /// Linear from `initial` up to `peak` over the first `up` of the training, back over the next `down`,
    /// then to `last` over the rest (Smith 2018).
    OneCycle {
        #[serde(default = "base_rate")]
        initial: f64,
        #[serde(default = "peak_rate")]
        peak: f64,
        #[serde(default = "last_rate")]
        last: f64,
        /// Shares of the training.
        #[serde(default = "cycle_share")]
        up: f64,
        #[serde(default = "cycle_share")]
        down: f64,
    },
    /// Half a cosine from `initial` to `last` over the whole training.
    Cosine {
        #[serde(default = "base_rate")]
        initial: f64,
        #[serde(default)]
        last: f64,
    },
    /// `rate`, and over the last `share` of the training down to 0 as `rate × (1 − √x)`, x being the part of that stretch which
    /// is done (Hägele et al. 2024). Trainings of any length are the same up to where the shorter one cools down.
    Cooldown {
        #[serde(default = "base_rate")]
        rate: f64,
        #[serde(default = "cooldown_share")]
        share: f64,
    },
    /// Half a cosine from `peak` to `floor` per cycle, then up again (SGDR; Loshchilov and Hutter 2017).
    WarmRestarts {
        #[serde(default = "peak_rate")]
        peak: f64,
        #[serde(default = "base_rate")]
        floor: f64,
        #[serde(default)]
        period: Period,
        /// Each cycle is this many times as long as the one before; not used with `period = "batch-phase"`.
        #[serde(default = "one")]
        multiplier: f64,
    },
}

/// Length of the first cycle of warm restarts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a number of epochs, or \"batch-phase\"")]
pub enum Period {
    Epochs(f64),
    Named(NamedPeriod),
}

/// A cycle length that follows something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NamedPeriod {
    /// One cycle per phase of the batch policy, as WarmAdaBatch wants it.
    BatchPhase,
}

impl Default for Period {
    fn default() -> Self {
        Period::Epochs(1.0)
    }
}

fn base_rate() -> f64 {
    1e-3
}
fn peak_rate() -> f64 {
    1e-2
}
fn last_rate() -> f64 {
    1e-4
}
fn decay() -> f64 {
    0.96
}
/// The paper's 2000 steps at batch 128 of MNIST's 60000 images.
fn decay_period() -> f64 {
    4.267
}
fn step_factor() -> f64 {
    0.1
}
fn cycle_share() -> f64 {
    0.45
}
fn cooldown_share() -> f64 {
    0.2
}
fn one() -> f64 {
    1.0
}

impl Default for LearningRatePolicy {
    fn default() -> Self {
        LearningRatePolicy::Fixed { rate: base_rate() }
    }
}

impl LearningRatePolicy {
    /// The learning rate at `progress`; `batch` is the batch policy beside it, whose phases a warm restart may follow.
    pub fn at(&self, progress: Progress, batch: &BatchPolicy) -> f64 {
        match self {
            LearningRatePolicy::Fixed { rate } => *rate,
            LearningRatePolicy::Exponential { initial, decay, period, staircase } => {
                let exponent = progress.epoch / period;
                initial * decay.powf(if *staircase { exponent.floor() } else { exponent })
            }
            LearningRatePolicy::Step { initial, factor, milestones } => {
                let passed = milestones.iter().filter(|milestone| progress.epoch >= **milestone).count();
                initial * factor.powi(passed as i32)
            }
            LearningRatePolicy::OneCycle { initial, peak, last, up, down } => {
                let done = progress.fraction();
                if done < *up {
                    linear(*initial, *peak, done / up)
                } else if done < up + down {
                    linear(*peak, *initial, (done - up) / down)
                } else {
                    let rest = 1.0 - up - down;
                    linear(*initial, *last, if rest > 0.0 { (done - up - down) / rest } else { 1.0 })
                }
            }
            LearningRatePolicy::Cosine { initial, last } => half_cosine(*initial, *last, progress.fraction()),
            LearningRatePolicy::Cooldown { rate, share } => {
                let start = progress.epochs * (1.0 - share);
                let cooled = ((progress.epoch - start) / (progress.epochs - start)).clamp(0.0, 1.0);
                // Not a number where the stretch is shorter than rounding.
                if cooled > 0.0 { rate * (1.0 - cooled.sqrt()) } else { *rate }
            }
            LearningRatePolicy::WarmRestarts { peak, floor, period, multiplier } => {
                let (start, end) = match period {
                    Period::Epochs(first) => cycle_span(*first, *multiplier, progress.epoch),
                    Period::Named(NamedPeriod::BatchPhase) => batch.phase_span(progress),
                };
                half_cosine(*peak, *floor, ((progress.epoch - start) / (end - start)).clamp(0.0, 1.0))
            }
        }
    }

    /// Epochs at which the rate turns or jumps, ascending: at least those within `epochs`, but for more than `most` of them.
    pub(super) fn turns(&self, epochs: f64, batch: &BatchPolicy, most: usize) -> Vec<f64> {
        match self {
            LearningRatePolicy::Fixed { .. }
            | LearningRatePolicy::Cosine { .. }
            | LearningRatePolicy::Exponential { staircase: false, .. } => Vec::new(),
            LearningRatePolicy::Exponential { period, .. } => (1..=most).map(|stair| stair as f64 * period).collect(),
            LearningRatePolicy::Step { milestones, .. } => milestones.clone(),
            LearningRatePolicy::OneCycle { up, down, .. } => vec![up * epochs, (up + down) * epochs],
            LearningRatePolicy::Cooldown { share, .. } => vec![epochs * (1.0 - share)],
            LearningRatePolicy::WarmRestarts { period: Period::Epochs(first), multiplier, .. } => {
                let cycles = std::iter::successors(Some((*first, *first)), |(end, length)| {
                    Some((end + length * multiplier, length * multiplier))
                });
                cycles.map(|(end, _)| end).take(most).take_while(|end| *end < epochs).collect()
            }
            LearningRatePolicy::WarmRestarts { period: Period::Named(NamedPeriod::BatchPhase), .. } => batch.turns(),
        }
    }

    /// Values that can be meant, and are a mistake more often than not: what the rate does by them.
    pub(super) fn note(&self) -> Option<String> {
        match self {
            LearningRatePolicy::OneCycle { initial, peak, .. } if peak < initial => Some(format!(
                "the cycle goes down to its peak, {peak:e}, and up again: it begins at initial = {initial:e}, which is above \
                 it. Where they are not given, peak is {:e} and initial {:e}",
                peak_rate(),
                base_rate()
            )),
            LearningRatePolicy::WarmRestarts { peak, floor, .. } if peak <= floor => Some(format!(
                "the rate stays at {peak:e}, without restarts: peak and floor are the same. Where they are not given, peak is \
                 {:e} and floor {:e}",
                peak_rate(),
                base_rate()
            )),
            LearningRatePolicy::OneCycle { initial, peak, .. } if peak == initial => {
                Some(format!("the cycle stays at {peak:e} until it is over: peak and initial are the same"))
            }
            LearningRatePolicy::Cosine { initial, last } if last == initial => {
                Some(format!("the rate stays at {initial:e}: initial and last are the same"))
            }
            LearningRatePolicy::Exponential { initial, decay: 1.0, .. } => {
                Some(format!("the rate stays at {initial:e}: decay is 1"))
            }
            LearningRatePolicy::Step { initial, factor: 1.0, .. } => {
                Some(format!("the rate stays at {initial:e}: factor is 1"))
            }
            _ => None,
        }
    }

    /// Whether a training of `epochs` may end at `epoch` as if it had been planned so.
    pub(super) fn may_end_at(&self, epoch: f64, epochs: f64, batch: &BatchPolicy) -> bool {
        match self {
            LearningRatePolicy::Fixed { .. }
            | LearningRatePolicy::Exponential { .. }
            | LearningRatePolicy::Step { .. } => true,
            LearningRatePolicy::OneCycle { .. }
            | LearningRatePolicy::Cosine { .. }
            | LearningRatePolicy::Cooldown { .. } => false,
            LearningRatePolicy::WarmRestarts { period, multiplier, .. } => {
                // Where a cycle begins, one has ended; by rounding, the moment may still count to that one.
                let (start, end) = match period {
                    Period::Epochs(first) => cycle_span(*first, *multiplier, epoch),
                    Period::Named(NamedPeriod::BatchPhase) => batch.phase_span(Progress { epoch, epochs }),
                };
                (start - epoch).abs() < 1e-9 || (end - epoch).abs() < 1e-9
            }
        }
    }

    pub(super) fn validate(&self, path: &str) -> Result<(), Invalid> {
        let check = |key: &str, value: f64, good: bool, allowed: &str| {
            if good { Ok(()) } else { Err(Invalid::new(&format!("{path}.{key}"), value, allowed)) }
        };
        let rate =
            |key, value: f64| check(key, value, value > 0.0 && value <= 10.0, "a learning rate above 0, up to 10");
        let share = |key, value: f64| check(key, value, (0.0..=1.0).contains(&value), "a share from 0 to 1");
        let epochs =
            |key, value: f64| check(key, value, (1e-3..=1e9).contains(&value), "a number of epochs of at least 0.001");
        let factor = |key, value: f64| check(key, value, value > 0.0 && value <= 1.0, "a factor above 0, up to 1");
        match self {
            LearningRatePolicy::Fixed { rate: value } => rate("rate", *value),
            LearningRatePolicy::Exponential { initial, decay, period, .. } => {
                rate("initial", *initial)?;
                factor("decay", *decay)?;
                epochs("period", *period)
            }
            LearningRatePolicy::Step { initial, factor: value, milestones } => {
                rate("initial", *initial)?;
                factor("factor", *value)?;
                if milestones.is_empty() || !milestones.is_sorted_by(|a, b| 0.0 < *a && a < b) || !(milestones[0] > 0.0)
                {
                    let allowed = "a list of at least one epoch, each above the one before, the first above 0";
                    return Err(Invalid::new(&format!("{path}.milestones"), format!("{milestones:?}"), allowed));
                }
                Ok(())
            }
            LearningRatePolicy::OneCycle { initial, peak, last, up, down } => {
                rate("initial", *initial)?;
                rate("peak", *peak)?;
                rate("last", *last)?;
                share("up", *up)?;
                share("down", *down)?;
                check("down", *down, up + down <= 1.0 + 1e-9, &format!("at most 1 - up = {}", 1.0 - up))
            }
            LearningRatePolicy::Cosine { initial, last } => {
                rate("initial", *initial)?;
                check("last", *last, *last >= 0.0 && *last <= *initial, "a learning rate from 0 to initial")
            }
            LearningRatePolicy::Cooldown { rate: value, share } => {
                rate("rate", *value)?;
                check("share", *share, *share > 0.0 && *share <= 1.0, "a share of the training above 0, up to 1")
            }
            LearningRatePolicy::WarmRestarts { peak, floor, period, multiplier } => {
                rate("peak", *peak)?;
                let allowed =
                    format!("a learning rate from 0 to peak = {peak}; where it is not given, it is {}", base_rate());
                check("floor", *floor, *floor >= 0.0 && *floor <= *peak, &allowed)?;
                if let Period::Epochs(value) = period {
                    epochs("period", *value)?;
                }
                let good = *multiplier == 1.0 || (1.001..=100.0).contains(multiplier);
                check("multiplier", *multiplier, good, "1, or a factor from 1.001 to 100")
            }
        }
    }
}

fn linear(from: f64, to: f64, share: f64) -> f64 {
    from + (to - from) * share
}

fn half_cosine(from: f64, to: f64, share: f64) -> f64 {
    to + (from - to) * 0.5 * (1.0 + (PI * share).cos())
}

/// Start and end of the cycle that `epoch` lies in, when cycles of length `first`, `first × multiplier`, … follow each other.
fn cycle_span(first: f64, multiplier: f64, epoch: f64) -> (f64, f64) {
    if multiplier == 1.0 {
        let start = (epoch / first).floor() * first;
        return (start, start + first);
    }
    let (mut start, mut length) = (0.0, first);
    while epoch >= start + length {
        start += length;
        length *= multiplier;
    }
    (start, start + length)
}

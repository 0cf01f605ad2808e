//! One constraint about one figure of a configuration.

use crate::base::words::{self, number, plural};

/// What a configuration must keep to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Constraint {
    MaxSeconds(f64),
    MinAccuracy(f64),
    MinSpeedup(f64),
    MaxAccuracyLoss(f64),
    MaxParameters(usize),
}

/// Accuracies are counts of images over their number, and means of those: closer than this they are equal, and differ by
/// how they were rounded.
pub const SLACK: f64 = 1e-9;

impl Constraint {
    /// Whether it is about accuracy: then the fastest that meets it is wanted.
    pub fn is_about_accuracy(self) -> bool {
        matches!(self, Constraint::MinAccuracy(_) | Constraint::MaxAccuracyLoss(_))
    }

    /// Whether it compares with the baseline.
    pub fn is_relative(self) -> bool {
        matches!(self, Constraint::MinSpeedup(_) | Constraint::MaxAccuracyLoss(_))
    }

    /// Whether it is about time.
    pub fn is_about_time(self) -> bool {
        matches!(self, Constraint::MaxSeconds(_) | Constraint::MinSpeedup(_))
    }

    /// The figure of a configuration that it is about; `objectives` are [`crate::analysis::Point::objectives`].
    pub fn value(self, objectives: &[f64; 3], baseline: &[f64; 3]) -> f64 {
        match self {
            Constraint::MaxSeconds(_) => objectives[0],
            Constraint::MinAccuracy(_) => objectives[1],
            Constraint::MinSpeedup(_) => baseline[0] / objectives[0],
            Constraint::MaxAccuracyLoss(_) => baseline[1] - objectives[1],
            Constraint::MaxParameters(_) => objectives[2],
        }
    }

    /// By how much a configuration misses it: 0 where it is met, NaN where a figure is not known.
    pub fn shortfall(self, objectives: &[f64; 3], baseline: &[f64; 3]) -> f64 {
        let value = self.value(objectives, baseline);
        let (short, slack) = match self {
            Constraint::MaxSeconds(most) => (value - most, 0.0),
            Constraint::MinAccuracy(least) => (least - value, SLACK),
            Constraint::MinSpeedup(least) => (least - value, 0.0),
            Constraint::MaxAccuracyLoss(most) => (value - most, SLACK),
            Constraint::MaxParameters(most) => (value - most as f64, 0.0),
        };
        if short <= slack { 0.0 } else { short }
    }

    pub fn is_met(self, objectives: &[f64; 3], baseline: &[f64; 3]) -> bool {
        self.shortfall(objectives, baseline) == 0.0
    }

    /// The constraint in words.
    pub fn words(self) -> String {
        match self {
            Constraint::MaxSeconds(most) => format!("at most {}", seconds(most)),
            Constraint::MinAccuracy(least) => format!("validation accuracy of at least {}", percent(least)),
            Constraint::MinSpeedup(least) => format!("at least {} as fast as the baseline", times(least)),
            Constraint::MaxAccuracyLoss(most) => format!("at most {} below the baseline's accuracy", points(most)),
            Constraint::MaxParameters(most) => format!("at most {}", plural(most, "parameter")),
        }
    }

    /// A figure that it is about, in words.
    pub fn figure(self, value: f64) -> String {
        match self {
            Constraint::MaxSeconds(_) => seconds(value),
            Constraint::MinAccuracy(_) => percent(value),
            Constraint::MinSpeedup(_) => format!("{} as fast", times(value)),
            Constraint::MaxAccuracyLoss(_) if value < 0.0 => format!("{} above", points(-value)),
            Constraint::MaxAccuracyLoss(_) => format!("{} below", points(value)),
            Constraint::MaxParameters(_) => plural(value as usize, "parameter"),
        }
    }
}

/// Four significant digits, so that a figure that just misses does not read as one that does not.
pub fn seconds(value: f64) -> String {
    let digits = (3 - value.abs().max(1e-6).log10().floor() as i32).clamp(0, 6) as usize;
    format!("{} s", number(value, digits))
}

pub fn percent(share: f64) -> String {
    words::percent(share, 3)
}

pub fn points(share: f64) -> String {
    format!("{:.3} points", 100.0 * share)
}

fn times(ratio: f64) -> String {
    format!("{} times", number(ratio, 3))
}

//! The constraints of `fastrcaps pick`, as a user writes them.

use std::time::Duration;

use clap::ArgGroup;
use fastrcaps::analysis::pick::{Choice, Constraint, Constraints, NearBest};

use super::input::{self, parse_accuracy, share_of};

const DURATIONS: &str = "give a training time above 0, as in 90s, 2m or 1h 30m";
const MARGINS: &str = "give a difference of accuracies from 0 to below 1, as in 0.001 or 0.1pp (percentage points)";
const SPEEDUPS: &str = "give a ratio above 0, as in 2x, 1.5x or 2";

/// Constraints on a configuration.
#[derive(clap::Args)]
#[command(group = ArgGroup::new("constraint").required(true).multiple(true))]
pub struct ConstraintsArg {
    /// Training time of at most this, as in 90s
    #[arg(long, group = "constraint", help_heading = "Constraints", value_name = "DURATION", value_parser = parse_time)]
    max_time: Option<Duration>,
    /// Mean validation accuracy of at least this, as in 0.99 or 99%
    #[arg(long, group = "constraint", help_heading = "Constraints", value_name = "ACCURACY", value_parser = parse_accuracy)]
    min_accuracy: Option<f64>,
    /// At least this many times as fast as the baseline, as in 2x
    #[arg(long, group = "constraint", help_heading = "Constraints", value_name = "RATIO", value_parser = parse_speedup)]
    min_speedup: Option<f64>,
    /// At most this much less accurate than the baseline, as in 0.001 or 0.1pp
    #[arg(long, group = "constraint", help_heading = "Constraints", value_name = "DIFFERENCE", value_parser = parse_margin)]
    max_accuracy_loss: Option<f64>,
    /// At most this many parameters
    #[arg(long, group = "constraint", help_heading = "Constraints", value_name = "N")]
    max_parameters: Option<usize>,
    /// At most this much less accurate than the most accurate that meets the other constraints, as in 0.1pp
    #[arg(long, group = "constraint", help_heading = "Constraints", value_name = "DIFFERENCE", value_parser = parse_margin)]
    within: Option<f64>,
    /// Within one standard error of the most accurate that meets the other constraints; needs two replicates
    #[arg(long, group = "constraint", help_heading = "Constraints", conflicts_with = "within")]
    one_standard_error: bool,
    /// The knee of the front of those that meet the other constraints: where more time begins to bring less
    #[arg(long, group = "constraint", help_heading = "Constraints")]
    knee: bool,
}

impl ConstraintsArg {
    /// The constraints; at least one, because the command line requires it.
    pub fn constraints(&self) -> Constraints {
        let limits = [
            self.max_time.map(|time| Constraint::MaxSeconds(time.as_secs_f64())),
            self.min_accuracy.map(Constraint::MinAccuracy),
            self.min_speedup.map(Constraint::MinSpeedup),
            self.max_accuracy_loss.map(Constraint::MaxAccuracyLoss),
            self.max_parameters.map(Constraint::MaxParameters),
        ];
        let one_error = self.one_standard_error.then_some(NearBest::OneStandardError);
        Constraints {
            limits: limits.into_iter().flatten().collect(),
            near_best: self.within.map(NearBest::Within).or(one_error),
            choice: if self.knee { Choice::Knee } else { Choice::ByConstraints },
        }
    }
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let time = input::parse_duration(text).map_err(|_| DURATIONS.to_string())?;
    if time.is_zero() { Err(DURATIONS.into()) } else { Ok(time) }
}

fn parse_margin(text: &str) -> Result<f64, String> {
    share_of(text, "pp").filter(|share| (0.0..1.0).contains(share)).ok_or_else(|| MARGINS.into())
}

fn parse_speedup(text: &str) -> Result<f64, String> {
    let text = text.trim();
    let number = text.strip_suffix(['x', 'X', '×']).unwrap_or(text).trim_end();
    number.parse().ok().filter(|ratio: &f64| *ratio > 0.0 && ratio.is_finite()).ok_or_else(|| SPEEDUPS.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_are_read_in_the_units_that_people_write() {
        assert_eq!(parse_time("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_accuracy("99%"), Ok(0.99));
        assert_eq!(parse_accuracy("0.99"), Ok(0.99));
        assert_eq!(parse_margin("0.1pp"), Ok(0.001));
        assert_eq!(parse_margin(" 0.5 pp "), Ok(0.005));
        assert_eq!(parse_margin("0"), Ok(0.0));
        assert_eq!(parse_speedup("2x"), Ok(2.0));
        assert_eq!(parse_speedup("1.5"), Ok(1.5));
    }

    #[test]
    fn what_is_no_constraint_is_refused_with_an_example() {
        for text in ["0s", "-1s", "90", "", "soon"] {
            assert!(parse_time(text).expect_err(text).contains("as in 90s"), "{text}");
        }
        for text in ["1.5", "0", "-0.1", "101%", "NaN", "inf", "%", "", "99", "high"] {
            assert!(parse_accuracy(text).expect_err(text).contains("0.99 or 99%"), "{text}");
        }
        for text in ["abc", "-0.1pp", "1", "100pp", "NaN", "pp", "", "0.1%"] {
            assert!(parse_margin(text).expect_err(text).contains("0.1pp"), "{text}");
        }
        for text in ["0x", "-2", "x", "inf", "NaN", "", "2y", "2xx", "2x×"] {
            assert!(parse_speedup(text).expect_err(text).contains("as in 2x"), "{text}");
        }
    }
}

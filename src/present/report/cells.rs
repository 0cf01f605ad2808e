//! Figures in words, as the tables on a terminal and the page have them.

use crate::{
    analysis::{
        Basis, Point,
        bootstrap::{accuracy_interval, time_interval},
        contrast::{Measured, SpeedUp},
        pick::{Confidence, PickError},
    },
    base::words::{accuracy as percent, duration, plural},
    present::report::findings::{Change, accuracy_sd},
};

/// What is said below effects.
pub const INTERVALS: &str = "[ ] holds the mean over other seeds (of times: over other rounds of timing) in 95 of 100 studies; \
     it is absent with one replicate.";
pub const SCREENED: &str = "* by times of the sweep, taken beside other trials; `fastrcaps time` confirms them.";

/// A mean accuracy with the standard deviation of its replicates, in per cent.
pub fn mean_and_deviation(mean: Option<f64>, deviation: Option<f64>) -> String {
    match (mean, deviation) {
        (Some(mean), Some(deviation)) => format!("{:.2} ± {:.2} %", 100.0 * mean, 100.0 * deviation),
        (mean, _) => percent(mean),
    }
}

/// A share of draws in per cent: never all or none of them, as it is of no more than so many.
pub fn share_of_draws(share: f64) -> String {
    match (100.0 * share).round() {
        percent if percent >= 100.0 => ">99 %".into(),
        percent if percent < 1.0 => "<1 %".into(),
        percent => format!("{percent} %"),
    }
}

/// The name of a group of points that cannot be told apart: a, b, … z, then numbers.
pub fn letter(group: usize) -> String {
    let letter = u8::try_from(group).ok().filter(|at| *at < 26).map(|at| char::from(b'a' + at));
    letter.map_or((group + 1).to_string(), |letter| letter.to_string())
}

pub fn factor(value: f64) -> String {
    format!("{value:.2}×")
}

/// A difference of accuracies in percentage points.
pub fn points(value: f64) -> String {
    // Rounded before the sign is chosen, so that nothing is "-0.00".
    format!("{:+.2}", (1e4 * value).round() / 100.0 + 0.0)
}

/// What stands in the place of a speed-up that is 1 by construction.
pub const SAME_STEPS: &str = "same steps";

/// A factor of speed without its interval.
pub fn speed(of: SpeedUp) -> String {
    if of.same_steps { SAME_STEPS.into() } else { factor(of.factor.estimate) }
}

/// How many times as fast as the baseline a point is; none where that is not known.
pub fn speed_beside_baseline(change: Change) -> Option<String> {
    let speed = change.speedup?;
    Some(if change.same_steps { SAME_STEPS.into() } else { factor(speed) })
}

pub fn speed_cell(of: Option<SpeedUp>) -> String {
    let Some(SpeedUp { factor: of, basis, same_steps }) = of else { return "unknown".into() };
    if same_steps {
        return SAME_STEPS.into();
    }
    let interval = of.interval.map(|(low, high)| format!(" [{low:.2}, {high:.2}]")).unwrap_or_default();
    format!("{}{interval}{}", factor(of.estimate), if basis == Basis::Screened { " *" } else { "" })
}

pub fn accuracy_cell(of: Option<Measured>) -> String {
    let Some(of) = of else { return "unknown".into() };
    let interval = of.interval.map(|(low, high)| format!(" [{}, {}]", points(low), points(high)));
    points(of.estimate) + &interval.unwrap_or_default()
}

/// A point's time, with `~` before one that was taken beside other trials.
pub fn marked_time(point: &Point) -> String {
    let mark = if point.time.basis == Basis::Screened { "~" } else { "" };
    point.seconds().map_or("unknown".into(), |seconds| format!("{mark}{}", duration(seconds)))
}

/// How a point's time came about: its basis, and of how many measurements.
pub fn time_basis(point: &Point) -> String {
    let count = point.time.seconds.len();
    let measured = match point.time.basis {
        Basis::Confirmed => plural(count, "round"),
        Basis::Screened => plural(count, "replicate"),
    };
    format!("{}, {measured}", point.time.basis.as_str())
}

/// A point's time with its interval, and how it came about.
pub fn time(point: &Point) -> String {
    let interval = time_interval(point)
        .map_or("interval not known".into(), |(low, high)| format!("95 %: {} to {}", duration(low), duration(high)));
    format!("{} ({interval}; {})", point.seconds().map_or("unknown".into(), duration), time_basis(point))
}

/// A point's validation accuracy with its interval, and over how many replicates.
pub fn accuracy(point: &Point) -> String {
    let interval = accuracy_interval(point).map_or("interval not known".into(), |(low, high)| {
        format!("95 %: {:.2} to {:.2} %", 100.0 * low, 100.0 * high)
    });
    let mean = mean_and_deviation(point.mean_accuracy(), accuracy_sd(point));
    format!("{mean} ({interval}; {})", plural(point.accuracy.len(), "replicate"))
}

/// Why nothing is picked, with the flags of `fastrcaps pick` that lead further.
pub fn pick_error(of: &PickError) -> String {
    let flags = match of {
        PickError::NoKnee { .. } => "`--max-time 90s`, `--min-accuracy 99%` or `--max-accuracy-loss 0.1pp`",
        PickError::NoStandardError { .. } => "`explore --replicates 2`, or `pick --within 0.1pp`",
        PickError::NoConstraint
        | PickError::NoPoints
        | PickError::NoBaseline { .. }
        | PickError::NothingMeets { .. } => return of.to_string(),
    };
    format!("{of}: {flags}")
}

/// "300" or "300 to 600".
pub fn from_to((least, most): (usize, usize)) -> String {
    if least == most { least.to_string() } else { format!("{least} to {most}") }
}

/// How sure a pick is.
pub fn confidence(of: Confidence) -> String {
    let met = |share| format!("met in {} of draws from what is known of its figures", share_of_draws(share));
    match of {
        Confidence::Certain => "certain: no constraint is about a measured figure".into(),
        Confidence::Share(share) => format!("the constraints are {}", met(share)),
        Confidence::ShareOfOthers(share) => {
            format!("the constraints, but for the knee or one standard error, are {}", met(share))
        }
        Confidence::Unknown => "not known: that takes two replicates or more".into(),
        Confidence::NotComputed => "not computed: no draw judges the knee or one standard error".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_share_of_draws_is_all_or_none() {
        let words: Vec<String> = [0.0, 0.0049, 0.01, 0.5, 0.994, 0.995, 1.0].into_iter().map(share_of_draws).collect();
        assert_eq!(words, ["<1 %", "<1 %", "1 %", "50 %", "99 %", ">99 %", ">99 %"]);
    }
}

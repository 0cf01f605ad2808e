//! Statistics of replicates and of times.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// Arithmetic mean; none of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Standard deviation of a sample, with n − 1 in the denominator; none of fewer than two values.
pub fn standard_deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

/// The value below which a share of `share` of Student's t distribution with `degrees` degrees of freedom lies; NaN where
/// there is none.
pub fn student_t_quantile(share: f64, degrees: f64) -> f64 {
    match StudentsT::new(0.0, 1.0, degrees) {
        // The ends are not finite, and outside of them there is nothing.
        Ok(of) if share > 0.0 && share < 1.0 => of.inverse_cdf(share),
        _ => f64::NAN,
    }
}

/// The interval that covers the mean of normal values with probability `level`, by Student's t; none of fewer than two
/// values.
pub fn mean_interval(values: &[f64], level: f64) -> Option<(f64, f64)> {
    let (mean, deviation) = (mean(values)?, standard_deviation(values)?);
    let count = values.len() as f64;
    let reach = student_t_quantile(0.5 + level / 2.0, count - 1.0) * deviation / count.sqrt();
    Some((mean - reach, mean + reach))
}

/// The value below which a share of `share` of the sorted values lies, between two values where it falls there; NaN of none.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = share.clamp(0.0, 1.0) * last as f64;
    let below = at.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (at - below as f64) * (sorted[above] - sorted[below])
}

/// How values lie: the least, the quartiles, the greatest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub min: f64,
    pub lower_quartile: f64,
    pub median: f64,
    pub upper_quartile: f64,
    pub max: f64,
}

impl Spread {
    /// Of values in any order; NaN of none.
    pub fn of(values: &[f64]) -> Spread {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let [min, lower_quartile, median, upper_quartile, max] =
            [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| quantile(&sorted, share));
        Spread { min, lower_quartile, median, upper_quartile, max }
    }
}

/// The median of values in any order, as [`Spread`] has it; NaN of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

/// Times below which no interval of 95 % of their median can be given.
pub const ENOUGH_ROUNDS: usize = 6;

/// The interval that holds the median of what the values were drawn from with a confidence of `level`, whatever its shape:
/// between order statistics, interpolated (Hettmansperger and Sheather 1986). None where even the extremes are too close
/// for that: 95 % need [`ENOUGH_ROUNDS`].
pub fn median_interval(values: &[f64], level: f64) -> Option<(f64, f64)> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    // Confidence of the interval from the dth least to the dth greatest value: the median lies outside of it on one side
    // where fewer than d of n fair coins fall there.
    let mut coins = 0.5_f64.powi(i32::try_from(n).ok()?);
    let (mut tail, mut last) = (0.0, None);
    for d in 1..=n.div_ceil(2) {
        tail += coins;
        coins *= (n + 1 - d) as f64 / d as f64;
        let confidence = 1.0 - 2.0 * tail;
        if confidence < level {
            let wider: f64 = last?;
            let excess = (wider - level) / (wider - confidence);
            let wide = (d - 1) as f64;
            let share = (n as f64 - wide) * excess / (wide + (n as f64 - 2.0 * wide) * excess);
            let between = |from: f64, to: f64| from + share * (to - from);
            return Some((between(sorted[d - 2], sorted[d - 1]), between(sorted[n + 1 - d], sorted[n - d])));
        }
        last = Some(confidence);
    }
    None
}

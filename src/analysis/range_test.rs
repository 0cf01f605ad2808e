//! The learning-rate range test (Smith 2017, "Cyclical Learning Rates for Training Neural Networks"): train while the
//! rate grows exponentially, and read from the loss which rates teach. Pure functions of the recorded curve.

/// The rate of a step, counted from 0: `10^(step / 100 − 6)`, a factor of 10 every 100 steps.
pub fn rate(step: usize) -> f64 {
    10_f64.powf(step as f64 / 100.0 - 6.0)
}

/// What a range test says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suggestion {
    /// A tenth of `lowest`: a rate to train with, well inside the range in which the loss falls.
    ///
    /// Not where the loss falls fastest: the margin loss of a fresh capsule network falls steeply at tiny rates already,
    /// while all its capsules grow shorter and none learns to tell classes apart.
    pub rate: f64,
    /// The rate of the lowest smoothed loss: too high to train with, as the loss is about to grow.
    pub lowest: f64,
}

/// Mean over a centred window of about 1/20 of the curve, narrower at its ends: unlike a running average it does not
/// shift the curve towards higher rates. Ends before the first loss that is not finite.
pub fn smooth(losses: &[f64]) -> Vec<f64> {
    let finite = losses.iter().position(|loss| !loss.is_finite()).unwrap_or(losses.len());
    let reach = reach(finite);
    (0..finite)
        .map(|at| {
            let reach = reach.min(at).min(finite - 1 - at);
            let window = &losses[at - reach..=at + reach];
            window.iter().sum::<f64>() / window.len() as f64
        })
        .collect()
}

/// The suggestion of a curve, `rates` ascending; none if the curve is short, or if the loss never falls by clearly more
/// than its noise.
///
/// What follows the divergence (the smoothed loss above 4 times its lowest value so far) is not looked at.
pub fn suggest(rates: &[f64], losses: &[f64]) -> Option<Suggestion> {
    const FEWEST: usize = 20;
    let smoothed = smooth(&losses[..losses.len().min(rates.len())]);
    let reach = reach(smoothed.len());
    let mut so_far = f64::INFINITY;
    let end = smoothed.iter().position(|loss| {
        so_far = so_far.min(*loss);
        *loss > 4.0 * so_far.abs()
    });
    let curve = &smoothed[..end.unwrap_or(smoothed.len())];
    if curve.len() < FEWEST || !rates[..curve.len()].is_sorted_by(|a, b| *a > 0.0 && a < b) {
        return None;
    }
    // The first and last values are means of few neighbours, and so too noisy to be the lowest.
    let lowest = (reach..curve.len() - reach).min_by(|a, b| curve[*a].total_cmp(&curve[*b]))?;
    let noise =
        (losses.iter().zip(curve).map(|(raw, smooth)| (raw - smooth).powi(2)).sum::<f64>() / curve.len() as f64).sqrt();
    let fall = curve[reach] - curve[lowest];
    if !(fall > 2.0 * noise && fall > 0.01 * curve[lowest].abs()) {
        return None;
    }
    Some(Suggestion { rate: rates[lowest] / 10.0, lowest: rates[lowest] })
}

/// How many neighbours on either side a smoothed value is the mean of.
fn reach(length: usize) -> usize {
    (length / 40).max(2)
}

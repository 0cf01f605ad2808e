//! Axes of factors and of points, around where there is no change.

use super::super::axis::{Axis, Scale, Tick, Unit};
use super::super::canvas::Weight;
use super::super::font;
use super::super::style::{SMALL, trimmed};
use super::Bar;

/// What must be seen whole (`neutral`, estimates, ranges), and how far the intervals go; those may go on beyond the panel where
/// they are far wider than all else, as with two replicates.
fn extent(bars: impl Iterator<Item = Bar>, neutral: f64, least: f64, scale: fn(f64) -> f64) -> (f64, f64) {
    let (mut low, mut high) = (scale(neutral), scale(neutral));
    let (mut lowest, mut highest) = (low, high);
    for bar in bars {
        for value in [bar.estimate, bar.range.0, bar.range.1].map(scale).into_iter().filter(|value| value.is_finite()) {
            (low, high) = (low.min(value), high.max(value));
        }
        let (from, to) = bar.interval.unwrap_or((bar.estimate, bar.estimate));
        (lowest, highest) = (lowest.min(scale(from)), highest.max(scale(to)));
    }
    // An axis on which nothing changes still has room beside it.
    let missing = (least - (high - low)).max(0.0) / 2.0;
    (low, high) = (low - missing, high + missing);
    let span = (high - low).max(least);
    let (low, high) = (lowest.clamp(low - 0.6 * span, low), highest.clamp(high, high + 0.6 * span));
    let margin = 0.06 * (high - low).max(least);
    (low - margin, high + margin)
}

/// An axis of factors: logarithmic, with ticks as close as its length allows.
pub(super) fn factors(bars: impl Iterator<Item = Bar>) -> Axis {
    let (low, high) = extent(bars, 1.0, 0.1, f64::ln);
    let (from, to) = (low.exp(), high.exp());
    let wide = [0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0];
    let values: Vec<f64> = if to / from < 4.0 {
        let step = if to / from < 1.4 { 0.05 } else { 0.25 };
        (1..=(to / step) as usize).map(|count| count as f64 * step).collect()
    } else if to / from < 12.0 {
        wide.to_vec()
    } else {
        (-9..9).flat_map(|power| [1.0, 2.0, 5.0].map(|m| m * 10_f64.powi(power))).collect()
    };
    let ticks = values.into_iter().filter(|value| (from..=to).contains(value));
    let label = |value: f64| format!("{}×", trimmed(format!("{value:.4}")));
    let ticks = ticks.map(|value| Tick { value, label: label(value) }).collect();
    Axis { scale: Scale::Log, from, to, ticks }
}

/// An axis of points, or of per cent from 0.
pub(super) fn points(bars: impl Iterator<Item = Bar>, panel: usize) -> Axis {
    let (neutral, least) = if panel == 1 { (0.0, 0.1) } else { (100.0, 1.0) };
    let (low, high) = extent(bars, neutral, least, |value| value);
    let mut axis = Axis::new(Scale::Linear, if panel == 1 { low } else { 0.0 }, high, Unit::Number);
    for tick in axis.ticks.iter_mut().filter(|_| panel == 1) {
        let decimals = tick.label.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        tick.label = signed(tick.value, decimals);
    }
    axis
}

/// With its sign, but for zero.
pub(in super::super) fn signed(value: f64, decimals: usize) -> String {
    let half = 0.5 * 10_f64.powi(-(decimals as i32));
    if value.abs() < half { format!("{:.decimals$}", 0.0) } else { format!("{value:+.decimals$}") }
}

/// The axis with no more ticks than their labels have room for; the one of no change stays.
pub(super) fn fitted(mut axis: Axis, neutral: f64, width: f64) -> Axis {
    loop {
        let place = |tick: &Tick| axis.share(tick.value) * width;
        let half = |tick: &Tick| font::width(&tick.label, Weight::Regular, SMALL) / 2.0;
        let touches = |pair: &[Tick]| place(&pair[1]) - half(&pair[1]) < place(&pair[0]) + half(&pair[0]) + 12.0;
        let Some(at) = axis.ticks.windows(2).position(touches) else { return axis };
        // Every other one, counted from the one of no change where there is one.
        let kept = axis.ticks.iter().position(|tick| (tick.value - neutral).abs() < 1e-9).unwrap_or(at) % 2;
        let before = axis.ticks.len();
        axis.ticks = axis.ticks.into_iter().enumerate().filter(|(n, _)| n % 2 == kept).map(|(_, tick)| tick).collect();
        if axis.ticks.len() == before {
            return axis;
        }
    }
}

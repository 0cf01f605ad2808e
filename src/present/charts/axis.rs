//! Axes: from values to pixels, with ticks a reader would choose.

use super::canvas::{Anchor, Area, Point, Scene, Stroke, Text};
use super::style::{FAINT, GRID, INK, LABEL, MUTED, SMALL, duration, rate, trimmed};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    Linear,
    Log,
}

/// What an axis measures: decides the ticks and how they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Shares in 0..=1, written in %.
    Percent,
    Seconds,
    /// Whole numbers from 0: epochs.
    Count,
    /// Whole numbers that double: batch sizes.
    Doubling,
    LearningRate,
    Number,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    pub scale: Scale,
    pub from: f64,
    pub to: f64,
    pub ticks: Vec<Tick>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    pub value: f64,
    pub label: String,
}

/// Above this ratio of its ends, an axis of positive values is logarithmic.
const LOG_FROM: f64 = 8.0;

impl Axis {
    /// An axis over the finite values, with a margin of `padding` of its length on both sides; a span without length is
    /// widened. Logarithmic where the values are positive, range far and the unit is one that may be.
    pub fn over(values: impl IntoIterator<Item = f64>, unit: Unit, padding: f64) -> Axis {
        // What is smaller or larger than any measurement is noise of the arithmetic.
        let settled = |value: f64| if value.abs() < 1e-100 { 0.0 } else { value };
        let bounds = values.into_iter().filter(|value| value.abs() < 1e100).map(settled).fold(None, |bounds, value| {
            let (low, high) = bounds.unwrap_or((value, value));
            Some((value.min(low), value.max(high)))
        });
        let (low, high) = bounds.unwrap_or((0.0, 1.0));
        let may_be_log = !matches!(unit, Unit::Percent | Unit::Count);
        if matches!(unit, Unit::LearningRate | Unit::Doubling) && low == high && low > 0.0 {
            let tick = |value| Tick { value, label: label(value, 2.0 * low, low, Scale::Linear, unit) };
            return Axis { scale: Scale::Linear, from: 0.0, to: 2.0 * low, ticks: vec![tick(0.0), tick(low)] };
        }
        let far = if unit == Unit::Doubling { 1.0 } else { LOG_FROM };
        if may_be_log && low > 0.0 && high / low > far {
            let margin = (high / low).powf(padding);
            return Axis::new(Scale::Log, low / margin, high * margin, unit);
        }
        // Equal values get a span that their unit makes sense of, and that is far above rounding.
        let least = match unit {
            Unit::Percent => 0.002,
            Unit::Count => 1.0,
            _ => high.abs().max(low.abs()) * 0.2,
        };
        let least = if least > 0.0 { least.max(high.abs().max(low.abs()) * 1e-6) } else { 1.0 };
        let missing = (least - (high - low)).max(0.0) / 2.0;
        let margin = missing + (high - low + 2.0 * missing) * padding;
        let from = if low >= 0.0 { (low - margin).max(0.0) } else { low - margin };
        let to = if unit == Unit::Percent && high <= 1.0 { (high + margin).min(1.0) } else { high + margin };
        Axis::new(Scale::Linear, from, to, unit)
    }

    /// The axis with another `share` of its length at its end; one of shares ends at 100 % at the latest. With it what that
    /// leaves of the room, as a share of the whole length: nothing where the axis takes all of it.
    pub fn headroom(&self, share: f64, unit: Unit) -> (Axis, f64) {
        let to = match self.scale {
            Scale::Linear => self.to + (self.to - self.from) * share,
            Scale::Log => self.to * (self.to / self.from).powf(share),
        };
        let end = if unit == Unit::Percent { to.min(self.to.max(1.0)) } else { to };
        (Axis::new(self.scale, self.from, end, unit), if end < to { (to - end) / (to - self.from) } else { 0.0 })
    }

    /// The axis from and to other values, where some are given.
    pub fn within(self, range: Option<(f64, f64)>, unit: Unit) -> Axis {
        let Some((from, to)) = range else { return self };
        // There is no logarithm of zero.
        let scale = if from > 0.0 { self.scale } else { Scale::Linear };
        Axis::new(scale, from, to, unit)
    }

    pub fn new(scale: Scale, from: f64, to: f64, unit: Unit) -> Axis {
        let ticks = ticks(scale, from, to, unit);
        Axis { scale, from, to, ticks }
    }

    /// Where `value` lies, 0 at the start and 1 at the end of the axis.
    pub fn share(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => (value - self.from) / (self.to - self.from),
            Scale::Log => (value.max(1e-300) / self.from).ln() / (self.to / self.from).ln(),
        }
    }
}

fn ticks(scale: Scale, from: f64, to: f64, unit: Unit) -> Vec<Tick> {
    let values = match (scale, unit) {
        (Scale::Log, Unit::Seconds) => thinned(moments(from, to), 9),
        (Scale::Log, Unit::Doubling) => thinned(powers(2.0, &[1.0], from, to), 9),
        (Scale::Log, _) => {
            let fine = powers(10.0, &[1.0, 2.0, 5.0], from, to);
            if fine.len() <= 7 { fine } else { thinned(powers(10.0, &[1.0], from, to), 9) }
        }
        (Scale::Linear, Unit::Seconds) => {
            let second = if to > 7200.0 {
                3600.0
            } else if to > 120.0 {
                60.0
            } else {
                1.0
            };
            even(from / second, to / second, 1e-12).into_iter().map(|value| value * second).collect()
        }
        (Scale::Linear, Unit::Percent) => {
            even(from * 100.0, to.min(1.0) * 100.0, 1e-12).into_iter().map(|value| value / 100.0).collect()
        }
        (Scale::Linear, Unit::Count | Unit::Doubling) => even(from, to, 1.0),
        (Scale::Linear, _) => even(from, to, 0.0),
    };
    let step = values.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min);
    values.iter().map(|value| Tick { value: *value, label: label(*value, to, step, scale, unit) }).collect()
}

/// A tick's text; `to` is the axis' end and `step` the smallest distance of its ticks.
fn label(value: f64, to: f64, step: f64, scale: Scale, unit: Unit) -> String {
    let decimals =
        |step: f64| if step.is_finite() { (-(step.log10() + 1e-9).floor()).clamp(0.0, 9.0) as usize } else { 2 };
    match unit {
        Unit::Percent => format!("{:.*} %", decimals(step * 100.0), value * 100.0),
        Unit::Seconds if scale == Scale::Linear => linear_seconds(value, to),
        Unit::Seconds => moment(value),
        Unit::LearningRate => rate(value),
        Unit::Count | Unit::Doubling => format!("{value:.0}"),
        Unit::Number if scale == Scale::Linear => format!("{value:.*}", decimals(step)),
        Unit::Number => trimmed(format!("{value:.6}")),
    }
}

/// A round moment in the largest unit that it is a whole number of.
fn moment(seconds: f64) -> String {
    let units = [(86_400.0, "d"), (3600.0, "h"), (60.0, "min")];
    let whole = units.into_iter().find(|(length, _)| seconds >= *length && seconds % length == 0.0);
    whole.map_or_else(|| duration(seconds), |(length, unit)| format!("{} {unit}", seconds / length))
}

/// One unit along the whole axis.
fn linear_seconds(value: f64, to: f64) -> String {
    let (scaled, unit) = if to > 7200.0 {
        (value / 3600.0, "h")
    } else if to > 120.0 {
        (value / 60.0, "min")
    } else {
        (value, "s")
    };
    format!("{} {unit}", trimmed(format!("{scaled:.3}")))
}

/// Multiples of 1, 2 or 5 × 10^k (not below `least`), 4 to 9 of them.
fn even(from: f64, to: f64, least: f64) -> Vec<f64> {
    let span = to - from;
    if !(span > 0.0 && span.is_finite()) {
        return Vec::new();
    }
    let rough = (span / 7.0).max(least);
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(10.0 * power);
    let (first, last) = ((from / step - 1e-9).ceil(), (to / step + 1e-9).floor());
    (0..=(last - first).clamp(0.0, 40.0) as usize)
        .map(|k| (first + k as f64) * step)
        .filter(|value| *value <= to + step * 1e-6)
        .collect()
}

/// `base^k × m` within the range, ascending.
fn powers(base: f64, multiples: &[f64], from: f64, to: f64) -> Vec<f64> {
    // Ends of 1e±100 are the widest there are.
    let (first, last) = (from.log(base).floor().max(-400.0) as i32, to.log(base).ceil().min(400.0) as i32);
    let all = (first..=last).flat_map(|k| multiples.iter().map(move |m| m * base.powi(k)));
    all.filter(|value| (from..=to).contains(value)).collect()
}

/// Round moments within the range: 1, 2, 5, 10, 20, 30 seconds and minutes, hours, days.
fn moments(from: f64, to: f64) -> Vec<f64> {
    let mut all = powers(10.0, &[1.0, 2.0, 5.0], 1e-9, 0.9);
    for unit in [1.0, 60.0] {
        all.extend([1.0, 2.0, 5.0, 10.0, 20.0, 30.0].map(|m| m * unit));
    }
    all.extend([1.0, 2.0, 5.0, 12.0].map(|hours| hours * 3600.0));
    all.extend([1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 1e4, 1e5, 1e6].map(|days| days * 86_400.0));
    all.retain(|value| (from..=to).contains(value));
    if all.len() > 6 {
        all.retain(|value| ![30.0, 1800.0].contains(value));
    }
    all
}

/// At most `most` of the values, every n-th.
fn thinned(values: Vec<f64>, most: usize) -> Vec<f64> {
    let every = values.len().div_ceil(most).max(1);
    values.into_iter().step_by(every).collect()
}

/// A pair of axes on an area of the picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Plot {
    pub area: Area,
    pub x: Axis,
    pub y: Axis,
}

impl Plot {
    /// The pixel of a pair of values.
    pub fn at(&self, x: f64, y: f64) -> Point {
        let Area { left, bottom, .. } = self.area;
        (left + self.x.share(x) * self.area.width(), bottom - self.y.share(y) * self.area.height())
    }

    /// Light grid, axes lines and tick labels; the two names, the y axis' above its ticks.
    pub fn draw_frame(&self, scene: &mut Scene, x_name: &str, y_name: &str) {
        let Area { left, top, right, bottom } = self.area;
        for tick in &self.x.ticks {
            let x = crisp(self.at(tick.value, self.y.from).0);
            scene.line(vec![(x, top), (x, bottom)], Stroke::solid(GRID, 1.0));
            if !x_name.is_empty() {
                scene.text(Text::new((x, bottom + 30.0), &tick.label, SMALL, MUTED).anchor(Anchor::Middle));
            }
        }
        for tick in &self.y.ticks {
            let y = crisp(self.at(self.x.from, tick.value).1);
            scene.line(vec![(left, y), (right, y)], Stroke::solid(GRID, 1.0));
            scene.text(Text::new((left - 12.0, y + 7.0), &tick.label, SMALL, MUTED).anchor(Anchor::End));
        }
        scene.line(
            vec![(crisp(left), top), (crisp(left), crisp(bottom)), (right, crisp(bottom))],
            Stroke::solid(FAINT, 1.0),
        );
        scene.text(Text::new(((left + right) / 2.0, bottom + 66.0), x_name, LABEL, INK).anchor(Anchor::Middle));
        let middle = (top + bottom) / 2.0;
        scene.text(Text::new((left - 112.0, middle), y_name, LABEL, INK).anchor(Anchor::Middle).up());
    }
}

/// The middle of a pixel, where a line of width 1 is sharp.
fn crisp(at: f64) -> f64 {
    at.floor() + 0.5
}

//! The learning-rate range test: loss over a growing learning rate, and the rate it suggests.

use super::axis::{Axis, Plot, Scale, Unit};
use super::canvas::{Anchor, Point, Scene, Stroke, Text, Weight};
use super::look::Style;
use super::style::{BLUE, FAINT, INK, LABEL, MUTED, SMALL, VERMILION, rate};
use super::{font, layout};
use crate::analysis::range_test::{Suggestion, smooth};

/// What to draw: the loss of each step, and the rate of the step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LrFindChart {
    pub title: String,
    pub subtitle: String,
    pub rates: Vec<f64>,
    pub losses: Vec<f64>,
    /// From [`crate::analysis::range_test::suggest`].
    pub suggestion: Option<Suggestion>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LrFindLayout {
    pub plot: Plot,
    pub raw: Vec<Point>,
    pub smoothed: Vec<Point>,
    /// Place and words of the marked rates.
    pub marks: Vec<(f64, String)>,
}

/// Decides axes, lines and marks. What is drawn of a diverging loss ends shortly above its start.
pub fn arrange(chart: &LrFindChart, style: &Style) -> LrFindLayout {
    let smoothed = smooth(&chart.losses);
    let start = smoothed.iter().take((smoothed.len() / 5).max(1)).copied().fold(f64::NEG_INFINITY, f64::max);
    let lowest = smoothed.iter().copied().fold(f64::INFINITY, f64::min);
    let ceiling = start + 0.25 * (start - lowest).max(start.abs() * 0.05);
    let seen = smoothed.iter().map(|loss| loss.min(ceiling));
    let y = Axis::over(seen, Unit::Number, 0.08);
    // Losses are read as differences: never on a logarithmic axis.
    let y = if y.scale == Scale::Log { Axis::new(Scale::Linear, 0.0, y.to, Unit::Number) } else { y };
    let shown = smoothed.iter().rposition(|loss| *loss <= ceiling).map_or(0, |last| last + 1 + smoothed.len() / 50);
    let rates = chart.rates.iter().copied().take(shown.min(smoothed.len())).filter(|rate| *rate > 0.0);
    let plot =
        Plot { area: layout::plot_area(style, &chart.subtitle), x: Axis::over(rates, Unit::LearningRate, 0.01), y };
    let line = |losses: &[f64]| {
        let pairs = chart.rates.iter().zip(losses).filter(|(rate, loss)| **rate > 0.0 && loss.is_finite());
        pairs.map(|(rate, loss)| plot.at(*rate, *loss)).collect::<Vec<Point>>()
    };
    let (raw, smoothed) = (line(&chart.losses), line(&smoothed));
    let mark = |suggestion: Suggestion| {
        vec![
            (plot.at(suggestion.rate, 0.0).0, format!("suggested: {}", rate(suggestion.rate))),
            (plot.at(suggestion.lowest, 0.0).0, format!("lowest loss: {}", rate(suggestion.lowest))),
        ]
    };
    let marks = chart.suggestion.map(mark).unwrap_or_default();
    LrFindLayout { plot, raw, smoothed, marks }
}

pub fn draw(chart: &LrFindChart, style: &Style) -> Scene {
    let data = arrange(chart, style);
    let notes = match chart.suggestion {
        Some(_) => "suggested: a tenth of the rate at which the smoothed loss is lowest",
        None => "no suggestion: the loss never falls by clearly more than its noise",
    };
    let mut scene = layout::sheet(style, &chart.title, &chart.subtitle, &[notes.to_string()]);
    if data.smoothed.is_empty() {
        layout::empty(&mut scene, "No finite loss to show");
        return scene;
    }
    data.plot.draw_frame(&mut scene, "Learning rate (logarithmic)", "Training loss");
    let area = data.plot.area;
    for piece in area.clip_line(&data.raw) {
        scene.line(piece, Stroke::solid(FAINT.opacity(0.8), 1.5));
    }
    for piece in area.clip_line(&data.smoothed) {
        scene.line(piece, Stroke::solid(BLUE, 3.5));
    }
    let styles = [(VERMILION, 3.0, LABEL + 4.0), (MUTED, 1.5, SMALL)];
    for (row, ((x, words), (colour, width, size))) in data.marks.iter().zip(styles).enumerate() {
        scene.line(vec![(*x, area.top), (*x, area.bottom)], Stroke::dashed(colour, width));
        // Left of the line, unless it would leave the plot.
        let left = x - font::width(words, Weight::Bold, size) - 12.0 > area.left;
        let (place, anchor) = if left { (x - 12.0, Anchor::End) } else { (x + 12.0, Anchor::Start) };
        let text = Text::new((place, area.top + 30.0 + 34.0 * row as f64), words, size, colour).anchor(anchor).halo();
        scene.text(if row == 0 { text.bold() } else { text });
    }
    draw_legend(&mut scene, &chart.subtitle);
    scene
}

fn draw_legend(scene: &mut Scene, subtitle: &str) {
    let y = layout::legend_baseline(subtitle);
    let mut x = layout::MARGIN;
    for (words, stroke) in [("each step", Stroke::solid(FAINT, 1.5)), ("smoothed", Stroke::solid(BLUE, 3.5))] {
        scene.line(vec![(x, y - 7.0), (x + 34.0, y - 7.0)], stroke);
        scene.text(Text::new((x + 44.0, y), words, SMALL, INK));
        x += 44.0 + font::width(words, Weight::Regular, SMALL) + 30.0;
    }
}

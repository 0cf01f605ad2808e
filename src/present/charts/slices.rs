//! What the configurations with each value of each axis came to: a row for each value, accuracy and time beside each other.

use serde::Serialize;

use super::axis::{Axis, Unit};
use super::canvas::{Area, Scene, Stroke, Text, Weight};
use super::facts::Facts;
use super::front::{Clock, Role, Standing};
use super::kind::{ChartKind, OnSheet, Ranges, boxed};
use super::look::Style;
use super::style::{BLUE, FAINT, GRID, INK, LABEL, MUTED, SMALL, VERMILION, WHITE};
use super::{font, layout, points};
use crate::base::stats::Spread;
use crate::base::words::plural;

pub const KIND: ChartKind = ChartKind {
    name: "slices",
    title: "Accuracy and time by each value of each axis",
    help: "the configurations with each value of each axis, by accuracy and by time, with their medians",
    ranges: Ranges::Neither,
    data: |study, _| boxed(data(study)),
};

/// What to draw.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SlicesChart {
    pub title: String,
    pub subtitle: String,
    pub footnote: String,
    pub axes: Vec<AxisSlices>,
    pub points: Vec<SlicePoint>,
}

/// An axis of the space.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AxisSlices {
    /// Dotted path.
    pub path: String,
    pub values: Vec<String>,
}

/// A configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SlicePoint {
    pub label: String,
    /// On each of the axes the number of its value; absent where the axis does not matter to it.
    pub values: Vec<Option<usize>>,
    pub accuracy: f64,
    pub train_seconds: f64,
    pub clock: Clock,
    pub parameters: usize,
    pub standing: Standing,
    pub role: Role,
}

/// The configurations of a study by their values; only those that were trained to their ends.
pub fn data(study: &Facts) -> SlicesChart {
    let (space, candidates) = (&study.view.space, &study.view.expansion.candidates);
    let numbers = study.axes();
    let axes: Vec<AxisSlices> = (numbers.iter())
        .map(|axis| AxisSlices {
            path: space.axes[*axis].path.clone(),
            values: space.axes[*axis].values.iter().map(|value| value.label.clone()).collect(),
        })
        .collect();
    let value = |candidate: usize, (axis, of): (&usize, &AxisSlices)| {
        let own = candidates[candidate].values[*axis].as_ref()?;
        of.values.iter().position(|value| value == own)
    };
    let points = points::points(study, false);
    let points = points.into_iter().map(|(candidate, point)| SlicePoint {
        values: numbers.iter().zip(&axes).map(|pair| value(candidate, pair)).collect(),
        label: point.label,
        accuracy: point.accuracy,
        train_seconds: point.train_seconds,
        clock: point.clock,
        parameters: point.parameters,
        standing: point.standing,
        role: point.role,
    });
    let points: Vec<SlicePoint> = points.collect();
    SlicesChart {
        title: format!("{}: accuracy and time by each value", space.name),
        subtitle: format!("{}, each in a row of every axis", plural(points.len(), "configuration")),
        footnote: study.figures_note(),
        axes,
        points,
    }
}

impl OnSheet for SlicesChart {
    fn on_sheet(&self, style: &Style) -> Scene {
        draw(self, style)
    }
}

const ROW: f64 = 42.0;
/// What is below the rows: ticks, their names, notes.
const FOOT: f64 = 140.0;
/// Room above an axis for its name.
const HEAD: f64 = 50.0;
const MOST_LABEL: f64 = 330.0;
const GAP: f64 = 48.0;
/// Points of a row above which so many stand for all of them, along the whole row.
const MOST_POINTS: usize = 250;
/// Rows above which the values that follow are only counted.
const MOST_ROWS: usize = 60;

pub fn draw(chart: &SlicesChart, style: &Style) -> Scene {
    let rows = chart.axes.iter().map(|axis| axis.values.len()).sum::<usize>().min(MOST_ROWS);
    let shown = shown(chart);
    let heads = shown.iter().filter(|(_, value)| *value == 0).count();
    let top = layout::legend_baseline(&chart.subtitle) + 50.0;
    let high = style.row_for(rows, top + HEAD * heads as f64 + FOOT, ROW);
    let bottom = top + high * rows as f64 + HEAD * heads as f64;
    let height = style.height_for(bottom + FOOT);
    let mut notes = Vec::new();
    let left_out = chart.axes.iter().map(|axis| axis.values.len()).sum::<usize>() - shown.len();
    if left_out > 0 {
        notes.push(format!("{} more left out", plural(left_out, "value")));
    }
    let best = accuracy_axis(chart.points.iter().map(|of| of.accuracy).filter(|value| value.is_finite()));
    let below = chart.points.iter().filter(|of| of.accuracy < best.from).count();
    if below > 0 {
        notes.push(format!(
            "{} below this range at its left end",
            plural(below, "accuracy").replace("accuracys", "accuracies")
        ));
    }
    notes.extend((!chart.footnote.is_empty()).then(|| chart.footnote.clone()));
    let mut scene = layout::sheet_of(height, style, &chart.title, &chart.subtitle, &notes);
    if chart.points.is_empty() || chart.axes.is_empty() {
        layout::empty(&mut scene, "No finished configurations to compare yet");
        return scene;
    }
    let names = shown.iter().map(|(axis, value)| &chart.axes[*axis].values[*value]);
    let widest = names.map(|name| font::width(name, Weight::Regular, SMALL)).fold(120.0, f64::max).min(MOST_LABEL);
    let left = layout::MARGIN + widest + 28.0;
    let wide = (f64::from(layout::WIDTH) - layout::MARGIN - left - GAP) / 2.0;
    let finite = |of: fn(&SlicePoint) -> f64| chart.points.iter().map(of).filter(|value| value.is_finite());
    let panels = [
        Panel::new("Validation accuracy", left, wide, accuracy_axis(finite(|of| of.accuracy)), |of| of.accuracy),
        Panel::new(
            "Training time",
            left + wide + GAP,
            wide,
            Axis::over(finite(|of| of.train_seconds), Unit::Seconds, 0.04),
            |of| of.train_seconds,
        ),
    ];
    let mut y = top;
    for (axis, value) in shown {
        if value == 0 {
            y += HEAD;
            let of = &chart.axes[axis];
            let end = y + high * of.values.len().min(rows) as f64;
            let name = font::shortened(&of.path, Weight::Bold, LABEL, left - layout::MARGIN - 10.0 + wide);
            scene.text(Text::new((layout::MARGIN, y - 12.0), name, LABEL, INK).bold());
            let end = end.min(bottom);
            panels.iter().for_each(|panel| panel.draw_frame(&mut scene, y, end));
        }
        let middle = y + high / 2.0;
        let name = font::shortened(&chart.axes[axis].values[value], Weight::Regular, SMALL, widest);
        scene.text(Text::new((layout::MARGIN, middle + 7.0), name, SMALL, INK));
        let of_row: Vec<&SlicePoint> = chart.points.iter().filter(|of| of.values[axis] == Some(value)).collect();
        panels.iter().for_each(|panel| panel.draw_row(&mut scene, &of_row, middle));
        y += high;
    }
    panels.iter().for_each(|panel| panel.draw_ticks(&mut scene, bottom));
    draw_legend(&mut scene, chart);
    scene
}

/// Axis and value of each row.
fn shown(chart: &SlicesChart) -> Vec<(usize, usize)> {
    let all = chart.axes.iter().enumerate().flat_map(|(axis, of)| (0..of.values.len()).map(move |value| (axis, value)));
    all.take(MOST_ROWS).collect()
}

/// Where most accuracies are: those far below the others stand at the left end.
fn accuracy_axis(values: impl Iterator<Item = f64>) -> Axis {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let (Some(best), Some(median)) = (values.last(), values.get(values.len() / 2)) else {
        return Axis::over([], Unit::Percent, 0.04);
    };
    let floor = best - 5.0 * (best - median).max(0.001);
    let seen: Vec<f64> = values.iter().copied().filter(|value| *value >= floor).collect();
    Axis::over(seen, Unit::Percent, 0.04)
}

/// The room of one quantity.
struct Panel {
    name: &'static str,
    left: f64,
    right: f64,
    axis: Axis,
    of: fn(&SlicePoint) -> f64,
}

impl Panel {
    fn new(name: &'static str, left: f64, width: f64, axis: Axis, of: fn(&SlicePoint) -> f64) -> Panel {
        Panel { name, left, right: left + width, axis, of }
    }

    fn x(&self, value: f64) -> f64 {
        (self.left + self.axis.share(value) * (self.right - self.left)).clamp(self.left, self.right)
    }

    fn draw_frame(&self, scene: &mut Scene, top: f64, bottom: f64) {
        for tick in &self.axis.ticks {
            let x = self.x(tick.value).floor() + 0.5;
            scene.line(vec![(x, top), (x, bottom)], Stroke::solid(GRID, 1.0));
        }
        for y in [top, bottom] {
            scene.line(vec![(self.left, y.floor() + 0.5), (self.right, y.floor() + 0.5)], Stroke::solid(FAINT, 1.0));
        }
    }

    fn draw_ticks(&self, scene: &mut Scene, bottom: f64) {
        use super::canvas::Anchor::Middle;
        let mut free = f64::NEG_INFINITY;
        for tick in &self.axis.ticks {
            let (x, half) = (self.x(tick.value), font::width(&tick.label, Weight::Regular, SMALL) / 2.0);
            if x - half > free {
                scene.text(Text::new((x, bottom + 28.0), &tick.label, SMALL, MUTED).anchor(Middle));
                free = x + half + 10.0;
            }
        }
        let middle = (self.left + self.right) / 2.0;
        scene.text(Text::new((middle, bottom + 62.0), self.name, LABEL, INK).anchor(Middle));
    }

    /// The points of a value, half of them between the ends of a bar, and their median.
    fn draw_row(&self, scene: &mut Scene, points: &[&SlicePoint], middle: f64) {
        let mut seen: Vec<&SlicePoint> = points.iter().copied().filter(|of| (self.of)(of).is_finite()).collect();
        seen.sort_by(|a, b| (self.of)(a).total_cmp(&(self.of)(b)).then_with(|| a.label.cmp(&b.label)));
        let values: Vec<f64> = seen.iter().map(|of| (self.of)(of)).collect();
        if values.is_empty() {
            return;
        }
        let of = Spread::of(&values);
        let bar = Area {
            left: self.x(of.lower_quartile),
            top: middle - 9.0,
            right: self.x(of.upper_quartile),
            bottom: middle + 9.0,
        };
        if values.len() > 3 {
            let corners = [(bar.left, bar.top), (bar.right, bar.top), (bar.right, bar.bottom), (bar.left, bar.bottom)];
            scene.polygon(corners.to_vec(), BLUE.opacity(0.14), None);
        }
        let every = values.len().div_ceil(MOST_POINTS).max(1);
        for (number, of) in seen.iter().enumerate().filter(|(number, _)| number % every == 0) {
            // Points of one value do not hide each other.
            let y = middle + [0.0, -6.0, 6.0, -3.0, 3.0][number / every % 5];
            let at = (self.x((self.of)(of)), y);
            match of.clock {
                Clock::Screened if self.name == "Training time" => {
                    scene.circle(at, 3.6, WHITE, Some(Stroke::solid(BLUE.opacity(0.6), 1.4)));
                }
                _ => scene.circle(at, 3.6, BLUE.opacity(0.45), None),
            }
        }
        for of in seen.iter().filter(|of| of.role == Role::Baseline) {
            let (x, y) = (self.x((self.of)(of)), middle);
            let corners = vec![(x - 8.0, y), (x, y - 8.0), (x + 8.0, y), (x, y + 8.0)];
            scene.polygon(corners, WHITE, Some(Stroke::solid(INK, 2.0)));
        }
        let x = self.x(of.median);
        scene.line(vec![(x, middle - 15.0), (x, middle + 15.0)], Stroke::solid(VERMILION, 3.0));
    }
}

fn draw_legend(scene: &mut Scene, chart: &SlicesChart) {
    let (y, mut x) = (layout::legend_baseline(&chart.subtitle), layout::MARGIN);
    let middle = y - 7.0;
    let word = |scene: &mut Scene, x: &mut f64, words: &str| {
        scene.text(Text::new((*x + 40.0, y), words, SMALL, INK));
        *x += 40.0 + font::width(words, Weight::Regular, SMALL) + 30.0;
    };
    scene.circle((x + 16.0, middle), 4.5, BLUE.opacity(0.6), None);
    word(scene, &mut x, "a configuration");
    if chart.points.iter().any(|of| of.clock == Clock::Screened) {
        scene.circle((x + 16.0, middle), 4.5, WHITE, Some(Stroke::solid(BLUE, 1.6)));
        word(scene, &mut x, "time not confirmed");
    }
    scene.line(vec![(x + 16.0, middle - 12.0), (x + 16.0, middle + 12.0)], Stroke::solid(VERMILION, 3.0));
    word(scene, &mut x, "median");
    let corners = vec![(x, middle - 9.0), (x + 32.0, middle - 9.0), (x + 32.0, middle + 9.0), (x, middle + 9.0)];
    scene.polygon(corners, BLUE.opacity(0.14), None);
    word(scene, &mut x, "half of them");
    if chart.points.iter().any(|of| of.role == Role::Baseline) {
        let at = x + 16.0;
        let corners = vec![(at - 8.0, middle), (at, middle - 8.0), (at + 8.0, middle), (at, middle + 8.0)];
        scene.polygon(corners, WHITE, Some(Stroke::solid(INK, 2.0)));
        word(scene, &mut x, "baseline");
    }
}

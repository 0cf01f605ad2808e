//! Accuracy or loss of many configurations while they train: the front and the baseline stand out, the rest is context.

use super::axis::{Axis, Plot, Scale, Unit};
use super::canvas::{Area, Point, Scene, Stroke, Text, Weight};
use super::labels::spread;
use super::style::{Colour, FAINT, INK, PALETTE, SMALL, baseline};
use super::{font, layout};

/// What to draw.
#[derive(Clone, Debug, PartialEq)]
pub struct CurvesChart {
    pub title: String,
    pub subtitle: String,
    pub quantity: Quantity,
    pub over: Over,
    pub curves: Vec<Curve>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// Validation accuracy in 0..=1.
    Accuracy,
    /// Validation loss.
    Loss,
}

/// What runs along the lower axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    Epochs,
    TrainSeconds,
}

/// One configuration, as pairs of what runs along and the quantity.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    pub label: String,
    pub emphasis: Emphasis,
    pub points: Vec<(f64, f64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Emphasis {
    Context,
    Front,
    Baseline,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CurvesData {
    pub plot: Plot,
    /// In the order of painting.
    pub lines: Vec<CurveLine>,
    /// At the ends of the lines that stand out.
    pub labels: Vec<EndLabel>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CurveLine {
    pub points: Vec<Point>,
    pub stroke: Stroke,
}

#[derive(Clone, Debug, PartialEq)]
pub struct EndLabel {
    pub lines: Vec<String>,
    pub area: Area,
    /// Where its line ends.
    pub end: Point,
    pub colour: Colour,
}

const LABEL_WIDTH: f64 = 360.0;
const LABEL_LINE: f64 = 24.0;
const LABEL_GAP: f64 = 6.0;
/// More lines than this cannot be told apart: the others of the front are context.
const MOST: usize = 12;

/// Decides axes, lines and labels.
pub fn data(chart: &CurvesChart) -> CurvesData {
    let finite = |curve: &Curve| -> Vec<(f64, f64)> {
        curve.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
    };
    let mut curves: Vec<(Curve, Vec<(f64, f64)>)> = chart.curves.iter().map(|c| (c.clone(), finite(c))).collect();
    curves.retain(|(_, points)| !points.is_empty());
    curves.sort_by_key(|(curve, _)| curve.emphasis);
    let told = curves.iter().filter(|(curve, _)| curve.emphasis == Emphasis::Front).count();
    let labelled = curves.iter().any(|(curve, _)| curve.emphasis != Emphasis::Context);

    let mut area = layout::plot_area(&chart.subtitle);
    area.top -= 36.0;
    area.right -= if labelled { LABEL_WIDTH + 10.0 } else { 0.0 };
    let along = curves.iter().flat_map(|(_, points)| points.iter().map(|point| point.0));
    let x = match chart.over {
        Over::Epochs => Axis::new(Scale::Linear, 0.0, along.fold(1.0, f64::max), Unit::Count),
        Over::TrainSeconds => Axis::over(along, Unit::Seconds, 0.02),
    };
    let plot = Plot { area, x, y: quantity_axis(chart.quantity, curves.iter().map(|(_, points)| points.as_slice())) };

    let baselines = curves.iter().filter(|(curve, _)| curve.emphasis == Emphasis::Baseline).count();
    let slot = area.height() / (told.min(MOST) + baselines).max(1) as f64;
    let most_lines = ((slot - LABEL_GAP) / LABEL_LINE).clamp(1.0, 3.0) as usize;
    let (mut lines, mut labels, mut fronts) = (Vec::new(), Vec::new(), 0);
    for (curve, points) in &curves {
        let stroke = match curve.emphasis {
            Emphasis::Context => Stroke::solid(FAINT.opacity(0.6), 1.5),
            Emphasis::Front if told > MOST && fronts >= MOST => Stroke::solid(FAINT, 2.0),
            Emphasis::Front => Stroke::solid(PALETTE[fronts % PALETTE.len()], 3.0),
            Emphasis::Baseline => Stroke::dashed(INK, 3.0),
        };
        let points: Vec<Point> = points.iter().map(|(x, y)| plot.at(*x, *y)).collect();
        let named = curve.emphasis == Emphasis::Baseline || curve.emphasis == Emphasis::Front && fronts < MOST;
        if let (true, Some(end)) = (named, points.last()) {
            labels.push(end_label(curve, *end, stroke.colour, &area, most_lines));
        }
        fronts += usize::from(curve.emphasis == Emphasis::Front);
        lines.push(CurveLine { points, stroke });
    }
    keep_apart(&mut labels, &area);
    CurvesData { plot, lines, labels }
}

/// Where the curves are once they have left their start: accuracies from the best down to three times as far as the
/// median, losses without their worst tenth. Lines enter from outside.
fn quantity_axis<'a>(quantity: Quantity, curves: impl Iterator<Item = &'a [(f64, f64)]>) -> Axis {
    let mut values: Vec<f64> = curves.flatten().map(|point| point.1).collect();
    values.sort_by(f64::total_cmp);
    if quantity == Quantity::Loss {
        let kept = values.len() - values.len() / 10;
        return Axis::over(values.into_iter().take(kept), Unit::Number, 0.05);
    }
    let (Some(best), Some(median)) = (values.last(), values.get(values.len() / 2)) else {
        return Axis::over([], Unit::Percent, 0.05);
    };
    let floor = best - 3.0 * (best - median).max(0.001);
    let seen: Vec<f64> = values.iter().copied().filter(|value| *value >= floor).collect();
    Axis::over(seen, Unit::Percent, 0.05)
}

fn end_label(curve: &Curve, end: Point, colour: Colour, area: &Area, most_lines: usize) -> EndLabel {
    let name = match curve.emphasis {
        Emphasis::Baseline => baseline(&curve.label),
        _ => curve.label.clone(),
    };
    let lines = font::balanced(&name, Weight::Regular, SMALL, LABEL_WIDTH - 34.0, most_lines);
    let height = LABEL_LINE * lines.len() as f64 + LABEL_GAP;
    let area = Area::new(area.right + 40.0, end.1 - height / 2.0, LABEL_WIDTH - 34.0, height);
    EndLabel { lines, area, end, colour }
}

/// Spreads the labels down the right side, in slots as high as the highest of them.
fn keep_apart(labels: &mut [EndLabel], plot: &Area) {
    let slot = labels.iter().map(|label| label.area.height()).fold(0.0, f64::max);
    let slot = slot.min(plot.height() / labels.len().max(1) as f64);
    let centres: Vec<f64> = labels.iter().map(|label| label.end.1).collect();
    for (label, centre) in labels.iter_mut().zip(spread(&centres, slot, plot.top, plot.bottom)) {
        let height = label.area.height();
        label.area = Area { top: centre - height / 2.0, bottom: centre + height / 2.0, ..label.area };
    }
}

pub fn draw(chart: &CurvesChart) -> Scene {
    let data = data(chart);
    let mut scene = layout::sheet(&chart.title, &chart.subtitle, &[]);
    if data.lines.is_empty() {
        layout::empty(&mut scene, "No finished epoch yet");
        return scene;
    }
    let x_name = match (chart.over, data.plot.x.scale) {
        (Over::Epochs, _) => "Epoch",
        (Over::TrainSeconds, Scale::Linear) => "Training time",
        (Over::TrainSeconds, Scale::Log) => "Training time (logarithmic)",
    };
    let y_name = match (chart.quantity, data.plot.y.scale) {
        (Quantity::Accuracy, _) => "Validation accuracy",
        (Quantity::Loss, Scale::Linear) => "Validation loss",
        (Quantity::Loss, Scale::Log) => "Validation loss (logarithmic)",
    };
    data.plot.draw_frame(&mut scene, x_name, y_name);
    let area = data.plot.area;
    for line in &data.lines {
        match line.points[..] {
            [only] if area.grown(1.0).contains(&Area::around(only, 0.0)) => {
                scene.circle(only, 2.0 * line.stroke.width, line.stroke.colour, None);
            }
            _ => area.clip_line(&line.points).into_iter().for_each(|piece| scene.line(piece, line.stroke)),
        }
    }
    for label in &data.labels {
        let (x, y) = (label.end.0, label.end.1.clamp(area.top, area.bottom));
        let middle = (label.area.top + label.area.bottom) / 2.0;
        let bend = vec![(x, y), (area.right + 12.0, y), (label.area.left - 8.0, middle)];
        scene.line(bend, Stroke::solid(label.colour.opacity(0.5), 1.2));
        for (line, words) in label.lines.iter().enumerate() {
            let baseline = label.area.top + LABEL_LINE * (line + 1) as f64 - 4.0;
            scene.text(Text::new((label.area.left, baseline), words, SMALL, INK));
        }
        let (left, top) = (label.area.left - 8.0, label.area.top);
        scene.line(vec![(left, top + 2.0), (left, label.area.bottom - 2.0)], Stroke::solid(label.colour, 4.0));
    }
    scene
}

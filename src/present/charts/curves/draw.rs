//! Lays curves out and paints them.

use super::{Curve, CurvesChart, Emphasis, Over, Quantity};
use crate::base::words::plural;
use crate::present::charts::axis::{Axis, Plot, Scale, Unit};
use crate::present::charts::canvas::{Area, Dash, Point, Scene, Stroke, Text, Weight};
use crate::present::charts::labels::spread;
use crate::present::charts::look::{Style, TOLD_APART, told_apart};
use crate::present::charts::style::{FAINT, INK, MUTED, SMALL, baseline};
use crate::present::charts::{font, layout};

#[derive(Clone, Debug, PartialEq)]
pub struct CurvesLayout {
    pub plot: Plot,
    /// In the order of painting.
    pub lines: Vec<CurveLine>,
    /// At the ends of the lines that stand out.
    pub labels: Vec<EndLabel>,
    /// The picture's: as high as the labels need.
    pub height: u32,
    /// Lines that others stand for.
    pub left_out: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CurveLine {
    pub points: Vec<Point>,
    /// Border of the band around it, there and back; empty where it has none.
    pub band: Vec<Point>,
    /// Whether it ends because the search gave it up.
    pub is_stopped: bool,
    pub stroke: Stroke,
}

#[derive(Clone, Debug, PartialEq)]
pub struct EndLabel {
    pub lines: Vec<String>,
    pub area: Area,
    /// Where its line ends.
    pub end: Point,
    /// Its line's.
    pub stroke: Stroke,
}

/// Context lines above which so many stand for all of them, from the most accurate to the least.
const MOST_CONTEXT: usize = 300;

/// From the end of the plot on: room for the lines to the labels, then the labels.
const CHANNEL: f64 = 70.0;
const LABEL_WIDTH: f64 = 326.0;
const LABEL_LINE: f64 = 24.0;
const LABEL_GAP: f64 = 6.0;
/// A name of more lines than this is cut.
const MOST_LINES: usize = 5;
/// More lines than this cannot be told apart: the others of the front are context.
const MOST: usize = TOLD_APART;

/// Decides axes, lines and labels.
pub fn arrange(chart: &CurvesChart, style: &Style) -> CurvesLayout {
    let finite = |curve: &Curve| -> Vec<(f64, f64)> {
        curve.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
    };
    let mut curves: Vec<(Curve, Vec<(f64, f64)>)> = chart.curves.iter().map(|c| (c.clone(), finite(c))).collect();
    curves.retain(|(_, points)| !points.is_empty());
    curves.sort_by_key(|(curve, _)| curve.emphasis);
    let y = quantity_axis(chart.quantity, curves.iter().map(|(_, points)| points.as_slice()));
    let y = y.within(style.y_range, chart.quantity.unit());
    let left_out = thin_out(&mut curves);
    let mut fronts = 0..;
    let strokes: Vec<Stroke> = (curves.iter())
        .map(|(curve, _)| match curve.emphasis {
            Emphasis::Stopped => Stroke { colour: FAINT, width: 1.5, dash: Dash::Dotted },
            Emphasis::Context => Stroke::solid(FAINT.opacity(0.6), 1.5),
            Emphasis::Front => {
                fronts.next().filter(|front| *front < MOST).map_or(Stroke::solid(FAINT, 2.0), told_apart)
            }
            Emphasis::Baseline => Stroke::dashed(INK, 3.0),
        })
        .collect();
    let context = curves.iter().filter(|(curve, _)| curve.emphasis <= Emphasis::Context).count();
    let named: Vec<usize> = (0..curves.len())
        .filter(|index| match curves[*index].0.emphasis {
            Emphasis::Stopped | Emphasis::Context => false,
            Emphasis::Front => *index < context + MOST,
            Emphasis::Baseline => true,
        })
        .collect();
    let names: Vec<String> = named.iter().map(|index| name(&curves[*index].0)).collect();
    let names = end_names(&names);

    let mut area = layout::plot_area(style, &chart.subtitle);
    area.top -= 36.0;
    area.right -= if named.is_empty() { 0.0 } else { CHANNEL + LABEL_WIDTH };
    let wanted: f64 = names.iter().map(|lines| label_height(lines)).sum();
    let more = (wanted - area.height()).max(0.0).ceil();
    area.bottom += more;
    let along = curves.iter().flat_map(|(_, points)| points.iter().map(|point| point.0));
    let x = match chart.over {
        Over::Epochs => Axis::new(Scale::Linear, 0.0, along.fold(1.0, f64::max), Unit::Count),
        Over::TrainSeconds => Axis::over(along, Unit::Seconds, 0.02),
    };
    let plot = Plot { area, x: x.within(style.x_range, chart.over.unit()), y };
    let lines: Vec<CurveLine> = (curves.iter().zip(strokes))
        .map(|((curve, points), stroke)| CurveLine {
            points: points.iter().map(|(x, y)| plot.at(*x, *y)).collect(),
            band: if curve.emphasis > Emphasis::Context { band(curve, &plot) } else { Vec::new() },
            is_stopped: curve.emphasis == Emphasis::Stopped,
            stroke,
        })
        .collect();
    let labels = named.iter().zip(names).filter_map(|(index, words)| {
        let CurveLine { points, stroke, .. } = &lines[*index];
        Some(end_label(words, *points.last()?, *stroke, &area))
    });
    let mut labels: Vec<EndLabel> = labels.collect();
    keep_apart(&mut labels, &area);
    CurvesLayout { plot, lines, labels, height: style.sheet_height() + more as u32, left_out }
}

/// Of too many context lines keeps so many, from the most accurate at the end to the least; says how many went.
fn thin_out(curves: &mut Vec<(Curve, Vec<(f64, f64)>)>) -> usize {
    let end = |curve: &(Curve, Vec<(f64, f64)>)| curve.1.last().map_or(f64::NEG_INFINITY, |point| point.1);
    let front = curves.partition_point(|(curve, _)| curve.emphasis <= Emphasis::Context);
    if front <= MOST_CONTEXT {
        return 0;
    }
    let kept = curves.split_off(front);
    curves.sort_by(|a, b| end(b).total_cmp(&end(a)).then_with(|| a.0.label.cmp(&b.0.label)));
    let mut place = 0..;
    curves.retain(|_| place.next().is_some_and(|at: usize| at * MOST_CONTEXT % front < MOST_CONTEXT));
    let left_out = front - curves.len();
    curves.sort_by_key(|(curve, _)| curve.emphasis);
    curves.extend(kept);
    left_out
}

/// The border of a curve's band: along its upper side and back along the lower one, within the plot.
fn band(curve: &Curve, plot: &Plot) -> Vec<Point> {
    let ends = curve.points.iter().zip(&curve.band);
    let ends = ends.filter(|((x, _), (low, high))| [x, low, high].iter().all(|value| value.is_finite()));
    let (lower, upper): (Vec<Point>, Vec<Point>) =
        ends.map(|((x, _), (low, high))| (plot.at(*x, *low), plot.at(*x, *high))).unzip();
    let border: Vec<Point> = upper.into_iter().chain(lower.into_iter().rev()).collect();
    plot.area.clip_polygon(&border)
}

impl Quantity {
    fn unit(self) -> Unit {
        match self {
            Quantity::Accuracy => Unit::Percent,
            Quantity::Loss => Unit::Number,
        }
    }
}

impl Over {
    fn unit(self) -> Unit {
        match self {
            Over::Epochs => Unit::Count,
            Over::TrainSeconds => Unit::Seconds,
        }
    }
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

fn name(curve: &Curve) -> String {
    match curve.emphasis {
        Emphasis::Baseline => baseline(&curve.label),
        _ => curve.label.clone(),
    }
}

/// Names in lines. One that is too long for its lines begins where it parts from the others, so that no two read alike.
fn end_names(names: &[String]) -> Vec<Vec<String>> {
    let lines = |name: &str| font::balanced(name, Weight::Regular, SMALL, LABEL_WIDTH, MOST_LINES);
    let of = |(index, name): (usize, &String)| {
        let whole = lines(name);
        if !font::is_cut(&whole, name) {
            return whole;
        }
        let others = names.iter().enumerate().filter(|(other, _)| *other != index);
        let parts = others.map(|(_, other)| {
            name.char_indices()
                .zip(other.chars())
                .find(|((_, one), other)| one != other)
                .map_or(other.len().min(name.len()), |((at, _), _)| at)
        });
        let start = name[..parts.max().unwrap_or(0)].rfind(' ').map_or(0, |blank| blank + 1);
        if start == 0 { whole } else { lines(&format!("… {}", &name[start..])) }
    };
    names.iter().enumerate().map(of).collect()
}

fn label_height(lines: &[String]) -> f64 {
    LABEL_LINE * lines.len() as f64 + LABEL_GAP
}

fn end_label(lines: Vec<String>, end: Point, stroke: Stroke, area: &Area) -> EndLabel {
    let height = label_height(&lines);
    let area = Area::new(area.right + CHANNEL, end.1 - height / 2.0, LABEL_WIDTH, height);
    EndLabel { lines, area, end, stroke }
}

/// Spreads the labels down the right side.
fn keep_apart(labels: &mut [EndLabel], plot: &Area) {
    let centres: Vec<f64> = labels.iter().map(|label| label.end.1).collect();
    let heights: Vec<f64> = labels.iter().map(|label| label.area.height()).collect();
    for (label, centre) in labels.iter_mut().zip(spread(&centres, &heights, plot.top, plot.bottom)) {
        let height = label.area.height();
        label.area = Area { top: centre - height / 2.0, bottom: centre + height / 2.0, ..label.area };
    }
}

pub fn draw(chart: &CurvesChart, style: &Style) -> Scene {
    let data = arrange(chart, style);
    let mut scene = layout::sheet_of(data.height, style, &chart.title, &chart.subtitle, &notes(chart, &data));
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
    for line in data.lines.iter().filter(|line| line.band.len() > 2) {
        scene.polygon(line.band.clone(), line.stroke.colour.opacity(0.12), None);
    }
    for line in &data.lines {
        if let (true, Some((x, y))) = (line.is_stopped, line.points.last())
            && area.contains(&Area::around((*x, *y), 0.0))
        {
            for slope in [1.0, -1.0] {
                let ends = vec![(x - 5.0, y - 5.0 * slope), (x + 5.0, y + 5.0 * slope)];
                scene.line(ends, Stroke::solid(MUTED.opacity(0.6), 1.5));
            }
        }
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
        scene.line(bend, Stroke::solid(label.stroke.colour.opacity(0.5), 1.2));
        for (line, words) in label.lines.iter().enumerate() {
            let baseline = label.area.top + LABEL_LINE * (line + 1) as f64 - 4.0;
            scene.text(Text::new((label.area.left, baseline), words, SMALL, INK));
        }
        let (left, top) = (label.area.left - 8.0, label.area.top);
        scene.line(vec![(left, top + 2.0), (left, label.area.bottom - 2.0)], Stroke { width: 4.0, ..label.stroke });
    }
    scene
}

fn notes(chart: &CurvesChart, data: &CurvesLayout) -> Vec<String> {
    let mut notes = Vec::new();
    if data.left_out > 0 {
        let others = data.lines.len() - data.labels.len();
        notes.push(format!(
            "{} between those drawn faintly left out; {others} stand for all",
            plural(data.left_out, "line")
        ));
    }
    notes.extend((!chart.footnote.is_empty()).then(|| chart.footnote.clone()));
    notes
}

//! Parallel coordinates: a line for each configuration through its values on every axis, its time, size and accuracy.

use serde::Serialize;

use super::axis::{Axis, Unit};
use super::canvas::{Anchor, Area, Point, Scene, Stroke, Text, Weight};
use super::facts::Facts;
use super::front::{Clock, FrontPoint, Role, Standing};
use super::kind::{ChartKind, OnSheet, Ranges, boxed};
use super::look::Style;
use super::style::{BLUE, FAINT, INK, MUTED, SMALL, VERMILION, WHITE, count};
use super::{font, layout, points};
use crate::base::words::plural;

pub const KIND: ChartKind = ChartKind {
    name: "parallel",
    title: "Parallel coordinates",
    help: "parallel coordinates: each configuration as a line through its values, time, parameters and accuracy",
    ranges: Ranges::Neither,
    data: |study, _| boxed(data(study)),
};

/// What to draw.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ParallelChart {
    pub title: String,
    pub subtitle: String,
    pub footnote: String,
    pub axes: Vec<ParallelAxis>,
    pub lines: Vec<ParallelLine>,
}

/// An axis of the space.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ParallelAxis {
    /// Dotted path.
    pub path: String,
    pub values: Vec<String>,
}

/// A configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ParallelLine {
    pub label: String,
    /// On each axis the number of its value; absent where the axis does not matter to it.
    pub values: Vec<Option<usize>>,
    pub train_seconds: f64,
    pub clock: Clock,
    pub parameters: usize,
    pub accuracy: f64,
    pub kind: LineKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineKind {
    /// The search gave it up.
    Stopped,
    Dominated,
    /// On the front of time, accuracy and parameters.
    Front,
    Baseline,
}

/// The configurations of a study, also those that were given up.
pub fn data(study: &Facts) -> ParallelChart {
    let (space, candidates) = (&study.view.space, &study.view.expansion.candidates);
    let numbers = study.axes();
    let axes: Vec<ParallelAxis> = (numbers.iter())
        .map(|axis| ParallelAxis {
            path: space.axes[*axis].path.clone(),
            values: space.axes[*axis].values.iter().map(|value| value.label.clone()).collect(),
        })
        .collect();
    let values = |candidate: usize| {
        let value = |(axis, of): (&usize, &ParallelAxis)| {
            let own = candidates[candidate].values[*axis].as_ref()?;
            of.values.iter().position(|value| value == own)
        };
        numbers.iter().zip(&axes).map(value).collect()
    };
    let kind = |of: &FrontPoint| match (of.role, of.standing) {
        (Role::Baseline, _) => LineKind::Baseline,
        (_, Standing::Front) => LineKind::Front,
        (_, Standing::Dominated) => LineKind::Dominated,
    };
    let whole = points::points(study, false).into_iter().map(|(candidate, of)| ParallelLine {
        values: values(candidate),
        kind: kind(&of),
        label: of.label,
        train_seconds: of.train_seconds,
        clock: of.clock,
        parameters: of.parameters,
        accuracy: of.accuracy,
    });
    let stopped = points::stopped(study).into_iter().map(|(candidate, of)| ParallelLine {
        values: values(candidate),
        kind: LineKind::Stopped,
        label: of.label,
        train_seconds: of.train_seconds,
        clock: Clock::Screened,
        parameters: candidates[candidate].config.parameters(),
        accuracy: of.accuracy,
    });
    let lines: Vec<ParallelLine> = whole.chain(stopped).collect();
    let title = format!("{}: every configuration through its values", space.name);
    let subtitle = format!(
        "{}, those of the front of time, accuracy and parameters stand out",
        plural(lines.len(), "configuration")
    );
    ParallelChart { title, subtitle, footnote: study.figures_note(), axes, lines }
}

impl OnSheet for ParallelChart {
    fn on_sheet(&self, style: &Style) -> Scene {
        draw(self, style)
    }
}

/// Lines of the second rank above which so many stand for all of them, from the most accurate to the least.
const MOST_LINES: usize = 400;
/// Axes above which the space's last ones are left out.
const MOST_AXES: usize = 11;

/// An upright: what stands above it, the words at its ticks with their shares, and where each line meets it.
struct Upright {
    name: String,
    ticks: Vec<(f64, String)>,
    shares: Vec<Option<f64>>,
}

fn uprights(chart: &ParallelChart) -> Vec<Upright> {
    let lines = &chart.lines;
    let of_space = chart.axes.iter().enumerate().take(MOST_AXES - 3).map(|(number, axis)| {
        let share = |value: usize| (value as f64 + 0.5) / axis.values.len() as f64;
        // The first value stands at the top.
        let shares = lines.iter().map(|line| Some(1.0 - share(line.values[number]?))).collect();
        let ticks = axis.values.iter().enumerate().map(|(value, name)| (1.0 - share(value), name.clone())).collect();
        Upright { name: axis.path.clone(), ticks, shares }
    });
    let figure = |name: &str, unit: Unit, value: fn(&ParallelLine) -> f64| {
        let finite = || lines.iter().map(value).filter(|value| value.is_finite());
        let axis =
            if unit == Unit::Percent { without_worst(finite().collect()) } else { Axis::over(finite(), unit, 0.03) };
        let share = |line: &ParallelLine| Some(axis.share(value(line)).clamp(0.0, 1.0)).filter(|of| of.is_finite());
        let word = |value: f64, label: &str| match unit {
            Unit::Number => count(value.round().max(0.0) as usize),
            _ => label.to_string(),
        };
        let ticks = axis.ticks.iter().map(|tick| (axis.share(tick.value), word(tick.value, &tick.label))).collect();
        Upright { name: name.into(), ticks, shares: lines.iter().map(share).collect() }
    };
    let figures = [
        figure("parameters", Unit::Number, |line| line.parameters as f64),
        figure("time", Unit::Seconds, |line| line.train_seconds),
        figure("accuracy", Unit::Percent, |line| line.accuracy),
    ];
    of_space.chain(figures).collect()
}

/// Accuracies from the best down to several times as far as the median; what lies below stands at the lower end.
fn without_worst(mut values: Vec<f64>) -> Axis {
    values.sort_by(f64::total_cmp);
    let (Some(best), Some(median)) = (values.last(), values.get(values.len() / 2)) else {
        return Axis::over([], Unit::Percent, 0.03);
    };
    let floor = best - 5.0 * (best - median).max(0.001);
    Axis::over(values.iter().copied().filter(|value| *value >= floor).collect::<Vec<_>>(), Unit::Percent, 0.03)
}

/// The lines that are drawn, in the order of painting.
fn shown(chart: &ParallelChart) -> Vec<usize> {
    let line = |at: &usize| &chart.lines[*at];
    let mut order: Vec<usize> = (0..chart.lines.len()).filter(|at| line(at).accuracy.is_finite()).collect();
    order.sort_by(|a, b| line(b).accuracy.total_cmp(&line(a).accuracy).then(a.cmp(b)));
    let (telling, mut rest): (Vec<usize>, Vec<usize>) =
        order.into_iter().partition(|at| line(at).kind >= LineKind::Front);
    let count = rest.len();
    if count > MOST_LINES {
        rest = (0..MOST_LINES).map(|k| rest[k * count / MOST_LINES]).collect();
    }
    rest.sort_by_key(|at| (line(at).kind, *at));
    let mut telling = telling;
    telling.sort_by_key(|at| line(at).kind);
    rest.into_iter().chain(telling).collect()
}

pub fn draw(chart: &ParallelChart, style: &Style) -> Scene {
    let shown = shown(chart);
    let mut notes = Vec::new();
    let known = chart.lines.iter().filter(|line| line.accuracy.is_finite()).count();
    if shown.len() < known {
        notes.push(format!("{} more between those that are drawn", plural(known - shown.len(), "line")));
    }
    if chart.axes.len() > MOST_AXES - 3 {
        notes.push(format!(
            "{} of the space left out",
            plural(chart.axes.len() + 3 - MOST_AXES, "axis").replace("axiss", "axes")
        ));
    }
    notes.extend((!chart.footnote.is_empty()).then(|| chart.footnote.clone()));
    let mut scene = layout::sheet(style, &chart.title, &chart.subtitle, &notes);
    if shown.is_empty() {
        layout::empty(&mut scene, "No finished configuration yet");
        return scene;
    }
    let mut area = layout::plot_area(style, &chart.subtitle);
    area = Area {
        left: layout::MARGIN + 70.0,
        top: area.top + 70.0,
        right: area.right - 110.0,
        bottom: area.bottom + 60.0,
    };
    let uprights = uprights(chart);
    let gap = area.width() / (uprights.len() - 1).max(1) as f64;
    let x = |number: usize| area.left + gap * number as f64;
    for at in &shown {
        let line = &chart.lines[*at];
        let points = uprights.iter().enumerate().map(|(number, upright)| {
            let share = upright.shares[*at]?;
            Some((x(number), area.bottom - (share + spread(upright, number, *at)) * area.height()))
        });
        for piece in pieces(points) {
            scene.line(piece, stroke(line.kind));
        }
    }
    for (number, upright) in uprights.iter().enumerate() {
        draw_upright(&mut scene, upright, x(number), &area, gap, number % 2 == 1);
    }
    draw_legend(&mut scene, chart);
    scene
}

/// Lines that share a value do not cover each other wholly: each keeps a small distance of its own from the middle.
fn spread(upright: &Upright, number: usize, line: usize) -> f64 {
    let is_value = upright.ticks.iter().any(|(share, _)| Some(*share) == upright.shares[line]);
    let own = ((line * 37 + number * 11) % 23) as f64 / 22.0 - 0.5;
    if is_value { own * 0.35 / upright.ticks.len().max(1) as f64 } else { 0.0 }
}

fn pieces(points: impl Iterator<Item = Option<Point>>) -> Vec<Vec<Point>> {
    let mut pieces: Vec<Vec<Point>> = vec![Vec::new()];
    for point in points {
        match (point, pieces.last_mut()) {
            (Some(point), Some(last)) => last.push(point),
            _ => pieces.push(Vec::new()),
        }
    }
    pieces.retain(|piece| piece.len() > 1);
    pieces
}

fn stroke(kind: LineKind) -> Stroke {
    match kind {
        LineKind::Stopped => Stroke::dashed(FAINT.opacity(0.6), 1.0),
        LineKind::Dominated => Stroke::solid(BLUE.opacity(0.22), 1.3),
        LineKind::Front => Stroke::solid(VERMILION.opacity(0.85), 2.4),
        LineKind::Baseline => Stroke::dashed(INK, 3.0),
    }
}

fn draw_upright(scene: &mut Scene, upright: &Upright, x: f64, area: &Area, gap: f64, is_low: bool) {
    scene.line(vec![(x, area.top), (x, area.bottom)], Stroke::solid(MUTED, 1.5));
    let room = 2.0 * gap - 24.0;
    let name = match font::width(&upright.name, Weight::Bold, SMALL) > room {
        // What tells axes apart stands at the end of a path.
        true => upright.name.rsplit('.').next().unwrap_or_default().to_string(),
        false => upright.name.clone(),
    };
    let name = font::shortened(&name, Weight::Bold, SMALL, room);
    let y = area.top - if is_low { 22.0 } else { 50.0 };
    let half = font::width(&name, Weight::Bold, SMALL) / 2.0;
    let middle = x.clamp(layout::MARGIN + half, f64::from(layout::WIDTH) - layout::MARGIN - half);
    scene.text(Text::new((middle, y), name, SMALL, INK).anchor(Anchor::Middle).bold());
    let mut free = f64::NEG_INFINITY;
    let mut ticks: Vec<&(f64, String)> = upright.ticks.iter().collect();
    ticks.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (share, words) in ticks {
        let y = area.bottom - share * area.height();
        if y < free {
            continue;
        }
        free = y + 24.0;
        scene.line(vec![(x - 5.0, y), (x + 5.0, y)], Stroke::solid(MUTED, 1.5));
        let words = font::shortened(words, Weight::Regular, SMALL, (gap - 26.0).max(60.0));
        let text = Text::new((x + 11.0, y + 7.0), words, SMALL, INK).halo();
        scene.polygon(plate(&text), WHITE.opacity(PLATE), None);
        scene.text(text);
    }
}

/// How much of the lines a word's plate covers: so much that the word is read, and not so much that a line seems to end.
const PLATE: f64 = 0.82;

/// The ground of a word that lines pass below.
fn plate(text: &Text) -> Vec<Point> {
    let Area { left, top, right, bottom } = text.area().grown(3.0);
    vec![(left, top), (right, top), (right, bottom), (left, bottom)]
}

fn draw_legend(scene: &mut Scene, chart: &ParallelChart) {
    let (y, mut x) = (layout::legend_baseline(&chart.subtitle), layout::MARGIN);
    let kinds = [
        (LineKind::Front, "front"),
        (LineKind::Dominated, "dominated"),
        (LineKind::Baseline, "baseline"),
        (LineKind::Stopped, "given up, up to its last epoch"),
    ];
    for (kind, words) in kinds.into_iter().filter(|(kind, _)| chart.lines.iter().any(|line| line.kind == *kind)) {
        let stroke = Stroke { width: stroke(kind).width.max(2.0), ..stroke(kind) };
        scene.line(vec![(x, y - 7.0), (x + 38.0, y - 7.0)], stroke);
        scene.text(Text::new((x + 48.0, y), words, SMALL, INK));
        x += 48.0 + font::width(words, Weight::Regular, SMALL) + 30.0;
    }
}

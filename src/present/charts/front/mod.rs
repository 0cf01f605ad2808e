//! The chart the whole search is for: accuracy over training time, the Pareto front, and the baseline to beat.

mod data;
mod draw;
mod list;
mod naming;
mod words;

pub use data::data;
pub use draw::draw;
pub use list::{List, Row};

use serde::Serialize;

use super::axis::{Axis, Plot, Unit};
use super::canvas::{Area, Point};
use super::kind::{ChartKind, OnSheet, Ranges, boxed};
use super::layout;
use super::look::Style;
use super::style::{self, Colour};
use crate::analysis::pareto::{Goal, front_2d};
use crate::base::words::plural;

pub const KIND: ChartKind = ChartKind {
    name: "front",
    title: "Accuracy over training time",
    help: "every configuration by training time and accuracy, the Pareto front and the baseline",
    ranges: Ranges::Both,
    data: |study, _| boxed(data(study)),
};

/// What to draw.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FrontChart {
    pub title: String,
    pub subtitle: String,
    pub footnote: String,
    pub points: Vec<FrontPoint>,
    /// Configurations that the search gave up; they are on no front.
    pub stopped: Vec<StoppedPoint>,
}

/// A configuration that the search gave up.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StoppedPoint {
    pub label: String,
    /// Epochs that it was trained for.
    pub epochs: usize,
    /// Of those epochs.
    pub train_seconds: f64,
    /// The best of those epochs, in 0..=1.
    pub accuracy: f64,
}

/// One configuration: the means of its replicates.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrontPoint {
    pub label: String,
    pub train_seconds: f64,
    pub clock: Clock,
    /// From where to where the time may be, drawn as a bar: see [`Clock`].
    pub seconds_range: Option<(f64, f64)>,
    /// Validation accuracy in 0..=1.
    pub accuracy: f64,
    /// Drawn as a bar where there is more than one replicate.
    pub accuracy_sd: Option<f64>,
    /// Whether that is no better than guessing, by the number of validation images. Drawn grey.
    pub is_chance: bool,
    pub test_accuracy: Option<f64>,
    pub parameters: usize,
    pub replicates: usize,
    pub standing: Standing,
    pub role: Role,
}

/// How a time came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// From steps timed alone on the machine; its range is the 95 % interval.
    Confirmed,
    /// During the sweep, beside other trials; its range is ± 1 standard deviation. Drawn hollow.
    Screened,
}

/// Whether a configuration is on the front of all the search's objectives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    Front,
    Dominated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Baseline,
    Other,
}

/// Where everything stands, in pixels but for `steps`.
#[derive(Clone, Debug, PartialEq)]
pub struct FrontLayout {
    pub plot: Plot,
    pub marks: Vec<PointMark>,
    /// Corners of the front's staircase in seconds and accuracy, from the fastest point on.
    pub steps: Vec<(f64, f64)>,
    /// Names where all find room beside their points; else numbers along the front, and names in the list.
    pub labels: Vec<Label>,
    /// Below the plot; empty where the labels are names.
    pub list: List,
    /// The picture's, in pixels: as high as the list needs.
    pub height: u32,
    /// The baseline's pixel.
    pub baseline: Option<Point>,
    /// Accuracies too far below the others to be worth the room, ascending: marked at the lower border.
    pub below: Vec<f64>,
    /// The sizes of network there are, ascending.
    pub sizes: Vec<usize>,
    /// Pixels above the plot that labels may stand in.
    pub headroom: f64,
    /// Points left out, having no time or accuracy.
    pub absent: usize,
    /// Points beyond the ranges that were asked for.
    pub outside: usize,
    /// Where configurations stand that were given up, as far as that is within the axes of the others.
    pub stopped: Vec<Point>,
    /// Numbers that found no room.
    pub unlabelled: usize,
    /// Notes for the reader below the chart.
    pub notes: Vec<String>,
}

/// A drawn point.
#[derive(Clone, Debug, PartialEq)]
pub struct PointMark {
    /// Index of its point in the chart.
    pub point: usize,
    pub at: Point,
    pub radius: f64,
    pub kind: Kind,
    pub colour: Colour,
    pub place: WithinAxis,
    pub clock: Clock,
    /// Error bars, as ends in pixels.
    pub bars: Vec<(Point, Point)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// On the staircase of time and accuracy.
    Front,
    /// On the front thanks to another objective.
    FrontByParameters,
    Dominated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithinAxis {
    Inside,
    /// Its accuracy is below the axis; it stands at the border.
    Below,
}

/// A placed label.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    pub point: usize,
    pub area: Area,
    pub lines: Vec<String>,
    /// The line below, with the values.
    pub values: Option<String>,
}

impl OnSheet for FrontChart {
    fn on_sheet(&self, style: &Style) -> super::Scene {
        draw(self, style)
    }
}

/// Decides everything that is drawn. In a picture of a given height, the plot leaves room for the list.
pub fn arrange(chart: &FrontChart, style: &Style) -> FrontLayout {
    let own = arrange_above_list(chart, style);
    if style.height.is_none() || own.list.rows.is_empty() {
        return own;
    }
    let plot = own.height.saturating_sub(2 * own.list.height() as u32);
    arrange_above_list(chart, &Style { width: layout::WIDTH, height: Some(plot.max(1)), ..style.clone() })
}

/// The plot as high as the whole sheet, and the list below it.
fn arrange_above_list(chart: &FrontChart, sheet: &Style) -> FrontLayout {
    let points = &chart.points;
    let present: Vec<usize> = (0..points.len()).filter(|i| is_present(&points[*i])).collect();
    let pair = |p: &FrontPoint| if is_present(p) { [p.train_seconds, p.accuracy] } else { [f64::NAN; 2] };
    let pairs: Vec<[f64; 2]> = points.iter().map(pair).collect();
    let ladder = front_2d(&pairs, &[Goal::Minimise, Goal::Maximise]);
    let floor = sheet.y_range.map_or_else(|| floor(points, &present, &ladder), |(from, _)| from);
    let shown = |i: &&usize| points[**i].accuracy >= floor;

    let accuracies = present.iter().filter(shown).flat_map(|i| spread(points[*i].accuracy, accuracy_bar(&points[*i])));
    let accuracies = accuracies.map(|accuracy| accuracy.clamp(0.0, 1.0));
    let times = present.iter().map(|i| points[*i].train_seconds);
    // No accuracy is above 100 %: where the axis ends there, what it leaves of the room above is that of labels alone.
    let (y, left) = Axis::over(accuracies, Unit::Percent, 0.08).headroom(0.08, Unit::Percent);
    let mut area = layout::plot_area(sheet, &chart.subtitle);
    let headroom = if sheet.y_range.is_none() { left * area.height() } else { 0.0 };
    area.top += headroom;
    let plot = Plot {
        area,
        x: Axis::over(times, Unit::Seconds, 0.06).within(sheet.x_range, Unit::Seconds),
        y: y.within(sheet.y_range, Unit::Percent),
    };

    let mut sizes: Vec<usize> = present.iter().map(|i| points[*i].parameters).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let mark = |i: usize| mark(points, i, &ladder, floor, &plot, &sizes, present.len());
    let mut marks: Vec<PointMark> = present.iter().map(|i| mark(*i)).collect();
    let is_seen = |mark: &PointMark| area.grown(1.0).contains(&Area::around(mark.at, 0.0));
    let outside = marks.iter().filter(|mark| !is_seen(mark)).count();
    marks.retain(is_seen);
    // What matters is painted last.
    marks.sort_by_key(|mark| (mark.kind != Kind::Dominated, points[mark.point].role == Role::Baseline));

    let baseline = marks.iter().find(|mark| points[mark.point].role == Role::Baseline).map(|mark| mark.at);
    let mut below: Vec<f64> = present.iter().map(|i| points[*i].accuracy).filter(|a| *a < floor).collect();
    below.sort_by(f64::total_cmp);
    let steps = steps(&ladder.iter().map(|i| pairs[*i]).collect::<Vec<_>>());
    let mut data = FrontLayout {
        plot,
        marks,
        steps,
        labels: Vec::new(),
        list: List::default(),
        height: sheet.sheet_height(),
        baseline,
        below,
        sizes,
        headroom,
        absent: points.len() - present.len(),
        outside,
        stopped: Vec::new(),
        unlabelled: 0,
        notes: Vec::new(),
    };
    let at = |point: &StoppedPoint| data.plot.at(point.train_seconds, point.accuracy);
    let crosses =
        chart.stopped.iter().map(at).filter(|at| data.plot.area.grown(-6.0).contains(&Area::around(*at, 0.0)));
    data.stopped = crosses.collect();
    naming::name_points(&mut data, points);
    data.notes = notes(chart, &data);
    data
}

/// Whether there is something to show: a time, and an accuracy that is one.
fn is_present(point: &FrontPoint) -> bool {
    (0.0..1e12).contains(&point.train_seconds) && (0.0..=1.0).contains(&point.accuracy)
}

fn accuracy_bar(point: &FrontPoint) -> Option<f64> {
    point.accuracy_sd.filter(|sd| point.replicates > 1 && (0.0..=1.0).contains(sd))
}

fn time_bar(point: &FrontPoint) -> Option<(f64, f64)> {
    point.seconds_range.filter(|(from, to)| (0.0..1e12).contains(from) && (*from..1e12).contains(to))
}

fn spread(value: f64, deviation: Option<f64>) -> [f64; 2] {
    let deviation = deviation.unwrap_or(0.0);
    [value - deviation, value + deviation]
}

/// The lowest accuracy worth the room: several times as far below the best as the median is. Points of the front and
/// the baseline may lie further below than others.
fn floor(points: &[FrontPoint], present: &[usize], ladder: &[usize]) -> f64 {
    let mut accuracies: Vec<f64> = present.iter().map(|i| points[*i].accuracy).collect();
    accuracies.sort_by(f64::total_cmp);
    let Some(best) = accuracies.last() else { return f64::NEG_INFINITY };
    let reach = (best - accuracies[accuracies.len() / 2]).max(0.001);
    let kept = present.iter().copied().filter(|i| {
        let telling = ladder.contains(i) || points[*i].role == Role::Baseline;
        points[*i].accuracy >= best - reach * if telling { 12.0 } else { 5.0 }
    });
    kept.map(|i| points[i].accuracy).fold(*best, f64::min)
}

/// With more points than this, those of the second rank are drawn small and without bars.
const CROWD: usize = 120;

fn mark(
    points: &[FrontPoint],
    index: usize,
    ladder: &[usize],
    floor: f64,
    plot: &Plot,
    sizes: &[usize],
    count: usize,
) -> PointMark {
    let point = &points[index];
    let kind = match point.standing {
        _ if ladder.contains(&index) => Kind::Front,
        Standing::Front => Kind::FrontByParameters,
        Standing::Dominated => Kind::Dominated,
    };
    let place = if point.accuracy < floor { WithinAxis::Below } else { WithinAxis::Inside };
    let (seconds, accuracy) = (point.train_seconds, point.accuracy);
    let mut at = plot.at(seconds, accuracy);
    let mut bars = Vec::new();
    match place {
        WithinAxis::Below => at.1 = plot.area.bottom - 12.0,
        WithinAxis::Inside => {
            let down = accuracy_bar(point).map(|sd| (plot.at(seconds, accuracy - sd), plot.at(seconds, accuracy + sd)));
            let along = time_bar(point).map(|(from, to)| (plot.at(from, accuracy), plot.at(to, accuracy)));
            let shown = count <= CROWD || kind != Kind::Dominated;
            bars = down
                .into_iter()
                .filter(|_| shown)
                .chain(along.filter(|_| shown))
                .filter_map(|(a, b)| plot.area.clip(a, b))
                .collect();
        }
    }
    let radius = match kind {
        Kind::Front | Kind::FrontByParameters => 10.0,
        Kind::Dominated if count > CROWD => 5.0,
        Kind::Dominated => 7.5,
    };
    let size = style::sequential(size_share(sizes, point.parameters));
    let colour = if point.is_chance { style::MUTED } else { size };
    PointMark { point: index, at, radius, kind, colour, place, clock: point.clock, bars }
}

/// Where a size stands on the colour scale: few sizes by rank, many by their logarithm.
pub(super) fn size_share(sizes: &[usize], size: usize) -> f64 {
    let (Some(first), Some(last)) = (sizes.first(), sizes.last()) else { return 0.5 };
    if first == last {
        return 0.7;
    }
    if sizes.len() <= draw::SWATCHES {
        let rank = sizes.iter().position(|other| *other == size).unwrap_or(0);
        return 0.1 + 0.75 * rank as f64 / (sizes.len() - 1) as f64;
    }
    let log = |size: usize| (size.max(1) as f64).ln();
    (log(size) - log(*first)) / (log(*last) - log(*first)).max(1e-12)
}

/// Corners of the staircase through a front sorted by time: along to the next time, then up.
pub fn steps(front: &[[f64; 2]]) -> Vec<(f64, f64)> {
    let mut corners: Vec<(f64, f64)> = Vec::new();
    for &[time, accuracy] in front {
        if let Some(&(_, before)) = corners.last() {
            corners.push((time, before));
        }
        corners.push((time, accuracy));
    }
    corners.dedup();
    corners
}

impl FrontLayout {
    /// The staircase in pixels, from the bottom of the chart to its right border.
    pub fn staircase(&self) -> Vec<Point> {
        let (Some(first), Some(last)) = (self.steps.first(), self.steps.last()) else { return Vec::new() };
        let start = (first.0, self.plot.y.from);
        let end = (self.plot.x.to, last.1);
        std::iter::once(&start).chain(&self.steps).chain([&end]).map(|(x, y)| self.plot.at(*x, *y)).collect()
    }

    /// The dashed lines through the baseline.
    pub fn cross_hair(&self) -> Vec<(Point, Point)> {
        let area = self.plot.area;
        let lines = |(x, y): Point| [((area.left, y), (area.right, y)), ((x, area.top), (x, area.bottom))];
        self.baseline.into_iter().flat_map(lines).collect()
    }
}

fn notes(chart: &FrontChart, data: &FrontLayout) -> Vec<String> {
    let mut notes = Vec::new();
    if !data.list.rows.is_empty() {
        notes.push("numbers: the front from its fastest point on".into());
    }
    if data.marks.iter().any(|mark| !mark.bars.is_empty()) {
        let is_confirmed = data.marks.iter().any(|mark| mark.clock == Clock::Confirmed);
        let of_time = if is_confirmed { "; of confirmed times the 95 % interval" } else { "" };
        notes.push(format!("bars: ± 1 standard deviation of the replicates{of_time}"));
    }
    if data.absent > 0 {
        notes.push(format!("not shown, without a time or an accuracy: {}", plural(data.absent, "configuration")));
    }
    if data.outside > 0 {
        notes.push(format!("outside of these axes: {}", plural(data.outside, "point")));
    }
    if data.stopped.len() < chart.stopped.len() {
        let missing = chart.stopped.len() - data.stopped.len();
        notes.push(format!("given up outside of these axes: {}", plural(missing, "configuration")));
    }
    if data.unlabelled > 0 {
        notes.push(format!("{} of the list left out for lack of room", plural(data.unlabelled, "number")));
    }
    if !chart.footnote.is_empty() {
        notes.push(chart.footnote.clone());
    }
    notes
}

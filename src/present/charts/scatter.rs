//! Accuracy, training time and parameters at once: points in a box, with their shadows on three of its planes.

use serde::Serialize;

use super::axis::{Axis, Scale, Unit};
use super::canvas::{Anchor, Area, Point, Scene, Stroke, Text, Weight};
use super::facts::Facts;
use super::front::{Clock, FrontPoint, Role, Standing};
use super::kind::{ChartKind, OnSheet, Ranges, boxed};
use super::labels::{self, Surroundings, Wanted, leader_end};
use super::look::Style;
use super::style::{BLUE, Colour, FAINT, GRID, INK, LABEL, MUTED, SMALL, VERMILION, WHITE, baseline};
use super::{font, layout, points};
use crate::analysis::Extent;
use crate::base::words::plural;

pub const KIND: ChartKind = ChartKind {
    name: "scatter",
    title: "Accuracy, training time and parameters",
    help: "3-D scatter of accuracy, training time and parameters, with projections on three planes",
    ranges: Ranges::Neither,
    data: |study, _| boxed(data(study)),
};

/// What to draw.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ScatterChart {
    pub title: String,
    pub subtitle: String,
    pub footnote: String,
    pub points: Vec<FrontPoint>,
}

/// The configurations of a study.
pub fn data(study: &Facts) -> ScatterChart {
    let points: Vec<FrontPoint> = points::points(study, false).into_iter().map(|(_, point)| point).collect();
    let findings = study.findings();
    let whole = points.iter().filter(|of| of.standing == Standing::Front).count();
    let is_beginning = |index: &&usize| findings.points[**index].extent == Extent::Prefix;
    let beginnings = findings.wide_front.iter().filter(is_beginning).count();
    let not_drawn = match beginnings {
        0 => String::new(),
        count => format!("; {count} more of that front are beginnings of trainings, which are not drawn"),
    };
    ScatterChart {
        title: format!("{}: accuracy, training time and parameters", study.view.space.name),
        subtitle: format!("{}, {whole} on the front of all three{not_drawn}", plural(points.len(), "configuration")),
        footnote: study.figures_note(),
        points,
    }
}

impl OnSheet for ScatterChart {
    fn on_sheet(&self, style: &Style) -> Scene {
        draw(self, style)
    }
}

/// Shares along the axes of time, parameters and accuracy.
type Place = [f64; 3];

/// The box as it is seen: from the front, from the right and from above.
struct View {
    origin: Point,
    /// What a whole axis is in pixels.
    time: Point,
    parameters: Point,
    accuracy: Point,
}

impl View {
    fn of(area: &Area) -> View {
        let (width, height) = (area.width(), area.height());
        View {
            origin: (area.left + 0.02 * width, area.bottom - 0.23 * height),
            time: (0.60 * width, 0.23 * height),
            parameters: (0.38 * width, -0.20 * height),
            accuracy: (0.0, -0.57 * height),
        }
    }

    fn at(&self, [time, parameters, accuracy]: Place) -> Point {
        let along = |of: fn(&Point) -> f64| {
            time * of(&self.time) + parameters * of(&self.parameters) + accuracy * of(&self.accuracy)
        };
        (self.origin.0 + along(|of| of.0), self.origin.1 + along(|of| of.1))
    }
}

struct Box3 {
    view: View,
    axes: [Axis; 3],
}

impl Box3 {
    fn place(&self, of: &FrontPoint) -> Place {
        let shares = [
            self.axes[0].share(of.train_seconds),
            self.axes[1].share(of.parameters as f64),
            self.axes[2].share(of.accuracy),
        ];
        shares.map(|share| share.clamp(0.0, 1.0))
    }
}

/// Shadows on the floor, on the wall behind and on the wall at the left.
fn shadows([time, parameters, accuracy]: Place) -> [Place; 3] {
    [[time, parameters, 0.0], [time, 1.0, accuracy], [0.0, parameters, accuracy]]
}

const COLOURS: [Colour; 3] = [FAINT, super::style::PALETTE[2], super::style::PALETTE[4]];
/// Points above which those that are on no front are small.
const CROWD: usize = 200;
/// Names beside points at most.
const MOST_NAMES: usize = 7;
const WIDEST_NAME: f64 = 320.0;
const BESIDE: f64 = 44.0;

pub fn draw(chart: &ScatterChart, style: &Style) -> Scene {
    let known = |of: &&FrontPoint| {
        (0.0..1e12).contains(&of.train_seconds) && (0.0..=1.0).contains(&of.accuracy) && of.parameters > 0
    };
    let points: Vec<&FrontPoint> = chart.points.iter().filter(known).collect();
    let mut notes =
        vec!["lines fall from the front to the floor; small dots are the points as seen along each axis".to_string()];
    let absent = chart.points.len() - points.len();
    if absent > 0 {
        notes.push(format!("not shown, without a time or an accuracy: {}", plural(absent, "configuration")));
    }
    notes.extend((!chart.footnote.is_empty()).then(|| chart.footnote.clone()));
    let mut scene = layout::sheet(style, &chart.title, &chart.subtitle, &notes);
    if points.is_empty() {
        layout::empty(&mut scene, "No finished configuration yet");
        return scene;
    }
    let mut area = layout::plot_area(style, &chart.subtitle);
    area.bottom += 24.0;
    // Accuracies and the largest size stand beside the box.
    area.right -= BESIDE;
    let axes = [
        Axis::over(points.iter().map(|of| of.train_seconds), Unit::Seconds, 0.08),
        parameters_axis(&points),
        accuracy_axis(&points),
    ];
    let of = Box3 { view: View::of(&area), axes };
    draw_planes(&mut scene, &of);
    draw_ticks(&mut scene, &of);
    let radius = if points.len() > CROWD { 2.0 } else { 3.5 };
    for point in &points {
        for (shadow, colour) in shadows(of.place(point)).into_iter().zip(COLOURS) {
            scene.circle(
                of.view.at(shadow),
                radius,
                colour.opacity(if points.len() > CROWD { 0.25 } else { 0.55 }),
                None,
            );
        }
    }
    // Those behind first.
    let mut order = points.clone();
    order.sort_by(|a, b| {
        let rank = |of: &FrontPoint| (of.standing == Standing::Front, of.role == Role::Baseline);
        let depth = |point: &FrontPoint| of.place(point)[1];
        rank(a).cmp(&rank(b)).then(depth(b).total_cmp(&depth(a)))
    });
    for point in order {
        draw_point(&mut scene, &of, point, points.len() > CROWD);
    }
    draw_names(&mut scene, &of, &points, &area);
    draw_legend(&mut scene, chart);
    scene
}

fn parameters_axis(points: &[&FrontPoint]) -> Axis {
    let sizes: Vec<f64> = points.iter().map(|of| of.parameters as f64).collect();
    let mut axis = Axis::over(sizes.iter().copied(), Unit::Number, 0.08);
    for tick in &mut axis.ticks {
        tick.label = super::style::count(tick.value.round().max(0.0) as usize);
    }
    axis
}

/// Accuracies without those so far below the others that they would leave no room for them; these stand on the floor.
fn accuracy_axis(points: &[&FrontPoint]) -> Axis {
    let mut values: Vec<f64> = points.iter().map(|of| of.accuracy).collect();
    values.sort_by(f64::total_cmp);
    let (best, median) = (values[values.len() - 1], values[values.len() / 2]);
    let floor = best - 6.0 * (best - median).max(0.001);
    Axis::over(values.into_iter().filter(|value| *value >= floor), Unit::Percent, 0.08)
}

fn draw_planes(scene: &mut Scene, of: &Box3) {
    let view = &of.view;
    let planes: [[Place; 4]; 3] = [
        [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0]],
        [[0.0, 1.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]],
        [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]],
    ];
    for corners in planes {
        let corners = corners.map(|corner| view.at(corner)).to_vec();
        scene.polygon(corners, GRID.opacity(0.35), Some(Stroke::solid(FAINT, 1.0)));
    }
    let mut line = |from: Place, to: Place| scene.line(vec![view.at(from), view.at(to)], Stroke::solid(GRID, 1.0));
    let shares = |axis: &Axis| axis.ticks.iter().map(|tick| axis.share(tick.value)).collect::<Vec<f64>>();
    for t in shares(&of.axes[0]) {
        line([t, 0.0, 0.0], [t, 1.0, 0.0]);
        line([t, 1.0, 0.0], [t, 1.0, 1.0]);
    }
    for p in shares(&of.axes[1]) {
        line([0.0, p, 0.0], [1.0, p, 0.0]);
        line([0.0, p, 0.0], [0.0, p, 1.0]);
    }
    for a in shares(&of.axes[2]) {
        line([0.0, 1.0, a], [1.0, 1.0, a]);
        line([0.0, 0.0, a], [0.0, 1.0, a]);
    }
}

fn draw_ticks(scene: &mut Scene, of: &Box3) {
    let view = &of.view;
    let mut free = f64::NEG_INFINITY;
    for tick in &of.axes[0].ticks {
        let (x, y) = view.at([of.axes[0].share(tick.value), 0.0, 0.0]);
        let wide = font::width(&tick.label, Weight::Regular, SMALL);
        if x - wide > free {
            scene.text(Text::new((x - 6.0, y + 26.0), &tick.label, SMALL, MUTED).anchor(Anchor::End));
            free = x + 4.0;
        }
    }
    let mut free = f64::NEG_INFINITY;
    for tick in &of.axes[1].ticks {
        let (x, y) = view.at([1.0, of.axes[1].share(tick.value), 0.0]);
        let label = Text::new((x + 10.0, y + 20.0), &tick.label, SMALL, MUTED);
        if x + 10.0 > free {
            scene.text(label);
            free = x + 10.0 + font::width(&tick.label, Weight::Regular, SMALL) * 0.6;
        }
    }
    for tick in &of.axes[2].ticks {
        let (x, y) = view.at([1.0, 1.0, of.axes[2].share(tick.value)]);
        scene.text(Text::new((x + 10.0, y + 7.0), &tick.label, SMALL, MUTED));
    }
    let log = |axis: &Axis, name: &str| match axis.scale {
        Scale::Linear => name.to_string(),
        Scale::Log => format!("{name} (logarithmic)"),
    };
    let (x, y) = view.at([0.42, 0.0, 0.0]);
    scene.text(Text::new((x - 60.0, y + 74.0), log(&of.axes[0], "Training time"), LABEL, INK).anchor(Anchor::End));
    let (x, y) = view.at([1.0, 0.5, 0.0]);
    scene.text(Text::new((x + 84.0, y + 62.0), log(&of.axes[1], "Parameters"), LABEL, INK));
    let (x, y) = view.at([1.0, 1.0, 1.0]);
    scene.text(Text::new((x + 10.0, y - 22.0), "Validation accuracy", LABEL, INK).anchor(Anchor::End));
}

fn draw_point(scene: &mut Scene, of: &Box3, point: &FrontPoint, is_crowd: bool) {
    let place = of.place(point);
    let at = of.view.at(place);
    let is_telling = point.standing == Standing::Front || point.role == Role::Baseline;
    let colour = if point.standing == Standing::Front { VERMILION } else { BLUE };
    if is_telling {
        scene.line(vec![at, of.view.at(shadows(place)[0])], Stroke::dashed(colour.opacity(0.55), 1.3));
    }
    let radius = match is_telling {
        true => 8.5,
        false if is_crowd => 3.5,
        false => 6.5,
    };
    let strength = if is_telling { 1.0 } else { 0.55 };
    let (fill, outline) = match point.clock {
        Clock::Confirmed => (colour.opacity(strength), Stroke::solid(if is_telling { INK } else { WHITE }, 1.2)),
        Clock::Screened => (WHITE, Stroke::solid(colour.opacity(strength), if is_crowd { 1.5 } else { 2.6 })),
    };
    match point.role {
        Role::Baseline => diamond(scene, at, fill, Stroke::solid(INK, 2.0)),
        Role::Other => scene.circle(at, radius, fill, Some(outline)),
    }
}

fn diamond(scene: &mut Scene, (x, y): Point, fill: Colour, outline: Stroke) {
    const REACH: f64 = 12.0;
    scene.polygon(vec![(x - REACH, y), (x, y - REACH), (x + REACH, y), (x, y + REACH)], fill, Some(outline));
}

/// Names the baseline, and of the front as many from one end to the other as find room.
fn draw_names(scene: &mut Scene, of: &Box3, points: &[&FrontPoint], area: &Area) {
    let mut front: Vec<&FrontPoint> =
        points.iter().copied().filter(|of| of.standing == Standing::Front && of.role == Role::Other).collect();
    front.sort_by(|a, b| a.train_seconds.total_cmp(&b.train_seconds).then_with(|| a.label.cmp(&b.label)));
    let base = points.iter().copied().filter(|of| of.role == Role::Baseline);
    let count = front.len().min(MOST_NAMES);
    let some = (0..count).map(|k| front[k * (front.len() - 1) / (count - 1).max(1)]);
    let named: Vec<&FrontPoint> = base.chain(some).collect();
    let name = |of: &FrontPoint| if of.role == Role::Baseline { baseline(&of.label) } else { of.label.clone() };
    let lines: Vec<Vec<String>> =
        named.iter().map(|of| font::balanced(&name(of), Weight::Regular, SMALL, WIDEST_NAME, 3)).collect();
    let wanted: Vec<Wanted> = (named.iter().zip(&lines))
        .map(|(point, lines)| {
            let widest = lines.iter().map(|line| font::width(line, Weight::Regular, SMALL)).fold(0.0, f64::max);
            let anchor = of.view.at(of.place(point));
            Wanted { anchor, radius: 12.0, width: widest + 8.0, height: 24.0 * lines.len() as f64 + 2.0 }
        })
        .collect();
    let telling = points.iter().filter(|of| of.standing == Standing::Front || of.role == Role::Baseline);
    let mut around = Surroundings {
        solid: telling.map(|point| Area::around(of.view.at(of.place(point)), 11.0)).collect(),
        ..Surroundings::default()
    };
    let most = 400;
    around.soft = points.iter().take(most).map(|point| Area::around(of.view.at(of.place(point)), 7.0)).collect();
    let frame = Area { left: layout::MARGIN, right: area.right - 10.0, top: area.top, bottom: area.bottom - 60.0 };
    let places = labels::place(&wanted, &frame, &around);
    for (index, (place, lines)) in places.iter().zip(&lines).enumerate() {
        let Some(area) = place
            .filter(|_| labels::is_clean(index, &wanted, &places, &Surroundings { soft: vec![], ..around.clone() }))
        else {
            continue;
        };
        let (at, end) = (wanted[index].anchor, leader_end(&area, wanted[index].anchor));
        if (end.0 - at.0).hypot(end.1 - at.1) > 26.0 {
            scene.line(vec![at, end], Stroke::solid(MUTED.opacity(0.7), 1.2));
        }
        for (row, line) in lines.iter().enumerate() {
            let y = area.top + 24.0 * (row + 1) as f64 - 5.0;
            scene.text(Text::new((area.left + 4.0, y), line, SMALL, INK).halo());
        }
    }
}

fn draw_legend(scene: &mut Scene, chart: &ScatterChart) {
    let (y, mut x) = (layout::legend_baseline(&chart.subtitle), layout::MARGIN);
    let mut entry = |scene: &mut Scene, words: &str, paint: &dyn Fn(&mut Scene, Point)| {
        paint(scene, (x + 12.0, y - 7.0));
        scene.text(Text::new((x + 32.0, y), words, SMALL, INK));
        x += 32.0 + font::width(words, Weight::Regular, SMALL) + 28.0;
    };
    let outline = Stroke::solid(INK, 1.2);
    entry(scene, "front of all three", &|scene, at| scene.circle(at, 8.0, VERMILION, Some(outline)));
    entry(scene, "dominated", &|scene, at| scene.circle(at, 6.5, BLUE.opacity(0.55), None));
    if chart.points.iter().any(|of| of.role == Role::Baseline) {
        entry(scene, "baseline", &|scene, at| diamond(scene, at, BLUE, Stroke::solid(INK, 2.0)));
    }
    if chart.points.iter().any(|of| of.clock == Clock::Screened) {
        entry(scene, "time not confirmed", &|scene, at| scene.circle(at, 6.5, WHITE, Some(Stroke::solid(BLUE, 2.6))));
    }
    let planes = ["on the floor", "on the wall behind", "at the left"];
    for (words, colour) in planes.into_iter().zip(COLOURS) {
        entry(scene, words, &|scene, at| scene.circle(at, 4.0, colour, None));
    }
}

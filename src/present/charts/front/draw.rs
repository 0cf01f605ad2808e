//! Paints the front chart.

use super::{Clock, FrontChart, FrontLayout, Kind, PointMark, Role, WithinAxis, arrange, size_share};
use crate::present::charts::axis::Scale;
use crate::present::charts::canvas::{Anchor, Area, Point, Scene, Stroke, Text, Weight};
use crate::present::charts::labels::leader_end;
use crate::present::charts::look::Style;
use crate::present::charts::style::{
    BLUE, Colour, FAINT, INK, LABEL, MUTED, NOTE, SMALL, WHITE, count, percent, sequential,
};
use crate::present::charts::{font, layout};

/// Distance of a label's lines.
pub(super) const LABEL_LINE: f64 = 26.0;
/// Up to as many sizes get a colour of their own in the legend; more get a scale.
pub(super) const SWATCHES: usize = 5;

pub fn draw(chart: &FrontChart, style: &Style) -> Scene {
    let data = arrange(chart, style);
    let mut scene = layout::sheet_of(data.height, style, &chart.title, &chart.subtitle, &data.notes);
    if data.marks.is_empty() {
        layout::empty(&mut scene, "No finished configuration yet");
        return scene;
    }
    let time_name = match data.plot.x.scale {
        Scale::Linear => "Training time",
        Scale::Log => "Training time (logarithmic)",
    };
    draw_attained(&mut scene, &data);
    data.plot.draw_frame(&mut scene, time_name, "Validation accuracy");
    for (from, to) in data.cross_hair() {
        scene.line(vec![from, to], Stroke::dashed(MUTED.opacity(0.55), 1.5));
    }
    for piece in data.plot.area.clip_line(&data.staircase()) {
        scene.line(piece, Stroke::solid(BLUE, 2.5));
    }
    data.stopped.iter().for_each(|at| cross(&mut scene, *at));
    for mark in &data.marks {
        draw_mark(&mut scene, mark, chart.points[mark.point].role);
    }
    draw_labels(&mut scene, &data);
    for (text, area) in remarks(&data) {
        scene.text(Text::new((area.left, area.bottom - 6.0), text, NOTE, MUTED).halo());
    }
    draw_legend(&mut scene, chart, &data);
    let is_hollow = data.marks.iter().all(|mark| mark.clock == Clock::Screened);
    let (fill, outline) =
        if is_hollow { hollow(sequential(0.55), 1.0) } else { (sequential(0.55), Stroke::solid(INK, 1.8)) };
    data.list.draw(&mut scene, |scene, at| diamond(scene, at, fill, outline));
    scene
}

/// A hint of colour over what the front dominates.
fn draw_attained(scene: &mut Scene, data: &FrontLayout) {
    let area = data.plot.area;
    let inside = |(x, y): Point| (x.clamp(area.left, area.right), y.clamp(area.top, area.bottom));
    let mut corners: Vec<Point> = data.staircase().into_iter().map(inside).collect();
    corners.push((area.right, area.bottom));
    scene.polygon(corners, BLUE.opacity(0.045), None);
}

fn draw_mark(scene: &mut Scene, mark: &PointMark, role: Role) {
    let (x, y) = mark.at;
    let faded = mark.kind == Kind::Dominated && role == Role::Other;
    let strength = if faded { 0.6 } else { 1.0 };
    let (fill, outline) = match mark.clock {
        Clock::Confirmed => (
            mark.colour.opacity(if faded { 0.5 } else { 1.0 }),
            Stroke::solid(if faded { mark.colour.opacity(strength) } else { INK }, if faded { 1.0 } else { 1.8 }),
        ),
        Clock::Screened => hollow(mark.colour, strength),
    };
    for (from, to) in &mark.bars {
        let colour = if faded { FAINT.opacity(0.8) } else { INK.opacity(0.75) };
        scene.line(vec![*from, *to], Stroke::solid(colour, 1.5));
    }
    let r = mark.radius;
    match (mark.place, role) {
        (WithinAxis::Below, _) => scene.polygon(vec![(x - r, y - r), (x + r, y - r), (x, y + r)], fill, Some(outline)),
        (WithinAxis::Inside, Role::Baseline) => diamond(scene, mark.at, fill, outline),
        (WithinAxis::Inside, Role::Other) => scene.circle(mark.at, r, fill, Some(outline)),
    }
}

/// Fill and outline of a point whose time is not confirmed.
fn hollow(colour: Colour, strength: f64) -> (Colour, Stroke) {
    (WHITE, Stroke::solid(colour.opacity(strength), 3.5))
}

fn diamond(scene: &mut Scene, (x, y): Point, fill: Colour, outline: Stroke) {
    const REACH: f64 = 13.0;
    scene.polygon(vec![(x - REACH, y), (x, y - REACH), (x + REACH, y), (x, y + REACH)], fill, Some(outline));
}

/// A configuration that was given up.
fn cross(scene: &mut Scene, (x, y): Point) {
    const REACH: f64 = 5.0;
    for slope in [1.0, -1.0] {
        let ends = vec![(x - REACH, y - slope * REACH), (x + REACH, y + slope * REACH)];
        scene.line(ends, Stroke::solid(MUTED.opacity(0.7), 2.0));
    }
}

fn draw_labels(scene: &mut Scene, data: &FrontLayout) {
    for label in &data.labels {
        let Some(mark) = data.marks.iter().find(|mark| mark.point == label.point) else { continue };
        let end = leader_end(&label.area, mark.at);
        let length = (end.0 - mark.at.0).hypot(end.1 - mark.at.1);
        if length > mark.radius + 14.0 {
            let start = mark.radius / length;
            let from = (mark.at.0 + (end.0 - mark.at.0) * start, mark.at.1 + (end.1 - mark.at.1) * start);
            scene.line(vec![from, end], Stroke::solid(MUTED.opacity(0.7), 1.2));
        }
    }
    for label in &data.labels {
        let Area { left, top, .. } = label.area;
        let mut y = top + LABEL_LINE - 6.0;
        for line in &label.lines {
            scene.text(Text::new((left + 4.0, y), line, LABEL, INK).halo());
            y += LABEL_LINE;
        }
        if let Some(values) = &label.values {
            scene.text(Text::new((left + 4.0, y), values, SMALL, MUTED).halo());
        }
    }
}

/// The remarks inside the plot, which labels have to keep clear of.
pub(super) fn inner_texts(data: &FrontLayout) -> Vec<Area> {
    remarks(data).into_iter().map(|(_, area)| area).collect()
}

/// What stands in the corners: which side of the cross-hair is better, and what lies below the axis.
fn remarks(data: &FrontLayout) -> Vec<(String, Area)> {
    const HEIGHT: f64 = 26.0;
    let area = data.plot.area;
    let mut remarks = Vec::new();
    let wide = |text: &str| font::width(text, Weight::Regular, NOTE);
    if let Some((x, y)) = data.baseline {
        let text = "faster and more accurate".to_string();
        let line = data.staircase();
        let is_free = |room: &Area| {
            let crossed = line.windows(2).any(|ends| room.grown(3.0).clip(ends[0], ends[1]).is_some());
            area.contains(room) && room.bottom < y && !crossed && !covers_mark(data, room)
        };
        let at = |top| Area::new(x - wide(&text) - 10.0, top, wide(&text), HEIGHT);
        let places = [at(area.top + 4.0), at(y - HEIGHT - 6.0)];
        if let Some(room) = places.into_iter().find(is_free) {
            remarks.push((text, room));
        }
    }
    if let [lowest, ..] = data.below[..] {
        let values = match data.below.len() {
            1..=3 => data.below.iter().map(|accuracy| percent(*accuracy)).collect::<Vec<_>>().join(", "),
            _ => format!("down to {}", percent(lowest)),
        };
        let text = format!("▼ {} below this range: {values}", data.below.len());
        let right = area.right - wide(&text) - 10.0;
        let at = |left| Area::new(left, area.bottom - 62.0, wide(&text), HEIGHT);
        let lefts = (0..).map(|step| right - 20.0 * f64::from(step)).take_while(|left| *left > area.left);
        let room = lefts.map(at).find(|room| !covers_mark(data, room)).unwrap_or(at(right));
        remarks.push((text, room));
    }
    remarks
}

fn covers_mark(data: &FrontLayout, room: &Area) -> bool {
    data.marks.iter().any(|mark| room.overlaps(&Area::around(mark.at, mark.radius)))
}

fn draw_legend(scene: &mut Scene, chart: &FrontChart, data: &FrontLayout) {
    let y = layout::legend_baseline(&chart.subtitle);
    let middle = y - 7.0;
    let mut x = layout::MARGIN;
    let sample = sequential(0.55);
    // As the points are that it stands for: where no time is confirmed, all are hollow.
    let is_hollow = data.marks.iter().all(|mark| mark.clock == Clock::Screened);
    let (filled, outline) = if is_hollow { hollow(sample, 1.0) } else { (sample, Stroke::solid(INK, 1.8)) };
    let any = |kind: Kind| data.marks.iter().any(|mark| mark.kind == kind);
    let mut entry = |scene: &mut Scene, text: &str, paint: &dyn Fn(&mut Scene, Point)| {
        paint(scene, (x + 18.0, middle));
        scene.text(Text::new((x + 44.0, y), text, SMALL, INK));
        x += 44.0 + font::width(text, Weight::Regular, SMALL) + 26.0;
    };
    entry(scene, "front", &|scene, at| {
        scene.line(vec![(at.0 - 18.0, at.1), (at.0 + 18.0, at.1)], Stroke::solid(BLUE, 2.5));
        scene.circle(at, 9.0, filled, Some(outline));
    });
    if any(Kind::FrontByParameters) {
        entry(scene, "front by parameters", &|scene, at| scene.circle(at, 9.0, filled, Some(outline)));
    }
    if any(Kind::Dominated) {
        entry(scene, "dominated", &|scene, at| match is_hollow {
            true => scene.circle(at, 7.5, WHITE, Some(hollow(sample, 0.6).1)),
            false => scene.circle(at, 7.5, sample.opacity(0.5), Some(Stroke::solid(sample.opacity(0.6), 1.0))),
        });
    }
    if data.baseline.is_some() {
        entry(scene, "baseline", &|scene, at| diamond(scene, at, filled, outline));
    }
    if data.marks.iter().any(|mark| mark.clock == Clock::Screened) {
        entry(scene, "time not confirmed", &|scene, at| {
            let (fill, outline) = hollow(sample, 1.0);
            scene.circle(at, 8.0, fill, Some(outline));
        });
    }
    if data.marks.iter().any(|mark| chart.points[mark.point].is_chance) {
        entry(scene, "no better than chance", &|scene, at| scene.circle(at, 8.0, MUTED, None));
    }
    if !data.stopped.is_empty() {
        entry(scene, "given up", &|scene, at| cross(scene, at));
    }
    draw_sizes(scene, data, x, y);
}

/// The legend of the colours, at the right: each size, or where there are too many or no room from `least` on, a scale.
fn draw_sizes(scene: &mut Scene, data: &FrontLayout, least: f64, y: f64) {
    let right = f64::from(layout::WIDTH) - layout::MARGIN;
    let sizes = &data.sizes;
    let mut x = right;
    let write = |scene: &mut Scene, text: &str, x: &mut f64| {
        scene.text(Text::new((*x, y), text, SMALL, INK).anchor(Anchor::End));
        *x -= font::width(text, Weight::Regular, SMALL) + 10.0;
    };
    let wide = |text: &str| font::width(text, Weight::Regular, SMALL) + 10.0;
    let swatches = sizes.iter().map(|size| wide(&count(*size)) + 36.0).sum::<f64>() + wide("parameters");
    if sizes.len() <= SWATCHES && (sizes.len() < 2 || right - swatches >= least) {
        for size in sizes.iter().rev() {
            write(scene, &count(*size), &mut x);
            scene.circle((x - 8.0, y - 7.0), 8.0, sequential(size_share(sizes, *size)), None);
            x -= 36.0;
        }
    } else if let [first, .., last] = sizes[..] {
        const STEPS: usize = 24;
        write(scene, &count(last), &mut x);
        let left = x - 8.0 * STEPS as f64;
        for step in 0..STEPS {
            let from = left + 8.0 * step as f64;
            let corners = vec![(from, y - 16.0), (from + 8.0, y - 16.0), (from + 8.0, y + 2.0), (from, y + 2.0)];
            scene.polygon(corners, sequential(step as f64 / (STEPS - 1) as f64), None);
        }
        x = left - 10.0;
        write(scene, &count(first), &mut x);
        x -= 10.0;
    }
    write(scene, "parameters", &mut x);
}

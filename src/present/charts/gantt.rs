//! What ran when: a bar for each trial, in rows of trials that followed each other.

use serde::Serialize;

use super::axis::{Axis, Plot, Scale, Unit};
use super::canvas::{Area, Scene, Stroke, Text, Weight};
use super::facts::Facts;
use super::kind::{ChartKind, OnSheet, Ranges, boxed};
use super::look::Style;
use super::style::{BLUE, Colour, INK, LABEL, MUTED, NOTE, PALETTE, SMALL, VERMILION, duration};
use super::{font, layout};
use crate::base::words::plural;
use crate::learn::record::Status;

pub const KIND: ChartKind = ChartKind {
    name: "gantt",
    title: "What ran when",
    help: "every trial from its start to its end, in rows of trials that followed each other",
    ranges: Ranges::X,
    data: |study, _| boxed(data(study)),
};

/// What to draw.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GanttChart {
    pub title: String,
    pub subtitle: String,
    pub bars: Vec<GanttBar>,
    pub rows: usize,
    /// Times without any trial that are left out.
    pub breaks: Vec<Break>,
}

/// A trial. Seconds are since the first start, without the breaks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GanttBar {
    pub label: String,
    pub replicate: usize,
    pub status: Status,
    pub device: Option<String>,
    pub row: usize,
    pub start: f64,
    pub end: f64,
}

/// A time in which no trial ran.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Break {
    /// Where it is left out.
    pub at: f64,
    pub seconds: f64,
}

/// What ran when in a study, by its journal.
pub fn data(study: &Facts) -> GanttChart {
    let (clock, spans) = study.clock();
    let label = |candidate: usize| study.view.expansion.candidates[candidate].label.clone();
    let mut bars: Vec<GanttBar> = (spans.iter())
        .map(|(candidate, record, start, end)| GanttBar {
            label: label(*candidate),
            replicate: record.replicate,
            status: record.status,
            device: record.device.clone(),
            row: 0,
            start: *start,
            end: *end,
        })
        .collect();
    let device = |bar: &GanttBar| bar.device.clone().unwrap_or_default();
    bars.sort_by(|a, b| device(a).cmp(&device(b)).then(a.start.total_cmp(&b.start)).then(a.end.total_cmp(&b.end)));
    let rows = pack(&mut bars);
    let mut subtitle = format!("{} in {}", plural(bars.len(), "trial"), duration(clock.whole));
    if !clock.breaks.is_empty() {
        let left_out: f64 = clock.breaks.iter().map(|of| of.seconds).sum();
        let breaks = plural(clock.breaks.len(), "break");
        subtitle.push_str(&format!(" · {breaks} without a trial left out, {} in all", duration(left_out)));
    }
    let title = format!("{}: what ran when", study.view.space.name);
    GanttChart { title, subtitle, bars, rows, breaks: clock.breaks }
}

/// Gives each bar the first row of its device that is free by then; says how many rows there are.
fn pack(bars: &mut [GanttBar]) -> usize {
    let mut rows = 0;
    for of_device in bars.chunk_by_mut(|a, b| a.device == b.device) {
        let mut free: Vec<f64> = Vec::new();
        for bar in of_device.iter_mut() {
            let at = free.iter().position(|free| *free <= bar.start).unwrap_or(free.len());
            free.resize(free.len().max(at + 1), 0.0);
            free[at] = bar.end;
            bar.row = rows + at;
        }
        rows += free.len();
    }
    rows
}

impl OnSheet for GanttChart {
    fn on_sheet(&self, style: &Style) -> Scene {
        draw(self, style)
    }
}

/// Each status that has a bar, in the order of the legend.
const COLOURS: [(Status, Colour, &str); 6] = [
    (Status::Done, BLUE, "done"),
    (Status::Stopped, PALETTE[4], "given up"),
    (Status::Diverged, PALETTE[3], "diverged"),
    (Status::Failed, VERMILION, "failed"),
    (Status::Running, PALETTE[2], "running"),
    (Status::Pending, MUTED, "interrupted"),
];
/// Pixels of a row at most, but where a picture of a given height has room for more.
const HIGHEST: f64 = 64.0;
/// Names stand inside of bars that are as wide as this.
const NAMED: f64 = 90.0;
/// What is below the rows: ticks, their name, notes.
const FOOT: f64 = 152.0;

fn colour(status: Status) -> Colour {
    COLOURS.iter().find(|(of, ..)| *of == status).map_or(MUTED, |(_, colour, _)| *colour)
}

pub fn draw(chart: &GanttChart, style: &Style) -> Scene {
    let notes = ["rows: trials that followed each other, by the starts and ends in the journal; an attempt that was \
                  retried is part of its trial's bar"
        .to_string()];
    if chart.bars.is_empty() {
        let mut scene = layout::sheet(style, &chart.title, &chart.subtitle, &notes);
        layout::empty(&mut scene, "No trial has started yet");
        return scene;
    }
    let mut area = layout::plot_area(style, &chart.subtitle);
    area.top += 8.0;
    // A picture of a given height is filled, however few rows there are.
    let highest = if style.height.is_some() { f64::INFINITY } else { HIGHEST };
    let height = (area.height() / chart.rows as f64).min(highest);
    area.bottom = area.top + height * chart.rows as f64;
    let sheet = style.height_for(area.bottom + FOOT);
    let mut scene = layout::sheet_of(sheet, style, &chart.title, &chart.subtitle, &notes);
    let last = chart.bars.iter().map(|bar| bar.end).fold(1e-9, f64::max);
    let x = Axis::new(Scale::Linear, 0.0, last, Unit::Seconds).within(style.x_range, Unit::Seconds);
    let y = Axis { scale: Scale::Linear, from: chart.rows as f64, to: 0.0, ticks: Vec::new() };
    let plot = Plot { area, x, y };
    // The longest name that is no higher than the rows: a longer one would stand in the legend.
    let fits = |name: &&str| font::width(name, Weight::Regular, LABEL) <= area.height();
    let name = ["Trials at the same time", "At the same time", "Trials"].into_iter().find(fits).unwrap_or_default();
    plot.draw_frame(&mut scene, "Time since the first start", name);
    let gap = (height * 0.12).min(4.0);
    for bar in &chart.bars {
        let (left, top) = plot.at(bar.start, bar.row as f64);
        let right = plot.at(bar.end, 0.0).0.max(left + 1.0);
        let (left, right) = (left.max(area.left), right.min(area.right));
        if left >= right {
            continue;
        }
        // Neighbours keep a hair's breadth, where there is room for one.
        let edge = if right - left > 4.0 { 1.0 } else { 0.0 };
        let box_of = Area { left, top: top + gap, right: right - edge, bottom: top + height - gap };
        fill(&mut scene, &box_of, colour(bar.status).opacity(if bar.status == Status::Done { 0.75 } else { 0.95 }));
        if box_of.width() > NAMED && height > 26.0 {
            let words = font::shortened(&bar.label, Weight::Regular, NOTE, box_of.width() - 12.0);
            let at = (box_of.left + 6.0, (box_of.top + box_of.bottom) / 2.0 + 6.0);
            scene.text(Text::new(at, words, NOTE, INK).halo());
        }
    }
    for of in &chart.breaks {
        let at = plot.at(of.at, 0.0).0;
        if (area.left..=area.right).contains(&at) {
            scene.line(vec![(at, area.top), (at, area.bottom)], Stroke::dashed(INK.opacity(0.7), 1.5));
        }
    }
    draw_legend(&mut scene, chart);
    scene
}

fn fill(scene: &mut Scene, Area { left, top, right, bottom }: &Area, colour: Colour) {
    scene.polygon(vec![(*left, *top), (*right, *top), (*right, *bottom), (*left, *bottom)], colour, None);
}

fn draw_legend(scene: &mut Scene, chart: &GanttChart) {
    let y = layout::legend_baseline(&chart.subtitle);
    let mut x = layout::MARGIN;
    let is_there = |status: Status| chart.bars.iter().any(|bar| bar.status == status);
    for (_, colour, words) in COLOURS.iter().filter(|(status, ..)| is_there(*status)) {
        fill(scene, &Area { left: x, top: y - 16.0, right: x + 26.0, bottom: y + 2.0 }, *colour);
        scene.text(Text::new((x + 36.0, y), *words, SMALL, INK));
        x += 36.0 + font::width(words, Weight::Regular, SMALL) + 30.0;
    }
}

//! What each optimisation does to training time, accuracy and parameters: one row each, a panel for each of the three.

mod axes;

use serde::Serialize;

use super::axis::Axis;
use super::canvas::{Anchor, Area, Scene, Stroke, Text, Weight};
use super::facts::Facts;
use super::kind::{ChartKind, OnSheet, Ranges, boxed};
use super::look::Style;
use super::style::{BLUE, FAINT, GRID, INK, LABEL, MUTED, SMALL, WHITE, three_digits};
use super::{font, layout};
use crate::analysis::{Basis, attribution, contrast::Measured};
use crate::present::report::{cells::SAME_STEPS, effects};
pub(super) use axes::signed;
use axes::{factors, fitted, points};

pub const KIND: ChartKind = ChartKind {
    name: "attribution",
    title: "What each optimisation does",
    help: "the effect of each optimisation on time, accuracy and parameters, with intervals",
    ranges: Ranges::Neither,
    data: |study, _| boxed(data(study)),
};

/// What to draw.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AttributionChart {
    pub title: String,
    pub subtitle: String,
    pub footnote: String,
    pub rows: Vec<Row>,
}

/// An optimisation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub label: String,
    /// Factor of speed, 1 for none.
    pub speed_up: Option<Bar>,
    /// Whether its times were taken alone on the machine.
    pub is_confirmed: bool,
    /// Whether it takes the very same steps, so that the factor is 1 by construction.
    pub same_steps: bool,
    /// Difference of shares in 0..=1.
    pub accuracy: Option<Bar>,
    /// As a share of those before, 1 for no change.
    pub parameters: Bar,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bar {
    pub estimate: f64,
    pub interval: Option<(f64, f64)>,
    /// The least and the greatest of the contexts.
    pub range: (f64, f64),
}

#[derive(Clone, Debug, PartialEq)]
pub struct AttributionLayout {
    pub height: u32,
    pub panels: [Panel; 3],
    /// Height of the middle of each row, and the lines of its label.
    pub rows: Vec<(f64, Vec<String>)>,
    pub marks: Vec<EstimateMark>,
    /// Rows that found no place.
    pub left_out: usize,
}

/// The room of one quantity; its figures stand to the right of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    pub name: &'static str,
    pub area: Area,
    pub axis: Axis,
    /// Where there is no change.
    pub neutral: f64,
    /// Right end of its figures.
    pub figures: f64,
}

/// An estimate on its row, in pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct EstimateMark {
    pub panel: usize,
    pub row: usize,
    pub at: f64,
    pub interval: Option<Span>,
    /// Absent where all contexts agree.
    pub range: Option<Span>,
    pub is_hollow: bool,
    pub figure: String,
}

/// A stretch of a row; open where it goes on beyond the panel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    pub from: f64,
    pub to: f64,
    pub opens: (bool, bool),
}

/// Rows above which only the strongest are shown.
const MOST_ROWS: usize = 60;
const ROW: f64 = 46.0;
/// What is below the rows: ticks and notes.
const FOOT: f64 = 128.0;
const RADIUS: f64 = 8.0;
/// Room for a panel's figures, and between panels.
const FIGURES: f64 = 112.0;
const GAP: f64 = 34.0;
const MOST_LABEL: f64 = 400.0;

/// What each optimisation of a study does.
pub fn data(study: &Facts) -> AttributionChart {
    let view = study.view;
    let bar = |of: Measured| Bar { estimate: of.estimate, interval: of.interval, range: (of.least, of.greatest) };
    let row = |effect: &attribution::Effect| {
        let attribution::Change { speed_up, accuracy, parameters, contexts, diverged, .. } = &effect.overall;
        let name = effects::name(&view.space, &effect.optimisation);
        Row {
            label: if *diverged > 0 { format!("{name}, {diverged} of {contexts} diverged") } else { name },
            speed_up: speed_up.map(|of| bar(of.factor)),
            is_confirmed: speed_up.is_some_and(|of| of.basis == Basis::Confirmed),
            same_steps: speed_up.is_some_and(|of| of.same_steps),
            accuracy: accuracy.map(bar),
            parameters: Bar {
                estimate: parameters.mean,
                interval: None,
                range: (parameters.least, parameters.greatest),
            },
        }
    };
    AttributionChart {
        title: format!("{}: what each optimisation does", view.space.name),
        subtitle: "against the baseline's value, all else equal: mean over all settings of the other axes".into(),
        footnote: study.figures_note(),
        rows: study.effects().effects.iter().map(row).collect(),
    }
}

impl OnSheet for AttributionChart {
    fn on_sheet(&self, style: &Style) -> Scene {
        draw(self, style)
    }
}

/// Decides axes, places and figures; rows by speed-up, those without at the end.
pub fn arrange(chart: &AttributionChart, style: &Style) -> AttributionLayout {
    let rows = shown(&chart.rows);
    let top = layout::legend_baseline(&chart.subtitle) + 66.0;
    let label = |row: &Row| font::wrapped(&row.label, Weight::Regular, LABEL, MOST_LABEL, 2);
    // Labels of two lines keep their distance.
    let least = if rows.iter().any(|row| label(row).len() > 1) { ROW + 14.0 } else { ROW };
    let height = style.row_for(rows.len(), top + FOOT, least);
    let bottom = top + height * rows.len().max(1) as f64;
    let widest = rows.iter().map(|row| font::width(&row.label, Weight::Regular, LABEL)).fold(0.0, f64::max);
    let left = layout::MARGIN + widest.min(MOST_LABEL) + 28.0;
    let room = f64::from(layout::WIDTH) - layout::MARGIN - left - 2.0 * GAP - 3.0 * FIGURES;
    let names = ["Speed-up", "Accuracy change, points", "Parameters, % of before"];
    let mut from = left;
    let panels = [0, 1, 2].map(|panel| {
        let width = room * [0.36, 0.36, 0.28][panel];
        let area = Area { left: from, top, right: from + width, bottom };
        from += width + FIGURES + GAP;
        let neutral = [1.0, 0.0, 100.0][panel];
        let bars = || rows.iter().filter_map(move |row| bar(row, panel));
        let axis = fitted(if panel == 0 { factors(bars()) } else { points(bars(), panel) }, neutral, width);
        Panel { name: names[panel], area, axis, neutral, figures: area.right + FIGURES }
    });
    let mut marks = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        for (panel, Panel { area, axis, .. }) in panels.iter().enumerate() {
            let Some(bar) = bar(row, panel) else { continue };
            let x = |value: f64| area.left + axis.share(value) * area.width();
            let span = |(from, to): (f64, f64)| Span {
                from: x(from).clamp(area.left, area.right),
                to: x(to).clamp(area.left, area.right),
                opens: (x(from) < area.left, x(to) > area.right),
            };
            let figure = match panel {
                0 if row.same_steps => SAME_STEPS.into(),
                0 => format!("{:.2}×", bar.estimate),
                // Rounded before the sign is chosen, so that nothing is "-0.00".
                1 => signed((bar.estimate * 100.0).round() / 100.0, 2),
                _ => format!("{} %", three_digits(bar.estimate)),
            };
            marks.push(EstimateMark {
                panel,
                row: index,
                at: x(bar.estimate),
                interval: bar.interval.map(span),
                range: (bar.range.1 - bar.range.0 > 1e-9).then(|| span(bar.range)),
                is_hollow: panel == 0 && !row.is_confirmed && !row.same_steps,
                figure,
            });
        }
    }
    AttributionLayout {
        height: (bottom + FOOT).ceil() as u32,
        panels,
        rows: (rows.iter().enumerate()).map(|(row, of)| (top + height * (row as f64 + 0.5), label(of))).collect(),
        marks,
        left_out: chart.rows.len() - rows.len(),
    }
}

/// The rows in their order; of too many those that change the time most.
fn shown(rows: &[Row]) -> Vec<&Row> {
    let factor = |row: &Row| bar(row, 0).map(|bar| bar.estimate.ln()).filter(|log| log.is_finite());
    let mut rows: Vec<&Row> = rows.iter().collect();
    rows.sort_by(|a, b| {
        let strength = |row: &Row| factor(row).map_or(-1.0, f64::abs);
        strength(b).total_cmp(&strength(a))
    });
    rows.truncate(MOST_ROWS);
    let speed = |row: &Row| factor(row).unwrap_or(f64::NEG_INFINITY);
    rows.sort_by(|a, b| speed(b).total_cmp(&speed(a)).then_with(|| a.label.cmp(&b.label)));
    rows
}

/// What a panel shows of a row, in the unit of its axis; none where it is not known.
fn bar(row: &Row, panel: usize) -> Option<Bar> {
    let scaled = |bar: Bar, by: f64| Bar {
        estimate: bar.estimate * by,
        interval: bar.interval.map(|(low, high)| (low * by, high * by)),
        range: (bar.range.0 * by, bar.range.1 * by),
    };
    let bar = match panel {
        0 if row.same_steps => Bar { estimate: 1.0, interval: None, range: (1.0, 1.0) },
        0 => row.speed_up?,
        1 => scaled(row.accuracy?, 100.0),
        _ => scaled(row.parameters, 100.0),
    };
    (bar.estimate.is_finite() && (panel != 0 || bar.estimate > 0.0)).then_some(bar)
}

pub fn draw(chart: &AttributionChart, style: &Style) -> Scene {
    let data = arrange(chart, style);
    let mut notes = vec![chart.footnote.clone()];
    if data.left_out > 0 {
        notes.insert(0, format!("{} more, which change the time least, in attribution.csv", data.left_out));
    }
    let notes: Vec<String> = notes.into_iter().filter(|note| !note.is_empty()).collect();
    if chart.rows.is_empty() {
        let mut scene = layout::sheet(style, &chart.title, &chart.subtitle, &notes);
        layout::empty(&mut scene, "No optimisation was trained beside the baseline's value yet");
        return scene;
    }
    let mut scene =
        layout::sheet_of(style.height_for(f64::from(data.height)), style, &chart.title, &chart.subtitle, &notes);
    draw_legend(&mut scene, &data, layout::legend_baseline(&chart.subtitle));
    for (y, label) in &data.rows {
        let above = 12.0 * label.len().saturating_sub(1) as f64;
        for (line, text) in label.iter().enumerate() {
            scene.text(Text::new((layout::MARGIN, y + 7.0 - above + 23.0 * line as f64), text, LABEL, INK));
        }
    }
    for panel in &data.panels {
        draw_frame(&mut scene, panel, &data.rows);
    }
    for mark in &data.marks {
        let (y, panel) = (data.rows[mark.row].0, &data.panels[mark.panel]);
        draw_mark(&mut scene, mark, y);
        scene.text(Text::new((panel.figures, y + 7.0), &mark.figure, SMALL, INK).anchor(Anchor::End));
    }
    scene
}

fn draw_frame(scene: &mut Scene, panel: &Panel, rows: &[(f64, Vec<String>)]) {
    let Area { left, top, right, bottom } = panel.area;
    let x = |value: f64| (left + panel.axis.share(value) * (right - left)).floor() + 0.5;
    for (y, _) in rows {
        scene.line(vec![(left, y.floor() + 0.5), (right, y.floor() + 0.5)], Stroke::solid(GRID, 1.0));
    }
    for tick in &panel.axis.ticks {
        scene.line(vec![(x(tick.value), top), (x(tick.value), bottom)], Stroke::solid(GRID, 1.0));
        scene.text(Text::new((x(tick.value), bottom + 30.0), &tick.label, SMALL, MUTED).anchor(Anchor::Middle));
    }
    scene.line(vec![(x(panel.neutral), top), (x(panel.neutral), bottom)], Stroke::solid(MUTED, 2.0));
    scene.line(vec![(left, bottom.floor() + 0.5), (right, bottom.floor() + 0.5)], Stroke::solid(FAINT, 1.0));
    scene.text(Text::new((left, top - 16.0), panel.name, LABEL, INK).bold());
}

fn draw_mark(scene: &mut Scene, mark: &EstimateMark, y: f64) {
    if let Some(range) = mark.range {
        draw_range(scene, range, y);
    }
    if let Some(Span { from, to, opens }) = mark.interval {
        scene.line(vec![(from, y), (to, y)], Stroke::solid(BLUE, 4.0));
        // An arrow where it goes on.
        for (x, inward, open) in [(from, 9.0, opens.0), (to, -9.0, opens.1)] {
            if open {
                scene.polygon(vec![(x, y), (x + inward, y - 7.0), (x + inward, y + 7.0)], BLUE, None);
            }
        }
    }
    draw_dot(scene, (mark.at, y), mark.is_hollow);
}

/// A thin line with an upright end on both sides.
fn draw_range(scene: &mut Scene, Span { from, to, .. }: Span, y: f64) {
    scene.line(vec![(from, y), (to, y)], Stroke::solid(FAINT, 2.0));
    for x in [from, to] {
        scene.line(vec![(x, y - 8.0), (x, y + 8.0)], Stroke::solid(FAINT, 2.0));
    }
}

fn draw_dot(scene: &mut Scene, at: (f64, f64), is_hollow: bool) {
    let fill = if is_hollow { WHITE } else { BLUE };
    scene.circle(at, RADIUS, fill, Some(Stroke::solid(if is_hollow { BLUE } else { WHITE }, 2.5)));
}

fn draw_legend(scene: &mut Scene, data: &AttributionLayout, y: f64) {
    let mut x = layout::MARGIN;
    let middle = y - 7.0;
    let word = |scene: &mut Scene, x: &mut f64, width: f64, words: &str| {
        scene.text(Text::new((*x + width + 10.0, y), words, SMALL, INK));
        *x += width + 10.0 + font::width(words, Weight::Regular, SMALL) + 34.0;
    };
    let has = |wanted: &dyn Fn(&EstimateMark) -> bool| data.marks.iter().any(wanted);
    draw_dot(scene, (x + RADIUS, middle), false);
    word(scene, &mut x, 2.0 * RADIUS, "mean");
    if has(&|mark| mark.is_hollow) {
        draw_dot(scene, (x + RADIUS, middle), true);
        word(scene, &mut x, 2.0 * RADIUS, "by times of the sweep, not confirmed");
    }
    if has(&|mark| mark.interval.is_some()) {
        scene.line(vec![(x, middle), (x + 40.0, middle)], Stroke::solid(BLUE, 4.0));
        word(scene, &mut x, 40.0, "95 % interval over replicates or rounds");
    }
    if has(&|mark| mark.range.is_some()) {
        draw_range(scene, Span { from: x, to: x + 40.0, opens: (false, false) }, middle);
        word(scene, &mut x, 40.0, "least to greatest, by setting of the other axes");
    }
}

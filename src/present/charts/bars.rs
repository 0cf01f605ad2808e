//! Accuracy, and the time and the epochs to it, of each policy of learning rate and batch size.

use std::collections::BTreeMap;

use serde::Serialize;

use super::axis::{Axis, Unit};
use super::canvas::{Anchor, Area, Scene, Stroke, Text, Weight};
use super::facts::Facts;
use super::front::Clock;
use super::kind::{ChartKind, OnSheet, Ranges, boxed};
use super::look::Style;
use super::style::{BLUE, Colour, FAINT, GRID, INK, LABEL, MUTED, PALETTE, SMALL, WHITE, duration, percent};
use super::{font, layout};
use crate::analysis::{Basis, LEVEL};
use crate::base::stats;
use crate::base::words::plural;
use crate::learn::record::{EpochRow, Status};

pub const KIND: ChartKind = ChartKind {
    name: "bars",
    title: "Accuracy and time to it by policy",
    help: "bars of the best accuracy, and of the time to it, of each policy",
    ranges: Ranges::Neither,
    data: |study, _| boxed(data(study)),
};

/// What to draw.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BarsChart {
    pub title: String,
    pub subtitle: String,
    pub footnote: String,
    pub rows: Vec<PolicyRow>,
}

/// A policy: one configuration with it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyRow {
    /// The policy in words.
    pub policy: String,
    pub configuration: String,
    pub replicates: usize,
    /// Mean over the replicates of the best validation accuracy, in 0..=1, and its 95 % interval.
    pub accuracy: f64,
    pub accuracy_interval: Option<(f64, f64)>,
    /// Mean over the replicates of the epoch with that accuracy, from 1.
    pub epochs: f64,
    /// Mean over the replicates of the seconds up to the end of that epoch, and the 95 % interval.
    pub seconds: Option<f64>,
    pub seconds_interval: Option<(f64, f64)>,
    pub clock: Clock,
    pub is_baseline: bool,
}

/// The policies of a study: what its axes below `schedule` say, with the baseline's values on all others. Where no such axis
/// varies, its configurations.
pub fn data(study: &Facts) -> BarsChart {
    let (space, expansion) = (&study.view.space, &study.view.expansion);
    let is_of_schedule = |axis: &usize| space.axes[*axis].path.split('.').next() == Some("schedule");
    let (policies, others): (Vec<usize>, Vec<usize>) = study.axes().into_iter().partition(is_of_schedule);
    let reference = expansion.baseline.or((!expansion.candidates.is_empty()).then_some(0));
    let is_shown = |candidate: usize| {
        let values = |of: usize, axis: &usize| &expansion.candidates[of].values[*axis];
        policies.is_empty()
            || reference.is_some_and(|of| others.iter().all(|axis| values(of, axis) == values(candidate, axis)))
    };
    let done = study.epochs_of(Status::Done);
    let shown = done.iter().filter(|(candidate, _)| is_shown(**candidate));
    let rows: Vec<PolicyRow> =
        shown.filter_map(|(candidate, trials)| row(study, *candidate, trials, &policies)).collect();
    let (what, beside) = match (policies.is_empty(), others.is_empty()) {
        (true, _) => ("configuration", ""),
        (false, true) => ("policy", ""),
        (false, false) => ("policy", ", with the baseline's value on every other axis"),
    };
    let replicates = rows.iter().map(|row| row.replicates).max().unwrap_or(0);
    BarsChart {
        title: format!("{}: accuracy and time to it by {what}", space.name),
        subtitle: match replicates {
            0 | 1 => format!("one replicate of each{beside}"),
            _ => format!("mean of up to {replicates} replicates{beside}; lines are 95 % intervals"),
        },
        footnote: study.figures_note(),
        rows,
    }
}

fn row(study: &Facts, candidate: usize, trials: &[&[EpochRow]], policies: &[usize]) -> Option<PolicyRow> {
    let of = &study.view.expansion.candidates[candidate];
    // The earliest of the best.
    let best = |rows: &&[EpochRow]| {
        let first = rows.iter().reduce(|a, b| if b.validation_accuracy > a.validation_accuracy { b } else { a })?;
        Some((first.epoch, first.validation_accuracy, first.train_seconds_screen))
    };
    let bests: Vec<(usize, f64, f64)> = trials.iter().filter_map(best).collect();
    let accuracies: Vec<f64> = bests.iter().map(|of| of.1).collect();
    let epochs: Vec<f64> = bests.iter().map(|of| of.0 as f64).collect();
    let mut confirmed: BTreeMap<usize, Option<f64>> = BTreeMap::new();
    let mut time = |epoch| *confirmed.entry(epoch).or_insert_with(|| study.view.confirmed_seconds(candidate, epoch));
    let times: Option<Vec<f64>> = bests.iter().map(|of| time(of.0)).collect();
    let (basis, seconds) = match times {
        Some(times) => (Basis::Confirmed, times),
        None => (Basis::Screened, bests.iter().map(|of| of.2).collect()),
    };
    let values =
        policies.iter().filter_map(|axis| Some(study.view.space.value_name(*axis, of.values[*axis].as_ref()?)));
    let policy = values.collect::<Vec<_>>().join(", ");
    Some(PolicyRow {
        policy: if policy.is_empty() { of.label.clone() } else { policy },
        configuration: of.label.clone(),
        replicates: bests.len(),
        accuracy: stats::mean(&accuracies)?,
        accuracy_interval: stats::mean_interval(&accuracies, LEVEL),
        epochs: stats::mean(&epochs)?,
        seconds: stats::mean(&seconds),
        seconds_interval: stats::mean_interval(&seconds, LEVEL).map(|(low, high)| (low.max(0.0), high)),
        clock: if basis == Basis::Confirmed { Clock::Confirmed } else { Clock::Screened },
        is_baseline: study.view.expansion.baseline == Some(candidate),
    })
}

impl OnSheet for BarsChart {
    fn on_sheet(&self, style: &Style) -> Scene {
        draw(self, style)
    }
}

/// Rows above which the least accurate are left out.
const MOST_ROWS: usize = 40;
const ROW: f64 = 52.0;
/// What is below the rows: ticks and notes.
const FOOT: f64 = 128.0;
const MOST_LABEL: f64 = 400.0;
/// Room for the figures of a panel.
const FIGURES: [f64; 2] = [112.0, 210.0];
const GAP: f64 = 40.0;

pub fn draw(chart: &BarsChart, style: &Style) -> Scene {
    let mut rows: Vec<&PolicyRow> = chart.rows.iter().filter(|row| row.accuracy.is_finite()).collect();
    rows.sort_by(|a, b| b.accuracy.total_cmp(&a.accuracy).then_with(|| a.policy.cmp(&b.policy)));
    let mut notes = vec!["the axis of accuracies does not begin at 0".to_string()];
    if rows.len() > MOST_ROWS {
        notes.push(format!("{} less accurate left out", plural(rows.len() - MOST_ROWS, "row")));
        rows.truncate(MOST_ROWS);
    }
    notes.extend((!chart.footnote.is_empty()).then(|| chart.footnote.clone()));
    if rows.is_empty() {
        let mut scene = layout::sheet(style, &chart.title, &chart.subtitle, &notes);
        layout::empty(&mut scene, "No finished configuration yet");
        return scene;
    }
    let top = layout::legend_baseline(&chart.subtitle) + 66.0;
    let high = style.row_for(rows.len(), top + FOOT, ROW);
    let bottom = top + high * rows.len() as f64;
    // Of a bar's height.
    let half = (0.29 * high).min(34.0);
    let mut scene = layout::sheet_of(style.height_for(bottom + FOOT), style, &chart.title, &chart.subtitle, &notes);
    let widest = rows.iter().map(|row| font::width(&row.policy, Weight::Regular, LABEL)).fold(0.0, f64::max);
    let left = layout::MARGIN + widest.min(MOST_LABEL) + 28.0;
    let room = f64::from(layout::WIDTH) - layout::MARGIN - left - FIGURES[0] - FIGURES[1] - GAP;
    let accuracy = Area { left, top, right: left + room / 2.0, bottom };
    let start = accuracy.right + FIGURES[0] + GAP;
    let time = Area { left: start, top, right: start + room / 2.0, bottom };
    let ends = |value: f64, interval: Option<(f64, f64)>| interval.map_or([value; 2], |(low, high)| [low, high]);
    let accuracies = rows.iter().flat_map(|row| ends(row.accuracy, row.accuracy_interval));
    let axis = Axis::over(accuracies.map(|of| of.clamp(0.0, 1.0)), Unit::Percent, 0.08);
    let longest = rows.iter().filter_map(|row| Some(ends(row.seconds?, row.seconds_interval)[1])).fold(1e-9, f64::max);
    let times = Axis::new(super::axis::Scale::Linear, 0.0, longest * 1.05, Unit::Seconds);
    draw_frame(&mut scene, "Best validation accuracy", &accuracy, &axis);
    draw_frame(&mut scene, "Training time to it", &time, &times);
    for (number, row) in rows.iter().enumerate() {
        let middle = top + high * (number as f64 + 0.5);
        let name = font::shortened(&row.policy, Weight::Regular, LABEL, MOST_LABEL);
        let name = Text::new((layout::MARGIN, middle + 7.0), name, LABEL, INK);
        scene.text(if row.is_baseline { name.bold() } else { name });
        let colour = if row.is_baseline { MUTED } else { BLUE };
        let at = (middle, half);
        draw_bar(&mut scene, &accuracy, &axis, at, (row.accuracy, row.accuracy_interval), colour, false);
        let figure = |at: f64, words: String| Text::new((at, middle + 7.0), words, SMALL, INK).anchor(Anchor::End);
        scene.text(figure(accuracy.right + FIGURES[0], percent(row.accuracy)));
        let Some(seconds) = row.seconds else { continue };
        let colour = if row.is_baseline { MUTED } else { PALETTE[2] };
        let is_hollow = row.clock == Clock::Screened;
        draw_bar(&mut scene, &time, &times, at, (seconds, row.seconds_interval), colour, is_hollow);
        let epochs = format!("{:.1}", row.epochs);
        let epochs = epochs.strip_suffix(".0").unwrap_or(&epochs);
        let words = if epochs == "1" { "epoch" } else { "epochs" };
        scene.text(figure(time.right + FIGURES[1], format!("{} · {epochs} {words}", duration(seconds))));
    }
    draw_legend(&mut scene, chart, &rows);
    scene
}

fn draw_frame(scene: &mut Scene, name: &str, area: &Area, axis: &Axis) {
    let Area { left, top, right, bottom } = *area;
    let x = |value: f64| (left + axis.share(value) * (right - left)).floor() + 0.5;
    let mut free = f64::NEG_INFINITY;
    for tick in &axis.ticks {
        scene.line(vec![(x(tick.value), top), (x(tick.value), bottom)], Stroke::solid(GRID, 1.0));
        let half = font::width(&tick.label, Weight::Regular, SMALL) / 2.0;
        if x(tick.value) - half > free {
            scene.text(Text::new((x(tick.value), bottom + 30.0), &tick.label, SMALL, MUTED).anchor(Anchor::Middle));
            free = x(tick.value) + half + 12.0;
        }
    }
    scene.line(vec![(left + 0.5, top), (left + 0.5, bottom), (right, bottom)], Stroke::solid(FAINT, 1.0));
    scene.text(Text::new((left, top - 16.0), name, LABEL, INK).bold());
}

fn draw_bar(
    scene: &mut Scene,
    area: &Area,
    axis: &Axis,
    (middle, half): (f64, f64),
    (value, interval): (f64, Option<(f64, f64)>),
    colour: Colour,
    is_hollow: bool,
) {
    let x = |value: f64| (area.left + axis.share(value) * area.width()).clamp(area.left, area.right);
    let corners = vec![
        (area.left, middle - half),
        (x(value), middle - half),
        (x(value), middle + half),
        (area.left, middle + half),
    ];
    let (fill, outline) = match is_hollow {
        true => (WHITE, Some(Stroke::solid(colour, 2.5))),
        false => (colour.opacity(0.75), None),
    };
    scene.polygon(corners, fill, outline);
    if let Some((low, high)) = interval {
        scene.line(vec![(x(low), middle), (x(high), middle)], Stroke::solid(INK, 2.0));
        for end in [low, high] {
            scene.line(vec![(x(end), middle - 6.0), (x(end), middle + 6.0)], Stroke::solid(INK, 2.0));
        }
    }
}

fn draw_legend(scene: &mut Scene, chart: &BarsChart, rows: &[&PolicyRow]) {
    let (y, mut x) = (layout::legend_baseline(&chart.subtitle), layout::MARGIN);
    let mut entry = |scene: &mut Scene, words: &str, fill: Colour, outline: Option<Stroke>| {
        scene.polygon(vec![(x, y - 16.0), (x + 26.0, y - 16.0), (x + 26.0, y + 2.0), (x, y + 2.0)], fill, outline);
        scene.text(Text::new((x + 36.0, y), words, SMALL, INK));
        x += 36.0 + font::width(words, Weight::Regular, SMALL) + 30.0;
    };
    entry(scene, "accuracy", BLUE.opacity(0.75), None);
    entry(scene, "time", PALETTE[2].opacity(0.75), None);
    if rows.iter().any(|row| row.is_baseline) {
        entry(scene, "baseline", MUTED.opacity(0.75), None);
    }
    if rows.iter().any(|row| row.clock == Clock::Screened) {
        entry(scene, "time not confirmed", WHITE, Some(Stroke::solid(PALETTE[2], 2.5)));
    }
}

//! Learning rate and batch size over the epochs, one above the other.

use anyhow::{Result, bail};
use serde::Serialize;

use super::axis::{Axis, Plot, Unit};
use super::canvas::{Area, Point, Scene, Stroke, Text, Weight};
use super::facts::{Facts, Options};
use super::kind::{ChartKind, OnSheet, Ranges, boxed};
use super::labels::spread;
use super::look::{Style, TOLD_APART, told_apart};
use super::style::{INK, SMALL};
use super::{font, layout};
use crate::base::words::{by_count, plural};
use crate::learn::schedule::{Progress, ScheduleConfig, outline::SHARP};

pub const KIND: ChartKind = ChartKind {
    name: "schedule",
    title: "Learning rate and batch size",
    help: "learning rate and batch size over the epochs, a line for each schedule",
    ranges: Ranges::X,
    data: |study, options| boxed(data(study, options)?),
};

/// What to draw.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ScheduleChart {
    pub title: String,
    pub subtitle: String,
    pub lines: Vec<ScheduleLine>,
    /// Schedules for which there is no line.
    pub left_out: usize,
}

/// A schedule: samples in the order of the epochs. Two samples at one epoch are a jump.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ScheduleLine {
    /// Empty where it is the only one, as all names here.
    pub label: String,
    /// What its learning rate is called, and its batch size.
    pub rate: String,
    pub batch: String,
    pub rates: Vec<(f64, f64)>,
    pub batches: Vec<(f64, usize)>,
}

/// The two panels, sharing the axis of the epochs.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleLayout {
    pub rate: Plot,
    pub batch: Plot,
    pub rate_lines: Vec<NamedLine>,
    pub batch_lines: Vec<NamedLine>,
}

/// A line that one schedule or several have, with the place and the lines of its name at the right.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedLine {
    pub points: Vec<Point>,
    pub middle: f64,
    pub name: Vec<String>,
}

/// Learning rates, and batch sizes, above which only the first ones have a line: more cannot be told apart.
const MOST: usize = TOLD_APART;
const LABEL_WIDTH: f64 = 300.0;
const LABEL_LINE: f64 = 24.0;

/// The schedules of a study, in the order of the space; or of the configurations that are asked for.
pub fn data(study: &Facts, options: &Options) -> Result<ScheduleChart> {
    let view = study.view;
    let asked = study.asked(options)?;
    let mut seen: Vec<(&ScheduleConfig, usize)> = Vec::new();
    let (mut lines, mut left_out) = (Vec::new(), 0);
    for candidate in asked.unwrap_or_else(|| (0..view.expansion.candidates.len()).collect()) {
        let of = &view.expansion.candidates[candidate];
        let key = (&of.config.schedule, of.config.train.epochs);
        if seen.contains(&key) {
            continue;
        }
        seen.push(key);
        let parts = ["schedule", "schedule.lr", "schedule.batch"];
        let [whole, rate, batch] = parts.map(|part| study.values_below(candidate, part));
        let own = |part: String| if part.is_empty() { whole.clone() } else { part };
        let (label, rate, batch) = match options.configurations.is_empty() {
            true => (whole.clone(), own(rate), own(batch)),
            false => (of.label.clone(), of.label.clone(), of.label.clone()),
        };
        let line = ScheduleLine { label, rate, batch, ..sample(key.0, key.1) };
        let (rates, batches) = (new_among(&lines, &line, rate_of), new_among(&lines, &line, batch_of));
        if rates.max(batches) > MOST {
            left_out += 1;
        } else {
            lines.push(line);
        }
    }
    if lines.is_empty() {
        bail!("the study has no configuration");
    }
    tell_apart(&mut lines);
    if let [only] = &mut lines[..] {
        [&mut only.label, &mut only.rate, &mut only.batch].into_iter().for_each(String::clear);
    }
    Ok(ScheduleChart {
        title: format!("{}: learning rate and batch size", view.space.name),
        subtitle: "as each schedule is declared, step by step".into(),
        lines,
        left_out,
    })
}

/// A name and the values that it stands for.
type Part<'a, T> = (&'a str, &'a [(f64, T)]);

fn rate_of(line: &ScheduleLine) -> Part<'_, f64> {
    (&line.rate, &line.rates)
}

fn batch_of(line: &ScheduleLine) -> Part<'_, usize> {
    (&line.batch, &line.batches)
}

/// How many different parts there are with that of a further line; 0 where it is there already.
fn new_among<T: PartialEq>(
    lines: &[ScheduleLine],
    line: &ScheduleLine,
    part: fn(&ScheduleLine) -> Part<'_, T>,
) -> usize {
    let mut different: Vec<Part<T>> = Vec::new();
    for of in lines.iter().map(part) {
        if of == part(line) {
            return 0;
        }
        if !different.contains(&of) {
            different.push(of);
        }
    }
    different.len() + 1
}

/// Names that lines of different values share become those of their whole schedules: one policy may follow the other, as
/// restarts follow the phases of the batch size.
fn tell_apart(lines: &mut [ScheduleLine]) {
    let is_shared = |of: &ScheduleLine| {
        let rate = lines.iter().any(|other| other.rate == of.rate && other.rates != of.rates);
        (rate, lines.iter().any(|other| other.batch == of.batch && other.batches != of.batches))
    };
    let shared: Vec<(bool, bool)> = lines.iter().map(is_shared).collect();
    for (line, (rate, batch)) in lines.iter_mut().zip(shared) {
        let whole = || line.label.clone();
        (line.rate, line.batch) =
            (if rate { whole() } else { line.rate.clone() }, if batch { whole() } else { line.batch.clone() });
    }
}

impl OnSheet for ScheduleChart {
    fn on_sheet(&self, style: &Style) -> Scene {
        draw(self, style)
    }
}

/// Samples between the jumps of a schedule, over the whole training.
const SAMPLES: usize = 1500;
/// A neighbour differing by more than this share of the range of values may hide a jump.
const JUMP: f64 = 0.02;

/// Samples a schedule on an even grid and on both sides of every jump, which is found by bisection: restarts, steps and
/// phases come out upright however short they are compared with the training.
pub fn sample(schedule: &ScheduleConfig, epochs: usize) -> ScheduleLine {
    let epochs = epochs as f64;
    let at = |epoch: f64| Progress { epoch, epochs };
    let rates = trace(epochs, |epoch| schedule.learning_rate(at(epoch)));
    let batches = trace(epochs, |epoch| schedule.batch_size(at(epoch)) as f64);
    let batches = batches.into_iter().map(|(epoch, size)| (epoch, size as usize)).collect();
    ScheduleLine { rates, batches, ..ScheduleLine::default() }
}

fn trace(epochs: f64, value: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
    // The end of the training is not part of it: sample just before.
    let end = (epochs - SHARP).max(0.0);
    let grid: Vec<(f64, f64)> = (0..=SAMPLES)
        .map(|k| {
            let epoch = end * k as f64 / SAMPLES as f64;
            (epoch, value(epoch))
        })
        .collect();
    let (low, high) = grid.iter().fold((f64::MAX, f64::MIN), |(low, high), (_, v)| (low.min(*v), high.max(*v)));
    let far = |a: f64, b: f64| (a - b).abs() > JUMP * (high - low);
    let mut samples = vec![grid[0]];
    for pair in grid.windows(2) {
        let ((mut before, mut left), (mut after, mut right)) = (pair[0], pair[1]);
        while far(left, right) && after - before > SHARP {
            let middle = (before + after) / 2.0;
            let found = value(middle);
            if (found - left).abs() > (found - right).abs() {
                (after, right) = (middle, found);
            } else {
                (before, left) = (middle, found);
            }
        }
        if far(left, right) {
            samples.extend([(before, left), (before, right)]);
        }
        samples.push(pair[1]);
    }
    samples.dedup();
    samples
}

/// Decides axes, lines and names.
pub fn arrange(chart: &ScheduleChart, style: &Style) -> ScheduleLayout {
    let mut sheet = layout::plot_area(style, &chart.subtitle);
    let is_named = chart.lines.iter().any(|line| !line.label.is_empty());
    sheet.right -= if is_named { LABEL_WIDTH + 40.0 } else { 0.0 };
    let top = sheet.top - 36.0;
    let split = top + (sheet.bottom - top) * 0.58;
    let upper = Area { top, bottom: split - 22.0, ..sheet };
    let lower = Area { top: split + 22.0, ..sheet };
    let (rates, batches) =
        (|| chart.lines.iter().flat_map(|line| &line.rates), || chart.lines.iter().flat_map(|line| &line.batches));
    let last = |epochs: f64| if epochs > 0.0 { epochs } else { 1.0 };
    let epochs = rates().map(|of| of.0).chain(batches().map(|of| of.0)).fold(0.0, f64::max);
    let x = Axis::new(super::axis::Scale::Linear, 0.0, last(epochs), Unit::Count).within(style.x_range, Unit::Count);
    let y = Axis::over(rates().map(|sample| sample.1), Unit::LearningRate, 0.08);
    let rate = Plot { area: upper, x: x.clone(), y };
    let sizes = batches().map(|sample| sample.1 as f64);
    let batch = Plot { area: lower, x, y: Axis::over(sizes, Unit::Doubling, 0.1) };
    let of_rates = |line: &ScheduleLine| line.rates.iter().map(|(epoch, rate_of)| rate.at(*epoch, *rate_of)).collect();
    let rate_lines = named(chart.lines.iter().map(|line| (of_rates(line), line.rate.as_str())), &upper);
    let of_batches =
        |line: &ScheduleLine| line.batches.iter().map(|(epoch, size)| batch.at(*epoch, *size as f64)).collect();
    let batch_lines = named(chart.lines.iter().map(|line| (of_batches(line), line.batch.as_str())), &lower);
    ScheduleLayout { rate, batch, rate_lines, batch_lines }
}

/// Lines that are told apart, each with the names of all that have it, from the top down.
fn named<'a>(lines: impl Iterator<Item = (Vec<Point>, &'a str)>, area: &Area) -> Vec<NamedLine> {
    let mut found: Vec<(Vec<Point>, Vec<&str>)> = Vec::new();
    for (points, name) in lines {
        match found.iter_mut().find(|(known, _)| *known == points) {
            Some((_, names)) if names.contains(&name) => {}
            Some((_, names)) => names.push(name),
            None => found.push((points, vec![name])),
        }
    }
    let wrap = |names: &Vec<&str>| font::wrapped(&names.join(" · "), Weight::Regular, SMALL, LABEL_WIDTH, 3);
    let names: Vec<Vec<String>> = found.iter().map(|(_, names)| wrap(names)).collect();
    let heights: Vec<f64> = names.iter().map(|lines| LABEL_LINE * lines.len() as f64 + 8.0).collect();
    let ends: Vec<f64> = found.iter().map(|(line, _)| line.last().map_or(area.top, |at| at.1)).collect();
    let middles = spread(&ends, &heights, area.top, area.bottom);
    let lines = found.into_iter().zip(names).zip(middles);
    lines.map(|(((points, _), name), middle)| NamedLine { points, middle, name }).collect()
}

pub fn draw(chart: &ScheduleChart, style: &Style) -> Scene {
    let mut notes = Vec::new();
    if chart.left_out > 0 {
        let have = by_count(chart.left_out, "has", "have");
        notes.push(format!("{} of the study {have} no line here", plural(chart.left_out, "more schedule")));
    }
    let mut scene = layout::sheet(style, &chart.title, &chart.subtitle, &notes);
    if chart.lines.iter().all(|line| line.rates.is_empty() && line.batches.is_empty()) {
        layout::empty(&mut scene, "No schedule to show");
        return scene;
    }
    let data = arrange(chart, style);
    data.rate.draw_frame(&mut scene, "", "Learning rate");
    data.batch.draw_frame(&mut scene, "Epoch", "Batch size");
    for (plot, lines) in [(&data.rate, &data.rate_lines), (&data.batch, &data.batch_lines)] {
        for (number, line) in lines.iter().enumerate() {
            for piece in plot.area.grown(1.0).clip_line(&line.points) {
                scene.line(piece, told_apart(number));
            }
            draw_name(&mut scene, line, told_apart(number), plot.area.right);
        }
    }
    scene
}

fn draw_name(scene: &mut Scene, line: &NamedLine, stroke: Stroke, right: f64) {
    if line.name.is_empty() {
        return;
    }
    let (left, half) = (right + 40.0, LABEL_LINE * line.name.len() as f64 / 2.0);
    let bar = Stroke { width: 4.0, ..stroke };
    scene.line(vec![(left - 14.0, line.middle - half), (left - 14.0, line.middle + half)], bar);
    for (row, words) in line.name.iter().enumerate() {
        let y = line.middle - half + LABEL_LINE * (row + 1) as f64 - 6.0;
        scene.text(Text::new((left, y), words, SMALL, INK));
    }
}

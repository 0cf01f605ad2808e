//! Learning rate and batch size over the epochs, one above the other.

use super::axis::{Axis, Plot, Unit};
use super::canvas::{Area, Point, Scene, Stroke};
use super::layout;
use super::style::{BLUE, VERMILION};
use crate::learn::schedule::{Progress, ScheduleConfig, outline::SHARP};

/// What to draw: samples in the order of the epochs. Two samples at one epoch are a jump.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScheduleChart {
    pub title: String,
    pub subtitle: String,
    pub rates: Vec<(f64, f64)>,
    pub batches: Vec<(f64, usize)>,
}

/// The two panels, sharing the axis of the epochs.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleData {
    pub rate: Plot,
    pub batch: Plot,
    pub rate_line: Vec<Point>,
    pub batch_line: Vec<Point>,
}

/// Samples between the jumps of a schedule, over the whole training.
const SAMPLES: usize = 1500;
/// A neighbour differing by more than this share of the range of values may hide a jump.
const JUMP: f64 = 0.02;

/// Samples a schedule on an even grid and on both sides of every jump, which is found by bisection: restarts, steps and
/// phases come out upright however short they are compared with the training.
pub fn sample(schedule: &ScheduleConfig, epochs: usize) -> ScheduleChart {
    let epochs = epochs as f64;
    let at = |epoch: f64| Progress { epoch, epochs };
    let rates = trace(epochs, |epoch| schedule.learning_rate(at(epoch)));
    let batches = trace(epochs, |epoch| schedule.batch_size(at(epoch)) as f64);
    let batches = batches.into_iter().map(|(epoch, size)| (epoch, size as usize)).collect();
    ScheduleChart { rates, batches, ..ScheduleChart::default() }
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

/// Decides axes and lines.
pub fn data(chart: &ScheduleChart) -> ScheduleData {
    let sheet = layout::plot_area(&chart.subtitle);
    let top = sheet.top - 36.0;
    let split = top + (sheet.bottom - top) * 0.58;
    let upper = Area { top, bottom: split - 22.0, ..sheet };
    let lower = Area { top: split + 22.0, ..sheet };
    let last = |epochs: f64| if epochs > 0.0 { epochs } else { 1.0 };
    let epochs = chart.rates.iter().map(|s| s.0).chain(chart.batches.iter().map(|s| s.0)).fold(0.0, f64::max);
    let x = Axis::new(super::axis::Scale::Linear, 0.0, last(epochs), Unit::Count);
    let rate = Plot {
        area: upper,
        x: x.clone(),
        y: Axis::over(chart.rates.iter().map(|sample| sample.1), Unit::LearningRate, 0.08),
    };
    let sizes = chart.batches.iter().map(|sample| sample.1 as f64);
    let batch = Plot { area: lower, x, y: Axis::over(sizes, Unit::Doubling, 0.1) };
    let rate_line = chart.rates.iter().map(|(epoch, value)| rate.at(*epoch, *value)).collect();
    let batch_line = chart.batches.iter().map(|(epoch, size)| batch.at(*epoch, *size as f64)).collect();
    ScheduleData { rate, batch, rate_line, batch_line }
}

pub fn draw(chart: &ScheduleChart) -> Scene {
    let mut scene = layout::sheet(&chart.title, &chart.subtitle, &[]);
    if chart.rates.is_empty() && chart.batches.is_empty() {
        layout::empty(&mut scene, "No schedule to show");
        return scene;
    }
    let data = data(chart);
    data.rate.draw_frame(&mut scene, "", "Learning rate");
    data.batch.draw_frame(&mut scene, "Epoch", "Batch size");
    for (plot, line, colour) in [(&data.rate, &data.rate_line, BLUE), (&data.batch, &data.batch_line, VERMILION)] {
        for piece in plot.area.grown(1.0).clip_line(line) {
            scene.line(piece, Stroke::solid(colour, 3.0));
        }
    }
    scene
}

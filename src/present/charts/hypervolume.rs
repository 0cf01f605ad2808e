//! How the front grew while the study was explored.

use serde::Serialize;

use super::axis::{Axis, Plot, Scale, Unit};
use super::canvas::{Scene, Stroke};
use super::facts::Facts;
use super::kind::{ChartKind, OnSheet, Ranges, boxed};
use super::layout;
use super::look::Style;
use super::style::{BLUE, INK, duration, percent};
use crate::analysis::{self, Objectives, Point, pareto};
use crate::base::words::plural;
use crate::learn::record::Status;

pub const KIND: ChartKind = ChartKind {
    name: "hypervolume",
    title: "The front over the wall clock",
    help: "hypervolume of the front of time and accuracy over the time that the study was explored",
    ranges: Ranges::Both,
    data: |study, _| boxed(data(study)),
};

/// What to draw.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HypervolumeChart {
    pub title: String,
    pub subtitle: String,
    pub footnote: String,
    /// Seconds since the first start, without breaks, and the share of the box that is dominated from then on.
    pub steps: Vec<(f64, f64)>,
    /// When the last trial ended.
    pub end: f64,
}

/// How the front of a study grew, by the figures that its configurations have now.
pub fn data(study: &Facts) -> HypervolumeChart {
    let view = study.view;
    let points = &study.findings().points;
    let objectives: Vec<[f64; 3]> = points.iter().map(Point::objectives).collect();
    let classes = view.expansion.candidates.first().map_or(10, |of| of.config.data.name.classes());
    let whole = analysis::hypervolume(&objectives, Objectives::TimeAccuracy, 1.0 / classes as f64);
    let (clock, spans) = study.clock();
    // A configuration counts once the last of its replicates that its figures are of has ended.
    let mut known = vec![f64::NEG_INFINITY; view.expansion.candidates.len()];
    for (candidate, _, _, end) in spans.iter().filter(|(_, record, ..)| record.status == Status::Done) {
        known[*candidate] = known[*candidate].max(*end);
    }
    let mut order: Vec<usize> = (0..points.len()).collect();
    order
        .retain(|at| objectives[*at].iter().all(|value| value.is_finite()) && known[points[*at].candidate].is_finite());
    order.sort_by(|a, b| known[points[*a].candidate].total_cmp(&known[points[*b].candidate]).then(a.cmp(b)));
    let steps = whole.map_or_else(Vec::new, |whole| {
        let box_of = whole.reference[0] * (1.0 - whole.reference[1]);
        let arrivals = order.iter().map(|at| (known[points[*at].candidate], [objectives[*at][0], objectives[*at][1]]));
        growth(arrivals, [whole.reference[0], whole.reference[1]], box_of)
    });
    let breaks: f64 = clock.breaks.iter().map(|of| of.seconds).sum();
    let breaks = if breaks > 0.0 { format!(", {} without a trial left out", duration(breaks)) } else { String::new() };
    let reference = whole.map_or(String::new(), |of| {
        format!("reference point: {}, accuracy {}; ", duration(of.reference[0]), percent(of.reference[1]))
    });
    HypervolumeChart {
        title: format!("{}: growth of the front", view.space.name),
        subtitle: format!("{} in {} of exploring{breaks}", plural(spans.len(), "trial"), duration(clock.whole)),
        footnote: format!(
            "{reference}a configuration counts once its last replicate has ended, with its present figures"
        ),
        steps,
        end: clock.whole,
    }
}

/// The share of the box that is dominated after each arrival that changes it.
fn growth(arrivals: impl Iterator<Item = (f64, [f64; 2])>, reference: [f64; 2], box_of: f64) -> Vec<(f64, f64)> {
    const GOALS: [pareto::Goal; 2] = [pareto::Goal::Minimise, pareto::Goal::Maximise];
    let mut front: Vec<[f64; 2]> = Vec::new();
    let mut steps: Vec<(f64, f64)> = Vec::new();
    for (at, point) in arrivals {
        if front.iter().any(|of| *of == point || pareto::dominates(of, &point, &GOALS)) {
            continue;
        }
        front.retain(|of| !pareto::dominates(&point, of, &GOALS));
        front.push(point);
        let share = pareto::hypervolume_2d(&front, &GOALS, reference) / box_of;
        match steps.last_mut() {
            Some((last, of)) if *last == at => *of = share,
            _ => steps.push((at, share)),
        }
    }
    steps
}

impl OnSheet for HypervolumeChart {
    fn on_sheet(&self, style: &Style) -> Scene {
        draw(self, style)
    }
}

pub fn draw(chart: &HypervolumeChart, style: &Style) -> Scene {
    let mut scene = layout::sheet(style, &chart.title, &chart.subtitle, std::slice::from_ref(&chart.footnote));
    let (Some(first), Some(last)) = (chart.steps.first(), chart.steps.last()) else {
        layout::empty(&mut scene, "No finished configuration yet");
        return scene;
    };
    let mut area = layout::plot_area(style, &chart.subtitle);
    area.top -= 36.0;
    let shares = chart.steps.iter().map(|step| step.1);
    let plot = Plot {
        area,
        x: Axis::new(Scale::Linear, 0.0, chart.end.max(1e-9), Unit::Seconds).within(style.x_range, Unit::Seconds),
        y: Axis::over(shares, Unit::Percent, 0.06).within(style.y_range, Unit::Percent),
    };
    plot.draw_frame(&mut scene, "Time since the first start", "Share of the box that is dominated");
    let mut line = vec![(first.0, plot.y.from), *first];
    for pair in chart.steps.windows(2) {
        line.extend([(pair[1].0, pair[0].1), pair[1]]);
    }
    line.push((chart.end, last.1));
    let line: Vec<_> = line.into_iter().map(|(x, y)| plot.at(x, y)).collect();
    for piece in area.clip_line(&line) {
        scene.line(piece, Stroke::solid(BLUE, 3.0));
    }
    for (x, y) in chart.steps.iter().map(|(x, y)| plot.at(*x, *y)) {
        if area.grown(1.0).contains(&super::canvas::Area::around((x, y), 0.0)) {
            scene.circle((x, y), 4.5, BLUE, Some(Stroke::solid(INK, 1.0)));
        }
    }
    scene
}

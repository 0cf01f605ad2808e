//! Which optimisations help or hinder each other: a field for each pair, accuracy below the diagonal, speed above it.

use serde::Serialize;

use super::canvas::{Anchor, Area, Scene, Stroke, Text, Weight};
use super::facts::Facts;
use super::kind::{ChartKind, OnSheet, Ranges, boxed};
use super::look::Style;
use super::style::{BLUE, Colour, INK, LABEL, MUTED, SMALL, VERMILION, WHITE};
use super::{font, layout};
use crate::analysis::Basis;
use crate::analysis::contrast::Measured;
use crate::base::words::plural;
use crate::present::report::effects;

pub const KIND: ChartKind = ChartKind {
    name: "interactions",
    title: "How optimisations interact",
    help: "heat map of what each pair of optimisations does together beyond their separate effects",
    ranges: Ranges::Neither,
    data: |study, _| boxed(data(study)),
};

/// What to draw.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct InteractionsChart {
    pub title: String,
    pub subtitle: String,
    pub footnote: String,
    pub optimisations: Vec<String>,
    pub pairs: Vec<Pair>,
}

/// Two optimisations by their numbers, the smaller one first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pair {
    pub first: usize,
    pub second: usize,
    /// Change of accuracy by both beyond the sum of their own: 0 where they do not touch.
    pub accuracy: Option<Joint>,
    /// Speed-up by both over the product of their own: 1 where they do not touch.
    pub speed_up: Option<Joint>,
    /// Whether the times behind it are confirmed.
    pub is_confirmed: bool,
    /// Whether the steps are the very same, so that it is 1 by construction.
    pub same_steps: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Joint {
    pub estimate: f64,
    pub interval: Option<(f64, f64)>,
}

impl Joint {
    /// Whether the interval excludes that there is nothing.
    fn excludes(self, nothing: f64) -> bool {
        self.interval.is_some_and(|(low, high)| low > nothing || high < nothing)
    }
}

/// The interactions of a study.
pub fn data(study: &Facts) -> InteractionsChart {
    let space = &study.view.space;
    let joint = |of: Measured| Joint { estimate: of.estimate, interval: of.interval };
    let interactions = &study.effects().interactions;
    let mut optimisations: Vec<(usize, String, String)> = (interactions.iter())
        .flat_map(|of| [&of.first, &of.second])
        .map(|of| (of.axis, of.to.clone(), effects::name(space, of)))
        .collect();
    // In the order of the space: axis by axis.
    let place = |axis: usize, value: &str| space.axes[axis].values.iter().position(|of| of.label == value);
    optimisations.sort_by_key(|(axis, value, name)| (*axis, place(*axis, value), name.clone()));
    optimisations.dedup();
    let number = |axis: usize, value: &str| optimisations.iter().position(|(of, to, _)| *of == axis && to == value);
    let pair = |of: &crate::analysis::attribution::Interaction| {
        let (a, b) = (number(of.first.axis, &of.first.to)?, number(of.second.axis, &of.second.to)?);
        Some(Pair {
            first: a.min(b),
            second: a.max(b),
            accuracy: of.accuracy.map(joint),
            speed_up: of.speed_up.map(|of| joint(of.factor)),
            is_confirmed: of.speed_up.is_some_and(|of| of.basis == Basis::Confirmed),
            same_steps: of.speed_up.is_some_and(|of| of.same_steps),
        })
    };
    let mut pairs: Vec<Pair> = interactions.iter().filter_map(pair).collect();
    pairs.sort_by_key(|pair| (pair.first, pair.second));
    InteractionsChart {
        title: format!("{}: how optimisations interact", space.name),
        subtitle:
            "what two of them do together beyond what each does alone; bold where the 95 % interval excludes that they do not touch"
                .into(),
        footnote: study.figures_note(),
        optimisations: optimisations.into_iter().map(|(_, _, name)| name).collect(),
        pairs,
    }
}

impl OnSheet for InteractionsChart {
    fn on_sheet(&self, style: &Style) -> Scene {
        draw(self, style)
    }
}

/// Optimisations above which those that interact least are left out.
const MOST: usize = 24;
const MOST_LABEL: f64 = 400.0;
const LEGEND: f64 = 300.0;

/// The optimisations that are shown, by their numbers: those of the largest interactions.
fn shown(chart: &InteractionsChart) -> Vec<usize> {
    let mut strength = vec![0.0_f64; chart.optimisations.len()];
    for pair in &chart.pairs {
        let size = pair.accuracy.map_or(0.0, |of| of.estimate.abs());
        for of in [pair.first, pair.second] {
            strength[of] = strength[of].max(size);
        }
    }
    let mut order: Vec<usize> = (0..strength.len()).collect();
    order.sort_by(|a, b| strength[*b].total_cmp(&strength[*a]).then(a.cmp(b)));
    order.truncate(MOST);
    order.sort_unstable();
    order
}

pub fn draw(chart: &InteractionsChart, style: &Style) -> Scene {
    let shown = shown(chart);
    let mut notes = Vec::new();
    let left_out = chart.optimisations.len() - shown.len();
    if left_out > 0 {
        notes.push(format!(
            "{} that interact least left out: interactions.csv has all",
            plural(left_out, "optimisation")
        ));
    }
    notes.extend((!chart.footnote.is_empty()).then(|| chart.footnote.clone()));
    if shown.is_empty() {
        let mut scene = layout::sheet(style, &chart.title, &chart.subtitle, &notes);
        layout::empty(&mut scene, "No two optimisations were trained alone, together and apart yet");
        return scene;
    }
    let top = layout::legend_baseline(&chart.subtitle) + 40.0;
    let names = shown.iter().map(|of| font::width(&chart.optimisations[*of], Weight::Regular, SMALL));
    let widest = names.fold(100.0, f64::max).min(MOST_LABEL);
    let left = layout::MARGIN + 46.0 + widest + 16.0;
    let room = f64::from(layout::WIDTH) - layout::MARGIN - left - LEGEND;
    let count = shown.len() as f64;
    let high = (f64::from(style.sheet_height()) - top - 90.0) / count;
    let highest = style.row_for(shown.len(), top + 90.0, 90.0).min(150.0);
    let (wide, high) = ((room / count).min(150.0), high.clamp(36.0, highest));
    let legend = legend_lines(chart);
    let has_mark = Marks::of(chart) == Marks::Some;
    let height = style.height_for(top + (high * count).max(legend_height(&legend)) + 90.0);
    let mut scene = layout::sheet_of(height, style, &chart.title, &chart.subtitle, &notes);
    let field = |row: usize, column: usize| Area::new(left + wide * column as f64, top + high * row as f64, wide, high);
    for (row, of) in shown.iter().enumerate() {
        let middle = top + high * (row as f64 + 0.5) + 7.0;
        let number = (row + 1).to_string();
        scene.text(Text::new((layout::MARGIN + 34.0, middle), &number, SMALL, MUTED).anchor(Anchor::End).bold());
        let name = font::shortened(&chart.optimisations[*of], Weight::Regular, SMALL, widest);
        scene.text(Text::new((layout::MARGIN + 46.0, middle), name, SMALL, INK));
        let at = (left + wide * (row as f64 + 0.5), top - 12.0);
        scene.text(Text::new(at, &number, SMALL, MUTED).anchor(Anchor::Middle).bold());
    }
    let scales = scales(chart);
    for pair in &chart.pairs {
        let place = |of: usize| shown.iter().position(|at| *at == of);
        let (Some(first), Some(second)) = (place(pair.first), place(pair.second)) else { continue };
        if let Some(of) = pair.accuracy {
            let points = Joint { estimate: of.estimate * 100.0, interval: of.interval };
            // Rounded before the sign is chosen, so that nothing is "-0.00".
            let words = super::attribution::signed((points.estimate * 100.0).round() / 100.0, 2);
            draw_field(&mut scene, &field(second, first), share(of.estimate, scales[0]), words, points.excludes(0.0));
        }
        match pair.speed_up {
            Some(_) if pair.same_steps => draw_field(&mut scene, &field(first, second), 0.0, "=".into(), false),
            Some(of) => {
                let mark = if has_mark && !pair.is_confirmed { "*" } else { "" };
                let words = format!("{:.2}×{mark}", of.estimate);
                let share = share(of.estimate.ln(), scales[1]);
                draw_field(&mut scene, &field(first, second), share, words, of.excludes(1.0));
            }
            None => {}
        }
    }
    let (right, bottom) = (left + wide * count, top + high * count);
    for line in 0..=shown.len() {
        let (x, y) = (left + wide * line as f64, top + high * line as f64);
        scene.line(vec![(x, top), (x, bottom)], Stroke::solid(WHITE, 2.0));
        scene.line(vec![(left, y), (right, y)], Stroke::solid(WHITE, 2.0));
    }
    draw_legend(&mut scene, (right + 40.0, top), scales, &legend);
    scene
}

/// The largest sizes of accuracies and of logarithms of factors.
fn scales(chart: &InteractionsChart) -> [f64; 2] {
    let accuracy = chart.pairs.iter().filter_map(|pair| Some(pair.accuracy?.estimate.abs())).fold(1e-4, f64::max);
    let measured = chart.pairs.iter().filter(|pair| !pair.same_steps);
    let speed = measured.filter_map(|pair| Some(pair.speed_up?.estimate.ln().abs()));
    [accuracy, speed.filter(|of| of.is_finite()).fold(0.01, f64::max)]
}

fn share(value: f64, scale: f64) -> f64 {
    (value / scale).clamp(-1.0, 1.0)
}

/// Blue where both together are better, orange where they are worse.
fn colour(share: f64) -> Colour {
    let end = if share < 0.0 { VERMILION } else { BLUE };
    end.opacity(0.08 + 0.72 * share.abs())
}

fn draw_field(scene: &mut Scene, area: &Area, share: f64, words: String, excludes: bool) {
    let Area { left, top, right, bottom } = *area;
    scene.polygon(vec![(left, top), (right, top), (right, bottom), (left, bottom)], colour(share), None);
    let size = (area.width() / 4.2).min(SMALL);
    let at = ((left + right) / 2.0, (top + bottom) / 2.0 + size * 0.35);
    let text = Text::new(at, words, size, INK).anchor(Anchor::Middle);
    scene.text(if excludes { text.bold() } else { text });
}

/// Which of the times that are shown are not confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marks {
    None,
    Some,
    All,
}

impl Marks {
    fn of(chart: &InteractionsChart) -> Marks {
        let mut timed = chart.pairs.iter().filter(|pair| pair.speed_up.is_some() && !pair.same_steps);
        let first = timed.next().map(|pair| pair.is_confirmed);
        match first {
            None => Marks::None,
            Some(first) if timed.any(|pair| pair.is_confirmed != first) => Marks::Some,
            Some(is_confirmed) => {
                if is_confirmed {
                    Marks::None
                } else {
                    Marks::All
                }
            }
        }
    }
}

/// What the legend says below its two scales, in lines.
fn legend_lines(chart: &InteractionsChart) -> Vec<String> {
    let mut said = vec!["orange: worse together", "blue: better together", "empty: of one axis, or not trained"];
    said.extend(chart.pairs.iter().any(|pair| pair.same_steps).then_some("=: the same steps, as fast by construction"));
    said.extend(match Marks::of(chart) {
        Marks::None => None,
        Marks::Some => Some("*: times not confirmed"),
        Marks::All => Some("no time is confirmed"),
    });
    said.into_iter().flat_map(|words| font::wrapped(words, Weight::Regular, SMALL, LEGEND - 40.0, 2)).collect()
}

/// Height of a scale of the legend with its name, and of a line.
const SCALE: f64 = 116.0;
const LINE: f64 = 28.0;

fn legend_height(lines: &[String]) -> f64 {
    20.0 + 2.0 * SCALE + LINE * lines.len() as f64
}

fn draw_legend(scene: &mut Scene, (left, top): (f64, f64), scales: [f64; 2], lines: &[String]) {
    let mut y = top + 20.0;
    let of = [
        ("Below: accuracy, points", format!("{:+.2}", -100.0 * scales[0]), format!("{:+.2}", 100.0 * scales[0])),
        ("Above: factor of speed", format!("{:.2}×", (-scales[1]).exp()), format!("{:.2}×", scales[1].exp())),
    ];
    const WIDTH: f64 = 220.0;
    const STEPS: usize = 20;
    for (name, low, high) in of {
        scene.text(Text::new((left, y), name, LABEL, INK).bold());
        let step = WIDTH / STEPS as f64;
        for number in 0..STEPS {
            let share = (number as f64 + 0.5) / STEPS as f64 * 2.0 - 1.0;
            let x = left + step * number as f64;
            let corners = vec![(x, y + 14.0), (x + step, y + 14.0), (x + step, y + 38.0), (x, y + 38.0)];
            scene.polygon(corners, colour(share), None);
        }
        scene.text(Text::new((left, y + 62.0), low, SMALL, MUTED));
        scene.text(Text::new((left + WIDTH, y + 62.0), high, SMALL, MUTED).anchor(Anchor::End));
        y += SCALE;
    }
    for line in lines {
        scene.text(Text::new((left, y), line, SMALL, MUTED));
        y += LINE;
    }
}

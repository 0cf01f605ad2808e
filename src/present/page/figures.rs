//! The pictures of a page: where scripts run, charts that answer to the pointer; else, and on paper, those of `present/charts`.

use base64::{Engine, prelude::BASE64_STANDARD};
use maud::{Markup, html};

use super::{Report, how, or_dash};
use crate::{
    analysis::attribution::Change,
    base::words::{plural, three_digits},
    present::{
        charts::{self, Scene, Style, curves::Over},
        report::{
            cells::{INTERVALS, SCREENED, accuracy_cell, from_to, points, speed, speed_cell},
            effects,
        },
    },
};

/// Bytes above which a picture is a bitmap: thousands of points take less room so.
const MOST_SVG: usize = 300_000;

/// A picture as part of the page.
pub fn picture(scene: &Scene, alt: &str) -> Markup {
    let svg = scene.svg();
    let (kind, bytes) = if svg.len() > MOST_SVG { ("png", scene.png()) } else { ("svg+xml", svg.into_bytes()) };
    html! {
        img.still alt=(alt) width=(scene.width) height=(scene.height)
            src={ "data:image/" (kind) ";base64," (BASE64_STANDARD.encode(bytes)) };
    }
}

/// A figure: the place of its chart, its picture, and what it shows.
fn figure(id: &str, label: &str, still: Option<Markup>, caption: Markup) -> Markup {
    html! {
        figure {
            div.chart id={ "chart-" (id) } role="img" aria-label=(label) hidden {}
            @if let Some(still) = still { (still) }
            figcaption { (caption) }
        }
    }
}

pub fn front(report: &Report) -> Markup {
    let scene = charts::front::draw(&charts::front::data(&report.facts()), &Style::default());
    let findings = &report.findings;
    let alt = format!(
        "Validation accuracy over training time: {}, of which {} on the front. The table below has the figures of the front.",
        plural(findings.points.len(), "point"),
        findings.front.len()
    );
    let replicates = findings.points.iter().map(|point| point.accuracy.len());
    let (least, most) = (replicates.clone().min().unwrap_or(0), replicates.max().unwrap_or(0));
    let n = if least == most { least.to_string() } else { format!("{least} to {most}") };
    let times = report.view.times_line();
    figure(
        "front",
        &alt,
        Some(picture(&scene, &alt)),
        html! {
            "Each point is a configuration, or the beginning of its training where that is on the front: mean over n = " (n)
            " replicates, of " (from_to(report.view.images()[0])) " validation images. Filled: its time is confirmed, of steps timed alone; hollow: screened, beside other trials. Bars, of the \
             front and the baseline: 95 % intervals (in the still picture ± 1 standard deviation of accuracies). "
            @if !times.is_empty() { "Times: " (times) ". " }
            "How: " (how("The front")) ", " (how("Uncertainty")) "."
        },
    )
}

/// Parallel coordinates with what filters them.
pub fn relations() -> Markup {
    html! {
        section #relations aria-labelledby="relations-heading" {
            h2 #relations-heading { "All axes at once" }
            noscript { p { "This chart and the filters take JavaScript. trials.csv beside this page has every trial." } }
            div.needs-script hidden {
                p.how { "Draw along an axis to keep what crosses there; click the axis to let go. The filters do the same by keyboard. \
                         Both act on the front, on the table of trials and on its download." }
                form #filters aria-label="Filters" {}
                p #kept role="status" {}
                (figure("relations", "Parallel coordinates: a line for each configuration across all axes, its parameters, time and accuracy. The table of trials has the same.", None, html! {
                    "A line is a configuration trained to its end: its value on each axis, parameters, training time and mean validation \
                     accuracy over its replicates; colour: accuracy. What diverged, failed or was given up has no line and stands in the \
                     table of trials. How: " (how("The front")) "."
                }))
            }
        }
    }
}

pub fn curves(report: &Report) -> Markup {
    let scene = charts::curves::draw(&charts::curves::data(&report.facts(), Over::Epochs), &Style::default());
    let alt =
        "Validation accuracy over the epochs, a line for each configuration; the front and the baseline are named.";
    html! {
        section #curves aria-labelledby="curves-heading" {
            h2 #curves-heading { "Curves" }
            (figure("curves", alt, Some(picture(&scene, alt)), html! {
                "Validation accuracy after each epoch, mean over the replicates that were trained to their end. Coloured: the front \
                 and the baseline. Dotted: given up. Failed trials are not in it. epochs.csv has every row. How: " (how("Accuracy")) "."
            }))
        }
    }
}

pub fn effects(report: &Report) -> Markup {
    let of = &report.effects;
    let scene = charts::attribution::draw(&charts::attribution::data(&report.facts()), &Style::default());
    let alt = "What each optimisation does to time, accuracy and parameters, with intervals; the table below has the same figures.";
    html! {
        section #effects aria-labelledby="effects-heading" {
            h2 #effects-heading { "What each optimisation does" }
            @if of.effects.is_empty() {
                p.none { "No two configurations that differ in one optimisation alone were trained yet." }
            } @else {
                figure {
                    (picture(&scene, alt))
                    figcaption { "Everything else equal: pairs of configurations that differ in this optimisation alone, mean over all \
                        settings (contexts) of the other axes. How: " (how("Effects (`attribution`)")) "." }
                }
                (effects_table(report))
                p.how { (INTERVALS) " " (SCREENED.replace('`', "")) " attribution.csv has all of it." }
                @if !of.interactions.is_empty() {
                    details {
                        summary { "Which help or hinder each other: " (plural(of.interactions.len(), "pair")) }
                        (interactions_table(report))
                        p.how { "What both do beyond the sum (of speed-ups: the product) of what each does: 0 and 1× where they do not touch. "
                            "The largest in accuracy first. " (how("Effects (`attribution`)")) ". interactions.csv has all of them." }
                    }
                }
            }
            p { "One optimisation at a time, from the baseline to a configuration: "
                code { (format!("fastrcaps attribution {} --ladder CONFIGURATION", report.folder)) } }
        }
    }
}

fn effects_table(report: &Report) -> Markup {
    let space = &report.view.space;
    html! {
        div.scroll tabindex="0" role="region" aria-label="Table of effects" { table {
            thead { tr {
                th scope="col" { "Optimisation" }
                th.number scope="col" { "Speed-up [95 %]" }
                th.number scope="col" { "Accuracy, points [95 %]" }
                th.number scope="col" { "Parameters" }
                th.number scope="col" { "Contexts" }
                th.number scope="col" { "n: rounds, replicates" }
                th scope="col" { "At the baseline alone" }
            } }
            tbody { @for effect in &report.effects.effects {
                @let Change { contexts, diverged, accuracy, speed_up, parameters, .. } = &effect.overall;
                tr {
                    th scope="row" { (effects::name(space, &effect.optimisation)) }
                    td.number { (speed_cell(*speed_up)) }
                    td.number { (accuracy_cell(*accuracy)) }
                    td.number { (three_digits(100.0 * parameters.mean)) " %" }
                    td.number { (contexts) @if *diverged > 0 { ", " b { (diverged) " diverged" } } }
                    td.number { (measurements(speed_up.map(|of| of.factor.measurements))) ", " (measurements(accuracy.map(|of| of.measurements))) }
                    td { (or_dash(effect.at_baseline.as_ref().map(at_baseline))) }
                }
            } }
        } }
    }
}

fn measurements(count: Option<usize>) -> String {
    count.map_or("–".into(), |count| count.to_string())
}

fn at_baseline(of: &Change) -> String {
    if of.diverged > 0 {
        return "diverged".into();
    }
    let accuracy = of.accuracy.map(|of| format!("{} points", points(of.estimate)));
    let known = [of.speed_up.map(speed), accuracy];
    known.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Interactions that the page lists.
const INTERACTIONS: usize = 50;

fn interactions_table(report: &Report) -> Markup {
    let space = &report.view.space;
    html! {
        div.scroll tabindex="0" role="region" aria-label="Table of interactions" { table {
            thead { tr { th scope="col" { "Optimisations" } th.number scope="col" { "Accuracy, points" } th.number scope="col" { "Speed-up" } th.number scope="col" { "Contexts" } } }
            tbody { @for of in report.effects.interactions.iter().take(INTERACTIONS) {
                tr {
                    th scope="row" { (effects::name(space, &of.first)) " + " (effects::name(space, &of.second)) }
                    td.number { (accuracy_cell(of.accuracy)) }
                    td.number { (speed_cell(of.speed_up)) }
                    td.number { (of.contexts) }
                }
            } }
        } }
    }
}

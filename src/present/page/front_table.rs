//! The front: its picture, and a row for each of its points.

use maud::{Markup, html};

use super::{Report, figures, how, or_dash};
use crate::{
    analysis::{
        self, Basis, Objectives, Point,
        bootstrap::{accuracy_interval, time_interval},
    },
    base::words::{accuracy as percent, duration, plural},
    present::report::{
        cells::{self, from_to, letter, points, share_of_draws},
        findings::{accuracy_sd, test_accuracy, test_accuracy_sd},
    },
};

pub fn section(report: &Report) -> Markup {
    let findings = &report.findings;
    html! {
        section #front aria-labelledby="front-heading" {
            h2 #front-heading { "The front: what no other configuration beats" }
            (figures::front(report))
            p.how {
                "A row for each point that no other beats in time and accuracy, or in time, accuracy and parameters. Validation: of "
                (from_to(report.view.images()[0])) " images; test: of " (from_to(report.view.images()[1])) "; “chance”: no better than guessing. n: replicates \
                 of the accuracy, rounds (or replicates) of the time. How: " (how("The front")) "; [ ]: 95 % intervals, "
                (how("Uncertainty")) "; front.csv has the same figures in full."
            }
            @if findings.wide_front.is_empty() {
                p.none { "No configuration was trained to its end in all its replicates: there is no front yet." }
            } @else {
                (table(report))
                (hypervolume(report))
            }
        }
    }
}

fn table(report: &Report) -> Markup {
    let findings = &report.findings;
    let groups = findings.groups(Objectives::TimeAccuracyParameters);
    let has_spread = groups.iter().any(Option::is_some);
    let rows = findings.wide_front.iter().zip(&groups);
    html! {
        div.scroll tabindex="0" role="region" aria-label="Table of the front" {
            table #front-table {
                caption.hidden { "The front, by time" }
                thead { tr {
                    th scope="col" { "Configuration" }
                    @for name in ["Time", "95 %, n", "Validation", "95 %, n", "Test", "Parameters", "Speed-up", "Accuracy, points"] { th.number scope="col" { (name) } }
                    th scope="col" { "On the front by" }
                    @if has_spread {
                        th.number scope="col" title="How probable it is, given the spread over replicates" { "Probability" }
                        th scope="col" title="Points of one group cannot be told apart by accuracy" { "Group" }
                    }
                } }
                tbody {
                    @for (&index, group) in rows {
                        tr { (cells_of(report, index))
                            td { @if findings.front.contains(&index) { "time, accuracy" } @else { "its size" } }
                            @if has_spread {
                                td.number { (or_dash(findings.memberships()[index].of(Objectives::TimeAccuracyParameters).map(share_of_draws))) }
                                td { (or_dash(group.map(letter))) }
                            }
                        }
                    }
                    @if let Some(baseline) = findings.baseline.filter(|index| !findings.wide_front.contains(index)) {
                        tr.context { (cells_of(report, baseline)) td { "no: the baseline" } @if has_spread { td.number { "–" } td { "–" } } }
                    }
                }
            }
        }
        @if has_spread {
            p.how { "Probability: the share of 2000 draws of the whole study in which the point is on the front of time, accuracy and parameters. Points of one group cannot be told apart by accuracy." }
        } @else {
            p.how { "With one replicate of each configuration there is no probability to be on the front, and no interval of an accuracy: "
                code { (format!("fastrcaps explore … --replicates auto --out {}", report.folder)) } " settles what is undecided." }
        }
    }
}

/// A point's cells up to its comparison with the baseline.
fn cells_of(report: &Report, index: usize) -> Markup {
    let of = &report.findings.points[index];
    let change = report.findings.change(index);
    let is_baseline = report.findings.baseline == Some(index);
    html! {
        th scope="row" { (of.label) @if is_baseline { " " span.badge { "baseline" } } }
        td.number { (cells::marked_time(of)) }
        td.number.small { (time_range(of)) }
        td.number { (cells::mean_and_deviation(of.mean_accuracy(), accuracy_sd(of))) @if report.view.is_chance(of) { " " span.badge { "chance" } } }
        td.number.small { (accuracy_range(of)) }
        td.number { (cells::mean_and_deviation(test_accuracy(of), test_accuracy_sd(of))) }
        td.number { (of.parameters) }
        td.number { (or_dash(change.and_then(cells::speed_beside_baseline))) }
        td.number { (or_dash(change.and_then(|of| of.accuracy_change).map(points))) }
    }
}

fn time_range(of: &Point) -> String {
    let range =
        time_interval(of).map_or(String::new(), |(low, high)| format!("[{}, {}], ", duration(low), duration(high)));
    let unit = if of.time.basis == Basis::Confirmed { "rounds" } else { "screened" };
    format!("{range}{} {unit}", of.time.seconds.len())
}

fn accuracy_range(of: &Point) -> String {
    let range = accuracy_interval(of)
        .map_or(String::new(), |(low, high)| format!("[{:.2}, {:.2}], ", 100.0 * low, 100.0 * high));
    format!("{range}{}", of.accuracy.len())
}

fn hypervolume(report: &Report) -> Markup {
    let classes = report.view.expansion.candidates[0].config.data.name.classes();
    let points: Vec<[f64; 3]> = report.findings.points.iter().map(Point::objectives).collect();
    let of = analysis::hypervolume(&points, Objectives::TimeAccuracy, 1.0 / classes as f64);
    html! {
        @if let Some(of) = of {
            p { "Hypervolume of time and accuracy: " (format!("{:.4e} s", of.volume)) ", " (percent(Some(of.share)))
                " of the box up to the reference point (" (duration(of.reference[0])) ", accuracy " (format!("{:.2}", of.reference[1]))
                "), over " (plural(points.len(), "point")) ". " (how("The front")) }
        }
    }
}

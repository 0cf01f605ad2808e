//! How far the figures of the page can be trusted: by how many images, seeds and times they are, and what ended badly.

use maud::{Markup, html};

use super::{Report, how, method};
use crate::{
    analysis::{Basis, Extent, Point, error_of_images},
    base::words::{by_count, percent, plural},
    learn::record::Status,
    present::report::{
        cells::from_to,
        noise::{caution, noise},
    },
};

pub fn section(report: &Report) -> Markup {
    html! {
        section #trust aria-labelledby="trust-heading" {
            h2 #trust-heading { "Can I trust it?" }
            ul.trust {
                @for (name, said) in [("Images", images(report)), ("Seeds", seeds(report)), ("Times", times(report)), ("Trials", trials(report))] {
                    li { b { (name) } ": " (said) }
                }
            }
            p.how { "How intervals come about: " (how("Uncertainty")) "; accuracies: " (how("Accuracy")) "." }
        }
    }
}

/// What the numbers of images leave open.
fn images(report: &Report) -> Markup {
    let [validation, test] = report.view.images();
    let best = report.findings.front.last().and_then(|index| report.findings.points[*index].mean_accuracy());
    let weight = percent(1.0 / validation.0.max(1) as f64, 2).replace(" %", " points");
    html! {
        "accuracies to choose by are of " (from_to(validation)) " validation images, so that one image is " (weight)
        "; test accuracies are of " (from_to(test)) ". "
        @if let Some(best) = best {
            "That number alone leaves the best accuracy uncertain by ±" (points(error_of_images(best, validation.0)))
            " points (95 %), however often it is trained: smaller differences may be the choice of images. "
        }
        @let none = chance(report);
        @if none > 0 {
            b { (plural(none, "configuration")) " " (by_count(none, "is", "are")) " no better than chance" }
            " (within the binomial error of guessing): they learned nothing, whatever their time. "
        }
    }
}

/// A share as points, to two digits.
fn points(share: f64) -> String {
    format!("{:.2}", 100.0 * share)
}

/// Configurations that are no better than guessing.
fn chance(report: &Report) -> usize {
    let is_whole = |of: &&Point| of.extent == Extent::Whole && of.diverged == 0;
    report.findings.points.iter().filter(is_whole).filter(|of| report.view.is_chance(of)).count()
}

/// Of how many seeds the figures are.
fn seeds(report: &Report) -> Markup {
    let replicates = report.findings.points.iter().map(|of| of.accuracy.len());
    let (least, most) = (replicates.clone().min().unwrap_or(0), replicates.max().unwrap_or(0));
    let settle = format!("fastrcaps explore … --replicates auto --out {}", report.folder);
    html! {
        @match most {
            0 => "no configuration was trained to its end yet.",
            1 => {
                "each configuration was trained once. Another seed would give other accuracies, by how much is not known: no interval, \
                 no probability, and of near equals chance decides which is on the front. " code { (settle) }
                " trains again what is undecided."
            }
            _ => {
                "means of " (from_to((least, most))) " replicates, with 95 % intervals. Where intervals overlap, or points share a \
                 group, " code { (settle) } " goes on."
            }
        }
    }
}

/// How times came about, and how far they are off.
fn times(report: &Report) -> Markup {
    let is_confirmed = |point: &&Point| point.time.basis == Basis::Confirmed;
    let timed = || report.findings.points.iter().filter(|point| !point.time.seconds.is_empty());
    let (confirmed, all) = (timed().filter(is_confirmed).count(), timed().count());
    html! {
        @if all == 0 {
            "none is known yet."
        } @else if confirmed == all {
            "all are confirmed, of steps timed alone on the machine"
            @if let Some(set) = &report.view.times {
                "; " (set.tainted()) " of " (plural(set.samples.len(), "sample")) " were disturbed and do not count"
                @if let Some(drift) = set.drift() { ", and the machine drifted by at most " (percent(drift.largest, 1)) }
            }
            ". "
        } @else {
            span.warned {
                @if confirmed == 0 { "All times are screened" } @else { (confirmed) " of " (plural(all, "time")) " are confirmed, the others screened" }
                ": taken while trials ran beside each other (marked ~, drawn hollow). "
            }
            (caution(noise(&report.view, &report.findings.points))) " "
            code { (format!("fastrcaps time {}", report.folder)) } " times the steps alone. "
        }
        a href={ "#" (method::anchor("Time")) } { "What both mean" } "."
    }
}

/// How the trials ended.
fn trials(report: &Report) -> Markup {
    let view = &report.view;
    let [done, diverged, failed, stopped] =
        [Status::Done, Status::Diverged, Status::Failed, Status::Stopped].map(|status| view.count(status));
    let all = view.wanted().count();
    let ended_badly = diverged + failed;
    let bad = [(diverged, "diverged"), (failed, "failed")].into_iter().filter(|(count, _)| *count > 0);
    let bad: Vec<String> = bad.map(|(count, word)| format!("{count} {word}")).collect();
    let open = all - done - ended_badly - stopped;
    html! {
        (done) " of " (all) " were trained to their end"
        @if ended_badly > 0 { ", " (bad.join(", ")) }
        @if stopped > 0 { ", " (stopped) " were given up by the search" }
        @if open > 0 { ", " (open) " have not ended yet" }
        ". "
        @if ended_badly == 0 { "None failed or diverged. " }
        a href="#trouble" { "What went wrong" } "."
    }
}

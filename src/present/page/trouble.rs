//! What went wrong: failures with the last lines of their logs, trials that were given up, times that were disturbed.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::{Report, how, or_dash};
use crate::{
    analysis::Basis,
    base::words::{duration, percent, plural, spelled},
    learn::record::{Status, TrialRecord},
    present::report::{cells::factor, departures::departures},
    timing::sets::TimeSet,
};

/// Rows that a list of the page has at most.
const MOST: usize = 200;

pub fn section(report: &Report) -> Markup {
    let view = &report.view;
    let of = |status: Status| {
        let records = view.records.iter().enumerate();
        records.filter_map(move |(index, of)| Some((index, of.as_ref().filter(|of| of.status == status)?)))
    };
    let failed: Vec<_> = of(Status::Failed).chain(of(Status::Diverged)).collect();
    let stopped: Vec<_> = of(Status::Stopped).collect();
    let retried = view.records.iter().flatten().filter(|of| of.attempts > 1).count();
    html! {
        section #trouble aria-labelledby="trouble-heading" {
            h2 #trouble-heading { "What went wrong" }
            (summary(report, failed.len(), stopped.len(), retried))
            h3 { "Trials that failed or diverged" }
            @if failed.is_empty() { p.fine { "None." } } @else { (failures(report, &failed)) }
            @if retried > 0 { p { (plural(retried, "trial")) " took more than one attempt: column attempts of trials.csv, and sweep.log." } }
            h3 { "Trials that the search gave up" }
            @if stopped.is_empty() { p.fine { "None." } } @else { (given_up(report, &stopped)) }
            h3 { "Times" }
            (times(report))
        }
    }
}

/// All of it in a sentence.
fn summary(report: &Report, failed: usize, stopped: usize, retried: usize) -> Markup {
    let view = &report.view;
    let open = view.wanted().filter(|index| {
        view.records[*index].as_ref().is_none_or(|of| matches!(of.status, Status::Pending | Status::Running))
    });
    let open = open.count();
    let disturbed = view.times.as_ref().map_or(0, TimeSet::tainted);
    let said = [
        (failed > 0).then(|| format!("{} failed or diverged", plural(failed, "trial"))),
        (stopped > 0).then(|| format!("{} were given up by the search", plural(stopped, "trial"))),
        (open > 0).then(|| format!("{} have not ended yet", plural(open, "trial"))),
        (retried > 0).then(|| format!("{} took several attempts", plural(retried, "trial"))),
        (disturbed > 0).then(|| format!("{} disturbed, which do not count", plural(disturbed, "timed sample"))),
    ];
    let said: Vec<String> = said.into_iter().flatten().collect();
    html! {
        @if said.is_empty() {
            p.fine { "Nothing: every trial was trained to its end at its first attempt" @if view.times.is_some() { ", and no time was disturbed" } "." }
        } @else {
            p { (said.join("; ")) "." }
        }
    }
}

fn failures(report: &Report, failed: &[(usize, &TrialRecord)]) -> Markup {
    let lines: BTreeMap<usize, &String> = report.last_lines.iter().map(|(index, lines)| (*index, lines)).collect();
    html! {
        p.how { "A failed trial left no result; a diverged one lost its finite loss. How: " (how("Divergence and failure")) "." }
        @for (index, record) in failed.iter().take(MOST) {
            @let label = &report.view.expansion.candidates[report.view.trials[*index].candidate].label;
            details.failure {
                summary {
                    span class={ "status " (record.status.as_str()) } { (record.status.as_str()) } " "
                    b { (label) } ", replicate " (record.replicate) ": " (spelled(record.error.as_deref().unwrap_or("no reason known")))
                }
                p { "Fault: " (or_dash(record.fault.map(|of| of.as_str().into()))) "; " (plural(record.attempts, "attempt")) "; "
                    (plural(record.epochs, "epoch")) " completed; folder trials/" (record.key) "; device " (or_dash(record.device.clone())) "." }
                @match lines.get(index) {
                    Some(lines) if !lines.is_empty() => { p { "The last lines of its log:" } pre { code { (spelled(lines)) } } }
                    _ => p { "Its log says nothing." }
                }
            }
        }
        @if failed.len() > MOST { p { "And " (failed.len() - MOST) " more: trials.csv has all of them." } }
        p { code { "fastrcaps explore … --retry-failed" } " trains those again that failed." }
    }
}

fn given_up(report: &Report, stopped: &[(usize, &TrialRecord)]) -> Markup {
    html! {
        p.how { "Their epochs count in no figure but their own rows. How: " (how("Divergence and failure")) "." }
        details {
            summary { (plural(stopped.len(), "trial")) }
            div.scroll tabindex="0" role="region" aria-label="Trials that were given up" { table {
                thead { tr { th scope="col" { "Configuration" } th.number scope="col" { "Replicate" } th.number scope="col" { "Epochs" } th.number scope="col" { "Validation so far" } th scope="col" { "Reason" } } }
                tbody { @for (index, record) in stopped.iter().take(MOST) {
                    @let trial = &report.view.trials[*index];
                    tr {
                        th scope="row" { (report.view.expansion.candidates[trial.candidate].label) }
                        td.number { (trial.replicate) }
                        td.number { (record.epochs) "/" (trial.config.train.epochs) }
                        td.number { (record.validation_accuracy.map_or("–".into(), |of| percent(of, 2))) }
                        td { (spelled(record.error.as_deref().unwrap_or("no reason known"))) }
                    }
                } }
            } }
            @if stopped.len() > MOST { p { "And " (stopped.len() - MOST) " more in trials.csv." } }
        }
    }
}

fn times(report: &Report) -> Markup {
    let view = &report.view;
    let departures = departures(view);
    let is_any_confirmed = report.findings.points.iter().any(|point| point.time.basis == Basis::Confirmed);
    let origins = view.origins();
    html! {
        @if let Some(error) = &view.times_error { p.warning { "Its set of times cannot be used: " (error) } }
        @match &view.times {
            None => p.warning { "No step was timed alone: all times are screened, taken while trials ran beside each other. " (how("Time")) },
            Some(set) => (disturbed(set)),
        }
        @if !is_any_confirmed {} @else if departures.is_empty() { p.fine { "No training took much more or less time in the sweep than its confirmed time says." } } @else {
            p.warning { (plural(departures.len(), "configuration")) " took much more or less time in the sweep than is confirmed for them (" (how("Time")) "):" }
            ul { @for of in departures.iter().take(20) {
                li { (of.configuration) ": " (duration(of.screened)) " screened, " (duration(of.confirmed)) " confirmed, " (factor(of.factor)) " as long by the measure of the others" }
            } }
        }
        @if origins.len() > 1 {
            p.warning { "Its trials were trained on several machines or builds. Screened times are compared within one of them only:" }
            ul { @for (origin, count) in &origins { li { (origin) ": " (plural(*count, "trial")) } } }
        }
    }
}

/// Samples that do not count, by reason, and the drift of the machine.
fn disturbed(set: &TimeSet) -> Markup {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in set.samples.iter().filter_map(|sample| sample.tainted.as_deref()) {
        *reasons.entry(reason).or_default() += 1;
    }
    let mut reasons: Vec<(&str, usize)> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    html! {
        p {
            "Times " b { (set.name) } ": " (plural(set.samples.len(), "sample")) " of " (plural(set.shapes.len(), "kind")) " of steps, of which "
            b { (set.tainted()) " are disturbed" } " and do not count. " (how("Time"))
        }
        @if !set.samples.is_empty() && set.tainted() == set.samples.len() {
            p.warning { "All of them are disturbed, so that no time is confirmed. With nothing else running, " code { "fastrcaps time" } " takes them again." }
        }
        @if !reasons.is_empty() {
            details {
                summary { "Why they are disturbed" }
                ul { @for (reason, count) in reasons.iter().take(20) { li { (count) " × " (spelled(reason)) } } }
            }
        }
        @if let Some(drift) = set.drift() {
            p class=(if drift.is_much() { "warning" } else { "fine" }) {
                "Drift of the calibration step: " (format!("{:+.1} %", 100.0 * drift.change)) " from the first round to the last, at most "
                (percent(drift.largest, 1)) " from the median."
                @if drift.is_much() { " The machine was not the same all the time: small differences of times mean nothing." }
            }
        }
    }
}

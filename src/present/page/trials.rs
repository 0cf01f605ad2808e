//! The table of all trials. Without JavaScript it holds the first ones.

use anyhow::Result;
use maud::{Markup, html};

use super::{Report, how};
use crate::{
    base::words::{accuracy as percent, duration},
    learn::record::TrialRecord,
};

/// Rows of the table where no script makes more of them.
const FIRST: usize = 200;

/// Columns as scripts name them, with their headings; those of figures are numbers.
const COLUMNS: [(&str, &str, bool); 10] = [
    ("status", "Status", false),
    ("configuration", "Configuration", false),
    ("validation_accuracy", "Validation", true),
    ("test_accuracy", "Test", true),
    ("train_seconds", "Time, confirmed", true),
    ("train_seconds_screen", "Time, screened", true),
    ("parameters", "Parameters", true),
    ("epochs", "Epochs", true),
    ("replicate", "Replicate", true),
    ("error", "Reason", false),
];

pub fn section(report: &Report) -> Result<Markup> {
    let view = &report.view;
    let wanted: Vec<usize> = view.wanted().collect();
    Ok(html! {
        section #trials aria-labelledby="trials-heading" {
            h2 #trials-heading { "All trials" }
            p.how {
                "A row for each training, under one seed (replicate). Validation and test: of the best epoch. Confirmed time: of its \
                 configuration, of steps timed alone, empty until they were; screened: its own, beside other trials. Stopped: given up \
                 by the search, with its reason. How: " (how("Accuracy")) ", " (how("Time")) ", " (how("Divergence and failure")) "."
            }
            div.tools.needs-script hidden {
                span #shown {}
                button #download type="button" { "Download these rows as CSV" }
                button #earlier type="button" { "Earlier" }
                button #later type="button" { "Later" }
            }
            @if wanted.len() > FIRST {
                noscript { p { "The first " (FIRST) " of " (wanted.len()) " trials: the rest takes JavaScript, or trials.csv beside this page." } }
            }
            div.scroll tabindex="0" role="region" aria-label="Table of all trials" {
                table #trials-table {
                    thead { tr {
                        @for (column, heading, is_number) in COLUMNS {
                            th scope="col" data-column=(column) class=[is_number.then_some("number")] { (heading) }
                        }
                    } }
                    tbody { @for index in wanted.iter().take(FIRST) { (row(report, *index)) } }
                }
            }
        }
    })
}

fn row(report: &Report, index: usize) -> Markup {
    let view = &report.view;
    let (trial, key) = (&view.trials[index], &view.keys[index]);
    let pending = || TrialRecord::pending(key.clone(), trial.replicate, &trial.config);
    let of = view.records[index].clone().unwrap_or_else(pending);
    let share = |share: Option<f64>| share.map_or(String::new(), |share| percent(Some(share)));
    let seconds = |seconds: Option<f64>| seconds.map_or(String::new(), duration);
    html! {
        tr {
            td { span class={ "status " (of.status.as_str()) } { (of.status.as_str()) } }
            td { (view.expansion.candidates[trial.candidate].label) }
            td.number { (share(of.validation_accuracy)) }
            td.number { (share(of.test_accuracy)) }
            td.number { (seconds(view.confirmed_seconds(trial.candidate, trial.config.train.epochs))) }
            td.number { (seconds(of.train_seconds_screen)) }
            td.number { (of.parameters) }
            td.number { (of.epochs) "/" (trial.config.train.epochs) }
            td.number { (trial.replicate) }
            td.reason { (of.error.unwrap_or_default()) }
        }
    }
}

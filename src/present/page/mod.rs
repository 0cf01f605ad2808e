//! A study as one page of HTML that needs nothing beside it: no network, no other file, and no JavaScript to be read.
//!
//! [`Report::read`] gathers what the page tells, all of it by the functions that tables and the terminal use; [`html()`] writes
//! it. What is interactive takes its figures from one block of JSON in the page (`data.rs`, `js/`), and Apache ECharts
//! draws them; without JavaScript there are the pictures of `present/charts` and tables in their place.

pub mod compare;
mod data;
mod document;
mod figures;
mod front_table;
pub mod index;
mod method;
pub mod now;
mod origin;
mod picks;
mod recipe;
mod trials;
mod trouble;
mod trust;

use std::path::PathBuf;

use anyhow::Result;
use maud::{Markup, html};

use crate::{
    base::{
        files::{check_target, write_atomically},
        words::plural,
    },
    learn::record::Status,
    present::{
        charts::Facts,
        report::{cells::from_to, effects::Effects, findings::Findings, view::StudyView},
    },
    search::study::{Study, StudyFile, holdings::PAGE},
    timing::sets::TimeSet,
};
pub use document::{Content, Document, ECHARTS, ECHARTS_PATH, MARK, policy};
use now::Now;

/// All that the page of a study tells.
pub struct Report {
    /// The study's folder, as it was named.
    pub folder: String,
    pub view: StudyView,
    pub findings: Findings,
    pub effects: Effects,
    pub declared: StudyFile,
    /// The sets of times other than the one of the view, and why one could not be read.
    pub other_sets: Vec<TimeSet>,
    pub unread_sets: Vec<String>,
    /// Last lines of the logs of trials that failed or diverged, by index of the trial.
    pub last_lines: Vec<(usize, String)>,
}

/// Trials whose logs are read, and lines of each that are shown.
const LOGS: usize = 200;
const LINES: usize = 6;

impl Report {
    /// Reads a study, with the set of times `times` where one is named.
    pub fn read(study: &Study, times: Option<&str>) -> Result<Report> {
        Report::of(study, StudyView::read_with_times(study, times)?)
    }

    /// Of a study that was read already.
    pub fn of(study: &Study, view: StudyView) -> Result<Report> {
        let name = view.times.as_ref().map(|set| set.name.clone());
        let (mut other_sets, mut unread_sets) = (Vec::new(), Vec::new());
        for other in TimeSet::names(study)?.into_iter().filter(|other| Some(other) != name.as_ref()) {
            // One that is damaged says nothing against the others.
            match TimeSet::read(study, &other) {
                Ok(set) => other_sets.extend(set),
                Err(error) => unread_sets.push(format!("{error:#}")),
            }
        }
        let has_failed = |index: &usize| {
            view.records[*index].as_ref().is_some_and(|of| matches!(of.status, Status::Failed | Status::Diverged))
        };
        let failed = (0..view.trials.len()).filter(has_failed).take(LOGS);
        let findings = Findings::of(&view);
        let last_lines = failed.filter_map(|index| Some((index, study.trial(&view.keys[index]).last_lines(LINES)?)));
        Ok(Report {
            folder: study.folder.display().to_string(),
            last_lines: last_lines.collect(),
            effects: Effects::among(&view, &findings.points),
            findings,
            declared: study.read()?,
            other_sets,
            unread_sets,
            view,
        })
    }

    /// The study as charts see it.
    fn facts(&self) -> Facts<'_> {
        Facts::known(&self.view, &self.findings, &self.effects)
    }

    /// The whole training of the baseline, if it has ended.
    fn baseline(&self) -> Option<&crate::analysis::Point> {
        self.findings.baseline.map(|index| &self.findings.points[index])
    }
}

/// The page of a study.
pub fn html(report: &Report) -> Result<Document> {
    html_with(report, None)
}

/// Writes the page of a study into it, in the place of the last one; an error where another file of that name stands there.
pub fn write(study: &Study) -> Result<PathBuf> {
    let path = study.folder.join(PAGE);
    check_target(&path, false, is_own)?;
    let page = html(&Report::read(study, None)?)?.write(&Content::File);
    write_atomically(&path, page.as_bytes())?;
    Ok(path)
}

/// Whether a file is a page that this program wrote.
pub fn is_own(bytes: &[u8]) -> bool {
    bytes.starts_with(MARK.as_bytes())
}

/// [`html()`] with what happens in the study at this moment.
pub fn html_with(report: &Report, now: Option<&Now>) -> Result<Document> {
    let body = html! {
        (heading(report))
        @if let Some(now) = now { (now::section(now)) }
        (picks::section(report))
        (trust::section(report))
        (front_table::section(report))
        (figures::effects(report))
        (trouble::section(report))
        (figures::relations())
        (trials::section(report)?)
        (figures::curves(report))
        (origin::section(report))
        (recipe::section(report))
        (method::section())
    };
    Ok(Document { title: format!("{}: what was found", report.view.space.name), body, data: Some(data::of(report)?) })
}

/// What the study is and how far it came.
fn heading(report: &Report) -> Markup {
    let view = &report.view;
    let count = |status| view.count(status);
    let [done, diverged, failed, stopped] =
        [Status::Done, Status::Diverged, Status::Failed, Status::Stopped].map(count);
    let trials = view.wanted().count();
    let open = trials - done - diverged - failed - stopped;
    let config = &view.expansion.candidates[0].config;
    let images = config.data.name.label();
    let counts = [(diverged, "diverged"), (failed, "failed"), (stopped, "given up"), (open, "not ended yet")];
    let [validation, test] = view.images();
    html! {
        header {
            p.eyebrow { "fastrcaps study" }
            h1 { (view.space.name) }
            p.lead {
                (plural(view.expansion.candidates.len(), "configuration")) " on " (images) " (" (from_to(validation)) " images to validate, " (from_to(test)) " to test), "
                 (plural(trials, "trial")) ": " (done) " done"
                @for (count, word) in counts { @if count > 0 { ", " b { (count) " " (word) } } }
                "."
            }
            nav aria-label="Sections" {
                @for (id, name) in SECTIONS { a href={ "#" (id) } { (name) } }
            }
        }
    }
}

/// The sections by their anchors: first what answers a question, then what it is looked up in.
const SECTIONS: [(&str, &str); 10] = [
    ("picks", "What to train with"),
    ("trust", "Can I trust it?"),
    ("front", "Front"),
    ("effects", "What each optimisation does"),
    ("trouble", "What went wrong"),
    ("relations", "All axes"),
    ("trials", "Trials"),
    ("curves", "Curves"),
    ("origin", "Machine and origin"),
    ("method", "Method"),
];

/// Where the page explains a figure: a heading of METHODOLOGY.md.
fn how(heading: &str) -> Markup {
    html! { a href={ "#" (method::anchor(heading)) } { "METHODOLOGY.md, “" (method::title(heading)) "”" } }
}

/// An em dash where there is nothing.
fn or_dash(text: Option<String>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or_else(|| "–".into())
}

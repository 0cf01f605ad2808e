//! The machine, the build, the data: what the figures come from.

use maud::{Markup, html};

use super::{Report, how, or_dash};
use crate::{
    base::words::{gigabytes, plural},
    learn::record::TrialRecord,
    timing::sets::TimeSet,
};

pub fn section(report: &Report) -> Markup {
    let Report { view, declared, .. } = report;
    let started = view.records.iter().flatten().filter_map(|of| of.started.as_deref()).min();
    let ended = view.records.iter().flatten().filter_map(|of| of.ended.as_deref()).max();
    let counts = view.expansion.candidates[0].config.data.counts();
    html! {
        section #origin aria-labelledby="origin-heading" {
            h2 #origin-heading { "Machine and origin" }
            div.scroll tabindex="0" role="region" aria-label="Origin of the figures" { table.facts {
                tbody {
                    (machine(report))
                    (row("Program", &format!("fastrcaps {}, build {}; begun {}", declared.fastrcaps_version, declared.git_revision, declared.created)))
                    (row("Builds of the trials", &several(report, |of| of.git_revision.clone())))
                    (row("Devices of the trials", &several(report, |of| of.device.clone())))
                    (row("First start, last end of a trial", &format!("{} to {}", started.unwrap_or("–"), ended.unwrap_or("–"))))
                    (row("Images", &format!("{}: {} to train on, {} to validate, {} to test", view.expansion.candidates[0].config.data.name.label(), counts.train, counts.validation, counts.test)))
                    @for (selection, fingerprint) in &declared.data { (row("Data fingerprint", &format!("{fingerprint} (selection {selection})"))) }
                    (row("Identity of the study", &declared.identity))
                    (row("Times used", &or_dash(Some(view.times_line()))))
                    @for set in view.times.iter().chain(&report.other_sets) { (times(set)) }
                    @for error in &report.unread_sets { (row("A set of times that cannot be read", error)) }
                }
            } }
            p.how { "What may be compared with what: " (how("Time")) "; which bits repeat: " (how("Determinism")) "." }
        }
    }
}

fn row(name: &str, value: &str) -> Markup {
    html! { tr { th scope="row" { (name) } td { (value) } } }
}

fn machine(report: &Report) -> Markup {
    let Some(of) = &report.view.machine else { return row("Machine", "not known: there is no machine.json") };
    let memory = of.memory_bytes.map_or("memory not known".into(), |bytes| format!("{} of memory", gigabytes(bytes)));
    let processor = of.processor.as_deref().unwrap_or(&of.architecture);
    let gpus = if of.gpus.is_empty() { String::new() } else { format!(", {}", of.gpus.join(", ")) };
    row(
        "Machine",
        &format!(
            "{}: {} of {processor}, {memory}{gpus}, {}; slots {}",
            of.host,
            plural(of.cores, "core"),
            of.system,
            of.slots
        ),
    )
}

/// The values that a field of the records has, with their numbers where there are several.
fn several(report: &Report, field: impl Fn(&TrialRecord) -> Option<String>) -> String {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for record in report.view.records.iter().flatten() {
        let value = field(record).unwrap_or_else(|| "not known".into());
        match counts.iter_mut().find(|(known, _)| *known == value) {
            Some((_, count)) => *count += 1,
            None => counts.push((value, 1)),
        }
    }
    match counts.as_slice() {
        [] => "–".into(),
        [(only, _)] => only.clone(),
        several => several.iter().map(|(value, count)| format!("{value} ({count})")).collect::<Vec<_>>().join(", "),
    }
}

fn times(set: &TimeSet) -> Markup {
    let of = &set.fingerprint;
    let fields = match serde_json::to_value(of) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let known = fields.iter().filter(|(_, value)| !value.is_null());
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), String::from);
    let words: Vec<String> = known.map(|(name, value)| format!("{} {}", name.replace('_', " "), text(value))).collect();
    row(&format!("Fingerprint of the times “{}”", set.name), &format!("host {}, {}", set.host, words.join(", ")))
}

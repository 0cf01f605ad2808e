//! What is to be known of a study's times beside the times: that a file of them cannot be used, and speed-ups by origin.

use std::collections::BTreeSet;

use fastrcaps::{
    analysis::Basis,
    base::words::plural,
    present::report::{findings::Findings, origins, view::StudyView},
};

use super::display::aligned;

/// Notes and a table; empty if there is nothing to say.
pub fn notes(view: &StudyView, findings: &Findings) -> String {
    let mut text =
        view.times_error.as_ref().map_or(String::new(), |error| format!("Times are not confirmed: {error}.\n"));
    let is_confirmed = findings.points.iter().any(|point| point.time.basis == Basis::Confirmed);
    let on = if is_confirmed { Vec::new() } else { origins::speedups(view) };
    if on.len() < 2 {
        return text;
    }
    let mut header = vec!["SPEED-UP OVER THE BASELINE".to_string()];
    header.extend((1..=on.len()).map(|number| format!("ON {number}")));
    let mut rows = vec![header];
    let front: BTreeSet<usize> = findings.front.iter().map(|index| findings.points[*index].candidate).collect();
    for candidate in front {
        let cell = |speedup: Option<f64>| speedup.map_or("unknown".into(), |speedup| format!("{speedup:.2}×"));
        let cells = on.iter().map(|of| cell(of.speedups[candidate]));
        rows.push(std::iter::once(view.expansion.candidates[candidate].label.clone()).chain(cells).collect());
    }
    text += &aligned(&rows);
    for (number, of) in on.iter().enumerate() {
        text += &format!("  ON {}: {}: {}\n", number + 1, plural(of.trials, "trial"), of.origin);
    }
    text
}

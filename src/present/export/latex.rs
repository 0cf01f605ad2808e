//! The front of a study as a LaTeX table.

use std::fmt::Write;

use crate::{
    analysis::{Basis, Point},
    base::words::{duration, plural},
    present::report::{
        findings::{Findings, accuracy_sd, test_accuracy},
        view::StudyView,
    },
};

/// The front of time, accuracy and parameters, for a document that uses `booktabs`; with the baseline, where that is not on it.
pub fn latex(view: &StudyView, findings: &Findings) -> Vec<u8> {
    let mut rows: Vec<usize> = findings.wide_front.clone();
    rows.extend(findings.baseline.filter(|of| !findings.wide_front.contains(of)));
    let mut text = String::from("% The front of a study, by fastrcaps. Needs \\usepackage{booktabs}.\n");
    text += "\\begin{tabular}{lrrrrrr}\n\\toprule\n";
    text +=
        "Configuration & Time & Validation (\\%) & Test (\\%) & Parameters & Speed-up & Change (pp) \\\\\n\\midrule\n";
    for index in rows {
        text += &row(findings, index);
    }
    text += "\\bottomrule\n\\end{tabular}\n";
    let replicates = rows_of(findings).map(|of| of.accuracy.len()).max().unwrap_or(0);
    let _ = writeln!(text, "% Mean $\\pm$ standard deviation of up to {}.", plural(replicates, "replicate"));
    if rows_of(findings).any(|of| of.time.basis == Basis::Screened) {
        text += "% $\\sim$ taken beside other trials, not confirmed.\n";
    }
    let _ = writeln!(text, "% Study {}; times: {}.", one_line(&view.space.name), one_line(&view.times_line()));
    text.into_bytes()
}

fn rows_of(findings: &Findings) -> impl Iterator<Item = &Point> {
    findings.wide_front.iter().chain(&findings.baseline).map(|index| &findings.points[*index])
}

fn row(findings: &Findings, index: usize) -> String {
    let of = &findings.points[index];
    let change = findings.change(index);
    let dash = || "--".to_string();
    let mark = if of.time.basis == Basis::Screened { "$\\sim$" } else { "" };
    let spread = accuracy_sd(of).map_or(String::new(), |sd| format!(" $\\pm$ {:.2}", 100.0 * sd));
    let is_baseline = findings.baseline == Some(index);
    let cells = [
        format!("{}{}", escaped(&of.label), if is_baseline { " (baseline)" } else { "" }),
        of.seconds().map_or_else(dash, |seconds| format!("{mark}{}", escaped(&duration(seconds)).replace(' ', "~"))),
        of.mean_accuracy().map_or_else(dash, |mean| format!("{:.2}{spread}", 100.0 * mean)),
        test_accuracy(of).map_or_else(dash, |mean| format!("{:.2}", 100.0 * mean)),
        grouped(of.parameters),
        change.and_then(|of| of.speedup).map_or_else(dash, |of| format!("{of:.2}$\\times$")),
        change.and_then(|of| of.accuracy_change).map_or_else(dash, |of| format!("${:+.2}$", 100.0 * of)),
    ];
    format!("{} \\\\\n", cells.join(" & "))
}

/// Thousands apart, as in 401\,328.
fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group).into_owned());
    groups.collect::<Vec<_>>().join("\\,")
}

/// A text as LaTeX prints it, whatever is in it.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        match letter {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', letter]),
            '\\' => escaped.push_str("\\textbackslash{}"),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            '<' => escaped.push_str("\\textless{}"),
            '>' => escaped.push_str("\\textgreater{}"),
            '|' => escaped.push_str("\\textbar{}"),
            '"' => escaped.push_str("\\textquotedbl{}"),
            '×' => escaped.push_str("$\\times$"),
            '±' => escaped.push_str("$\\pm$"),
            letter if letter.is_control() => escaped.push(' '),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// Of a comment.
fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

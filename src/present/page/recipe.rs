//! How to go on with the study, and how to have it again.

use maud::{Markup, html};

use super::{Report, how};
use crate::base::words::shell_line;

pub fn section(report: &Report) -> Markup {
    let file = format!("{}.toml", report.view.space.name);
    html! {
        section #again aria-labelledby="again-heading" {
            h2 #again-heading { "Continue or reproduce" }
            p { "This continues the study, or makes it again where the folder is not there. " code { (file) } " is the space below; \
                 add " code { "--data-dir" } " where the images lie elsewhere. The same build on the same kind of processor gives the \
                 same bits; times are measured anew. " (how("Determinism")) }
            pre.command { code { (command(report, &file)) } }
            p { "This writes this page again:" }
            pre.command { code { (shell_line(["fastrcaps", "report", &report.folder].map(String::from))) } }
            details {
                summary { "The space, " (file) }
                pre { code { (report.declared.space) } }
            }
        }
    }
}

/// What of the study's declaration is on the command line: the values that were set, the replicates, the slots.
fn command(report: &Report, file: &str) -> String {
    let declared = &report.declared;
    let mut words = vec!["fastrcaps".to_string(), "explore".into(), file.into(), "--out".into(), report.folder.clone()];
    for (path, value) in &declared.set {
        words.extend(["--set".to_string(), format!("{path}={value}")]);
    }
    if declared.asked_replicates > 0 {
        words.extend(["--replicates".to_string(), declared.asked_replicates.to_string()]);
    }
    if let Some(machine) = &report.view.machine {
        words.extend(["--slots".to_string(), machine.slots.clone()]);
    }
    shell_line(words)
}

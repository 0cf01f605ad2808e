//! What happens in a study at this moment, for a page that is served.

use maud::{Markup, html};

use super::Document;

/// How a study stands now, in words.
pub struct Now {
    /// Who explores it.
    pub who: String,
    pub progress: String,
    /// Why nothing is started.
    pub paused: Option<String>,
    /// How long the rest takes.
    pub left: Option<String>,
    /// Configuration, epochs, accuracy and running time of each trial that runs.
    pub running: Vec<[String; 4]>,
}

pub fn section(now: &Now) -> Markup {
    html! {
        section #now aria-labelledby="now-heading" {
            h2 #now-heading { "Now" }
            p { (now.progress) "; " (now.who) "." @if let Some(left) = &now.left { " The rest takes " (left) " at this pace." } }
            @if let Some(paused) = &now.paused { p.warning { (paused) } }
            @if !now.running.is_empty() {
                div.scroll tabindex="0" role="region" aria-label="Trials that run" { table {
                    thead { tr { th scope="col" { "Runs" } th.number scope="col" { "Epoch" } th.number scope="col" { "Validation" } th.number scope="col" { "For" } } }
                    tbody { @for [configuration, cells @ ..] in &now.running { tr { th scope="row" { (configuration) } @for cell in cells { td.number { (cell) } } } } }
                } }
            }
        }
    }
}

/// A page that says why there is none yet.
pub fn unreadable(why: &str) -> Document {
    let body = html! {
        header { h1 { "There is nothing to show yet" } p.lead { (why) } p { "This page is taken anew when that changes." } }
    };
    Document { title: "fastrcaps".into(), body, data: None }
}

//! All studies of a folder, for a page that is served.

use maud::{Markup, html};

use super::Document;

/// A study in a line. `path` is its name as part of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    pub name: String,
    pub path: String,
    pub progress: String,
    pub is_explored: bool,
    /// The most accurate configuration on its front, with its accuracy and time.
    pub best: String,
    pub accuracy: String,
    pub time: String,
}

pub fn html(lines: &[Line]) -> Document {
    let body = html! {
        header { p.eyebrow { "fastrcaps" } h1 { "Studies" } }
        div.scroll tabindex="0" role="region" aria-label="Studies" { table {
            thead { tr {
                th scope="col" { "Study" } th scope="col" { "Progress" } th scope="col" { "Most accurate on its front" }
                th.number scope="col" { "Validation" } th.number scope="col" { "Time" } th scope="col" { "Beside another" }
            } }
            tbody { @for line in lines { tr {
                th scope="row" { a href={ "/study/" (line.path) } { (line.name) } @if line.is_explored { " " span.badge.sure { "explored now" } } }
                td { (line.progress) }
                td { (line.best) }
                td.number { (line.accuracy) }
                td.number { (line.time) }
                td { (beside(line, lines)) }
            } } }
        } }
    };
    Document { title: "Studies".into(), body, data: None }
}

/// Links to the pages on which both fronts are.
fn beside(line: &Line, lines: &[Line]) -> Markup {
    html! {
        details {
            summary { "both fronts with …" }
            ul { @for other in lines.iter().filter(|other| other.name != line.name) {
                li { a href={ "/compare/" (line.path) "/" (other.path) } { (other.name) } }
            } }
        }
    }
}

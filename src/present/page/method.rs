//! METHODOLOGY.md as part of the page, so that its references lead somewhere without a network.

use maud::{Markup, PreEscaped, html};
use pulldown_cmark::{Options, Parser};

const METHODOLOGY: &str = include_str!("../../../METHODOLOGY.md");

/// Where a section stands in the page, by its heading.
pub fn anchor(heading: &str) -> String {
    let words = heading.to_lowercase();
    let words = words.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    format!("method-{}", words.collect::<Vec<_>>().join("-"))
}

/// A heading as text.
pub fn title(heading: &str) -> String {
    heading.replace('`', "")
}

/// The headings of its sections with their texts, in order; what comes before the first is none.
fn sections() -> impl Iterator<Item = (&'static str, &'static str)> {
    METHODOLOGY.split("\n## ").skip(1).filter_map(|section| section.split_once('\n'))
}

pub fn section() -> Markup {
    html! {
        section #method aria-labelledby="method-heading" {
            h2 #method-heading { "Method: how every figure is made" }
            p.how { "METHODOLOGY.md of the build that wrote this page, whole." }
            @for (heading, text) in sections() {
                details.method id=(anchor(heading)) {
                    summary { (title(heading)) }
                    (rendered(text))
                }
            }
        }
    }
}

/// The document is ours: it holds no HTML, and nothing of a study.
fn rendered(text: &str) -> Markup {
    let mut html = String::new();
    pulldown_cmark::html::push_html(&mut html, Parser::new_ext(text, Options::ENABLE_TABLES));
    // Its links lead to files beside it, which the page does not have.
    let html = html.replace("<a href=\"", "<a data-file=\"");
    PreEscaped(html)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heading_has_an_anchor_of_its_words() {
        assert_eq!(anchor("Effects (`attribution`)"), "method-effects-attribution");
        assert!(sections().any(|(heading, _)| heading == "The front"));
    }
}

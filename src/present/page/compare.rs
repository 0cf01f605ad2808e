//! Two studies on one page.

use maud::{Markup, html};
use serde_json::{Value, json};

use super::{Document, how};
use crate::{
    analysis::{Basis, Extent},
    present::report::comparison::{Comparison, Side},
};

/// Shared configurations that the page lists.
const MOST: usize = 500;

/// The page of a comparison.
pub fn html(of: &Comparison) -> Document {
    let [a, b] = &of.sides;
    let title = format!("{} and {}", a.view.space.name, b.view.space.name);
    let body = html! {
        header {
            p.eyebrow { "fastrcaps: two studies" }
            h1 { (title) }
        }
        @for warning in &of.warnings { p.warning { (warning) } }
        section aria-labelledby="fronts-heading" {
            h2 #fronts-heading { "Both fronts" }
            figure {
                div.chart #chart-overlay role="img" aria-label="Validation accuracy over training time of both studies" hidden {}
                noscript { p { "The picture takes JavaScript; the table below has its ends." } }
                figcaption {
                    "The points of both studies, large where they are on their own study's front. Filled: confirmed times; hollow: screened. "
                    @if !of.is_same_data { b { "Accuracies of the two do not compare. " } }
                    @if !of.are_same_times { b { "Times of the two do not compare: look at each beside its own baseline. " } }
                    "How a front is made: " (how("The front"))
                }
            }
            (table(of))
        }
        (shared(of))
        (super::method::section())
    };
    let overlay: Vec<Value> = of.sides.iter().enumerate().map(|(at, side)| points(side, at, &of.sides)).collect();
    Document { title, body, data: Some(json!({ "overlay": overlay })) }
}

fn name(side: &Side, at: usize, sides: &[Side; 2]) -> String {
    let is_alone = sides[0].view.space.name != sides[1].view.space.name;
    if is_alone {
        side.view.space.name.clone()
    } else {
        format!("{} ({}: {})", side.view.space.name, at + 1, side.folder)
    }
}

fn table(of: &Comparison) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="The two studies" { table {
            thead { tr {
                th scope="col" { "" }
                @for (at, side) in of.sides.iter().enumerate() { th scope="col" { (name(side, at, &of.sides)) } }
            } }
            tbody { @for [what, a, b] in of.rows() { tr { th scope="row" { (what) } td { (a) } td { (b) } } } }
        } }
        p.how { "The hypervolume is that of both up to one reference: the longest time of either, the accuracy of guessing. It is left out where accuracies or times do not compare." }
    }
}

fn shared(of: &Comparison) -> Markup {
    let rows = of.shared_rows();
    html! {
        section aria-labelledby="shared-heading" {
            h2 #shared-heading { "Configurations that both have" }
            @if rows.is_empty() { p.none { "None with the same values on the same data was trained to its end in both." } } @else {
                div.scroll tabindex="0" role="region" aria-label="Shared configurations" { table {
                    thead { tr {
                        th scope="col" { "Configuration" }
                        @for heading in ["Validation, first", "second", "Difference, points", "Time, first", "second", "First by second"] { th.number scope="col" { (heading) } }
                    } }
                    tbody { @for [label, cells @ ..] in rows.iter().take(MOST) { tr { th scope="row" { (label) } @for cell in cells { td.number { (cell) } } } } }
                } }
                @if rows.len() > MOST { p { "The first " (MOST) " of " (rows.len()) "." } }
            }
        }
    }
}

/// What the picture shows of one study.
fn points(side: &Side, at: usize, sides: &[Side; 2]) -> Value {
    let all = side.findings.points.iter().enumerate();
    let shown: Vec<_> = all
        .filter(|(index, of)| of.extent == Extent::Whole || side.findings.front.contains(index))
        .filter(|(_, of)| of.objectives().iter().all(|value| value.is_finite()))
        .collect();
    json!({
        "name": name(side, at, sides),
        "labels": shown.iter().map(|(_, of)| &of.label).collect::<Vec<_>>(),
        "seconds": shown.iter().map(|(_, of)| of.seconds()).collect::<Vec<_>>(),
        "accuracy": shown.iter().map(|(_, of)| of.mean_accuracy()).collect::<Vec<_>>(),
        "confirmed": shown.iter().map(|(_, of)| of.time.basis == Basis::Confirmed).collect::<Vec<_>>(),
        "replicates": shown.iter().map(|(_, of)| of.accuracy.len()).collect::<Vec<_>>(),
        "parameters": shown.iter().map(|(_, of)| of.parameters).collect::<Vec<_>>(),
        "front": shown.iter().map(|(index, _)| side.findings.front.contains(index)).collect::<Vec<_>>(),
    })
}

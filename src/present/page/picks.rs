//! What to train with: three configurations, each by a constraint that many have.

use maud::{Markup, html};

use super::{Report, how, method};
use crate::{
    analysis::{
        Basis, Point,
        bootstrap::difference_interval,
        pick::{self, Choice, Constraint, Constraints, NearBest, Pick, PickError},
    },
    base::words::{plural, shell_line},
    present::report::{
        cells::{self, points},
        findings::{test_accuracy, test_accuracy_sd},
    },
};

/// What is asked for, as a heading and as flags of `fastrcaps pick`.
struct Asked {
    heading: &'static str,
    id: &'static str,
    flags: &'static str,
    constraints: Constraints,
}

fn asked() -> [Asked; 3] {
    let near_best = Some(NearBest::Within(0.0));
    [
        Asked {
            heading: "Fastest at the baseline's accuracy",
            id: "fastest",
            flags: "--max-accuracy-loss 0pp",
            constraints: Constraints { limits: vec![Constraint::MaxAccuracyLoss(0.0)], ..Constraints::default() },
        },
        Asked {
            heading: "Most accurate",
            id: "accurate",
            flags: "--within 0pp",
            constraints: Constraints { near_best, ..Constraints::default() },
        },
        Asked {
            heading: "Knee: where more time begins to bring less",
            id: "knee",
            flags: "--knee",
            constraints: Constraints { choice: Choice::Knee, ..Constraints::default() },
        },
    ]
}

pub fn section(report: &Report) -> Markup {
    let design = report.view.design();
    html! {
        section #picks aria-labelledby="picks-heading" {
            h2 #picks-heading { "What should I train with?" }
            p.how {
                "Chosen by mean validation accuracy and training time among all points of the study, never by test accuracy. \
                 How: " (how("Pick")) "; intervals: " (how("Uncertainty")) "."
            }
            div.cards {
                @for asked in asked() {
                    article.card aria-labelledby={ "pick-" (asked.id) } {
                        h3 #{ "pick-" (asked.id) } { (asked.heading) }
                        @match pick::pick(&report.findings.points, &design, &asked.constraints) {
                            Ok(pick) => (chosen(report, &asked, &pick)),
                            Err(error) => p.none { "None: " (shown(&error)) "." },
                        }
                    }
                }
            }
            @if let Some(baseline) = report.baseline() {
                p { "The baseline is " b { (baseline.label) } ": " (cells::time(baseline)) ", validation " (cells::accuracy(baseline)) "." }
            }
            (basis_note(report))
        }
    }
}

fn shown(error: &PickError) -> String {
    error.to_string().trim_end_matches('.').to_string()
}

fn chosen(report: &Report, asked: &Asked, pick: &Pick) -> Markup {
    let all = &report.findings.points;
    let point = &all[pick.point];
    let base = pick.baseline.map(|index| &all[index]);
    let screened = point.time.basis == Basis::Screened;
    html! {
        p.chosen { (point.label) }
        dl {
            dt { "Training time" @if screened { " " span.badge title="Taken beside other trials" { "screened" } } @else { " " span.badge.sure { "confirmed" } } }
            dd { (cells::time(point)) }
            dt { "Validation accuracy" }
            dd { (cells::accuracy(point)) }
            dt { "Against the baseline" }
            dd { (against(point, base)) }
            dt { "Test accuracy (reported, not chosen by)" }
            dd { (cells::mean_and_deviation(test_accuracy(point), test_accuracy_sd(point))) }
            dt { "Parameters" }
            dd { (point.parameters) }
            dt { "How sure" }
            dd { (cells::confidence(pick.confidence)) }
            dt { "Why" }
            dd { (pick.why) "." }
            dt { "Next best" }
            dd { @match &pick.runner_up { Some(next) => { (all[next.point].label) ": " (next.why_not) }, None => "nothing else" } }
            @for note in &pick.notes { dt { "Note" } dd { (note) } }
        }
        p.command-name { "Write its config, and train it:" }
        pre.command { code { (command(report, asked)) } }
        details {
            summary { "Its configuration" }
            @match report.view.config(point) {
                Ok(config) => pre { code { (config.to_toml()) } },
                Err(error) => p { (format!("{error:#}")) },
            }
        }
    }
}

fn command(report: &Report, asked: &Asked) -> String {
    let file = format!("{}.toml", asked.id);
    let times = report.view.times.as_ref().filter(|set| set.name != crate::timing::sets::DEFAULT_SET);
    let mut pick = vec!["fastrcaps".to_string(), "pick".into(), report.folder.clone()];
    pick.extend(asked.flags.split(' ').map(String::from));
    pick.extend(times.into_iter().flat_map(|set| ["--times".to_string(), set.name.clone()]));
    pick.extend(["--out".to_string(), file.clone()]);
    let train = ["fastrcaps", "train", &file, "--out", &format!("trained-{}", asked.id)].map(String::from);
    format!("{}\n{}", shell_line(pick), shell_line(train))
}

/// Speed-up and change of accuracy, with the interval of the latter.
fn against(point: &Point, base: Option<&Point>) -> String {
    let Some(base) = base else { return "no baseline has ended".into() };
    if std::ptr::eq(point, base) {
        return "it is the baseline".into();
    }
    let speed = point.speedup(base).map_or("speed-up unknown".into(), |of| format!("{} as fast", cells::factor(of)));
    let change = point.accuracy_change(base).map_or("change of accuracy unknown".into(), |change| {
        let interval = difference_interval(point, base).map_or(String::new(), |(low, high)| {
            let shared = point.accuracy.keys().filter(|key| base.accuracy.contains_key(key)).count();
            format!(" (95 %: {} to {}; {})", points(low), points(high), plural(shared, "pair"))
        });
        format!("{} points of accuracy{interval}", points(change))
    });
    format!("{speed}, {change}")
}

/// What times are, and that some or all are screened only.
fn basis_note(report: &Report) -> Markup {
    let basis = |point: &&Point| point.time.basis == Basis::Confirmed;
    let whole = || report.findings.points.iter().filter(|point| !point.time.seconds.is_empty());
    let (confirmed, all) = (whole().filter(basis).count(), whole().count());
    html! {
        @if all > 0 && confirmed < all {
            p.warning {
                @if confirmed == 0 { "All times are screened: " } @else { (confirmed) " of " (plural(all, "time")) " are confirmed, the others screened: " }
                "taken while trials ran beside each other (marked ~, drawn hollow). Decide nothing by differences of some ten per \
                 cent. " code { (format!("fastrcaps time {}", report.folder)) } " times the steps alone. "
                a href={ "#" (method::anchor("Time")) } { "What both mean" } "."
            }
        }
    }
}

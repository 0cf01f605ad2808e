//! What to train with: in a sentence first, then the configurations, each with the constraints of many that it is the answer to.

use maud::{Markup, html};

use super::{Report, how};
use crate::{
    analysis::{
        Basis, Point,
        bootstrap::difference_interval,
        pick::{self, Choice, Constraint, Constraints, NearBest, Pick, PickError},
    },
    base::words::{accuracy as percent, plural, shell_line},
    present::report::{
        cells::{self, points},
        findings::{test_accuracy, test_accuracy_sd},
    },
};

/// What is asked for: as a heading, as what the answer is, and as flags of `fastrcaps pick`.
struct Asked {
    heading: &'static str,
    is: &'static str,
    id: &'static str,
    flags: &'static str,
    constraints: Constraints,
}

fn asked() -> [Asked; 3] {
    let near_best = Some(NearBest::Within(0.0));
    [
        Asked {
            heading: "Fastest at the baseline's accuracy",
            is: "the fastest at the baseline's accuracy",
            id: "fastest",
            flags: "--max-accuracy-loss 0pp",
            constraints: Constraints { limits: vec![Constraint::MaxAccuracyLoss(0.0)], ..Constraints::default() },
        },
        Asked {
            heading: "Most accurate",
            is: "the most accurate",
            id: "accurate",
            flags: "--within 0pp",
            constraints: Constraints { near_best, ..Constraints::default() },
        },
        Asked {
            heading: "Knee: where more time begins to bring less",
            is: "the knee of the front (where more time begins to bring less)",
            id: "knee",
            flags: "--knee",
            constraints: Constraints { choice: Choice::Knee, ..Constraints::default() },
        },
    ]
}

/// A configuration with all that it is the answer to.
struct Answer<'a> {
    point: usize,
    asked: Vec<(&'a Asked, Pick)>,
}

/// The answers, each configuration once; and what has none, with the reason.
fn answers<'a>(report: &Report, all: &'a [Asked]) -> (Vec<Answer<'a>>, Vec<(&'a Asked, PickError)>) {
    let design = report.view.design();
    let (mut answers, mut none): (Vec<Answer>, Vec<_>) = (Vec::new(), Vec::new());
    for asked in all {
        match pick::pick(&report.findings.points, &design, &asked.constraints) {
            Err(error) => none.push((asked, error)),
            Ok(pick) => match answers.iter_mut().find(|of| of.point == pick.point) {
                Some(answer) => answer.asked.push((asked, pick)),
                None => answers.push(Answer { point: pick.point, asked: vec![(asked, pick)] }),
            },
        }
    }
    (answers, none)
}

pub fn section(report: &Report) -> Markup {
    let all = asked();
    let (answers, none) = answers(report, &all);
    html! {
        section #picks aria-labelledby="picks-heading" {
            h2 #picks-heading { "What should I train with?" }
            (verdict(report, &answers))
            p.how {
                "Chosen by mean validation accuracy and training time among all points of the study, never by test accuracy. \
                 How: " (how("Pick")) "; intervals: " (how("Uncertainty")) "."
            }
            div.cards {
                @for answer in &answers { (card(report, answer)) }
                @for (asked, error) in &none {
                    article.card aria-labelledby={ "pick-" (asked.id) } {
                        h3 #{ "pick-" (asked.id) } { (asked.heading) }
                        p.none { "None: " (cells::pick_error(error).trim_end_matches('.')) "." }
                    }
                }
            }
            @if let Some(baseline) = report.baseline() {
                p { "The baseline is " b { (baseline.label) } ": " (cells::time(baseline)) ", validation " (cells::accuracy(baseline)) "." }
            }
        }
    }
}

/// All answers in one paragraph, the first one as what to train with.
fn verdict(report: &Report, answers: &[Answer]) -> Markup {
    let [first, others @ ..] = answers else {
        return html! { p.none { "Nothing can be said yet: no configuration was trained to its end." } };
    };
    let point = |of: &Answer| &report.findings.points[of.point];
    let figures = |of: &Point| format!("{}, {}", percent(of.mean_accuracy()), cells::marked_time(of));
    let is_baseline = report.baseline().is_some_and(|base| std::ptr::eq(base, point(first)));
    html! {
        p.verdict {
            "Train with " b { (point(first).label) } ": it is " @if is_baseline { "the baseline itself, " } (named(first))
            " (" (figures(point(first))) @if let Some(base) = report.baseline().filter(|_| !is_baseline) { "; " (against(point(first), Some(base))) } ")."
            @for other in others { " " (capital(&named(other))) " is " b { (point(other).label) } " (" (figures(point(other))) ")." }
        }
        @for answer in answers.iter().filter(|of| report.view.is_chance(point(of))) {
            p.warning { b { (point(answer).label) } " is no better than chance: it learned nothing that " (report.view.validated_on(point(answer).candidate)) " validation images could show." }
        }
    }
}

/// All that a configuration is the answer to, in words.
fn named(of: &Answer) -> String {
    match of.asked.iter().map(|(asked, _)| asked.is).collect::<Vec<_>>().as_slice() {
        [] => String::new(),
        [only] => (*only).into(),
        [first, last] => format!("{first} and {last}"),
        [first @ .., last] => format!("{}, and {last}", first.join(", ")),
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// A configuration: its figures once, and to each question that it answers why, how surely, and what comes next.
fn card(report: &Report, answer: &Answer) -> Markup {
    let all = &report.findings.points;
    let point = &all[answer.point];
    let Some((first, _)) = answer.asked.first() else { return html! {} };
    let base = report.baseline();
    let screened = point.time.basis == Basis::Screened;
    let headings: Vec<&str> = answer.asked.iter().map(|(asked, _)| asked.heading).collect();
    let mut notes: Vec<&String> = answer.asked.iter().flat_map(|(_, pick)| &pick.notes).collect();
    notes.dedup();
    html! {
        article.card aria-labelledby={ "pick-" (first.id) } {
            h3 #{ "pick-" (first.id) } { (headings.join(" · ")) }
            p.chosen { (point.label) }
            dl {
                dt { "Training time" @if screened { " " span.badge title="Taken beside other trials" { "screened" } } @else { " " span.badge.sure { "confirmed" } } }
                dd { (cells::time(point)) }
                dt { "Validation accuracy, of " (plural(report.view.validated_on(point.candidate), "image")) }
                dd { (cells::accuracy(point)) @if report.view.is_chance(point) { " " span.badge { "no better than chance" } } }
                dt { "Against the baseline" }
                dd { (against(point, base)) }
                dt { "Test accuracy (reported, not chosen by)" }
                dd { (cells::mean_and_deviation(test_accuracy(point), test_accuracy_sd(point))) }
                dt { "Parameters" }
                dd { (point.parameters) }
                @for (asked, pick) in &answer.asked {
                    dt { "Why, by " code { (asked.flags) } }
                    dd { (pick.why) "." }
                    dt { "How sure" }
                    dd { (cells::confidence(pick.confidence)) }
                    dt { "Next best" }
                    dd { @match &pick.runner_up { Some(next) => { (all[next.point].label) ": " (next.why_not) }, None => "nothing else" } }
                }
                @for note in notes { dt { "Note" } dd { (note) } }
            }
            p.command-name { "Write its config, and train it:" }
            pre.command { code { (command(report, first)) } }
            details {
                summary { "Its configuration" }
                @match report.view.config(point) {
                    Ok(config) => pre { code { (config.to_toml()) } },
                    Err(error) => p { (format!("{error:#}")) },
                }
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
    let speed = match point.speedup(base) {
        Some(_) if point.takes_steps_of(base) => "the same steps, so as fast".into(),
        Some(of) => format!("{} as fast", cells::factor(of)),
        None => "speed-up unknown".into(),
    };
    let change = point.accuracy_change(base).map_or("change of accuracy unknown".into(), |change| {
        let interval = difference_interval(point, base).map_or(String::new(), |(low, high)| {
            let shared = point.accuracy.keys().filter(|key| base.accuracy.contains_key(key)).count();
            format!(" (95 %: {} to {}; {})", points(low), points(high), plural(shared, "pair"))
        });
        format!("{} points of accuracy{interval}", points(change))
    });
    format!("{speed}, {change}")
}

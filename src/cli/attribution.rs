//! `fastrcaps attribution`: main effects of the optimisations of a study, their interactions, and ladders.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, anyhow};
use fastrcaps::{
    analysis::{
        Basis, Point,
        attribution::{self, Change, Effect, Interaction},
        contrast::{Measured, SpeedUp},
        ladder::{self, LadderStep, Rung},
    },
    base::words::three_digits,
    present::report::{
        cells::{INTERVALS, SCREENED, accuracy_cell, points as signed_points, speed, speed_cell},
        effects::{self, name, step_name},
        view::StudyView,
    },
    search::{space::Space, study::Study},
};
use serde_json::{Value, json};

use super::{
    columns::flowed,
    display::{aligned, duration},
    input::{TimesArg, outln},
};

/// Print the main effect of each optimisation on training time, accuracy and parameters, everything else equal.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fastrcaps attribution results/smoke                          effect of each optimisation
  fastrcaps attribution results/smoke --interactions           which help or hinder each other
  fastrcaps attribution results/smoke --ladder 'one-cycle, adabatch'
                                                               from the baseline to it, one at a time
  fastrcaps attribution results/smoke --csv > attribution.csv

An optimisation is one axis changed from the baseline's value to another. It is measured on pairs of configurations that \
differ in nothing else. What the two share, the values of the other axes, is a context. METHODOLOGY.md has the rules.")]
pub struct Args {
    /// A study folder, made by `fastrcaps explore`
    study: PathBuf,
    #[command(flatten)]
    times: TimesArg,
    /// Print interactions: the joint effect of two optimisations beyond their separate effects
    #[arg(long, conflicts_with = "ladder")]
    interactions: bool,
    /// Print a path from the baseline to this configuration (its name in trials.csv), one optimisation at a time
    #[arg(long, value_name = "CONFIGURATION")]
    ladder: Option<String>,
    /// Print as CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let view = args.times.read(&Study::new(args.study))?;
    let (space, design, points) = (&view.space, view.design(), view.points());
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_string();
    if let Some(label) = &args.ladder {
        let target = find(&points, label)?;
        let ladder = ladder::ladder(&design, &points, target)?;
        if args.json {
            outln!("{}", ladder_json(&view, &points, target));
        } else if args.csv {
            outln!("{}", text(effects::ladder(space, &points, &ladder)?));
        } else {
            outln!("{}", ladder_table(&view, &points, target)?);
        }
    } else if args.interactions {
        let interactions = attribution::interactions(&design, &points)?;
        if args.json {
            outln!("{}", json!(interactions.iter().map(|of| interaction_json(space, of)).collect::<Vec<_>>()));
        } else if args.csv {
            outln!("{}", text(effects::interactions(space, &interactions)?));
        } else {
            outln!("{}", interactions_table(space, &interactions));
        }
    } else {
        let effects = attribution::effects(&design, &points)?;
        if args.json {
            outln!("{}", json!(effects.iter().map(|of| effect_json(space, of)).collect::<Vec<_>>()));
        } else if args.csv {
            outln!("{}", text(effects::attribution(space, &effects)?));
        } else {
            outln!("{}", effects_table(space, &effects));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn effects_table(space: &Space, effects: &[Effect]) -> String {
    if effects.is_empty() {
        return "no two configurations that differ in one optimisation alone were trained yet".into();
    }
    let mut rows = vec![header("OPTIMISATION|SPEED-UP|ACCURACY, POINTS|PARAMETERS|CONTEXTS|AT THE BASELINE")];
    rows.extend(effects.iter().map(|effect| {
        let Change { contexts, diverged, accuracy, speed_up, parameters, .. } = &effect.overall;
        let alone = effect.at_baseline.as_ref().map(|of| {
            let accuracy = of.accuracy.map(|of| signed_points(of.estimate));
            let known = [of.speed_up.map(speed), accuracy];
            let known: Vec<String> = known.into_iter().flatten().collect();
            if of.diverged > 0 { "diverged".into() } else { known.join(", ") }
        });
        vec![
            name(space, &effect.optimisation),
            speed_cell(*speed_up),
            accuracy_cell(*accuracy),
            format!("{} %", three_digits(100.0 * parameters.mean)),
            if *diverged > 0 { format!("{contexts}, {diverged} diverged") } else { contexts.to_string() },
            alone.unwrap_or_default(),
        ]
    }));
    with_notes(&rows, effects.iter().any(|effect| is_screened(effect.overall.speed_up)))
}

fn interactions_table(space: &Space, interactions: &[Interaction]) -> String {
    if interactions.is_empty() {
        return "no two optimisations were trained together, alone and not at all, all else equal, yet".into();
    }
    let mut rows = vec![header("OPTIMISATIONS|ACCURACY, POINTS|SPEED-UP|CONTEXTS")];
    rows.extend(interactions.iter().map(|of| {
        vec![
            format!("{} + {}", name(space, &of.first), name(space, &of.second)),
            accuracy_cell(of.accuracy),
            speed_cell(of.speed_up),
            of.contexts.to_string(),
        ]
    }));
    let table = with_notes(&rows, interactions.iter().any(|of| is_screened(of.speed_up)));
    format!(
        "{table}\nWhat both do beyond the sum (of speed-ups: the product) of what each does: 0 and 1× where they do not touch."
    )
}

/// The ladder from the baseline to the point of index `target`, as a table.
pub fn ladder_table(view: &StudyView, points: &[Point], target: usize) -> Result<String> {
    let ladder = ladder::ladder(&view.design(), points, target)?;
    let mut rows = vec![header("CHANGE|TIME|SPEED-UP|TOTAL|ACCURACY, POINTS|TOTAL|PARAMETERS")];
    rows.extend(ladder.rungs.iter().map(|rung| {
        let (point, is_first) = (&points[rung.point], rung.step == LadderStep::Baseline);
        vec![
            step_name(&view.space, &rung.step),
            point.seconds().map(duration).unwrap_or_default(),
            if is_first { String::new() } else { speed_cell(rung.speed_up) },
            rung.total_speed_up.map(speed).unwrap_or_default(),
            if is_first { String::new() } else { accuracy_cell(rung.accuracy) },
            rung.total_accuracy.map(|of| signed_points(of.estimate)).unwrap_or_default(),
            point.parameters.to_string(),
        ]
    }));
    Ok(with_notes(&rows, ladder.rungs.iter().any(|rung| is_screened(rung.speed_up))))
}

/// The same as JSON; null if the study has no ladder.
pub fn ladder_json(view: &StudyView, points: &[Point], target: usize) -> Value {
    let ladder = ladder::ladder(&view.design(), points, target);
    ladder.map_or(Value::Null, |of| of.rungs.iter().map(|rung| rung_json(&view.space, points, rung)).collect())
}

fn header(text: &str) -> Vec<String> {
    text.split('|').map(String::from).collect()
}

fn with_notes(rows: &[Vec<String>], is_screened: bool) -> String {
    let screened = if is_screened { format!("\n{SCREENED}") } else { String::new() };
    format!("{}\n{}", aligned(rows), flowed(&format!("{INTERVALS}{screened}")))
}

fn is_screened(of: Option<SpeedUp>) -> bool {
    of.is_some_and(|of| of.basis == Basis::Screened)
}

/// Index of the point with this name; the error names the most similar ones.
fn find(points: &[Point], label: &str) -> Result<usize> {
    let parts =
        |label: &str| -> Vec<String> { label.to_lowercase().split(',').map(|part| part.trim().into()).collect() };
    // The order of the parts says nothing.
    let sorted = |label: &str| {
        let mut parts = parts(label);
        parts.sort();
        parts
    };
    let same = |point: &Point| point.label == label;
    let found =
        points.iter().position(same).or_else(|| points.iter().position(|of| sorted(&of.label) == sorted(label)));
    found.ok_or_else(|| {
        let wanted = parts(label);
        let distance = |point: &Point| {
            let own = parts(&point.label);
            let shared = own.iter().filter(|part| wanted.contains(part)).count();
            own.len() + wanted.len() - 2 * shared
        };
        let mut near: Vec<&Point> = points.iter().collect();
        near.sort_by_key(|point| distance(point));
        let near: Vec<String> = near.iter().take(5).map(|point| format!("{:?}", point.label)).collect();
        match near.is_empty() {
            true => anyhow!("no trial of the study has ended yet: there is no ladder to {label:?}"),
            false => anyhow!(
                "no configuration that was trained is called {label:?}; near to it: {}; all names are in trials.csv, those of shorter trainings with `, N epochs` after them",
                near.join(", ")
            ),
        }
    })
}

fn measured_json(of: Option<Measured>) -> Value {
    of.map_or(Value::Null, |of| {
        let (low, high) = of.interval.unzip();
        json!({
            "estimate": of.estimate,
            "low": low,
            "high": high,
            "measurements": of.measurements,
            "contexts": of.contexts,
            "least": of.least,
            "greatest": of.greatest,
            "contexts_better": of.better,
            "contexts_worse": of.worse,
        })
    })
}

fn speed_json(of: Option<SpeedUp>) -> Value {
    let mut value = measured_json(of.map(|of| of.factor));
    if let Some(of) = of {
        value["basis"] = json!(of.basis.as_str());
    }
    value
}

fn change_json(of: &Change) -> Value {
    json!({
        "contexts": of.contexts,
        "contexts_diverged": of.diverged,
        "contexts_without_time": of.without_time,
        "speedup": speed_json(of.speed_up),
        "accuracy_change": measured_json(of.accuracy),
        "parameter_share": {
            "mean": of.parameters.mean, "least": of.parameters.least, "greatest": of.parameters.greatest,
        },
    })
}

fn effect_json(space: &Space, of: &Effect) -> Value {
    json!({
        "optimisation": name(space, &of.optimisation),
        "axis": space.axes[of.optimisation.axis].path,
        "value": of.optimisation.to,
        "baseline_value": of.optimisation.from,
        "overall": change_json(&of.overall),
        "at_baseline": of.at_baseline.as_ref().map(change_json),
    })
}

fn interaction_json(space: &Space, of: &Interaction) -> Value {
    json!({
        "optimisations": [name(space, &of.first), name(space, &of.second)],
        "contexts": of.contexts,
        "accuracy_interaction": measured_json(of.accuracy),
        "speedup_interaction": speed_json(of.speed_up),
    })
}

fn rung_json(space: &Space, points: &[Point], rung: &Rung) -> Value {
    let point = &points[rung.point];
    json!({
        "change": step_name(space, &rung.step),
        "configuration": point.label,
        "seconds": point.seconds(),
        "accuracy": point.mean_accuracy(),
        "parameters": point.parameters,
        "speedup": speed_json(rung.speed_up),
        "total_speedup": speed_json(rung.total_speed_up),
        "accuracy_change": measured_json(rung.accuracy),
        "total_accuracy_change": measured_json(rung.total_accuracy),
    })
}

//! `fastrcaps front`: the front of a study, as a table.

use std::{fmt::Write, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::ValueEnum;
use fastrcaps::{
    report::{
        self,
        view::{self, Objectives, StudyView, Summary},
    },
    study::Study,
};

use super::{
    display::{aligned, duration, percent},
    input::outln,
};

/// Print the Pareto front of a study, with each configuration beside the baseline.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fastrcaps front results/smoke
  fastrcaps front results/smoke --objectives time-accuracy-parameters
  fastrcaps front results/smoke --csv > front.csv

The front is chosen by validation accuracy; test accuracy is reported beside it.")]
pub struct Args {
    /// A study folder, made by `fastrcaps explore`
    study: PathBuf,
    /// What a configuration must not be beaten in
    #[arg(long, value_enum, default_value_t = ObjectivesArg::TimeAccuracy)]
    objectives: ObjectivesArg,
    /// Print front.csv instead (time, accuracy and parameters)
    #[arg(long)]
    csv: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum ObjectivesArg {
    /// Training time and accuracy
    TimeAccuracy,
    /// Training time, accuracy and parameters
    TimeAccuracyParameters,
}

impl From<ObjectivesArg> for Objectives {
    fn from(arg: ObjectivesArg) -> Objectives {
        match arg {
            ObjectivesArg::TimeAccuracy => Objectives::TimeAccuracy,
            ObjectivesArg::TimeAccuracyParameters => Objectives::TimeAccuracyParameters,
        }
    }
}

pub fn run(args: Args) -> Result<ExitCode> {
    let view = StudyView::read(&Study::new(args.study))?;
    if args.csv {
        outln!("{}", String::from_utf8_lossy(&report::tables::front(&view)?).trim_end());
    } else {
        outln!("{}", table(&view, args.objectives.into()));
    }
    Ok(ExitCode::SUCCESS)
}

/// The front as a table, with its hypervolume.
pub fn table(view: &StudyView, objectives: Objectives) -> String {
    let summaries = view.summaries();
    let front = view::front(&summaries, objectives);
    let known = summaries.iter().filter(|summary| summary.done > 0).count();
    let mut text = String::new();
    if front.is_empty() {
        return "no configuration was trained to its end in all its replicates: there is no front yet".into();
    }
    let baseline = view.expansion.baseline.map(|index| &summaries[index]).filter(|baseline| baseline.done > 0);
    let mut rows: Vec<Vec<String>> =
        vec!["CONFIGURATION|TIME|VALIDATION|TEST|PARAMETERS|SPEED-UP|ACCURACY".split('|').map(String::from).collect()];
    rows.extend(front.iter().map(|index| row(&summaries[*index], baseline)));
    if let Some(baseline) = baseline.filter(|baseline| !front.contains(&baseline.candidate)) {
        let mut cells = row(baseline, Some(baseline));
        cells[0].push_str(" (not on the front)");
        rows.push(cells);
    }
    text += &aligned(&rows);
    let _ = writeln!(text, "\n{} of {known} configurations are on the front.", front.len());
    let classes = view.expansion.candidates[0].config.data.name.classes();
    if let Some(of) = view::hypervolume(&summaries, objectives, 1.0 / classes as f64) {
        let (unit, size) = match objectives {
            Objectives::TimeAccuracy => ("s", String::new()),
            Objectives::TimeAccuracyParameters => ("s × parameters", format!(", {} parameters", of.reference[2])),
        };
        let _ = write!(
            text,
            "Hypervolume {:.4e} {unit}, {} of the box up to the reference point: {}, accuracy {:.2}{size}.",
            of.volume,
            percent(Some(of.share)),
            duration(of.reference[0]),
            of.reference[1],
        );
    }
    text
}

fn row(of: &Summary, baseline: Option<&Summary>) -> Vec<String> {
    let spread = |mean: Option<view::Mean>| {
        mean.map_or("unknown".into(), |mean| match mean.sd {
            Some(sd) => format!("{:.2} ± {:.2} %", 100.0 * mean.mean, 100.0 * sd),
            None => percent(Some(mean.mean)),
        })
    };
    let change = baseline.map(|baseline| of.compare(baseline));
    vec![
        if of.done > 1 { format!("{} ({} replicates)", of.label, of.done) } else { of.label.clone() },
        of.train_seconds.map_or("unknown".into(), |mean| duration(mean.mean)),
        spread(of.validation_accuracy),
        spread(of.test_accuracy),
        of.parameters.to_string(),
        change.and_then(|change| change.speedup).map_or("".into(), |speedup| format!("{speedup:.2}×")),
        change
            .and_then(|change| change.accuracy_change)
            .map_or("".into(), |points| format!("{:+.2} points", 100.0 * points)),
    ]
}

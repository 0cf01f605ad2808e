//! `fastrcaps front`: the front of a study, as a table.

use std::{fmt::Write, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::ValueEnum;
use fastrcaps::{
    analysis::{self, Basis, Objectives, Point},
    base::words::{by_count, plural},
    present::report::{
        self,
        cells::{letter, marked_time, speed_beside_baseline},
        findings::{Findings, accuracy_sd, test_accuracy, test_accuracy_sd},
        reach::{self, Reach},
        view::StudyView,
    },
    search::study::Study,
    timing::sets::TimeSet,
};

use super::{
    columns::flowed,
    data::tell_differences,
    display::{aligned, duration, mean_and_deviation, percent, share_of_draws},
    input::{TimesArg, outln, parse_accuracy},
};

/// Print the Pareto front of a study, with each configuration beside the baseline.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fastrcaps front results/smoke
  fastrcaps front results/smoke --objectives time-accuracy-parameters
  fastrcaps front results/smoke --times gpu-server
  fastrcaps front results/smoke --time-to-accuracy 98%
  fastrcaps front results/smoke --csv > front.csv

Validation accuracy decides about the front; test accuracy is reported beside it.")]
pub struct Args {
    /// A study folder, made by `fastrcaps explore`
    study: PathBuf,
    /// Objectives of the front
    #[arg(long, value_enum, default_value_t = ObjectivesArg::TimeAccuracy)]
    objectives: ObjectivesArg,
    #[command(flatten)]
    times: TimesArg,
    /// Print the training time until each configuration reaches this validation accuracy instead, as in 0.98 or 98%
    #[arg(long, value_name = "ACCURACY", value_parser = parse_accuracy, conflicts_with = "objectives")]
    time_to_accuracy: Option<f64>,
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
    let study = Study::new(args.study);
    let view = args.times.read(&study)?;
    if let Some(target) = args.time_to_accuracy {
        let reaches = reach::time_to_accuracy(&view, target);
        match args.csv {
            true => outln!("{}", String::from_utf8_lossy(&reach::table(&reaches)?).trim_end()),
            false => outln!("{}", reach_table(&reaches, target, &view)),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let findings = Findings::of(&view);
    if args.csv {
        outln!("{}", String::from_utf8_lossy(&report::tables::front(&view, &findings)?).trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    tell_differences(&study.read()?.data_differences);
    outln!("{}", table(&view, &findings, args.objectives.into()));
    if let Some(text) = beside_other_machines(&study, &view, &findings)? {
        outln!("\n{text}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The front as a table, with its hypervolume.
pub fn table(view: &StudyView, findings: &Findings, objectives: Objectives) -> String {
    let front = findings.on(objectives);
    if front.is_empty() {
        return "no configuration was trained to its end in all its replicates: there is no front yet".into();
    }
    let groups = findings.groups(objectives);
    let has_no_spread = groups.iter().all(Option::is_none);
    let table = aligned(&rows_of(findings, objectives, &groups));
    let mut text = size_of_front(view, findings, objectives);
    if !has_no_spread {
        text += "ON FRONT: how probable that is, given the spread over replicates. Points of one GROUP cannot be told apart by accuracy.\n";
    }
    let replicates = || front.iter().chain(&findings.baseline).map(|index| findings.points[*index].accuracy.len());
    if let (Some(least), Some(most)) = (replicates().min(), replicates().max())
        && least < most
    {
        let _ = writeln!(
            text,
            "They have {least} to {most} replicates: means of different numbers are over different seeds. ACCURACY is over those \
             that a point and the baseline share."
        );
    }
    text += &notes(view, findings);
    format!("{table}{}", flowed(text.trim_end()))
}

/// The points of the front, in their groups, and the baseline.
fn rows_of(findings: &Findings, objectives: Objectives, groups: &[Option<usize>]) -> Vec<Vec<String>> {
    let front = findings.on(objectives);
    let header = "CONFIGURATION|TIME|VALIDATION|TEST|PARAMETERS|SPEED-UP|ACCURACY|ON FRONT|GROUP";
    let mut rows: Vec<Vec<String>> = vec![header.split('|').map(String::from).collect()];
    let probability = |index: usize| findings.memberships()[index].of(objectives);
    rows.extend(front.iter().zip(groups).map(|(index, group)| {
        let mut cells = row(findings, *index);
        cells.push(probability(*index).map_or(String::new(), share_of_draws));
        cells.push(group.map_or(String::new(), letter));
        cells
    }));
    if groups.iter().all(Option::is_none) {
        rows.iter_mut().for_each(|cells| cells.truncate(7));
    }
    if let Some(baseline) = findings.baseline.filter(|index| !front.contains(index)) {
        let mut cells = row(findings, baseline);
        cells[0].push_str(" (not on the front)");
        rows.push(cells);
    }
    rows
}

/// How many configurations are on the front, and how much it dominates.
fn size_of_front(view: &StudyView, findings: &Findings, objectives: Objectives) -> String {
    let front = findings.on(objectives);
    let mut text = String::new();
    let candidates: std::collections::BTreeSet<usize> =
        findings.points.iter().filter(|point| !point.accuracy.is_empty()).map(|point| point.candidate).collect();
    let of: std::collections::BTreeSet<usize> = front.iter().map(|index| findings.points[*index].candidate).collect();
    let (all, are) = (plural(candidates.len(), "configuration"), by_count(of.len(), "is", "are"));
    let _ = writeln!(text, "\n{} of {all} {are} on the front.", of.len());
    let classes = view.expansion.candidates[0].config.data.name.classes();
    let points: Vec<[f64; 3]> = findings.points.iter().map(Point::objectives).collect();
    if let Some(of) = analysis::hypervolume(&points, objectives, 1.0 / classes as f64) {
        let (unit, size) = match objectives {
            Objectives::TimeAccuracy => ("s", String::new()),
            Objectives::TimeAccuracyParameters => {
                ("s × parameters", format!(", {}", plural(of.reference[2] as usize, "parameter")))
            }
        };
        let _ = writeln!(
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

fn reach_table(reaches: &[Reach], target: f64, view: &StudyView) -> String {
    let mut rows: Vec<Vec<String>> = vec!["CONFIGURATION|TIME|EPOCHS|REACHED".split('|').map(String::from).collect()];
    rows.extend(reaches.iter().map(|of| {
        let mark = if of.basis == Basis::Screened { "~" } else { "" };
        let replicates = match (of.reached, of.replicates) {
            (0, _) => String::new(),
            (reached, of) if reached == of => "yes".into(),
            (reached, of) => format!("by {reached} of {of} replicates"),
        };
        vec![
            of.label.clone(),
            match of.seconds {
                Some(seconds) => format!("{mark}{}", duration(seconds)),
                None if of.reached > 0 => "unknown".into(),
                None => "not reached".into(),
            },
            of.epochs.map_or(String::new(), |epochs| format!("{epochs:.1}")),
            replicates,
        ]
    }));
    let mut text = format!("Training time until the validation accuracy is {}:\n\n", percent(Some(target)));
    text += &aligned(&rows);
    let mut notes = String::new();
    if reaches.iter().any(|of| of.basis == Basis::Screened && of.seconds.is_some()) {
        notes += "~ Taken beside other trials, not confirmed: `fastrcaps time` does that.\n";
    }
    match view.times_line() {
        line if line.is_empty() => {}
        line => notes += &format!("Times: {line}."),
    }
    text += &flowed(notes.trim_end());
    text.trim_end().into()
}

/// Notes below the table: how the times were measured, and their limits.
fn notes(view: &StudyView, findings: &Findings) -> String {
    let mut text = String::new();
    match view.times_line() {
        line if line.is_empty() => {}
        line => drop(writeln!(text, "Times: {line}.")),
    }
    let is_any =
        |basis| findings.points.iter().any(|point| point.time.basis == basis && !point.time.seconds.is_empty());
    match (is_any(Basis::Confirmed), is_any(Basis::Screened)) {
        (false, true) => {
            text += "~ They were taken beside other trials, and are not confirmed: `fastrcaps time` does that.\n"
        }
        (true, true) => text += "~ Taken beside other trials, not confirmed: `fastrcaps time` does that.\n",
        _ => {}
    }
    if view.origins().len() > 1 && !is_any(Basis::Confirmed) {
        text += "Its trials are of several machines or builds, whose times are not comparable; those of most of them stand here:\n";
    }
    text + &super::origins::notes(view, findings)
}

/// Speed-ups of the points on the front by every set of times; none unless there are several sets.
fn beside_other_machines(study: &Study, view: &StudyView, findings: &Findings) -> Result<Option<String>> {
    let names = TimeSet::names(study)?;
    let Some(baseline) = view.expansion.baseline.filter(|_| names.len() > 1) else { return Ok(None) };
    let mut header = vec!["SPEED-UP OVER THE BASELINE".to_string()];
    let (mut sets, mut unread) = (Vec::new(), Vec::new());
    for name in names {
        // One that is damaged says nothing against the others.
        match TimeSet::read(study, &name) {
            Ok(set) => sets.extend(set),
            Err(error) => unread.push(error),
        }
    }
    header.extend(sets.iter().map(|set| set.name.clone()));
    let candidates = &view.expansion.candidates;
    let seconds = |set: &TimeSet, candidate: usize, stop: usize| set.seconds(&candidates[candidate].config, stop);
    let mut rows = vec![header];
    for point in findings.front.iter().map(|index| &findings.points[*index]) {
        let speedup = |set: &TimeSet| {
            let base = seconds(set, baseline, candidates[baseline].config.train.epochs)?;
            Some(base / seconds(set, point.candidate, point.epochs)?)
        };
        let cells = sets.iter().map(|set| speedup(set).map_or("unknown".into(), |speedup| format!("{speedup:.2}×")));
        rows.push(std::iter::once(point.label.clone()).chain(cells).collect());
    }
    let mut text = aligned(&rows);
    for set in &sets {
        let processor = set.fingerprint.processor.as_deref().unwrap_or("an unknown processor");
        let threads = plural(set.fingerprint.threads, "thread");
        text += &flowed(&format!("{}: {threads} of {processor}, {}\n", set.name, set.host));
    }
    for error in unread {
        text += &flowed(&format!("warning: {error:#}\n"));
    }
    Ok(Some(text.trim_end().into()))
}

fn row(findings: &Findings, index: usize) -> Vec<String> {
    let of = &findings.points[index];
    let change = findings.change(index);
    let replicates = of.accuracy.len();
    vec![
        if replicates > 1 { format!("{} ({replicates} replicates)", of.label) } else { of.label.clone() },
        marked_time(of),
        mean_and_deviation(of.mean_accuracy(), accuracy_sd(of)),
        mean_and_deviation(test_accuracy(of), test_accuracy_sd(of)),
        of.parameters.to_string(),
        change.and_then(speed_beside_baseline).unwrap_or_default(),
        change
            .and_then(|change| change.accuracy_change)
            .map_or("".into(), |points| format!("{:+.2} points", 100.0 * points)),
    ]
}

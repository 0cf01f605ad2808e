//! `fastrcaps status`: the progress of a sweep, from another terminal.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use fastrcaps::{
    base::words::{by_count, plural, spelled},
    engine::sweep_log,
    engine::upkeep::status::{self, Standing},
    search::study::Study,
};

use super::{
    columns::flowed,
    data::tell_differences,
    display::{duration, given_up, percent, set_aside},
    explore::audit_line,
    input::outln,
};

/// Show the progress of a sweep: who explores it, what runs, what failed, the best so far.
///
/// It only reads, and does not disturb the sweep.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fastrcaps status results/smoke
  watch fastrcaps status results/smoke
  fastrcaps status results/smoke --json")]
pub struct Args {
    /// A study folder, made by `fastrcaps explore`
    study: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let study = Study::new(args.study);
    let standing = status::standing(&study)?;
    let paused = standing.explorer.as_ref().and_then(|_| sweep_log::pause(&study));
    if args.json {
        let mut object = serde_json::to_value(&standing)?;
        object["paused"] = paused.into();
        outln!("{object}");
    } else {
        show(&standing, paused.as_deref())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(of: &Standing, paused: Option<&str>) -> Result<()> {
    outln!("{}", flowed(&who(of)));
    tell_differences(&of.data_differences);
    for line in paused.map(|why| format!("paused: {why}")).into_iter().chain(lines(of)) {
        outln!("{}", flowed(&line));
    }
    Ok(())
}

/// Who explores it.
fn who(of: &Standing) -> String {
    match (&of.explorer, &of.held, &of.unknown, &of.last_explorer) {
        (Some(who), ..) if who.is_empty() => "being explored".into(),
        (Some(who), ..) => format!("explored by {who}"),
        (_, Some(what), ..) => format!("nobody explores it; it is being {what}"),
        (_, _, Some(why), _) => format!("whether anybody explores it cannot be known: {why}"),
        (_, _, _, Some(who)) => format!("nobody explores it now; the last was {who}"),
        _ => "nobody explores it".into(),
    }
}

/// How far it came: a thing a line.
fn lines(of: &Standing) -> Vec<String> {
    let mut lines = vec![format!(
        "{} of {} done, {} diverged, {} failed{}{}, {} running, {} pending",
        of.done,
        plural(of.trials, "trial"),
        of.diverged,
        of.failed,
        given_up(of.stopped),
        set_aside(of.paused_trials),
        of.running.len(),
        of.pending
    )];
    if of.interrupted > 0 {
        let were = by_count(of.interrupted, "was running when its", "were running when their");
        lines.push(format!("{} of the pending {were} explorer ended: the same command continues", of.interrupted));
    }
    lines.extend(of.running.iter().map(|trial| {
        let accuracy =
            trial.validation_accuracy.map_or(String::new(), |of| format!(", validation {}", percent(Some(of))));
        let since = trial.running_seconds.map_or(String::new(), |seconds| format!(", for {}", duration(seconds)));
        let (label, replicate) = (&trial.configuration, trial.replicate);
        format!("running: {label} · replicate {replicate}: epoch {}/{}{accuracy}{since}", trial.epoch, trial.epochs)
    }));
    lines.extend(of.failures.iter().map(|trial| {
        format!("failed: {}: {}", trial.configuration, spelled(trial.error.as_deref().unwrap_or("no reason known")))
    }));
    lines.extend(of.best.iter().map(|best| {
        let took = best.train_seconds.map_or("unknown".into(), duration);
        let accuracy = percent(best.validation_accuracy);
        format!("best so far: {}, validation {accuracy}, trained {took}", best.configuration)
    }));
    lines.extend(of.audit.as_ref().map(audit_line));
    lines.extend(of.eta_seconds.map(|seconds| {
        format!("the rest of the space takes {} at the pace of what this exploration trained so far", duration(seconds))
    }));
    lines
}

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
    match (&of.explorer, &of.held, &of.unknown, &of.last_explorer) {
        (Some(who), ..) if who.is_empty() => outln!("being explored"),
        (Some(who), ..) => outln!("explored by {who}"),
        (_, Some(what), ..) => outln!("nobody explores it; it is being {what}"),
        (_, _, Some(why), _) => outln!("whether anybody explores it cannot be known: {why}"),
        (_, _, _, Some(who)) => outln!("nobody explores it now; the last was {who}"),
        _ => outln!("nobody explores it"),
    }
    tell_differences(&of.data_differences);
    if let Some(paused) = paused {
        outln!("paused: {paused}");
    }
    outln!(
        "{} of {} done, {} diverged, {} failed{}{}, {} running, {} pending",
        of.done,
        plural(of.trials, "trial"),
        of.diverged,
        of.failed,
        given_up(of.stopped),
        set_aside(of.paused_trials),
        of.running.len(),
        of.pending
    );
    if of.interrupted > 0 {
        let were = by_count(of.interrupted, "was running when its", "were running when their");
        outln!("{} of the pending {were} explorer ended: the same command continues", of.interrupted);
    }
    for trial in &of.running {
        let accuracy =
            trial.validation_accuracy.map_or(String::new(), |of| format!(", validation {}", percent(Some(of))));
        let since = trial.running_seconds.map_or(String::new(), |seconds| format!(", for {}", duration(seconds)));
        outln!(
            "running: {} · replicate {}: epoch {}/{}{accuracy}{since}",
            trial.configuration,
            trial.replicate,
            trial.epoch,
            trial.epochs
        );
    }
    for trial in &of.failures {
        outln!("failed: {}: {}", trial.configuration, spelled(trial.error.as_deref().unwrap_or("no reason known")));
    }
    if let Some(best) = &of.best {
        outln!(
            "best so far: {}, validation {}, trained {}",
            best.configuration,
            percent(best.validation_accuracy),
            best.train_seconds.map_or("unknown".into(), duration)
        );
    }
    if let Some(audit) = &of.audit {
        outln!("{}", audit_line(audit));
    }
    if let Some(seconds) = of.eta_seconds {
        outln!("the rest of the space takes {} at the pace of what this exploration trained so far", duration(seconds));
    }
    Ok(())
}

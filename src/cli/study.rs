//! `fastrcaps study`: check a study, make its journal again, join, pack and remove studies.

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use fastrcaps::{
    report::view::StudyView,
    study::Study,
    upkeep::{check, export, merge, rebuild, remove},
};

use super::input::outln;

/// Check a study, make its journal again, join, pack and remove studies.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Hold all that a study keeps against its checksums and against each other; changes nothing
    ///
    /// Works while the study is explored. Ends with exit code 1 if anything is wrong.
    #[command(after_help = "\
Examples:
  fastrcaps study check results/smoke
  fastrcaps study check results/smoke --json")]
    Check {
        /// A study folder
        study: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Make the journal again from the trials' folders, and the tables and charts from it
    ///
    /// The old journal is kept beside the new one.
    #[command(after_help = "Example:\n  fastrcaps study rebuild results/smoke")]
    Rebuild {
        /// A study folder
        study: PathBuf,
    },
    /// Remove a study, or single trials of it, which are pending then
    #[command(after_help = "\
Examples:
  fastrcaps study rm results/smoke
  fastrcaps study rm results/smoke --trial 0123456789abcdef --yes")]
    Rm {
        /// A study folder
        study: PathBuf,
        /// Remove this trial only; trials.csv lists the keys. Can be given repeatedly
        #[arg(long = "trial", value_name = "KEY")]
        trials: Vec<String>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Take the finished trials of other studies up into one
    ///
    /// Those of configurations that the one declares, on the same data; the spaces may differ in others. A trial that ended in
    /// both stays as it is, unless it failed and did not fail there.
    #[command(after_help = "\
Example, half of a sweep from another machine:
  fastrcaps study merge results/mnist-small /mnt/other/results/mnist-small")]
    Merge {
        /// The study folder to merge into
        into: PathBuf,
        /// Study folders to take trials from; they stay as they are
        #[arg(required = true)]
        from: Vec<PathBuf>,
    },
    /// Pack a study into one file, without checkpoints; also while it is explored
    #[command(after_help = "\
Examples:
  fastrcaps study export results/smoke --out smoke.tar.gz
  fastrcaps study export results/smoke --out smoke.tar.gz --no-weights --force")]
    Export {
        /// A study folder
        study: PathBuf,
        /// The file to write
        #[arg(long, value_name = "FILE.tar.gz")]
        out: PathBuf,
        /// Leave the trials' weights out
        #[arg(long)]
        no_weights: bool,
        /// Replace the file if it is there
        #[arg(long)]
        force: bool,
    },
}

pub fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        Command::Check { study, json } => return check(&Study::new(study), json),
        Command::Rebuild { study } => rebuild(&Study::new(study)),
        Command::Rm { study, trials, yes } => remove(&Study::new(study), &trials, yes),
        Command::Merge { into, from } => merge(&Study::new(into), from),
        Command::Export { study, out, no_weights, force } => {
            let exported = export::export(&Study::new(study), &out, !no_weights, force)?;
            let (files, bytes) = (exported.files, megabytes(exported.bytes));
            outln!("{}: {} finished trials, {files} files, {bytes}", out.display(), exported.trials);
            Ok(())
        }
    }
    .map(|()| ExitCode::SUCCESS)
}

fn check(study: &Study, json: bool) -> Result<ExitCode> {
    let found = check::check(study)?;
    if json {
        outln!("{}", serde_json::to_string(&found)?);
    } else {
        for problem in &found.problems {
            outln!("{}: {}; to mend it: {}", problem.place.display(), problem.what, problem.mend);
        }
        let running = if found.explored { format!(", {} running", found.running) } else { String::new() };
        outln!(
            "{} trials: {} done, {} diverged, {} failed{running}; {} folders and {} files of weights checked",
            found.trials,
            found.done,
            found.diverged,
            found.failed,
            found.folders,
            found.weights
        );
        match found.problems.len() {
            0 => outln!("nothing is wrong"),
            1 => outln!("1 problem"),
            count => outln!("{count} problems"),
        }
    }
    Ok(if found.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn rebuild(study: &Study) -> Result<()> {
    let lock = study.hold("rebuilt")?;
    let rebuilt = rebuild::rebuild(study, &lock)?;
    for (key, why) in &rebuilt.refused {
        outln!("trial {key} could not be taken up and is pending: {why}");
    }
    outln!(
        "taken up from the trials' folders: {} done, {} diverged, {} failed; {} pending, which the next `fastrcaps \
         explore` trains",
        rebuilt.done,
        rebuilt.diverged,
        rebuilt.failed,
        rebuilt.pending
    );
    if let Some(kept) = &rebuilt.kept {
        outln!("the old journal is kept as {}", kept.display());
    }
    Ok(())
}

fn remove(study: &Study, trials: &[String], yes: bool) -> Result<()> {
    let extent = remove::extent(study)?;
    // Of a damaged study nothing but its folder is known.
    let lock = if trials.is_empty() { study.seize("removed")? } else { study.hold("cut down")? };
    let folder = extent.folder.display();
    if trials.is_empty() {
        if !yes && !is_agreed(&format!("Remove {folder}, {} files, {}?", extent.files, megabytes(extent.bytes)))? {
            bail!("nothing was removed");
        }
        remove::remove(&extent, &lock)?;
        outln!("removed {folder}");
    } else {
        if !yes && !is_agreed(&format!("Remove {} trials of {folder}?", trials.len()))? {
            bail!("nothing was removed");
        }
        let started = remove::remove_trials(study, trials, &lock)?;
        outln!("removed {started} trials of {folder}; they are pending");
    }
    Ok(())
}

fn merge(into: &Study, from: Vec<PathBuf>) -> Result<()> {
    let others: Vec<Study> = from.into_iter().map(Study::new).collect();
    let lock = into.hold("merged into")?;
    let merged = merge::merge(into, &others, &lock)?;
    for (folder, why) in &merged.refused {
        outln!("{folder} was not taken up: {why}");
    }
    outln!(
        "{} trials taken up, {} in the place of failed ones; {} were here already; {} pending",
        merged.taken + merged.replaced,
        merged.replaced,
        merged.kept,
        merged.pending
    );
    if merged.useless > 0 {
        outln!("{} that ended there are of no use: the space of {} lacks them", merged.useless, into.folder.display());
    }
    for name in &merged.times {
        outln!("its times were brought over as {name:?}");
    }
    for (name, why) in &merged.times_refused {
        outln!("the times {name:?} were not brought over: {why}");
    }
    for build in &merged.other_builds {
        outln!("note: some were trained by build {build}: bits and times may differ between builds");
    }
    let hosts = merge::hosts(&StudyView::read(into)?);
    if hosts.len() > 1 {
        let of: Vec<String> = hosts.iter().map(|(host, count)| format!("{count} on {host}")).collect();
        outln!(
            "note: trained on several machines, whose times do not compare ({}); trials.csv has a column host",
            of.join(", ")
        );
    }
    Ok(())
}

/// Asks on the terminal; an error where there is none.
fn is_agreed(question: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("this would ask, and there is no terminal to answer: give --yes");
    }
    eprint!("{question} [y/N] ");
    std::io::stderr().flush().context("cannot write to standard error")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("cannot read the answer")?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

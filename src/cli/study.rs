//! `fastrcaps study`: check a study, rebuild its journal, merge, pack and remove studies.

use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use fastrcaps::{
    base::{
        files::is_link,
        words::{by_count, megabytes, plural},
    },
    engine::upkeep::{check, export, merge, rebuild, remove},
    present::report::view::StudyView,
    search::study::{Study, holdings::REMOVED},
};

use super::{display::given_up, input::outln};

/// At most this many files that are not the study's are named.
const NAMED: usize = 10;

/// Check a study, rebuild its journal, merge, pack and remove studies.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check all files of a study against their checksums and against each other; changes nothing
    ///
    /// It works while the study is explored. The exit code is 1 if anything is wrong.
    ///
    /// A note names files and links that are not the study's. They are no error: no command reads, changes or removes
    /// them. Under trials/, and as times/NAME.json, they are an error, because they may be taken for the study's.
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
    /// Write the journal again from the trials' folders, and tables and charts from it
    ///
    /// It keeps the old journal beside the new one.
    #[command(after_help = "Example:\n  fastrcaps study rebuild results/smoke")]
    Rebuild {
        /// A study folder
        study: PathBuf,
    },
    /// Remove a study, or single trials of it, which become pending
    ///
    /// It removes the files that a study makes. Other files stay and are named, and the folder stays with them. It removes
    /// no link, and nothing that a link leads to.
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
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
    /// Copy the finished trials of other studies into one
    ///
    /// It copies trials of configurations that the first study declares, on the same data; the spaces may differ otherwise.
    /// A trial that ended in both stays as it is, unless it failed here and not there.
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
    ///
    /// It leaves out files that are not the study's.
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
        /// Replace the file if it exists
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
            let (trials, files) = (plural(exported.trials, "finished trial"), plural(exported.files, "file"));
            outln!("{}: {trials}, {files}, {}", out.display(), megabytes(exported.bytes));
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
        if !found.foreign.is_empty() {
            outln!("note: not the study's, which `study rm` would leave: {}", listed(&study.folder, &found.foreign));
        }
        let running = if found.explored { format!(", {} running", found.running) } else { String::new() };
        outln!(
            "{}: {} done, {} diverged, {} failed{}{running}; {} and {} of weights checked",
            plural(found.trials, "trial"),
            found.done,
            found.diverged,
            found.failed,
            given_up(found.stopped),
            plural(found.folders, "folder"),
            plural(found.weights, "file")
        );
        match found.problems.len() {
            0 => outln!("nothing is wrong"),
            count => outln!("{}", plural(count, "problem")),
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
        "taken up from the trials' folders: {} done, {} diverged, {} failed{}; {} pending, which the next `fastrcaps \
         explore` trains",
        rebuilt.done,
        rebuilt.diverged,
        rebuilt.failed,
        given_up(rebuilt.stopped),
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
    let lock = if trials.is_empty() { study.seize(REMOVED)? } else { study.hold("cut down")? };
    let folder = extent.folder.display();
    if trials.is_empty() {
        let stays = match &extent.others[..] {
            [] => String::new(),
            others => format!(" What is not the study's stays: {}.", listed(&extent.folder, others)),
        };
        let (files, bytes) = (plural(extent.files, "file"), megabytes(extent.bytes));
        if !yes && !is_agreed(&format!("Remove the study in {folder}, {files}, {bytes}?{stays}"))? {
            bail!("nothing was removed");
        }
        match &remove::remove(&extent, &lock)?[..] {
            [] => outln!("removed {folder}"),
            others => outln!(
                "removed the study in {folder}; what is not the study's stays: {}",
                listed(&extent.folder, others)
            ),
        }
    } else {
        if !yes && !is_agreed(&format!("Remove {} of {folder}?", plural(trials.len(), "trial")))? {
            bail!("nothing was removed");
        }
        let (started, others) = remove::remove_trials(study, trials, &lock)?;
        let are = by_count(started, "it is", "they are");
        outln!("removed {} of {folder}; {are} pending", plural(started, "trial"));
        if !others.is_empty() {
            outln!("what is not the study's stays: {}", listed(&study.folder, &others));
        }
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
        "{} taken up, {} in the place of failed ones; {} {} here already; {} pending",
        plural(merged.taken + merged.replaced, "trial"),
        merged.replaced,
        merged.kept,
        by_count(merged.kept, "was", "were"),
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

/// Asks on the terminal; an error without one.
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

/// The paths relative to `folder`; the first ones by name, the others as a number.
fn listed(folder: &Path, paths: &[PathBuf]) -> String {
    let named = |path: &PathBuf| {
        let kind = if is_link(&folder.join(path)) { " (a link)" } else { "" };
        format!("{}{kind}", path.strip_prefix(folder).unwrap_or(path).display())
    };
    let mut names: Vec<String> = paths.iter().take(NAMED).map(named).collect();
    let more = paths.len() - names.len();
    names.extend((more > 0).then(|| format!("and {more} more")));
    names.join(", ")
}

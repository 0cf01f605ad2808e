//! `fastrcaps cancel`: end what a study left running on a cluster.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use fastrcaps::search::{study::Study, worker::slurm};

use super::input::outln;

/// End the jobs of a study on its cluster.
///
/// What was trained stays: `explore` continues the trials from their checkpoints. A program that explores the study is to be
/// ended first (Ctrl-C ends its jobs too): it would take the jobs for lost, and start them again.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  fastrcaps cancel results/mnist-small")]
pub struct Args {
    /// The study's folder
    study: PathBuf,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let study = Study::new(&args.study);
    let _lock = study.hold("cancelled").context(
        "the jobs are not ended, as who explores the study would submit them again: end that with Ctrl-C, which ends its jobs too",
    )?;
    match slurm::cancel_study(&study.jobs())? {
        Some(said) => outln!("{said}"),
        None => outln!("{} has no jobs on a cluster", study.folder.display()),
    }
    Ok(ExitCode::SUCCESS)
}

//! `fastrcaps cancel`: end what a study left running on a cluster.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, bail};
use fastrcaps::search::{
    study::{Explorer, Study},
    worker::slurm,
};

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
    study.read()?;
    if let Explorer::Active(who) = study.explorer() {
        bail!(
            "{} is explored by {who}, who would submit the jobs again: end that first, with Ctrl-C or `kill`, which ends its jobs too",
            study.folder.display()
        );
    }
    match slurm::cancel_study(&study.jobs())? {
        Some(said) => outln!("{said}"),
        None => outln!("{} has no jobs on a cluster", study.folder.display()),
    }
    Ok(ExitCode::SUCCESS)
}

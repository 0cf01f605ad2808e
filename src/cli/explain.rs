//! `fastrcaps explain`: why a configuration was trained on, paused or stopped.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use fastrcaps::{
    engine::upkeep::explain::{Account, explain},
    search::study::Study,
};

use super::input::outln;

/// Say why a configuration was trained on, paused or stopped.
///
/// Each decision about it stands with what it was based on, as the journal has it.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fastrcaps explain results/smoke baseline
  fastrcaps explain results/smoke \"one-cycle, adabatch\"
  fastrcaps explain results/smoke 7e409e413e3d1c62 --json")]
pub struct Args {
    /// A study folder, made by `fastrcaps explore`
    study: PathBuf,
    /// The configuration as tables call it, or the key of one of its trials
    configuration: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let account = explain(&Study::new(args.study), &args.configuration)?;
    if args.json {
        outln!("{}", serde_json::to_string(&account)?);
        return Ok(ExitCode::SUCCESS);
    }
    let Account { configuration, trials } = account;
    outln!("{configuration}");
    for trial in trials {
        outln!("replicate {} ({}): {}, {} epochs", trial.replicate, trial.key, trial.status, trial.epochs);
        for decision in &trial.decisions {
            outln!("  round {}: {}", decision.round, decision.words);
        }
        if let Some(reason) = trial.reason.filter(|_| trial.decisions.is_empty()) {
            outln!("  {reason}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

//! `fastrcaps schedule`: what a configuration's learning rate and batch size do over the epochs.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use fastrcaps::{
    charts::{
        self,
        schedule::{self, ScheduleChart},
    },
    config::TrialConfig,
    files::check_target,
    train::timing::steps_by_size,
    words::plural,
};

use super::input::{outln, read_config, write_out};

/// Draw the learning rate and the batch size of a configuration, without training it.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fastrcaps schedule my.toml
  fastrcaps schedule results/smoke/trials/KEY/config.toml --out schedule.png")]
pub struct Args {
    /// Configuration: search-spaces/README.md lists every field
    config: PathBuf,
    /// File to draw to [default: NAME-schedule.png beside the config]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace a file that is no chart of this program's
    #[arg(long)]
    force: bool,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let config = read_config(&args.config)?;
    let name = args.config.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let out = args.out.unwrap_or_else(|| args.config.with_file_name(format!("{name}-schedule.png")));
    check_target(&out, args.force, charts::is_own)?;
    let samples = config.data.counts().train;
    let steps: u64 = steps_by_size(&config, samples).values().sum();
    let chart = ScheduleChart {
        title: format!("{name}: learning rate and batch size"),
        subtitle: format!(
            "{} of {samples} samples, {}",
            plural(config.train.epochs, "epoch"),
            plural(steps as usize, "step")
        ),
        ..schedule::sample(&config.schedule, config.train.epochs)
    };
    write_out(&out, &schedule::draw(&chart).png())?;
    print_epochs(&config)?;
    outln!("drawn to {}", out.display());
    Ok(ExitCode::SUCCESS)
}

/// A row wherever an epoch begins with other values than the one before.
fn print_epochs(config: &TrialConfig) -> Result<()> {
    outln!("{:>6}  {:>12}  {:>6}", "EPOCH", "RATE", "BATCH");
    let mut last = String::new();
    for epoch in 0..config.train.epochs {
        let progress = fastrcaps::schedule::Progress { epoch: epoch as f64, epochs: config.train.epochs as f64 };
        let values =
            format!("{:>12.3e}  {:>6}", config.schedule.learning_rate(progress), config.schedule.batch_size(progress));
        if values != last {
            outln!("{:>6}  {values}", epoch + 1);
            last = values;
        }
    }
    Ok(())
}

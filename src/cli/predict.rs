//! `fastrcaps predict`: what trainings would take on a GPU, from a few of their steps. Started by who wants to know and holds no
//! GPU itself.

use std::{io, process::ExitCode};

use anyhow::{Context, Result};
use fastrcaps::{
    base::machine,
    learn::{config::TrialConfig, kernels::open_device},
    timing::predict::StepClock,
};

use super::{device::DeviceArg, input::outln, threads};

/// Predict the wall time of trainings, a JSON list of their configurations on standard input, in seconds.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    device: DeviceArg,
    /// The time of each kind of step instead, by the id of its shape
    #[arg(long)]
    steps: bool,
}

pub fn run(args: Args) -> Result<ExitCode> {
    machine::end_with_parent();
    let configs: Vec<TrialConfig> =
        serde_json::from_reader(io::stdin().lock()).context("what is to be timed is not understood")?;
    threads::install(1)?;
    let mut clock = StepClock::on(open_device(args.device.place())?);
    if args.steps {
        let configs: Vec<&TrialConfig> = configs.iter().collect();
        outln!("{}", serde_json::to_string(&clock.steps(&configs)?)?);
        return Ok(ExitCode::SUCCESS);
    }
    let seconds: Vec<f64> = configs.iter().map(|config| clock.predict_wall(config)).collect::<Result<_>>()?;
    outln!("{}", serde_json::to_string(&seconds)?);
    Ok(ExitCode::SUCCESS)
}

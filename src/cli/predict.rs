//! `fastrcaps predict`: what trainings would take on a GPU, from a few of their steps. Started by who wants to know and holds no
//! GPU itself.

use std::{
    io::{self, Write},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, bail};
use fastrcaps::{
    base::{device::Place, machine},
    learn::{config::TrialConfig, kernels::open_device, train::timing::StepClock},
};

use super::{device::DeviceArg, input::outln, threads};

/// Predict the wall time of trainings, a JSON list of their configurations on standard input, in seconds.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    device: DeviceArg,
}

pub fn run(args: Args) -> Result<ExitCode> {
    machine::end_with_parent();
    let configs: Vec<TrialConfig> =
        serde_json::from_reader(io::stdin().lock()).context("what is to be timed is not understood")?;
    threads::install(1)?;
    let mut clock = StepClock::on(open_device(args.device.place())?);
    let seconds: Vec<f64> = configs.iter().map(|config| clock.predict_wall(config)).collect::<Result<_>>()?;
    outln!("{}", serde_json::to_string(&seconds)?);
    Ok(ExitCode::SUCCESS)
}

/// Seconds that trainings of `configs` would take at `place`, in a process of its own.
pub fn wall_seconds(place: Place, configs: &[&TrialConfig]) -> Result<Vec<f64>> {
    let program = machine::this_program().context("cannot find this program's own file")?;
    let mut child = Command::new(&program)
        .args(["predict", "--device", &place.alone().to_string()])
        .envs(place.environment()?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    if let Some(mut pipe) = child.stdin.take() {
        // Where this fails it has ended already, and says why below.
        let _ = pipe.write_all(serde_json::to_string(configs)?.as_bytes());
    }
    let output = child.wait_with_output().context("cannot wait for the process that times steps")?;
    if !output.status.success() {
        bail!("steps cannot be timed on {place}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).context("the predicted times are not understood")
}

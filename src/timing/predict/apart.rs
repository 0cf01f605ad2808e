//! A prediction for a GPU from a process of its own, so that who asks holds no context on it afterwards.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use super::StepClock;
use crate::{base::device::Place, learn::config::TrialConfig};

/// Seconds from start to end of the processes that would train `configs` at `place`, each alone there: see
/// [`StepClock::predict_wall`]. Steps on CPU cores are timed on this process's threads, those on a GPU in a process of their
/// own, by `program predict`.
///
/// Errors: a configuration that makes no network; a process that cannot start or that fails, with what it said.
pub fn wall_seconds(program: &Path, place: Place, configs: &[&TrialConfig]) -> Result<Vec<f64>> {
    if place.is_cpu() {
        let mut clock = StepClock::default();
        return configs.iter().map(|config| clock.predict_wall(config)).collect();
    }
    let mut child = Command::new(program)
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

//! A prediction for a GPU from a process of its own, so that who asks holds no context on it afterwards.

use std::{collections::BTreeMap, ffi::OsString, time::Duration};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;

use super::StepClock;
use crate::{
    base::device::Place,
    learn::config::TrialConfig,
    search::worker::{Heard, Task, Tasks},
};

/// How often somebody who waits for a line asks again.
const POLL: Duration = Duration::from_secs(1);

/// Seconds from start to end of the processes that would train `configs` at `place`, each alone there: see
/// [`StepClock::predict_wall`]. Steps on CPU cores are timed on this process's threads, those on a GPU in a process of their
/// own, by a task `predict`.
///
/// Errors: a configuration that makes no network; a process that cannot start or that fails, with what it said.
pub fn wall_seconds(tasks: &dyn Tasks, place: Place, configs: &[&TrialConfig]) -> Result<Vec<f64>> {
    if place.is_cpu() {
        let mut clock = StepClock::default();
        return configs.iter().map(|config| clock.predict_wall(config)).collect();
    }
    ask(tasks, place, configs, &["predict".into()])
}

/// Seconds of every kind of step of `configs` at `place`, by its shape's id; timed as in [`wall_seconds`].
///
/// Errors: as there.
pub fn step_seconds(tasks: &dyn Tasks, place: Place, configs: &[&TrialConfig]) -> Result<BTreeMap<String, f64>> {
    if place.is_cpu() {
        return StepClock::default().steps(configs);
    }
    ask(tasks, place, configs, &["predict".into(), "--steps".into()])
}

/// What a task at `place` says of `configs`.
fn ask<T: DeserializeOwned>(
    tasks: &dyn Tasks,
    place: Place,
    configs: &[&TrialConfig],
    arguments: &[OsString],
) -> Result<T> {
    let mut task =
        tasks.start(&Task { arguments: arguments.to_vec(), place, is_alone: true, threads: 1, is_exclusive: false })?;
    task.say(&serde_json::to_string(configs)?);
    task.end_input();
    let mut said = String::new();
    loop {
        match task.hear(POLL)? {
            Heard::Line(line) => said += &line,
            Heard::Nothing => {}
            Heard::Ended => break,
            Heard::Failed { complaints, .. } => bail!("steps cannot be timed on {place}: {complaints}"),
        }
    }
    serde_json::from_str(&said).context("the predicted times are not understood")
}

//! What trainings cost, for who decides by it: step times that are taken once, and kept in the study, so that all who go on with
//! it decide by the same.

use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::step_seconds;
use crate::{
    base::{device::Place, files::write_atomically, seal},
    learn::config::TrialConfig,
    search::{strategy::Costs, study::Study, worker::Tasks},
    timing::shape::{shapes, steps_of},
};

/// Seconds of every kind of step of a study.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepCosts {
    /// The device that they were taken on.
    pub device: String,
    /// By the shape's id.
    pub seconds_per_step: BTreeMap<String, f64>,
}

impl StepCosts {
    /// Reads them from a file; none where there is no such file.
    pub fn read(path: &Path) -> Result<Option<StepCosts>> {
        match fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            read => {
                let context = || format!("cannot read the step times {}", path.display());
                let bytes = read.with_context(context)?;
                let damaged =
                    || format!("{} is no file of step times: give that of a study, costs.json", path.display());
                Ok(Some(seal::from_json(&bytes).with_context(damaged)?))
            }
        }
    }

    /// Those of a study: as it keeps them, else as `given`, else taken now at `place`. What is missing of them is taken too, and
    /// all are kept in the study.
    pub fn of_study(
        study: &Study,
        given: Option<StepCosts>,
        tasks: &dyn Tasks,
        place: Place,
        configs: &[&TrialConfig],
    ) -> Result<StepCosts> {
        let path = file(study);
        let kept = StepCosts::read(&path)?;
        let mut costs = kept.clone().or(given).unwrap_or_default();
        let mut missing = shapes(configs);
        missing.retain(|id, _| !costs.seconds_per_step.contains_key(id));
        if !missing.is_empty() {
            let of: Vec<&TrialConfig> = missing.values().map(|(_, config)| *config).collect();
            let taken = step_seconds(tasks, place, &of)?;
            // What was there stays, to the bit.
            for (id, seconds) in taken {
                costs.seconds_per_step.entry(id).or_insert(seconds);
            }
            if costs.device.is_empty() {
                costs.device = place.to_string();
            }
        }
        if kept.as_ref() != Some(&costs) {
            write_atomically(&path, &seal::to_json(&costs)?)?;
        }
        Ok(costs)
    }

    /// What trainings of these configurations cost by them. A kind of step that is not among them costs nothing.
    pub fn costs(&self, configs: &[&TrialConfig]) -> Costs {
        let until = |config: &TrialConfig, stop: usize| -> f64 {
            let of = |(shape, steps): (crate::timing::shape::Shape, u64)| {
                self.seconds_per_step.get(&shape.id()).map_or(0.0, |seconds| seconds * steps as f64)
            };
            steps_of(config, stop).into_iter().map(of).sum()
        };
        let all = |config: &&TrialConfig| (1..=config.train.epochs).map(|stop| until(config, stop)).collect();
        Costs {
            seconds: configs.iter().map(all).collect(),
            parameters: configs.iter().map(|config| config.parameters()).collect(),
        }
    }
}

/// Where a study keeps them.
fn file(study: &Study) -> PathBuf {
    study.folder.join("costs.json")
}

//! A strategy tried on recorded curves: the dispatcher and the journal are the real ones, only the time and the trainings are not.

mod measure;
mod recording;

pub use measure::{Exhaustive, Reached, Step};
pub use recording::{Recorded, Recording};

use std::{collections::HashMap, path::Path, sync::atomic::AtomicBool};

use anyhow::{Context, Result};
use serde::Serialize;
use tempfile::TempDir;

use crate::{
    learn::config::TrialConfig,
    search::{
        beginnings::Beginnings,
        dispatch::{Dispatcher, Event, Limits, Past},
        journal::Journal,
        strategy::{Audit, Brief, Settings, Strategy},
        study::Study,
        worker::{Curve, Simulated, Slot, Slots},
    },
};

/// The longest epoch lasts so long, as a simulated wait is no longer than a second.
const LONGEST_EPOCH: f64 = 1.0;
/// A folder in memory, where the machine has one.
const IN_MEMORY: &str = "/dev/shm";

/// What came of a simulated exploration.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub seed: u64,
    pub slots: usize,
    /// Of training, of all slots together; and as a share of that of all trials.
    pub seconds: f64,
    pub cost: f64,
    /// From start to end, and how many times as long as if no slot had ever been idle.
    pub wall_seconds: f64,
    pub idle_factor: f64,
    /// The front in comparison with that of all curves.
    #[serde(flatten)]
    pub reached: Reached,
    /// Share of the cost after which so much of the hypervolume was reached; absent where it never was.
    pub cost_99: Option<f64>,
    pub cost_995: Option<f64>,
    pub cost_999: Option<f64>,
    /// Share of the cost after which 95 % of the front's members were found or had a stand-in.
    pub cost_recall_95: Option<f64>,
    /// Share of the cost after which the front was that of all curves, to stay so.
    pub cost_same_front: Option<f64>,
    pub audit: Option<Audit>,
    /// Of the configurations that the audit's bound is about, those that are paused still and belong on the front; whether they
    /// are no more than the bound says.
    pub lost: usize,
    pub bound_holds: Option<bool>,
    /// Hypervolume over cost.
    pub steps: Vec<Step>,
}

/// Explores the recording by a strategy on so many slots.
///
/// Errors: no place for the files of a study.
pub fn simulate(
    recording: &Recording,
    exhaustive: &Exhaustive,
    strategy: &Strategy,
    settings: Settings,
    slots: usize,
) -> Result<Outcome> {
    let (_place, study) = study_in_memory()?;
    let mut journal = Journal::open(&study.journal())?;
    let keys: Vec<String> = recording.trials.iter().map(|trial| trial.config.key("")).collect();
    let scale = LONGEST_EPOCH / longest_epoch(recording);
    let slots: Vec<Slot> = Slots::on_cores(slots, 1).place(&[]);
    let count = slots.len();
    let mut worker = Simulated::new(slots, curves(recording, &keys, scale));
    let brief = Brief {
        trials: &recording.trials,
        candidates: &recording.candidates,
        costs: Some(&recording.costs),
        settings,
        asked: recording.trials.len(),
        limit: None,
        begun: &[],
        baseline: recording.baseline,
        ground: None,
    };
    let searcher = (strategy.searcher)(&brief);
    let mut known = vec![0; keys.len()];
    let mut curve_of_cost = measure::Course::new(recording, exhaustive);
    let swept = Dispatcher {
        study: &study,
        trials: &recording.trials,
        keys: &keys,
        // Each training at what it costs alone.
        beginnings: &Beginnings::default(),
        journal: &mut journal,
        worker: &mut worker,
        limits: Limits::default(),
        stop: &AtomicBool::new(false),
    }
    .run(searcher.as_ref(), vec![Past::NONE; keys.len()], &mut |event| {
        if let Event::Epoch { trial, row } = event {
            known[*trial] = row.epoch;
            curve_of_cost.take(*trial, row.epoch, &known);
        }
        Ok(())
    })?;
    let known: Vec<usize> = swept.progress.iter().map(|of| of.epochs.len()).collect();
    let wall_seconds = worker.seconds() / scale;
    let audit = searcher.audit();
    let lost = exhaustive.lost(recording, &known);
    let course = curve_of_cost.finish(&known);
    Ok(Outcome {
        seed: settings.seed,
        slots: count,
        seconds: course.seconds,
        cost: course.seconds / exhaustive.seconds,
        wall_seconds,
        idle_factor: wall_seconds * count as f64 / course.seconds.max(f64::MIN_POSITIVE),
        reached: exhaustive.reached(recording, &known),
        cost_99: course.cost_of(0.99),
        cost_995: course.cost_of(0.995),
        cost_999: course.cost_of(0.999),
        cost_recall_95: course.cost_of_recall(0.95),
        cost_same_front: course.cost_of_same_front(),
        bound_holds: audit.as_ref().filter(|of| of.paused > 0).map(|audit| lost <= audit.remaining_on_front),
        audit,
        lost,
        steps: course.steps,
    })
}

/// A study whose folder goes with the first of the two.
fn study_in_memory() -> Result<(TempDir, Study)> {
    let place = if Path::new(IN_MEMORY).is_dir() { tempfile::tempdir_in(IN_MEMORY) } else { tempfile::tempdir() };
    let place = place.context("cannot make a folder for the simulated study")?;
    let study = Study::new(place.path());
    std::fs::create_dir_all(place.path().join("trials")).context("cannot make the simulated study")?;
    Ok((place, study))
}

/// Seconds of an epoch of a trial, as recorded.
fn epoch_of(recording: &Recording, trial: usize) -> f64 {
    let seconds = &recording.costs.seconds[recording.trials[trial].candidate];
    seconds.last().map_or(0.0, |last| last / seconds.len() as f64)
}

fn longest_epoch(recording: &Recording) -> f64 {
    (0..recording.trials.len()).map(|trial| epoch_of(recording, trial)).fold(f64::MIN_POSITIVE, f64::max)
}

/// What the trial of a configuration does: its recorded curve, `scale` times as slow.
fn curves(recording: &Recording, keys: &[String], scale: f64) -> impl Fn(&TrialConfig) -> Curve {
    let index: HashMap<&str, usize> = keys.iter().enumerate().map(|(at, key)| (key.as_str(), at)).collect();
    move |config| {
        // Every trial has a key.
        let trial = index[config.key("").as_str()];
        let Recorded { accuracies, diverged, .. } = recording.curves[trial].clone();
        Curve { seconds_per_epoch: scale * epoch_of(recording, trial), accuracies, diverges: diverged }
    }
}

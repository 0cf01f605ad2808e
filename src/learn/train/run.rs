//! A training in its folder: what it is asked for, and the files it leaves behind.

use std::{
    collections::BTreeMap,
    fs,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, bail};
use candle_core::{Device, DeviceLocation, Tensor};

use super::{
    Observer, Session, StepReport, Trained, Trainer, TrainingEnd, beginning::Shared, checkpoint::State, predict,
    session::Foreign, train,
};
use crate::{
    base::{
        device::Place,
        files::{is_out_of_room, write_through},
        machine, seal,
    },
    learn::{
        config::TrialConfig,
        data::Dataset,
        folder::TrialFolder,
        kernels,
        model::{Network, tensor_file},
        record::{EpochRow, Fault, Status, TrialRecord},
    },
};

/// Between two attempts to write what there is no room for.
const WAIT_FOR_ROOM: Duration = Duration::from_secs(2);
/// How often somebody who waits looks whether to stop.
const LOOK: Duration = Duration::from_millis(50);

/// How a training in a folder can be interrupted, and where it goes on.
#[derive(Clone, Copy, Debug)]
pub struct Interruption<'a> {
    /// Once set, the training ends after the step it is at, and leaves a checkpoint.
    pub stop: &'a AtomicBool,
    /// See [`Session::in_folder`].
    pub checkpoint_every: Duration,
    /// Whether the checkpoints stay when the training has come to its end.
    pub keep_checkpoints: bool,
    pub foreign: Foreign,
    pub shared: Shared<'a>,
}

/// What came of a training in a folder.
pub enum RunOutcome {
    /// Its record, and the training for who wants more of it than its numbers.
    Ended(TrialRecord, Box<Trained>),
    /// It was asked to stop before its end: the record is pending again. The step of the last checkpoint, if there is one.
    Stopped(TrialRecord, Option<u64>),
}

/// Stopped while there was no room for what must be written: as if it had stopped before.
#[derive(Debug, thiserror::Error)]
#[error("stopped while waiting for room on the disk")]
struct StoppedWaiting;

/// Trains `config` in `folder`, from the checkpoint there if it is of this trial: epochs are added as they end, weights
/// and record are written at the end, and the checkpoints removed.
///
/// Where there is no room for these, it waits for some.
pub fn run_in_folder(
    folder: &TrialFolder,
    config: &TrialConfig,
    record: TrialRecord,
    data: &Dataset,
    device: &Device,
    interruption: Interruption,
    observer: &mut dyn Observer,
) -> Result<RunOutcome> {
    let pending = TrialRecord { status: Status::Pending, ..record.clone() };
    let mut recorder = Recorder { folder, interruption, observer, kept: None };
    match recorder.run(config, record, data, device) {
        Ok(Some((record, trained))) => return Ok(RunOutcome::Ended(record, Box::new(trained))),
        Err(error) if !error.is::<StoppedWaiting>() => return Err(error),
        Ok(None) | Err(_) => {}
    }
    let kept = recorder.kept;
    // No waiting for room here: without this record the trial has not ended either.
    if let Err(error) = folder.write_record(&pending) {
        observer.say(&format!("warning: {error:#}"));
    }
    Ok(RunOutcome::Stopped(pending, kept))
}

/// Writes what the network says of the first `count` test images as safetensors: `images`
/// `[n, channels, height, width]`, `labels` `[n]`, `scores` `[n, classes]` and, with a decoder, `reconstruction` `[n, pixels]`.
pub fn save_predictions(
    folder: &TrialFolder,
    network: &Network,
    data: &Dataset,
    count: usize,
) -> Result<super::Predictions> {
    let said = predict(network, data, &data.test, count)?;
    let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
    tensors.insert("images".into(), said.images.clone());
    tensors.insert("labels".into(), said.labels.clone());
    tensors.insert("scores".into(), said.scores.clone());
    if let Some(reconstruction) = &said.reconstruction {
        tensors.insert("reconstruction".into(), reconstruction.clone());
    }
    write_through(&folder.predictions(), |path| tensor_file::write(path, &tensors))?;
    Ok(said)
}

/// The network of a training that reached its end, with the weights that it left; `sha256` is what they are known by.
pub fn trained(
    folder: &TrialFolder,
    config: &TrialConfig,
    sha256: Option<&str>,
    data: &Dataset,
    device: &Device,
) -> Result<Trainer> {
    let weights = folder.weights();
    let bytes = fs::read(&weights).with_context(|| format!("cannot read {}", weights.display()))?;
    if sha256.is_some_and(|sum| sum != seal::sha256(&bytes)) {
        bail!("{} is not as the training left it", weights.display());
    }
    drop(bytes);
    let mut trainer = Trainer::new(config, data, device)?;
    trainer.load(&weights)?;
    Ok(trainer)
}

/// What the network of such a training says of `count` test images, of each class in turn, on CPU cores.
pub fn predict_again(
    folder: &TrialFolder,
    config: &TrialConfig,
    sha256: Option<&str>,
    data: &Dataset,
    count: usize,
) -> Result<super::Predictions> {
    let trainer = trained(folder, config, sha256, data, &Device::Cpu)?;
    predict(&trainer.network, data, &data.test.of_each_class(count), count)
}

/// A device as [`TrialRecord::device`] has it.
fn described(device: &Device) -> String {
    let name = kernels::open::gpu_name(device).map_or(String::new(), |name| format!(" {name}"));
    match device.location() {
        DeviceLocation::Cuda { gpu_id } => format!("{}{name}", Place::Cuda(gpu_id)),
        _ => Place::Cpu.to_string(),
    }
}

/// Writes down what a training says, and passes it on.
struct Recorder<'a> {
    folder: &'a TrialFolder,
    interruption: Interruption<'a>,
    observer: &'a mut dyn Observer,
    /// The step of the last checkpoint.
    kept: Option<u64>,
}

impl Recorder<'_> {
    /// Trains, and writes what came of it; nothing where the training was stopped.
    fn run(
        &mut self,
        config: &TrialConfig,
        record: TrialRecord,
        data: &Dataset,
        device: &Device,
    ) -> Result<Option<(TrialRecord, Trained)>> {
        let folder = self.folder;
        let Interruption { stop, checkpoint_every, keep_checkpoints, foreign, shared } = self.interruption;
        let session = Session::in_folder(folder, &record.key, checkpoint_every, stop);
        let session = session.with_foreign(foreign).keeping(keep_checkpoints).sharing(shared);
        let trained = train(config, data, device, session, self)?;
        let (status, error) = match &trained.ending {
            TrainingEnd::Stopped => return Ok(None),
            TrainingEnd::Finished => (Status::Done, None),
            TrainingEnd::Diverged { epoch, reason } => (Status::Diverged, Some(format!("in epoch {epoch}, {reason}"))),
        };
        let weights = folder.weights();
        let mut weights_sha256 = None;
        if trained.best_epoch.is_some() {
            self.insist(|| trained.parameters().save(&weights))?;
            let bytes = fs::read(&weights).with_context(|| format!("cannot read {}", weights.display()))?;
            weights_sha256 = Some(seal::sha256(&bytes));
        }
        let record = TrialRecord {
            status,
            fault: (status == Status::Diverged).then_some(Fault::Configuration),
            error,
            epochs: trained.epochs.len(),
            best_epoch: trained.best_epoch,
            validation_accuracy: trained.validation_accuracy,
            test_accuracy: trained.test_accuracy,
            last_test_accuracy: trained.last_test_accuracy,
            train_seconds_screen: Some(trained.train_seconds),
            samples_per_second: Some(trained.samples as f64 / trained.train_seconds),
            threads: Some(rayon::current_num_threads()),
            shared_epochs: trained.shared_epochs,
            peak_memory_bytes: trained.peak_memory_bytes,
            started: trained.started.clone().or(record.started),
            ended: Some(machine::rfc3339(SystemTime::now())),
            host: Some(machine::host()),
            // Its number is its explorer's, where it has one: a trial sees no other GPU.
            device: record.device.or_else(|| Some(described(device))),
            processor: kernels::open::gpu_name(device).or_else(machine::processor),
            git_revision: machine::git_revision(),
            weights_sha256,
            ..record
        };
        self.insist(|| folder.write_record(&record))?;
        if !keep_checkpoints && let Err(error) = folder.remove_checkpoints() {
            self.say(&format!("warning: {error:#}"));
        }
        Ok(Some((record, trained)))
    }

    /// Does `write`, which must succeed: where there is no room it waits for some, or for being stopped.
    fn insist(&mut self, mut write: impl FnMut() -> Result<()>) -> Result<()> {
        let mut is_waiting = false;
        loop {
            match write() {
                Err(error) if is_out_of_room(&error) => {
                    if !is_waiting {
                        let seconds = WAIT_FOR_ROOM.as_secs();
                        self.say(&format!("warning: {error:#}; trying again every {seconds} s until there is room"));
                    }
                    is_waiting = true;
                    let begun = Instant::now();
                    while begun.elapsed() < WAIT_FOR_ROOM {
                        if self.interruption.stop.load(Relaxed) {
                            return Err(error.context(StoppedWaiting));
                        }
                        thread::sleep(LOOK);
                    }
                }
                written => {
                    if is_waiting && written.is_ok() {
                        self.say("note: there is room again");
                    }
                    return written;
                }
            }
        }
    }
}

impl Observer for Recorder<'_> {
    fn step(&mut self, report: &StepReport) {
        self.observer.step(report);
    }

    fn epoch(&mut self, row: &EpochRow) -> Result<()> {
        let folder = self.folder;
        self.insist(|| folder.append_epoch(row))?;
        self.observer.epoch(row)
    }

    fn resumed(&mut self, state: &State) -> Result<()> {
        let folder = self.folder;
        self.insist(|| folder.write_epochs(&state.epochs))?;
        self.observer.resumed(state)
    }

    fn kept(&mut self, step: u64) {
        self.kept = Some(step);
        self.observer.kept(step);
    }

    fn say(&mut self, line: &str) {
        self.observer.say(line);
    }
}

//! A training in its folder: what it is asked for, and the files it leaves behind.

use std::{
    collections::HashMap,
    time::{Instant, SystemTime},
};

use anyhow::Result;
use candle_core::Tensor;

use super::{Ending, Observer, StepReport, Trained, predict, train};
use crate::{
    config::TrialConfig,
    data::Dataset,
    files::write_through,
    folder::TrialFolder,
    machine,
    record::{EpochRow, Status, TrialRecord},
};

/// Trains `config` in `folder`: epochs are added as they end, weights and record are written at the end.
///
/// Returns the finished record, and the training for who wants more of it than its numbers.
pub fn run_in_folder(
    folder: &TrialFolder,
    config: &TrialConfig,
    record: TrialRecord,
    data: &Dataset,
    observer: &mut dyn Observer,
) -> Result<(TrialRecord, Trained)> {
    let mut recorder = Recorder { folder, observer };
    let began = Instant::now();
    let trained = train(config, data, &mut recorder)?;
    let (status, error) = match &trained.ending {
        Ending::Finished => (Status::Done, None),
        Ending::Diverged { epoch, reason } => (Status::Diverged, Some(format!("in epoch {epoch}, {reason}"))),
    };
    if trained.best_epoch.is_some() {
        trained.parameters().save(&folder.weights())?;
    }
    let ended = SystemTime::now();
    let record = TrialRecord {
        status,
        error,
        epochs: trained.epochs.len(),
        best_epoch: trained.best_epoch,
        validation_accuracy: trained.validation_accuracy,
        test_accuracy: trained.test_accuracy,
        last_test_accuracy: trained.last_test_accuracy,
        train_seconds: Some(trained.train_seconds),
        samples_per_second: Some(trained.samples as f64 / trained.train_seconds),
        threads: Some(rayon::current_num_threads()),
        peak_memory_bytes: machine::peak_memory_bytes(),
        started: record.started.or_else(|| Some(machine::rfc3339(ended - began.elapsed()))),
        ended: Some(machine::rfc3339(ended)),
        host: Some(machine::host()),
        git_revision: machine::git_revision(),
        ..record
    };
    folder.write_record(&record)?;
    Ok((record, trained))
}

/// Writes what the network says of the first `count` test images as safetensors: `images`
/// `[n, channels, height, width]`, `labels` `[n]`, `scores` `[n, classes]` and, with a decoder, `reconstruction` `[n, pixels]`.
pub fn save_predictions(
    folder: &TrialFolder,
    trained: &Trained,
    data: &Dataset,
    count: usize,
) -> Result<super::Predictions> {
    let said = predict(&trained.trainer.network, data, &data.test, count)?;
    let mut tensors: HashMap<String, Tensor> = HashMap::new();
    tensors.insert("images".into(), said.images.clone());
    tensors.insert("labels".into(), said.labels.clone());
    tensors.insert("scores".into(), said.scores.clone());
    if let Some(reconstruction) = &said.reconstruction {
        tensors.insert("reconstruction".into(), reconstruction.clone());
    }
    write_through(&folder.predictions(), |path| Ok(candle_core::safetensors::save(&tensors, path)?))?;
    Ok(said)
}

struct Recorder<'a> {
    folder: &'a TrialFolder,
    observer: &'a mut dyn Observer,
}

impl Observer for Recorder<'_> {
    fn step(&mut self, report: &StepReport) {
        self.observer.step(report);
    }

    fn epoch(&mut self, row: &EpochRow) -> Result<()> {
        self.folder.append_epoch(row)?;
        self.observer.epoch(row)
    }
}

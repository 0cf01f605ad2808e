//! Trials that only seem to be trained, in a time that only seems to pass: for trying searchers, and the dispatcher itself.

use std::{
    fs,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result};

use super::{Admission, End, Report, Slot, Work, Worker};
use crate::{
    base::files::make_folder,
    learn::{
        config::TrialConfig,
        folder::TrialFolder,
        record::{EpochRow, Status, TrialRecord},
        train::beginning::Beginning,
    },
};

/// The longest that a wait lets pass.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// What a training would come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Seconds that an epoch takes.
    pub seconds_per_epoch: f64,
    /// Validation accuracy after each epoch, in 0..=1; the last one stays.
    pub accuracies: Vec<f64>,
    /// Whether it diverges after the last of them.
    pub diverges: bool,
}

impl Curve {
    /// What the training tells after so many epochs, from 1.
    fn row(&self, epoch: usize) -> EpochRow {
        let accuracy = self.accuracies.get(epoch - 1).or(self.accuracies.last()).copied().unwrap_or(0.0);
        EpochRow {
            epoch,
            learning_rate: 1e-3,
            batch_size: 1,
            train_loss: 1.0 - accuracy,
            train_accuracy: accuracy,
            validation_loss: 1.0 - accuracy,
            validation_accuracy: accuracy,
            train_seconds_screen: self.seconds_per_epoch * epoch as f64,
            samples: epoch as u64,
            steps: epoch as u64,
        }
    }
}

/// Trains nothing, and leaves in each folder what a training would.
pub struct Simulated<F> {
    slots: Vec<Slot>,
    /// What a configuration would come to.
    curve: F,
    running: Vec<Option<Running>>,
    began: (Instant, SystemTime),
    /// Since then.
    passed: Duration,
}

struct Running {
    folder: TrialFolder,
    config: TrialConfig,
    curve: Curve,
    /// Epochs behind it, and those after which it pauses.
    epochs: usize,
    until: usize,
    /// Epochs that were reported.
    told: usize,
    leave: Vec<Beginning>,
    shared_epochs: Option<usize>,
    /// When its next epoch is over.
    due: Duration,
    asked_to_stop: bool,
    was_killed: bool,
}

impl<F: Fn(&TrialConfig) -> Curve> Simulated<F> {
    pub fn new(slots: Vec<Slot>, curve: F) -> Simulated<F> {
        let running = slots.iter().map(|_| None).collect();
        Simulated { slots, curve, running, began: (Instant::now(), SystemTime::now()), passed: Duration::ZERO }
    }

    /// Seconds that have seemed to pass.
    pub fn seconds(&self) -> f64 {
        self.passed.as_secs_f64()
    }
}

impl<F: Fn(&TrialConfig) -> Curve> Worker for Simulated<F> {
    fn slots(&self) -> &[Slot] {
        &self.slots
    }

    fn admits(&mut self, _: &TrialConfig, _: usize) -> Admission {
        Admission::Now
    }

    fn start(&mut self, work: &Work, slot: usize) -> Result<()> {
        let curve = (self.curve)(work.config);
        let taken = work.shared.from.first().filter(|_| work.behind == 0);
        let behind = taken.map_or(work.behind, |beginning| beginning.epochs);
        let rows: Vec<EpochRow> = (1..=behind).map(|epoch| curve.row(epoch)).collect();
        work.folder.write_epochs(&rows)?;
        self.running[slot] = Some(Running {
            folder: work.folder.clone(),
            config: work.config.clone(),
            epochs: behind,
            told: work.behind,
            leave: work.shared.leave.to_vec(),
            shared_epochs: taken.map(|beginning| beginning.epochs),
            until: work.epochs,
            due: self.passed + Duration::from_secs_f64(curve.seconds_per_epoch),
            curve,
            asked_to_stop: false,
            was_killed: false,
        });
        Ok(())
    }

    fn reports(&mut self) -> Vec<(usize, Report)> {
        let mut reports = Vec::new();
        for slot in 0..self.slots.len() {
            let Some(running) = &mut self.running[slot] else { continue };
            let mut tell = |report| reports.push((slot, report));
            let end = match running.advance(self.passed, &mut tell) {
                Ok(end) => end,
                Err(error) => Some(End::Exited(format!("{error:#}"))),
            };
            if let Some(end) = end {
                tell(Report::Ended(end));
                self.running[slot] = None;
            }
        }
        reports
    }

    fn ask_to_stop(&mut self, slot: usize) {
        self.running[slot].iter_mut().for_each(|running| running.asked_to_stop = true);
    }

    fn kill(&mut self, slot: usize) {
        self.running[slot].iter_mut().for_each(|running| running.was_killed = true);
    }

    /// To the end of the next epoch.
    fn wait(&mut self) {
        let next = self.running.iter().flatten().map(|running| running.due.saturating_sub(self.passed)).min();
        self.passed += next.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT);
    }

    fn now(&self) -> Instant {
        self.began.0 + self.passed
    }

    fn date(&self) -> SystemTime {
        self.began.1 + self.passed
    }

    /// What ran ended with its engine.
    fn adopt(&mut self, _: &TrialFolder) -> Result<Option<usize>> {
        Ok(None)
    }
}

impl Running {
    /// Does what is due by `now`; how it ended, once it has.
    fn advance(&mut self, now: Duration, tell: &mut dyn FnMut(Report)) -> Result<Option<End>> {
        while self.told < self.epochs {
            self.told += 1;
            tell(Report::Epoch(self.curve.row(self.told)));
        }
        let last = if self.curve.diverges { self.curve.accuracies.len() } else { self.until };
        while self.epochs < self.until.min(last) && self.due <= now && !self.was_killed {
            self.epochs += 1;
            self.told += 1;
            let row = self.curve.row(self.epochs);
            self.folder.append_epoch(&row)?;
            self.due += Duration::from_secs_f64(self.curve.seconds_per_epoch);
            tell(Report::Epoch(row));
            for beginning in self.leave.iter().filter(|beginning| beginning.epochs == self.epochs) {
                beginning.path.parent().map_or(Ok(()), make_folder)?;
                fs::write(&beginning.path, "simulated")?;
            }
        }
        if self.was_killed {
            return Ok(Some(End::Killed));
        }
        if self.curve.diverges && self.epochs >= self.curve.accuracies.len() {
            let record = self.folder.read_record()?;
            self.folder.write_record(&TrialRecord { status: Status::Diverged, epochs: self.epochs, ..record })?;
            return self.folder.remove_checkpoints().map(|()| Some(End::Exited("diverged".into())));
        }
        if self.epochs == self.config.train.epochs {
            return self.finish().map(|()| Some(End::Exited("ended".into())));
        }
        if self.asked_to_stop || self.epochs >= self.until {
            let checkpoint = self.folder.checkpoint();
            fs::write(&checkpoint, "simulated").with_context(|| format!("cannot write {}", checkpoint.display()))?;
            let record = self.folder.read_record()?;
            self.folder.write_record(&TrialRecord { status: Status::Pending, epochs: self.epochs, ..record })?;
            return Ok(Some(End::Stopped));
        }
        Ok(None)
    }

    /// Leaves the record of a finished training.
    fn finish(&self) -> Result<()> {
        let rows = self.folder.read_epochs()?;
        let best = rows.iter().rev().max_by(|a, b| a.validation_accuracy.total_cmp(&b.validation_accuracy));
        let record = TrialRecord {
            status: Status::Done,
            epochs: rows.len(),
            best_epoch: best.map(|row| row.epoch),
            validation_accuracy: best.map(|row| row.validation_accuracy),
            test_accuracy: best.map(|row| row.validation_accuracy),
            last_test_accuracy: rows.last().map(|row| row.validation_accuracy),
            shared_epochs: self.shared_epochs,
            train_seconds_screen: rows.last().map(|row| row.train_seconds_screen),
            ..self.folder.read_record()?
        };
        self.folder.write_record(&record)?;
        self.folder.remove_checkpoints()
    }
}

//! Training one configuration: the loop, readable top to bottom.

pub mod bench;
mod evaluate;
pub mod laps;
pub mod memory;
pub mod range_test;
pub mod run;
pub mod timing;
mod trainer;

pub use evaluate::{Evaluation, Predictions, predict};
pub use trainer::{StepOutcome, Trainer};

use std::time::Duration;

use anyhow::Result;

use crate::{
    config::TrialConfig,
    data::{Dataset, batch::epoch_order},
    model::parameters::Parameters,
    record::EpochRow,
    schedule::Step,
};

/// An epoch whose mean loss is this many times the first step's has diverged.
const DIVERGENCE: f64 = 10.0;

/// Watches a training.
pub trait Observer {
    /// After each optimizer step. Time spent here is not training time.
    fn step(&mut self, _report: &StepReport) {}
    /// After each epoch and its validation. An error ends the training.
    fn epoch(&mut self, _row: &EpochRow) -> Result<()> {
        Ok(())
    }
}

/// Watches nothing.
impl Observer for () {}

/// Where a training stands after a step.
#[derive(Clone, Debug)]
pub struct StepReport<'a> {
    pub step: &'a Step,
    pub loss: f64,
    /// Over the epoch so far, as seen while training, in 0..=1.
    pub train_accuracy: f64,
    /// Over the whole training so far.
    pub samples: u64,
    pub train_seconds: f64,
}

/// How a training ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    Finished,
    /// Why, and in which epoch (from 1).
    Diverged {
        epoch: usize,
        reason: String,
    },
}

/// A training that has ended.
pub struct Trained {
    pub ending: Ending,
    pub epochs: Vec<EpochRow>,
    /// The epoch of the best validation accuracy (the earliest, on a tie), from 1.
    pub best_epoch: Option<usize>,
    pub validation_accuracy: Option<f64>,
    /// Of the weights of `best_epoch`, read once, at the end.
    pub test_accuracy: Option<f64>,
    pub last_test_accuracy: Option<f64>,
    pub train_seconds: f64,
    pub samples: u64,
    /// The network with the weights of `best_epoch`, or its initial ones if there is none.
    pub trainer: Trainer,
}

impl Trained {
    pub fn parameters(&self) -> &Parameters {
        &self.trainer.parameters
    }
}

/// Trains `config` on `data`, and tests the weights of the best validation accuracy and the last ones.
///
/// Only the steps count as training time: not decoding, evaluation or start-up.
pub fn train(config: &TrialConfig, data: &Dataset, observer: &mut dyn Observer) -> Result<Trained> {
    let mut trainer = Trainer::new(config, data)?;
    let mut epochs: Vec<EpochRow> = Vec::new();
    let mut best: Option<(usize, f64)> = None;
    let mut best_weights = trainer.parameters.snapshot()?;
    let (mut clock, mut samples, mut steps) = (Duration::ZERO, 0u64, 0u64);
    let mut first_loss = None;
    let mut ending = Ending::Finished;

    'training: for epoch in 0..config.train.epochs {
        let order = epoch_order(data.train.len(), config.seed, epoch);
        let (mut loss_sum, mut correct, mut seen) = (0.0, 0usize, 0usize);
        let mut last_step = None;
        for step in config.schedule.epoch_steps(epoch, config.train.epochs, order.len()) {
            let outcome = trainer.step(data, &order[step.samples.clone()], epoch, step.learning_rate)?;
            clock += outcome.duration;
            steps += 1;
            samples += step.samples.len() as u64;
            seen += step.samples.len();
            correct += outcome.correct;
            loss_sum += outcome.loss * step.samples.len() as f64;
            first_loss.get_or_insert(outcome.loss);
            if !outcome.loss.is_finite() {
                let reason = format!("the loss became {} at learning rate {:.3e}", outcome.loss, step.learning_rate);
                ending = Ending::Diverged { epoch: epoch + 1, reason };
                break 'training;
            }
            observer.step(&StepReport {
                step: &step,
                loss: outcome.loss,
                train_accuracy: correct as f64 / seen as f64,
                samples,
                train_seconds: clock.as_secs_f64(),
            });
            last_step = Some(step);
        }

        let validation = trainer.evaluate(data, &data.validation)?;
        let row = EpochRow {
            epoch: epoch + 1,
            learning_rate: last_step.as_ref().map_or(0.0, |step| step.learning_rate),
            batch_size: last_step.as_ref().map_or(0, |step| step.batch_size),
            train_loss: loss_sum / seen as f64,
            train_accuracy: correct as f64 / seen as f64,
            validation_loss: validation.loss,
            validation_accuracy: validation.accuracy,
            train_seconds: clock.as_secs_f64(),
            samples,
            steps,
        };
        observer.epoch(&row)?;
        let (loss, start) = (row.train_loss, first_loss.unwrap_or(f64::NAN));
        epochs.push(row);
        if !(loss <= DIVERGENCE * start) || !validation.loss.is_finite() {
            let reason = if validation.loss.is_finite() {
                format!("the mean loss rose to {loss:.3e}, from {start:.3e} at the first step")
            } else {
                format!("the validation loss became {}", validation.loss)
            };
            ending = Ending::Diverged { epoch: epoch + 1, reason };
            break;
        }
        if best.is_none_or(|(_, accuracy)| validation.accuracy > accuracy) {
            best = Some((epoch + 1, validation.accuracy));
            best_weights = trainer.parameters.snapshot()?;
        }
    }

    let is_finished = ending == Ending::Finished;
    let test = |trainer: &mut Trainer| Ok::<_, anyhow::Error>(trainer.evaluate(data, &data.test)?.accuracy);
    let last_test_accuracy = if is_finished { Some(test(&mut trainer)?) } else { None };
    trainer.parameters.restore(&best_weights)?;
    let is_last = best.is_some_and(|(epoch, _)| epoch == epochs.len());
    let test_accuracy = if is_finished && !is_last { Some(test(&mut trainer)?) } else { last_test_accuracy };
    Ok(Trained {
        ending,
        epochs,
        best_epoch: best.map(|(epoch, _)| epoch),
        validation_accuracy: best.map(|(_, accuracy)| accuracy),
        test_accuracy,
        last_test_accuracy,
        train_seconds: clock.as_secs_f64(),
        samples,
        trainer,
    })
}

//! Training one configuration: the loop, readable top to bottom.

pub mod beginning;
pub mod checkpoint;
mod evaluate;
pub mod laps;
mod losses;
pub mod memory;
#[cfg(feature = "cuda")]
mod on_device;
mod outcome;
mod place;
pub mod range_test;
mod rule;
pub mod run;
pub mod session;
mod trainer;
mod update;

pub use evaluate::{Evaluation, Predictions, predict};
pub use outcome::StepOutcome;
pub use rule::rule;
pub use session::Session;
pub use trainer::Trainer;
pub use update::Update;

use std::{ops::ControlFlow, time::SystemTime};

use anyhow::Result;
use candle_core::Device;

use self::{
    checkpoint::{State, Sums},
    losses::Losses,
};
use crate::{
    base::machine,
    learn::{
        config::TrialConfig,
        data::{Dataset, batch::epoch_order},
        model::parameters::{Parameters, Snapshot},
        record::EpochRow,
        schedule::Step,
    },
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
    /// Before the first step, if the training goes on from a checkpoint: where it stood. An error ends the training.
    fn resumed(&mut self, _state: &State) -> Result<()> {
        Ok(())
    }
    /// After a checkpoint of the `step`th step of the training was written or gone on from.
    fn kept(&mut self, _step: u64) {}
    /// What whoever runs the training should know: a line that begins with `warning:` or `note:`.
    fn say(&mut self, _line: &str) {}
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
pub enum TrainingEnd {
    Finished,
    /// Why, and in which epoch (from 1).
    Diverged {
        epoch: usize,
        reason: String,
    },
    /// Somebody asked for it. The checkpoint, if one could be written, holds what a later session needs to go on.
    Stopped,
}

/// A training that has ended.
pub struct Trained {
    pub ending: TrainingEnd,
    pub epochs: Vec<EpochRow>,
    /// The epoch of the best validation accuracy (the earliest, on a tie), from 1.
    pub best_epoch: Option<usize>,
    pub validation_accuracy: Option<f64>,
    /// Of the weights of `best_epoch`, read once, at the end.
    pub test_accuracy: Option<f64>,
    pub last_test_accuracy: Option<f64>,
    /// When it began first, whatever it was interrupted by. UTC, RFC 3339.
    pub started: Option<String>,
    pub train_seconds: f64,
    pub samples: u64,
    /// Epochs that it took over from another training, if it did.
    pub shared_epochs: Option<usize>,
    /// The largest resident size of this process and of those that the training goes on from.
    pub peak_memory_bytes: Option<u64>,
    /// The network with the weights of `best_epoch`, or its initial ones if there is none.
    pub trainer: Trainer,
}

impl Trained {
    pub fn parameters(&self) -> &Parameters {
        &self.trainer.parameters
    }
}

/// A training under way: all that a step or an epoch changes.
struct Training {
    trainer: Trainer,
    best_weights: Snapshot,
    state: State,
    /// By which an epoch chooses its samples, where the schedule wants that.
    losses: Option<Losses>,
}

/// Whether a training goes on, or how it ended.
type Flow = ControlFlow<TrainingEnd>;

/// Trains `config` on `data`, and tests the weights of the best validation accuracy and the last ones.
///
/// Only the steps count as training time: not decoding, evaluation, checkpoints or start-up. Where `session` goes on from
/// a checkpoint, everything comes out as if the training had never been interrupted, to the bit.
pub fn train(
    config: &TrialConfig,
    data: &Dataset,
    device: &Device,
    mut session: Session,
    observer: &mut dyn Observer,
) -> Result<Trained> {
    let trainer = Trainer::new(config, data, device)?;
    let best_weights = trainer.parameters.snapshot()?;
    let state = State { started: Some(machine::rfc3339(SystemTime::now())), ..State::default() };
    let losses = Losses::new(config, data.train.len());
    let mut training = Training { trainer, best_weights, state, losses };
    session.take_up(&mut training, config, data.train.len(), observer)?;
    let mut ending = TrainingEnd::Finished;
    for epoch in training.state.epochs.len()..config.train.epochs {
        let mut flow = training.steps_of(epoch, config, data, &mut session, observer)?;
        if flow.is_continue() {
            flow = training.validate(epoch, config, data, observer)?;
        }
        if let Flow::Break(end) = flow {
            ending = end;
            break;
        }
        // What is left after the last epoch is done whoever asks to stop.
        if session.after_epoch(&mut training, observer).is_break() && epoch + 1 < config.train.epochs {
            ending = TrainingEnd::Stopped;
            break;
        }
    }
    if ending == TrainingEnd::Finished {
        session.at_end(&mut training, observer);
    }
    training.end(ending, data)
}

impl Training {
    /// Takes the steps of an epoch that are left of it.
    fn steps_of(
        &mut self,
        epoch: usize,
        config: &TrialConfig,
        data: &Dataset,
        session: &mut Session,
        observer: &mut dyn Observer,
    ) -> Result<Flow> {
        let order = self.order_of(epoch, config, data);
        let steps = config.schedule.epoch_steps(epoch, config.train.epochs, data.train.len());
        let seen = self.state.sums.seen;
        let ahead: Vec<Step> = steps.skip_while(|step| step.samples.start < seen).collect();
        let sizes = ahead.iter().map(|step| (step.samples.len(), Update::from(step))).collect();
        self.trainer.prepare(data, &order[seen..], epoch, sizes)?;
        let mut unsettled = ahead.iter();
        for (index, step) in ahead.iter().enumerate() {
            self.trainer.enqueue(data, &order[step.samples.clone()], epoch, step)?;
            self.losses.iter_mut().for_each(|losses| losses.note(self.trainer.losses()));
            let goes_on = self.trainer.is_asynchronous() && index + 1 < ahead.len();
            if goes_on && !session.is_due_after_step() {
                continue;
            }
            let flow = self.settle(epoch, &mut unsettled, observer)?;
            if flow.is_break() {
                return Ok(flow);
            }
            if session.after_step(self, observer).is_break() {
                return Ok(Flow::Break(TrainingEnd::Stopped));
            }
        }
        self.losses.iter_mut().for_each(|losses| losses.end_epoch(&order));
        Ok(Flow::Continue(()))
    }

    /// The samples that an epoch sees, in its order: what is known of their losses is from before it.
    fn order_of(&self, epoch: usize, config: &TrialConfig, data: &Dataset) -> Vec<u32> {
        let order = epoch_order(data.train.len(), config.seed, epoch);
        match &self.losses {
            None => order,
            Some(losses) => losses.choose(order, config.schedule.samples.count(epoch, data.train.len())),
        }
    }

    /// Waits for the steps that were enqueued, which are the next of `unsettled`, and counts them.
    fn settle<'a>(
        &mut self,
        epoch: usize,
        unsettled: &mut impl Iterator<Item = &'a Step>,
        observer: &mut dyn Observer,
    ) -> Result<Flow> {
        for (outcome, step) in self.trainer.settle()?.iter().zip(unsettled) {
            let state = &mut self.state;
            state.count(outcome, step.samples.len());
            if !outcome.loss.is_finite() {
                let reason = format!("the loss became {} at learning rate {:.3e}", outcome.loss, step.learning_rate);
                return Ok(Flow::Break(TrainingEnd::Diverged { epoch: epoch + 1, reason }));
            }
            observer.step(&StepReport {
                step,
                loss: outcome.loss,
                train_accuracy: state.sums.accuracy(),
                samples: state.samples,
                train_seconds: state.clock.as_secs_f64(),
            });
        }
        Ok(Flow::Continue(()))
    }

    /// Ends an epoch with its validation, and keeps the weights if they are the best so far.
    fn validate(
        &mut self,
        epoch: usize,
        config: &TrialConfig,
        data: &Dataset,
        observer: &mut dyn Observer,
    ) -> Result<Flow> {
        let validation = self.trainer.evaluate(data, &data.validation)?;
        let state = &mut self.state;
        let last_step = config.schedule.epoch_steps(epoch, config.train.epochs, data.train.len()).last();
        let row = EpochRow {
            epoch: epoch + 1,
            learning_rate: last_step.as_ref().map_or(0.0, |step| step.learning_rate),
            batch_size: last_step.as_ref().map_or(0, |step| step.batch_size),
            train_loss: state.sums.loss / state.sums.seen as f64,
            train_accuracy: state.sums.accuracy(),
            validation_loss: validation.loss,
            validation_accuracy: validation.accuracy,
            train_seconds_screen: state.clock.as_secs_f64(),
            samples: state.samples,
            steps: state.steps,
        };
        observer.epoch(&row)?;
        let (loss, start) = (row.train_loss, state.first_loss.unwrap_or(f64::NAN));
        state.epochs.push(row);
        state.sums = Sums::default();
        // The samples of greatest loss alone may be that much above the first step's.
        let sees_all = config.schedule.samples.count(epoch, data.train.len()) == data.train.len();
        let most = if sees_all { DIVERGENCE * start } else { f64::MAX };
        if !(loss <= most) || !validation.loss.is_finite() {
            let reason = if validation.loss.is_finite() {
                format!("the mean loss rose to {loss:.3e}, from {start:.3e} at the first step")
            } else {
                format!("the validation loss became {}", validation.loss)
            };
            return Ok(Flow::Break(TrainingEnd::Diverged { epoch: epoch + 1, reason }));
        }
        if state.best.is_none_or(|(_, accuracy)| validation.accuracy > accuracy) {
            state.best = Some((epoch + 1, validation.accuracy));
            self.best_weights = self.trainer.snapshot()?;
        }
        Ok(Flow::Continue(()))
    }

    /// Tests the last weights and the best ones, if the training is finished; leaves the network with the best ones.
    fn end(self, ending: TrainingEnd, data: &Dataset) -> Result<Trained> {
        let Training { mut trainer, best_weights, state, losses: _ } = self;
        let is_finished = ending == TrainingEnd::Finished;
        let test = |trainer: &mut Trainer| Ok::<_, anyhow::Error>(trainer.evaluate(data, &data.test)?.accuracy);
        let last_test_accuracy = if is_finished { Some(test(&mut trainer)?) } else { None };
        trainer.restore(&best_weights)?;
        let is_last = state.best.is_some_and(|(epoch, _)| epoch == state.epochs.len());
        let test_accuracy = if is_finished && !is_last { Some(test(&mut trainer)?) } else { last_test_accuracy };
        Ok(Trained {
            ending,
            best_epoch: state.best.map(|(epoch, _)| epoch),
            validation_accuracy: state.best.map(|(_, accuracy)| accuracy),
            test_accuracy,
            last_test_accuracy,
            started: state.started,
            train_seconds: state.clock.as_secs_f64(),
            samples: state.samples,
            shared_epochs: state.shared_epochs,
            peak_memory_bytes: state.peak_memory_bytes.max(machine::peak_memory_bytes()),
            epochs: state.epochs,
            trainer,
        })
    }
}

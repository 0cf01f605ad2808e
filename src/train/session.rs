//! One sitting of a training: where it begins, when it writes a checkpoint, and whether it goes on.

use std::{
    ops::ControlFlow,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::{Observer, Training, checkpoint::Checkpoint};
use crate::{files::remove_if_there, folder::TrialFolder, machine};

/// The time between checkpoints within an epoch, if nobody says otherwise.
pub const CHECKPOINT_EVERY: Duration = Duration::from_secs(120);
/// At the end of an epoch a checkpoint is due after this many times what writing one takes.
const SHARE: u32 = 100;
/// What writing takes before any was written: this many bytes a second, and the syncs of a slow disk.
const BYTES_PER_SECOND: f64 = 200e6;
const SYNCS: Duration = Duration::from_millis(20);

static NEVER: AtomicBool = AtomicBool::new(false);

/// Who may stop a training, and where it keeps what it has come to. The default: nobody, and nowhere.
pub struct Session<'a> {
    stop: &'a AtomicBool,
    checkpoints: Option<Checkpoints<'a>>,
}

struct Checkpoints<'a> {
    folder: &'a TrialFolder,
    /// Identity of the trial.
    key: &'a str,
    every: Duration,
    /// When the last one was written or tried, or the training began.
    last: Instant,
    /// What writing the last one took.
    cost: Duration,
    /// Whether the last one could not be written.
    is_failing: bool,
}

impl Default for Session<'_> {
    fn default() -> Self {
        Session { stop: &NEVER, checkpoints: None }
    }
}

impl<'a> Session<'a> {
    /// A sitting of trial `key` in `folder`, which goes on from the checkpoint there, if there is one of this trial,
    /// and ends after the step in which `stop` is set. A checkpoint is written when `every` has passed since the last;
    /// earlier at the end of an epoch, where it costs less than a hundredth of the time; 0 for after every step.
    pub fn in_folder(folder: &'a TrialFolder, key: &'a str, every: Duration, stop: &'a AtomicBool) -> Session<'a> {
        let checkpoints =
            Checkpoints { folder, key, every, last: Instant::now(), cost: Duration::ZERO, is_failing: false };
        Session { stop, checkpoints: Some(checkpoints) }
    }

    /// Puts `training` where the newest usable checkpoint was written. One that cannot be used is told of.
    pub(super) fn take_up(&mut self, training: &mut Training, observer: &mut dyn Observer) -> Result<()> {
        let Some(checkpoints) = &mut self.checkpoints else { return Ok(()) };
        if checkpoints.take_up(training, observer) {
            observer.resumed(&training.state)?;
        }
        // Values, the best values, and two moments.
        let bytes = 4 * size_of::<f32>() * training.trainer.parameters.count();
        checkpoints.cost = Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND) + SYNCS;
        checkpoints.last = Instant::now();
        Ok(())
    }

    /// Keeps what is due after a step; breaks where the training is to stop.
    pub(super) fn after_step(&mut self, training: &Training, observer: &mut dyn Observer) -> ControlFlow<()> {
        self.go_on(training, observer, |checkpoints| checkpoints.every)
    }

    /// The same after an epoch, when least is to be done again.
    pub(super) fn after_epoch(&mut self, training: &Training, observer: &mut dyn Observer) -> ControlFlow<()> {
        self.go_on(training, observer, |checkpoints| checkpoints.every.min(checkpoints.cost.saturating_mul(SHARE)))
    }

    fn go_on(
        &mut self,
        training: &Training,
        observer: &mut dyn Observer,
        wait: fn(&Checkpoints) -> Duration,
    ) -> ControlFlow<()> {
        let is_stopped = self.stop.load(Relaxed);
        if let Some(checkpoints) = &mut self.checkpoints
            && (is_stopped || checkpoints.last.elapsed() >= wait(checkpoints))
        {
            checkpoints.write(training, observer);
        }
        if is_stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Checkpoints<'_> {
    /// Whether there was a checkpoint from which `training` goes on now.
    fn take_up(&self, training: &mut Training, observer: &mut dyn Observer) -> bool {
        let (newest, previous) = (self.folder.checkpoint(), self.folder.previous_checkpoint());
        let mut is_any = false;
        for path in [&newest, &previous].into_iter().filter(|path| path.exists()) {
            match Checkpoint::read(path).and_then(|checkpoint| checkpoint.put_into(training, self.key)) {
                Ok(()) => {
                    // Else the damaged one would take the place of the one that is whole.
                    if is_any && let Err(error) = remove_if_there(&newest) {
                        observer.say(&format!("warning: {error:#}"));
                    }
                    return true;
                }
                Err(error) => observer.say(&format!("warning: {} cannot be used: {error:#}", path.display())),
            }
            is_any = true;
        }
        if is_any {
            observer.say("warning: there is no usable checkpoint: the training begins anew");
        }
        false
    }

    /// Writes a checkpoint. A training that cannot be kept goes on all the same.
    fn write(&mut self, training: &Training, observer: &mut dyn Observer) {
        let begun = Instant::now();
        let written = Checkpoint::of(training, self.key).write(self.folder);
        let was_failing = std::mem::replace(&mut self.is_failing, written.is_err());
        match written {
            Ok(()) => {
                self.cost = begun.elapsed();
                if was_failing {
                    observer.say("note: checkpoints can be written again");
                }
            }
            Err(error) if !was_failing => {
                observer
                    .say(&format!("warning: no checkpoint: {error:#}; the training goes on, the next is tried later"));
            }
            Err(_) => {}
        }
        self.last = Instant::now();
    }
}

impl Checkpoint {
    /// Where `training` of trial `key` is now, without a copy of its tensors: to be written before the next step.
    fn of(training: &Training, key: &str) -> Checkpoint {
        let Training { trainer, best_weights, state } = training;
        let mut state = state.clone();
        state.peak_memory_bytes = state.peak_memory_bytes.max(machine::peak_memory_bytes());
        Checkpoint {
            key: key.into(),
            state,
            weights: trainer.parameters.view(),
            best: best_weights.clone(),
            optimizer: trainer.optimizer(),
        }
    }

    /// Puts `training` of trial `key` where this was taken.
    ///
    /// Errors: it is another trial's, or another network's. Nothing changes then.
    fn put_into(self, training: &mut Training, key: &str) -> Result<()> {
        ensure!(self.key == key, "it is of trial {}, and this is trial {key}", self.key);
        training.trainer.parameters.check(&self.best)?;
        let (steps, moments) = &self.optimizer;
        training.trainer.restore(&self.weights, *steps, moments)?;
        training.best_weights = self.best;
        training.state = self.state;
        Ok(())
    }
}

//! Beginnings that trainings share: the state after some epochs, as a file that any training may take up which is the same up
//! to there.

use std::{
    fs::File,
    io::{self, ErrorKind},
    path::PathBuf,
};

use anyhow::{Error, Result, ensure};

use super::{
    Observer, Training,
    checkpoint::{Build, Checkpoint, Stored, Unusable},
};
use crate::learn::config::TrialConfig;

/// The file of the state after the first epochs of a training.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// Epochs that are behind it.
    pub epochs: usize,
    /// Identity of a training up to there, as [`TrialConfig::beginning`] has it.
    pub key: String,
    pub path: PathBuf,
}

/// Which beginnings a training takes up, and which it leaves for others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shared<'a> {
    /// It takes up the first that can be used. On a cluster some are named before they are there.
    pub from: &'a [Beginning],
    pub leave: &'a [Beginning],
}

impl Shared<'_> {
    /// Whether `training`, which has done nothing yet, goes on from a beginning now. One that cannot be used is told of.
    ///
    /// Errors: a beginning could not be read to its end after it was begun with.
    pub(super) fn take_up(
        &self,
        training: &mut Training,
        config: &TrialConfig,
        samples: usize,
        observer: &mut dyn Observer,
    ) -> Result<bool> {
        for beginning in self.from {
            match beginning.open(training, config, samples) {
                Ok(stored) => {
                    let started = training.state.started.take();
                    stored.put_into(training)?;
                    // It began now, whenever the training began that left this.
                    training.state.started = started;
                    training.state.shared_epochs = Some(beginning.epochs);
                    return Ok(true);
                }
                Err(error) if is_missing(&error) => {}
                Err(error) => {
                    let path = beginning.path.display();
                    observer.say(&format!("warning: the beginning {path} cannot be used: {error:#}"));
                }
            }
        }
        Ok(false)
    }

    /// Writes the beginning that is due after an epoch. A training that cannot leave one goes on all the same.
    pub(super) fn leave(&self, training: &mut Training, observer: &mut dyn Observer) {
        let epochs = training.state.epochs.len();
        let due = self.leave.iter().filter(|beginning| beginning.epochs == epochs && !beginning.path.exists());
        for beginning in due {
            let pulled = training.trainer.pull();
            let checkpoint = pulled.and_then(|()| Checkpoint::of(training, &beginning.key));
            if let Err(error) = checkpoint.and_then(|checkpoint| checkpoint.leave_at(&beginning.path)) {
                observer.say(&format!("warning: other trials train epochs 1 to {epochs} again: {error:#}"));
            }
        }
    }
}

impl Beginning {
    /// The state in its file, if `training` of `config` on `samples` samples comes to it, to the bit, on this build and this kind
    /// of processor.
    fn open(&self, training: &Training, config: &TrialConfig, samples: usize) -> Result<Stored<File>> {
        let stored = Stored::open(File::open(&self.path).map_err(Unusable::Unreadable)?).map_err(Error::new)?;
        stored.check(training, &self.key, config, samples)?;
        let (build, this) = (&stored.envelope.build, Build::this(training.trainer.gpu()));
        ensure!(*build == this, "it is of the build {build}, and this is {this}");
        let (processor, here) = (stored.envelope.processor.clone(), this.processor());
        let words = |of: Option<String>| of.unwrap_or_else(|| "an unknown one".into());
        ensure!(processor == here, "it is of the processor {}, and this is {}", words(processor), words(here));
        let epochs = stored.envelope.state.epochs.len();
        ensure!(epochs == self.epochs, "it is of {epochs} epochs, not of {}", self.epochs);
        Ok(stored)
    }
}

/// Whether there is no such file.
fn is_missing(error: &Error) -> bool {
    let causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.map(io::Error::kind).any(|kind| kind == ErrorKind::NotFound)
}

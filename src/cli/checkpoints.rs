//! How often a command that trains writes a checkpoint.

use std::{ffi::OsString, sync::atomic::AtomicBool, time::Duration};

use fastrcaps::learn::train::{
    beginning::Shared,
    run::Interruption,
    session::{CHECKPOINT_EVERY, Foreign},
};

use super::input::parse_duration;

/// `--checkpoint-every` and `--keep-checkpoints`, for commands that train in a folder.
#[derive(clap::Args)]
pub struct CheckpointsArg {
    /// Time between checkpoints, as in 30s; longer if they would cost more than a hundredth of it; 0s for one after every
    /// step
    #[arg(long, value_name = "DURATION", default_value_t = CHECKPOINT_EVERY.into(), value_parser = parse_every)]
    checkpoint_every: humantime::Duration,
    /// Keep a checkpoint in the folder at the end of the training
    #[arg(long)]
    keep_checkpoints: bool,
}

fn parse_every(text: &str) -> Result<humantime::Duration, String> {
    parse_duration(text).map(humantime::Duration::from)
}

impl CheckpointsArg {
    /// These options again, for a command that this one starts.
    pub fn arguments(&self) -> Vec<OsString> {
        let every = ["--checkpoint-every".into(), self.checkpoint_every.to_string().into()];
        every.into_iter().chain(self.keep_checkpoints.then(|| "--keep-checkpoints".into())).collect()
    }

    /// That, for a training that ends when `stop` is set, and what is done about checkpoints of others.
    pub fn interruption<'a>(&self, stop: &'a AtomicBool, foreign: Foreign) -> Interruption<'a> {
        let checkpoint_every = Duration::from(self.checkpoint_every);
        let keep_checkpoints = self.keep_checkpoints;
        Interruption { stop, checkpoint_every, keep_checkpoints, foreign, shared: Shared::default() }
    }
}

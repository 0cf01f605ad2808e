//! Which steps a schedule takes, as hashes: schedules of equal hashes train alike up to there.

use sha2::{Digest, Sha256};

use super::ScheduleConfig;
use crate::learn::model::scope::Scope;

/// Hashes of the steps of a training: one after each epoch, over the number of samples and the learning rate of every step up
/// to there, what it computes and trains where that is not the whole network, and whether the losses of samples are noted.
pub struct StepDigests<'a> {
    schedule: &'a ScheduleConfig,
    epochs: usize,
    samples: usize,
    /// Epochs that are in the digest.
    epoch: usize,
    digest: [u8; 32],
}

/// Stands before the steps of an epoch that notes the loss of each sample, and is neither a number of samples nor the mark of a
/// scope: another training does not come to the same state, even where its steps are the same.
const NOTES_LOSSES: u64 = u64::MAX - 1;

impl ScheduleConfig {
    /// Hashes of the steps that a training of `epochs` on `samples` training samples takes.
    pub fn step_digests(&self, epochs: usize, samples: usize) -> StepDigests<'_> {
        StepDigests { schedule: self, epochs, samples, epoch: 0, digest: [0; 32] }
    }
}

impl Iterator for StepDigests<'_> {
    type Item = [u8; 32];

    fn next(&mut self) -> Option<[u8; 32]> {
        if self.epoch >= self.epochs {
            return None;
        }
        let mut hasher = Sha256::new_with_prefix(self.digest);
        if !self.schedule.samples.is_all() {
            hasher.update(NOTES_LOSSES.to_le_bytes());
        }
        for step in self.schedule.epoch_steps(self.epoch, self.epochs, self.samples) {
            hasher.update((step.samples.len() as u64).to_le_bytes());
            hasher.update(step.learning_rate.to_bits().to_le_bytes());
            if !step.scope.is_whole() {
                of_scope(step.scope).iter().for_each(|part| hasher.update(part.to_le_bytes()));
            }
        }
        self.epoch += 1;
        self.digest = hasher.finalize().into();
        Some(self.digest)
    }
}

/// A scope in numbers, after a mark that is no number of samples. Steps of the whole network have none, so that their hashes are
/// what they were before there was a choice.
fn of_scope(scope: Scope) -> [u64; 4] {
    let Scope { iterations, skips_decoder, frozen } = scope;
    [u64::MAX, iterations.unwrap_or(0) as u64, skips_decoder.into(), frozen.layers() as u64]
}

//! How many of the training samples an epoch sees.

use serde::{Deserialize, Serialize};

use crate::base::invalid::Invalid;

/// From some epoch on, epochs see a share of the training samples only: those whose loss was greatest when they were seen last. Every
/// `full_every`-th of these epochs sees all again. (After KAKURENBO, Nguyen et al. 2023.)
///
/// How many samples an epoch sees follows from its number alone, so that steps are counted before they are taken. Which samples these
/// are depends on the training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SampleSchedule {
    /// Of the training samples; 1 for all.
    pub share: f64,
    /// Epochs that see all samples before the first that does not.
    pub after: usize,
    /// After those, of this many epochs the last sees all.
    pub full_every: usize,
}

impl Default for SampleSchedule {
    fn default() -> Self {
        SampleSchedule { share: 1.0, after: 2, full_every: 4 }
    }
}

impl SampleSchedule {
    /// Whether every epoch sees all samples.
    pub fn is_all(&self) -> bool {
        self.share >= 1.0 || self.full_every == 1
    }

    /// Samples, of `samples`, that epoch `epoch` (from 0) sees.
    pub fn count(&self, epoch: usize, samples: usize) -> usize {
        if self.reduced(epoch, epoch + 1) == 0 { samples } else { self.kept(samples) }
    }

    /// Samples, of `samples`, that an epoch sees which does not see all: at least one.
    pub(super) fn kept(&self, samples: usize) -> usize {
        ((self.share * samples as f64).round() as usize).max(1).min(samples)
    }

    /// Epochs from `start` to before `end` that do not see all samples.
    pub(super) fn reduced(&self, start: usize, end: usize) -> usize {
        let before = |epoch: usize| {
            let behind = epoch.saturating_sub(self.after);
            behind - behind / self.full_every
        };
        if self.is_all() { 0 } else { before(end) - before(start) }
    }

    /// Epochs, of `epochs`, with which another number of samples begins, ascending.
    pub(super) fn turns(&self, epochs: usize) -> impl Iterator<Item = f64> {
        let is_reduced = |epoch: usize| self.reduced(epoch, epoch + 1) > 0;
        (self.after..epochs).filter(move |epoch| is_reduced(*epoch) != is_reduced(epoch - 1)).map(|epoch| epoch as f64)
    }

    /// The same for a training of `epochs` in its one spelling.
    pub(super) fn canonical(self, epochs: usize) -> SampleSchedule {
        if self.is_all() || self.after >= epochs {
            return SampleSchedule::default();
        }
        // No later epoch sees all where there are fewer of them.
        SampleSchedule { full_every: self.full_every.min(epochs - self.after + 1), ..self }
    }

    pub(super) fn validate(&self, path: &str) -> Result<(), Invalid> {
        if !(self.share > 0.0 && self.share <= 1.0) {
            let allowed = "a share of the training samples above 0, up to 1";
            return Err(Invalid::new(&format!("{path}.share"), self.share, allowed));
        }
        for (key, epochs) in [("after", self.after), ("full_every", self.full_every)] {
            if !(1..=100_000).contains(&epochs) {
                return Err(Invalid::new(&format!("{path}.{key}"), epochs, "a number of epochs from 1 to 100000"));
            }
        }
        Ok(())
    }
}

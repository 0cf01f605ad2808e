//! The steps that a training takes: one by one, and counted by their kind.

use std::collections::BTreeMap;

use super::{Progress, ScheduleConfig, Step};
use crate::learn::model::scope::Scope;

impl ScheduleConfig {
    /// The steps of epoch `epoch` (from 0) of `epochs` over `samples` training samples: what the training loop takes.
    /// Every sample that the epoch sees is seen once; the last step of an epoch may be smaller.
    pub fn epoch_steps(&self, epoch: usize, epochs: usize, samples: usize) -> impl Iterator<Item = Step> {
        let (mut start, mut number) = (0, 0);
        let samples = self.samples.count(epoch, samples);
        std::iter::from_fn(move || {
            if start >= samples {
                return None;
            }
            let progress = Progress { epoch: epoch as f64 + start as f64 / samples as f64, epochs: epochs as f64 };
            let batch_size = self.batch_size(progress);
            let step = Step {
                progress,
                learning_rate: self.learning_rate(progress),
                batch_size,
                samples: start..(start + batch_size).min(samples),
                scope: self.scope(progress, number),
            };
            start = step.samples.end;
            number += 1;
            Some(step)
        })
    }

    /// Samples that the first `stop` epochs of a training on `samples` training samples see, one as often as it is seen.
    pub fn samples_seen(&self, stop: usize, samples: usize) -> usize {
        let reduced = self.samples.reduced(0, stop);
        (stop - reduced) * samples + reduced * self.samples.kept(samples)
    }

    /// Optimizer steps of the first `stop` epochs of a training of `epochs` on `samples` training samples, by number of
    /// samples in the step.
    pub fn steps_by_size(&self, stop: usize, epochs: usize, samples: usize) -> BTreeMap<usize, u64> {
        let mut steps = BTreeMap::new();
        for ((size, _), count) in self.steps_by_kind(stop, epochs, samples) {
            *steps.entry(size).or_default() += count;
        }
        steps
    }

    /// The same by number of samples in the step and by what it computes and trains of the network.
    pub fn steps_by_kind(&self, stop: usize, epochs: usize, samples: usize) -> BTreeMap<(usize, Scope), u64> {
        let mut steps = BTreeMap::new();
        let mut add = |size: usize, scope: Scope, count: u64| {
            if size > 0 && count > 0 {
                *steps.entry((size, scope)).or_default() += count;
            }
        };
        let mut epoch = 0;
        while epoch < stop {
            let alike = self.epochs_alike(epoch, epochs).min(stop - epoch);
            if alike > 0 {
                // Whole epochs that are alike need not be walked through: a hundred thousand epochs of single samples would take
                // long.
                let progress = Progress { epoch: epoch as f64, epochs: epochs as f64 };
                let reduced = self.samples.reduced(epoch, epoch + alike);
                for (samples, times) in [(samples, alike - reduced), (self.samples.kept(samples), reduced)] {
                    self.count_epoch(progress, samples, &mut |size, scope, count| {
                        add(size, scope, count * times as u64)
                    });
                }
                epoch += alike;
            } else {
                let walk = self.epoch_steps(epoch, epochs, samples);
                walk.for_each(|step| add(step.samples.len(), step.scope, 1));
                epoch += 1;
            }
        }
        steps
    }

    /// What steps compute and train, in the order in which a training comes to it.
    pub fn scopes(&self) -> Vec<Scope> {
        let mut shares: Vec<f64> = self.turns_of_scope().collect();
        shares.push(0.0);
        shares.sort_by(f64::total_cmp);
        let mut scopes = Vec::new();
        for epoch in shares {
            for number in 0..self.reconstruction.every.min(2) {
                let scope = self.scope(Progress { epoch, epochs: 1.0 }, number);
                if !scopes.contains(&scope) {
                    scopes.push(scope);
                }
            }
        }
        scopes
    }

    /// Epochs from `epoch` on in which neither the batch size changes nor what a step of one number computes. The number of samples
    /// that they see may.
    fn epochs_alike(&self, epoch: usize, epochs: usize) -> usize {
        let progress = Progress { epoch: epoch as f64, epochs: epochs as f64 };
        let (_, end) = self.batch.phase_span(progress);
        let turns = self.turns_of_scope().filter(|turn| progress.fraction() < *turn);
        turns.map(|turn| whole_epochs(turn, epochs)).fold(end as usize, usize::min).saturating_sub(epoch)
    }

    /// The steps of an epoch of `samples` samples from `progress` on in which nothing changes, by samples and scope.
    fn count_epoch(&self, progress: Progress, samples: usize, add: &mut dyn FnMut(usize, Scope, u64)) {
        let size = self.batch_size(progress);
        let (full, rest) = (samples / size, samples % size);
        let reconstruction = &self.reconstruction;
        let reconstructing = if reconstruction.is_over(progress) { 0 } else { full.div_ceil(reconstruction.every) };
        let scope = self.scope(progress, 0);
        add(size, Scope { skips_decoder: false, ..scope }, reconstructing as u64);
        add(size, Scope { skips_decoder: true, ..scope }, (full - reconstructing) as u64);
        add(rest, self.scope(progress, full), 1);
    }
}

/// Epochs that end no later than at a share of a training of `epochs`.
fn whole_epochs(share: f64, epochs: usize) -> usize {
    let is_within = |epoch: usize| epoch as f64 / epochs as f64 <= share;
    let mut whole = (share * epochs as f64) as usize;
    // By rounding, the product may lie on the other side of a whole number than the share does.
    while is_within(whole + 1) {
        whole += 1;
    }
    while whole > 0 && !is_within(whole) {
        whole -= 1;
    }
    whole
}

//! Where a training stands, as a checkpoint has it: taken, held against the training, and put back.

use std::{
    collections::BTreeMap,
    io::{Read, Seek},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Tensor};

use super::{
    Training,
    checkpoint::{AVERAGE, BEST, Build, Checkpoint, Envelope, LOSSES, MOMENTS, State, Stored, WEIGHTS},
    losses::Losses,
};
use crate::{base::machine, learn::config::TrialConfig};

impl Training {
    /// Values that a checkpoint has: weights, the best ones, moments, the average, and losses.
    pub(super) fn kept_values(&self) -> usize {
        let (_, moments) = self.trainer.optimizer();
        let averages = self.trainer.average();
        let own: usize = moments.values().chain(averages.values()).map(Tensor::elem_count).sum();
        2 * self.trainer.parameters.count() + own + self.losses.as_ref().map_or(0, Losses::kept_values)
    }
}

impl Checkpoint {
    /// Where `training` of trial `key` is now, without a copy of its weights and moments: to be written before the next step.
    pub(super) fn of(training: &Training, key: &str) -> Result<Checkpoint> {
        let Training { trainer, best_weights, state, losses } = training;
        let mut state = state.clone();
        state.peak_memory_bytes = state.peak_memory_bytes.max(machine::peak_memory_bytes());
        Ok(Checkpoint {
            key: key.into(),
            build: Build::this(trainer.gpu()),
            state,
            weights: trainer.parameters.view(),
            best: best_weights.clone(),
            optimizer: trainer.optimizer(),
            squares: trainer.squares(),
            average: trainer.average().into(),
            losses: losses.as_ref().map_or(Ok(BTreeMap::new().into()), Losses::snapshot)?,
        })
    }
}

impl<R: Read + Seek> Stored<R> {
    /// Whether it is of `training`, which is trial `key`: `config` on `samples` training samples.
    pub(super) fn check(&self, training: &Training, key: &str, config: &TrialConfig, samples: usize) -> Result<()> {
        let Envelope { key: of, state, squares, .. } = &self.envelope;
        ensure!(of == key, "it is of trial {of}, and this is trial {key}");
        check_place(state, config, samples)?;
        let parameters = &training.trainer.parameters;
        for part in [WEIGHTS, BEST] {
            parameters.check(self.shapes(part)).with_context(|| format!("its {part} are another network's"))?;
        }
        let (_, own) = training.trainer.optimizer();
        let moments = || self.shapes(MOMENTS);
        let has_own = |(name, shape, _): (&str, &[usize], DType)| {
            !shape.is_empty() && own.get(name).is_none_or(|own| own.dims().first() == shape.first())
        };
        ensure!(moments().all(has_own), "its moments are not as many of each value as those of this optimizer");
        let moments = moments().map(|(name, shape, dtype)| (name, &shape[1..], dtype));
        parameters.check_trained(moments).context("its moments are another network's")?;
        let is_sum = squares.is_none_or(|sum| sum >= 0. && sum.is_finite());
        ensure!(
            is_sum && squares.is_some() == training.trainer.squares().is_some(),
            "its sum over learning rates is of no training by this optimizer: {squares:?}"
        );
        let (is_averaged, has_average) =
            (!training.trainer.average().is_empty(), self.shapes(AVERAGE).next().is_some());
        ensure!(is_averaged == has_average, "it has {} average of the weights", if has_average { "an" } else { "no" });
        if is_averaged {
            parameters.check(self.shapes(AVERAGE)).context("its average is another network's")?;
        }
        let wanted = training.losses.as_ref().map(|_| Losses::shapes(samples, state.sums.seen));
        let wanted = wanted.iter().flatten().map(|(name, shape)| (*name, shape.as_slice(), DType::F32));
        ensure!(wanted.eq(self.shapes(LOSSES)), "its losses are not those of the samples that this training has seen");
        Ok(())
    }

    /// Puts `training`, which it is of, where it was taken.
    ///
    /// Errors: it could not be read to its end. `training` is to be used only after another one was put into it.
    pub(super) fn put_into(mut self, training: &mut Training) -> Result<()> {
        let (_, moments) = training.trainer.optimizer();
        self.read_into(WEIGHTS, training.trainer.parameters.view().tensors())?;
        self.read_into(BEST, training.best_weights.tensors())?;
        self.read_into(MOMENTS, &moments)?;
        self.read_into(AVERAGE, &training.trainer.average())?;
        if training.losses.is_some() {
            training.losses = Some(Losses::of_tensors(&self.read_part(LOSSES)?)?);
        }
        let Envelope { optimizer_steps, squares, state, .. } = self.envelope;
        training.trainer.go_on_after(optimizer_steps, squares)?;
        let started = state.started.clone().or(training.state.started.take());
        training.state = State { started, ..state };
        Ok(())
    }
}

/// Whether a training of `config` on `samples` samples ever stands where `state` says.
fn check_place(state: &State, config: &TrialConfig, samples: usize) -> Result<()> {
    /// More than any training takes.
    const LONGEST: Duration = Duration::from_secs(1 << 40);
    let (epoch, epochs, seen) = (state.epochs.len(), config.train.epochs, state.sums.seen);
    let ends_there = || config.schedule.epoch_steps(epoch, epochs, samples).any(|step| step.samples.end == seen);
    ensure!(
        seen == 0 && epoch <= epochs || epoch < epochs && ends_there(),
        "it is of sample {seen} in epoch {}, where no step of this training ends",
        epoch + 1
    );
    let is_whole = state.samples == (config.schedule.samples_seen(epoch, samples) + seen) as u64
        && state.steps <= state.samples
        && state.sums.correct <= seen
        && state.clock <= LONGEST
        && state.best.is_none_or(|(best, _)| (1..=epoch).contains(&best))
        && state.epochs.iter().enumerate().all(|(before, row)| row.epoch == before + 1);
    ensure!(is_whole, "its counts are of no training: {} steps, {} samples", state.steps, state.samples);
    Ok(())
}

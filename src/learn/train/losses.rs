//! The loss of each training sample when it was seen last, by which an epoch that does not see all samples chooses them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};

use crate::learn::{config::TrialConfig, model::parameters::Snapshot};

/// What is known of the samples of a training whose epochs choose theirs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Losses {
    /// Of every training sample, before the present epoch; infinite before it was seen.
    known: Vec<f32>,
    /// Of the samples that the present epoch has seen, in its order.
    epoch: Vec<f32>,
}

/// Names of the two in a checkpoint.
const KNOWN: &str = "known";
const EPOCH: &str = "epoch";

impl Losses {
    /// Of a training of `config` that has seen none of its `samples` samples; none where every epoch sees all.
    pub fn new(config: &TrialConfig, samples: usize) -> Option<Losses> {
        let is_wanted = !config.schedule.samples.is_all();
        is_wanted.then(|| Losses { known: vec![f32::INFINITY; samples], epoch: Vec::new() })
    }

    /// What of `order` the present epoch sees: the `count` samples with the greatest losses before it, in the order they stand in. Of
    /// equal losses, that which stands first.
    pub fn choose(&self, order: Vec<u32>, count: usize) -> Vec<u32> {
        if count >= order.len() {
            return order;
        }
        let mut places: Vec<usize> = (0..order.len()).collect();
        let loss = |place: usize| self.known[order[place] as usize];
        places.select_nth_unstable_by(count, |one, other| loss(*other).total_cmp(&loss(*one)).then(one.cmp(other)));
        places.truncate(count);
        places.sort_unstable();
        places.into_iter().map(|place| order[place]).collect()
    }

    /// Takes in the losses of a step's samples.
    pub fn note(&mut self, losses: &[f32]) {
        self.epoch.extend_from_slice(losses);
    }

    /// Ends the epoch that has seen the samples of `order`.
    pub fn end_epoch(&mut self, order: &[u32]) {
        for (sample, loss) in order.iter().zip(self.epoch.drain(..)) {
            self.known[*sample as usize] = loss;
        }
    }

    /// Values that a checkpoint has of it.
    pub fn kept_values(&self) -> usize {
        self.known.len() + self.epoch.len()
    }

    /// What a checkpoint has of it after `seen` samples of an epoch, of `samples` in all.
    pub fn shapes(samples: usize, seen: usize) -> [(&'static str, [usize; 1]); 2] {
        [(EPOCH, [seen]), (KNOWN, [samples])]
    }

    /// A copy, as a checkpoint has it.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let tensor = |values: &[f32]| Tensor::from_slice(values, values.len(), &Device::Cpu);
        let parts = [(EPOCH, tensor(&self.epoch)?), (KNOWN, tensor(&self.known)?)];
        Ok(BTreeMap::from(parts.map(|(name, tensor)| (name.to_string(), tensor))).into())
    }

    /// What a checkpoint has.
    pub fn of_tensors(tensors: &BTreeMap<String, Tensor>) -> Result<Losses> {
        let values = |name: &str| Ok::<_, anyhow::Error>(tensors.get(name).context("no such losses")?.to_vec1()?);
        Ok(Losses { known: values(KNOWN)?, epoch: values(EPOCH)? })
    }
}

//! The state of an unfinished training as a file: what [`train`](super::train) needs to go on to the same bits.
//!
//! A safetensors file of tensors `weights/NAME`, `best/NAME` and `moments/NAME`, of the bytes `state` (JSON) and of the
//! bytes `sha256`, the hash of all others. Random streams keep no state, so that none is in it.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::StepOutcome;
use crate::{
    files::write_keeping_previous,
    folder::TrialFolder,
    kernels::with_values,
    model::parameters::Snapshot,
    record::{EpochRow, any_number},
};

/// Of the format; another one is not read.
const VERSION: u32 = 1;
const STATE: &str = "state";
const SHA256: &str = "sha256";
/// Values that become bytes at once, to be hashed: no second copy of a large tensor.
const PIECE: usize = 1 << 12;

/// What a training has come to, but for its tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Epochs completed: the present one is the next.
    pub epochs: Vec<EpochRow>,
    /// The epoch of the best validation accuracy, from 1, and that accuracy.
    pub best: Option<(usize, f64)>,
    /// Spent in training steps.
    pub clock: Duration,
    pub samples: u64,
    pub steps: u64,
    /// The loss of the very first step; finite, or the training would have ended with it.
    pub first_loss: Option<f64>,
    /// Sums over the present epoch.
    pub sums: Sums,
    /// The largest resident size of the processes before this one.
    pub peak_memory_bytes: Option<u64>,
}

/// Sums over the steps of an epoch so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    /// Samples: the position in the epoch's order.
    pub seen: usize,
    pub correct: usize,
    /// Over samples.
    #[serde(with = "any_number")]
    pub loss: f64,
}

impl State {
    /// Takes in a step of `samples` samples.
    pub(super) fn count(&mut self, step: &StepOutcome, samples: usize) {
        self.clock += step.duration;
        self.steps += 1;
        self.samples += samples as u64;
        self.first_loss.get_or_insert(step.loss);
        self.sums.seen += samples;
        self.sums.correct += step.correct;
        self.sums.loss += step.loss * samples as f64;
    }
}

impl Sums {
    /// In 0..=1.
    pub(super) fn accuracy(&self) -> f64 {
        self.correct as f64 / self.seen as f64
    }
}

/// A training between two steps.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Identity of the trial.
    pub key: String,
    pub state: State,
    pub weights: Snapshot,
    /// The weights of the best epoch.
    pub best: Snapshot,
    /// Adam's steps and its moments by variable.
    pub optimizer: (u64, BTreeMap<String, Tensor>),
}

/// What stands in the tensor `state`.
#[derive(Serialize, Deserialize)]
struct Envelope {
    version: u32,
    key: String,
    optimizer_steps: u64,
    state: State,
}

/// What stands there in every version.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Checkpoint {
    /// Writes it as the newest of `folder`; the one that was the newest becomes the previous.
    pub fn write(&self, folder: &TrialFolder) -> Result<()> {
        let tensors = self.tensors()?;
        write_keeping_previous(&folder.checkpoint(), &folder.previous_checkpoint(), |path| {
            Ok(candle_core::safetensors::save(&tensors, path)?)
        })
    }

    /// Reads a file that [`Checkpoint::write`] wrote.
    ///
    /// Errors: it is not as it was written, or of another version of the format.
    pub fn read(path: &Path) -> Result<Checkpoint> {
        // The whole file at once: what its header says can then ask for no more memory than it has bytes.
        Checkpoint::from_bytes(&std::fs::read(path)?)
    }

    /// [`Checkpoint::read`] of the bytes of a file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Checkpoint> {
        let mut tensors: BTreeMap<String, Tensor> =
            candle_core::safetensors::load_buffer(bytes, &Device::Cpu)?.into_iter().collect();
        let sum = tensors.remove(SHA256).context("it has no checksum")?;
        ensure!(raw(&sum)? == hash(&tensors)?, "it is damaged: its checksum is not that of its content");
        let state = raw(&tensors.remove(STATE).context("it has no `state`")?)?;
        let Versioned { version } = serde_json::from_slice(&state)?;
        ensure!(version == VERSION, "it is of version {version} of the format, and this program reads {VERSION}");
        let Envelope { key, optimizer_steps, state, .. } = serde_json::from_slice(&state)?;
        let mut parts: [BTreeMap<String, Tensor>; 3] = Default::default();
        for (name, tensor) in tensors {
            match name.split_once('/') {
                Some(("weights", of)) => parts[0].insert(of.into(), tensor),
                Some(("best", of)) => parts[1].insert(of.into(), tensor),
                Some(("moments", of)) => parts[2].insert(of.into(), tensor),
                _ => bail!("it has a tensor `{name}`, which is none of a checkpoint"),
            };
        }
        let [weights, best, moments] = parts;
        Ok(Checkpoint { key, state, weights: weights.into(), best: best.into(), optimizer: (optimizer_steps, moments) })
    }

    /// All of it as tensors by name.
    fn tensors(&self) -> Result<HashMap<String, Tensor>> {
        let (optimizer_steps, moments) = (self.optimizer.0, &self.optimizer.1);
        let parts = [("weights", self.weights.tensors()), ("best", self.best.tensors()), ("moments", moments)];
        let mut tensors = BTreeMap::new();
        for (part, of) in parts {
            tensors.extend(of.iter().map(|(name, tensor)| (format!("{part}/{name}"), tensor.clone())));
        }
        let envelope = Envelope { version: VERSION, key: self.key.clone(), optimizer_steps, state: self.state.clone() };
        let bytes = |bytes: &[u8]| Tensor::from_slice(bytes, bytes.len(), &Device::Cpu);
        tensors.insert(STATE.into(), bytes(&serde_json::to_vec(&envelope)?)?);
        let sum = hash(&tensors)?;
        tensors.insert(SHA256.into(), bytes(&sum)?);
        Ok(tensors.into_iter().collect())
    }
}

/// The SHA-256 of names, types, shapes and values, each part after its length or of a fixed one.
pub fn hash(tensors: &BTreeMap<String, Tensor>) -> Result<Vec<u8>> {
    let mut hasher = Sha256::new();
    let number = |value: usize| (value as u64).to_le_bytes();
    for (name, tensor) in tensors {
        hasher.update(number(name.len()));
        hasher.update(name);
        hasher.update(number(tensor.dims().len()));
        tensor.dims().iter().for_each(|size| hasher.update(number(*size)));
        match tensor.dtype() {
            DType::F32 => {
                hasher.update(b"f32");
                with_values(tensor, |values: &[f32]| {
                    let mut bytes = Vec::with_capacity(size_of::<f32>() * PIECE);
                    for piece in values.chunks(PIECE) {
                        bytes.clear();
                        bytes.extend(piece.iter().flat_map(|value| value.to_le_bytes()));
                        hasher.update(&bytes);
                    }
                })?;
            }
            DType::U8 => {
                hasher.update(b"u8 ");
                hasher.update(raw(tensor)?);
            }
            other => bail!("its tensor `{name}` is of {other:?}, which none of a checkpoint is"),
        }
    }
    Ok(hasher.finalize().to_vec())
}

/// The values of a tensor of bytes.
fn raw(tensor: &Tensor) -> Result<Vec<u8>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

//! The state of an unfinished training as a file: what [`train`](super::train) needs to go on to the same bits.
//!
//! A safetensors file of tensors `weights/NAME`, `best/NAME`, `moments/NAME`, where the weights are averaged `average/NAME`, and where
//! epochs choose their samples `losses/NAME`, of the bytes `state` (JSON) and of the bytes `sha256`, the hash of all others.
//! Random streams keep no state, so that none is in it.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, Cursor, ErrorKind, Read, Seek},
    path::Path,
    time::Duration,
};

use anyhow::{Error, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::StepOutcome;
use crate::{
    base::{
        files::{make_folder, write_keeping_previous, write_through},
        machine,
    },
    learn::{
        folder::TrialFolder,
        kernels::vector_width,
        model::{
            parameters::Snapshot,
            tensor_file::{self, Entry, TensorFile, Type, each_piece},
        },
        record::{EpochRow, any_number},
    },
};

/// Of the format; another one is not read.
const VERSION: u32 = 1;
const STATE: &str = "state";
const SHA256: &str = "sha256";
/// How the names of its tensors begin, before a slash.
pub(super) const WEIGHTS: &str = "weights";
pub(super) const BEST: &str = "best";
pub(super) const MOMENTS: &str = "moments";
pub(super) const AVERAGE: &str = "average";
pub(super) const LOSSES: &str = "losses";
const PARTS: [&str; 5] = [WEIGHTS, BEST, MOMENTS, AVERAGE, LOSSES];

/// What a training has come to, but for its tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// When the training began first. UTC, RFC 3339.
    pub started: Option<String>,
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
    /// Epochs that another training left it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_epochs: Option<usize>,
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

/// What computed: another one may come to other bits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Build {
    pub git_revision: Option<String>,
    /// Floats that it computed with at a time.
    pub vector_width: Option<usize>,
    /// The GPU that it computed on; none for CPU cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
}

impl Build {
    /// This program, on the CPU or on `gpu`.
    pub fn this(gpu: Option<&str>) -> Build {
        Build {
            git_revision: machine::git_revision(),
            vector_width: Some(vector_width()),
            gpu: gpu.map(str::to_string),
        }
    }

    /// The kind of this machine's processor, where that is what computes.
    pub(super) fn processor(&self) -> Option<String> {
        self.gpu.is_none().then(machine::processor).flatten()
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let width = self.vector_width.map_or("an unknown number of".into(), |width| width.to_string());
        let commit = self.git_revision.as_deref().unwrap_or("an unknown commit");
        match &self.gpu {
            None => write!(f, "{commit} with vectors of {width} floats"),
            Some(gpu) => write!(f, "{commit} on a {gpu}"),
        }
    }
}

/// Why there is no going on from a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It is not as it was written: nobody can use it.
    #[error("it is damaged: {0:#}")]
    Damaged(Error),
    /// It is whole, and of another training or another program, which can use it.
    #[error("{0:#}")]
    Foreign(Error),
    /// Whether it is whole is not known.
    #[error("it cannot be read")]
    Unreadable(#[source] io::Error),
}

impl Unusable {
    /// What an error of reading says of the file.
    pub(super) fn of(error: Error) -> Unusable {
        match error.downcast::<io::Error>() {
            Ok(error) if error.kind() != ErrorKind::UnexpectedEof => Unusable::Unreadable(error),
            Ok(error) => Unusable::Damaged(error.into()),
            Err(error) => Unusable::Damaged(error),
        }
    }
}

/// A training between two steps.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Identity of the trial.
    pub key: String,
    pub build: Build,
    pub state: State,
    pub weights: Snapshot,
    /// The weights of the best epoch.
    pub best: Snapshot,
    /// The optimizer's steps and its moments by variable.
    pub optimizer: (u64, BTreeMap<String, Tensor>),
    /// The sum of the squares of its learning rates; none where its steps do not depend on it.
    pub squares: Option<f64>,
    /// The average of the weights; empty where there is none.
    pub average: Snapshot,
    /// Of training samples, by which epochs choose theirs; empty where they see all.
    pub losses: Snapshot,
}

/// What stands in the tensor `state`.
#[derive(Serialize, Deserialize)]
pub(super) struct Envelope {
    version: u32,
    pub key: String,
    pub build: Build,
    /// The kind of the processor that trained last, where it was no GPU: in-sweep times of kinds are not mixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor: Option<String>,
    pub optimizer_steps: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub squares: Option<f64>,
    pub state: State,
}

/// What stands there in every version.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Checkpoint {
    /// Writes it as the newest of `folder`; the one that was the newest becomes the previous. Where that one is known to be
    /// whole and there is no room for a third, the previous one goes first.
    pub fn write(&self, folder: &TrialFolder, is_newest_whole: bool) -> Result<()> {
        let tensors = self.tensors()?;
        write_keeping_previous(&folder.checkpoint(), &folder.previous_checkpoint(), is_newest_whole, |path| {
            tensor_file::write(path, &tensors)
        })
    }

    /// Writes it as the file `path`, in the place of what was there, and makes the folder for it.
    pub(super) fn leave_at(&self, path: &Path) -> Result<()> {
        path.parent().map_or(Ok(()), make_folder)?;
        let tensors = self.tensors()?;
        write_through(path, |path| tensor_file::write(path, &tensors))
    }

    /// Reads a file that [`Checkpoint::write`] wrote.
    pub fn read(path: &Path) -> Result<Checkpoint, Unusable> {
        Stored::open(File::open(path).map_err(Unusable::Unreadable)?)?.read().map_err(Unusable::of)
    }

    /// [`Checkpoint::read`] of the bytes of a file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Checkpoint, Unusable> {
        Stored::open(Cursor::new(bytes))?.read().map_err(Unusable::of)
    }

    /// All of it as tensors by name.
    fn tensors(&self) -> Result<BTreeMap<String, Tensor>> {
        let (optimizer_steps, moments) = (self.optimizer.0, &self.optimizer.1);
        let own = [&self.weights, &self.best, &self.average, &self.losses].map(Snapshot::tensors);
        let [weights, best, average, losses] = own;
        let parts = [weights, best, moments, average, losses];
        let mut tensors = BTreeMap::new();
        for (part, of) in PARTS.into_iter().zip(parts) {
            tensors.extend(of.iter().map(|(name, tensor)| (format!("{part}/{name}"), tensor.clone())));
        }
        let Checkpoint { key, build, state, squares, .. } = self.clone();
        let processor = build.processor();
        let envelope = Envelope { version: VERSION, key, build, processor, optimizer_steps, squares, state };
        let bytes = |bytes: &[u8]| Tensor::from_slice(bytes, bytes.len(), &Device::Cpu);
        tensors.insert(STATE.into(), bytes(&serde_json::to_vec(&envelope)?)?);
        let sum = hash(&tensors)?;
        tensors.insert(SHA256.into(), bytes(&sum)?);
        Ok(tensors)
    }
}

/// A checkpoint in a file that was held against its checksum. Its tensors are in the file only.
pub(super) struct Stored<R> {
    file: TensorFile<R>,
    pub envelope: Envelope,
}

impl<R: Read + Seek> Stored<R> {
    pub fn open(source: R) -> Result<Stored<R>, Unusable> {
        let (file, state) = whole(source).map_err(Unusable::of)?;
        let envelope = (|| {
            let Versioned { version } = serde_json::from_slice(&state)?;
            ensure!(version == VERSION, "it is of version {version} of the format, and this program reads {VERSION}");
            if let Some(name) =
                file.entries().keys().find(|name| ![STATE, SHA256].contains(&name.as_str()) && part(name).is_none())
            {
                bail!("it has a tensor `{name}`, which is none of a checkpoint");
            }
            Ok(serde_json::from_slice(&state)?)
        })();
        Ok(Stored { file, envelope: envelope.map_err(Unusable::Foreign)? })
    }

    /// The tensors of a part by variable: shapes and types.
    pub fn shapes(&self, of: &str) -> impl Iterator<Item = (&str, &[usize], DType)> {
        self.file.entries().iter().filter_map(move |(name, Entry { shape, dtype, .. })| {
            let (part, variable) = part(name)?;
            (part == of).then_some((variable, shape.as_slice(), dtype.dtype()))
        })
    }

    /// Puts the values of a part's tensors in the place of those of `tensors`.
    pub fn read_into(&mut self, of: &str, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        tensors.iter().try_for_each(|(name, tensor)| self.file.read_into(&format!("{of}/{name}"), tensor))
    }

    /// A part's tensors by variable, in memory.
    pub fn read_part(&mut self, of: &str) -> Result<BTreeMap<String, Tensor>> {
        let mut tensors = BTreeMap::new();
        for (name, shape, dtype) in self.shapes(of) {
            ensure!(dtype == DType::F32, "its tensor `{of}/{name}` is of {dtype:?}");
            tensors.insert(name.to_string(), Tensor::zeros(shape, dtype, &Device::Cpu)?);
        }
        self.read_into(of, &tensors)?;
        Ok(tensors)
    }

    /// All of it, in memory.
    fn read(mut self) -> Result<Checkpoint> {
        let mut parts: [BTreeMap<String, Tensor>; 5] = Default::default();
        for (tensors, of) in parts.iter_mut().zip(PARTS) {
            *tensors = self.read_part(of)?;
        }
        let [weights, best, moments, average, losses] = parts;
        let Envelope { key, build, optimizer_steps, squares, state, .. } = self.envelope;
        let optimizer = (optimizer_steps, moments);
        let [weights, best, average, losses] = [weights, best, average, losses].map(Snapshot::from);
        Ok(Checkpoint { key, build, state, weights, best, optimizer, squares, average, losses })
    }
}

/// A file that has the checksum of its content, and its `state`.
fn whole<R: Read + Seek>(source: R) -> Result<(TensorFile<R>, Vec<u8>)> {
    let mut file = TensorFile::open(source)?;
    let sum = file.read(SHA256)?;
    let mut hasher = Sha256::new();
    for (name, Entry { dtype, shape, .. }) in file.entries().clone() {
        if name != SHA256 {
            begin(&mut hasher, &name, &shape, dtype)?;
            file.read_pieces(&name, |bytes| {
                hasher.update(bytes);
                Ok(())
            })?;
        }
    }
    ensure!(sum == hasher.finalize().to_vec(), "its checksum is not that of its content");
    let state = file.read(STATE)?;
    Ok((file, state))
}

/// The part and the variable that a tensor of a checkpoint is of.
fn part(name: &str) -> Option<(&str, &str)> {
    name.split_once('/').filter(|(part, _)| PARTS.contains(part))
}

/// The SHA-256 of names, types, shapes and values, each part after its length or of a fixed one.
pub fn hash(tensors: &BTreeMap<String, Tensor>) -> Result<Vec<u8>> {
    let mut hasher = Sha256::new();
    for (name, tensor) in tensors {
        begin(&mut hasher, name, tensor.dims(), Type::of(name, tensor)?)?;
        each_piece(name, tensor, |bytes| {
            hasher.update(bytes);
            Ok(())
        })?;
    }
    Ok(hasher.finalize().to_vec())
}

/// Takes in what stands before a tensor's values.
fn begin(hasher: &mut Sha256, name: &str, shape: &[usize], dtype: Type) -> Result<()> {
    let number = |value: usize| (value as u64).to_le_bytes();
    hasher.update(number(name.len()));
    hasher.update(name);
    hasher.update(number(shape.len()));
    shape.iter().for_each(|size| hasher.update(number(*size)));
    hasher.update(match dtype {
        Type::F32 => b"f32",
        Type::U8 => b"u8 ",
        other => bail!("its tensor `{name}` is of {other:?}, which none of a checkpoint is"),
    });
    Ok(())
}

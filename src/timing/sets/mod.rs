//! Sets of times: the times of steps that were taken on one machine, each alone, and what trainings cost by them.
//!
//! A training's time is the sum over its steps. One machine's times are a [`TimeSet`], a file of the study; those of another
//! machine are another set, and no figure is made of two.

mod fingerprint;

pub use fingerprint::Fingerprint;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::PathBuf,
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// Clean samples of every shape that a confirmed time needs.
pub use crate::base::stats::ENOUGH_ROUNDS;
use crate::{
    base::{files::write_atomically, seal, stats::Spread},
    learn::config::TrialConfig,
    search::study::Study,
    timing::shape::{Shape, steps_of},
};

/// The set that is meant where none is named.
pub const DEFAULT_SET: &str = "default";

/// Steps of one shape, timed one after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// [`Shape::id`].
    pub shape: String,
    /// From 0; samples of one round were taken within one process, but for those that were taken again.
    pub round: usize,
    /// The process that took it, of those that added to the set: from 1, 0 where nobody wrote it down. Between two of them
    /// the machine may have changed, also where they took samples of the same round.
    #[serde(default)]
    pub visit: usize,
    /// UTC, RFC 3339.
    pub at: String,
    /// Steps that were timed, after those that were not.
    pub steps: usize,
    /// Mean over the steps.
    pub seconds_per_step: f64,
    /// Cores that other processes, or the host of a virtual machine, took meanwhile; absent where the system does not say.
    pub foreign_cores: Option<f64>,
    /// Of the system, over the last minute.
    pub load: Option<f64>,
    /// Why it does not count.
    pub tainted: Option<String>,
}

/// A fixed step, timed now and then, while nobody disturbed it: whether the machine is still what it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sentinel {
    pub round: usize,
    /// As of a [`Sample`].
    #[serde(default)]
    pub visit: usize,
    pub at: String,
    pub seconds_per_step: f64,
}

/// How the time of a step that is always the same changed over the rounds of all visits, as shares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drift {
    /// From the first to the last of them: above 0, the machine became slower.
    pub change: f64,
    /// The largest distance of a round's median from the median of all rounds.
    pub largest: f64,
}

/// A drift above which times of different rounds should not be taken for those of one machine.
pub const MUCH_DRIFT: f64 = 0.03;

impl Drift {
    pub fn is_much(&self) -> bool {
        self.change.abs().max(self.largest) > MUCH_DRIFT
    }
}

/// The times of one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimeSet {
    pub name: String,
    pub host: String,
    pub fingerprint: Fingerprint,
    /// Every shape that was asked for, by its id.
    pub shapes: BTreeMap<String, Shape>,
    /// In the order of their taking, the tainted ones too.
    pub samples: Vec<Sample>,
    pub sentinels: Vec<Sentinel>,
}

impl TimeSet {
    /// An empty set.
    pub fn new(name: &str, host: String, fingerprint: Fingerprint) -> TimeSet {
        let (shapes, samples, sentinels) = Default::default();
        TimeSet { name: name.into(), host, fingerprint, shapes, samples, sentinels }
    }

    /// Seconds of the steps of the first `stop` epochs of a training, by round. None where a shape of it has too few clean
    /// samples: no training is given half its time.
    pub fn rounds(&self, config: &TrialConfig, stop: usize) -> Option<BTreeMap<usize, f64>> {
        let mut sums: Option<BTreeMap<usize, f64>> = None;
        for (shape, steps) in steps_of(config, stop) {
            let of = self.clean(&shape.id());
            let cost = |seconds: &f64| seconds * steps as f64;
            sums = Some(match sums {
                None => of.iter().map(|(round, seconds)| (*round, cost(seconds))).collect(),
                Some(sums) => {
                    sums.into_iter().filter_map(|(round, sum)| Some((round, sum + cost(of.get(&round)?)))).collect()
                }
            });
        }
        sums.filter(|sums| sums.len() >= ENOUGH_ROUNDS)
    }

    /// What stands for the time of the first `stop` epochs: the median of its rounds.
    pub fn seconds(&self, config: &TrialConfig, stop: usize) -> Option<f64> {
        Some(Spread::of(&self.rounds(config, stop)?.into_values().collect::<Vec<_>>()).median)
    }

    /// Seconds per step of a shape, by round.
    pub fn clean(&self, shape: &str) -> BTreeMap<usize, f64> {
        let clean = self.samples.iter().filter(|sample| sample.shape == shape && sample.tainted.is_none());
        clean.map(|sample| (sample.round, sample.seconds_per_step)).collect()
    }

    /// The rounds in which `shape` still lacks a clean sample, of `rounds`.
    pub fn missing(&self, shape: &str, rounds: usize) -> BTreeSet<usize> {
        let there = self.clean(shape);
        (0..rounds).filter(|round| !there.contains_key(round)).collect()
    }

    /// How the machine changed from round to round, each visit's for themselves; none of fewer than two rounds.
    pub fn drift(&self) -> Option<Drift> {
        // In the order of their taking, which is that of the moments too: rounds go on after a break.
        let mut rounds: Vec<([usize; 2], Vec<f64>)> = Vec::new();
        for sentinel in &self.sentinels {
            let of = [sentinel.visit, sentinel.round];
            match rounds.iter_mut().find(|(round, _)| *round == of) {
                Some((_, seconds)) => seconds.push(sentinel.seconds_per_step),
                None => rounds.push((of, vec![sentinel.seconds_per_step])),
            }
        }
        let medians: Vec<f64> = rounds.iter().map(|(_, seconds)| Spread::of(seconds).median).collect();
        let (&[first, ..], &[.., last]) = (medians.as_slice(), medians.as_slice()) else { return None };
        let median = Spread::of(&medians).median;
        let largest = medians.iter().map(|of| (of / median - 1.0).abs()).fold(0.0, f64::max);
        (medians.len() > 1).then_some(Drift { change: last / first - 1.0, largest })
    }

    /// The number of the next visit.
    pub fn next_visit(&self) -> usize {
        let visits = self.samples.iter().map(|of| of.visit).chain(self.sentinels.iter().map(|of| of.visit));
        visits.max().unwrap_or(0) + 1
    }

    /// By what share the machine was slower in this visit than in those before it, where both took samples that count.
    pub fn change_of_visit(&self, visit: usize) -> Option<f64> {
        let counts = |is_of: &dyn Fn(usize) -> bool| {
            self.samples.iter().any(|sample| is_of(sample.visit) && sample.tainted.is_none())
        };
        let median = |is_of: &dyn Fn(usize) -> bool| {
            let of = self.sentinels.iter().filter(|sentinel| is_of(sentinel.visit));
            let seconds: Vec<f64> = of.map(|sentinel| sentinel.seconds_per_step).collect();
            (counts(is_of) && !seconds.is_empty()).then(|| Spread::of(&seconds).median)
        };
        Some(median(&|of| of == visit)? / median(&|of| of < visit)? - 1.0)
    }

    /// In what two sets were not taken alike, in words: the field, what it is in this one, and what it is in `here`.
    pub fn differences(&self, here: &TimeSet) -> Vec<String> {
        let fields = |set: &TimeSet| {
            let mut fields = match serde_json::to_value(&set.fingerprint) {
                Ok(serde_json::Value::Object(fields)) => fields,
                _ => serde_json::Map::new(),
            };
            fields.insert("host".into(), set.host.clone().into());
            fields
        };
        let (there, here) = (fields(self), fields(here));
        let differs = |(field, there): (&String, &serde_json::Value)| {
            let here = here.get(field).unwrap_or(&serde_json::Value::Null);
            (there != here).then(|| format!("{field}: there {there}, here {here}"))
        };
        there.iter().filter_map(differs).collect()
    }

    /// Samples that do not count.
    pub fn tainted(&self) -> usize {
        self.samples.iter().filter(|sample| sample.tainted.is_some()).count()
    }

    /// The set of a study, if there is one of this name.
    pub fn read(study: &Study, name: &str) -> Result<Option<TimeSet>> {
        let path = file(study, name)?;
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let set: TimeSet = seal::from_json(&bytes).with_context(|| {
            format!(
                "{} is damaged: bring it back, or have it replaced with `fastrcaps time {} --anew`{}",
                path.display(),
                study.folder.display(),
                if name == DEFAULT_SET { String::new() } else { format!(" and `--as {name}`") }
            )
        })?;
        if set.name != name {
            bail!("{} holds the times {:?}: it was renamed or copied", path.display(), set.name);
        }
        Ok(Some(set))
    }

    /// Writes the set into its study, in the place of the last one of its name.
    pub fn write(&self, study: &Study) -> Result<()> {
        let path = file(study, &self.name)?;
        let folder = folder(study);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        write_atomically(&path, &seal::to_json(self)?)
    }

    /// The names of a study's sets, in order; of files of other names nothing is known.
    pub fn names(study: &Study) -> Result<Vec<String>> {
        let folder = folder(study);
        let context = || format!("cannot list {}", folder.display());
        let listed = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed.with_context(context)?,
        };
        let mut names = Vec::new();
        for entry in listed {
            let name = entry.with_context(context)?.file_name();
            let name = name.to_string_lossy();
            // What begins with a dot is being written.
            names.extend(name.strip_suffix(".json").filter(|name| is_name(name)).map(str::to_string));
        }
        names.sort();
        Ok(names)
    }
}

fn folder(study: &Study) -> PathBuf {
    study.folder.join("times")
}

/// Whether a set can have this name.
fn is_name(name: &str) -> bool {
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && !name.starts_with('.') && name.len() <= 100 && name.chars().all(is_good)
}

/// Where a set stands; an error for a name that no file can have.
fn file(study: &Study, name: &str) -> Result<PathBuf> {
    if !is_name(name) {
        bail!("{name:?} is no name for a set of times: take letters, digits, '-', '_' and '.', as in gpu-server");
    }
    Ok(folder(study).join(format!("{name}.json")))
}

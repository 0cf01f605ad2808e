//! What a site's Slurm is asked for, and where the work lies there: a file in TOML.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Deserializer, de::Error};

use crate::base::device::Place;

/// Jobs that are wanted at once where nobody says how many.
const JOBS: usize = 100;
/// Options that `extra` may not have, and why. What begins as one of them does is it, to Slurm.
const NOT_EXTRA: [(&str, &str); 11] = [
    ("give partition", "partition p"),
    ("give account", "account A"),
    ("give qos", "qos q"),
    ("give constraint", "constraint C"),
    ("give gres", "gres"),
    ("give cpus", "cpus-per-task c"),
    ("give memory", "mem mem-per-cpu mem-per-gpu"),
    ("give time or checkpoint_before", "time t signal"),
    ("give array_limit or jobs", "array a"),
    ("a job has one task on one node", "nodes N ntasks n"),
    (
        "the explorer knows its jobs by that",
        "job-name J comment output o error e requeue no-requeue parsable wrap wait W clusters M \
         test-only",
    ),
];

/// What all tasks of an array need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    pub mebibytes: Option<u64>,
    pub time: Option<Duration>,
}

/// How trials become jobs. What is absent is left to the site's defaults.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    pub partition: Option<String>,
    pub account: Option<String>,
    pub qos: Option<String>,
    pub constraint: Option<String>,
    /// As `--gres` takes it, of each job.
    pub gres: Option<String>,
    /// What a trial trains on there: `cpu`, or `cuda:0`, the GPU that `gres` asks for.
    #[serde(deserialize_with = "place")]
    pub device: Place,
    /// Cores of each job: the threads of a trial.
    pub cpus: usize,
    /// Memory of each job, in MiB; predicted where it is absent.
    #[serde(deserialize_with = "mebibytes")]
    pub memory: Option<u64>,
    /// The longest that a job may take; a trial that needs longer continues in a further job.
    #[serde(deserialize_with = "duration")]
    pub time: Option<Duration>,
    /// The time before that in which a trial writes its checkpoint.
    #[serde(deserialize_with = "some_duration")]
    pub checkpoint_before: Duration,
    /// The most tasks of one array that run at once, its `%N`.
    pub array_limit: Option<usize>,
    /// Jobs in the queue or running at once.
    pub jobs: Option<usize>,
    /// Further options of `sbatch` and `srun`, as they stand after `#SBATCH`.
    pub extra: Vec<String>,
    /// Lines of shell before each trial.
    pub prologue: Vec<String>,
    /// The login node, as ssh takes it, where this machine has neither Slurm's commands nor a folder that it shares with the nodes.
    pub ssh: Option<String>,
    /// A folder that this machine and the nodes share; absent: one in the study's folder, which must be shared then. With `ssh`,
    /// a folder that the login node and the nodes share.
    pub work: Option<PathBuf>,
    /// This program, as the nodes find it; absent: as it is found here.
    pub program: Option<PathBuf>,
    /// Folder of data sets, as the nodes find it; absent: as it is found here, and with `ssh` where the program looks by itself.
    pub data_dir: Option<PathBuf>,
    /// What steps are timed on, in place of `constraint`: times are of one kind of node.
    pub timing_constraint: Option<String>,
}

impl Default for Profile {
    fn default() -> Profile {
        Profile {
            partition: None,
            account: None,
            qos: None,
            constraint: None,
            gres: None,
            device: Place::Cpu,
            cpus: 1,
            memory: None,
            time: None,
            checkpoint_before: Duration::from_secs(120),
            array_limit: None,
            jobs: None,
            extra: Vec::new(),
            prologue: Vec::new(),
            ssh: None,
            work: None,
            program: None,
            data_dir: None,
            timing_constraint: None,
        }
    }
}

fn place<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Place, D::Error> {
    let place: Place = String::deserialize(deserializer)?.parse().map_err(D::Error::custom)?;
    match place {
        Place::Cpu | Place::Cuda(0) => Ok(place),
        // A job sees the GPUs that it was given, from 0.
        Place::Cuda(_) => Err(D::Error::custom("a job has one GPU, cuda:0; `gres` says of which kind")),
    }
}

fn mebibytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..split].parse().unwrap_or(0);
    let factor = match text[split..].trim() {
        "M" | "MiB" | "MB" => 1,
        "G" | "GiB" | "GB" => 1024,
        _ => 0,
    };
    match number.saturating_mul(factor) {
        0 => Err(D::Error::custom(format!("{text:?} is no memory: write it as Slurm does, \"2000M\" or \"4G\""))),
        mebibytes => Ok(Some(mebibytes)),
    }
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let duration = humantime::parse_duration(text.trim()).ok().filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| D::Error::custom(format!("{text:?} is no duration: write \"2h\" or \"1h 30m\"")))
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    some_duration(deserializer).map(Some)
}

impl Profile {
    /// Reads a profile.
    ///
    /// Errors: the file cannot be read; a field that is unknown or has a value that cannot be used, with its line.
    pub fn read(path: &Path) -> Result<Profile> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let profile: Profile = toml::from_str(&text).with_context(|| format!("in {}", path.display()))?;
        profile.check().with_context(|| format!("in {}", path.display()))?;
        Ok(profile)
    }

    fn check(&self) -> Result<()> {
        ensure!((1..=4096).contains(&self.cpus), "cpus = {}: give from 1 to 4096", self.cpus);
        ensure!(self.jobs != Some(0), "jobs = 0: at least one job must be wanted at once");
        ensure!(self.array_limit != Some(0), "array_limit = 0: at least one task of an array must run at once");
        if self.time.is_some_and(|time| time <= self.checkpoint_before) {
            bail!("time must be longer than checkpoint_before, the time in which a trial writes its checkpoint");
        }
        ensure!(
            self.device.is_cpu() || self.gres.is_some(),
            "device = \"{}\" needs gres, as in gres = \"gpu:1\"",
            self.device
        );
        let words = [&self.partition, &self.account, &self.qos, &self.constraint, &self.gres, &self.timing_constraint];
        for word in words.into_iter().flatten().chain(&self.extra) {
            ensure!(
                !word.trim().is_empty() && !word.contains('\n'),
                "{word:?} is no value of an option: give one line"
            );
        }
        self.extra.iter().try_for_each(|option| check_extra(option))?;
        for path in [&self.work, &self.program, &self.data_dir].into_iter().flatten() {
            ensure!(path.is_absolute(), "{} must be an absolute path: nodes do not share this folder", path.display());
        }
        self.check_login()
    }

    /// Who is at the other end of ssh shares no path with this machine.
    fn check_login(&self) -> Result<()> {
        let Some(login) = &self.ssh else { return Ok(()) };
        let is_odd = |c: char| c.is_whitespace() || c.is_control();
        ensure!(
            !login.is_empty() && !login.starts_with('-') && !login.contains(is_odd),
            "ssh = {login:?} is no destination: write it as ssh takes it, \"login-node\" or \"me@login-node\""
        );
        ensure!(
            self.work.is_some(),
            "ssh = \"{login}\" needs work, a folder on the cluster that {login} and the nodes share"
        );
        ensure!(
            self.program.is_some(),
            "ssh = \"{login}\" needs program, this program as the nodes find it: copy it there once, with scp"
        );
        Ok(())
    }

    /// Jobs in the queue or running at once.
    pub fn jobs(&self) -> usize {
        self.jobs.or(self.array_limit).unwrap_or(JOBS)
    }

    /// This program, as the nodes find it, where `here` is what this process calls it: `/proc/self/exe` is another one there.
    pub(super) fn program(&self, here: &Path) -> PathBuf {
        let real = || here.canonicalize().unwrap_or_else(|_| here.to_path_buf());
        self.program.clone().unwrap_or_else(real)
    }

    /// What a job asks for whose trial is predicted to need so much, on a partition that gives no more than `longest`: what is
    /// predicted where this does not say, and at least as long again as a checkpoint may take.
    pub fn asked(&self, predicted: Need, longest: Option<Duration>) -> Need {
        let time = predicted.time.map(|time| time.max(2 * self.checkpoint_before));
        let time = time.map(|time| longest.map_or(time, |longest| time.min(longest)));
        Need { mebibytes: self.memory.or(predicted.mebibytes), time: self.time.or(time) }
    }

    /// Options that `sbatch` and `srun` share, each as one word.
    pub(super) fn options(&self, constraint: Option<&String>, exclude: &[String]) -> Vec<String> {
        let named = [
            ("partition", &self.partition),
            ("account", &self.account),
            ("qos", &self.qos),
            ("constraint", &constraint.cloned()),
            ("gres", &self.gres),
        ];
        let given = named.into_iter().filter_map(|(name, value)| Some(format!("--{name}={}", value.as_ref()?)));
        // Of two such options Slurm takes the last alone.
        let excluded = |option: &&String| option.starts_with("--exclude=") || option.starts_with("-x");
        let (own, extra): (Vec<&String>, Vec<&String>) = self.extra.iter().partition(excluded);
        let own = own.iter().map(|option| option.trim_start_matches("--exclude=").trim_start_matches("-x"));
        let excluded: Vec<&str> = own.chain(exclude.iter().map(String::as_str)).collect();
        let excluded = (!excluded.is_empty()).then(|| format!("--exclude={}", excluded.join(",")));
        given.chain(extra.into_iter().cloned()).chain(excluded).collect()
    }
}

/// Refuses an option of `extra` by which the explorer would not know its jobs, or that a field says.
fn check_extra(option: &str) -> Result<()> {
    ensure!(
        option.starts_with('-') && !option.contains(char::is_whitespace),
        "extra: {option:?} is no option: write each as one word, as after #SBATCH, \"--exclude=n3\""
    );
    let long = option.strip_prefix("--").map(|option| option.split('=').next().unwrap_or_default());
    let is_it = |name: &str| match long {
        Some(long) => name.len() > 1 && name.starts_with(long),
        None => name.len() == 1 && option[1..].starts_with(name),
    };
    match NOT_EXTRA.iter().find(|(_, names)| names.split(' ').any(is_it)) {
        Some((why, _)) => bail!("extra: {option:?} cannot be given there: {why}"),
        None => Ok(()),
    }
}

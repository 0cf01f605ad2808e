//! Where the trials and tasks of an exploration run: on this machine, or on a cluster.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime},
};

use anyhow::{Result, ensure};

use super::{Event, Exploration, Observer, Preview, resources};
use crate::{
    base::{
        device::{Gpu, Place},
        machine,
    },
    learn::{
        config::TrialConfig,
        data::{self, Files},
        record::{Status, TrialRecord},
        train::memory::{peak_bytes, peak_bytes_beside_gpu},
    },
    present::report::view::StudyView,
    search::{
        space::Trial,
        study::{self, Plan},
        worker::{
            Admissions, Local, LocalTasks, Memory, Slot, Slots, Tasks, Worker, probe_all,
            slurm::{self, Need, Needs, Profile, Setup, Slurm, SlurmTasks},
        },
    },
    timing::predict,
};

/// Memory that a job asks for: so much more than is predicted, in MiB and as a factor, in steps of so many.
const MORE_MEMORY: (u64, f64, u64) = (256, 1.5, 256);
/// Time that a job asks for: the predicted one so many times, and this for what is not training. Nodes differ.
const MORE_TIME: (f64, Duration) = (3.0, Duration::from_secs(600));
/// Times that jobs ask for, in minutes: few, so that trials share arrays. One that needs longer goes on in a further job.
const TIMES: [u64; 9] = [15, 30, 60, 120, 240, 480, 720, 1440, 2880];
/// Time that a job asks for where steps are not timed.
const UNTIMED: Duration = Duration::from_secs(4 * 3600);

/// Where trials and tasks run.
#[derive(Clone, Debug, Default)]
pub enum Backend {
    /// As processes of this machine.
    #[default]
    Local,
    /// As jobs of a cluster.
    Slurm(Box<Profile>),
}

impl Backend {
    pub fn is_local(&self) -> bool {
        matches!(self, Backend::Local)
    }

    /// The option by which trials find data sets, where this program finds them by `here`.
    pub fn data_arguments(&self, here: Vec<OsString>) -> Vec<OsString> {
        match self {
            Backend::Local => here,
            Backend::Slurm(profile) => match (&profile.data_dir, &profile.ssh) {
                (Some(dir), _) => vec!["--data-dir".into(), dir.into()],
                (None, None) => here,
                // A folder of this machine is none of the cluster's.
                (None, Some(_)) => Vec::new(),
            },
        }
    }

    /// The slots of jobs, where a profile says how many there are.
    pub fn slots(profile: &Profile) -> Result<Slots> {
        Ok(match profile.device {
            Place::Cpu => Slots::on_cores(profile.jobs(), profile.cpus),
            place => format!("{place}x{}", profile.jobs()).parse()?,
        })
    }
}

impl Exploration {
    pub(super) fn tasks(&self) -> Box<dyn Tasks> {
        let program = self.program.clone();
        match &self.backend {
            Backend::Local => Box::new(LocalTasks { program }),
            Backend::Slurm(profile) => Box::new(SlurmTasks { profile: (**profile).clone(), program }),
        }
    }

    /// The GPUs of the slots, each opened once by a process of its own.
    ///
    /// Errors: one that cannot be used; a stop, or the deadline, while it waits for a node.
    pub(super) fn look_at_gpus(&self, stop: &AtomicBool, observer: &mut Observer) -> Result<BTreeMap<Place, Gpu>> {
        let mut is_told = false;
        probe_all(self.tasks().as_ref(), self.slots.gpus(), &mut || {
            let waited = "while it waited for a node, to look at its GPU";
            ensure!(!stop.load(Ordering::Relaxed), "stopped {waited}");
            let is_over = self.limits.deadline.is_some_and(|deadline| deadline <= SystemTime::now());
            ensure!(!is_over, "the deadline passed {waited}");
            if !std::mem::replace(&mut is_told, true) {
                observer(&Event::WaitsForGpu);
            }
            Ok(())
        })
    }

    /// Whether jobs that an earlier explorer left to a cluster may have the GPUs that trials are to have.
    pub(super) fn may_lack_gpus(&self) -> bool {
        let Backend::Slurm(profile) = &self.backend else { return false };
        if profile.device.is_cpu() {
            return false;
        }
        let is_running = |record: &TrialRecord| record.status == Status::Running;
        let has_running = |view: StudyView| view.records.iter().flatten().any(is_running);
        StudyView::read(&self.study).is_ok_and(has_running) && slurm::has_jobs(profile, &self.study.jobs())
    }

    pub(super) fn worker(&self, plan: &Plan, gpus: &BTreeMap<Place, Gpu>) -> Result<Box<dyn Worker>> {
        let trials = &plan.trials;
        let cores = if self.backend.is_local() { machine::own_cores() } else { Vec::new() };
        let mut slots: Vec<Slot> = self.slots.place(&cores);
        for slot in &mut slots {
            slot.gpu = gpus.get(&slot.place).map(|gpu| gpu.name.clone());
        }
        match &self.backend {
            Backend::Local => {
                let admissions = Admissions::new(self.memory_of_slots(trials)?, resources::gpu_memory(gpus));
                Ok(Box::new(Local::new(self.program.clone(), self.trial_arguments.clone(), slots, admissions)))
            }
            Backend::Slurm(profile) => {
                // Jobs of the study may hold all GPUs: steps that are to be timed would wait for them.
                let is_timed = profile.device.is_cpu() || gpus.contains_key(&profile.device);
                let needs = self.needs(profile, trials, is_timed)?;
                let setup = Setup {
                    profile: (**profile).clone(),
                    home: self.study.jobs(),
                    program: self.program.clone(),
                    arguments: words(&self.trial_arguments),
                    slots,
                    needs,
                    data: self.data(profile, plan)?,
                };
                Ok(Box::new(Slurm::new(setup)?))
            }
        }
    }

    /// The data set of the trials, where it lies in files that a cluster does not see.
    ///
    /// Errors: they cannot be read.
    fn data(&self, profile: &Profile, plan: &Plan) -> Result<Option<slurm::Data>> {
        // Configurations of a space differ in nothing that says which images there are.
        let (Some(_), Some(first)) = (&profile.ssh, plan.trials.first()) else { return Ok(None) };
        let config = &first.config.data;
        let Some(files) = data::files_of(config, &self.data_dirs)? else { return Ok(None) };
        let Files { label, from, names, identity, own } = files;
        let fingerprint = plan.file.data.get(&study::data_id(config)).cloned().unwrap_or_default();
        Ok(Some(slurm::Data {
            label,
            selection: serde_json::to_string(config)?,
            fingerprint,
            from,
            names,
            identity,
            own,
        }))
    }

    /// The memory that slots share; trials on other hosts share none.
    pub(super) fn memory_of_slots(&self, trials: &[Trial]) -> Result<Option<Memory>> {
        match &self.backend {
            Backend::Local => resources::memory(self.memory, trials, &self.slots),
            Backend::Slurm(_) => Ok(None),
        }
    }

    /// What each configuration asks of a node, as far as the profile does not say: predicted memory and time, with a margin; the same
    /// time for all where steps are not to be timed.
    ///
    /// Errors: a configuration that makes no network.
    fn needs(&self, profile: &Profile, trials: &[Trial], is_timed: bool) -> Result<Needs> {
        let configs: Vec<&TrialConfig> =
            trials.iter().filter(|trial| trial.replicate == 0).map(|trial| &trial.config).collect();
        let times: Vec<Option<Duration>> = match profile.time {
            Some(_) => vec![None; configs.len()],
            None if is_timed => {
                let seconds = predict::wall_seconds(self.tasks().as_ref(), profile.device, &configs)?;
                seconds.into_iter().map(|seconds| Some(asked_time(seconds))).collect()
            }
            None => vec![Some(UNTIMED); configs.len()],
        };
        let (device, cpus) = (profile.device, profile.cpus);
        let needed = |config: &TrialConfig, time: Option<Duration>| {
            let bytes = if device.is_cpu() { peak_bytes(config, cpus)? } else { peak_bytes_beside_gpu(config) };
            let (base, factor, step) = MORE_MEMORY;
            let mebibytes = base + (factor * bytes as f64 / f64::from(1 << 20)) as u64;
            anyhow::Ok(Need { mebibytes: Some(mebibytes.next_multiple_of(step)), time })
        };
        let known = configs.iter().zip(times).map(|(config, time)| Ok((unseeded(config), needed(config, time)?)));
        let known: HashMap<String, Need> = known.collect::<Result<_>>()?;
        let nothing = Need { mebibytes: None, time: None };
        Ok(Box::new(move |config| known.get(&unseeded(config)).copied().unwrap_or(nothing)))
    }

    /// What would be submitted; none where trials run on this machine, or nothing would be trained.
    ///
    /// Errors: a configuration that makes no network.
    pub fn script(&self, preview: &Preview) -> Result<Option<String>> {
        let Backend::Slurm(profile) = &self.backend else { return Ok(None) };
        if preview.wanted.is_empty() {
            return Ok(None);
        }
        let needs = self.needs(profile, &preview.trials, true)?;
        let needs: Vec<Need> = preview.wanted.iter().map(|index| needs(&preview.trials[*index].config)).collect();
        let arguments = words(&self.trial_arguments);
        Ok(Some(slurm::preview(profile, &self.study.jobs(), &self.program, &arguments, &needs)))
    }
}

/// A configuration whatever its seed.
fn unseeded(config: &TrialConfig) -> String {
    TrialConfig { seed: 0, ..config.clone() }.key("")
}

fn words(arguments: &[OsString]) -> Vec<String> {
    arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

/// The time that a job asks for whose trial is predicted to take so many seconds.
fn asked_time(seconds: f64) -> Duration {
    let wanted = MORE_TIME.0 * seconds + MORE_TIME.1.as_secs_f64();
    let minutes = TIMES.into_iter().find(|minutes| (minutes * 60) as f64 >= wanted).unwrap_or(TIMES[TIMES.len() - 1]);
    Duration::from_secs(60 * minutes)
}

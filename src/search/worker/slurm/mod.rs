//! Trials as jobs of a cluster with Slurm.
//!
//! What a trial leaves in the folder that this machine and the nodes share is the truth; what Slurm says of its job is asked only
//! where that does not tell. An attempt's folder is the wish for it: a job that finds it gone ends.

mod answers;
mod arrays;
mod control;
mod data;
mod far;
mod judge;
mod profile;
mod queue;
mod reach;
mod running;
mod script;
mod site;
mod tasks;
mod work;

pub use data::{Data, IS_HERE};
pub use profile::{Need, Profile};
pub use script::{Array, script};
pub use site::{cancel_study, has_jobs, preview, study_id};
pub use tasks::SlurmTasks;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use self::{
    arrays::{Batch, Job},
    control::{Ask, Control},
    far::Far,
    reach::Reach,
    running::Running,
    site::{Site, batches_of, bring, catch_up, check_path, contact, first_look, over},
    work::{Word, Work as WorkFolder},
};
use super::{Admission, End, Report, Slot, Work, Worker};
use crate::learn::{config::TrialConfig, folder::TrialFolder, record::TrialRecord};

/// How long trials are gathered for an array.
const GATHER: Duration = Duration::from_millis(300);
/// How often the folder is looked at for words of jobs that ended, and how often trials for their epochs.
const LOOK: Duration = Duration::from_millis(100);
const PROGRESS: Duration = Duration::from_secs(2);
/// The least time between looks at the queue; it is longer where a look takes long, and while nothing is new.
const QUEUE: Duration = Duration::from_secs(2);
/// Looks at queue and epochs cost no more than this share of the time. Through ssh most of a look is waiting.
const SHARE: u32 = 20;
const SHARE_AFAR: u32 = 4;
/// Before something is said to Slurm again that it did not hear, as an array that could not be submitted.
const AGAIN: Duration = Duration::from_secs(5);
/// How long an explorer that begins asks for the queue.
const FIRST_PATIENCE: Duration = Duration::from_secs(90);

/// What a configuration needs of a node.
pub type Needs = Box<dyn Fn(&TrialConfig) -> Need>;

/// What a worker is made of.
pub struct Setup {
    pub profile: Profile,
    /// The folder of work, where the profile has none, and the mirror of one that is reached through ssh; its file `id` names the
    /// study's jobs.
    pub home: PathBuf,
    /// The program that knows `run-trial`, where the profile has none.
    pub program: PathBuf,
    /// Passed on to every trial.
    pub arguments: Vec<String>,
    pub slots: Vec<Slot>,
    pub needs: Needs,
    /// The data set that trials read, if it lies in files.
    pub data: Option<Data>,
}

/// Submits trials as arrays of jobs, and follows them.
pub struct Slurm {
    profile: Profile,
    program: PathBuf,
    arguments: Vec<String>,
    needs: Needs,
    /// Of the jobs.
    name: String,
    work: WorkFolder,
    home: PathBuf,
    /// The folder of work as the nodes find it, and what is known of it where that is another one.
    there: PathBuf,
    far: Option<Far>,
    control: Control,
    slots: Vec<Slot>,
    running: Vec<Option<Running>>,
    /// The slot of each attempt that runs.
    slot_of: HashMap<String, usize>,
    /// Slots whose trials no array has yet, and since when the first of them waits.
    outbox: Vec<usize>,
    gathering: Option<Instant>,
    batches: BTreeMap<u64, Batch>,
    /// The last number of an attempt of each trial.
    numbers: HashMap<String, u64>,
    site: Site,
    /// Tasks of the next array at most: fewer than the site's while it does not take so many.
    at_most: usize,
    /// The number of the next array.
    next: u64,
    /// Slots whose trials wait again.
    requeued: Vec<usize>,
    /// Jobs to be ended, and to be asked to stop, with the next command.
    to_cancel: Vec<String>,
    to_stop: Vec<String>,
    /// When Slurm last did not hear of some of these.
    unheard: Option<Instant>,
    /// When epochs, words and the queue were last looked at; whether an answer about the queue is awaited.
    progressed: Instant,
    progress_every: Duration,
    listened: Instant,
    queued: Instant,
    queue_every: Duration,
    is_looking: bool,
    trouble: Option<String>,
    /// Why Slurm did not take the last array.
    refused: Option<String>,
    /// Words of starts of which nothing else shows yet, and since when.
    words: Vec<(Word, Instant)>,
    /// Jobs that nobody wanted at the last look at the queue.
    strays: BTreeSet<String>,
    /// Trials whose starts failed on a node before they trained, by node.
    failed_early: BTreeMap<String, BTreeSet<String>>,
    /// Nodes whose last start trained.
    proven: BTreeSet<String>,
    /// Trials that had too little memory once: they get twice as much.
    doubled: BTreeSet<String>,
}

impl Slurm {
    /// One that knows what an earlier one left in the queue.
    ///
    /// Errors: the folder of work cannot be made; Slurm is not installed, or does not answer for a minute and a half; the same of
    /// the login node.
    pub fn new(setup: Setup) -> Result<Slurm> {
        let Setup { profile, home, program, mut arguments, mut slots, needs, data } = setup;
        let id = study_id(&home)?;
        let name = format!("fastrcaps-{id}");
        let (reach, program) = (Reach::of(&profile), profile.program(&program));
        reach.note(&home)?;
        let path = |path: &Path| std::path::absolute(path).with_context(|| format!("no path {}", path.display()));
        let home = path(&home)?;
        let there = profile.work.as_ref().map_or(Ok(home.clone()), |work| path(&work.join(&name)))?;
        check_path(&there)?;
        let work = WorkFolder::open(if reach.is_far() { home.clone() } else { there.clone() })?;
        if reach.is_far() {
            contact(&reach, &there, &program, &work)?;
            catch_up(&reach, &there, &work, &[])?;
            if let Some(data) = &data {
                arguments = bring(data, &reach, &profile, &program, &arguments)?;
            }
        }
        let site = Site::ask(&reach, &profile)?;
        let lines = first_look(&reach, &name)?;
        let batches = batches_of(&work, &lines)?;
        let is_far = reach.is_far();
        let far = is_far.then(|| catch_up(&reach, &there, &work, &over(&work, &batches)?)).transpose()?;
        let alive: usize = batches.values().map(|batch| batch.open).sum();
        if let Some(slot) = slots.first().cloned() {
            // Every job that is there already has a slot.
            slots.extend(std::iter::repeat_n(slot, alive.saturating_sub(slots.len())));
        }
        let now = Instant::now();
        Ok(Slurm {
            program,
            arguments,
            needs,
            control: Control::start(name.clone(), reach, work.clone(), there.clone())?,
            name,
            numbers: work.numbers(far.iter().flat_map(Far::heard_of))?,
            work,
            there,
            far,
            running: slots.iter().map(|_| None).collect(),
            slots,
            slot_of: HashMap::new(),
            outbox: Vec::new(),
            gathering: None,
            next: lines.iter().map(|line| line.number).chain(batches.keys().copied()).max().unwrap_or(0) + 1,
            requeued: Vec::new(),
            progress_every: PROGRESS,
            batches,
            at_most: site.most_tasks,
            site,
            to_cancel: Vec::new(),
            to_stop: Vec::new(),
            unheard: None,
            progressed: now,
            listened: now,
            queued: now,
            queue_every: QUEUE,
            is_looking: false,
            trouble: None,
            refused: None,
            words: Vec::new(),
            strays: BTreeSet::new(),
            failed_early: BTreeMap::new(),
            proven: BTreeSet::new(),
            doubled: BTreeSet::new(),
            home,
            profile,
        })
    }
}

impl Worker for Slurm {
    fn slots(&self) -> &[Slot] {
        &self.slots
    }

    fn admits(&mut self, _: &TrialConfig, _: usize) -> Admission {
        Admission::Now
    }

    fn start(&mut self, work: &Work, slot: usize) -> Result<()> {
        let TrialRecord { key, attempts, .. } = work.folder.read_record()?;
        let mut need = self.profile.asked((self.needs)(work.config), self.site.longest);
        if self.doubled.contains(&key) {
            need.mebibytes = need.mebibytes.map(|mebibytes| 2 * mebibytes);
        }
        // None comes twice, also where nothing is left of an earlier one: its job may still be there.
        let number = self.numbers.entry(key.clone()).or_default();
        *number = (*number + 1).max(attempts as u64);
        let name = format!("{key}.{number}");
        let attempt = self.work.attempt(&name);
        attempt.lay_out(work.folder)?;
        let arguments = self.arguments_of(work);
        self.slot_of.insert(name.clone(), slot);
        let running = Running::new(key, name, attempt, work.folder.clone());
        self.running[slot] = Some(Running { need, arguments, epochs_seen: work.behind, ..running });
        self.outbox.push(slot);
        self.gathering.get_or_insert_with(Instant::now);
        Ok(())
    }

    fn reports(&mut self) -> Vec<(usize, Report)> {
        while let Some(answer) = self.control.answer() {
            self.take_up(answer);
        }
        let mut reports = Vec::new();
        if self.listened.elapsed() >= LOOK {
            self.listened = Instant::now();
            self.listen();
        }
        if self.progressed.elapsed() >= self.progress_every {
            let began = Instant::now();
            for slot in 0..self.slots.len() {
                self.look_at(slot, &mut reports);
            }
            self.progressed = Instant::now();
            self.progress_every = PROGRESS.max(SHARE * began.elapsed());
        }
        reports.extend(self.requeued.drain(..).map(|slot| (slot, Report::Queued)));
        for slot in 0..self.slots.len() {
            if self.running[slot].as_ref().is_some_and(|running| running.end.is_some()) {
                self.bring_home(slot, &mut reports);
            }
        }
        self.submit();
        self.submit_again();
        self.tell();
        self.look_at_queue();
        reports
    }

    fn ask_to_stop(&mut self, slot: usize) {
        let Some(running) = &mut self.running[slot] else { return };
        running.attempt.ask_to_stop();
        // From afar its begin is heard of late.
        let may_train = self.far.is_some() && running.is_running;
        if running.attempt.starts().is_empty() && !may_train {
            // It has not begun, and will not: its folder is gone before its job looks for it.
            running.end.get_or_insert(End::Stopped);
            return;
        }
        let job = self.job_of(self.running[slot].as_ref().and_then(|running| running.task));
        self.to_stop.extend(job);
    }

    fn kill(&mut self, slot: usize) {
        if let Some(running) = &mut self.running[slot] {
            running.end.get_or_insert(End::Killed);
        }
    }

    fn wait(&mut self) {
        if let Some(answer) = self.control.wait(Duration::from_millis(20)) {
            self.take_up(answer);
        }
    }

    fn is_elsewhere(&self) -> bool {
        true
    }

    fn beginnings(&self) -> Option<PathBuf> {
        Some(self.work.beginnings())
    }

    fn trouble(&self) -> Option<String> {
        let is_asked = |batch: &Batch| !matches!(batch.job, Job::Known(_));
        let waits = !self.outbox.is_empty() || self.batches.values().any(is_asked);
        let refused = || self.refused.clone().filter(|_| waits);
        self.trouble.clone().or_else(refused).or_else(|| self.far.as_ref()?.trouble.clone())
    }

    fn is_handed_over(&self) -> bool {
        let is_known = |batch: &Batch| matches!(batch.job, Job::Known(_));
        self.outbox.is_empty() && self.to_cancel.is_empty() && self.batches.values().all(is_known)
    }

    /// A trial goes on whose job is still there. What it left otherwise is brought home.
    fn adopt(&mut self, folder: &TrialFolder) -> Result<Option<usize>> {
        let Ok(key) = folder.read_record().map(|record| record.key) else { return Ok(None) };
        let Some(number) = self.numbers.get(&key) else { return Ok(None) };
        let name = format!("{key}.{number}");
        let attempt = self.work.attempt(&name);
        if !attempt.exists() {
            return Ok(None);
        }
        let has_ended = attempt.has_ended(&key);
        let has =
            |(number, batch): (&u64, &Batch)| Some((*number, batch.attempts.iter().position(|other| *other == name)?));
        let task = self.batches.iter().find_map(has).filter(|_| !has_ended);
        let slot = self.running.iter().position(Option::is_none);
        let Some((task, slot)) = task.zip(slot) else {
            attempt.bring_home(&key, folder)?;
            attempt.remove();
            self.far.iter_mut().for_each(|far| far.removed(&name));
            return Ok(None);
        };
        self.slot_of.insert(name.clone(), slot);
        let running = Running::new(key, name, attempt, folder.clone());
        self.running[slot] = Some(Running { task: Some(task), is_running: true, ..running });
        Ok(Some(slot))
    }
}

impl Drop for Slurm {
    /// Removes what is not wanted any more, afar too.
    fn drop(&mut self) {
        // An array of an earlier explorer may stand in the queue though its tasks have ended: nothing closes it. One that is wanted
        // has an attempt that is there.
        let is_wanted = |batch: &Batch| batch.attempts.iter().any(|name| self.work.attempt(name).exists());
        let over: Vec<u64> =
            self.batches.iter().filter(|(_, batch)| !is_wanted(batch)).map(|(number, _)| *number).collect();
        over.iter().for_each(|number| self.work.remove_batch(*number));
        if !over.is_empty() || self.is_untidy() {
            self.ask_for_round();
        }
        if self.far.is_none() {
            self.work.tidy(&self.home);
        }
    }
}

//! Trials as jobs of a cluster with Slurm.
//!
//! What a trial leaves in the folder that this machine and the nodes share is the truth; what Slurm says of its job is asked only
//! where that does not tell. An attempt's folder is the wish for it: a job that finds it gone ends.

mod control;
mod judge;
mod profile;
mod queue;
mod script;
mod tasks;
mod work;

pub use profile::Profile;
pub use script::{Array, Need, script};
pub use tasks::SlurmTasks;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use self::{
    control::{Answer, Ask, Control},
    queue::{Line, Refusal},
    work::{Attempt, Work as WorkFolder},
};
use super::{Admission, End, Report, Slot, Work, Worker};
use crate::{
    base::{files::write_atomically, words::plural},
    learn::{config::TrialConfig, folder::TrialFolder, record::Fault},
};

/// How long trials are gathered for an array.
const GATHER: Duration = Duration::from_millis(300);
/// How often the folder is looked at for words of jobs that ended, and how often trials for their epochs.
const LOOK: Duration = Duration::from_millis(100);
const PROGRESS: Duration = Duration::from_secs(2);
/// The least time between looks at the queue; it is longer where a look takes long, and while nothing is new.
const QUEUE: Duration = Duration::from_secs(2);
/// Looks at queue and epochs cost no more than this share of the time.
const SHARE: u32 = 20;
/// Before an array is submitted again that could not be.
const AGAIN: Duration = Duration::from_secs(5);
/// Tasks of an array at most where the site does not say: Slurm's default.
const MOST_TASKS: usize = 1000;
/// How long an explorer that begins asks for the queue.
const FIRST_PATIENCE: Duration = Duration::from_secs(90);

/// What a configuration needs of a node.
pub type Needs = Box<dyn Fn(&TrialConfig) -> Need>;

/// What a worker is made of.
pub struct Setup {
    pub profile: Profile,
    /// The folder of work, where the profile has none; its file `id` names the study's jobs.
    pub home: PathBuf,
    /// The program that knows `run-trial`, where the profile has none.
    pub program: PathBuf,
    /// Passed on to every trial.
    pub arguments: Vec<String>,
    pub slots: Vec<Slot>,
    pub needs: Needs,
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
    most_tasks: usize,
    /// The number of the next array.
    next: u64,
    /// Slots whose trials wait again.
    requeued: Vec<usize>,
    /// Jobs to be ended, and to be asked to stop, with the next command.
    to_cancel: Vec<String>,
    to_stop: Vec<String>,
    /// When epochs, words and the queue were last looked at; whether an answer about the queue is awaited.
    progressed: Instant,
    progress_every: Duration,
    listened: Instant,
    queued: Instant,
    queue_every: Duration,
    is_looking: bool,
    trouble: Option<String>,
    /// Trials that had too little memory once: they get twice as much.
    doubled: BTreeSet<String>,
}

/// An array.
struct Batch {
    /// Names of its attempts; which of them are not over.
    attempts: Vec<String>,
    open: usize,
    script: PathBuf,
    job: Job,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Job {
    /// Told to Slurm, which did not answer yet.
    Asked,
    /// Nobody knows whether Slurm has it: known by the first look at the queue after this moment.
    Unknown(Instant),
    /// To be submitted after this moment.
    Later(Instant),
    Known(String),
}

struct Running {
    key: String,
    /// Name of the attempt, and its folder.
    name: String,
    attempt: Attempt,
    folder: TrialFolder,
    need: Need,
    until: Option<usize>,
    /// Array and task.
    task: Option<(u64, usize)>,
    epochs_seen: usize,
    has_begun: bool,
    /// Whether Slurm says that it runs.
    is_running: bool,
    was_asked: bool,
    /// Looks at the queue that found it over or gone without a word of its own.
    silent: usize,
    /// Whether its job said that it is over, and what follows from that alone where it was killed.
    has_word: bool,
    killed: Option<End>,
    /// How it ended, once that is known and only what it left is to be brought home.
    end: Option<End>,
    /// What Slurm says of its end, while its exit code is asked for.
    asked_for_exit: Option<(queue::Over, String)>,
}

impl Slurm {
    /// One that knows what an earlier one left in the queue.
    ///
    /// Errors: the folder of work cannot be made; Slurm is not installed, or does not answer for a minute and a half.
    pub fn new(setup: Setup) -> Result<Slurm> {
        let Setup { profile, home, program, arguments, mut slots, needs } = setup;
        let id = study_id(&home)?;
        let name = format!("fastrcaps-{id}");
        let path = profile.work.as_ref().map_or(home, |work| work.join(&name));
        let path = std::path::absolute(&path).with_context(|| format!("no path {}", path.display()))?;
        check_path(&path)?;
        let work = WorkFolder::open(path)?;
        let most_tasks = most_tasks()?;
        let lines = first_look(&name)?;
        let batches = batches_of(&work, &lines)?;
        let alive: usize = batches.values().map(|batch| batch.open).sum();
        if let Some(slot) = slots.first().cloned() {
            // Every job that is there already has a slot.
            slots.extend(std::iter::repeat_n(slot, alive.saturating_sub(slots.len())));
        }
        let now = Instant::now();
        Ok(Slurm {
            program: profile.program(&program),
            arguments,
            needs,
            control: Control::start(name.clone())?,
            name,
            numbers: work.numbers()?,
            work,
            running: slots.iter().map(|_| None).collect(),
            slots,
            slot_of: HashMap::new(),
            outbox: Vec::new(),
            gathering: None,
            next: lines.iter().map(|line| line.number).chain(batches.keys().copied()).max().unwrap_or(0) + 1,
            requeued: Vec::new(),
            progress_every: PROGRESS,
            batches,
            most_tasks,
            to_cancel: Vec::new(),
            to_stop: Vec::new(),
            progressed: now,
            listened: now,
            queued: now,
            queue_every: QUEUE,
            is_looking: false,
            trouble: None,
            doubled: BTreeSet::new(),
            profile,
        })
    }

    /// Has `slot`'s trial wait for an array. What it goes on from is laid out anew.
    fn post(&mut self, slot: usize) -> Result<()> {
        let Some(running) = &mut self.running[slot] else { return Ok(()) };
        let number = self.numbers.entry(running.key.clone()).or_default();
        *number += 1;
        running.name = format!("{}.{number}", running.key);
        running.attempt = self.work.attempt(&running.name);
        (running.task, running.end, running.silent) = (None, None, 0);
        (running.has_begun, running.is_running, running.asked_for_exit) = (false, false, None);
        (running.has_word, running.killed) = (false, None);
        running.attempt.lay_out(&running.folder)?;
        self.slot_of.insert(running.name.clone(), slot);
        self.outbox.push(slot);
        self.gathering.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Writes arrays of what was gathered, one for each need, and submits them.
    fn submit(&mut self) {
        if self.gathering.is_none_or(|since| since.elapsed() < GATHER) {
            return;
        }
        self.gathering = None;
        let mut waiting = std::mem::take(&mut self.outbox);
        waiting.retain(|slot| self.running[*slot].as_ref().is_some_and(|running| running.task.is_none()));
        while let Some(need) = waiting.first().and_then(|slot| self.running[*slot].as_ref()).map(|running| running.need)
        {
            let is_like = |slot: &usize| self.running[*slot].as_ref().is_some_and(|running| running.need == need);
            let (mut alike, others): (Vec<usize>, Vec<usize>) = waiting.into_iter().partition(is_like);
            let rest = alike.split_off(alike.len().min(self.most_tasks));
            waiting = rest.into_iter().chain(others).collect();
            if let Err(error) = self.write_array(&alike, need) {
                self.trouble = Some(format!("{error:#}"));
                self.outbox.extend(alike);
                self.outbox.append(&mut waiting);
                self.gathering = Some(Instant::now() + AGAIN);
                return;
            }
        }
    }

    fn write_array(&mut self, slots: &[usize], need: Need) -> Result<()> {
        let number = self.next;
        let mut lines = String::new();
        let mut attempts = Vec::new();
        for slot in slots {
            let Some(running) = &self.running[*slot] else { continue };
            let until = running.until.map_or(String::new(), |epochs| format!(" --until-epoch {epochs}"));
            lines += &format!("{}{until}\n", running.name);
            attempts.push(running.name.clone());
        }
        let array = Array {
            profile: &self.profile,
            name: &self.name,
            work: &self.work.path,
            number,
            tasks: attempts.len(),
            need,
            program: &self.program,
            arguments: &self.arguments,
        };
        let script = self.work.write_batch(number, &lines, &script(&array))?;
        self.next += 1;
        for (task, slot) in slots.iter().enumerate() {
            self.running[*slot].iter_mut().for_each(|running| running.task = Some((number, task)));
        }
        self.control.ask(Ask::Submit { number, script: script.clone() });
        self.batches.insert(number, Batch { open: attempts.len(), attempts, script, job: Job::Asked });
        Ok(())
    }

    /// Takes up that Slurm took an array, or why it did not.
    fn submitted(&mut self, number: u64, job: Result<String, Refusal>) {
        let Some(batch) = self.batches.get_mut(&number) else { return };
        match job {
            Ok(job) => {
                // For who looks there by hand.
                let _ = write_atomically(&self.work.batch(number).join("job"), job.as_bytes());
                batch.job = Job::Known(job);
                self.trouble = None;
            }
            Err(Refusal::Passing(said)) => {
                batch.job = Job::Unknown(Instant::now());
                self.trouble = Some(format!("Slurm does not take jobs: {said}"));
            }
            Err(Refusal::Lasting(said)) => {
                let end = End::Broken(Fault::Machine, format!("Slurm refused its job: {said}"));
                for name in batch.attempts.clone() {
                    if let Some(running) = self.slot_of.get(&name).and_then(|slot| self.running[*slot].as_mut()) {
                        running.end.get_or_insert(end.clone());
                    }
                }
            }
        }
    }

    /// Submits again what Slurm turned out not to have.
    fn submit_again(&mut self) {
        for (number, batch) in &mut self.batches {
            if matches!(batch.job, Job::Later(after) if Instant::now() >= after) {
                batch.job = Job::Asked;
                self.control.ask(Ask::Submit { number: *number, script: batch.script.clone() });
            }
        }
    }

    /// Says to Slurm what it is to end, all of it in one command.
    fn tell(&mut self) {
        if !self.to_stop.is_empty() {
            self.control.ask(Ask::Stop(std::mem::take(&mut self.to_stop)));
        }
        if !self.to_cancel.is_empty() {
            self.control.ask(Ask::Cancel(std::mem::take(&mut self.to_cancel)));
        }
    }

    /// The job of a task, as `scancel` takes it.
    fn job_of(&self, task: Option<(u64, usize)>) -> Option<String> {
        let (number, index) = task?;
        match &self.batches.get(&number)?.job {
            Job::Known(job) => Some(format!("{job}_{index}")),
            _ => None,
        }
    }

    fn look_at_queue(&mut self) {
        // Also where nothing runs any more: a trouble is over once the queue is seen.
        let has_reason = self.trouble.is_some() || self.running.iter().any(Option::is_some);
        if has_reason && !self.is_looking && self.queued.elapsed() >= self.queue_every {
            self.is_looking = true;
            self.control.ask(Ask::Look);
        }
    }

    fn take_up(&mut self, answer: Answer) {
        match answer {
            Answer::Submitted { number, job } => self.submitted(number, job),
            Answer::Seen { queue, asked, took } => {
                (self.is_looking, self.queued) = (false, Instant::now());
                self.queue_every = QUEUE.max(SHARE * took);
                match queue {
                    Ok(lines) => {
                        self.trouble = None;
                        self.seen(&lines, asked);
                    }
                    Err(error) => self.trouble = Some(format!("Slurm's queue cannot be seen: {error}")),
                }
            }
            Answer::Exit { job, exit } => self.exited(&job, exit.as_deref()),
        }
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
        let key = work.folder.read_record()?.key;
        let mut need = (self.needs)(work.config);
        if self.doubled.contains(&key) {
            need.mebibytes = need.mebibytes.map(|mebibytes| 2 * mebibytes);
        }
        self.running[slot] = Some(Running {
            attempt: self.work.attempt(&key),
            key,
            name: String::new(),
            folder: work.folder.clone(),
            need,
            until: (work.epochs < work.config.train.epochs).then_some(work.epochs),
            task: None,
            epochs_seen: work.behind,
            has_begun: false,
            is_running: false,
            was_asked: false,
            silent: 0,
            has_word: false,
            killed: None,
            end: None,
            asked_for_exit: None,
        });
        self.post(slot).inspect_err(|_| self.running[slot] = None)
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
        running.was_asked = true;
        running.attempt.ask_to_stop();
        if running.attempt.starts().is_empty() {
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

    fn trouble(&self) -> Option<String> {
        self.trouble.clone()
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
        let is_whole = attempt.best(&key).is_some_and(|best| matches!(best.read_end(&key), Ok(Some(_))));
        let has =
            |(number, batch): (&u64, &Batch)| Some((*number, batch.attempts.iter().position(|other| *other == name)?));
        let task = self.batches.iter().find_map(has).filter(|_| !is_whole);
        let slot = self.running.iter().position(Option::is_none);
        let Some((task, slot)) = task.zip(slot) else {
            attempt.bring_home(&key, folder)?;
            attempt.remove();
            return Ok(None);
        };
        self.slot_of.insert(name.clone(), slot);
        self.running[slot] = Some(Running {
            key,
            name,
            attempt,
            folder: folder.clone(),
            need: Need { mebibytes: None, time: None },
            until: None,
            task: Some(task),
            epochs_seen: 0,
            has_begun: false,
            is_running: true,
            was_asked: false,
            silent: 0,
            has_word: false,
            killed: None,
            end: None,
            asked_for_exit: None,
        });
        Ok(Some(slot))
    }
}

/// Where a study keeps what it knows of its jobs: a hidden folder is in nobody's way.
pub fn home(study: &Path) -> PathBuf {
    study.join(".slurm")
}

/// The name of a study's jobs, drawn when it first has any: two studies never share it, wherever they are copied to.
pub fn study_id(home: &Path) -> Result<String> {
    let path = home.join("id");
    if let Ok(id) = fs::read_to_string(&path) {
        return Ok(id.trim().to_string());
    }
    crate::base::files::make_folder(home)?;
    let drawn = tempfile::Builder::new().prefix("").rand_bytes(8).tempdir_in(home).context("cannot draw a name")?;
    let id = crate::base::files::name(drawn.path()).to_lowercase();
    write_atomically(&path, id.as_bytes())?;
    Ok(id)
}

/// `%` has a meaning in Slurm's paths, and blanks end an option.
fn check_path(path: &Path) -> Result<()> {
    let text = path.to_string_lossy();
    if let Some(odd) = text.chars().find(|c| c.is_whitespace() || matches!(c, '%' | '\'' | '"' | '\\')) {
        bail!(
            "{} has {odd:?} in it, which Slurm does not take in paths: give another `work` in the profile",
            path.display()
        );
    }
    Ok(())
}

/// Tasks that an array may have at this site.
fn most_tasks() -> Result<usize> {
    // One that does not answer is waited for where jobs are asked for.
    let said = match control::run("scontrol", &["show".into(), "config".into()]) {
        Err(error) if error.chain().any(|cause| cause.is::<std::io::Error>()) => return Err(error),
        said => said.unwrap_or_default(),
    };
    let line = said.lines().find_map(|line| line.strip_prefix("MaxArraySize"));
    let size = line.and_then(|line| line.split('=').nth(1)?.trim().parse::<usize>().ok());
    // It is one more than the largest index.
    Ok(size.map_or(MOST_TASKS, |size| size.saturating_sub(1).max(1)))
}

/// What is in the queue when an explorer begins: without that it would submit twice what is there.
fn first_look(name: &str) -> Result<Vec<Line>> {
    let end = Instant::now() + FIRST_PATIENCE;
    loop {
        match control::look(name) {
            Err(error) if Instant::now() >= end => {
                return Err(error.context("Slurm's queue cannot be seen, so nobody knows what runs already"));
            }
            Err(_) => std::thread::sleep(Duration::from_secs(1)),
            seen => return seen,
        }
    }
}

/// The arrays of an earlier explorer of which a task is not over. Others are removed.
fn batches_of(work: &WorkFolder, lines: &[Line]) -> Result<BTreeMap<u64, Batch>> {
    let mut batches = BTreeMap::new();
    for (number, attempts) in work.batches()? {
        let of = lines.iter().filter(|line| line.number == number && !matches!(line.state, queue::State::Over(_)));
        let open: usize = of.clone().flat_map(|line| &line.tasks).map(|(first, last)| last + 1 - first).sum();
        match of.map(|line| line.job.clone()).next() {
            Some(job) => {
                let script = work.batch(number).join("job.sh");
                batches.insert(number, Batch { attempts, open, script, job: Job::Known(job) });
            }
            None => work.remove_batch(number),
        }
    }
    Ok(batches)
}

/// What an array would be of so many trials, for who wants to see it.
pub fn preview(
    profile: &Profile,
    home: &Path,
    program: &Path,
    arguments: &[String],
    tasks: usize,
    need: Need,
) -> String {
    let name = "fastrcaps-STUDY";
    let work = profile.work.as_ref().map_or(home.to_path_buf(), |work| work.join(name));
    let work = std::path::absolute(&work).unwrap_or(work);
    let program = profile.program(program);
    script(&Array { profile, name, work: &work, number: 1, tasks, need, program: &program, arguments })
}

/// Ends all jobs of the study whose folder of work begins at `home`, in words; none where it never had any.
pub fn cancel_study(home: &Path) -> Result<Option<String>> {
    if !home.join("id").is_file() {
        return Ok(None);
    }
    let name = format!("fastrcaps-{}", study_id(home)?);
    let is_alive = |line: &Line| !matches!(line.state, queue::State::Over(_));
    let tasks = |line: Line| line.tasks.iter().map(|(first, last)| last + 1 - first).sum::<usize>();
    let alive: usize = control::look(&name)?.into_iter().filter(is_alive).map(tasks).sum();
    control::run("scancel", &["--me".into(), format!("--name={name}")])?;
    Ok(Some(format!("{} called {name} ended", plural(alive, "job"))))
}

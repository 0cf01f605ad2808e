//! Slurm's commands, run one after the other by a thread of their own: a controller that does not answer keeps nobody waiting.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{
    far::{self, Orders, ROUND},
    queue::{self, Line, Refusal, Told},
    reach::Reach,
    work::Work as WorkFolder,
};

/// How often it is looked whether the thread has ended.
const LOOK: Duration = Duration::from_millis(5);
/// Jobs that one command names at most.
const AT_ONCE: usize = 500;
/// How long an explorer that ends waits for what it still has to say to Slurm.
const LAST_PATIENCE: Duration = Duration::from_secs(20);

/// What is asked of Slurm.
#[derive(Debug)]
pub(super) enum Ask {
    /// An array that was written, and of how many tasks.
    Submit(u64, usize),
    /// Where the folder of work is far away, what is to be done and read there.
    Round(Orders),
    Look,
    /// Jobs to be ended, as in `12_3`.
    Cancel(Vec<String>),
    /// Jobs to be asked to write a checkpoint and end.
    Stop(Vec<String>),
    /// How a job ended that left no word.
    Exit(String),
}

#[derive(Debug)]
pub(super) enum Answer {
    Submitted {
        number: u64,
        job: Result<String, Refusal>,
    },
    /// The queue, or why it cannot be seen; when it was asked for, and what that took.
    Seen {
        queue: Result<Vec<Line>, String>,
        asked: Instant,
        took: Duration,
    },
    /// How a job ended, as far as Slurm or its accounting knows it.
    Exit {
        job: String,
        told: Told,
    },
    /// A round; what it brought waits in the mirror, unless it failed.
    Rounded(Result<Orders, String>),
    /// What did not reach Slurm, and is to be said again.
    Unheard(Ask),
}

/// What the thread speaks of, and to whom.
struct Speaker {
    /// Of the jobs.
    name: String,
    reach: Reach,
    /// The folder of work here, and as nodes find it; the same where it is not far away.
    work: WorkFolder,
    there: PathBuf,
    /// Arrays that are over there.
    sent: BTreeSet<u64>,
}

pub(super) struct Control {
    asks: Option<Sender<Ask>>,
    answers: Receiver<Answer>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Speaks of the jobs called `name`, whose folder of work nodes find as `there`.
    pub fn start(name: String, reach: Reach, work: WorkFolder, there: PathBuf) -> Result<Control> {
        let mut speaker = Speaker { name, reach, work, there, sent: BTreeSet::new() };
        let (ask, asks) = channel();
        let (answer, answers) = channel();
        let thread = thread::Builder::new().name("slurm".into()).spawn(move || {
            for ask in asks {
                let Some(told) = speaker.obey(ask) else { continue };
                if answer.send(told).is_err() {
                    // The explorer ends: what it still wants done is done, and nobody asks what came of it.
                    continue;
                }
            }
        });
        let thread = Some(thread.context("cannot start the thread that speaks to Slurm")?);
        Ok(Control { asks: Some(ask), answers, thread })
    }

    pub fn ask(&self, ask: Ask) {
        if let Some(asks) = &self.asks {
            // The thread ends with this.
            let _ = asks.send(ask);
        }
    }

    pub fn answer(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }

    pub fn wait(&self, patience: Duration) -> Option<Answer> {
        self.answers.recv_timeout(patience).ok()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.asks = None;
        let end = Instant::now() + LAST_PATIENCE;
        if let Some(thread) = self.thread.take() {
            while !thread.is_finished() && Instant::now() < end {
                thread::sleep(LOOK);
            }
        }
    }
}

impl Speaker {
    fn obey(&mut self, ask: Ask) -> Option<Answer> {
        match ask {
            Ask::Submit(number, tasks) => Some(Answer::Submitted { number, job: self.submit(number, tasks) }),
            Ask::Round(orders) => Some(Answer::Rounded(match self.round(&orders) {
                Ok(()) => Ok(orders),
                Err(error) => Err(format!("{error:#}")),
            })),
            Ask::Look => {
                let asked = Instant::now();
                let queue = look(&self.reach, &self.name).map_err(|error| format!("{error:#}"));
                Some(Answer::Seen { queue, asked, took: asked.elapsed() })
            }
            Ask::Cancel(jobs) => self.cancel(&[], jobs).map(|jobs| Answer::Unheard(Ask::Cancel(jobs))),
            Ask::Stop(jobs) => {
                self.cancel(&["--batch", "--signal=TERM"], jobs).map(|jobs| Answer::Unheard(Ask::Stop(jobs)))
            }
            Ask::Exit(job) => {
                let told = self.exit(&job);
                Some(Answer::Exit { job, told })
            }
        }
    }

    fn submit(&mut self, number: u64, tasks: usize) -> Result<String, Refusal> {
        if self.reach.is_far() && !self.sent.contains(&number) {
            // Slurm was told nothing yet, and the trials are not to blame.
            self.send(number).map_err(|error| Refusal::Passing(format!("{error:#}")))?;
            self.sent.insert(number);
        }
        let script = WorkFolder { path: self.there.clone() }.script(number);
        match self.reach.run("sbatch", &["--parsable".into(), script.display().to_string()]) {
            // `12` or `12;cluster`.
            Ok(said) => Ok(said.trim().split(';').next().unwrap_or_default().to_string()),
            Err(error) => Err(queue::refusal(&format!("{error:#}"), tasks)),
        }
    }

    /// Brings an array and its attempts there.
    fn send(&self, number: u64) -> Result<()> {
        let attempts = self.work.attempts_of(number);
        // Those that are gone are not wanted any more.
        let wanted = attempts.into_iter().filter(|attempt| self.work.attempt(attempt).exists());
        let wanted = wanted.map(|attempt| format!("attempts/{attempt}"));
        let names: Vec<String> = [format!("batches/{number}")].into_iter().chain(wanted).collect();
        self.reach.send(&self.work.path, &names, &self.there)
    }

    fn round(&self, orders: &Orders) -> Result<()> {
        let into = far::clear(self.work.incoming())?;
        self.reach.fetch(ROUND, &self.there, &orders.text, &into)
    }

    /// How a job ended. Slurm forgets it after a while; its accounting does not, where a site has one.
    fn exit(&self, job: &str) -> Told {
        let words = ["show", "job", "-o", job].map(String::from);
        let said = self.reach.run("scontrol", &words).unwrap_or_default();
        if let Some(told) = queue::shown(&said) {
            return told;
        }
        let words = ["--noheader", "--parsable2", "--allocations", "--format=State,ExitCode,NodeList", "--jobs", job];
        let said = self.reach.run("sacct", &words.map(String::from)).unwrap_or_default();
        // Accounting may take a job for running whose end the controller lost.
        queue::accounted(&said).filter(|told| !told.is_alive).unwrap_or_default()
    }

    /// Says it for all of them, and gives those that are to be told again, as Slurm was not reached. That a job is over already is
    /// no failure; whoever is not reached finds its folder gone, or asked to stop, when it looks there.
    fn cancel(&self, options: &[&str], jobs: Vec<String>) -> Option<Vec<String>> {
        let mut unheard = Vec::new();
        for jobs in jobs.chunks(AT_ONCE) {
            let words: Vec<String> = options.iter().map(|word| word.to_string()).chain(jobs.iter().cloned()).collect();
            if let Err(error) = self.reach.run("scancel", &words)
                && queue::is_unreached(&format!("{error:#}"))
            {
                unheard.extend_from_slice(jobs);
            }
        }
        (!unheard.is_empty()).then_some(unheard)
    }
}

/// The jobs called `name` that Slurm still knows of.
pub(super) fn look(reach: &Reach, name: &str) -> Result<Vec<Line>> {
    let words = ["--me", "--noheader", "--states=all", "--format", queue::FORMAT].map(String::from);
    let words: Vec<String> = words.into_iter().chain([format!("--name={name}")]).collect();
    Ok(queue::read(&reach.run("squeue", &words)?, name))
}

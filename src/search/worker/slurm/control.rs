//! Slurm's commands, run one after the other by a thread of their own: a controller that does not answer keeps nobody waiting.

use std::{
    io::Read,
    path::PathBuf,
    process::{Command, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::queue::{self, Line, Refusal};

/// As long as a command may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether one has ended.
const LOOK: Duration = Duration::from_millis(5);
/// Jobs that one command names at most.
const AT_ONCE: usize = 500;
/// How long an explorer that ends waits for what it still has to say to Slurm.
const LAST_PATIENCE: Duration = Duration::from_secs(20);

/// What is asked of Slurm.
#[derive(Debug)]
pub(super) enum Ask {
    Submit {
        number: u64,
        script: PathBuf,
    },
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
    /// Exit code and signal of a job, as in `0:53`, where Slurm knows them.
    Exit {
        job: String,
        exit: Option<String>,
    },
}

pub(super) struct Control {
    asks: Option<Sender<Ask>>,
    answers: Receiver<Answer>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Speaks of the jobs called `name`.
    pub fn start(name: String) -> Result<Control> {
        let (ask, asks) = channel();
        let (answer, answers) = channel();
        let thread = thread::Builder::new().name("slurm".into()).spawn(move || {
            for ask in asks {
                let Some(told) = obey(ask, &name) else { continue };
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

fn obey(ask: Ask, name: &str) -> Option<Answer> {
    match ask {
        Ask::Submit { number, script } => {
            let job = match run("sbatch", &["--parsable".into(), script.display().to_string()]) {
                // `12` or `12;cluster`.
                Ok(said) => Ok(said.trim().split(';').next().unwrap_or_default().to_string()),
                Err(error) => Err(queue::refusal(&error.to_string())),
            };
            Some(Answer::Submitted { number, job })
        }
        Ask::Look => {
            let asked = Instant::now();
            let queue = look(name).map_err(|error| error.to_string());
            Some(Answer::Seen { queue, asked, took: asked.elapsed() })
        }
        Ask::Cancel(jobs) => cancel(&[], &jobs),
        Ask::Stop(jobs) => cancel(&["--batch", "--signal=TERM"], &jobs),
        Ask::Exit(job) => {
            let said = run("scontrol", &["show".into(), "job".into(), "-o".into(), job.clone()]).unwrap_or_default();
            let exit = said.split_whitespace().find_map(|word| word.strip_prefix("ExitCode=")).map(str::to_string);
            Some(Answer::Exit { job, exit })
        }
    }
}

/// The jobs called `name` that Slurm still knows of.
pub(super) fn look(name: &str) -> Result<Vec<Line>> {
    let words = ["--me", "--noheader", "--states=all", "--format", queue::FORMAT].map(String::from);
    let words: Vec<String> = words.into_iter().chain([format!("--name={name}")]).collect();
    Ok(queue::read(&run("squeue", &words)?, name))
}

/// Says it for all of them. That a job is over already is no failure; whoever is not reached finds its folder gone, or asked to
/// stop, when it looks there.
fn cancel(options: &[&str], jobs: &[String]) -> Option<Answer> {
    for jobs in jobs.chunks(AT_ONCE) {
        let words: Vec<String> = options.iter().map(|word| word.to_string()).chain(jobs.iter().cloned()).collect();
        let _ = run("scancel", &words);
    }
    None
}

/// What a command of Slurm's says.
///
/// Errors: it cannot be started, or it fails, with its complaint.
pub fn run(program: &str, words: &[String]) -> Result<String> {
    let mut command = Command::new(program);
    // Tasks of an array are to be written out, however many they are.
    command.args(words).env("SLURM_BITSTR_LEN", "0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // What a terminal sends to this process is not for it.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().with_context(|| format!("cannot start {program}: is Slurm installed here?"))?;
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let output = thread::spawn(move || all(output));
    let errors = thread::spawn(move || all(errors));
    let end = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().with_context(|| format!("cannot wait for {program}"))? {
            Some(status) => break status,
            None if Instant::now() >= end => {
                let _ = child.kill();
                let _ = child.wait();
                bail!("{program} timed out: it did not end within {} s", PATIENCE.as_secs());
            }
            None => thread::sleep(LOOK),
        }
    };
    let (output, errors) = (output.join().unwrap_or_default(), errors.join().unwrap_or_default());
    match (status.success(), errors.trim()) {
        (true, _) => Ok(output),
        (false, "") => bail!("{program} ended with {status}"),
        (false, complaint) => bail!("{complaint}"),
    }
}

fn all(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

//! Short pieces of work beside trials, each a subcommand of the program in a process of its own that is talked with in lines: a
//! look at a GPU, times of trainings predicted, steps timed.

use std::{
    ffi::OsString,
    io::{BufRead, BufReader, Read, Write},
    path::PathBuf,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rustix::process;

use crate::base::device::Place;

/// How often it is looked whether a process has ended that was asked to.
const LOOK: Duration = Duration::from_millis(10);
/// Bytes that are kept of what a process complains of.
const COMPLAINTS: u64 = 1 << 16;

/// A subcommand and what it runs on.
#[derive(Clone, Debug)]
pub struct Task {
    /// The subcommand and its arguments, but for the device.
    pub arguments: Vec<OsString>,
    pub place: Place,
    /// Whether the process sees no other device; to it, its GPU is the first one then.
    pub is_alone: bool,
    /// Threads of what candle computes with.
    pub threads: usize,
    /// Whether nothing else may run beside it, where tasks share hosts with others.
    pub is_exclusive: bool,
}

/// Starts tasks somewhere.
pub trait Tasks {
    /// Starts a task; what is said to it and by it goes through the dialogue, whose end ends it.
    fn start(&self, task: &Task) -> Result<Box<dyn Dialogue>>;

    /// Whether they run on other hosts than this one.
    fn is_elsewhere(&self) -> bool {
        false
    }
}

/// A task that runs. Dropping it ends it.
pub trait Dialogue {
    /// Says a line to it.
    ///
    /// A task that has ended does not hear it, which is no error: [`Dialogue::hear`] tells why it has.
    fn say(&mut self, line: &str);

    /// Says that nothing follows.
    fn end_input(&mut self);

    /// Whether it waits for a host, and has not begun.
    fn is_waiting(&self) -> bool {
        false
    }

    /// Waits for a line so long.
    ///
    /// Errors: what it says cannot be read.
    fn hear(&mut self, patience: Duration) -> Result<Heard>;
}

/// What a task says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Line(String),
    /// Nothing in that time.
    Nothing,
    /// It has ended well.
    Ended,
    /// It has ended with this status, and complained so.
    Failed {
        status: String,
        complaints: String,
    },
}

/// Tasks as child processes on this machine.
#[derive(Clone, Debug)]
pub struct LocalTasks {
    /// The program that knows the subcommands.
    pub program: PathBuf,
}

impl Tasks for LocalTasks {
    fn start(&self, task: &Task) -> Result<Box<dyn Dialogue>> {
        let mut command = Command::new(&self.program);
        command.args(&task.arguments);
        let seen = if task.is_alone { task.place.alone() } else { task.place };
        command.args(["--device", &seen.to_string()]);
        if task.is_alone {
            command.envs(task.place.environment()?);
        }
        // What the network's own thread pool does not rule (candle's operations) asks the environment.
        command.env("RAYON_NUM_THREADS", task.threads.to_string());
        talk_with(command, Duration::ZERO)
    }
}

/// A dialogue with a process that a command starts. Who ends it asks it to end, and gives it so long for that.
pub(super) fn talk_with(mut command: Command, patience: Duration) -> Result<Box<dyn Dialogue>> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // What a terminal sends to this process is not for it: it is ended in order.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let child = command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
    Ok(Box::new(Talk::with(child, patience)?))
}

/// A dialogue with a child process.
struct Talk {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<std::io::Result<String>>,
    complaints: Option<JoinHandle<String>>,
    patience: Duration,
}

impl Talk {
    fn with(mut child: Child, patience: Duration) -> Result<Talk> {
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let (output, errors) = output.zip(errors).context("the process that was started has no pipes")?;
        let (say, lines) = channel();
        thread::Builder::new().spawn(move || {
            for line in BufReader::new(output).lines() {
                if say.send(line).is_err() {
                    return;
                }
            }
        })?;
        let complaints = thread::Builder::new().spawn(move || {
            let mut text = Vec::new();
            let mut errors = errors.take(COMPLAINTS);
            let _ = errors.read_to_end(&mut text);
            // The rest goes nowhere, so that nobody waits for it to be read.
            let _ = std::io::copy(&mut errors.into_inner(), &mut std::io::sink());
            String::from_utf8_lossy(&text).trim().to_string()
        })?;
        Ok(Talk { input: child.stdin.take(), child, lines, complaints: Some(complaints), patience })
    }

    fn over(&mut self, status: ExitStatus) -> Heard {
        // A thread that only reads cannot panic, and its pipe has ended with the process.
        let complaints = self.complaints.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        if status.success() { Heard::Ended } else { Heard::Failed { status: status.to_string(), complaints } }
    }
}

impl Dialogue for Talk {
    fn say(&mut self, line: &str) {
        if let Some(input) = &mut self.input {
            // Where this fails it has ended already, and says why.
            let _ = writeln!(input, "{line}");
        }
    }

    fn end_input(&mut self) {
        self.input = None;
    }

    fn hear(&mut self, patience: Duration) -> Result<Heard> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => Ok(Heard::Line(line.context("cannot read what the process says that was started")?)),
            Err(RecvTimeoutError::Timeout) => Ok(Heard::Nothing),
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait().context("cannot wait for the process that was started")?;
                Ok(self.over(status))
            }
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.input = None;
        let runs = |child: &mut Child| matches!(child.try_wait(), Ok(None));
        if !self.patience.is_zero() && runs(&mut self.child) {
            let _ = process::kill_process(process::Pid::from_child(&self.child), process::Signal::TERM);
            let end = Instant::now() + self.patience;
            while runs(&mut self.child) && Instant::now() < end {
                thread::sleep(LOOK);
            }
        }
        // Fails only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_has_something_to_give_back_is_asked_to_end_before_it_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let gives_back = "trap 'echo > given-back; exit' TERM; echo ready; while :; do sleep 0.01; done";
        for (patience, gives) in [(Duration::from_secs(20), true), (Duration::ZERO, false)] {
            let mut command = Command::new("sh");
            command.args(["-c", gives_back]).current_dir(folder.path());
            let mut talk = talk_with(command, patience).unwrap();
            assert_eq!(talk.hear(Duration::from_secs(20)).unwrap(), Heard::Line("ready".into()));
            drop(talk);
            let given = folder.path().join("given-back");
            assert_eq!(given.exists(), gives);
            let _ = std::fs::remove_file(given);
        }
    }
}

//! Steps timed in a process of its own: `fastrcaps time-steps`.

use std::{
    ffi::OsString,
    io::{BufRead, BufReader, Read, Write},
    ops::ControlFlow,
    path::PathBuf,
    process::{self, Command, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{Clock, Job, Line, disturbance::disturbance};
use crate::base::{
    device::Place,
    machine::{self, load::Mark},
    words::by_count,
};

/// How long is looked whether the machine is idle.
const LOOK: Duration = Duration::from_millis(500);
/// How often somebody who waits for a line looks whether to break off.
const POLL: Duration = Duration::from_millis(100);
/// Bytes that are kept of what a process complains of.
const COMPLAINTS: u64 = 1 << 16;

/// Starts a process for every job.
pub struct Child {
    /// The program that knows `time-steps`: this very binary.
    pub program: PathBuf,
    pub threads: usize,
    /// Cores to stay on; empty for any.
    pub cores: Vec<usize>,
    /// What steps are timed on.
    pub place: Place,
    /// UUID of the GPU that this is.
    pub gpu: Option<String>,
    /// Passed on.
    pub arguments: Vec<OsString>,
}

impl Child {
    fn start(&self) -> Result<process::Child> {
        let mut command = Command::new(&self.program);
        command.args(["time-steps", "--threads", &self.threads.to_string()]);
        if !self.cores.is_empty() {
            let cores: Vec<String> = self.cores.iter().map(usize::to_string).collect();
            command.args(["--cores", &cores.join(",")]);
        }
        // As trials: it sees its own GPU and no other.
        command.args(["--device", &self.place.alone().to_string()]).envs(self.place.environment()?);
        command.args(&self.arguments);
        // As for trials: what the network's own thread pool does not rule (candle's operations) asks the environment.
        command.env("RAYON_NUM_THREADS", self.threads.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // What a terminal sends to this process is not for it: it is ended in order.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.spawn().with_context(|| format!("cannot start {}", self.program.display()))
    }
}

impl Clock for Child {
    fn busy(&mut self) -> Option<String> {
        // None of them is ours: no step is timed now.
        let there = self.gpu.as_ref().and_then(|uuid| machine::gpu::now(uuid)?.processes).unwrap_or(0);
        let mark = Mark::now();
        thread::sleep(LOOK);
        if there > 0 {
            let compute = by_count(there, "process of others computes", "processes of others compute");
            return Some(format!("{there} {compute} on {}", self.place));
        }
        // This process does nothing meanwhile.
        disturbance(&mark.others()?, 0)
    }

    fn run(&mut self, job: &Job, told: &mut dyn FnMut(Option<Line>) -> Result<ControlFlow<()>>) -> Result<()> {
        let mut child = Ended(self.start()?);
        // Piped above.
        let (Some(mut input), Some(output), Some(errors)) =
            (child.0.stdin.take(), child.0.stdout.take(), child.0.stderr.take())
        else {
            bail!("the process that times steps has no pipes");
        };
        // Where this fails it has ended already, and says why below. The pipe stays open: its end would end the process.
        let _ = writeln!(input, "{}", serde_json::to_string(job)?);
        let (lines, coming) = channel();
        let reader = thread::Builder::new().spawn(move || {
            for line in BufReader::new(output).lines() {
                if lines.send(line).is_err() {
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
        loop {
            let line = match coming.recv_timeout(POLL) {
                Ok(line) => Some(line.context("cannot read what the process that times steps says")?),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let line = line.map(|line| serde_json::from_str(&line).with_context(|| format!("not understood: {line}")));
            if told(line.transpose()?)?.is_break() {
                return Ok(());
            }
        }
        let status = child.0.wait().context("cannot wait for the process that times steps")?;
        drop(input);
        // Threads that only read cannot panic, and their pipes have ended with the process.
        let _ = reader.join();
        let said = complaints.join().unwrap_or_default();
        if !status.success() {
            bail!("the process that times steps ended with {status}: {said}");
        }
        Ok(())
    }
}

/// A process that ends with this.
struct Ended(process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Fails only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_fails_is_an_error_with_its_words() {
        // Ends with code 1, whatever it is asked.
        let (program, cores, arguments) = ("false".into(), Vec::new(), Vec::new());
        let mut child = Child { program, threads: 1, cores, place: Place::Cpu, gpu: None, arguments };
        let job = Job { round: 0, sample_seconds: 0.1, tasks: Vec::new() };
        let error = child.run(&job, &mut |_| Ok(ControlFlow::Continue(()))).unwrap_err();
        assert!(error.to_string().contains("ended with exit status: 1"), "{error}");
        let absent = Child { program: "/nowhere/fastrcaps".into(), ..child };
        assert!(absent.start().unwrap_err().to_string().contains("cannot start /nowhere/fastrcaps"));
    }
}

//! Steps timed in a process of its own: `fastrcaps time-steps`.

use std::{ffi::OsString, ops::ControlFlow, thread, time::Duration};

use anyhow::{Context, Result, bail};

use super::{Clock, Job, Line, Origin, disturbance::disturbance};
use crate::{
    base::{
        device::Place,
        machine::{self, load::Mark},
        words::by_count,
    },
    search::worker::{Dialogue, Heard, Task, Tasks},
};

/// How long is looked whether the machine is idle.
const LOOK: Duration = Duration::from_millis(500);
/// How often somebody who waits for a line looks whether to break off.
const POLL: Duration = Duration::from_millis(100);
/// Starts a task for every job.
pub struct Child<'a> {
    pub tasks: &'a dyn Tasks,
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

impl Child<'_> {
    fn start(&self) -> Result<Box<dyn Dialogue>> {
        let mut arguments: Vec<OsString> =
            vec!["time-steps".into(), "--threads".into(), self.threads.to_string().into()];
        if !self.cores.is_empty() {
            let cores: Vec<String> = self.cores.iter().map(usize::to_string).collect();
            arguments.extend(["--cores".into(), cores.join(",").into()]);
        }
        arguments.extend(self.arguments.iter().cloned());
        self.tasks.start(&Task {
            arguments,
            place: self.place,
            is_alone: true,
            threads: self.threads,
            is_exclusive: true,
        })
    }
}

impl Clock for Child<'_> {
    fn origin(&mut self) -> Result<Option<Origin>> {
        if !self.tasks.is_elsewhere() {
            return Ok(None);
        }
        let mut origin = None;
        let nothing = Job { round: 0, sample_seconds: 0.0, tasks: Vec::new(), tells_origin: true };
        self.run(&nothing, &mut |line| {
            if let Some(Line::Origin(of)) = line {
                origin = Some(of);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        origin.map(Some).context("the process that times steps does not say where it runs")
    }

    fn busy(&mut self) -> Option<String> {
        if self.tasks.is_elsewhere() {
            // Nobody knows before it runs there; it has that machine for itself.
            return None;
        }
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
        let mut child = self.start()?;
        // Its input stays open: its end would end the process.
        child.say(&serde_json::to_string(&Job { tells_origin: self.tasks.is_elsewhere(), ..job.clone() })?);
        loop {
            let line = match child.hear(POLL)? {
                Heard::Line(line) => Some(line),
                Heard::Nothing => None,
                Heard::Ended => return Ok(()),
                Heard::Failed { status, complaints } => {
                    bail!("the process that times steps ended with {status}: {complaints}")
                }
            };
            let line = line.map(|line| serde_json::from_str(&line).with_context(|| format!("not understood: {line}")));
            if told(line.transpose()?)?.is_break() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::worker::LocalTasks;

    #[test]
    fn a_process_that_fails_is_an_error_with_its_words() {
        // Ends with code 1, whatever it is asked.
        let tasks = LocalTasks { program: "false".into() };
        let (cores, arguments) = (Vec::new(), Vec::new());
        let mut child = Child { tasks: &tasks, threads: 1, cores, place: Place::Cpu, gpu: None, arguments };
        let job = Job { round: 0, sample_seconds: 0.1, tasks: Vec::new(), tells_origin: false };
        let error = child.run(&job, &mut |_| Ok(ControlFlow::Continue(()))).unwrap_err();
        assert!(error.to_string().contains("ended with exit status: 1"), "{error}");
        let absent = LocalTasks { program: "/nowhere/fastrcaps".into() };
        let absent = Child { tasks: &absent, ..child };
        assert!(absent.start().err().unwrap().to_string().contains("cannot start /nowhere/fastrcaps"));
    }
}

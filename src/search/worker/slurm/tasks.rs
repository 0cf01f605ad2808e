//! Tasks beside trials as job steps of their own, through `srun`: a look at a GPU, times predicted, steps timed on a node that
//! nobody else uses.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use anyhow::Result;

use super::{profile::Profile, reach::Reach};
use crate::base::device::{BUS_ORDER, ORDER};
use crate::search::worker::{Dialogue, Heard, Task, Tasks, tasks::talk_with};

/// Starts each task on a node.
#[derive(Clone, Debug)]
pub struct SlurmTasks {
    pub profile: Profile,
    /// The program that knows the subcommands, where the profile has none.
    pub program: PathBuf,
}

/// As long as `srun` may take to give back what it was given: where it is killed, Slurm keeps that until its time is over.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a task says first, once it has its node.
const BEGINS: &str = "fastrcaps-begins";
/// What goes before the program: that word, and the lines of shell that a site has before each trial: how many these are and what they
/// are, each one word, as a login node's shell may not take a text of several lines as one. What they say is no answer of the program's.
const BEFORE: &str = r#"echo "$1"; shift; count=$1 text=; shift; for ((; count > 0; count--)); do text+=$1$'\n'; shift; done; eval "$text" >&2 </dev/null; exec "$@""#;

impl SlurmTasks {
    /// The words after `srun`.
    fn words(&self, task: &Task) -> Vec<OsString> {
        let profile = &self.profile;
        let mut options = vec!["--job-name=fastrcaps-task".to_string(), "--quiet".into(), "--unbuffered".into()];
        options.extend(["--nodes=1".into(), "--ntasks=1".into()]);
        options.push(format!("--cpus-per-task={}", task.threads.max(profile.cpus)));
        options.extend(profile.memory.map(|mebibytes| format!("--mem={mebibytes}M")));
        if task.is_exclusive {
            options.push("--exclusive".into());
        }
        let constraint = profile.timing_constraint.as_ref().filter(|_| task.is_exclusive);
        options.extend(profile.options(constraint.or(profile.constraint.as_ref()), &[]));
        let mut words: Vec<OsString> = options.into_iter().map(OsString::from).collect();
        let count = profile.prologue.len().to_string();
        words.extend(["bash", "-c", BEFORE, "bash", BEGINS, &count].map(OsString::from));
        words.extend(profile.prologue.iter().map(OsString::from));
        words.push(profile.program(&self.program).into());
        words.extend(task.arguments.iter().cloned());
        // A job sees the GPU that it was given, and no other.
        words.extend(["--device".into(), profile.device.to_string().into()]);
        words
    }
}

impl Tasks for SlurmTasks {
    fn start(&self, task: &Task) -> Result<Box<dyn Dialogue>> {
        let threads = task.threads.to_string();
        // GPUs in the order in which Slurm numbers them.
        let environment = [("RAYON_NUM_THREADS", threads.as_str()), (ORDER, BUS_ORDER)];
        let command = Reach::of(&self.profile).command("srun", &self.words(task), &environment);
        Ok(Box::new(Allocated { talk: talk_with(command, PATIENCE)?, has_begun: false }))
    }

    fn is_elsewhere(&self) -> bool {
        true
    }
}

/// A dialogue with a task that waits for its node first.
struct Allocated {
    talk: Box<dyn Dialogue>,
    has_begun: bool,
}

impl Dialogue for Allocated {
    fn say(&mut self, line: &str) {
        self.talk.say(line);
    }

    fn end_input(&mut self) {
        self.talk.end_input();
    }

    fn is_waiting(&self) -> bool {
        !self.has_begun
    }

    fn hear(&mut self, patience: Duration) -> Result<Heard> {
        match self.talk.hear(patience)? {
            Heard::Line(line) if !self.has_begun && line == BEGINS => {
                self.has_begun = true;
                Ok(Heard::Nothing)
            }
            heard => Ok(heard),
        }
    }
}

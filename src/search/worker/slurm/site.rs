//! What is asked of a site before anything is submitted, and of a study's jobs from outside.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::{
    Array, FIRST_PATIENCE, MOST_TASKS, Need, Profile,
    arrays::{Batch, Job},
    control,
    queue::{self, Line},
    script,
    work::Work as WorkFolder,
};
use crate::base::{
    files::{make_folder, name, write_atomically},
    words::plural,
};

/// The name of a study's jobs, drawn when it first has any: two studies never share it, wherever they are copied to.
pub fn study_id(home: &Path) -> Result<String> {
    let path = home.join("id");
    if let Ok(id) = fs::read_to_string(&path) {
        return Ok(id.trim().to_string());
    }
    make_folder(home)?;
    let drawn = tempfile::Builder::new().prefix("").rand_bytes(8).tempdir_in(home).context("cannot draw a name")?;
    let id = name(drawn.path()).to_lowercase();
    write_atomically(&path, id.as_bytes())?;
    Ok(id)
}

/// `%` has a meaning in Slurm's paths, and blanks end an option.
pub(super) fn check_path(path: &Path) -> Result<()> {
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
pub(super) fn most_tasks() -> Result<usize> {
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
pub(super) fn first_look(name: &str) -> Result<Vec<Line>> {
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
pub(super) fn batches_of(work: &WorkFolder, lines: &[Line]) -> Result<BTreeMap<u64, Batch>> {
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

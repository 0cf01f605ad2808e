//! What is asked of a site before anything is submitted, and of a study's jobs from outside.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Error, Result, bail};

use super::{
    Array, FIRST_PATIENCE, MOST_TASKS, Need, Profile,
    arrays::{Batch, Job},
    control,
    data::Data,
    far::{self, Far},
    queue::{self, Line},
    reach::{Reach, may_be_reached_later},
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

/// What is looked at on a login node before anything is submitted: whether it has what is needed. It is given the folder of work,
/// and hears the program.
const CONTACT: &str = r#"
read -r program
for command in sbatch squeue scancel scontrol tar find; do
    command -v "$command" >/dev/null || { echo "there is no command $command where no terminal asks: let .bashrc set PATH" >&2; exit 1; }
done
mkdir -p "$1/batches" "$1/attempts" "$1/ended" || exit 1
[ -x "$program" ] || { echo "there is no program $program: copy this one there, or change program in the profile" >&2; exit 1; }
"$program" --version </dev/null >/dev/null || exit 1
tar -cf - -C "$1" --no-recursion ended
"#;

/// Where the folder of work is far away: makes it, and looks whether all is there that trials need.
///
/// Errors: it cannot be reached for a minute and a half, or something is missing there, and what.
pub(super) fn contact(reach: &Reach, there: &Path, program: &Path, work: &WorkFolder) -> Result<()> {
    let orders = format!("{}\n", program.display());
    let ask = || reach.fetch(CONTACT, there, &orders, &far::clear(work.incoming())?);
    patiently(ask, |error| !may_be_reached_later(error)).context("the cluster cannot be used through ssh")
}

/// Has trials find their data set there, and gives the arguments that they are told then.
///
/// Errors: as of [`Data::bring`], and that of no connection after a minute and a half.
pub(super) fn bring(
    data: &Data,
    reach: &Reach,
    profile: &Profile,
    program: &Path,
    arguments: &[String],
) -> Result<Vec<String>> {
    patiently(|| data.bring(reach, profile, program, arguments), |error| !may_be_reached_later(error))
}

/// Brings a mirror up to date: first with how far trials are, then with all that those left whose jobs are over.
///
/// Errors: it cannot be reached for a minute and a half.
pub(super) fn catch_up(reach: &Reach, there: &Path, work: &WorkFolder, over: &[String]) -> Result<Far> {
    let mut far = Far::default();
    let orders = far.orders(work, over.iter().cloned())?;
    let ask = || reach.fetch(far::ROUND, there, &orders.text, &far::clear(work.incoming())?);
    patiently(ask, |error| !may_be_reached_later(error)).context("the cluster's folder of work cannot be read")?;
    far.take_in(work, orders)?;
    Ok(far)
}

/// Attempts that no job trains any more, as far as the queue and what they left tell.
pub(super) fn over(work: &WorkFolder, batches: &BTreeMap<u64, Batch>) -> Result<Vec<String>> {
    let mut over = work.attempts()?;
    over.retain(|attempt| {
        let has_job = batches.values().any(|batch| batch.attempts.contains(attempt));
        let key = attempt.rsplit_once('.').map_or("", |(key, _)| key);
        !has_job || work.attempt(attempt).has_ended(key)
    });
    Ok(over)
}

/// Tries again for a minute and a half, unless an error is one that lasts.
fn patiently<T>(mut ask: impl FnMut() -> Result<T>, lasts: impl Fn(&Error) -> bool) -> Result<T> {
    let end = Instant::now() + FIRST_PATIENCE;
    loop {
        match ask() {
            Err(error) if !lasts(&error) && Instant::now() < end => std::thread::sleep(Duration::from_secs(1)),
            told => return told,
        }
    }
}

/// Tasks that an array may have at this site.
pub(super) fn most_tasks(reach: &Reach) -> Result<usize> {
    // One that does not answer is waited for where jobs are asked for.
    let said = match reach.run("scontrol", &["show".into(), "config".into()]) {
        Err(error) if error.chain().any(|cause| cause.is::<std::io::Error>()) => return Err(error),
        said => said.unwrap_or_default(),
    };
    let line = said.lines().find_map(|line| line.strip_prefix("MaxArraySize"));
    let size = line.and_then(|line| line.split('=').nth(1)?.trim().parse::<usize>().ok());
    // It is one more than the largest index.
    Ok(size.map_or(MOST_TASKS, |size| size.saturating_sub(1).max(1)))
}

/// What is in the queue when an explorer begins: without that it would submit twice what is there.
pub(super) fn first_look(reach: &Reach, name: &str) -> Result<Vec<Line>> {
    patiently(|| control::look(reach, name), |_| false)
        .context("Slurm's queue cannot be seen, so nobody knows what runs already")
}

/// The arrays of an earlier explorer of which a task is not over. Others are removed.
pub(super) fn batches_of(work: &WorkFolder, lines: &[Line]) -> Result<BTreeMap<u64, Batch>> {
    let mut batches = BTreeMap::new();
    for (number, attempts) in work.batches()? {
        let of = lines.iter().filter(|line| line.number == number && !matches!(line.state, queue::State::Over(_)));
        let open: usize = of.clone().flat_map(|line| &line.tasks).map(|(first, last)| last + 1 - first).sum();
        match of.map(|line| line.job.clone()).next() {
            Some(job) => {
                batches.insert(number, Batch { attempts, open, job: Job::Known(job) });
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
    let reach = Reach::noted(home);
    let alive: usize = control::look(&reach, &name)?.into_iter().filter(is_alive).map(tasks).sum();
    reach.run("scancel", &["--me".into(), format!("--name={name}")])?;
    Ok(Some(format!("{} called {name} ended", plural(alive, "job"))))
}

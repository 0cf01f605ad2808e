//! What is asked of a site before anything is submitted, and of a study's jobs from outside.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Error, Result, bail};

use super::{
    Array, FIRST_PATIENCE, Need, Profile,
    arrays::{Batch, Job, arrays},
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

/// The name of a study's jobs, drawn when it first has any: two studies never share it. A copy of a study has another; one that was
/// moved keeps it, and so does one that is reached by another path.
pub fn study_id(home: &Path) -> Result<String> {
    let path = home.join("id");
    let read = |path: &Path| -> Option<(String, String)> {
        let text = fs::read_to_string(path).ok()?;
        let (id, of) = text.trim().split_once('\n').unwrap_or((text.trim(), ""));
        Some((id.to_string(), of.to_string()))
    };
    let here = || Ok::<_, Error>(home.canonicalize()?.display().to_string());
    if let Some((id, of)) = read(&path) {
        if of == here()? {
            return Ok(id);
        }
        let there = Path::new(&of).join("id");
        let is_there = !of.is_empty() && read(&there).is_some_and(|(other, _)| other == id);
        if !is_there {
            // It was moved here.
            write_atomically(&path, format!("{id}\n{}\n", here()?).as_bytes())?;
            return Ok(id);
        }
        let file = |path: &Path| fs::metadata(path).map(|of| (of.dev(), of.ino()));
        if file(&path)? == file(&there)? {
            return Ok(id);
        }
    }
    make_folder(home)?;
    let drawn = tempfile::Builder::new().prefix("").rand_bytes(8).tempdir_in(home).context("cannot draw a name")?;
    let id = name(drawn.path()).to_lowercase();
    write_atomically(&path, format!("{id}\n{}\n", here()?).as_bytes())?;
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

/// Tasks of an array at most where the site does not say: Slurm's default.
const MOST_TASKS: usize = 1000;

/// What a site allows, as far as it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Site {
    /// Tasks of an array.
    pub most_tasks: usize,
    /// Of a job on the partition of the profile; absent where there is no limit, or nobody knows it.
    pub longest: Option<Duration>,
}

impl Site {
    /// Errors: Slurm's commands are not here. One that does not answer is waited for where jobs are asked for.
    pub fn ask(reach: &Reach, profile: &Profile) -> Result<Site> {
        let said = match reach.run("scontrol", &["show".into(), "config".into()]) {
            Err(error) if error.chain().any(|cause| cause.is::<std::io::Error>()) => return Err(error),
            said => said.unwrap_or_default(),
        };
        let partitions = ["show", "partition", "-o"].map(String::from);
        let partitions = reach.run("scontrol", &partitions).unwrap_or_default();
        Ok(Site { most_tasks: most_tasks(&said), longest: longest(&partitions, profile.partition.as_deref()) })
    }
}

/// Tasks that an array may have, as `scontrol show config` says.
fn most_tasks(said: &str) -> usize {
    let line = said.lines().find_map(|line| line.strip_prefix("MaxArraySize"));
    let size = line.and_then(|line| line.split('=').nth(1)?.trim().parse::<usize>().ok());
    let limit =
        said.lines().find_map(|line| line.split("max_array_tasks=").nth(1)?.split(',').next()?.trim().parse().ok());
    // It is one more than the largest index.
    let most = size.map_or(MOST_TASKS, |size| size.saturating_sub(1));
    most.min(limit.unwrap_or(usize::MAX)).max(1)
}

/// The longest that a job may take on a partition, the default one where none is named, as `scontrol show partition -o` says; the
/// shortest of several.
fn longest(said: &str, named: Option<&str>) -> Option<Duration> {
    let is_meant = |line: &&str| {
        let name = line.split_whitespace().find_map(|word| word.strip_prefix("PartitionName=")).unwrap_or_default();
        named.map_or(line.contains(" Default=YES"), |named| named.split(',').any(|of| of == name))
    };
    let time = |line: &str| time(line.split_whitespace().find_map(|word| word.strip_prefix("MaxTime="))?);
    said.lines().filter(is_meant).filter_map(time).min()
}

/// A time as Slurm writes it: `1-00:00:00`, `12:30:00`; none for `UNLIMITED`.
fn time(text: &str) -> Option<Duration> {
    let (days, clock) = text.split_once('-').unwrap_or(("0", text));
    let parts: Vec<u64> = clock.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [hours, minutes, seconds] = parts[..] else { return None };
    Some(Duration::from_secs(((days.parse::<u64>().ok()? * 24 + hours) * 60 + minutes) * 60 + seconds))
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

/// What would be submitted of trials that are predicted to need so much, for who wants to see it: the script of the first array, and
/// in what the others differ from it. Where Slurm does not answer, its defaults are taken.
pub fn preview(profile: &Profile, home: &Path, program: &Path, arguments: &[String], needs: &[Need]) -> String {
    let name = "fastrcaps-STUDY";
    let work = profile.work.as_ref().map_or(home.to_path_buf(), |work| work.join(name));
    let work = std::path::absolute(&work).unwrap_or(work);
    let program = profile.program(program);
    let site = Site::ask(&Reach::of(profile), profile).unwrap_or(Site { most_tasks: MOST_TASKS, longest: None });
    let needs: Vec<Need> = needs.iter().map(|need| profile.asked(*need, site.longest)).collect();
    let at_once = &needs[..needs.len().min(profile.jobs())];
    let arrays = arrays(at_once, site.most_tasks);
    let of = |(at, array): (usize, &Vec<usize>)| {
        let (number, need) = (at as u64 + 1, at_once[array[0]]);
        let (exclude, program) = (&[], &program);
        script(&Array { profile, name, work: &work, number, tasks: array.len(), need, exclude, program, arguments })
    };
    let mut texts = arrays.iter().enumerate().map(of);
    let first = texts.next().unwrap_or_default();
    let mut text = first.clone();
    for (other, array) in texts.zip(&arrays[1..]) {
        let differs: Vec<&str> = other.lines().filter(|line| !first.lines().any(|of| of == *line)).collect();
        text += &format!(
            "\n# Another array, of {}, has these lines:\n# {}\n",
            plural(array.len(), "trial"),
            differs.join("\n# ")
        );
    }
    let more = needs.len() - at_once.len();
    if more > 0 {
        text += &format!("\n# {more} more, each when one of these has ended.\n");
    }
    text
}

/// Ends all jobs of the study whose folder of work begins at `home`, in words; none where it never had any.
pub fn cancel_study(home: &Path) -> Result<Option<String>> {
    if !home.join("id").is_file() {
        return Ok(None);
    }
    let name = format!("fastrcaps-{}", study_id(home)?);
    let reach = Reach::noted(home);
    let alive = alive(&reach, &name)?;
    reach.run("scancel", &["--me".into(), format!("--name={name}")])?;
    Ok(Some(format!("{} called {name} ended", plural(alive, "job"))))
}

/// Whether the study whose folder of work begins at `home` has jobs that wait or run. Where Slurm does not say, it may have some.
pub fn has_jobs(profile: &Profile, home: &Path) -> bool {
    let named = || anyhow::Ok(format!("fastrcaps-{}", study_id(home)?));
    let reach = Reach::of(profile);
    let count = || patiently(|| alive(&reach, &named()?), |_| false);
    home.join("id").is_file() && count().map_or(true, |count| count > 0)
}

/// Jobs called `name` that wait or run.
fn alive(reach: &Reach, name: &str) -> Result<usize> {
    let lines = control::look(reach, name)?;
    let alive = lines.iter().filter(|line| line.is_alive());
    Ok(alive.flat_map(|line| &line.tasks).map(|(first, last)| last + 1 - first).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_site_allows_is_read_from_what_its_slurm_says() {
        assert_eq!(most_tasks("MaxArraySize            = 1001\n"), 1000);
        assert_eq!(most_tasks("SchedulerParameters = a=1,max_array_tasks=50,b\nMaxArraySize = 1001\n"), 50);
        assert_eq!(most_tasks("nothing"), MOST_TASKS);
        let said = "PartitionName=main Default=YES MaxTime=1-02:00:00 State=UP\nPartitionName=short Default=NO MaxTime=00:30:00\n\
                    PartitionName=free Default=NO MaxTime=UNLIMITED\n";
        let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
        assert_eq!(longest(said, None), minutes(26 * 60));
        assert_eq!(longest(said, Some("short")), minutes(30));
        assert_eq!(longest(said, Some("main,short")), minutes(30));
        assert_eq!(longest(said, Some("free")), None);
        assert_eq!(longest("", None), None);
    }

    #[test]
    fn a_copied_study_has_another_name_for_its_jobs_and_a_moved_one_keeps_its() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let id = study_id(&at("a")).unwrap();
        assert_eq!(study_id(&at("a")).unwrap(), id);
        fs::create_dir(at("b")).unwrap();
        fs::copy(at("a/id"), at("b/id")).unwrap();
        let other = study_id(&at("b")).unwrap();
        assert_ne!(other, id);
        assert_eq!(study_id(&at("b")).unwrap(), other);
        fs::rename(at("a"), at("c")).unwrap();
        assert_eq!(study_id(&at("c")).unwrap(), id);
    }
}

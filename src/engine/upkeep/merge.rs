//! Takes the finished trials of other studies up into one, of those configurations that both declare.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    path::Path,
};

use anyhow::{Context, Result, bail};

use super::{End, check_config, check_idle, check_weights, entries, name, shapes_of};
use crate::{
    learn::{
        folder::{TrialFolder, trials_folder},
        record::{Status, TrialRecord},
    },
    present::{derived, report::view::StudyView},
    search::{
        journal::Journal,
        study::{self, Lock, Plan, Study, UNFINISHED_FOLDER},
    },
    timing::sets::TimeSet,
};

/// What a merge did.
#[derive(Debug, Default)]
pub struct Merged {
    /// Trials taken up that had not ended here.
    pub taken: usize,
    /// Trials that had failed here, and ended well there.
    pub replaced: usize,
    /// Trials that ended in both: what was here stays.
    pub kept: usize,
    /// Trials that ended there and are none of this study's space.
    pub useless: usize,
    /// Trials that have ended in none of them.
    pub pending: usize,
    /// Folder of each trial that ended and cannot be trusted, and why.
    pub refused: Vec<(String, String)>,
    /// Builds, other than that of `into`, that trained what was taken up.
    pub other_builds: Vec<String>,
    /// Sets of times that were brought over, by the name that each has here.
    pub times: Vec<String>,
    /// Sets of times that were not, and why.
    pub times_refused: Vec<(String, String)>,
}

/// Takes up into `into` what ended in `others`, in their order. All are looked at before anything is written.
pub fn merge(into: &Study, others: &[Study], lock: &Lock) -> Result<Merged> {
    let plan = into.plan()?;
    let mut shared = Vec::new();
    for other in others {
        shared.push(Shared::new(into, &plan, other)?);
    }
    let replicates = shared.iter().map(|of| of.replicates).max().unwrap_or(0);
    into.grow(lock, replicates.saturating_sub(plan.space.replicates))?;
    let plan = into.plan()?;
    let mut journal = Journal::open(&into.journal())?;
    let mut view = StudyView::blank(into)?;
    view.update(&journal)?;
    super::take_up(into, &mut view, &mut journal)?;
    let mut merged = Merged { useless: shared.iter().map(|of| of.useless).sum(), ..Merged::default() };
    for (other, shared) in others.iter().zip(&shared) {
        for (at, key) in plan.keys.iter().enumerate().filter(|(_, key)| shared.keys.contains(*key)) {
            let here = view.records[at].as_ref().map(|record| record.status).filter(|status| status.is_final());
            let folder = other.trial(key);
            let fingerprint = &plan.file.data[&study::data_id(&plan.trials[at].config.data)];
            let Some((record, epochs)) = wanted(here, &folder, key, fingerprint, &mut merged) else { continue };
            copy_trial(&folder.path, into, key)?;
            journal.put(&record, &epochs)?;
            *(if here.is_some() { &mut merged.replaced } else { &mut merged.taken }) += 1;
            let build = record.git_revision.clone().unwrap_or_default();
            if !build.is_empty() && build != plan.file.git_revision && !merged.other_builds.contains(&build) {
                merged.other_builds.push(build);
            }
            (view.records[at], view.epochs[at]) = (Some(record), epochs);
        }
    }
    let has_ended = |record: &Option<TrialRecord>| record.as_ref().is_some_and(|record| record.status.is_final());
    let shapes = shapes_of(&plan);
    for other in others {
        bring_times(into, other, &shapes, &mut merged);
    }
    // They may be the first ones here.
    view.read_times(into);
    merged.pending = view.wanted().filter(|index| !has_ended(&view.records[*index])).count();
    derived::write_all(into, &view)?;
    Ok(merged)
}

/// What is to be taken up of a trial's folder, which is counted otherwise: where it ended `here` in the journal as it did there or
/// better, that stays; what cannot be trusted is refused.
fn wanted(
    here: Option<Status>,
    folder: &TrialFolder,
    key: &str,
    fingerprint: &str,
    merged: &mut Merged,
) -> Option<End> {
    let is_whole = |status| !matches!(status, Status::Failed | Status::Stopped);
    if here.is_some_and(is_whole) {
        merged.kept += usize::from(matches!(folder.read_end(key), Ok(Some(_))));
        return None;
    }
    match whole_end(folder, key, fingerprint) {
        Ok(Some((record, _))) if here.is_some() && !is_whole(record.status) => {
            merged.kept += 1;
            None
        }
        Ok(end) => end,
        Err(error) => {
            merged.refused.push((folder.path.display().to_string(), format!("{error:#}")));
            None
        }
    }
}

/// The end in a trial's folder, with configuration and weights held against it.
fn whole_end(folder: &TrialFolder, key: &str, fingerprint: &str) -> Result<Option<End>> {
    let Some(end) = folder.read_end(key)? else { return Ok(None) };
    if end.0.status != Status::Failed {
        check_config(folder, key, fingerprint)?;
        check_weights(folder, &end.0)?;
    }
    Ok(Some(end))
}

/// Brings the sets of times of `other` over, each for itself: those of the steps of `shapes`.
fn bring_times(into: &Study, other: &Study, shapes: &HashSet<String>, merged: &mut Merged) {
    let names = TimeSet::names(other).unwrap_or_else(|error| {
        merged.times_refused.push(("all".into(), format!("{error:#}")));
        Vec::new()
    });
    for name in names {
        match bring_set(into, other, shapes, &name) {
            Ok(brought) => merged.times.extend(brought),
            Err(error) => merged.times_refused.push((name, format!("{error:#}"))),
        }
    }
}

/// Brings a set of times over; gives the name that it has here, none where it was brought over before or has no step of
/// `shapes`. What is here stays as
/// it is: another set of the same name is brought over under a name of its own, with its host's.
fn bring_set(into: &Study, other: &Study, shapes: &HashSet<String>, name: &str) -> Result<Option<String>> {
    let Some(mut set) = TimeSet::read(other, name)? else { return Ok(None) };
    set.shapes.retain(|id, _| shapes.contains(id));
    set.samples.retain(|sample| shapes.contains(&sample.shape));
    if set.shapes.is_empty() {
        return Ok(None);
    }
    let host: String = set.host.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    // The same host may have taken several: they get numbers.
    let mut number = 0;
    loop {
        let free = match number {
            0 => name.to_string(),
            1 => format!("{name}-{host}"),
            _ => format!("{name}-{host}-{number}"),
        };
        let brought = TimeSet { name: free.clone(), ..set.clone() };
        match TimeSet::read(into, &free)? {
            None => {
                brought.write(into)?;
                return Ok(Some(free));
            }
            Some(here) if here == brought => return Ok(None),
            Some(_) => number += 1,
        }
    }
}

/// What another study has for one.
struct Shared {
    /// Keys of the trials of configurations that both declare.
    keys: HashSet<String>,
    /// How often the other has begun to train one of these configurations, at most.
    replicates: usize,
    /// Trials of other configurations that ended there.
    useless: usize,
}

impl Shared {
    /// Errors: they are of other versions, on other data, or have no configuration in common.
    fn new(into: &Study, plan: &Plan, other: &Study) -> Result<Shared> {
        let (here, there) = (into.folder.display(), other.folder.display());
        if fs::canonicalize(&into.folder).ok() == fs::canonicalize(&other.folder).ok() {
            bail!("{there} is the study that it would be merged into");
        }
        let of_other = other.plan()?;
        if of_other.file.fastrcaps_version != plan.file.fastrcaps_version {
            bail!(
                "{there} was made by fastrcaps {}, {here} by {}: their trials are not comparable",
                of_other.file.fastrcaps_version,
                plan.file.fastrcaps_version
            );
        }
        if of_other.is_on_other_data(plan) {
            bail!("{there} is a study on other data than {here}: their trials are not comparable");
        }
        let declared: HashSet<&String> = plan.configurations().iter().collect();
        let mut shared = Shared { keys: HashSet::new(), replicates: 0, useless: 0 };
        for (trial, key) in of_other.trials.iter().zip(&of_other.keys) {
            let folder = other.trial(key);
            if declared.contains(&of_other.keys[trial.candidate]) {
                shared.keys.insert(key.clone());
                if folder.path.exists() {
                    shared.replicates = shared.replicates.max(trial.replicate + 1);
                }
            } else {
                shared.useless += usize::from(matches!(folder.read_end(key), Ok(Some(_))));
            }
        }
        if shared.keys.is_empty() {
            let (here, there) = (here.to_string(), there.to_string());
            bail!(
                "{there} has nothing for {here}: none of its {} configurations is in the space of {here}{}. Explore a space \
                 that has both into {here} first",
                of_other.configurations().len(),
                study::difference((&there, &of_other.space), (&here, &plan.space))
            );
        }
        Ok(shared)
    }
}

/// Copies a trial's folder, whole or not at all, in the place of what is there.
fn copy_trial(from: &Path, into: &Study, key: &str) -> Result<()> {
    let trials = trials_folder(&into.folder);
    let there = into.trial(key);
    there.check_place()?;
    check_idle(&there)?;
    let copy = || -> Result<()> {
        fs::create_dir_all(&trials)?;
        let fresh = tempfile::Builder::new().prefix(UNFINISHED_FOLDER).tempdir_in(&trials)?;
        for path in entries(from)?.iter().filter(|path| TrialFolder::holds(name(path))) {
            // Links, and what no trial makes, stay where they are.
            if fs::symlink_metadata(path)?.is_file() {
                let to = fresh.path().join(path.file_name().unwrap_or_default());
                fs::copy(path, &to)?;
                File::open(&to)?.sync_all()?;
            }
        }
        #[cfg(unix)]
        {
            fs::set_permissions(fresh.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
            File::open(fresh.path())?.sync_all()?;
        }
        let place = there.path.clone();
        // A folder cannot take the place of one that holds something: the old one steps aside, and goes once the new one
        // stands there. Where this process dies between, the next explorer brings it back.
        let aside = tempfile::Builder::new().prefix(UNFINISHED_FOLDER).tempdir_in(&trials)?;
        let old = aside.path().join(key);
        if place.exists() {
            fs::rename(&place, &old)?;
        }
        if let Err(error) = fs::rename(fresh.path(), &place) {
            if old.exists() && fs::rename(&old, &place).is_err() {
                let kept = aside.keep().join(key);
                bail!("{error}; what was there is kept as {}: move it back", kept.display());
            }
            return Err(error.into());
        }
        // What a user put there goes on to the new one; it must not go with the old one.
        if old.exists()
            && let Err(error) = TrialFolder::new(&old).hand_over(&there)
        {
            let kept = aside.keep().join(key);
            bail!("{error:#}; it is kept in {}", kept.display());
        }
        #[cfg(unix)]
        File::open(&trials)?.sync_all()?;
        Ok(())
    };
    copy().with_context(|| format!("cannot copy {} into {}", from.display(), trials.display()))
}

/// Hosts that trained what a study holds, with how many trials of each: times compare within one only.
pub fn hosts(view: &StudyView) -> Vec<(String, usize)> {
    let mut of: HashMap<&str, usize> = HashMap::new();
    for record in view.records.iter().flatten().filter(|record| record.status == Status::Done) {
        *of.entry(record.host.as_deref().unwrap_or("unknown")).or_default() += 1;
    }
    let mut hosts: Vec<(String, usize)> = of.into_iter().map(|(host, count)| (host.to_string(), count)).collect();
    hosts.sort();
    hosts
}

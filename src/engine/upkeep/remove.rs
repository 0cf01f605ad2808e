//! Takes a study away, or single trials out of it.

use std::{collections::HashSet, fs, path::PathBuf};

use anyhow::{Context, Result, bail};

use super::{check_idle, entries};
use crate::{
    base::files::{is_link, remove_if_there},
    learn::folder::{TrialFolder, trials_folder},
    present::{derived, report::view::StudyView},
    search::{
        journal::Journal,
        study::{
            Lock, Study,
            holdings::{FolderKind, Holdings},
        },
    },
};

/// What a study that is to be removed holds.
#[derive(Debug)]
pub struct Extent {
    /// The folder, without links on the way to it.
    pub folder: PathBuf,
    /// The study's files, and their bytes.
    pub files: usize,
    pub bytes: u64,
    /// What lies in the folder and is not the study's: it stays.
    pub others: Vec<PathBuf>,
    /// Those of its trials, where they are known.
    keys: Option<HashSet<String>>,
}

/// Looks at what would be removed; an error where this is no study's folder.
pub fn extent(study: &Study) -> Result<Extent> {
    let path = &study.folder;
    if is_link(path) {
        bail!("{} is a link: give the folder that it leads to", path.display());
    }
    let declaration = path.join("study.toml");
    if is_link(&declaration) {
        bail!("{} is a link, and a study has a file there: nothing is removed", declaration.display());
    }
    // What an interrupted removal left goes too.
    if !study.is_removed_by_half() {
        // A damaged study may be removed, a folder that never was one may not.
        let declared = fs::read(&declaration).with_context(|| {
            format!("{} is no study folder, it has no study.toml: nothing is removed", path.display())
        })?;
        if study.read().is_err() && !String::from_utf8_lossy(&declared).contains("fastrcaps_version") {
            bail!("{} was not written by fastrcaps: nothing is removed", declaration.display());
        }
    }
    let folder = fs::canonicalize(path).with_context(|| format!("cannot find {}", path.display()))?;
    let keys = study.keys();
    let Holdings { files, unfinished, bytes, others, .. } = Holdings::of(&folder, FolderKind::Study, keys.as_ref())?;
    Ok(Extent { folder, files: files.len() + unfinished.len(), bytes, others, keys })
}

/// Removes the files and folders of a study, and its folder where nothing else is in it. Of a link nothing is removed, nor
/// is what it leads to. Gives what stays.
pub fn remove(extent: &Extent, _lock: &Lock) -> Result<Vec<PathBuf>> {
    let path = &extent.folder;
    for trial in entries(&trials_folder(path))? {
        check_idle(&TrialFolder::new(trial)).context("nothing is removed")?;
    }
    let mut holdings = Holdings::of(path, FolderKind::Study, extent.keys.as_ref())?;
    // First what makes it a study, which one that is removed by half is not; last what says that it is being removed.
    holdings.files.sort_by_key(|file| file.ends_with("study.lock"));
    remove_if_there(&path.join("study.toml"))?;
    holdings.remove()?;
    match holdings.others {
        // Something came meanwhile.
        others if others.is_empty() => entries(path),
        others => Ok(others),
    }
}

/// Removes trials, which are pending then; gives how many of them had been started, and what in their folders is no
/// trial's: it stays.
pub fn remove_trials(study: &Study, keys: &[String], _lock: &Lock) -> Result<(usize, Vec<PathBuf>)> {
    let mut view = StudyView::blank(study)?;
    for key in keys {
        if !view.keys.contains(key) {
            bail!("the study {} has no trial {key}; trials.csv lists them", study.folder.display());
        }
        for folder in [TrialFolder::new(trials_folder(&study.folder)), study.trial(key)] {
            folder.check_place().and_then(|()| check_idle(&folder)).context("nothing is removed")?;
        }
    }
    let mut journal = Journal::open(&study.journal())?;
    let (mut started, mut others) = (0, Vec::new());
    for folder in keys.iter().map(|key| study.trial(key)).filter(|folder| folder.path.exists()) {
        // First the folder's end, which would be taken up again.
        remove_if_there(&folder.path.join("trial.json"))?;
        let holdings = Holdings::of(&folder.path, FolderKind::Trial, None)?;
        holdings.remove()?;
        others.extend(holdings.others);
        started += 1;
    }
    started = journal.remove(keys)?.max(started);
    view.update(&journal)?;
    derived::write_all(study, &view)?;
    Ok((started, others))
}

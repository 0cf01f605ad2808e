//! Takes a study away, or single trials out of it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::{check_idle, entries};
use crate::{
    folder::{TrialFolder, trials_folder},
    journal::Journal,
    report::{self, view::StudyView},
    study::{Lock, Study},
};

/// What a study that is to be removed holds.
#[derive(Debug)]
pub struct Extent {
    /// The folder, without links on the way to it.
    pub folder: PathBuf,
    pub files: usize,
    pub bytes: u64,
}

/// Looks at what would be removed; an error where this is no study's folder.
pub fn extent(study: &Study) -> Result<Extent> {
    let path = &study.folder;
    let is_link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    if is_link {
        bail!("{} is a link: give the folder that it leads to", path.display());
    }
    // A damaged study may be removed, a folder that never was one may not.
    let declared = fs::read(path.join("study.toml"))
        .with_context(|| format!("{} is no study folder, it has no study.toml: nothing is removed", path.display()))?;
    if study.read().is_err() && !String::from_utf8_lossy(&declared).contains("fastrcaps_version") {
        bail!("{} was not written by fastrcaps: nothing is removed", path.join("study.toml").display());
    }
    let folder = fs::canonicalize(path).with_context(|| format!("cannot find {}", path.display()))?;
    let (files, bytes) = size(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    Ok(Extent { folder, files, bytes })
}

/// Files under a folder and their bytes; links are counted and not followed.
fn size(folder: &Path) -> io::Result<(usize, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            let (inner, more) = size(&entry.path())?;
            (files, bytes) = (files + inner, bytes + more);
        } else {
            (files, bytes) = (files + 1, bytes + entry.metadata()?.len());
        }
    }
    Ok((files, bytes))
}

/// Removes a study's folder with all that is in it. Of a link the link goes, and what it leads to stays.
pub fn remove(extent: &Extent, _lock: &Lock) -> Result<()> {
    let path = &extent.folder;
    for trial in entries(&trials_folder(path))? {
        check_idle(&TrialFolder::new(trial)).context("nothing is removed")?;
    }
    // First what makes it a study: one that is removed by half is none.
    fs::remove_file(path.join("study.toml"))
        .and_then(|()| fs::remove_dir_all(path))
        .with_context(|| format!("cannot remove {}", path.display()))
}

/// Removes trials, which are pending then; gives how many of them had been started.
pub fn remove_trials(study: &Study, keys: &[String], _lock: &Lock) -> Result<usize> {
    let mut view = StudyView::blank(study)?;
    for key in keys {
        if !view.keys.contains(key) {
            bail!("the study {} has no trial {key}; trials.csv lists them", study.folder.display());
        }
        check_idle(&study.trial(key)).context("nothing is removed")?;
    }
    let mut journal = Journal::open(&study.journal())?;
    // First the folder's end, which would be taken up again.
    let mut started = 0;
    for key in keys {
        let folder = study.trial(key).path;
        let metadata = fs::symlink_metadata(&folder);
        let context = || format!("cannot remove {}", folder.display());
        match metadata {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(metadata) if metadata.is_dir() => {
                match fs::remove_file(folder.join("trial.json")) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).with_context(context),
                    _ => {}
                }
                started += 1;
                fs::remove_dir_all(&folder).with_context(context)?;
            }
            // A link, or a file in the way: it goes, and nothing behind it.
            _ => fs::remove_file(&folder).with_context(context)?,
        }
    }
    started = journal.remove(keys)?.max(started);
    view.update(&journal)?;
    report::write_all(study, &view)?;
    Ok(started)
}

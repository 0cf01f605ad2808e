//! What is done to a study beside exploring it: checked, made whole again, joined with another, packed, removed, watched.

pub mod check;
pub mod explain;
pub mod export;
pub mod merge;
pub mod rebuild;
pub mod remove;
pub mod status;

use std::{
    collections::HashSet,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    base::{
        files::{is_unfinished, name, remove_if_there, write_atomically},
        seal,
    },
    learn::{
        config::TrialConfig,
        folder::TrialFolder,
        record::{EpochRow, Status, TrialRecord},
    },
    present::report::view::StudyView,
    search::{
        journal::Journal,
        strategy::Audit,
        study::{Plan, Study},
    },
    timing::shape::steps_of,
};

/// The file that keeps what an audit found.
const AUDIT: &str = "audit.json";

/// How a trial ended, with its epochs.
pub type End = (TrialRecord, Vec<EpochRow>);

/// Puts into the journal what ended in its folder without the journal knowing of the end: its explorer died between the
/// two. The view's records follow. Gives how many there were.
pub fn take_up(study: &Study, view: &mut StudyView, journal: &mut Journal) -> Result<usize> {
    let mut taken = 0;
    for ((key, place), rows) in view.keys.iter().zip(&mut view.records).zip(&mut view.epochs) {
        if place.as_ref().is_some_and(|record| record.status.is_final()) {
            continue;
        }
        // What cannot be read is trained again, and so is what failed without an explorer to judge whose fault it was.
        let was_running = place.as_ref().is_some_and(|record| record.status == Status::Running);
        if let Ok(Some((record, epochs))) = study.trial(key).read_end(key)
            && !(was_running && record.status == Status::Failed)
        {
            journal.put(&record, &epochs)?;
            (*place, *rows) = (Some(record), epochs);
            taken += 1;
        }
    }
    Ok(taken)
}

/// Keeps in the study what an audit found, in the place of what an earlier one did.
pub fn keep_audit(study: &Study, audit: Option<&Audit>) -> Result<()> {
    let path = study.folder.join(AUDIT);
    match audit {
        Some(audit) => write_atomically(&path, &seal::to_json(audit)?),
        None => remove_if_there(&path),
    }
}

/// What the last audit of a study found; none where there was none, or its file is damaged.
pub fn audit(study: &Study) -> Option<Audit> {
    seal::from_json(&fs::read(study.folder.join(AUDIT)).ok()?).ok()
}

/// An error unless the folder's config is that of trial `key` on data of `fingerprint`.
fn check_config(folder: &TrialFolder, key: &str, fingerprint: &str) -> Result<()> {
    let path = folder.config();
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let table = toml::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
    let found = TrialConfig::resolve(table).with_context(|| format!("{} is damaged", path.display()))?.key(fingerprint);
    if found != key {
        bail!("{} is the configuration of another trial, {found}", path.display());
    }
    Ok(())
}

/// An error unless the weights are those that the record speaks of; one that left none needs none.
fn check_weights(folder: &TrialFolder, record: &TrialRecord) -> Result<()> {
    let path = folder.weights();
    if record.best_epoch.is_none() && record.weights_sha256.is_none() {
        return Ok(());
    }
    let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let Some(wanted) = &record.weights_sha256 else { return Ok(()) };
    let found = seal::sha256_of(file).with_context(|| format!("cannot read {}", path.display()))?;
    if found != *wanted {
        bail!("{} was changed or damaged: its SHA-256 is {found}, the trial's record says {wanted}", path.display());
    }
    Ok(())
}

/// The shapes of all steps that a study's trainings have.
fn shapes_of(plan: &Plan) -> HashSet<String> {
    let configs = plan.expansion.candidates.iter().map(|candidate| &candidate.config);
    configs.flat_map(|config| steps_of(config, config.train.epochs)).map(|(shape, _)| shape.id()).collect()
}

/// Everything directly in `folder`, by name; nothing where there is none.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let context = || format!("cannot list {}", folder.display());
    let listed = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.with_context(context)?,
    };
    let mut paths = Vec::new();
    for entry in listed {
        paths.push(entry.with_context(context)?.path());
    }
    paths.sort();
    Ok(paths)
}

/// Whether this is a file, or a folder, that was being written when its writer died.
fn is_temporary(path: &Path) -> bool {
    is_unfinished(name(path))
}

/// An error where a process trains in a folder that is to be changed.
fn check_idle(folder: &TrialFolder) -> Result<()> {
    // Of a link what it leads to is not touched.
    let is_link = fs::symlink_metadata(&folder.path).is_ok_and(|metadata| metadata.is_symlink());
    // Who trains has made it and holds it.
    let path = folder.path.join("trial.lock");
    if is_link || !path.exists() {
        return Ok(());
    }
    let lock = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
    if let Err(TryLockError::WouldBlock) = lock.try_lock_shared() {
        bail!(
            "a process trains in {}: end it, or wait for it (`fuser -v {}` names it)",
            folder.path.display(),
            path.display()
        );
    }
    Ok(())
}

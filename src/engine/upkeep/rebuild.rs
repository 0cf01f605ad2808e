//! Makes a study's journal again from the folders of its trials.

use std::{fs, path::PathBuf, time::SystemTime};

use anyhow::{Context, Result};

use super::{End, check_config};
use crate::{
    base::{files::write_through, machine},
    learn::record::Status,
    present::{derived, report::view::StudyView},
    search::{
        journal::Journal,
        study::{self, Lock, Study},
    },
};

/// What a rebuilding took up.
#[derive(Debug, Default)]
pub struct Rebuilt {
    pub done: usize,
    pub diverged: usize,
    pub failed: usize,
    pub stopped: usize,
    /// Trials without an end: the next exploration trains them.
    pub pending: usize,
    /// Keys of trials that left an end that cannot be trusted, and why.
    pub refused: Vec<(String, String)>,
    /// Where the journal that was there is kept.
    pub kept: Option<PathBuf>,
}

/// Makes the journal again, and what derives from it.
pub fn rebuild(study: &Study, _lock: &Lock) -> Result<Rebuilt> {
    let plan = study.plan()?;
    let mut rebuilt = Rebuilt::default();
    let mut ends: Vec<End> = Vec::new();
    for (trial, key) in plan.trials.iter().zip(&plan.keys) {
        let folder = study.trial(key);
        let fingerprint = &plan.file.data[&study::data_id(&trial.config.data)];
        let whole = || -> Result<Option<End>> {
            let end = folder.read_end(key)?;
            if end.as_ref().is_some_and(|(record, _)| record.status != Status::Failed) {
                check_config(&folder, key, fingerprint)?;
            }
            Ok(end)
        };
        match whole() {
            Ok(Some(end)) => ends.push(end),
            Ok(None) => {}
            Err(error) => rebuilt.refused.push((key.clone(), format!("{error:#}"))),
        }
    }
    // In the order of their ends, as a journal has them.
    ends.sort_by(|(a, _), (b, _)| a.ended.cmp(&b.ended));
    for (record, _) in &ends {
        match record.status {
            Status::Diverged => rebuilt.diverged += 1,
            Status::Failed => rebuilt.failed += 1,
            Status::Stopped => rebuilt.stopped += 1,
            _ => rebuilt.done += 1,
        }
    }
    let path = study.journal();
    write_through(&path, |temporary| {
        let mut journal = Journal::open(temporary)?;
        journal.put_all(ends.iter().map(|(record, epochs)| (record, epochs.as_slice())))?;
        drop(journal);
        rebuilt.kept = keep_old(study)?;
        Ok(())
    })?;
    let mut view = StudyView::blank(study)?;
    let journal = Journal::read(&path)?;
    view.update(&journal)?;
    let has_ended = |index: &usize| view.records[*index].is_some();
    rebuilt.pending = view.wanted().filter(|index| !has_ended(index)).count();
    derived::write_all(study, &view)?;
    Ok(rebuilt)
}

/// Keeps the old journal beside the new one, and moves what would be taken for the new one's rollback out of its way.
fn keep_old(study: &Study) -> Result<Option<PathBuf>> {
    let path = study.journal();
    // Has SQLite take back what a commit left unfinished, so that the old journal stands for itself, also where this
    // process dies before the new one is in its place. One that cannot be opened so far has nothing to lose.
    drop(Journal::read(&path));
    let now = machine::rfc3339(SystemTime::now()).replace(':', "");
    let named = |number: usize, suffix: &str| {
        let number = if number > 0 { format!("-{number}") } else { String::new() };
        study.folder.join(format!("journal.sqlite.bak-{now}{number}{suffix}"))
    };
    // Someone rebuilding twice within a second ends at a free number.
    let number = (0..).find(|number| !named(*number, "").exists()).unwrap_or_default();
    let kept = named(number, "");
    let context = || format!("cannot keep the old journal as {}", kept.display());
    let there = path.exists();
    if there {
        // A second name, so that there is a journal at every moment; a file system without those gets a copy.
        fs::hard_link(&path, &kept).or_else(|_| fs::copy(&path, &kept).map(|_| ())).with_context(context)?;
    }
    for suffix in ["-journal", "-wal", "-shm"] {
        let stale = study.folder.join(format!("journal.sqlite{suffix}"));
        if stale.exists() {
            fs::rename(&stale, named(number, suffix)).with_context(context)?;
        }
    }
    Ok(there.then_some(kept))
}

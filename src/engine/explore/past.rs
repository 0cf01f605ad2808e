//! What earlier explorations know of a study's trials.

use std::collections::HashSet;

use anyhow::Result;

use crate::{
    engine::upkeep,
    learn::record::{EpochRow, Status, TrialRecord},
    present::report::view::StudyView,
    search::{
        dispatch::Past,
        journal::Journal,
        study::{Study, StudyFile},
        worker::Worker,
    },
};

/// Replicates that an earlier exploration of the study was asked for beyond those of its space; 0 where it was for none.
pub(super) fn asked_before(study: &Study) -> usize {
    let is_more =
        |file: &StudyFile| file.space("its space").is_ok_and(|space| file.asked_replicates > space.replicates);
    study.read().ok().filter(is_more).map_or(0, |file| file.asked_replicates)
}

/// What earlier runs know of every trial. What an earlier explorer left running is pending again, once `worker` has seen to it.
/// An end that the journal lacks, though its folder holds it, is taken up first: no trial is trained twice.
pub(super) fn of_study(
    study: &Study,
    journal: &mut Journal,
    worker: &mut dyn Worker,
    reopens: bool,
) -> Result<Vec<Past>> {
    let mut view = StudyView::read(study)?;
    let mut adopted: Vec<(usize, usize)> = Vec::new();
    for (trial, record) in view.records.iter().enumerate() {
        if let Some(record) = record.as_ref().filter(|record| record.status == Status::Running) {
            adopted.extend(worker.adopt(&study.trial(&record.key))?.map(|slot| (trial, slot)));
        }
    }
    upkeep::take_up(study, &mut view, journal)?;
    let mut past = of_view(study, &view, reopens);
    for (trial, slot) in adopted {
        (past[trial].status, past[trial].running_in) = (Status::Running, Some(slot));
    }
    for (record, past) in view.records.into_iter().zip(&past) {
        if let Some(record) = record.filter(|record| record.status != past.status) {
            journal.put(&TrialRecord { status: past.status, ..record }, &[])?;
        }
    }
    Ok(past)
}

/// What a study that nobody else explores knows of every trial. `reopens` has those go on that a searcher gave up: another one
/// may not.
pub(super) fn of_view(study: &Study, view: &StudyView, reopens: bool) -> Vec<Past> {
    let past = |(record, epochs): (&Option<TrialRecord>, &Vec<EpochRow>)| {
        let Some(record) = record else { return Past::NONE };
        let folder = study.trial(&record.key);
        let (status, epochs) = match record.status {
            Status::Done | Status::Diverged | Status::Failed => (record.status, epochs.clone()),
            Status::Stopped if !reopens => (record.status, epochs.clone()),
            // Its epochs are known, whether or not its checkpoint is there still.
            Status::Paused => (record.status, epochs.clone()),
            Status::Pending | Status::Running | Status::Stopped if folder.checkpoint().exists() => {
                (Status::Pending, folder.read_epochs().unwrap_or_default())
            }
            Status::Pending | Status::Running | Status::Stopped => (Status::Pending, Vec::new()),
        };
        Past { status, attempts: record.attempts, epochs, running_in: None }
    };
    view.records.iter().zip(&view.epochs).map(past).collect()
}

/// A trial's past where what failed is trained again, if it is.
pub(super) fn retried(past: &Past, retry_failed: bool) -> Past {
    match past.status {
        Status::Failed if retry_failed => Past { status: Status::Pending, ..past.clone() },
        _ => past.clone(),
    }
}

/// Of a study that was extended from the trials `before`, those of `asked` that have ended, and those that are new.
pub(super) fn extension(before: &HashSet<String>, asked: &[String], past: &[Past]) -> (usize, usize) {
    let ended = past.iter().filter(|past| past.status.is_final()).count();
    let is_new =
        |(key, past): &(&String, &Past)| !before.contains(*key) && past.attempts == 0 && !past.status.is_final();
    (ended, asked.iter().zip(past).filter(is_new).count())
}

/// Lets those of the trials in `order` that failed be trained again; the others keep their ends, and the reasons for them.
pub(super) fn try_again(study: &Study, journal: &mut Journal, order: &[usize], past: &mut [Past]) -> Result<()> {
    let view = StudyView::read(study)?;
    for index in order {
        if past[*index].status != Status::Failed {
            continue;
        }
        past[*index].status = Status::Pending;
        if let Some(record) = &view.records[*index] {
            journal.put(&TrialRecord { status: Status::Pending, ..record.clone() }, &[])?;
        }
    }
    Ok(())
}

//! Why a configuration was trained on, paused or stopped.

use anyhow::{Result, bail};
use serde::Serialize;

use crate::{
    learn::record::Status,
    present::report::view::StudyView,
    search::{
        journal::{Journal, Noted},
        study::Study,
    },
};

/// Names that an error lists.
const NAMED: usize = 5;

/// All that was decided about a configuration.
#[derive(Debug, Serialize)]
pub struct Account {
    pub configuration: String,
    pub trials: Vec<OfTrial>,
}

/// All that was decided about one of its trials.
#[derive(Debug, Serialize)]
pub struct OfTrial {
    pub key: String,
    pub replicate: usize,
    /// How it stands: as in trials.csv.
    pub status: &'static str,
    /// Epochs that it has completed and the journal holds.
    pub epochs: usize,
    /// Why it ended so, where its record says.
    pub reason: Option<String>,
    pub decisions: Vec<Noted>,
}

/// Tells of a configuration, by its name or the key of one of its trials.
///
/// Errors: no such configuration; a study or journal that cannot be read.
pub fn explain(study: &Study, configuration: &str) -> Result<Account> {
    let view = StudyView::read(study)?;
    let decisions = Journal::read(&study.journal())?.decisions()?;
    let candidates = &view.expansion.candidates;
    let by_name = candidates.iter().position(|candidate| candidate.label == configuration);
    let by_key = || view.keys.iter().position(|key| key == configuration).map(|at| view.trials[at].candidate);
    let Some(candidate) = by_name.or_else(by_key) else {
        let names: Vec<&str> = candidates.iter().take(NAMED).map(|candidate| candidate.label.as_str()).collect();
        bail!(
            "{} has no configuration {configuration:?}: give a name as in trials.csv, such as {}, or the key of a trial",
            study.folder.display(),
            names.join("; ")
        );
    };
    let of_trial = |index: usize| {
        let (key, record) = (&view.keys[index], view.records[index].as_ref());
        OfTrial {
            key: key.clone(),
            replicate: view.trials[index].replicate,
            status: record.map_or(Status::Pending, |record| record.status).as_str(),
            epochs: record.map_or(0, |record| record.epochs),
            reason: record.and_then(|record| record.error.clone()),
            decisions: decisions.iter().filter(|of| of.key == *key).cloned().collect(),
        }
    };
    let trials = view.wanted().filter(|index| view.trials[*index].candidate == candidate).map(of_trial).collect();
    Ok(Account { configuration: candidates[candidate].label.clone(), trials })
}

//! What an exploration declares its study to be, and the data that it is of.

use std::{
    collections::{BTreeMap, HashSet, btree_map::Entry},
    time::SystemTime,
};

use anyhow::Result;

use super::{Event, Exploration, Observer, Scope};
use crate::{
    base::machine,
    learn::data::{self, DataConfig, DataDirs, verify},
    search::{
        space::Trial,
        study::{self, Declared, Lock, Plan, Study, StudyFile},
    },
};

impl Exploration {
    /// Declares what is explored in the study, which nobody else explores from now on. Gives its plan, with what earlier
    /// explorations added to it, and where this one extends it, the keys of the trials that had been asked for.
    pub(super) fn begin(
        &self,
        scope: &Scope,
        observer: &mut Observer,
    ) -> Result<(Lock, Plan, Option<HashSet<String>>)> {
        let asked = scope.expansion.trials(scope.first);
        let data_differences = differences(&asked, &self.data_dirs)?;
        if !data_differences.is_empty() {
            observer(&Event::OtherData { differences: &data_differences });
        }
        let selections = asked.iter().map(|trial| &trial.config.data);
        let declared = self.declared(scope, fingerprints(selections, BTreeMap::new(), &self.data_dirs)?)?;
        let declared = StudyFile { data_differences, ..declared };
        let lock = self.study.open()?;
        let Declared { begun_by, before } = self.study.declare(&lock, &declared)?;
        if begun_by != declared.git_revision {
            observer(&Event::OtherBuild { begun_by: &begun_by, build: &declared.git_revision });
        }
        let plan = self.study.plan()?;
        Ok((lock, plan, before))
    }

    pub(super) fn declared(&self, scope: &Scope, data: BTreeMap<String, String>) -> Result<StudyFile> {
        let keys = study::trial_keys(&scope.expansion.trials(self.space.replicates), &data)?;
        Ok(StudyFile {
            fastrcaps_version: machine::VERSION.into(),
            git_revision: machine::git_revision().unwrap_or_default(),
            created: machine::rfc3339(SystemTime::now()),
            identity: study::identity(&keys),
            further_replicates: scope.most - self.space.replicates,
            asked_replicates: scope.first,
            data,
            data_differences: Vec::new(),
            proposed: scope.proposed.clone(),
            name: self.space.name.clone(),
            set: self.space.sets().to_vec(),
            space: self.space.text().to_string(),
        })
    }
}

/// In what the data set that the trials train on is not the published one. Configurations of a space differ in nothing that says
/// which images there are.
fn differences(trials: &[Trial], dirs: &DataDirs) -> Result<Vec<String>> {
    trials.first().map_or(Ok(Vec::new()), |trial| verify::differences(trial.config.data.name, dirs))
}

/// Fingerprint of every selection of data, with those that are known; reads all of what is not, so that damage shows before a
/// start.
pub(super) fn fingerprints<'a>(
    selections: impl Iterator<Item = &'a DataConfig>,
    mut known: BTreeMap<String, String>,
    dirs: &DataDirs,
) -> Result<BTreeMap<String, String>> {
    for selection in selections {
        if let Entry::Vacant(entry) = known.entry(study::data_id(selection)) {
            entry.insert(data::load(selection, dirs)?.fingerprint);
        }
    }
    Ok(known)
}

/// Fingerprint of every selection of data that the trials train on, as far as the study knows it; of what it does not know,
/// it has no trial.
pub(super) fn fingerprints_of(study: &Study, trials: &[Trial]) -> BTreeMap<String, String> {
    let mut known = study.read().map(|file| file.data).unwrap_or_default();
    for trial in trials {
        known.entry(study::data_id(&trial.config.data)).or_default();
    }
    known
}

//! Beginnings of trials as files of the study: who leaves them, who takes them up, and when they go.

use std::{collections::HashSet, fs, path::PathBuf, time::Duration};

use super::{Dispatcher, running::Running, state::State};
use crate::{
    base::files::remove_unfinished,
    learn::train::beginning::Beginning,
    search::{beginnings::Branch, study},
};

/// Between looks at which are there.
const LISTED_EVERY: Duration = Duration::from_millis(200);

impl Dispatcher<'_> {
    /// The beginnings of up to `until` epochs that are there for a trial in a slot, the longest first. A trial that waits for its
    /// host may find more there when it begins: it is told of all.
    pub(super) fn beginnings_for(&self, trial: usize, slot: usize, until: usize) -> Vec<Beginning> {
        let branches = self.beginnings.branches(trial).iter().rev().filter(|branch| branch.epochs <= until);
        let may_be_there = |beginning: &Beginning| self.worker.is_elsewhere() || beginning.path.exists();
        branches.map(|branch| self.beginning(branch, slot)).filter(may_be_there).collect()
    }

    /// The beginnings that a trial, which begins after `behind` epochs or from the first of `from`, is to leave for others.
    pub(super) fn beginnings_of(
        &self,
        state: &State,
        trial: usize,
        slot: usize,
        behind: usize,
        from: &[Beginning],
    ) -> Vec<Beginning> {
        let first = from.first().filter(|_| !self.worker.is_elsewhere());
        let behind = first.map_or(behind, |longest| longest.epochs);
        let is_wanted = |branch: &&Branch| branch.epochs > behind && self.is_wanted(state, branch, Some(trial));
        let branches = self.beginnings.branches(trial).iter().filter(is_wanted);
        branches.map(|branch| self.beginning(branch, slot)).filter(|beginning| !beginning.path.exists()).collect()
    }

    /// Whether a trial waits for a beginning that is being trained, also where there is nothing else to do. An idle slot of this
    /// machine saves nothing; one of a cluster is a job that is not submitted. With --detach the explorer ends at once, so nothing may wait.
    pub(super) fn waits_for_beginnings(&self) -> bool {
        self.worker.is_elsewhere() && !self.limits.detach
    }

    /// Keys of the beginnings that what runs now comes to.
    pub(super) fn trained(&self, state: &State) -> HashSet<&str> {
        let of = |running: &Running| {
            let (behind, until) = (state.progress[running.trial].epochs.len(), running.until);
            // With so many epochs it is about to leave it.
            let ahead = move |branch: &&Branch| (behind..=until).contains(&branch.epochs);
            self.beginnings.branches(running.trial).iter().filter(ahead).map(|branch| branch.key.as_str())
        };
        state.running().flat_map(of).collect()
    }

    /// Whether what runs now will leave a trial more than it has: it had better wait, if there is something else to do. `trained` are
    /// the beginnings that what runs comes to.
    pub(super) fn is_held(&self, state: &State, trained: &HashSet<&str>, trial: usize, slot: usize) -> bool {
        let behind = state.progress[trial].epochs.len();
        let branches = self.beginnings.branches(trial).iter().rev().take_while(|branch| branch.epochs > behind);
        for branch in branches {
            if state.left.contains(&self.name_of(branch, slot)) {
                return false;
            }
            if trained.contains(branch.key.as_str()) {
                return true;
            }
        }
        false
    }

    /// Takes note of the beginnings that are there, now and then: there may be many who wait for them.
    pub(super) fn list_beginnings(&self, state: &mut State) {
        let now = self.worker.now();
        let is_new = state.listed.is_some_and(|listed| now.saturating_duration_since(listed) < LISTED_EVERY);
        if self.beginnings.is_empty() || is_new {
            return;
        }
        state.listed = Some(now);
        let entries = fs::read_dir(self.folder_of_beginnings()).into_iter().flatten().flatten();
        state.left = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    }

    /// Removes the beginnings that no trial will take up any more. What cannot be removed now is tried again after the next end.
    pub(super) fn remove_unwanted_beginnings(&self, state: &State) {
        let folder = self.folder_of_beginnings();
        let Ok(entries) = fs::read_dir(&folder) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            let Some(key) = study::key_of_beginning(&path) else { continue };
            let sharers = self.beginnings.sharers(key).iter();
            let branches = sharers.flat_map(|trial| self.beginnings.branches(*trial)).find(|branch| branch.key == key);
            if branches.is_none_or(|branch| !self.is_wanted(state, branch, None)) {
                let _ = fs::remove_file(&path);
            }
        }
        if state.running().next().is_none() {
            // Nothing of ours runs, so nothing of ours writes one. A job on a node that was cut off may: its beginning is lost then.
            let _ = remove_unfinished(&folder);
        }
        // Fails while there are others in it.
        let _ = fs::remove_dir(folder);
    }

    /// Whether a trial, `but` that one, has a beginning still before it.
    fn is_wanted(&self, state: &State, branch: &Branch, but: Option<usize>) -> bool {
        let is_before = |trial: &usize| {
            let progress = &state.progress[*trial];
            Some(*trial) != but && !progress.status.is_final() && progress.epochs.len() < branch.epochs
        };
        self.beginnings.sharers(&branch.key).iter().any(is_before)
    }

    fn beginning(&self, branch: &Branch, slot: usize) -> Beginning {
        let path = self.folder_of_beginnings().join(self.name_of(branch, slot));
        Beginning { epochs: branch.epochs, key: branch.key.clone(), path }
    }

    fn name_of(&self, branch: &Branch, slot: usize) -> String {
        study::name_of_beginning(&branch.key, self.worker.slots()[slot].place.is_cpu())
    }

    fn folder_of_beginnings(&self) -> PathBuf {
        self.worker.beginnings().unwrap_or_else(|| self.study.beginnings())
    }
}

//! Beginnings of trials as files of the study: who leaves them, who takes them up, and when they go.

use std::fs;

use super::{Dispatcher, state::State};
use crate::{
    learn::train::beginning::Beginning,
    search::{beginnings::Branch, study},
};

impl Dispatcher<'_> {
    /// The beginnings of up to `until` epochs that are there for a trial in a slot, the longest first.
    pub(super) fn beginnings_for(&self, trial: usize, slot: usize, until: usize) -> Vec<Beginning> {
        let branches = self.beginnings.branches(trial).iter().rev().filter(|branch| branch.epochs <= until);
        branches.map(|branch| self.beginning(branch, slot)).filter(|beginning| beginning.path.exists()).collect()
    }

    /// The beginnings that a trial, which begins after `behind` epochs, is to leave for others.
    pub(super) fn beginnings_of(&self, state: &State, trial: usize, slot: usize, behind: usize) -> Vec<Beginning> {
        let is_wanted = |branch: &&Branch| branch.epochs > behind && self.is_wanted(state, branch, Some(trial));
        let branches = self.beginnings.branches(trial).iter().filter(is_wanted);
        branches.map(|branch| self.beginning(branch, slot)).filter(|beginning| !beginning.path.exists()).collect()
    }

    /// Whether what runs now will leave a trial more than it has: it had better wait, if there is something else to do.
    pub(super) fn is_held(&self, state: &State, trial: usize, slot: usize) -> bool {
        let branches = self.beginnings.branches(trial);
        if branches.is_empty() {
            return false;
        }
        let behind = state.progress[trial].epochs.len();
        for branch in branches.iter().rev().take_while(|branch| branch.epochs > behind) {
            let trains_it = |other: usize| {
                let (progress, shares) = (&state.progress[other].epochs, self.beginnings.sharers(&branch.key));
                progress.len() < branch.epochs && shares.binary_search(&other).is_ok()
            };
            let mut running = state.running();
            if running.any(|other| other.until >= branch.epochs && trains_it(other.trial)) {
                return true;
            }
            if self.beginning(branch, slot).path.exists() {
                return false;
            }
        }
        false
    }

    /// Removes the beginnings that no trial will take up any more. What cannot be removed now is tried again after the next end.
    pub(super) fn remove_unwanted_beginnings(&self, state: &State) {
        let folder = self.study.beginnings();
        let Ok(entries) = fs::read_dir(&folder) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            let Some(key) = study::key_of_beginning(&path) else { continue };
            let sharers = self.beginnings.sharers(key).iter();
            let branches = sharers.flat_map(|trial| self.beginnings.branches(*trial)).find(|branch| branch.key == key);
            if branches.is_none_or(|branch| !self.is_wanted(state, branch, None)) {
                let _ = fs::remove_file(&path);
            }
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
        let is_on_cpu = self.worker.slots()[slot].place.is_cpu();
        let path = self.study.beginning(&branch.key, is_on_cpu);
        Beginning { epochs: branch.epochs, key: branch.key.clone(), path }
    }
}

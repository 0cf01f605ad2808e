//! Beginnings that trials share: which trainings are the same up to the end of some epoch, so that one of them trains it and
//! the others go on from there (stage trees; Shin et al., Hippo, VLDB 2022). Which they are follows from the configurations alone.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::search::space::Trial;

/// The end of an epoch up to which a trial is the same as another, and not beyond.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// Epochs completed.
    pub epochs: usize,
    /// Identity of the training up to there.
    pub key: String,
}

/// A stretch of a trial's epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    pub trial: usize,
    /// Epochs completed before and after.
    pub from: usize,
    pub to: usize,
}

/// What the trials of a set share. Trials go by their index.
#[derive(Clone, Debug, Default)]
pub struct Beginnings {
    /// Of each trial, by epochs.
    branches: Vec<Vec<Branch>>,
    /// The trials that share each beginning, by its key.
    sharers: HashMap<String, Vec<usize>>,
}

impl Beginnings {
    /// What `trials` share; `fingerprint` tells of the data of a trial.
    pub fn of<'a>(trials: &[Trial], fingerprint: impl Fn(&Trial) -> &'a str) -> Beginnings {
        let mut found = Beginnings { branches: vec![Vec::new(); trials.len()], sharers: HashMap::new() };
        let mut alike: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, trial) in trials.iter().enumerate() {
            // Before the first step: the same but for length and schedule.
            let start = trial.config.beginning_of_steps(&[0; 32], fingerprint(trial));
            alike.entry(start).or_default().push(index);
        }
        let mut digests = Digests::default();
        let mut open: Vec<(usize, Vec<usize>)> = alike.into_values().map(|trials| (0, trials)).collect();
        while let Some((epochs, mut members)) = open.pop() {
            if members.len() < 2 {
                continue;
            }
            let mut parts: BTreeMap<[u8; 32], Vec<usize>> = BTreeMap::new();
            for index in members.iter().filter(|index| trials[**index].config.train.epochs > epochs) {
                parts.entry(digests.after(&trials[*index], epochs + 1)).or_default().push(*index);
            }
            let is_parting = parts.len() != 1 || parts.values().any(|part| part.len() < members.len());
            if is_parting && epochs > 0 {
                let first = &trials[members[0]];
                let key = first.config.beginning_of_steps(&digests.after(first, epochs), fingerprint(first));
                for index in &members {
                    found.branches[*index].push(Branch { epochs, key: key.clone() });
                }
                members.sort_unstable();
                found.sharers.insert(key, members);
            }
            open.extend(parts.into_values().map(|part| (epochs + 1, part)));
        }
        found
    }

    /// The ends of the epochs up to which a trial is the same as others, ascending.
    pub fn branches(&self, trial: usize) -> &[Branch] {
        self.branches.get(trial).map_or(&[], Vec::as_slice)
    }

    /// The trials that share a beginning.
    pub fn sharers(&self, key: &str) -> &[usize] {
        self.sharers.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether the trials have nothing in common.
    pub fn is_empty(&self) -> bool {
        self.sharers.is_empty()
    }

    /// What need not be trained, as another trial before it has trained it.
    pub fn saved(&self) -> Vec<Stage> {
        let (mut saved, mut seen) = (Vec::new(), HashSet::new());
        for (trial, branches) in self.branches.iter().enumerate() {
            let mut from = 0;
            for branch in branches {
                if !seen.insert(&branch.key) {
                    saved.push(Stage { trial, from, to: branch.epochs });
                }
                from = branch.epochs;
            }
        }
        saved
    }
}

/// Hashes of steps, each computed once: replicates, and networks, have schedules in common.
#[derive(Default)]
struct Digests {
    /// By schedule, epochs and samples: after each epoch, as far as was asked.
    known: HashMap<(String, usize, usize), Vec<[u8; 32]>>,
}

impl Digests {
    /// Of the first `epochs` epochs of a trial, which has as many.
    fn after(&mut self, trial: &Trial, epochs: usize) -> [u8; 32] {
        let config = &trial.config;
        let (length, samples) = (config.train.epochs, config.data.counts().train);
        // Numbers and strings: what JSON can hold.
        let schedule = serde_json::to_string(&config.schedule).expect("a schedule is JSON");
        let known = self.known.entry((schedule, length, samples)).or_default();
        if known.len() < epochs {
            // The next epochs are asked for one after another: a few more than is wanted now are had for one walk.
            let wanted = (2 * epochs).min(length);
            *known = config.schedule.step_digests(length, samples).take(wanted).collect();
        }
        known[epochs - 1]
    }
}

//! Successive halving (Jamieson and Talwalkar 2016): all configurations train a little, the better part of them further.

use super::{Grid, Offer, Order, Proposal, Searcher, Strategy, Told};
use crate::{learn::record::Status, search::space::Trial};

pub(super) const HALVING: Strategy = Strategy {
    name: "halving",
    help: "Successive halving: again and again the most accurate third of the configurations goes on to three times the epochs, and \
           the baseline always does; the others are given up",
    reopens: false,
    gives_up: true,
    needs_costs: false,
    proposes: false,
    audits: false,
    searcher: |brief| {
        let order = Grid::of(brief, Order::Grid).trials().to_vec();
        Box::new(Halving::new(brief.trials, order, brief.baseline))
    },
};

/// Trains all configurations up to a first rung, the best third of them to the next, and so on to the end.
///
/// A rung is a share of a configuration's own epochs: the last is all of them, each before it a third of the next, as many as the
/// longest training has room for (1/3 and all of 3 to 8 epochs, 1/9, 1/3 and all of 9 to 26). Who goes on is decided once all have come to a
/// rung, so that it does not depend on which was first: by the mean over replicates of the best validation accuracy up to
/// there. The baseline always goes on, as everything is compared with it. Accuracy is all that counts: what is cheaper and
/// less accurate is given up, though it may be on the front.
pub struct Halving {
    order: Vec<usize>,
    /// Trials of each configuration, in the order in which configurations begin.
    groups: Vec<Group>,
    baseline: Option<usize>,
    /// Rungs below the last.
    rungs: u32,
}

struct Group {
    candidate: usize,
    trials: Vec<usize>,
    /// Epochs of its training.
    epochs: usize,
}

/// One of so many configurations goes on.
const OF: usize = 3;

impl Halving {
    /// Of the trials in `order`; `baseline` is the index of a configuration.
    pub fn new(trials: &[Trial], order: Vec<usize>, baseline: Option<usize>) -> Halving {
        let mut groups: Vec<Group> = Vec::new();
        for index in &order {
            let Trial { candidate, config, .. } = &trials[*index];
            match groups.iter_mut().find(|group| group.candidate == *candidate) {
                Some(group) => group.trials.push(*index),
                None => groups.push(Group { candidate: *candidate, trials: vec![*index], epochs: config.train.epochs }),
            }
        }
        let longest = groups.iter().map(|group| group.epochs).max().unwrap_or(1);
        Halving { order, groups, baseline, rungs: longest.max(1).ilog(OF) }
    }

    /// Epochs after which a configuration of so many is judged on a rung.
    fn epochs_on(&self, rung: u32, epochs: usize) -> usize {
        epochs.div_ceil(OF.pow(self.rungs - rung)).max(1)
    }

    /// The configurations that go on from a rung, and the others with their places, all from the best to the worst.
    fn judge<'a>(&self, told: &Told, rung: u32, mut groups: Vec<&'a Group>) -> (Vec<&'a Group>, Vec<&'a Group>) {
        let accuracy = |group: &Group| {
            let of = |trial: &usize| match told.progress[*trial].status {
                Status::Diverged | Status::Failed => None,
                _ => told.progress[*trial].accuracy_after(self.epochs_on(rung, group.epochs)),
            };
            let known: Option<Vec<f64>> = group.trials.iter().map(of).collect();
            known.map_or(f64::NEG_INFINITY, |known| known.iter().sum::<f64>() / known.len() as f64)
        };
        // Stable: on a tie the earlier one is better.
        groups.sort_by(|one, other| accuracy(other).total_cmp(&accuracy(one)));
        let best = groups.len().div_ceil(OF);
        let mut place = 0;
        groups.into_iter().partition(|group| {
            place += 1;
            place <= best || Some(group.candidate) == self.baseline
        })
    }
}

impl Searcher for Halving {
    fn propose(&self, told: &Told, slot: &Offer) -> Proposal {
        let mut going: Vec<&Group> = self.groups.iter().collect();
        for rung in 0..=self.rungs {
            let is_there = |trial: &usize, epochs: usize| {
                let progress = &told.progress[*trial];
                progress.status.is_final() || progress.is_resting() && progress.epochs.len() >= epochs
            };
            let mut is_waiting = false;
            for group in &going {
                // A training that has all of its epochs, and has not ended, goes on to its end.
                let epochs = self.epochs_on(rung, group.epochs);
                let is_last = epochs == group.epochs;
                let is_missing = |trial: &&usize| match is_last {
                    true => !told.progress[**trial].status.is_final(),
                    false => !is_there(trial, epochs),
                };
                for trial in group.trials.iter().filter(is_missing) {
                    if told.may_start(*trial, slot) {
                        return Proposal::Train { trial: *trial, epochs };
                    }
                    is_waiting = true;
                }
            }
            if is_waiting {
                return Proposal::Wait;
            }
            if rung == self.rungs {
                break;
            }
            let ranked = going.len();
            let (on, out) = self.judge(told, rung, going);
            for group in out {
                let pending = group.trials.iter().find(|trial| told.progress[**trial].is_resting());
                if let Some(trial) = pending {
                    let epochs = self.epochs_on(rung, group.epochs);
                    let accuracy = told.progress[*trial].accuracy_after(epochs).unwrap_or(f64::NAN);
                    let reason = format!(
                        "halving: validation accuracy {:.2} % after epoch {epochs} is not among the best {} of {ranked}",
                        100.0 * accuracy,
                        ranked.div_ceil(OF),
                    );
                    return Proposal::Stop { trial: *trial, reason };
                }
            }
            going = on;
        }
        Proposal::Done
    }

    fn trials(&self) -> &[usize] {
        &self.order
    }
}

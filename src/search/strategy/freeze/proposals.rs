//! Decisions as proposals: what a slot gets of the trainings that were decided, and what trials become that are trained no further.

use super::{
    Decision, Why,
    unit::{Unit, has_come},
};
use crate::{
    learn::record::Status,
    search::strategy::{Offer, Proposal, Told},
};

/// The first of the wanted trainings (trial and epochs) that has not come and may start in this slot; to wait, where none may; nothing
/// where all have come.
pub(crate) fn next_training(
    wanted: impl Iterator<Item = (usize, usize)>,
    told: &Told,
    slot: &Offer,
) -> Option<Proposal> {
    let mut missing = wanted.filter(|(trial, epochs)| !has_come(told, *trial, *epochs)).peekable();
    missing.peek()?;
    let startable = missing.find(|(trial, _)| told.may_start(*trial, slot));
    Some(startable.map_or(Proposal::Wait, |(trial, epochs)| Proposal::Train { trial, epochs }))
}

/// What a resting trial that is trained no further is to become, by the last decision on its configuration; one after the other.
/// `next` is the first unit that may still have one.
pub(crate) fn set_aside<'a>(
    units: &[Unit],
    next: &mut usize,
    told: &Told,
    last: impl Fn(usize) -> Option<&'a Decision>,
) -> Option<Proposal> {
    while let Some(unit) = units.get(*next) {
        let rests = |trial: &&usize| {
            let progress = &told.progress[**trial];
            progress.status == Status::Pending && !progress.epochs.is_empty()
        };
        let Some(trial) = unit.trials.iter().filter(|_| !unit.is_dead).find(rests).copied() else {
            *next += 1;
            continue;
        };
        let decision = last(*next);
        let reason = decision.map_or(String::new(), Decision::words);
        return Some(match decision.is_some_and(|of| of.why == Why::Dominated) {
            true => Proposal::Stop { trial, reason },
            false => Proposal::Pause { trial, reason },
        });
    }
    None
}

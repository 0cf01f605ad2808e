//! What comes before a sweep: what earlier ones left, who chooses what is trained, and what is told of it.

use std::collections::{BTreeMap, HashSet};

use anyhow::Result;

use super::{Event, Exploration, Observer, Scope, past, search::Chosen};
use crate::{
    base::{
        device::{Gpu, Place},
        machine::Machine,
    },
    learn::{config::TrialConfig, record::Status},
    search::{dispatch::Past, journal::Journal, study::Plan, worker::Worker},
};

/// What a sweep is prepared with.
pub(super) struct Prepared<'a> {
    /// Whether nothing was trained before in this exploration.
    pub is_first: bool,
    pub gpus: &'a BTreeMap<Place, Gpu>,
    /// Keys of the trials that had been asked for, where the study was extended.
    pub before: Option<HashSet<String>>,
}

impl Exploration {
    /// What is trained of a plan, by which searcher, with what is behind it; what a sweep of it needs to be told is told.
    pub(super) fn prepare(
        &self,
        scope: &Scope,
        plan: &Plan,
        Prepared { is_first, gpus, before }: Prepared,
        (journal, worker): (&mut Journal, &mut dyn Worker),
        observer: &mut Observer,
    ) -> Result<(Chosen, Vec<Past>, Vec<usize>)> {
        let mut past = past::of_study(&self.study, journal, worker, self.strategy.reopens)?;
        if let Some(before) = before {
            let (ended, new) = past::extension(&before, &plan.keys[..plan.asked], &past);
            observer(&Event::Extended { ended, new });
        }
        let chosen = self.choose(scope, plan, &past, observer)?;
        if self.retry_failed && is_first {
            past::try_again(&self.study, journal, &chosen.order, &mut past)?;
        }
        let is_pending = |index: &usize| matches!(past[*index].status, Status::Pending | Status::Paused);
        let wanted: Vec<usize> = chosen.order.iter().copied().filter(is_pending).collect();
        if !wanted.is_empty() {
            // Those that were not looked at are those of the explorer before, whose jobs have them.
            let is_unknown = gpus.is_empty() && self.slots.gpus().next().is_some();
            let described = match self.study.machine().filter(|_| is_unknown) {
                Some(before) => before.gpus,
                None => gpus.iter().map(|(place, gpu)| format!("{place} {}", gpu.name)).collect(),
            };
            self.study.write_machine(&Machine { gpus: described, ..Machine::this(self.slots.to_string()) })?;
        }
        if is_first {
            let kept = chosen.order.len() - wanted.len();
            observer(&Event::Planned { wanted: wanted.len(), kept, slots: &self.slots, gpus });
            if let Some(memory) = self.memory_of_slots(&plan.trials)? {
                let wanted: Vec<&TrialConfig> = wanted.iter().map(|index| &plan.trials[*index].config).collect();
                observer(&Event::Memory { memory: &memory, wanted: &wanted });
            }
        }
        Ok((chosen, past, wanted))
    }
}

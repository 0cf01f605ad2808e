//! Where the trials and tasks of an exploration run: on this machine, or elsewhere.

use std::collections::BTreeMap;

use anyhow::Result;

use super::{Exploration, resources};
use crate::{
    base::{
        device::{Gpu, Place},
        machine,
    },
    search::{
        space::Trial,
        worker::{Admissions, Local, LocalTasks, Memory, Slot, Tasks, Worker},
    },
};

/// Where trials and tasks run.
#[derive(Clone, Debug, Default)]
pub enum Backend {
    /// As processes of this machine.
    #[default]
    Local,
}

impl Exploration {
    pub(super) fn tasks(&self) -> Box<dyn Tasks> {
        match &self.backend {
            Backend::Local => Box::new(LocalTasks { program: self.program.clone() }),
        }
    }

    pub(super) fn worker(&self, trials: &[Trial], gpus: &BTreeMap<Place, Gpu>) -> Result<Box<dyn Worker>> {
        match &self.backend {
            Backend::Local => {
                let mut slots: Vec<Slot> = self.slots.place(&machine::own_cores());
                for slot in &mut slots {
                    slot.gpu = gpus.get(&slot.place).map(|gpu| gpu.name.clone());
                }
                let admissions = Admissions::new(self.memory_of_slots(trials)?, resources::gpu_memory(gpus));
                Ok(Box::new(Local::new(self.program.clone(), self.trial_arguments.clone(), slots, admissions)))
            }
        }
    }

    /// The memory that slots share; none is shared by trials on other hosts.
    pub(super) fn memory_of_slots(&self, trials: &[Trial]) -> Result<Option<Memory>> {
        match &self.backend {
            Backend::Local => resources::memory(self.memory, trials, &self.slots),
        }
    }
}

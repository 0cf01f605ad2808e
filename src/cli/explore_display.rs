//! What an exploration shows: its sweeps, its confirmation, and what is worth knowing between them.

use std::{collections::BTreeMap, path::PathBuf};

use fastrcaps::{
    base::{
        device::{Gpu, Place},
        machine,
        words::{by_count, plural},
    },
    engine::{
        confirming,
        explore::{Event, Exploration},
    },
    search::{study::Study, worker::Slots},
};

use super::{
    confirming::tell,
    data::tell_differences,
    display::{Display, Mode, Trains},
    input::errln,
    limits::MemoryArg,
    timing_display::Shown,
};

/// Shows the events of an exploration.
pub struct ExploreDisplay<'a> {
    mode: Mode,
    study: Study,
    slots: Slots,
    memory: &'a MemoryArg,
    is_local: bool,
    trains: Trains,
    /// Of the last sweep.
    sweep: Option<Display>,
    timing: Shown,
}

impl<'a> ExploreDisplay<'a> {
    pub fn new(mode: Mode, exploration: &Exploration, memory: &'a MemoryArg) -> ExploreDisplay<'a> {
        let rounds = exploration.confirm.map_or(0, |confirm| confirm.rounds);
        let trains = match exploration.strategy {
            strategy if strategy.proposes => Trains::Unknown,
            strategy if strategy.gives_up => Trains::AtMostAll,
            _ => Trains::All,
        };
        ExploreDisplay {
            mode,
            trains,
            study: exploration.study.clone(),
            slots: exploration.slots.clone(),
            memory,
            is_local: exploration.backend.is_local(),
            sweep: None,
            timing: Shown::new(mode, rounds),
        }
    }

    pub fn show(&mut self, event: &Event) {
        match event {
            Event::SweepBegun { view, wanted, slots } => {
                self.sweep = Some(Display::new(self.mode, view, wanted, slots, self.trains));
            }
            Event::Sweep(event) => self.sweep.iter_mut().for_each(|sweep| sweep.show(event)),
            Event::SweepEnded { unwritten, stale } => {
                self.sweep.iter().for_each(Display::finish);
                if let Some(error) = unwritten {
                    errln!(
                        "warning: not all that ended stands in the journal: {error:#}; the next run takes it up from the trials' folders"
                    );
                }
                if let Some(error) = stale {
                    errln!(
                        "warning: tables and charts are not up to date: {error:#}; `fastrcaps study rebuild {}` writes them",
                        self.folder().display()
                    );
                }
            }
            Event::Confirming(event) => self.confirming(event),
            Event::Confirmed { confirmed, view } => tell(self.mode, &self.study, confirmed, view),
            Event::NotConfirmed(error) => errln!("warning: the times of the trials are not confirmed: {error:#}"),
            Event::OtherData { differences } => tell_differences(differences),
            Event::JournalOnNetwork { kind } => errln!(
                "warning: the study's journal lies on {kind}, whose locks of files are unreliable: keep the study on a disk of this \
                 machine (--out), and give the folder that the nodes share as `work` in the site file"
            ),
            Event::Over { view, ending } => self.sweep.iter().for_each(|sweep| sweep.over(view, *ending)),
            _ if self.mode == Mode::Quiet => {}
            Event::OtherBuild { begun_by, build } => errln!(
                "note: this study was begun by build {begun_by}, this is {build}: bits and times may differ between them"
            ),
            Event::Extended { ended, new } => {
                let (trials, have) = (plural(*ended, "trial"), by_count(*ended, "has ended is", "have ended are"));
                let is_new = by_count(*new, "is", "are");
                errln!("the space extends the study: {trials} that {have} taken over, {new} {is_new} new");
            }
            Event::Memory { memory, wanted } => {
                self.memory.notes(memory, wanted, &self.slots).iter().for_each(|note| errln!("{note}"));
            }
            _ if self.mode != Mode::Progress => {}
            Event::Predicting { deadline } => {
                errln!("until {}: timing a few steps, to begin with what tells most", machine::rfc3339(*deadline));
            }
            Event::WaitsForGpu => errln!("no node is free whose GPU could be looked at: waiting for one"),
            Event::Timing => errln!("the strategy decides by times of steps: taking those that the study lacks"),
            Event::Planned { wanted, kept, slots, gpus } => self.planned(*wanted, *kept, slots, gpus),
            Event::Proposed { configurations, all } => {
                errln!("proposed: {} more, {all} in all", plural(*configurations, "configuration"));
            }
            Event::Open { configurations } => {
                errln!("it is open who is on the front: another seed for {configurations} of the configurations");
            }
        }
    }

    fn folder(&self) -> &PathBuf {
        &self.study.folder
    }

    fn planned(&self, wanted: usize, kept: usize, slots: &Slots, gpus: &BTreeMap<Place, Gpu>) {
        let kept = if kept > 0 { format!(", {kept} kept from before") } else { String::new() };
        let trials = plural(wanted, "trial");
        errln!("{trials} to train on slots {slots}{kept}; study folder {}", self.folder().display());
        for (place, gpu) in gpus {
            errln!(
                "{place}: {}, {:.1} of {:.1} GB free",
                gpu.name,
                gpu.free_bytes as f64 / 1e9,
                gpu.memory_bytes as f64 / 1e9
            );
        }
        let (wanted, usable) = (slots.total_threads(), machine::usable_cores());
        if wanted > usable && self.is_local {
            let are = by_count(usable, "is", "are");
            errln!(
                "note: slots {slots} want {wanted} cores and {usable} {are} there: trials share them and are timed together"
            );
        }
    }

    fn confirming(&mut self, event: &confirming::Event) {
        let folder = self.study.folder.display();
        match event {
            confirming::Event::OneDevice { place, other } if self.mode == Mode::Progress => errln!(
                "note: times are confirmed on {place}; for those on {other}: `fastrcaps time {folder} --device {other} --as {}`",
                if other.is_cpu() { "cpu" } else { "gpu" }
            ),
            confirming::Event::OneDevice { .. } => {}
            confirming::Event::Confirmation(event) => self.timing.show(event),
            confirming::Event::Unwritten(error) => errln!(
                "warning: the times are confirmed, and tables and charts are not up to date: {error:#}; `fastrcaps study \
                 rebuild {folder}` writes them"
            ),
        }
    }
}

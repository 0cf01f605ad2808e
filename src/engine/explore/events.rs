//! What happens in an exploration, for who watches it.

use std::{collections::BTreeMap, time::SystemTime};

use anyhow::Error;

use crate::{
    base::device::{Gpu, Place},
    engine::confirming,
    learn::config::TrialConfig,
    present::report::view::StudyView,
    search::{
        dispatch::{self, Ending},
        worker::{Memory, Slot, Slots},
    },
    timing::rounds::Confirmed,
};

/// Takes events.
pub type Observer<'a> = dyn FnMut(&Event) + 'a;

/// What happens in an exploration, in this order; the sweeps' events as often as there are sweeps.
pub enum Event<'a> {
    /// What is trained on under the name of a published data set is not that one: in what, a line a file.
    OtherData {
        differences: &'a [String],
    },
    /// The study was begun by another build: bits and times may differ.
    OtherBuild {
        begun_by: &'a str,
        build: &'a str,
    },
    /// The space has all configurations of the study and more: trials that have ended and are taken over, and new ones.
    Extended {
        ended: usize,
        new: usize,
    },
    /// The study's journal lies on a file system of this kind, over a network, where locks of files are unreliable.
    JournalOnNetwork {
        kind: &'static str,
    },
    /// No node is free whose GPU could be looked at: that is waited for.
    WaitsForGpu,
    /// Steps are timed, as there is a deadline.
    Predicting {
        deadline: SystemTime,
    },
    /// Steps are timed where the study keeps no times of them, as the strategy decides by what trainings cost.
    Timing,
    /// Trials that are to be trained, and those of the order that have ended already.
    Planned {
        wanted: usize,
        kept: usize,
        slots: &'a Slots,
        gpus: &'a BTreeMap<Place, Gpu>,
    },
    /// The memory that trials may take, and what is to be trained.
    Memory {
        memory: &'a Memory,
        wanted: &'a [&'a TrialConfig],
    },
    /// Trials `wanted` of the view's are about to be trained.
    SweepBegun {
        view: &'a StudyView,
        wanted: &'a [usize],
        slots: &'a [Slot],
    },
    Sweep(&'a dispatch::Event<'a>),
    /// What was trained has ended; an error where not all of it could be written into the journal, or into tables and
    /// charts.
    SweepEnded {
        unwritten: Option<&'a Error>,
        stale: Option<&'a Error>,
    },
    Confirming(&'a confirming::Event<'a>),
    /// The strategy proposed so many configurations, which the study has now with all before them: they are trained next.
    Proposed {
        configurations: usize,
        all: usize,
    },
    /// Times are confirmed: what came of it, and the study with them.
    Confirmed {
        confirmed: &'a Confirmed,
        view: &'a StudyView,
    },
    /// Times could not be confirmed; those of the sweep stand.
    NotConfirmed(&'a Error),
    /// It is open whether so many configurations are on the front: each is trained under another seed.
    Open {
        configurations: usize,
    },
    Over {
        view: &'a StudyView,
        ending: Ending,
    },
}

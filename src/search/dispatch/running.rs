//! A trial that runs in a slot.

use std::time::{Duration, Instant};

use crate::{base::device::Place, learn::folder::TrialFolder, search::worker::Worker};

/// Why an attempt was made to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The sweep is stopping.
    Stop,
    /// It took longer than this.
    Timeout(Duration),
}

pub(super) struct Running {
    pub trial: usize,
    pub slot: usize,
    pub folder: TrialFolder,
    pub place: Place,
    /// Epochs after which it pauses.
    pub until: usize,
    /// The most trials of this sweep that ran on the same GPU at the same time.
    pub on_its_gpu: usize,
    /// The most trials that ran at the same time, also beside the attempts that it goes on from.
    pub co_runners: usize,
    /// Whether it goes on from what was trained on another processor.
    pub is_mixed: bool,
    /// When it began; absent while it waits for that.
    pub began: Option<Instant>,
    /// Whether that is on a host of a cluster, where other trials of ours may be elsewhere.
    pub is_elsewhere: bool,
    /// Why it was made to end, if it was.
    pub cut: Option<Cut>,
    /// When it is ended if it has not by then.
    end_at: Option<Instant>,
}

impl Running {
    /// One that is started now. `co_runners` are those of the attempts that it goes on from.
    pub fn new(trial: usize, slot: usize, folder: TrialFolder, until: usize, worker: &dyn Worker) -> Running {
        Running {
            trial,
            slot,
            folder,
            place: worker.slots()[slot].place,
            until,
            on_its_gpu: 0,
            co_runners: 0,
            is_mixed: false,
            began: (!worker.is_elsewhere()).then(|| worker.now()),
            is_elsewhere: worker.is_elsewhere(),
            cut: None,
            end_at: None,
        }
    }

    /// Asks it to end at a checkpoint, for this reason; ends it where it has not `until` then. Later reasons change nothing
    /// but to shorten its time.
    pub fn end(&mut self, why: Cut, until: Instant, worker: &mut dyn Worker) {
        if self.cut.is_none() {
            worker.ask_to_stop(self.slot);
            self.cut = Some(why);
        }
        let end_at = self.end_at.map_or(until, |earlier| earlier.min(until));
        self.end_at = Some(end_at);
        if worker.now() >= end_at {
            worker.kill(self.slot);
        }
    }
}

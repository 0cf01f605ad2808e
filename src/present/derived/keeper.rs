//! Keeps the derived files of a study up to date while it is explored, without being in the way of its trials.

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

use super::write_all;
use crate::{
    base::machine,
    present::report::view::StudyView,
    search::{journal::Journal, study::Study},
};

/// After each writing so many times as long as it took nothing is written, and this at most: where trials end faster than tables are
/// written, a core that others use is not kept busy.
const REST: u32 = 4;
const MOST_REST: Duration = Duration::from_secs(60);

/// A thread of low priority that rewrites all derived files of a study when it is told of a change. Changes that come
/// while it writes, or rests, are taken up together in its next round.
pub struct Keeper {
    changes: Sender<()>,
    thread: JoinHandle<Result<StudyView>>,
}

impl Keeper {
    /// Reads the study, and writes its files a first time.
    pub fn start(study: Study) -> Result<Keeper> {
        let mut view = StudyView::read(&study)?;
        let (changes, told) = channel();
        let thread = std::thread::Builder::new().name("report".into()).spawn(move || {
            machine::stand_back(19);
            keep(&study, &mut view, &told)?;
            Ok(view)
        })?;
        Ok(Keeper { changes, thread })
    }

    /// Says that the journal has changed.
    pub fn changed(&self) {
        // A thread that is gone is found out about by `finish`.
        let _ = self.changes.send(());
    }

    /// Waits until everything is written; gives the study as it stands then.
    pub fn finish(self) -> Result<StudyView> {
        drop(self.changes);
        self.thread.join().map_err(|_| anyhow!("the thread that writes tables and charts panicked"))?
    }
}

/// Writes after every change, also after a writing that failed: the disk may have room again. The last one counts.
fn keep(study: &Study, view: &mut StudyView, told: &Receiver<()>) -> Result<()> {
    let journal = Journal::read(&study.journal())?;
    loop {
        let began = Instant::now();
        let written = view.update(&journal).and_then(|()| write_all(study, view));
        let rested = Instant::now() + MOST_REST.min(REST * began.elapsed());
        if told.recv().is_err() {
            return written;
        }
        // The end of the sweep ends a rest, too.
        while told.recv_timeout(rested.saturating_duration_since(Instant::now())).is_ok() {}
    }
}

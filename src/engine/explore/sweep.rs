//! One sweep of an exploration: trained, logged, and shown in tables and charts as it goes.

use anyhow::Result;

use super::events::{Event, Observer};
use crate::{
    base::{machine, words::plural},
    engine::sweep_log::SweepLog,
    present::{derived::keeper::Keeper, report::view::StudyView},
    search::{
        dispatch::{self, Dispatcher, Ending, Past},
        strategy::Searcher,
        worker::Slots,
    },
};

/// Trains trials, and tells and logs what happens meanwhile.
pub(super) struct Sweeper<'a> {
    pub dispatcher: Dispatcher<'a>,
    pub slots: &'a Slots,
}

impl Sweeper<'_> {
    /// Trains what `searcher` proposes, which is `wanted` where all goes well; gives the study as it stands then.
    pub fn sweep(
        &mut self,
        searcher: &dyn Searcher,
        wanted: &[usize],
        past: Vec<Past>,
        observer: &mut Observer,
    ) -> Result<(StudyView, Ending)> {
        let study = self.dispatcher.study;
        let view = StudyView::read(study)?;
        observer(&Event::SweepBegun { view: &view, wanted, slots: self.dispatcher.worker.slots() });
        let mut log = SweepLog::open(study, &view);
        let (process, build) = (std::process::id(), machine::git_revision().unwrap_or_default());
        let (trials, slots) = (plural(wanted.len(), "trial"), self.slots);
        log.line(&format!("process {process} of build {build} explores {trials} on slots {slots}"));
        let keeper = Keeper::start(study.clone())?;
        let swept = self.dispatcher.run(searcher, past, &mut |event| {
            observer(&Event::Sweep(event));
            log.event(event);
            use dispatch::Event::{Ended, Rested, Retried, Stopped};
            if matches!(event, Ended { .. } | Retried { .. } | Rested { .. } | Stopped { .. }) {
                keeper.changed();
            }
            Ok(())
        });
        let written = keeper.finish();
        log.close(&match &swept {
            Ok(swept) => format!("{:?}", swept.ending).to_lowercase(),
            Err(error) => format!("failed: {error:#}"),
        });
        let unwritten = swept.as_ref().ok().and_then(|swept| swept.unwritten.as_ref());
        observer(&Event::SweepEnded { unwritten, stale: written.as_ref().err().filter(|_| swept.is_ok()) });
        let swept = swept?;
        let view = written.or_else(|_| StudyView::read(study))?;
        Ok((view, swept.ending))
    }
}

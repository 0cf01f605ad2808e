//! The times of a study confirmed: of which of its configurations, on how many threads, and how patiently after a sweep.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    sync::atomic::AtomicBool,
    time::{Duration, SystemTime},
};

use anyhow::{Error, Result};

use crate::{
    base::device::{Gpu, Place},
    learn::record::{Status, TrialRecord},
    present::{
        derived,
        report::{
            departures::{Departure, departures},
            findings::Findings,
            view::StudyView,
        },
    },
    search::{
        study::{Lock, Study},
        worker::{Slots, Tasks},
    },
    timing::{
        confirm::{self, Confirmation, OF_SWEEP, Trainings, patience_after},
        rounds::Confirmed,
        sets::{DEFAULT_SET, Drift},
    },
};

/// Configurations of which a trial ended well, those on the front first.
pub fn finished(view: &StudyView) -> Vec<usize> {
    let is_done = |candidate: &usize| {
        let mut of = view.trials.iter().zip(&view.records).filter(|(trial, _)| trial.candidate == *candidate);
        of.any(|(_, record)| record.as_ref().is_some_and(|record| record.status == Status::Done))
    };
    let mut finished: Vec<usize> = on_front(view).into_iter().filter(is_done).collect();
    for (trial, record) in view.trials.iter().zip(&view.records) {
        let is_done = record.as_ref().is_some_and(|record| record.status == Status::Done);
        if is_done && !finished.contains(&trial.candidate) {
            finished.push(trial.candidate);
        }
    }
    finished
}

/// Configurations on the front, and the baseline, with which they are compared.
pub fn on_front(view: &StudyView) -> Vec<usize> {
    let Findings { points, wide_front, baseline, .. } = Findings::of(view);
    let baseline = baseline.filter(|index| !points[*index].accuracy.is_empty());
    let mut on_front = Vec::new();
    for candidate in wide_front.into_iter().chain(baseline).map(|index| points[index].candidate) {
        if !on_front.contains(&candidate) {
            on_front.push(candidate);
        }
    }
    on_front
}

/// Threads that most of the trials on CPU cores had that ended well; one whose threads are not known has no vote.
pub fn usual_threads(view: &StudyView) -> Option<usize> {
    most_threads(view.records.iter().flatten())
}

fn most_threads<'a>(records: impl Iterator<Item = &'a TrialRecord>) -> Option<usize> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    let ended_well = records.filter(|record| record.status == Status::Done && !record.is_of_gpu());
    for threads in ended_well.filter_map(|record| record.threads) {
        *counts.entry(threads).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(threads, count)| (*count, *threads)).map(|(threads, _)| threads)
}

/// The trainings of these configurations of a study; those on the front, where they are the first ones, come first also where
/// there is no time for all.
pub fn trainings<'a>(view: &'a StudyView, candidates: &[usize]) -> Trainings<'a> {
    let front = on_front(view);
    let trials = view.trials.iter().zip(&view.records);
    let swept = trials.filter_map(|(trial, record)| Some((&trial.config, record.as_ref()?.train_seconds_screen?)));
    Trainings {
        configs: candidates.iter().map(|candidate| &view.expansion.candidates[*candidate].config).collect(),
        first: candidates.iter().take_while(|candidate| front.contains(candidate)).count(),
        swept: swept.collect(),
    }
}

/// A sweep that has ended, and how its times are confirmed.
pub struct AfterSweep<'a> {
    pub study: &'a Study,
    /// The study's, as it is held.
    pub lock: &'a Lock,
    pub slots: &'a Slots,
    /// Of the slots.
    pub gpus: &'a BTreeMap<Place, Gpu>,
    /// The wall time of the sweep, and whether it had anything to train.
    pub took: Duration,
    pub has_trained: bool,
    pub rounds: usize,
    /// How long to wait for others to leave the machine alone; as long as the sweep took where it is not given.
    pub patience: Option<Duration>,
    pub deadline: Option<SystemTime>,
    /// Once set, it ends.
    pub stop: &'a AtomicBool,
    /// As of a [`Confirmation`].
    pub tasks: &'a dyn Tasks,
    pub arguments: Vec<OsString>,
}

/// What happens meanwhile.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Times are taken on `place` and not on `other`, where trials ran too: one set of times is of one device.
    OneDevice {
        place: Place,
        other: Place,
    },
    Confirmation(confirm::Event<'a>),
    /// The times are confirmed, and tables and charts could not be written by them.
    Unwritten(&'a Error),
}

impl AfterSweep<'_> {
    /// Confirms the times of all configurations of which a trial ended well, those on the front first, and writes tables and
    /// charts anew. Gives the study as it stands then.
    ///
    /// Errors: what [`Confirmation::take`] has. The sweep is no worse for it: the study stands as it did.
    pub fn confirm(&self, view: StudyView, observer: &mut dyn FnMut(&Event)) -> (StudyView, Result<Confirmed>) {
        // One set of times is of one device.
        let place = self.slots.first_place();
        let kind = |place: Place| self.gpus.get(&place).map(|gpu| &gpu.name);
        if let Some(other) = self.slots.places().find(|other| kind(*other) != kind(place)) {
            observer(&Event::OneDevice { place, other });
        }
        let confirmation = self.confirmation(place, &view);
        let trainings = trainings(&view, &finished(&view));
        let taken = confirmation.take(&trainings, self.lock, &mut |event| observer(&Event::Confirmation(*event)));
        let confirmed = match taken {
            Ok(confirmed) => confirmed,
            Err(error) => return (view, Err(error)),
        };
        let now = StudyView { times: Some(confirmed.set.clone()), times_error: None, ..view };
        if let Err(error) = derived::write_all(self.study, &now) {
            observer(&Event::Unwritten(&error));
        }
        (now, Ok(confirmed))
    }

    fn confirmation(&self, place: Place, view: &StudyView) -> Confirmation<'_> {
        Confirmation {
            study: self.study,
            name: DEFAULT_SET,
            anew: false,
            rounds: self.rounds,
            threads: usual_threads(view).unwrap_or(self.slots.threads()),
            place,
            gpu: self.gpus.get(&place),
            sample_seconds: None,
            of_sweep: OF_SWEEP,
            patience: self.patience.unwrap_or_else(|| patience_after(self.took, self.has_trained)),
            deadline: self.deadline,
            stop: self.stop,
            tasks: self.tasks,
            arguments: self.arguments.clone(),
        }
    }
}

/// What came of a confirmation, for the whole study.
pub struct Summary {
    /// Configurations of which a trial ended well, and those of them whose time is confirmed.
    pub configurations: usize,
    pub confirmed: usize,
    /// How the machine changed meanwhile.
    pub drift: Option<Drift>,
    /// Configurations whose trainings took another time than is confirmed for them.
    pub departures: Vec<Departure>,
}

impl Summary {
    /// Of a study with its new times.
    pub fn of(confirmed: &Confirmed, view: &StudyView) -> Summary {
        let candidates = finished(view);
        let has_time = |candidate: &&usize| {
            let config = &view.expansion.candidates[**candidate].config;
            confirmed.set.rounds(config, config.train.epochs).is_some()
        };
        Summary {
            configurations: candidates.len(),
            confirmed: candidates.iter().filter(has_time).count(),
            drift: confirmed.set.drift(),
            departures: departures(view),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::config::TrialConfig;

    #[test]
    fn a_record_without_threads_has_no_vote_and_leaves_the_others_theirs() {
        let config = TrialConfig::resolve("[model]\npreset = 'tiny'\n".parse().unwrap()).unwrap();
        let record =
            |threads, status| TrialRecord { threads, status, ..TrialRecord::pending(String::new(), 0, &config) };
        let records = [
            record(Some(2), Status::Done),
            record(None, Status::Done),
            record(Some(2), Status::Done),
            record(Some(1), Status::Done),
            record(Some(8), Status::Failed),
        ];
        assert_eq!(most_threads(records.iter()), Some(2));
        assert_eq!(most_threads(records[1..2].iter()), None);
    }
}

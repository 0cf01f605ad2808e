//! A study as it stands: its configurations, the records of their trials, and the front of their means.

use std::collections::HashMap;

use anyhow::{Result, bail};

use crate::{
    analysis::{Basis, Design, Extent, Point, Time},
    journal::Journal,
    pareto::{self, Goal},
    record::{EpochRow, Status, TrialRecord},
    space::{Candidate, Expansion, Space, Trial},
    stats,
    study::{Plan, Study},
    times::{DEFAULT_SET, TimeSet},
};

/// A study as it stands.
pub struct StudyView {
    pub space: Space,
    pub expansion: Expansion,
    pub trials: Vec<Trial>,
    /// Identity of each trial.
    pub keys: Vec<String>,
    /// Record of each trial that was started.
    pub records: Vec<Option<TrialRecord>>,
    /// Epochs of each trial that ended.
    pub epochs: Vec<Vec<EpochRow>>,
    /// Times of steps that were taken alone on a machine, if there are any.
    pub times: Option<TimeSet>,
    /// Where and how its times were measured, in a line.
    pub origin: String,
}

/// What screening times may only be compared within.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub processor: Option<String>,
    pub threads: Option<usize>,
    pub git_revision: Option<String>,
}

impl Origin {
    fn of(record: &TrialRecord) -> Origin {
        let TrialRecord { processor, threads, git_revision, .. } = record.clone();
        Origin { processor, threads, git_revision }
    }
}

/// A number of epochs in words.
pub fn epochs(count: usize) -> String {
    if count == 1 { "1 epoch".into() } else { format!("{count} epochs") }
}

/// A mean over replicates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mean {
    pub mean: f64,
    /// Standard deviation of the sample; absent below two replicates.
    pub sd: Option<f64>,
}

/// What is known of one configuration, over its replicates.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    pub candidate: usize,
    pub label: String,
    pub parameters: usize,
    /// Replicates that ended well; the means are theirs.
    pub done: usize,
    pub diverged: usize,
    pub failed: usize,
    pub train_seconds: Option<Mean>,
    /// Best validation accuracy: what selections are made by.
    pub validation_accuracy: Option<Mean>,
    /// Test accuracy of the weights of that epoch: reported only.
    pub test_accuracy: Option<Mean>,
}

/// What the front weighs up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objectives {
    TimeAccuracy,
    TimeAccuracyParameters,
}

/// Volume that a front dominates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hypervolume {
    /// In seconds × accuracy (× parameters).
    pub volume: f64,
    /// The worst point that counts: seconds, accuracy, parameters.
    pub reference: [f64; 3],
    /// Share of the box between the ideal point (0 s, accuracy 1, 0 parameters) and the reference.
    pub share: f64,
}

impl StudyView {
    /// Reads a study from its folder, also while it is being explored; with its times of the default name.
    pub fn read(study: &Study) -> Result<StudyView> {
        let mut view = StudyView::blank(study)?;
        view.update(&Journal::read(&study.journal())?)?;
        Ok(view)
    }

    /// Reads a study with the set of times `name`, where one is given: there must be one then.
    pub fn read_with_times(study: &Study, name: Option<&str>) -> Result<StudyView> {
        let mut view = StudyView::read(study)?;
        let Some(name) = name else { return Ok(view) };
        view.times = TimeSet::read(study, name)?;
        if view.times.is_none() {
            let names = TimeSet::names(study)?;
            let there =
                if names.is_empty() { "it has none".to_string() } else { format!("it has {}", names.join(", ")) };
            bail!(
                "{} has no times {name:?}: {there}; `fastrcaps time {0} --as {name}` takes some on this machine",
                study.folder.display()
            );
        }
        Ok(view)
    }

    /// A study of which nothing is known but what it declares.
    pub fn blank(study: &Study) -> Result<StudyView> {
        let Plan { file: _, space, expansion, trials, keys } = study.plan()?;
        let origin = study.machine_line();
        let (records, epochs) = (vec![None; trials.len()], vec![Vec::new(); trials.len()]);
        let times = TimeSet::read(study, DEFAULT_SET)?;
        Ok(StudyView { space, expansion, records, epochs, trials, keys, times, origin })
    }

    /// Takes up the records that the journal holds now.
    pub fn update(&mut self, journal: &Journal) -> Result<()> {
        let index: HashMap<&str, usize> =
            self.keys.iter().enumerate().map(|(index, key)| (key.as_str(), index)).collect();
        let (records, rows) = journal.contents()?;
        for record in records {
            if let Some(&at) = index.get(record.key.as_str()) {
                self.records[at] = Some(record);
                self.epochs[at].clear();
            }
        }
        for (key, row) in rows {
            if let Some(&at) = index.get(key.as_str()) {
                self.epochs[at].push(row);
            }
        }
        Ok(())
    }

    /// How the configurations of the space differ.
    pub fn design(&self) -> Design {
        let Expansion { candidates, baseline, .. } = &self.expansion;
        Design {
            axes: self.space.axes.iter().map(|axis| axis.path.clone()).collect(),
            values: candidates.iter().map(|candidate| candidate.values.clone()).collect(),
            baseline: *baseline,
        }
    }

    /// Every configuration of which a trial has ended, in grid order: the beginnings of its training that stand for
    /// themselves, then all of it.
    pub fn points(&self) -> Vec<Point> {
        let mut of: Vec<Vec<usize>> = vec![Vec::new(); self.expansion.candidates.len()];
        for (index, (trial, record)) in self.trials.iter().zip(&self.records).enumerate() {
            if record.as_ref().is_some_and(|record| matches!(record.status, Status::Done | Status::Diverged)) {
                of[trial.candidate].push(index);
            }
        }
        let origin = self.common_origin();
        let mut points = Vec::new();
        for (candidate, trials) in of.iter().enumerate().filter(|(_, trials)| !trials.is_empty()) {
            let config = &self.expansion.candidates[candidate].config;
            for stop in config.schedule.stops(config.train.epochs) {
                points.push(self.point(candidate, stop, trials, origin.as_ref()));
            }
        }
        points
    }

    fn point(&self, candidate: usize, stop: usize, trials: &[usize], origin: Option<&Origin>) -> Point {
        let Candidate { config, label, .. } = &self.expansion.candidates[candidate];
        let is_whole = stop == config.train.epochs;
        let records = || trials.iter().filter_map(|index| Some((*index, self.records[*index].as_ref()?)));
        let done = || records().filter(|(_, record)| record.status == Status::Done);
        let best = |rows: &[EpochRow]| rows.iter().take(stop).map(|row| row.validation_accuracy).reduce(f64::max);
        // Of a shorter training only where its best epoch is the one whose weights were tested.
        let is_tested = |record: &TrialRecord| record.best_epoch.is_some_and(|epoch| epoch <= stop);
        let confirmed = self.times.as_ref().and_then(|set| set.rounds(config, stop));
        let time = match confirmed {
            Some(seconds) => Time { basis: Basis::Confirmed, seconds },
            None => {
                let is_comparable = |record: &TrialRecord| Some(&Origin::of(record)) == origin;
                let screened = done().filter(|(_, record)| is_comparable(record));
                let seconds = |index: usize| self.epochs[index].get(stop - 1).map(|row| row.train_seconds_screen);
                Time { basis: Basis::Screened, seconds: screened.filter_map(|(index, _)| seconds(index)).collect() }
            }
        };
        Point {
            candidate,
            label: if is_whole { label.clone() } else { format!("{label}, {}", epochs(stop)) },
            epochs: stop,
            extent: if is_whole { Extent::Whole } else { Extent::Prefix },
            parameters: config.parameters(),
            accuracy: done()
                .filter_map(|(index, record)| Some((record.replicate, best(&self.epochs[index])?)))
                .collect(),
            test_accuracy: done()
                .filter(|(_, record)| is_tested(record))
                .filter_map(|(_, record)| Some((record.replicate, record.test_accuracy?)))
                .collect(),
            time,
            diverged: records().filter(|(_, record)| record.status == Status::Diverged).count(),
        }
    }

    /// What the screening times are of that may be compared: with each other and, if there are any, with the confirmed ones.
    fn common_origin(&self) -> Option<Origin> {
        if let Some(TimeSet { fingerprint, .. }) = &self.times {
            return Some(Origin {
                processor: fingerprint.processor.clone(),
                threads: Some(fingerprint.threads),
                git_revision: fingerprint.git_revision.clone(),
            });
        }
        let origins = self.origins();
        // Of several the most frequent; the first of equals.
        let most = origins.iter().map(|(_, count)| *count).max()?;
        origins.into_iter().find(|(_, count)| *count == most).map(|(origin, _)| origin)
    }

    /// Where the screening times come from, and how many trials each has, in grid order.
    pub fn origins(&self) -> Vec<(Origin, usize)> {
        let mut origins: Vec<(Origin, usize)> = Vec::new();
        for record in self.records.iter().flatten().filter(|record| record.status == Status::Done) {
            let origin = Origin::of(record);
            match origins.iter_mut().find(|(known, _)| *known == origin) {
                Some((_, count)) => *count += 1,
                None => origins.push((origin, 1)),
            }
        }
        origins
    }

    /// What is known of every configuration, in grid order.
    pub fn summaries(&self) -> Vec<Summary> {
        let mut of: Vec<Vec<&TrialRecord>> = vec![Vec::new(); self.expansion.candidates.len()];
        for (trial, record) in self.trials.iter().zip(&self.records) {
            of[trial.candidate].extend(record);
        }
        let candidates = self.expansion.candidates.iter().zip(of).enumerate();
        candidates
            .map(|(candidate, (config, records))| {
                let count = |status| records.iter().filter(|record| record.status == status).count();
                let done: Vec<&TrialRecord> =
                    records.iter().copied().filter(|record| record.status == Status::Done).collect();
                let mean = |field: fn(&TrialRecord) -> Option<f64>| {
                    let values: Vec<f64> = done.iter().filter_map(|record| field(record)).collect();
                    stats::mean(&values).map(|mean| Mean { mean, sd: stats::standard_deviation(&values) })
                };
                Summary {
                    candidate,
                    label: config.label.clone(),
                    parameters: config.config.parameters(),
                    done: done.len(),
                    diverged: count(Status::Diverged),
                    failed: count(Status::Failed),
                    train_seconds: mean(|record| record.train_seconds_screen),
                    validation_accuracy: mean(|record| record.validation_accuracy),
                    test_accuracy: mean(|record| record.test_accuracy),
                }
            })
            .collect()
    }

    /// Trials of a status.
    pub fn count(&self, status: Status) -> usize {
        self.records.iter().flatten().filter(|record| record.status == status).count()
    }
}

impl Summary {
    /// Seconds, validation accuracy, parameters; NaN where they are not known, or where a replicate diverged:
    /// such a configuration is on no front.
    fn point(&self) -> [f64; 3] {
        let known = |mean: Option<Mean>| mean.filter(|_| self.diverged == 0).map_or(f64::NAN, |mean| mean.mean);
        [known(self.train_seconds), known(self.validation_accuracy), self.parameters as f64]
    }
}

/// A configuration beside the baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// How many times as fast it trains.
    pub speedup: Option<f64>,
    /// Difference of the mean validation accuracies.
    pub accuracy_change: Option<f64>,
    /// Its parameters as a share of the baseline's.
    pub parameter_share: f64,
}

impl Summary {
    /// This configuration beside `baseline`.
    pub fn compare(&self, baseline: &Summary) -> Change {
        let both = |a: Option<Mean>, b: Option<Mean>, f: fn(f64, f64) -> f64| Some(f(a?.mean, b?.mean));
        Change {
            speedup: both(self.train_seconds, baseline.train_seconds, |own, base| base / own),
            accuracy_change: both(self.validation_accuracy, baseline.validation_accuracy, |own, base| own - base),
            parameter_share: self.parameters as f64 / baseline.parameters as f64,
        }
    }
}

const GOALS: [Goal; 3] = [Goal::Minimise, Goal::Maximise, Goal::Minimise];

/// Indices of the summaries on the front, by time.
pub fn front(summaries: &[Summary], objectives: Objectives) -> Vec<usize> {
    let points = summaries.iter().map(Summary::point);
    match objectives {
        Objectives::TimeAccuracy => pareto::front_2d(
            &points.map(|[seconds, accuracy, _]| [seconds, accuracy]).collect::<Vec<_>>(),
            &[GOALS[0], GOALS[1]],
        ),
        Objectives::TimeAccuracyParameters => pareto::front(&points.collect::<Vec<_>>(), &GOALS),
    }
}

/// The volume of the front up to `reference`, or up to the worst time and size seen and the accuracy of guessing.
pub fn hypervolume(summaries: &[Summary], objectives: Objectives, chance: f64) -> Option<Hypervolume> {
    let points: Vec<[f64; 3]> =
        summaries.iter().map(Summary::point).filter(|point| point.iter().all(|value| value.is_finite())).collect();
    let worst = |axis: usize| points.iter().map(|point| point[axis]).fold(f64::NAN, f64::max);
    let reference = [worst(0), chance, worst(2)];
    if points.is_empty() {
        return None;
    }
    let (volume, unit) = match objectives {
        Objectives::TimeAccuracy => {
            let flat: Vec<[f64; 2]> = points.iter().map(|[seconds, accuracy, _]| [*seconds, *accuracy]).collect();
            (
                pareto::hypervolume_2d(&flat, &[GOALS[0], GOALS[1]], [reference[0], reference[1]]),
                reference[0] * (1.0 - chance),
            )
        }
        Objectives::TimeAccuracyParameters => {
            (pareto::hypervolume_3d(&points, &GOALS, reference), reference[0] * (1.0 - chance) * reference[2])
        }
    };
    Some(Hypervolume { volume, reference, share: volume / unit })
}

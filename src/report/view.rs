//! A study as it stands: its configurations, the records of their trials, and the front of their means.

use std::collections::HashMap;

use anyhow::Result;

use crate::{
    journal::Journal,
    pareto::{self, Goal},
    record::{Status, TrialRecord},
    space::{Expansion, Space, Trial},
    stats,
    study::{Plan, Study},
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
    /// Where and how its times were measured, in a line.
    pub origin: String,
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
    /// Reads a study from its folder, also while it is being explored.
    pub fn read(study: &Study) -> Result<StudyView> {
        let mut view = StudyView::blank(study)?;
        view.update(&Journal::read(&study.journal())?)?;
        Ok(view)
    }

    /// A study of which nothing is known but what it declares.
    pub fn blank(study: &Study) -> Result<StudyView> {
        let Plan { file: _, space, expansion, trials, keys } = study.plan()?;
        let origin = study.machine_line();
        Ok(StudyView { space, expansion, records: vec![None; trials.len()], trials, keys, origin })
    }

    /// Takes up the records that the journal holds now.
    pub fn update(&mut self, journal: &Journal) -> Result<()> {
        let index: HashMap<&str, usize> =
            self.keys.iter().enumerate().map(|(index, key)| (key.as_str(), index)).collect();
        for record in journal.records()? {
            if let Some(&at) = index.get(record.key.as_str()) {
                self.records[at] = Some(record);
            }
        }
        Ok(())
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
                    train_seconds: mean(|record| record.train_seconds),
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

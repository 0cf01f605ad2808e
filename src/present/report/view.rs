//! A study as it stands: its configurations, the records of their trials, and the front of their means.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, bail};

use crate::{
    analysis::{Basis, Design, Extent, Point, Time, is_chance},
    base::{machine::Machine, words::plural},
    learn::config::TrialConfig,
    learn::record::{EpochRow, Status, TrialRecord},
    search::{
        journal::Journal,
        space::{Candidate, Expansion, Space, Trial},
        study::{Plan, Study},
    },
    timing::{
        sets::{DEFAULT_SET, TimeSet},
        shape::steps_hash,
    },
};

/// A study as it stands.
pub struct StudyView {
    pub space: Space,
    pub expansion: Expansion,
    pub trials: Vec<Trial>,
    /// Identity of each trial.
    pub keys: Vec<String>,
    /// How many of the trials were asked for, the first ones; those that follow are further replicates, wanted once they are
    /// begun.
    pub asked: usize,
    /// Record of each trial that was started.
    pub records: Vec<Option<TrialRecord>>,
    /// Epochs of each trial that ended.
    pub epochs: Vec<Vec<EpochRow>>,
    /// Times of steps that were taken alone on a machine, if there are any.
    pub times: Option<TimeSet>,
    /// Why there are none, where there is a file of them that cannot be used.
    pub times_error: Option<String>,
    /// Where and how its times were measured, in a line.
    pub origin: String,
    /// What that line is about: the machine that the study was last explored on.
    pub machine: Option<Machine>,
}

/// What screening times may only be compared within.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Kind of the processor, or of the GPU.
    pub processor: Option<String>,
    pub is_gpu: bool,
    pub threads: Option<usize>,
    pub git_revision: Option<String>,
    /// Of a machine whose processor is unknown: two of them are not taken for one.
    pub host: Option<String>,
}

impl Origin {
    /// Of a trial.
    pub fn of(record: &TrialRecord) -> Origin {
        let TrialRecord { processor, threads, git_revision, host, .. } = record.clone();
        let host = host.filter(|_| processor.is_none());
        Origin { processor, is_gpu: record.is_of_gpu(), threads, git_revision, host }
    }

    /// Of a set of times.
    pub fn of_times(set: &TimeSet) -> Origin {
        let of = set.fingerprint.clone();
        let is_gpu = of.is_of_gpu();
        let processor = if is_gpu { Some(of.device) } else { of.processor };
        let host = processor.is_none().then(|| set.host.clone());
        Origin { processor, is_gpu, threads: Some(of.threads), git_revision: of.git_revision, host }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let processor = match (&self.processor, &self.host) {
            (Some(processor), _) => processor.clone(),
            (None, Some(host)) => format!("an unknown processor of {host}"),
            (None, None) => "an unknown processor".into(),
        };
        let build = self.git_revision.as_ref().map_or(String::new(), |build| format!(", build {build}"));
        if self.is_gpu {
            return write!(f, "GPU {processor}{build}");
        }
        let threads = match self.threads {
            Some(threads) => plural(threads, "thread"),
            None => "an unknown number of threads".into(),
        };
        write!(f, "{threads} of {processor}{build}")
    }
}

/// Whether a trial of this status may count in points.
fn has_points(status: Status) -> bool {
    is_over(status) || matches!(status, Status::Stopped | Status::Paused)
}

/// Whether a trial of this status was trained as far as it ever will be.
fn is_over(status: Status) -> bool {
    matches!(status, Status::Done | Status::Diverged)
}

/// A number of epochs in words.
pub fn epochs(count: usize) -> String {
    plural(count, "epoch")
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
        (view.times, view.times_error) = (TimeSet::read(study, name)?, None);
        if view.times.is_none() {
            let names = TimeSet::names(study)?;
            let there =
                if names.is_empty() { "it has none".to_string() } else { format!("it has {}", names.join(", ")) };
            bail!(
                "{} has no times {name:?}: {there}; `fastrcaps time {0} --as {name}` takes some on this machine",
                study.folder.display()
            );
        }
        if view.confirming().is_none() {
            bail!(
                "the times {name:?} of {0} have too few undisturbed samples for any configuration: `fastrcaps time {0} \
                 --as {name}` goes on",
                study.folder.display()
            );
        }
        Ok(view)
    }

    /// A study of which nothing is known but what it declares.
    pub fn blank(study: &Study) -> Result<StudyView> {
        let Plan { file: _, space, expansion, trials, keys, asked } = study.plan()?;
        let machine = study.machine();
        let origin = study.machine_line();
        let (records, epochs) = (vec![None; trials.len()], vec![Vec::new(); trials.len()]);
        let (times, times_error) = (None, None);
        let mut view =
            StudyView { space, expansion, records, epochs, trials, keys, asked, times, times_error, origin, machine };
        view.read_times(study);
        Ok(view)
    }

    /// Reads the times of the default name. Where they cannot be used, the study is as if it had none, and says why.
    pub fn read_times(&mut self, study: &Study) {
        (self.times, self.times_error) = match TimeSet::read(study, DEFAULT_SET) {
            Ok(times) => (times, None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
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
            if record.as_ref().is_some_and(|record| has_points(record.status)) {
                of[trial.candidate].push(index);
            }
        }
        let origin = self.common_origin();
        let mut points = Vec::new();
        for (candidate, trials) in of.iter().enumerate().filter(|(_, trials)| !trials.is_empty()) {
            let config = &self.expansion.candidates[candidate].config;
            // Of what was stopped or paused, the beginnings that it came to.
            let whole = trials.iter().any(|index| self.records[*index].as_ref().is_some_and(|of| is_over(of.status)));
            let longest = trials.iter().map(|index| self.epochs[*index].len()).max().unwrap_or(0);
            for stop in config.schedule.stops(config.train.epochs) {
                if !whole && stop > longest {
                    break;
                }
                points.push(self.point(candidate, stop, trials, origin.as_ref()));
            }
        }
        points
    }

    fn point(&self, candidate: usize, stop: usize, trials: &[usize], origin: Option<&Origin>) -> Point {
        let Candidate { config, label, .. } = &self.expansion.candidates[candidate];
        let is_whole = stop == config.train.epochs;
        let records = || trials.iter().filter_map(|index| Some((*index, self.records[*index].as_ref()?)));
        let done = || records().filter(|(index, record)| self.counts(*index, record, stop));
        let best = |rows: &[EpochRow]| rows.iter().take(stop).map(|row| row.validation_accuracy).reduce(f64::max);
        // Of a shorter training only where its best epoch is the one whose weights were tested.
        let is_tested = |record: &TrialRecord| record.best_epoch.is_some_and(|epoch| epoch <= stop);
        let time = match self.confirmed(candidate, stop) {
            Some(seconds) => Time { basis: Basis::Confirmed, seconds },
            None => Time { basis: Basis::Screened, seconds: self.screened(trials, stop, origin) },
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
            steps: is_whole.then(|| steps_hash(config)),
            diverged: records().filter(|(_, record)| record.status == Status::Diverged).count(),
        }
    }

    /// Whether a trial counts in the point of its configuration after `stop` epochs: it ended well, or was stopped or paused later.
    fn counts(&self, index: usize, record: &TrialRecord, stop: usize) -> bool {
        match record.status {
            Status::Done => true,
            Status::Stopped | Status::Paused => self.epochs[index].len() >= stop,
            _ => false,
        }
    }

    /// Images that the validation accuracy of a configuration is a share of.
    pub fn validated_on(&self, candidate: usize) -> usize {
        self.expansion.candidates[candidate].config.data.counts().validation
    }

    /// Whether a point's accuracy is no better than chance, by the number of its validation images.
    pub fn is_chance(&self, point: &Point) -> bool {
        let classes = self.expansion.candidates[point.candidate].config.data.name.classes();
        let images = self.validated_on(point.candidate);
        point.mean_accuracy().is_some_and(|accuracy| is_chance(accuracy, images, classes))
    }

    /// The fewest and the most images that validation accuracies are shares of, and test accuracies.
    pub fn images(&self) -> [(usize, usize); 2] {
        let counts = self.expansion.candidates.iter().map(|of| of.config.data.counts());
        let grown = |ends: Option<(usize, usize)>, of: usize| {
            Some(ends.map_or((of, of), |(least, most)| (least.min(of), most.max(of))))
        };
        let ends =
            counts.fold([None; 2], |[validation, test], of| [grown(validation, of.validation), grown(test, of.test)]);
        ends.map(Option::unwrap_or_default)
    }

    /// The configuration that trains a point: of a beginning of a training one that passes as a training of its own.
    pub fn config(&self, point: &Point) -> Result<TrialConfig> {
        let mut config = self.expansion.candidates[point.candidate].config.clone();
        config.train.epochs = point.epochs;
        TrialConfig::resolve(config.to_table()).with_context(|| format!("{} cannot be trained by itself", point.label))
    }

    /// Whether two points are one training, to the bit.
    pub fn is_same_training(&self, one: &Point, other: &Point) -> bool {
        let key = |point: &Point| self.config(point).ok().map(|config| config.key(""));
        key(one).is_some_and(|of| Some(of) == key(other))
    }

    /// Where and how the times were taken, in a line; empty where that is not known.
    pub fn times_line(&self) -> String {
        self.times_line_of(if self.confirming().is_some() { Basis::Confirmed } else { Basis::Screened })
    }

    /// The same of the times of one basis.
    pub fn times_line_of(&self, basis: Basis) -> String {
        let screened = || match self.common_origin() {
            Some(origin) if origin.processor.is_some() && !self.is_of_machine(&origin) => {
                format!("screened on {origin}")
            }
            _ if self.origin.is_empty() => String::new(),
            _ => format!("screened on {}", self.origin),
        };
        let confirming = self.confirming().filter(|_| basis == Basis::Confirmed);
        let Some(TimeSet { fingerprint: of, .. }) = confirming else { return screened() };
        if of.is_of_gpu() {
            return format!("steps timed alone, on GPU {}", of.device);
        }
        let processor = of.processor.as_deref().unwrap_or("an unknown processor");
        let (threads, cores) = (plural(of.threads, "thread"), plural(of.cores, "core"));
        format!("steps timed alone, {threads} on {cores} of {processor}")
    }

    /// Whether times of this origin are those of the machine that the study was last explored on, as it was used there.
    fn is_of_machine(&self, origin: &Origin) -> bool {
        self.machine.as_ref().is_some_and(|machine| {
            !origin.is_gpu && origin.processor == machine.processor && origin.threads == machine.cpu_threads()
        })
    }

    /// The set of times, where it has undisturbed times of all steps of a training.
    fn confirming(&self) -> Option<&TimeSet> {
        let candidates = &self.expansion.candidates;
        let has_time = |at: usize| self.confirmed(at, candidates[at].config.train.epochs).is_some();
        self.times.as_ref().filter(|_| (0..candidates.len()).any(has_time))
    }

    /// Confirmed seconds of a configuration's first `stop` epochs, by round.
    pub fn confirmed(&self, candidate: usize, stop: usize) -> Option<BTreeMap<usize, f64>> {
        self.times.as_ref()?.rounds(&self.expansion.candidates[candidate].config, stop)
    }

    /// What stands for them.
    pub fn confirmed_seconds(&self, candidate: usize, stop: usize) -> Option<f64> {
        self.times.as_ref()?.seconds(&self.expansion.candidates[candidate].config, stop)
    }

    /// Screening seconds of the first `stop` epochs by replicate, of those of `trials` that ended well and are of this origin.
    fn screened(&self, trials: &[usize], stop: usize, origin: Option<&Origin>) -> BTreeMap<usize, f64> {
        let seconds = |index: &usize| {
            let record = self.records[*index].as_ref().filter(|record| self.counts(*index, record, stop))?;
            origin.filter(|origin| **origin == Origin::of(record))?;
            Some((record.replicate, self.epochs[*index].get(stop - 1)?.train_seconds_screen))
        };
        trials.iter().filter_map(seconds).collect()
    }

    /// Screening seconds of a point by replicate, whether or not its time is confirmed.
    pub fn screen_seconds(&self, point: &Point) -> BTreeMap<usize, f64> {
        let trials = self.trials.iter().enumerate().filter(|(_, trial)| trial.candidate == point.candidate);
        let trials: Vec<usize> = trials.map(|(index, _)| index).collect();
        self.screened(&trials, point.epochs, self.common_origin().as_ref())
    }

    /// What the screening times are of that may be compared: with each other and, if there are any, with the confirmed ones.
    pub fn common_origin(&self) -> Option<Origin> {
        if let Some(set) = self.confirming() {
            return Some(Origin::of_times(set));
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

    /// Indices of the trials that the study is about: all that were asked for, and further replicates that were begun.
    pub fn wanted(&self) -> impl Iterator<Item = usize> {
        (0..self.trials.len()).filter(|index| *index < self.asked || self.records[*index].is_some())
    }

    /// Trials of a status.
    pub fn count(&self, status: Status) -> usize {
        self.records.iter().flatten().filter(|record| record.status == status).count()
    }
}

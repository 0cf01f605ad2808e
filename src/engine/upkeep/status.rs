//! How a study stands at this moment, for who looks on.

use std::time::SystemTime;

use anyhow::Result;
use serde::Serialize;

use crate::{
    analysis::Basis,
    base::machine::from_rfc3339,
    learn::record::{Status, TrialRecord},
    present::report::{findings::Findings, view::StudyView},
    search::{
        journal::Journal,
        strategy::Audit,
        study::{Explorer, Study},
    },
};

/// Failures that are told, the latest ones.
const FAILURES: usize = 5;

/// A study at a moment. Units are in the names; what is unknown is absent.
#[derive(Debug, Serialize)]
pub struct Standing {
    /// Who explores it now: process, host, since when. Empty for the moment in which that is being written.
    pub explorer: Option<String>,
    /// Who explored it last, where nobody does now.
    pub last_explorer: Option<String>,
    /// Who holds it for something else, and for what, as in "rebuilt by process 5 on host since then".
    pub held: Option<String>,
    /// Why it cannot be known who explores it; absent where it can.
    pub unknown: Option<String>,
    /// In what a published data set that it trains on is not the published one, a line a file.
    pub data_differences: Vec<String>,
    pub trials: usize,
    pub done: usize,
    pub diverged: usize,
    pub failed: usize,
    /// Given up by the search.
    pub stopped: usize,
    /// Set aside by the search at a checkpoint: they may go on.
    pub paused_trials: usize,
    /// What the last audit of the paused found, where there was one.
    pub audit: Option<Audit>,
    pub running: Vec<Running>,
    /// Trials that nobody runs and that have not ended, those among them that were running when their explorer ended.
    pub pending: usize,
    pub interrupted: usize,
    pub failures: Vec<Failure>,
    pub best: Option<Best>,
    /// Seconds until every trial that was asked for or begun has ended, if epochs take as long as in those trials that this exploration
    /// trained from their beginning, and as many run at once as now. Of a trial that goes on from an earlier attempt it
    /// is not known which epochs were trained when.
    pub eta_seconds: Option<f64>,
}

#[derive(Debug, Serialize)]
pub struct Running {
    pub key: String,
    pub configuration: String,
    pub replicate: usize,
    /// Epochs completed, of how many.
    pub epoch: usize,
    pub epochs: usize,
    /// Of the last completed epoch.
    pub validation_accuracy: Option<f64>,
    pub started: Option<String>,
    pub running_seconds: Option<f64>,
}

#[derive(Debug, Serialize)]
pub struct Failure {
    pub key: String,
    pub configuration: String,
    pub ended: Option<String>,
    pub error: Option<String>,
}

/// The most accurate configuration on the front of time and accuracy.
#[derive(Debug, Serialize)]
pub struct Best {
    pub configuration: String,
    pub replicates: usize,
    pub validation_accuracy: Option<f64>,
    pub train_seconds: Option<f64>,
    /// How that time was taken: `confirmed`, alone on the machine, or `screened`, beside other trials.
    pub time_basis: Option<&'static str>,
}

/// What is found of the trials one by one.
struct Tally {
    now: SystemTime,
    /// When the present explorer began, where that is known.
    since: Option<SystemTime>,
    /// Epochs to come.
    epochs_left: usize,
    /// Epochs of trials that began since the explorer did, and the seconds they took.
    epochs_trained: usize,
    seconds_trained: f64,
    interrupted: usize,
    running: Vec<Running>,
    failures: Vec<Failure>,
}

impl Tally {
    fn new(explorer: &Explorer) -> Tally {
        let since = match explorer {
            Explorer::Active(line) => line.rsplit(' ').next().and_then(from_rfc3339),
            _ => None,
        };
        Tally {
            now: SystemTime::now(),
            since,
            epochs_left: 0,
            epochs_trained: 0,
            seconds_trained: 0.0,
            interrupted: 0,
            running: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Takes up a trial of the view's. `may_run` says whether what the journal has as running may be.
    fn take(&mut self, study: &Study, view: &StudyView, index: usize, may_run: bool) {
        let (trial, key) = (&view.trials[index], &view.keys[index]);
        let epochs = trial.config.train.epochs;
        let Some(record) = &view.records[index] else {
            self.epochs_left += epochs;
            return;
        };
        let configuration = || view.expansion.candidates[trial.candidate].label.clone();
        match record.status {
            Status::Running if may_run => {
                // A row that is being written is not there yet.
                let rows = study.trial(key).read_epochs().unwrap_or_default();
                let started = record.started.as_deref().and_then(from_rfc3339);
                self.epochs_left += epochs.saturating_sub(rows.len());
                self.learn(record, rows.len(), Some(self.now));
                self.running.push(Running {
                    key: key.clone(),
                    configuration: configuration(),
                    replicate: trial.replicate,
                    epoch: rows.len(),
                    epochs,
                    validation_accuracy: rows.last().map(|row| row.validation_accuracy),
                    started: record.started.clone(),
                    running_seconds: started.and_then(|at| Some(self.now.duration_since(at).ok()?.as_secs_f64())),
                });
            }
            Status::Running | Status::Pending => {
                self.interrupted += usize::from(record.status == Status::Running);
                self.epochs_left += epochs;
            }
            Status::Done | Status::Diverged | Status::Failed | Status::Stopped | Status::Paused => {
                self.learn(record, record.epochs, record.ended.as_deref().and_then(from_rfc3339));
                if record.status == Status::Failed {
                    self.failures.push(Failure {
                        key: key.clone(),
                        configuration: configuration(),
                        ended: record.ended.clone(),
                        error: record.error.clone(),
                    });
                }
            }
        }
    }

    /// Takes up how long so many epochs took until then, of a trial that this exploration trained from its beginning.
    fn learn(&mut self, record: &TrialRecord, epochs: usize, until: Option<SystemTime>) {
        let started = record.started.as_deref().and_then(from_rfc3339);
        let started = started.filter(|started| self.since.is_some_and(|at| *started >= at));
        let took = started.zip(until).and_then(|(started, until)| until.duration_since(started).ok());
        if let Some(took) = took.filter(|_| record.attempts <= 1 && epochs > 0) {
            self.epochs_trained += epochs;
            self.seconds_trained += took.as_secs_f64();
        }
    }

    /// Seconds until every trial has ended: see [`Standing::eta_seconds`].
    fn eta_seconds(&self) -> Option<f64> {
        let at_once = self.running.len() as f64;
        let is_known = self.epochs_trained > 0 && self.epochs_left > 0 && at_once > 0.0;
        is_known.then(|| self.seconds_trained / self.epochs_trained as f64 * self.epochs_left as f64 / at_once)
    }
}

/// How a study stands.
pub fn standing(study: &Study) -> Result<Standing> {
    Ok(look(study)?.0)
}

/// How a study stands, with what that was read from.
pub fn look(study: &Study) -> Result<(Standing, StudyView)> {
    let mut view = StudyView::blank(study)?;
    // Before the journal: what it has as running is run by this one.
    let explorer = study.explorer();
    if study.journal().exists() {
        view.update(&Journal::read(&study.journal())?)?;
    }
    // Where that cannot be known, what the journal has as running may be.
    let may_run = matches!(explorer, Explorer::Active(_) | Explorer::Unknown(_));
    let mut tally = Tally::new(&explorer);
    view.wanted().for_each(|index| tally.take(study, &view, index, may_run));
    let eta_seconds = tally.eta_seconds();
    let Tally { interrupted, running, mut failures, .. } = tally;
    failures.sort_by(|a, b| b.ended.cmp(&a.ended));
    failures.truncate(FAILURES);
    let [done, diverged, failed, stopped, paused_trials] =
        [Status::Done, Status::Diverged, Status::Failed, Status::Stopped, Status::Paused].map(|of| view.count(of));
    let [mut active, mut gone, mut held, mut unknown] = [const { None }; 4];
    match explorer {
        Explorer::Active(line) => active = Some(line),
        Explorer::Gone(line) => gone = Some(line),
        Explorer::Busy(line) => held = Some(line),
        Explorer::Unknown(why) => unknown = Some(why),
        Explorer::Nobody => {}
    }
    let standing = Standing {
        explorer: active,
        last_explorer: gone,
        held,
        unknown,
        data_differences: study.read()?.data_differences,
        trials: view.wanted().count(),
        done,
        diverged,
        failed,
        stopped,
        paused_trials,
        audit: super::audit(study),
        pending: view.wanted().count() - done - diverged - failed - stopped - paused_trials - running.len(),
        interrupted,
        running,
        failures,
        best: best(&view),
        eta_seconds,
    };
    Ok((standing, view))
}

fn best(view: &StudyView) -> Option<Best> {
    let findings = Findings::of(view);
    // By time: on a front the slowest is the most accurate.
    let best = &findings.points[*findings.front.last()?];
    Some(Best {
        configuration: best.label.clone(),
        replicates: best.accuracy.len(),
        validation_accuracy: best.mean_accuracy(),
        train_seconds: best.seconds(),
        time_basis: best.seconds().map(|_| match best.time.basis {
            Basis::Confirmed => "confirmed",
            Basis::Screened => "screened",
        }),
    })
}

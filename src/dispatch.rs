//! The one loop that joins strategy, executor and journal.

use std::{
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result};

use crate::{
    executor::{Executor, Exit, Process, Slot},
    folder::TrialFolder,
    journal::Journal,
    machine,
    record::{EpochRow, Status, TrialRecord},
    space::Trial,
    strategy::{Moment, Strategy},
    study::Study,
};

/// How often processes are looked at.
const POLL: Duration = Duration::from_millis(20);
/// How often their epochs are read.
const PROGRESS: Duration = Duration::from_millis(500);

/// What happens in a sweep, for who watches it.
#[derive(Debug)]
pub enum Event<'a> {
    Started {
        trial: usize,
        slot: usize,
    },
    /// A running trial completed another epoch.
    Epoch {
        trial: usize,
        row: &'a EpochRow,
    },
    Ended {
        trial: usize,
        record: &'a TrialRecord,
    },
}

/// A sweep of trials over slots.
pub struct Dispatcher<'a> {
    pub study: &'a Study,
    pub trials: &'a [Trial],
    /// Identity of each trial.
    pub keys: &'a [String],
    pub slots: &'a [Slot],
    pub journal: &'a mut Journal,
    pub executor: &'a mut dyn Executor,
}

struct Running {
    trial: usize,
    folder: TrialFolder,
    process: Box<dyn Process>,
    epochs_seen: usize,
}

impl Dispatcher<'_> {
    /// Trains what `strategy` chooses until it chooses nothing more and nothing runs.
    ///
    /// `history[i]` is the status of trial `i` from earlier runs; trials that ended stay ended.
    /// After each event `observe` is called; an error from it ends the sweep.
    pub fn run(
        &mut self,
        strategy: &dyn Strategy,
        mut history: Vec<Status>,
        observe: &mut dyn FnMut(&Event) -> Result<()>,
    ) -> Result<Vec<Status>> {
        let mut running: Vec<Option<Running>> = self.slots.iter().map(|_| None).collect();
        let mut looked = Instant::now();
        let took = vec![None; self.trials.len()];
        let choose =
            |trials, history: &[Status]| strategy.next(&Moment { trials, history, took: &took, seconds_left: None });
        loop {
            for (slot, place) in running.iter_mut().enumerate().filter(|(_, place)| place.is_none()) {
                let Some(trial) = choose(self.trials, &history) else { break };
                history[trial] = Status::Running;
                match self.start(trial, slot)? {
                    Ok(started) => {
                        observe(&Event::Started { trial, slot })?;
                        *place = Some(started);
                    }
                    Err(record) => {
                        history[trial] = record.status;
                        observe(&Event::Ended { trial, record: &record })?;
                    }
                }
            }
            if running.iter().all(Option::is_none) && choose(self.trials, &history).is_none() {
                return Ok(history);
            }
            let look = looked.elapsed() >= PROGRESS;
            for place in &mut running {
                let Some(now) = place else { continue };
                if let Some(exit) = now.process.poll()? {
                    let record = self.end(now, exit)?;
                    history[now.trial] = record.status;
                    let event = Event::Ended { trial: now.trial, record: &record };
                    observe(&event)?;
                    *place = None;
                } else if look {
                    // A row that cannot be read now is read with the trial's end.
                    let rows = now.folder.read_epochs().unwrap_or_default();
                    for row in rows.iter().skip(now.epochs_seen) {
                        observe(&Event::Epoch { trial: now.trial, row })?;
                    }
                    now.epochs_seen = now.epochs_seen.max(rows.len());
                }
            }
            if look {
                looked = Instant::now();
            }
            thread::sleep(POLL);
        }
    }

    /// Starts a trial; the inner error is the record of one that could not be started.
    fn start(&mut self, trial: usize, slot: usize) -> Result<Result<Running, TrialRecord>> {
        let (of, slot) = (&self.trials[trial], &self.slots[slot]);
        let mut record = TrialRecord::pending(self.keys[trial].clone(), of.replicate, &of.config);
        record.status = Status::Running;
        record.started = Some(now());
        record.threads = Some(slot.threads);
        record.host = Some(machine::host());
        record.git_revision = machine::git_revision();
        let folder = self.study.trial(&record.key);
        self.journal.put(&record, &[])?;
        let started = folder.prepare(&of.config, &record).and_then(|()| self.executor.start(&folder.path, slot));
        match started {
            Ok(process) => Ok(Ok(Running { trial, folder, process, epochs_seen: 0 })),
            Err(error) => {
                let record = failed(record, format!("could not be started: {error:#}"));
                self.journal.put(&record, &[])?;
                Ok(Err(record))
            }
        }
    }

    /// Takes up what an ended trial left behind.
    fn end(&mut self, running: &Running, exit: Exit) -> Result<TrialRecord> {
        let trial = &self.trials[running.trial];
        let key = &self.keys[running.trial];
        let blank =
            || TrialRecord { started: None, ..TrialRecord::pending(key.clone(), trial.replicate, &trial.config) };
        let (epochs, damage) = match running.folder.read_epochs() {
            Ok(epochs) => (epochs, None),
            Err(error) => (Vec::new(), Some(format!("{error:#}"))),
        };
        let record = match running.folder.read_record() {
            Ok(record) if record.key != *key => {
                failed(blank(), format!("left the record of another trial, {}", record.key))
            }
            Ok(record) if record.status.is_final() && exit == Exit::Code(0) => match damage {
                None => record,
                Some(damage) => failed(record, damage),
            },
            Ok(record) if record.status == Status::Failed => record,
            Ok(record) => failed(record, reason(exit, &running.folder)),
            Err(error) => failed(blank(), format!("{}; {error:#}", reason(exit, &running.folder))),
        };
        let record = TrialRecord { epochs: epochs.len(), ..record };
        running.folder.write_record(&record)?;
        self.journal.put(&record, &epochs).with_context(|| format!("trial {key}"))?;
        Ok(record)
    }
}

fn failed(record: TrialRecord, error: String) -> TrialRecord {
    TrialRecord { status: Status::Failed, ended: Some(now()), error: Some(error), ..record }
}

fn now() -> String {
    machine::rfc3339(SystemTime::now())
}

/// Why a process ended without a result, in words.
fn reason(exit: Exit, folder: &TrialFolder) -> String {
    let how = match exit {
        Exit::Signal(9) => "killed by signal 9 (by hand, or by the system when memory ran out)".to_string(),
        Exit::Signal(6) => "aborted (signal 6), as when an allocation fails".to_string(),
        Exit::Signal(signal) => format!("ended by signal {signal}"),
        Exit::Code(101) => "panicked".to_string(),
        Exit::Code(code) => format!("ended with exit code {code} and no result"),
    };
    match folder.last_words() {
        Some(words) => format!("{how}: {words}"),
        None => how,
    }
}

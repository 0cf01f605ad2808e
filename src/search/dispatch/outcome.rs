//! What became of an attempt, and whose fault it was.

use std::time::SystemTime;

use super::running::{Cut, Running};
use crate::{
    base::{machine, words::plural},
    learn::record::{EpochRow, Fault, Status, TrialRecord},
    search::worker::End,
};

/// The end of an attempt.
pub(super) struct Outcome {
    pub trial: usize,
    pub record: TrialRecord,
    pub epochs: Vec<EpochRow>,
    pub verdict: Verdict,
}

/// What follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The trial has ended.
    Over,
    /// It may be tried again.
    Again,
    /// It may be tried again with nothing beside it.
    AgainAlone,
    /// It may be tried again, and its worker gives it more memory then.
    AgainLarger,
    /// It ended at a checkpoint, or was ended, because the sweep stops.
    Stopped,
    /// It has completed the epochs that it was to, and may go on.
    Paused,
}

/// Takes up what an ended process left behind. `blank` is the record of the trial without any result.
pub(super) fn judge(ended: &Running, end: End, blank: TrialRecord) -> Outcome {
    let (epochs, damage) = match ended.folder.read_epochs() {
        Ok(epochs) => (epochs, None),
        Err(error) => (Vec::new(), Some(format!("{error:#}"))),
    };
    let left = ended.folder.read_record();
    let attempts = blank.attempts;
    let is_own = |record: &TrialRecord| record.key == blank.key;
    let (record, verdict) = match left {
        // It is written last of all: however the process went after that, its training is whole.
        Ok(record) if is_own(&record) && matches!(record.status, Status::Done | Status::Diverged) => {
            let counts = format!("left {}, and a record of {}", plural(epochs.len(), "epoch"), record.epochs);
            match damage.or((epochs.len() != record.epochs).then_some(counts)) {
                None => (record, Verdict::Over),
                Some(damage) => (failed(blank, Fault::Machine, damage), Verdict::Again),
            }
        }
        left => {
            let base = match &left {
                Ok(record) if is_own(record) => record.clone(),
                _ => blank.clone(),
            };
            let fault = fault(ended, &end, left.as_ref().ok().filter(|record| is_own(record)));
            let said = match end {
                End::Exited(said) | End::Broken(_, said) => said,
                End::Stopped | End::Killed => "was ended".into(),
            };
            let why = match &left {
                _ if let Some(Cut::Timeout(most)) = ended.cut => {
                    format!("ended: it was not done after {:.4} minutes", most.as_secs_f64() / 60.0)
                }
                Ok(record) if !is_own(record) => format!("left the record of another trial, {}", record.key),
                Ok(record) if record.status == Status::Failed => record.error.clone().unwrap_or(said),
                Ok(_) => said,
                Err(error) => format!("{said}; {error:#}"),
            };
            match fault {
                None if ended.cut.is_none() && epochs.len() >= ended.until => {
                    (TrialRecord { status: Status::Pending, error: None, ..base }, Verdict::Paused)
                }
                None => {
                    let by_others = ended.cut.is_none().then(|| "asked to stop, but not by its explorer".to_string());
                    (TrialRecord { status: Status::Pending, error: by_others, ..base }, Verdict::Stopped)
                }
                Some(of @ (Fault::Configuration | Fault::Timeout)) => (failed(base, of, why), Verdict::Over),
                Some(of @ Fault::Machine) => (failed(base, of, why), Verdict::Again),
                Some(of @ Fault::Memory) if ended.is_elsewhere => (failed(base, of, why), Verdict::AgainLarger),
                Some(of @ Fault::Memory) => (failed(base, of, why), Verdict::AgainAlone),
            }
        }
    };
    let co_runners = Some(ended.co_runners);
    // No processor's in particular.
    let processor = record.processor.clone().filter(|_| !ended.is_mixed);
    let record = TrialRecord { epochs: epochs.len(), attempts, co_runners, processor, ..record };
    Outcome { trial: ended.trial, record, epochs, verdict }
}

/// Whose fault it was that an attempt ended without a result; nobody's where it was stopped.
fn fault(ended: &Running, end: &End, left: Option<&TrialRecord>) -> Option<Fault> {
    match (ended.cut, end) {
        (Some(Cut::Timeout(_)), _) => Some(Fault::Timeout),
        (_, End::Stopped | End::Killed) => None,
        (_, End::Broken(fault, _)) => Some(*fault),
        (_, End::Exited(_)) => {
            let said = left.filter(|record| record.status == Status::Failed).and_then(|record| record.fault);
            Some(match said.unwrap_or(Fault::Machine) {
                // It had the GPU for itself: no more memory is to be had there.
                Fault::Memory if !ended.place.is_cpu() && (ended.is_elsewhere || ended.on_its_gpu == 0) => {
                    Fault::Configuration
                }
                said => said,
            })
        }
    }
}

/// `record` as that of a trial that failed.
pub(super) fn failed(record: TrialRecord, fault: Fault, error: String) -> TrialRecord {
    TrialRecord { status: Status::Failed, fault: Some(fault), ended: Some(now()), error: Some(error), ..record }
}

/// This moment in UTC.
pub(super) fn now() -> String {
    machine::rfc3339(SystemTime::now())
}

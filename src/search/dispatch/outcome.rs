//! What became of an attempt, and whose fault it was.

use std::time::Duration;

use super::{now, sweep::Running};
use crate::{
    base::{machine, words::plural},
    learn::{
        folder::TrialFolder,
        record::{EpochRow, Fault, Status, TrialRecord},
    },
    search::executor::{Exit, STOPPED},
};

/// Why an attempt was made to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The sweep is stopping.
    Stop,
    /// It took longer than this.
    Timeout(Duration),
}

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
    /// It ended at a checkpoint, or was ended, because the sweep stops.
    Stopped,
}

/// Takes up what an ended process left behind. `blank` is the record of the trial without any result.
pub(super) fn judge(ended: &Running, exit: Exit, blank: TrialRecord) -> Outcome {
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
            let why = match &left {
                _ if let Some(Cut::Timeout(most)) = ended.cut => {
                    format!("ended: it was not done after {:.4} minutes", most.as_secs_f64() / 60.0)
                }
                Ok(record) if !is_own(record) => format!("left the record of another trial, {}", record.key),
                Ok(record) if record.status == Status::Failed => {
                    record.error.clone().unwrap_or_else(|| reason(exit, &ended.folder))
                }
                Ok(_) => reason(exit, &ended.folder),
                Err(error) => format!("{}; {error:#}", reason(exit, &ended.folder)),
            };
            let fault = fault(ended, exit, left.as_ref().ok().filter(|record| is_own(record)));
            let why = match (fault, exit) {
                (Some(Fault::Memory), Exit::Signal(9)) => "killed by the system, which had no memory left".to_string(),
                _ => why,
            };
            match fault {
                None => {
                    let by_others = ended.cut.is_none().then(|| "asked to stop, but not by its explorer".to_string());
                    (TrialRecord { status: Status::Pending, error: by_others, ..base }, Verdict::Stopped)
                }
                Some(of @ (Fault::Configuration | Fault::Timeout)) => (failed(base, of, why), Verdict::Over),
                Some(of @ Fault::Machine) => (failed(base, of, why), Verdict::Again),
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

/// Whose fault it was that a process ended without a result; nobody's where it was stopped.
fn fault(ended: &Running, exit: Exit, left: Option<&TrialRecord>) -> Option<Fault> {
    match (ended.cut, exit) {
        (Some(Cut::Timeout(_)), _) => Some(Fault::Timeout),
        (_, Exit::Code(STOPPED)) | (Some(Cut::Stop), Exit::Signal(9)) => None,
        (_, Exit::Signal(9)) if was_out_of_memory(ended) => Some(Fault::Memory),
        (_, Exit::Signal(6)) if failed_to_allocate(&ended.folder) => Some(Fault::Memory),
        // A panic comes again: nothing in a training is left to chance.
        (_, Exit::Code(101)) => Some(Fault::Configuration),
        (_, Exit::Signal(_)) => Some(Fault::Machine),
        (_, Exit::Code(_)) => {
            let said = left.filter(|record| record.status == Status::Failed).and_then(|record| record.fault);
            Some(match said.unwrap_or(Fault::Machine) {
                // It had the GPU for itself: no more memory is to be had there.
                Fault::Memory if !ended.place.is_cpu() && ended.on_its_gpu == 0 => Fault::Configuration,
                said => said,
            })
        }
    }
}

/// Whether the system killed processes for want of memory while this one ran.
fn was_out_of_memory(ended: &Running) -> bool {
    matches!((ended.oom_kills, machine::oom_kills()), (Some(before), Some(after)) if after > before)
}

fn failed_to_allocate(folder: &TrialFolder) -> bool {
    folder.last_words().is_some_and(|words| words.contains("memory allocation of"))
}

/// `record` as that of a trial that failed.
pub(super) fn failed(record: TrialRecord, fault: Fault, error: String) -> TrialRecord {
    TrialRecord { status: Status::Failed, fault: Some(fault), ended: Some(now()), error: Some(error), ..record }
}

/// How a process ended that a signal ended, with the signal's name, and what sends it where that can be mended.
fn ended_by(signal: i32) -> String {
    let named = match signal_hook::low_level::signal_name(signal) {
        Some(name) => format!("signal {signal}, {name}"),
        None => format!("signal {signal}"),
    };
    match signal {
        libc::SIGKILL => format!("killed by {named} (by hand, or by the system when memory ran out)"),
        libc::SIGABRT => format!("aborted ({named}), as when an allocation fails"),
        libc::SIGXFSZ => {
            format!("ended by {named}: a file grew beyond what may be written (`ulimit -f` says how much)")
        }
        libc::SIGXCPU => format!("ended by {named}: it computed longer than it may (`ulimit -t` says how long)"),
        libc::SIGBUS => format!("ended by {named}, as when a file that is mapped is cut short or its disk fails"),
        libc::SIGILL => format!("ended by {named}: the processor does not know an instruction"),
        _ => format!("ended by {named}"),
    }
}

/// Why a process ended without a result, in words.
fn reason(exit: Exit, folder: &TrialFolder) -> String {
    let how = match exit {
        Exit::Signal(signal) => ended_by(signal),
        Exit::Code(101) => "panicked".to_string(),
        Exit::Code(-1) => "ended, nobody knows how, with no result".to_string(),
        Exit::Code(code) => format!("ended with exit code {code} and no result"),
    };
    match folder.last_words() {
        Some(words) => format!("{how}: {words}"),
        None => how,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_by_signal_is_told_with_its_name() {
        for (signal, words) in [
            (9, "killed by signal 9, SIGKILL ("),
            (11, "ended by signal 11, SIGSEGV"),
            (libc::SIGXFSZ, "SIGXFSZ: a file grew beyond what may be written"),
            (64, "ended by signal 64"),
        ] {
            assert!(ended_by(signal).contains(words), "{}", ended_by(signal));
        }
    }
}

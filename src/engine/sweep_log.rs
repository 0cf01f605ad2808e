//! `sweep.log` of a study: what its explorers did and when, a line an event.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    time::{Instant, SystemTime},
};

use crate::{
    base::{
        device::Place,
        machine,
        words::{accuracy, duration, plural, spelled},
    },
    learn::record::{Status, TrialRecord},
    present::report::view::StudyView,
    search::{
        dispatch::{Ending, Event},
        space::Trial,
        study::Study,
    },
};

/// Bytes at the end of a log in which is looked for what its explorer said last.
const LAST: u64 = 1 << 20;

/// The log of a study, open at its end.
pub struct SweepLog {
    /// Absent where it cannot be written: a sweep is worth more than its log.
    file: Option<File>,
    labels: Vec<String>,
    began: Instant,
}

impl SweepLog {
    pub fn open(study: &Study, view: &StudyView) -> SweepLog {
        let label = |trial: &Trial| {
            format!("{} replicate {}", view.expansion.candidates[trial.candidate].label, trial.replicate)
        };
        let labels = view.trials.iter().zip(&view.keys).map(|(trial, key)| format!("{key} {}", label(trial))).collect();
        SweepLog {
            file: File::options().create(true).append(true).open(study.log()).ok(),
            labels,
            began: Instant::now(),
        }
    }

    /// Writes down an event; epochs stand in the trials' own folders.
    pub fn event(&mut self, event: &Event) {
        let label = match event {
            Event::Epoch { .. } => return,
            Event::Started { trial, .. }
            | Event::Ended { trial, .. }
            | Event::Retried { trial, .. }
            | Event::Rested { trial, .. }
            | Event::Stopped { trial, .. } => self.labels[*trial].clone(),
            Event::Paused { .. } | Event::Resumed | Event::Stopping { .. } => String::new(),
        };
        self.line(&event_line(event, &label));
    }

    pub fn line(&mut self, line: &str) {
        if let Some(file) = &mut self.file {
            // One writing a line: a full disk tears none that follows. Reasons may have several lines.
            let line = line.lines().map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" / ");
            let line = format!("{} {line}\n", machine::rfc3339(SystemTime::now()));
            let _ = file.write_all(line.as_bytes());
        }
    }

    /// Writes down that this run has ended, and how.
    pub fn close(&mut self, how: &str) {
        self.line(&format!("{how} after {}", duration(self.began.elapsed().as_secs_f64())));
    }
}

/// Why the sweep pauses that is writing this study's log, by the last line about that; none where it does not, or where the
/// log does not say. To be asked only of a study that is being explored: who dies while it pauses says nothing more.
pub fn pause(study: &Study) -> Option<String> {
    let mut file = File::open(study.log()).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LAST))).ok()?;
    let mut text = Vec::new();
    file.take(LAST).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().rev().filter_map(|line| line.split_once(' ').map(|(_, line)| line));
    for line in lines {
        if line.starts_with(PAUSED) {
            return Some(line.into());
        }
        // A sweep begins with the line of its process.
        if line.starts_with(RESUMED) || line.starts_with("process ") {
            return None;
        }
    }
    None
}

/// How the lines begin that say that a sweep pauses, and that it goes on.
const PAUSED: &str = "no trial is started for now";
const RESUMED: &str = "trials are started again";

/// A slot by its number, from 1, with the GPU that it is on.
pub fn slot_name(slot: usize, place: Place) -> String {
    if place.is_cpu() { (slot + 1).to_string() } else { format!("{} ({place})", slot + 1) }
}

/// An event in words, for terminal and log; `label` is its trial's.
pub fn event_line(event: &Event, label: &str) -> String {
    let reason = |record: &TrialRecord| spelled(record.error.as_deref().unwrap_or("no reason known")).into_owned();
    match event {
        Event::Started { slot, place, epochs_before, .. } => {
            let slot = slot_name(*slot, *place);
            match epochs_before {
                0 => format!("{label}: started in slot {slot}"),
                _ => format!("{label}: started in slot {slot}, continues after epoch {epochs_before}"),
            }
        }
        Event::Epoch { row, .. } => {
            format!("{label}: epoch {}, validation {}", row.epoch, accuracy(Some(row.validation_accuracy)))
        }
        Event::Ended { record, .. } if record.status == Status::Done => format!(
            "{label}: validation {}, test {}, trained {}",
            accuracy(record.validation_accuracy),
            accuracy(record.test_accuracy),
            duration(record.train_seconds_screen.unwrap_or_default())
        ),
        Event::Ended { record, .. } => format!("{label}: {}: {}", record.status.as_str(), reason(record)),
        Event::Retried { record, wait, .. } => {
            let when = match wait {
                Some(wait) => format!("in {}", duration(wait.as_secs_f64())),
                None => "when nothing else is left to do, alone".into(),
            };
            format!("{label}: attempt {} failed: {}; it is tried again {when}", record.attempts, reason(record))
        }
        Event::Rested { record, .. } => format!("{label}: rests after {}", plural(record.epochs, "epoch")),
        Event::Stopped { record, .. } => {
            format!("{label}: stopped after {}, to be continued", plural(record.epochs, "epoch"))
        }
        Event::Paused { reason } => format!("{PAUSED}: {reason}; when that is mended, the sweep goes on"),
        Event::Resumed => RESUMED.into(),
        Event::Stopping { why, running } => {
            let again = if *why == Ending::Asked { "; once more ends them now" } else { "" };
            let why = match why {
                Ending::Asked => "asked to stop",
                Ending::Deadline => "the time is over",
                Ending::Failures => "too many trials failed",
                Ending::Finished => "finished",
                Ending::Broken => "the journal refuses what it is given",
                Ending::Detached => "left to run by itself",
            };
            match running {
                0 => format!("{why}: nothing is started any more"),
                1 => {
                    format!("{why}: nothing is started any more, the running trial writes a checkpoint and ends{again}")
                }
                _ => format!(
                    "{why}: nothing is started any more, {running} running trials write a checkpoint and end{again}"
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::config::TrialConfig;

    #[test]
    fn an_event_is_one_line_and_a_pause_is_found_in_the_last_that_tell_of_one() {
        let folder = tempfile::tempdir().unwrap();
        let study = Study::new(folder.path());
        assert_eq!(pause(&study), None);
        let file = File::options().create(true).append(true).open(study.log()).ok();
        let mut log = SweepLog { file, labels: vec!["a".into()], began: Instant::now() };
        log.line("process 5 explores");
        log.event(&Event::Paused { reason: "cannot write x:\n  no room" });
        log.line("a: validation 90 %");
        assert!(pause(&study).unwrap().contains("cannot write x: / no room; when"));
        log.event(&Event::Resumed);
        assert_eq!(pause(&study), None);
        log.event(&Event::Paused { reason: "again" });
        log.line("process 6 explores");
        assert_eq!(pause(&study), None);
        assert_eq!(std::fs::read_to_string(study.log()).unwrap().lines().count(), 6);
    }

    #[test]
    fn what_a_trial_said_last_moves_no_cursor() {
        let config = TrialConfig::resolve("[model]\npreset = 'tiny'".parse().unwrap()).unwrap();
        let error = Some("\u{1b}[2Jgone".into());
        let record = TrialRecord { status: Status::Failed, error, ..TrialRecord::pending("k".into(), 0, &config) };
        assert_eq!(event_line(&Event::Ended { trial: 0, record: &record }, "x"), "x: failed: U+001B[2Jgone");
    }
}

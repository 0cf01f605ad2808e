//! `sweep.log` of a study: what its explorers did and when, a line an event.

use std::{
    fs::File,
    io::Write,
    time::{Instant, SystemTime},
};

use fastrcaps::{dispatch::Event, machine, report::view::StudyView, study::Study};

use super::display::event_line;

/// The log of a study, open at its end.
pub struct SweepLog {
    /// Absent where it cannot be written: a sweep is worth more than its log.
    file: Option<File>,
    labels: Vec<String>,
    began: Instant,
}

impl SweepLog {
    pub fn open(study: &Study, view: &StudyView) -> SweepLog {
        let label = |trial: &fastrcaps::space::Trial| {
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
            | Event::Stopped { trial, .. } => self.labels[*trial].clone(),
            Event::Paused { .. } | Event::Resumed | Event::Stopping { .. } => String::new(),
        };
        self.line(&event_line(event, &label));
    }

    pub fn line(&mut self, line: &str) {
        if let Some(file) = &mut self.file {
            // One writing a line: a full disk tears none that follows.
            let line = format!("{} {line}\n", machine::rfc3339(SystemTime::now()));
            let _ = file.write_all(line.as_bytes());
        }
    }

    /// Writes down that this run has ended, and how.
    pub fn close(&mut self, how: &str) {
        self.line(&format!("{how} after {}", super::display::duration(self.began.elapsed().as_secs_f64())));
    }
}

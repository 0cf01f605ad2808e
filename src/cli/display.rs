//! What a sweep shows while it runs: bars on a terminal, lines elsewhere, JSON events, or nothing.

use std::{
    io::{IsTerminal, Write},
    time::Instant,
};

pub use fastrcaps::charts::style::duration;
use fastrcaps::{
    dispatch::{Ending, Event},
    record::{Status, TrialRecord},
    report::view::StudyView,
};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

use super::input::errln;

/// How a sweep is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Bars or lines, as the terminal allows.
    Progress,
    Quiet,
    /// One JSON object a line on standard output.
    Json,
}

/// Shows the events of a sweep.
pub struct Display {
    kind: Kind,
    /// Label and epochs of each trial.
    trials: Vec<(String, usize)>,
    /// Epochs to be trained in this run, and those that were.
    epochs_wanted: usize,
    epochs_seen: usize,
    /// Of the trials running, by trial.
    running: Vec<usize>,
    wanted: usize,
    ended: usize,
    diverged: usize,
    failed: usize,
    began: Instant,
}

enum Kind {
    Bars { total: ProgressBar, slots: Vec<ProgressBar>, of_trial: Vec<Option<usize>> },
    Lines,
    Json,
    Quiet,
}

impl Display {
    /// A display of `wanted` trials out of the view's, of which none has started.
    pub fn new(mode: Mode, view: &StudyView, wanted: &[usize], slots: usize) -> Display {
        let label = |trial: &fastrcaps::space::Trial| {
            let label = &view.expansion.candidates[trial.candidate].label;
            if view.space.replicates > 1 { format!("{label} · replicate {}", trial.replicate) } else { label.clone() }
        };
        let trials: Vec<(String, usize)> =
            view.trials.iter().map(|trial| (label(trial), trial.config.train.epochs)).collect();
        let kind = match mode {
            Mode::Quiet => Kind::Quiet,
            Mode::Json => Kind::Json,
            Mode::Progress if !std::io::stderr().is_terminal() => Kind::Lines,
            Mode::Progress => bars(wanted.len(), slots, trials.len()),
        };
        let epochs_wanted = wanted.iter().map(|trial| trials[*trial].1).sum();
        let running = vec![0; trials.len()];
        let (epochs_seen, ended, diverged, failed) = (0, 0, 0, 0);
        Display {
            kind,
            trials,
            epochs_wanted,
            epochs_seen,
            running,
            wanted: wanted.len(),
            ended,
            diverged,
            failed,
            began: Instant::now(),
        }
    }

    /// Shows an event.
    pub fn show(&mut self, event: &Event) {
        match event {
            Event::Started { trial, slot, .. } => self.started(*trial, *slot),
            Event::Epoch { trial, row } => {
                self.running[*trial] += 1;
                self.epochs_seen += 1;
                let (label, epochs) = &self.trials[*trial];
                match &self.kind {
                    Kind::Bars { slots, of_trial, .. } => {
                        if let Some(slot) = of_trial[*trial] {
                            let accuracy = percent(Some(row.validation_accuracy));
                            slots[slot]
                                .set_message(format!("{label} · epoch {}/{epochs} · validation {accuracy}", row.epoch));
                        }
                    }
                    Kind::Json => emit(&json!({"event": "epoch", "configuration": label, "row": row})),
                    Kind::Lines | Kind::Quiet => {}
                }
                self.update_total();
            }
            Event::Ended { trial, record } => self.ended(*trial, record),
            Event::Retried { trial, record, .. } | Event::Stopped { trial, record } => {
                // Its epochs are shown again when it goes on.
                self.epochs_seen -= std::mem::take(&mut self.running[*trial]);
                self.free_slot(*trial);
                if matches!(event, Event::Stopped { .. }) {
                    self.emit(|label| json!({"event": "stopped", "configuration": label, "record": record}), *trial);
                } else {
                    self.emit(|label| json!({"event": "retried", "configuration": label, "record": record}), *trial);
                    self.line(&event_line(event, &self.trials[*trial].0));
                }
            }
            Event::Paused { reason } => {
                self.line(&event_line(event, ""));
                self.emit(|_| json!({"event": "paused", "reason": reason}), 0);
            }
            Event::Resumed => {
                self.line(&event_line(event, ""));
                self.emit(|_| json!({"event": "resumed"}), 0);
            }
            Event::Stopping { running, .. } => {
                self.line(&event_line(event, ""));
                self.emit(|_| json!({"event": "stopping", "running": running}), 0);
            }
        }
    }

    /// A JSON event, where those are wanted; `event` is given the trial's label.
    fn emit(&self, event: impl FnOnce(&str) -> serde_json::Value, trial: usize) {
        if let Kind::Json = self.kind {
            emit(&event(self.trials.get(trial).map_or("", |(label, _)| label)));
        }
    }

    /// A line, where lines are wanted.
    fn line(&self, line: &str) {
        match &self.kind {
            // Not `suspend`: it panics where the terminal is gone.
            Kind::Bars { total, .. } => total.println(line),
            Kind::Lines => errln!("{line}"),
            Kind::Json | Kind::Quiet => {}
        }
    }

    fn free_slot(&self, trial: usize) {
        if let Kind::Bars { slots, of_trial, .. } = &self.kind
            && let Some(slot) = of_trial[trial]
        {
            slots[slot].set_message("free");
        }
    }

    fn started(&mut self, trial: usize, slot: usize) {
        let (label, epochs) = &self.trials[trial];
        match &mut self.kind {
            Kind::Bars { slots, of_trial, .. } => {
                of_trial[trial] = Some(slot);
                slots[slot].set_message(format!("{label} · epoch 0/{epochs}"));
            }
            Kind::Json => emit(&json!({"event": "started", "configuration": label, "slot": slot})),
            Kind::Lines | Kind::Quiet => {}
        }
    }

    fn ended(&mut self, trial: usize, record: &TrialRecord) {
        // Epochs that were never shown, or will never be trained, are behind us all the same.
        self.epochs_seen += self.trials[trial].1.saturating_sub(self.running[trial]);
        self.ended += 1;
        self.diverged += usize::from(record.status == Status::Diverged);
        self.failed += usize::from(record.status == Status::Failed);
        let line = event_line(&Event::Ended { trial, record }, &self.trials[trial].0);
        let line = format!("[{}/{}] {line}", self.ended, self.wanted);
        self.free_slot(trial);
        let eta = match (&self.kind, self.remaining()) {
            (Kind::Lines, Some(eta)) => format!(" · ETA {}", duration(eta)),
            _ => String::new(),
        };
        self.line(&format!("{line}{eta}"));
        self.emit(|label| json!({"event": "ended", "configuration": label, "record": record}), trial);
        self.update_total();
    }

    /// Seconds to go, if the epochs to come take as long as those before.
    fn remaining(&self) -> Option<f64> {
        let left = self.epochs_wanted.saturating_sub(self.epochs_seen);
        (self.epochs_seen > 0).then(|| self.began.elapsed().as_secs_f64() * left as f64 / self.epochs_seen as f64)
    }

    fn update_total(&self) {
        if let Kind::Bars { total, .. } = &self.kind {
            total.set_position(self.epochs_seen as u64);
            total.set_length(self.epochs_wanted.max(1) as u64);
            let eta = self.remaining().map_or("unknown".to_string(), duration);
            let done = self.ended - self.diverged - self.failed;
            let diverged = if self.diverged > 0 { format!(" · {} diverged", self.diverged) } else { String::new() };
            total.set_message(format!("{done} of {} done{diverged} · {} failed · ETA {eta}", self.wanted, self.failed));
        }
    }

    /// Takes the bars away.
    pub fn finish(&self) {
        if let Kind::Bars { total, slots, .. } = &self.kind {
            slots.iter().chain([total]).for_each(ProgressBar::finish_and_clear);
        }
    }
}

fn bars(wanted: usize, slots: usize, trials: usize) -> Kind {
    let all = MultiProgress::new();
    // The templates are constants with known keys.
    let style = |template| ProgressStyle::with_template(template).expect("a valid template");
    let total = all.add(ProgressBar::new(1).with_style(style("{bar:30} {msg} · {elapsed}")));
    total.set_message(format!("0 of {wanted} done"));
    total.enable_steady_tick(std::time::Duration::from_millis(500));
    let slot = |number: usize| {
        let bar = all.add(ProgressBar::no_length().with_style(style("  slot {prefix}: {wide_msg}")));
        bar.set_prefix((number + 1).to_string());
        bar.set_message("free");
        bar
    };
    Kind::Bars { slots: (0..slots).map(slot).collect(), total, of_trial: vec![None; trials] }
}

/// An event in words, for terminal and log; `label` is its trial's.
pub fn event_line(event: &Event, label: &str) -> String {
    let reason = |record: &TrialRecord| record.error.clone().unwrap_or_else(|| "no reason known".into());
    match event {
        Event::Started { slot, .. } => format!("{label}: started in slot {}", slot + 1),
        Event::Epoch { row, .. } => {
            format!("{label}: epoch {}, validation {}", row.epoch, percent(Some(row.validation_accuracy)))
        }
        Event::Ended { record, .. } if record.status == Status::Done => format!(
            "{label}: validation {}, test {}, trained {}",
            percent(record.validation_accuracy),
            percent(record.test_accuracy),
            duration(record.train_seconds.unwrap_or_default())
        ),
        Event::Ended { record, .. } => format!("{label}: {}: {}", record.status.as_str(), reason(record)),
        Event::Retried { record, wait, .. } => {
            let when = match wait {
                Some(wait) => format!("in {}", duration(wait.as_secs_f64())),
                None => "when nothing else is left to do, alone".into(),
            };
            format!("{label}: attempt {} failed: {}; it is tried again {when}", record.attempts, reason(record))
        }
        Event::Stopped { record, .. } => format!("{label}: stopped after {} epochs, to be continued", record.epochs),
        Event::Paused { reason } => {
            format!("paused: no trial is started for now: {reason}; it is tried again, the sweep goes on by itself")
        }
        Event::Resumed => "the sweep goes on".into(),
        Event::Stopping { why, running } => {
            let why = match why {
                Ending::Asked => "asked to stop",
                Ending::Deadline => "the time is over",
                Ending::Failures => "too many trials failed",
                Ending::Finished => "finished",
                Ending::Broken => "the journal refuses what it is given",
            };
            let again = if *why == *"asked to stop" { "; once more ends them now" } else { "" };
            match running {
                0 => format!("{why}: nothing is started any more"),
                _ => format!(
                    "{why}: nothing is started any more, {running} running trials write a checkpoint and end{again}"
                ),
            }
        }
    }
}

/// A JSON event on standard output. A reader that went away does not end the sweep.
fn emit(event: &serde_json::Value) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{event}").and_then(|()| out.flush());
}

/// An accuracy in per cent.
pub fn percent(share: Option<f64>) -> String {
    share.map_or("unknown".to_string(), |share| format!("{:.2} %", 100.0 * share))
}

/// Rows as lines of columns: the first to the left, the others to the right.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let pad = " ".repeat(width - cell.chars().count());
            text += &if column == 0 { format!("{cell}{pad}") } else { format!("  {pad}{cell}") };
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

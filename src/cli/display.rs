//! What a sweep shows while it runs: bars on a terminal, lines elsewhere, JSON events, or nothing.

use std::{
    cell::Cell,
    io::Write,
    time::{Duration, Instant},
};

pub use fastrcaps::{
    base::words::{accuracy as percent, duration},
    present::report::cells::{mean_and_deviation, share_of_draws},
};
use fastrcaps::{
    base::{device::Place, words::plural},
    engine::sweep_log::{event_line, slot_name},
    learn::record::{Status, TrialRecord},
    present::report::view::StudyView,
    search::{
        dispatch::{Ending, Event},
        worker::Slot,
    },
};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

pub use super::{columns::aligned, terminal::draws_bars};
use super::{
    input::errln,
    live_front::{self, LiveFront},
    terminal::has_room,
};

/// How a sweep is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Bars or lines, as the terminal allows.
    Progress,
    Quiet,
    /// One JSON object a line on standard output.
    Json,
}

/// How much of what a sweep wants it will train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trains {
    All,
    /// It may leave trainings unfinished.
    AtMostAll,
    /// It may do so, and want more.
    Unknown,
}

/// Where lines are shown, one comes at least as often while anything is trained.
const SILENCE: Duration = Duration::from_secs(60);

/// Shows the events of a sweep.
pub struct Display {
    kind: Kind,
    trains: Trains,
    /// When the last line was shown.
    told: Cell<Instant>,
    trials: Vec<Shown>,
    /// Epochs of all trials that this run wants, and those of them that are behind us: also those of an earlier run, and
    /// those that a trial that failed will never train.
    epochs_wanted: usize,
    epochs_done: usize,
    /// Epochs that this run trained: what its pace is known by.
    epochs_trained: usize,
    /// Epochs behind each running trial, by trial.
    running: Vec<usize>,
    wanted: usize,
    ended: usize,
    diverged: usize,
    failed: usize,
    began: Instant,
    /// Of a terminal that can draw it.
    front: Option<LiveFront>,
}

/// A trial as it is shown.
struct Shown {
    label: String,
    key: String,
    replicate: usize,
    epochs: usize,
}

enum Kind {
    Bars { total: ProgressBar, slots: Vec<ProgressBar>, of_trial: Vec<Option<usize>>, front: Vec<ProgressBar> },
    Lines,
    Json,
    Quiet,
}

impl Display {
    /// A display of `wanted` trials out of the view's, of which none has started.
    pub fn new(mode: Mode, view: &StudyView, wanted: &[usize], slots: &[Slot], trains: Trains) -> Display {
        let label = |trial: &fastrcaps::search::space::Trial| {
            let label = &view.expansion.candidates[trial.candidate].label;
            if view.trials.len() > view.expansion.candidates.len() {
                format!("{label} · replicate {}", trial.replicate)
            } else {
                label.clone()
            }
        };
        let shown = |(trial, key): (&fastrcaps::search::space::Trial, &String)| Shown {
            label: label(trial),
            key: key.clone(),
            replicate: trial.replicate,
            epochs: trial.config.train.epochs,
        };
        let trials: Vec<Shown> = view.trials.iter().zip(&view.keys).map(shown).collect();
        let kind = match mode {
            Mode::Quiet => Kind::Quiet,
            Mode::Json => Kind::Json,
            Mode::Progress if !draws_bars() => Kind::Lines,
            Mode::Progress => bars(wanted.len(), slots, trials.len()),
        };
        let epochs_wanted = wanted.iter().map(|trial| trials[*trial].epochs).sum();
        let running = vec![0; trials.len()];
        let (epochs_done, epochs_trained, ended, diverged, failed) = (0, 0, 0, 0, 0);
        let front = matches!(&kind, Kind::Bars { front, .. } if !front.is_empty()).then(|| LiveFront::new(view));
        let display = Display {
            kind,
            trains,
            told: Cell::new(Instant::now()),
            trials,
            epochs_wanted,
            epochs_done,
            epochs_trained,
            running,
            wanted: wanted.len(),
            ended,
            diverged,
            failed,
            began: Instant::now(),
            front,
        };
        display.update_front();
        display
    }

    /// Shows an event.
    pub fn show(&mut self, event: &Event) {
        match event {
            Event::Started { trial, slot, place, epochs_before } => self.started(*trial, *slot, *place, *epochs_before),
            Event::Epoch { trial, row } => {
                self.running[*trial] += 1;
                self.epochs_done += 1;
                self.epochs_trained += 1;
                let Shown { label, epochs, .. } = &self.trials[*trial];
                if let Kind::Bars { slots, of_trial, .. } = &self.kind
                    && let Some(slot) = of_trial[*trial]
                {
                    let accuracy = percent(Some(row.validation_accuracy));
                    // A label may be longer than the line: it is what is cut.
                    slots[slot].set_message(format!("epoch {}/{epochs} · {accuracy} · {label}", row.epoch));
                }
                self.emit_of(*trial, || json!({"event": "epoch", "row": row}));
                self.update_total();
                self.break_silence();
            }
            Event::Ended { trial, record } => self.ended(*trial, record),
            Event::Retried { trial, record, wait } => {
                self.leaves(*trial);
                let wait_seconds = wait.map(|wait| wait.as_secs_f64());
                self.emit_of(*trial, || json!({"event": "retried", "record": record, "wait_seconds": wait_seconds}));
                self.line(&event_line(event, &self.trials[*trial].label));
            }
            Event::Rested { trial, record } => {
                // What it trained is behind us, whatever is decided about it. One that is set aside rested before.
                if record.status != Status::Paused {
                    self.epochs_trained += record.epochs.saturating_sub(self.running[*trial]);
                    self.leaves(*trial);
                }
                self.emit_of(*trial, || json!({"event": "rested", "record": record}));
            }
            Event::Stopped { trial, record } => {
                self.leaves(*trial);
                self.emit_of(*trial, || json!({"event": "stopped", "record": record}));
            }
            Event::Paused { reason } => {
                self.warn(&event_line(event, ""));
                self.emit(|| json!({"event": "paused", "reason": reason}));
            }
            Event::Resumed => {
                self.warn(&event_line(event, ""));
                self.emit(|| json!({"event": "resumed"}));
            }
            Event::Stopping { why, running } => {
                let line = event_line(event, "");
                if *why == Ending::Failures {
                    self.warn(&line)
                } else {
                    self.line(&line)
                }
                self.emit(|| json!({"event": "stopping", "why": word(*why), "running": running}));
            }
        }
    }

    /// Tells that the sweep is over, and what it came to; `view` is the study as it stands then.
    pub fn over(&self, view: &StudyView, ending: Ending) {
        let [done, diverged, failed, stopped] =
            [Status::Done, Status::Diverged, Status::Failed, Status::Stopped].map(|of| view.count(of));
        let pending = view.wanted().count() - done - diverged - failed - stopped;
        self.emit(|| {
            json!({
                "event": "finished",
                "why": word(ending),
                "done": done,
                "diverged": diverged,
                "failed": failed,
                "stopped": stopped,
                "pending": pending,
            })
        });
    }

    /// A trial leaves its slot before its end. Its epochs are behind us again when it goes on.
    fn leaves(&mut self, trial: usize) {
        let epochs = std::mem::take(&mut self.running[trial]);
        self.epochs_done = self.epochs_done.saturating_sub(epochs);
        self.free_slot(trial);
    }

    /// A JSON event, where those are wanted.
    fn emit(&self, event: impl FnOnce() -> serde_json::Value) {
        if let Kind::Json = self.kind {
            emit(&event());
        }
    }

    /// As [`Display::emit`], with what tells which trial it is of.
    fn emit_of(&self, trial: usize, event: impl FnOnce() -> serde_json::Value) {
        self.emit(|| {
            let Shown { label, key, replicate, .. } = &self.trials[trial];
            let mut event = event();
            event["configuration"] = json!(label);
            event["key"] = json!(key);
            event["replicate"] = json!(replicate);
            event
        });
    }

    /// A line, where lines are wanted.
    fn line(&self, line: &str) {
        match &self.kind {
            // Not `suspend`: it panics where the terminal is gone.
            Kind::Bars { total, .. } => total.println(line),
            Kind::Lines => {
                self.told.set(Instant::now());
                errln!("{line}");
            }
            Kind::Json | Kind::Quiet => {}
        }
    }

    /// How far the sweep is, where no line has told anything for a while.
    fn break_silence(&self) {
        if matches!(self.kind, Kind::Lines) && self.told.get().elapsed() >= SILENCE {
            let (ended, wanted) = (self.ended, self.wanted);
            let trained = plural(self.epochs_trained, "epoch");
            self.line(&format!("[{ended}/{wanted}] {trained} trained{}", self.eta()));
        }
    }

    /// A line that is told even who wants to hear of errors only: nothing moves, until someone does something about it.
    fn warn(&self, line: &str) {
        if let Kind::Quiet = self.kind {
            errln!("{line}");
        }
        self.line(line);
    }

    fn free_slot(&self, trial: usize) {
        if let Kind::Bars { slots, of_trial, .. } = &self.kind
            && let Some(slot) = of_trial[trial]
        {
            slots[slot].set_message("free");
        }
    }

    fn started(&mut self, trial: usize, slot: usize, place: Place, epochs_before: usize) {
        self.running[trial] = epochs_before;
        self.epochs_done += epochs_before;
        let Shown { label, epochs, .. } = &self.trials[trial];
        if let Kind::Bars { slots, of_trial, .. } = &mut self.kind {
            of_trial[trial] = Some(slot);
            slots[slot].set_message(match epochs_before {
                0 => format!("epoch 0/{epochs} · {label}"),
                _ => format!("continues after epoch {epochs_before}/{epochs} · {label}"),
            });
        }
        let device = place.to_string();
        self.emit_of(
            trial,
            || json!({"event": "started", "slot": slot, "device": device, "epochs_before": epochs_before}),
        );
        self.update_total();
    }

    fn ended(&mut self, trial: usize, record: &TrialRecord) {
        // Epochs that were never shown were trained all the same; those that never will be are behind us too.
        let shown = std::mem::take(&mut self.running[trial]);
        self.epochs_trained += record.epochs.saturating_sub(shown);
        self.epochs_done += self.trials[trial].epochs.saturating_sub(shown);
        self.ended += 1;
        self.diverged += usize::from(record.status == Status::Diverged);
        self.failed += usize::from(record.status == Status::Failed);
        let line = event_line(&Event::Ended { trial, record }, &self.trials[trial].label);
        let line = format!("[{}/{}] {line}", self.ended, self.wanted);
        self.free_slot(trial);
        let eta = if let Kind::Lines = self.kind { self.eta() } else { String::new() };
        self.line(&format!("{line}{eta}"));
        self.emit_of(trial, || json!({"event": "ended", "record": record}));
        self.update_total();
        if let Some(front) = &mut self.front {
            front.ended(trial, record);
            self.update_front();
        }
    }

    /// Seconds to go, if the epochs to come take as long as those that this run trained.
    fn remaining(&self) -> Option<f64> {
        let left = self.epochs_wanted.saturating_sub(self.epochs_done);
        let pace = || self.began.elapsed().as_secs_f64() / self.epochs_trained as f64;
        (self.epochs_trained > 0).then(|| pace() * left as f64)
    }

    /// The same in words, as the end of a line.
    fn eta(&self) -> String {
        let left = || self.remaining().map(duration);
        match self.trains {
            Trains::All => left().map_or(String::new(), |left| format!(" · ETA {left}")),
            Trains::AtMostAll => left().map_or(String::new(), |left| format!(" · ETA at most {left}")),
            Trains::Unknown => String::new(),
        }
    }

    fn update_total(&self) {
        if let Kind::Bars { total, .. } = &self.kind {
            total.set_position(self.epochs_done as u64);
            total.set_length(self.epochs_wanted.max(1) as u64);
            let done = self.ended - self.diverged - self.failed;
            let diverged = if self.diverged > 0 { format!(" · {} diverged", self.diverged) } else { String::new() };
            let (wanted, failed, eta) = (self.wanted, self.failed, self.eta());
            total.set_message(format!("{done} of {wanted} done{diverged} · {failed} failed{eta}"));
        }
    }

    /// Draws the front so far.
    fn update_front(&self) {
        if let (Kind::Bars { front: rows, .. }, Some(lines)) =
            (&self.kind, self.front.as_ref().and_then(LiveFront::lines))
        {
            rows.iter().zip(lines).for_each(|(row, line)| row.set_message(line));
        }
    }

    /// Takes the bars away.
    pub fn finish(&self) {
        if let Kind::Bars { total, slots, front, .. } = &self.kind {
            slots.iter().chain(front).chain([total]).for_each(ProgressBar::finish_and_clear);
        }
    }
}

fn bars(wanted: usize, slots: &[Slot], trials: usize) -> Kind {
    let all = MultiProgress::new();
    // The templates are constants with known keys.
    let style = |template| ProgressStyle::with_template(template).expect("a valid template");
    let total = all.add(ProgressBar::new(1).with_style(style("{wide_bar} {msg} · {elapsed}")));
    total.set_message(format!("0 of {wanted} done"));
    total.enable_steady_tick(std::time::Duration::from_millis(500));
    let slot = |(number, slot): (usize, &Slot)| {
        let bar = all.add(ProgressBar::no_length().with_style(style("  slot {prefix}: {wide_msg}")));
        bar.set_prefix(slot_name(number, slot.place));
        bar.set_message("free");
        bar
    };
    let bars: Vec<ProgressBar> = slots.iter().enumerate().map(slot).collect();
    let row = |_| all.add(ProgressBar::no_length().with_style(style("{wide_msg}")));
    let front = if has_room(slots.len()) { (0..=live_front::ROWS).map(row).collect() } else { Vec::new() };
    // Rows appear when they are first drawn.
    front.iter().for_each(ProgressBar::tick);
    Kind::Bars { slots: bars, total, of_trial: vec![None; trials], front }
}

/// Trials that a searcher gave up, as they follow in a list; nothing where there are none.
pub fn given_up(count: usize) -> String {
    if count == 0 { String::new() } else { format!(", {count} given up") }
}

/// How many trials the search set aside, as the last of a list; nothing where there are none.
pub fn set_aside(count: usize) -> String {
    if count == 0 { String::new() } else { format!(", {count} paused") }
}

/// Why a sweep ends, as a word of JSON events.
fn word(why: Ending) -> &'static str {
    match why {
        Ending::Finished => "finished",
        Ending::Asked => "asked",
        Ending::Deadline => "deadline",
        Ending::Failures => "failures",
        Ending::Broken => "broken",
        Ending::Detached => "detached",
    }
}

/// A JSON event on standard output. A reader that went away does not end the sweep.
pub fn emit(event: &serde_json::Value) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{event}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use fastrcaps::learn::config::TrialConfig;

    use super::*;

    #[test]
    fn epochs_of_earlier_attempts_are_behind_and_say_nothing_of_the_pace() {
        let shown = || Shown { label: "x".into(), key: "k".into(), replicate: 0, epochs: 10 };
        let mut display = Display {
            kind: Kind::Quiet,
            trains: Trains::All,
            told: Cell::new(Instant::now()),
            trials: vec![shown(), shown()],
            epochs_wanted: 20,
            epochs_done: 0,
            epochs_trained: 0,
            running: vec![0; 2],
            wanted: 2,
            ended: 0,
            diverged: 0,
            failed: 0,
            began: Instant::now(),
            front: None,
        };
        let config = TrialConfig::resolve("[model]\npreset = 'tiny'".parse().unwrap()).unwrap();
        let record = |status, epochs| TrialRecord { status, epochs, ..TrialRecord::pending("k".into(), 0, &config) };
        let mut seen = |event: &Event| {
            display.show(event);
            (display.epochs_done, display.epochs_trained)
        };
        assert_eq!(seen(&Event::Started { trial: 0, slot: 0, place: Place::Cpu, epochs_before: 8 }), (8, 0));
        // Two epochs that were never shown.
        assert_eq!(seen(&Event::Ended { trial: 0, record: &record(Status::Done, 10) }), (10, 2));
        assert_eq!(seen(&Event::Started { trial: 1, slot: 0, place: Place::Cpu, epochs_before: 3 }), (13, 2));
        let stopped = record(Status::Pending, 3);
        assert_eq!(seen(&Event::Stopped { trial: 1, record: &stopped }), (10, 2));
        assert_eq!(seen(&Event::Started { trial: 1, slot: 0, place: Place::Cpu, epochs_before: 3 }), (13, 2));
        assert_eq!(seen(&Event::Ended { trial: 1, record: &record(Status::Failed, 3) }), (20, 2));
    }
}

//! What is shown while the times of a study are taken: a bar, lines, or events as JSON.

use std::time::{Duration, Instant};

use fastrcaps::{
    base::words::plural,
    timing::{confirm, rounds::Event},
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{
    display::{Mode, draws_bars, duration, emit},
    input::errln,
};

/// What is shown while times are taken, each visit's for itself. The bar moves when a sample comes, and at no other moment: drawing takes time, too.
pub struct Shown {
    mode: Mode,
    rounds: usize,
    bar: Option<ProgressBar>,
    /// When it was last told that the machine is busy.
    told: Option<Instant>,
    left: String,
}

/// How often it is told that the machine is busy.
const TELL: Duration = Duration::from_secs(15);

impl Shown {
    pub fn new(mode: Mode, rounds: usize) -> Shown {
        Shown { mode, rounds, bar: None, told: None, left: String::new() }
    }

    pub fn show(&mut self, event: &confirm::Event) {
        match event {
            confirm::Event::CoresShared { threads, cores } if self.mode != Mode::Quiet => {
                errln!("note: {threads} threads share {}", plural(*cores, "core"));
            }
            confirm::Event::CoresShared { .. } => {}
            confirm::Event::VisitBegun => self.begin(),
            confirm::Event::Rounds(event) => self.show_rounds(event),
            confirm::Event::VisitEnded => self.bar.iter().for_each(ProgressBar::finish_and_clear),
        }
    }

    fn begin(&mut self) {
        let bar = (self.mode == Mode::Progress && draws_bars()).then(|| {
            // A constant with known keys.
            let style = ProgressStyle::with_template("{bar:30} {msg}").expect("a valid template");
            ProgressBar::new(1).with_style(style)
        });
        *self = Shown { bar, ..Shown::new(self.mode, self.rounds) };
    }

    fn show_rounds(&mut self, event: &Event) {
        match *event {
            Event::Begun { shapes, samples } => {
                if let Some(bar) = &self.bar {
                    bar.set_length(samples as u64);
                }
                if samples > 0 {
                    self.line(&format!(
                        "timing {} of steps, alone on this machine: {} in {}",
                        plural(shapes, "kind"),
                        plural(samples, "sample"),
                        plural(self.rounds, "round")
                    ));
                }
                self.emit(|| json!({"event": "timing", "shapes": shapes, "samples": samples}));
            }
            Event::Waiting { why } => {
                self.emit(|| json!({"event": "waiting", "why": why}));
                if self.told.is_none_or(|told| told.elapsed() >= TELL) {
                    self.told = Some(Instant::now());
                    let line = format!("waiting for the machine to be idle: {why}");
                    match &self.bar {
                        Some(bar) => bar.set_message(line),
                        None if self.mode == Mode::Json => {}
                        // Also to who wants to hear of errors only: nothing moves, until someone does something about it.
                        None => errln!("{line}"),
                    }
                }
            }
            Event::Round { round, samples, again } => {
                let again = if again { ", again what was disturbed" } else { "" };
                let samples = plural(samples, "sample");
                let what = format!("round {} of {}{again}: {samples}{}", round + 1, self.rounds, self.left);
                match &self.bar {
                    Some(bar) => bar.set_message(what),
                    None => self.line(&what),
                }
            }
            Event::Sample { sample, clean, samples, eta_seconds } => {
                self.left = eta_seconds.map_or(String::new(), |eta| format!(" · ETA {}", duration(eta)));
                if let Some(bar) = &self.bar {
                    bar.set_position(clean as u64);
                    bar.set_message(format!("round {} of {}{}", sample.round + 1, self.rounds, self.left));
                }
                self.emit(|| json!({"event": "sample", "sample": sample, "clean": clean, "samples": samples}));
            }
        }
    }

    fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None if self.mode == Mode::Progress => errln!("{line}"),
            None => {}
        }
    }

    fn emit(&self, event: impl FnOnce() -> serde_json::Value) {
        if self.mode == Mode::Json {
            emit(&event());
        }
    }
}

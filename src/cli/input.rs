//! What several subcommands read and write: config files, `--set`, standard output and error.

use std::{io::Write, path::Path, time::Duration};

use anyhow::{Context, Result};
pub use fastrcaps::base::words::shell_line;
use fastrcaps::{
    base::{
        source::{Document, segments},
        words::{plural, spelled},
    },
    learn::{config::TrialConfig, data::own::Looked},
    present::report::view::StudyView,
    search::study::Study,
};
use toml::Value;

/// Reads a trial's config file, and looks at images of the user's own; errors name file, line, key and value.
pub fn read_config(path: &Path) -> Result<TrialConfig> {
    let document = Document::read(path)?;
    let mut table = document.table.clone();
    if let Some(Value::Table(data)) = table.get_mut("data") {
        let looked = Looked::at(data, path.parent().unwrap_or(Path::new("")));
        let placed = looked.map_err(|error| document.error_at(&segments("data.path"), format!("{error:#}")))?;
        placed.into_iter().for_each(|looked| looked.complete(data));
    }
    TrialConfig::resolve(table)
        .map_err(|error| anyhow::Error::new(document.error_at(&segments(error.path()), error.to_string())))
}

/// Prints a note for each schedule that may not do what its author meant; equal notes once. `configurations` are pairs of
/// label and configuration.
pub fn tell_notes<'a>(configurations: impl IntoIterator<Item = (&'a str, &'a TrialConfig)>) {
    let mut notes: Vec<(String, &str, usize)> = Vec::new();
    for (label, config) in configurations {
        let Some(note) = config.schedule.note() else { continue };
        match notes.iter_mut().find(|(told, ..)| *told == note) {
            Some((.., more)) => *more += 1,
            None => notes.push((note, label, 0)),
        }
    }
    for (note, label, more) in notes {
        let of = match (label, more) {
            ("", _) => String::new(),
            (label, 0) => format!(" ({label})"),
            (label, more) => format!(" ({label}, and {})", plural(more, "more configuration")),
        };
        tell(&format!("note: {note}{of}"));
    }
}

/// Parses `--set PATH=VALUE`.
pub fn parse_set(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((path, value)) if !path.trim().is_empty() => Ok((path.trim().to_string(), value.trim().to_string())),
        _ => Err("expected PATH=VALUE, as in train.epochs=2".into()),
    }
}

/// A duration as people write it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim()).map_err(|_| "give a duration, as in 30s, 2m or 1h 30m".to_string())
}

/// An accuracy, as a share or in per cent.
pub fn parse_accuracy(text: &str) -> Result<f64, String> {
    let share = share_of(text, "%").filter(|share| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| "give an accuracy above 0, up to 1, as in 0.99 or 99%".into())
}

/// A number, or one in hundredths that `unit` follows.
pub fn share_of(text: &str, unit: &str) -> Option<f64> {
    let text = text.trim();
    match text.strip_suffix(unit) {
        Some(hundredths) => Some(hundredths.trim_end().parse::<f64>().ok()? / 100.0),
        None => text.parse().ok(),
    }
}

/// The set of times that figures use.
#[derive(clap::Args)]
pub struct TimesArg {
    /// Use this set of times, measured by `fastrcaps time --as NAME` [default: the set `default`, else times of the sweep]
    #[arg(long, value_name = "NAME")]
    times: Option<String>,
}

impl TimesArg {
    pub fn name(&self) -> Option<&str> {
        self.times.as_deref()
    }

    /// Reads a study with these times.
    pub fn read(&self, study: &Study) -> Result<StudyView> {
        StudyView::read_with_times(study, self.name())
    }
}

/// Prints a line to standard output; returns from the calling function with an error if that fails.
macro_rules! outln {
    ($($line:tt)*) => { $crate::cli::input::print_line(&format!($($line)*))? };
}
pub(super) use outln;

/// Prints a line to standard error. If that fails (the terminal is gone, the disk full), only the line is lost: `eprintln!`
/// would panic, and end a sweep with it.
macro_rules! errln {
    ($($line:tt)*) => { $crate::cli::input::tell(&format!($($line)*)) };
}
pub(crate) use errln;

/// See [`errln`]. Control characters from a file or another process are spelled, so that they move no cursor.
pub fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", spelled(line));
}

/// Prints a line. A closed pipe (`| head`) is no error.
pub fn print_line(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

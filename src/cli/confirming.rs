//! Confirming the times of a study, as `time` and `explore` do: the arguments of `explore`, and what is told of it.

use std::time::Duration;

use fastrcaps::{
    base::words::{by_count, plural},
    engine::{confirming::Summary, explore::Confirm},
    present::report::{departures::Departure, view::StudyView},
    search::study::Study,
    timing::{
        rounds::{Confirmed, EndReason, ROUNDS},
        sets::{DEFAULT_SET, Drift, ENOUGH_ROUNDS, MUCH_DRIFT},
    },
};
use serde_json::json;

use super::{
    display::{Mode, duration, emit},
    input::errln,
};

/// Whether and how `explore` confirms the times of its trials.
#[derive(clap::Args)]
pub struct ConfirmArg {
    /// Keep the times as the sweep measured them, beside each other; `fastrcaps time` confirms them later
    #[arg(long, help_heading = "Times")]
    no_confirm: bool,
    /// Rounds of timing every kind of step alone after the sweep
    #[arg(long, help_heading = "Times", value_name = "N", default_value_t = ROUNDS as u32, value_parser = rounds())]
    confirm_rounds: u32,
    /// How long to wait then for others to leave the machine alone [default: as long as the sweep took, 10s to 10m]
    #[arg(long, help_heading = "Times", value_name = "DURATION", value_parser = super::input::parse_duration)]
    confirm_patience: Option<Duration>,
}

/// Numbers of rounds that give an interval.
pub fn rounds() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(ENOUGH_ROUNDS as i64..=1000)
}

impl ConfirmArg {
    /// How times are confirmed after the sweep, if they are.
    pub fn confirm(&self) -> Option<Confirm> {
        let confirm = Confirm { rounds: self.confirm_rounds as usize, patience: self.confirm_patience };
        (!self.no_confirm).then_some(confirm)
    }
}

/// Tells what came of a confirmation, on standard error, or as an event; `view` is the study with its new times.
pub fn tell(mode: Mode, study: &Study, confirmed: &Confirmed, view: &StudyView) {
    let summary = Summary::of(confirmed, view);
    match mode {
        Mode::Json => return emit(&object(confirmed, &summary)),
        Mode::Progress => tell_counts(confirmed, &summary),
        Mode::Quiet => {}
    }
    let name = &confirmed.set.name;
    let name = if name == DEFAULT_SET { String::new() } else { format!(" --as {name}") };
    let again = format!("`fastrcaps time {}{name}", study.folder.display());
    if summary.drift.is_some_and(|drift| drift.is_much()) {
        errln!(
            "warning: a step that is always the same took different times in different rounds, by more than {} %: the \
             machine changed meanwhile (its clock, its heat, or other guests of its host)",
            100.0 * MUCH_DRIFT
        );
    }
    if let Some(moved) = confirmed.moved {
        errln!(
            "warning: the machine is {:.1} % {} than when the earlier samples of these times were taken: who was timed then \
             and who is timed now do not compare; {again} --anew` takes all of them again",
            100.0 * moved.abs(),
            if moved > 0.0 { "slower" } else { "faster" },
        );
    }
    tell_departures(&summary.departures);
    if !confirmed.lacking.is_empty() {
        errln!(
            "warning: {} of steps still {} undisturbed times: {}; {again}` goes on",
            plural(confirmed.lacking.len(), "kind"),
            by_count(confirmed.lacking.len(), "lacks", "lack"),
            why_lacking(confirmed)
        );
    }
}

fn object(confirmed: &Confirmed, summary: &Summary) -> serde_json::Value {
    json!({
        "event": "timed",
        "times": confirmed.set.name,
        "why": word(confirmed.ending),
        "confirmed": summary.confirmed,
        "configurations": summary.configurations,
        "taken": confirmed.taken,
        "tainted": confirmed.tainted,
        "drift": summary.drift.map(|Drift { change, largest }| json!({"change": change, "largest": largest})),
        "moved": confirmed.moved,
        "departures": summary.departures,
    })
}

fn tell_counts(confirmed: &Confirmed, summary: &Summary) {
    let tainted = match confirmed.tainted {
        0 => String::new(),
        count => format!(", {count} of them disturbed"),
    };
    let drifted = summary.drift.map_or(String::new(), |drift| {
        format!("; from first to last round the machine became {:.1} % slower", 100.0 * drift.change)
    });
    errln!(
        "times of {} of {} are confirmed; {} {} taken{tainted}{drifted}",
        summary.confirmed,
        plural(summary.configurations, "configuration"),
        plural(confirmed.taken, "sample"),
        by_count(confirmed.taken, "was", "were")
    );
}

fn tell_departures(departures: &[Departure]) {
    let [furthest, ..] = departures else { return };
    let Departure { configuration, screened, confirmed, .. } = furthest;
    let amount = if furthest.factor > 1.0 { "longer" } else { "shorter" };
    errln!(
        "warning: {} took much {amount} than confirmed, by the measure of the others; the furthest is {configuration:?}: {} in the sweep, {} confirmed. Train it alone with `fastrcaps train` to see which time is true",
        plural(departures.len(), "configuration"),
        duration(*screened),
        duration(*confirmed)
    );
}

/// Why some shapes still lack samples, in words.
fn why_lacking(confirmed: &Confirmed) -> String {
    match confirmed.ending {
        EndReason::Asked => "it was asked to stop".to_string(),
        EndReason::Deadline => "the time was over".to_string(),
        EndReason::Finished | EndReason::Patience => {
            let why = confirmed.lacking.iter().find_map(|lacking| lacking.why.clone());
            let why = why.or(confirmed.busy.clone()).unwrap_or("no reason known".into());
            format!("the machine was not left alone for long enough: {why}")
        }
    }
}

/// Why it ended, as a word of JSON events.
fn word(ending: EndReason) -> &'static str {
    match ending {
        EndReason::Finished => "finished",
        EndReason::Patience => "patience",
        EndReason::Deadline => "deadline",
        EndReason::Asked => "asked",
    }
}

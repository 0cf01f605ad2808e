//! Confirming the times of a study, as `time` and `explore` do: what is timed, how long, and what is told of it.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    sync::atomic::AtomicBool,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result};
use fastrcaps::{
    base::{
        device::{Gpu, Place},
        machine,
        words::{by_count, plural},
    },
    learn::{
        config::TrialConfig,
        record::{Status, TrialRecord},
    },
    present::report::{
        self,
        departures::{Departure, departures},
        findings::Findings,
        view::StudyView,
    },
    search::{
        dispatch,
        space::Expansion,
        study::{Lock, Study},
        worker::Slots,
    },
    timing::{
        confirm::{self, Child, Confirmed, Ending, Request},
        times::{DEFAULT_SET, ENOUGH_ROUNDS, Fingerprint, MUCH_DRIFT, steps_of},
    },
};
use serde_json::json;

use super::{
    data::DataDirArg,
    device,
    display::{Mode, duration, emit},
    input::errln,
    timing_display::Shown,
};

/// Bounds of a sample's length, in seconds: of short steps 20 ms are dozens, and more than half a second tells no more.
const SAMPLE: (f64, f64) = (0.02, 0.5);
/// Share of the time of its sweep that the confirmation of a study may take, but for the bounds: a sample of that length
/// has half as much before it that is not counted.
const OF_SWEEP: f64 = 0.2;
/// Bounds of the patience after a sweep, which is as long as the sweep took.
const PATIENCE: (f64, f64) = (10.0, 600.0);
/// The least patience where the sweep had nothing left to train: what it took says nothing then.
const PATIENCE_ALONE: f64 = 60.0;
/// A sample takes about as long before it as it is long, with what makes its network and looks at the machine.
const OF_SAMPLE: f64 = 2.0;
/// The most of the time before a deadline that a sweep leaves for confirming.
const LEFT: f64 = 0.1;

/// Whether and how `explore` confirms the times of its trials.
#[derive(clap::Args)]
pub struct ConfirmArg {
    /// Keep the times as the sweep measured them, beside each other; `fastrcaps time` confirms them later
    #[arg(long, help_heading = "Times")]
    no_confirm: bool,
    /// Rounds of timing every kind of step alone after the sweep
    #[arg(long, help_heading = "Times", value_name = "N", default_value_t = confirm::ROUNDS as u32, value_parser = rounds())]
    confirm_rounds: u32,
    /// How long to wait then for others to leave the machine alone [default: as long as the sweep took, 10s to 10m]
    #[arg(long, help_heading = "Times", value_name = "DURATION", value_parser = super::input::parse_duration)]
    confirm_patience: Option<Duration>,
}

/// Numbers of rounds that give an interval.
pub fn rounds() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(ENOUGH_ROUNDS as i64..=1000)
}

/// A sweep that has ended.
pub struct Swept<'a> {
    pub study: &'a Study,
    /// The study's, as it is held.
    pub lock: &'a Lock,
    pub slots: &'a Slots,
    /// Of the slots.
    pub gpus: &'a BTreeMap<Place, Gpu>,
    pub data_dir: &'a DataDirArg,
    pub deadline: Option<SystemTime>,
    pub stop: &'a AtomicBool,
    pub mode: Mode,
    pub began: Instant,
    /// Whether it had anything to train.
    pub trained: bool,
    pub ending: dispatch::Ending,
}

impl ConfirmArg {
    /// When a sweep over these configurations is to end, so that there is time to confirm its times before the deadline.
    pub fn leaving_time(&self, expansion: &Expansion, deadline: Option<SystemTime>) -> Option<SystemTime> {
        let Some(deadline) = deadline.filter(|_| !self.no_confirm) else { return deadline };
        let left = deadline.duration_since(SystemTime::now()).unwrap_or_default().as_secs_f64();
        let configs: Vec<&TrialConfig> = expansion.candidates.iter().map(|candidate| &candidate.config).collect();
        let samples = (confirm::shapes(&configs).len() * self.confirm_rounds as usize) as f64;
        let length = (OF_SWEEP * left / samples).clamp(SAMPLE.0, SAMPLE.1);
        let wanted = (OF_SAMPLE * samples * length).min(LEFT * left);
        Some(deadline.checked_sub(Duration::from_secs_f64(wanted)).unwrap_or(deadline))
    }

    /// Confirms the times of a sweep that came to its end or whose time was over, and writes tables and charts anew. Gives the study as it stands
    /// then, and how the whole ended: what cannot be confirmed is told, and is no failure of the sweep.
    pub fn after(&self, swept: Swept, view: StudyView) -> (StudyView, dispatch::Ending) {
        let has_ended = matches!(swept.ending, dispatch::Ending::Finished | dispatch::Ending::Deadline);
        if self.no_confirm || !has_ended || finished(&view).is_empty() {
            return (view, swept.ending);
        }
        let Swept { study, mode, stop, deadline, data_dir, .. } = swept;
        let least = if swept.trained { PATIENCE.0 } else { PATIENCE_ALONE };
        let patience = swept.began.elapsed().as_secs_f64().clamp(least, PATIENCE.1);
        // One set of times is of one device.
        let place = swept.slots.first_place();
        let kind = |place: Place| swept.gpus.get(&place).map(|gpu| &gpu.name);
        if let Some(other) = swept.slots.places().find(|other| kind(*other) != kind(place))
            && mode == Mode::Progress
        {
            errln!(
                "note: times are confirmed on {place}; for those on {other}: `fastrcaps time {} --device {other} --as {}`",
                study.folder.display(),
                if other.is_cpu() { "cpu" } else { "gpu" }
            );
        }
        let taking = Taking {
            study,
            name: DEFAULT_SET,
            anew: false,
            rounds: self.confirm_rounds as usize,
            threads: usual_threads(&view).unwrap_or(swept.slots.threads()),
            place,
            gpu: swept.gpus.get(&place),
            sample_seconds: None,
            of_sweep: OF_SWEEP,
            patience: self.confirm_patience.unwrap_or(Duration::from_secs_f64(patience)),
            deadline,
            stop,
            mode,
            data_dir,
        };
        let confirmed = match taking.take(&view, &finished(&view), swept.lock) {
            Ok(confirmed) => confirmed,
            Err(error) => {
                errln!("warning: the times of the trials are not confirmed: {error:#}");
                return (view, swept.ending);
            }
        };
        let ending = if confirmed.ending == Ending::Asked { dispatch::Ending::Asked } else { swept.ending };
        let now = StudyView { times: Some(confirmed.set.clone()), times_error: None, ..view };
        if let Err(error) = report::write_all(study, &now) {
            let folder = study.folder.display();
            errln!(
                "warning: the times are confirmed, and tables and charts are not up to date: {error:#}; `fastrcaps study \
                 rebuild {folder}` writes them"
            );
        }
        taking.tell(&confirmed, &now);
        (now, ending)
    }
}

/// Configurations of which a trial ended well, those on the front first.
pub fn finished(view: &StudyView) -> Vec<usize> {
    let is_done = |candidate: &usize| {
        let mut of = view.trials.iter().zip(&view.records).filter(|(trial, _)| trial.candidate == *candidate);
        of.any(|(_, record)| record.as_ref().is_some_and(|record| record.status == Status::Done))
    };
    let mut finished: Vec<usize> = on_front(view).into_iter().filter(is_done).collect();
    for (trial, record) in view.trials.iter().zip(&view.records) {
        let is_done = record.as_ref().is_some_and(|record| record.status == Status::Done);
        if is_done && !finished.contains(&trial.candidate) {
            finished.push(trial.candidate);
        }
    }
    finished
}

/// Configurations on the front, and the baseline, with which they are compared.
pub fn on_front(view: &StudyView) -> Vec<usize> {
    let Findings { points, wide_front, baseline, .. } = Findings::of(view);
    let baseline = baseline.filter(|index| !points[*index].accuracy.is_empty());
    let mut on_front = Vec::new();
    for candidate in wide_front.into_iter().chain(baseline).map(|index| points[index].candidate) {
        if !on_front.contains(&candidate) {
            on_front.push(candidate);
        }
    }
    on_front
}

/// Threads that most of the trials on CPU cores had that ended well; one whose threads are not known has no vote.
pub fn usual_threads(view: &StudyView) -> Option<usize> {
    most_threads(view.records.iter().flatten())
}

fn most_threads<'a>(records: impl Iterator<Item = &'a TrialRecord>) -> Option<usize> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    let ended_well = records.filter(|record| record.status == Status::Done && !record.is_of_gpu());
    for threads in ended_well.filter_map(|record| record.threads) {
        *counts.entry(threads).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(threads, count)| (*count, *threads)).map(|(threads, _)| threads)
}

/// How the times of a study are taken.
pub struct Taking<'a> {
    pub study: &'a Study,
    pub name: &'a str,
    pub anew: bool,
    pub rounds: usize,
    /// Of a step on CPU cores; one on a GPU has 1.
    pub threads: usize,
    /// What steps are timed on, and what that is if it is a GPU.
    pub place: Place,
    pub gpu: Option<&'a Gpu>,
    /// Length of a sample where it is given.
    pub sample_seconds: Option<f64>,
    /// Where it is not: see [`Taking::sample_seconds`].
    pub of_sweep: f64,
    pub patience: Duration,
    pub deadline: Option<SystemTime>,
    pub stop: &'a AtomicBool,
    pub mode: Mode,
    pub data_dir: &'a DataDirArg,
}

impl Taking<'_> {
    /// Takes the times of these configurations' steps, of a study that is held. Where the time until the deadline is too short
    /// for all of them, the first ones that are on the front come first, in a visit of their own.
    pub fn take(&self, view: &StudyView, candidates: &[usize], _lock: &Lock) -> Result<Confirmed> {
        let program = machine::this_program().context("cannot find this program's own file")?;
        let threads = self.threads();
        let slots =
            if self.place.is_cpu() { Slots::on_cores(1, threads).place(&machine::own_cores()) } else { Vec::new() };
        let cores = slots.into_iter().next().map_or(Vec::new(), |slot| slot.cores);
        for candidate in candidates {
            device::check(self.place, &view.expansion.candidates[*candidate].config)?;
        }
        let mut arguments: Vec<OsString> = Vec::new();
        if let Some(dir) = &self.data_dir.data_dir {
            arguments.extend(["--data-dir".into(), dir.clone().into()]);
        }
        let gpu = self.gpu.map(|gpu| gpu.uuid.clone());
        let mut clock = Child { program, threads, cores, place: self.place, gpu, arguments };
        let usable = machine::usable_cores();
        if threads > usable && self.mode != Mode::Quiet {
            errln!("note: {threads} threads share {}", plural(usable, "core"));
        }
        let configs: Vec<&TrialConfig> =
            candidates.iter().map(|candidate| &view.expansion.candidates[*candidate].config).collect();
        let front = on_front(view);
        let first = candidates.iter().take_while(|candidate| front.contains(candidate)).count();
        let mut parts = vec![configs.as_slice()];
        let sample_seconds = self.sample_seconds(view, &configs);
        let is_short = self.seconds_left().is_some_and(|left| left < self.cost(view, &configs, sample_seconds));
        if is_short && first > 0 && first < configs.len() {
            parts.insert(0, &configs[..first]);
        }
        let mut last: Option<Confirmed> = None;
        for configs in parts {
            let request = Request {
                study: self.study,
                name: self.name,
                fingerprint: self.gpu.map_or_else(|| Fingerprint::this(threads), Fingerprint::of_gpu),
                anew: self.anew && last.is_none(),
                configs,
                rounds: self.rounds,
                sample_seconds,
                patience: self.patience,
                deadline: self.deadline,
                stop: self.stop,
            };
            let mut shown = Shown::new(self.mode, self.rounds);
            let confirmed = confirm::confirm(&request, &mut clock, &mut |event| shown.show(event));
            shown.finish();
            let mut confirmed = confirmed?;
            if let Some(before) = last {
                confirmed.taken += before.taken;
                confirmed.tainted += before.tainted;
                confirmed.moved = confirmed.moved.or(before.moved);
            }
            let is_over = confirmed.ending != Ending::Finished;
            last = Some(confirmed);
            if is_over {
                break;
            }
        }
        last.context("there is nothing to be timed")
    }

    fn threads(&self) -> usize {
        if self.place.is_cpu() { self.threads } else { 1 }
    }

    fn seconds_left(&self) -> Option<f64> {
        let left = self.deadline?.duration_since(SystemTime::now());
        Some(left.unwrap_or_default().as_secs_f64())
    }

    /// About how long all samples of some configurations take. A long step is taken several times whatever its sample's length.
    fn cost(&self, view: &StudyView, configs: &[&TrialConfig], sample_seconds: f64) -> f64 {
        // Three steps at least, and two that are not counted.
        const STEPS: f64 = 5.0;
        let mut mean_steps: HashMap<String, f64> = HashMap::new();
        for (trial, record) in view.trials.iter().zip(&view.records) {
            let Some(seconds) = record.as_ref().and_then(|record| record.train_seconds_screen) else { continue };
            let steps = steps_of(&trial.config, trial.config.train.epochs);
            let count: u64 = steps.iter().map(|(_, count)| count).sum();
            for (shape, _) in steps {
                mean_steps.entry(shape.id()).or_insert(seconds / count.max(1) as f64);
            }
        }
        let of = |id: &String| (STEPS * mean_steps.get(id).copied().unwrap_or(0.0)).max(OF_SAMPLE * sample_seconds);
        self.rounds as f64 * confirm::shapes(configs).keys().map(of).sum::<f64>()
    }

    /// Length of a sample. Where it is not given: such that the samples of all shapes in all rounds take a share `of_sweep`
    /// of the wall time of the sweep (what its trainings took, divided by how many fit on the machine at once), or what is left
    /// until the deadline where that is less, within 20 ms and half a second.
    fn sample_seconds(&self, view: &StudyView, configs: &[&TrialConfig]) -> f64 {
        let trained: f64 = view.records.iter().flatten().filter_map(|record| record.train_seconds_screen).sum();
        let at_once = if self.place.is_cpu() { (machine::usable_cores() / self.threads.max(1)).max(1) } else { 1 };
        let samples = (confirm::shapes(configs).len() * self.rounds).max(1);
        let fair = self.of_sweep * trained / at_once as f64 / samples as f64;
        let fair = fair.min(self.seconds_left().map_or(f64::INFINITY, |left| left / OF_SAMPLE / samples as f64));
        self.sample_seconds.unwrap_or(fair.clamp(SAMPLE.0, SAMPLE.1))
    }

    /// Tells what came of it, on standard error; `view` is the study with its new times.
    pub fn tell(&self, confirmed: &Confirmed, view: &StudyView) {
        let candidates = finished(view);
        let has_time = |candidate: &&usize| {
            let config = &view.expansion.candidates[**candidate].config;
            confirmed.set.rounds(config, config.train.epochs).is_some()
        };
        let (there, all) = (candidates.iter().filter(has_time).count(), candidates.len());
        let drift = confirmed.set.drift();
        let departures = departures(view);
        if self.mode == Mode::Json {
            emit(&json!({
                "event": "timed",
                "times": confirmed.set.name,
                "why": word(confirmed.ending),
                "confirmed": there,
                "configurations": all,
                "taken": confirmed.taken,
                "tainted": confirmed.tainted,
                "drift": drift.map(|drift| json!({"change": drift.change, "largest": drift.largest})),
                "moved": confirmed.moved,
                "departures": departures,
            }));
            return;
        }
        if self.mode == Mode::Progress {
            let tainted = match confirmed.tainted {
                0 => String::new(),
                count => format!(", {count} of them disturbed"),
            };
            let drifted = drift.map_or(String::new(), |drift| {
                format!("; from first to last round the machine became {:.1} % slower", 100.0 * drift.change)
            });
            errln!(
                "times of {there} of {} are confirmed; {} {} taken{tainted}{drifted}",
                plural(all, "configuration"),
                plural(confirmed.taken, "sample"),
                by_count(confirmed.taken, "was", "were")
            );
        }
        if drift.is_some_and(|drift| drift.is_much()) {
            errln!(
                "warning: a step that is always the same took different times in different rounds, by more than {} %: the \
                 machine changed meanwhile (its clock, its heat, or other guests of its host)",
                100.0 * MUCH_DRIFT
            );
        }
        if let Some(moved) = confirmed.moved {
            let name = if self.name == DEFAULT_SET { String::new() } else { format!(" --as {}", self.name) };
            errln!(
                "warning: the machine is {:.1} % {} than when the earlier samples of these times were taken: who was timed then \
                 and who is timed now do not compare; `fastrcaps time {}{name} --anew` takes all of them again",
                100.0 * moved.abs(),
                if moved > 0.0 { "slower" } else { "faster" },
                self.study.folder.display()
            );
        }
        if let [furthest, ..] = departures.as_slice() {
            let Departure { configuration, screened, confirmed, .. } = furthest;
            let amount = if furthest.factor > 1.0 { "longer" } else { "shorter" };
            errln!(
                "warning: {} took much {amount} than confirmed, by the measure of the others; the furthest is                  {configuration:?}: {} in the sweep, {} confirmed. Train it alone with `fastrcaps train` to see which time is true",
                plural(departures.len(), "configuration"),
                duration(*screened),
                duration(*confirmed)
            );
        }
        if !confirmed.lacking.is_empty() {
            let why = match confirmed.ending {
                Ending::Asked => "it was asked to stop".to_string(),
                Ending::Deadline => "the time was over".to_string(),
                Ending::Finished | Ending::Patience => {
                    let why = confirmed.lacking.iter().find_map(|lacking| lacking.why.clone());
                    let why = why.or(confirmed.busy.clone()).unwrap_or("no reason known".into());
                    format!("the machine was not left alone for long enough: {why}")
                }
            };
            let name = if self.name == DEFAULT_SET { String::new() } else { format!(" --as {}", self.name) };
            errln!(
                "warning: {} of steps still {} undisturbed times: {why}; `fastrcaps time {}{name}` goes on",
                plural(confirmed.lacking.len(), "kind"),
                by_count(confirmed.lacking.len(), "lacks", "lack"),
                self.study.folder.display()
            );
        }
    }
}

/// Why it ended, as a word of JSON events.
fn word(ending: Ending) -> &'static str {
    match ending {
        Ending::Finished => "finished",
        Ending::Patience => "patience",
        Ending::Deadline => "deadline",
        Ending::Asked => "asked",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_without_threads_has_no_vote_and_leaves_the_others_theirs() {
        let config = TrialConfig::resolve("[model]\npreset = 'tiny'\n".parse().unwrap()).unwrap();
        let record =
            |threads, status| TrialRecord { threads, status, ..TrialRecord::pending(String::new(), 0, &config) };
        let records = [
            record(Some(2), Status::Done),
            record(None, Status::Done),
            record(Some(2), Status::Done),
            record(Some(1), Status::Done),
            record(Some(8), Status::Failed),
        ];
        assert_eq!(most_threads(records.iter()), Some(2));
        assert_eq!(most_threads(records[1..2].iter()), None);
    }
}

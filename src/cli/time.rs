//! `fastrcaps time`: the times of a study's trainings, from steps timed alone on the machine.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use fastrcaps::{
    analysis::Extent,
    base::{
        machine,
        stats::{self, Spread},
    },
    engine::confirming::{finished, on_front, trainings, usual_threads},
    present::{
        derived,
        report::view::{Origin, StudyView},
    },
    search::{
        study::Study,
        worker::{LocalTasks, probe_all},
    },
    timing::{
        confirm::Confirmation,
        rounds::{EndReason, ROUNDS},
        sets::{DEFAULT_SET, TimeSet},
    },
};
use serde_json::json;

use super::{
    confirming,
    data::DataDirArg,
    device::DeviceArg,
    display::{Mode, aligned, duration, emit, percent},
    input::{errln, outln},
    interrupt::{INTERRUPTED, stop_on_signals},
    timing_display::Shown,
};

/// Measure the training times of a study from steps that are timed alone on this machine.
///
/// It times every kind of step in several rounds, in random order, with the code of training, while nothing else runs. A
/// sample that other processes disturbed does not count and is taken again. The time of a training is the sum over its
/// steps. Times on CPU cores and on a GPU are separate sets with different names; `front --times NAME` and similar commands
/// use the set that you name.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fastrcaps time results/smoke
  fastrcaps time results/mnist-small --data-dir ~/data --rounds 10 --patience 1h
  fastrcaps time results/mnist-small --as server --threads 8 --front-only
  fastrcaps time results/mnist-small --as gpu --device cuda:0
  fastrcaps time results/smoke --list

Ctrl-C stops. The samples are kept, and the same command continues.

Exit code: 0 when all samples are complete, 130 when stopped by a signal, 1 for an error, or if other processes used the \
machine for too long.")]
pub struct Args {
    /// A study folder, made by `fastrcaps explore`
    study: PathBuf,
    /// Name of the set of times; another machine, device, build or number of threads needs another name
    #[arg(long = "as", value_name = "NAME", default_value = DEFAULT_SET)]
    name: String,
    /// Discard the samples of the set, and begin again
    #[arg(long)]
    anew: bool,
    /// Samples of every kind of step
    #[arg(long, value_name = "N", default_value_t = ROUNDS as u32, value_parser = confirming::rounds())]
    rounds: u32,
    #[command(flatten)]
    device: DeviceArg,
    /// Threads to compute with, on CPU cores [default: as many as the trials had]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    threads: Option<u16>,
    /// Length of a sample [default: such that all samples take about as long as the sweep did, 20ms to 500ms]
    #[arg(long, value_name = "DURATION", value_parser = super::input::parse_duration)]
    sample: Option<Duration>,
    #[command(flatten)]
    data_dir: DataDirArg,
    /// How long to wait for an idle machine, and to repeat samples that other processes disturbed
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = super::input::parse_duration)]
    patience: Duration,
    /// Time only the configurations on the front, and the baseline
    #[arg(long)]
    front_only: bool,
    /// List the sets of times of the study, and measure nothing
    #[arg(long)]
    list: bool,
    /// Print events, and then the times, as JSON, one object a line
    #[arg(long)]
    json: bool,
    /// Show nothing but errors, warnings and the times
    #[arg(long, conflicts_with = "json")]
    quiet: bool,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let study = Study::new(&args.study);
    if args.list {
        study.read()?;
        return list(&study, args.json);
    }
    let lock = study.hold("timed")?;
    let view = StudyView::read(&study)?;
    let candidates = candidates(&study, &view, args.front_only)?;
    let mode = match (args.quiet, args.json) {
        (true, _) => Mode::Quiet,
        (_, true) => Mode::Json,
        _ => Mode::Progress,
    };
    let place = args.device.place();
    if !place.is_cpu() && args.threads.is_some() {
        bail!("--threads is for steps on CPU cores: leave it out with --device {place}");
    }
    // Before anything is begun.
    let program = machine::this_program().context("cannot find this program's own file")?;
    let tasks = LocalTasks { program };
    let gpu = probe_all(&tasks, [place], &mut || Ok(()))?.remove(&place);
    let stop = stop_on_signals()?;
    let confirmation = Confirmation {
        study: &study,
        name: &args.name,
        anew: args.anew,
        rounds: args.rounds as usize,
        place,
        gpu: gpu.as_ref(),
        threads: args.threads.map(usize::from).or_else(|| usual_threads(&view)).unwrap_or(1),
        sample_seconds: args.sample.map(|sample| sample.as_secs_f64()),
        of_sweep: 1.0,
        patience: args.patience,
        deadline: None,
        stop: &stop,
        tasks: &tasks,
        arguments: args.data_dir.arguments(),
    };
    let mut shown = Shown::new(mode, confirmation.rounds);
    let confirmed = confirmation.take(&trainings(&view, &candidates), &lock, &mut |event| shown.show(event))?;
    let mut view = StudyView::read(&study)?;
    derived::write_all(&study, &view)?;
    confirming::tell(mode, &study, &confirmed, &view);
    // What the sweep measured, whatever was measured since.
    view.times = None;
    let rows = rows(&view, &confirmed.set, &candidates);
    if args.json {
        rows.iter().for_each(|row| emit(&row.json()));
    } else {
        outln!("{}", table(&rows).trim_end());
    }
    Ok(match confirmed.ending {
        EndReason::Finished => ExitCode::SUCCESS,
        EndReason::Asked => ExitCode::from(INTERRUPTED),
        EndReason::Patience | EndReason::Deadline => ExitCode::FAILURE,
    })
}

/// The configurations whose steps are timed, those on the front first.
fn candidates(study: &Study, view: &StudyView, front_only: bool) -> Result<Vec<usize>> {
    let candidates = if front_only { on_front(view) } else { finished(view) };
    if candidates.is_empty() && !finished(view).is_empty() {
        bail!(
            "no configuration of {} is on the front, as each has a training that diverged: leave --front-only out",
            study.folder.display()
        );
    }
    if candidates.is_empty() {
        bail!(
            "no trial of {} has ended well: there is nothing to be timed; `fastrcaps explore` trains them",
            study.folder.display()
        );
    }
    Ok(candidates)
}

/// The two times of a configuration.
struct Row {
    label: String,
    /// Mean over the trials that ended well, as the sweep measured it where most of its trials were trained.
    screened: Option<f64>,
    /// Whether that is the machine, and the build, of the set.
    is_comparable: bool,
    /// Seconds of each round.
    rounds: Option<Vec<f64>>,
}

/// A row for each of `candidates`; of a view without confirmed times.
fn rows(view: &StudyView, set: &TimeSet, candidates: &[usize]) -> Vec<Row> {
    let points = view.points();
    let is_comparable = view.common_origin() == Some(Origin::of_times(set));
    let row = |candidate: &usize| {
        let of = &view.expansion.candidates[*candidate];
        let whole = points.iter().find(|point| point.candidate == *candidate && point.extent == Extent::Whole);
        let screened =
            whole.and_then(|point| stats::mean(&view.screen_seconds(point).into_values().collect::<Vec<f64>>()));
        let rounds = set.rounds(&of.config, of.config.train.epochs).map(|rounds| rounds.into_values().collect());
        Row { label: of.label.clone(), screened, is_comparable, rounds }
    };
    candidates.iter().map(row).collect()
}

impl Row {
    fn median(&self) -> Option<f64> {
        self.rounds.as_ref().map(|rounds| Spread::of(rounds).median)
    }

    fn interval(&self) -> Option<(f64, f64)> {
        stats::median_interval(self.rounds.as_ref()?, 0.95)
    }

    fn json(&self) -> serde_json::Value {
        let interval = self.interval();
        json!({
            "event": "time",
            "configuration": self.label,
            "train_seconds_screen": self.screened,
            "train_seconds": self.median(),
            "train_seconds_low": interval.map(|(low, _)| low),
            "train_seconds_high": interval.map(|(_, high)| high),
            "rounds": self.rounds,
        })
    }
}

fn table(rows: &[Row]) -> String {
    let mut cells: Vec<Vec<String>> =
        vec!["CONFIGURATION|IN THE SWEEP|ALONE|95 % INTERVAL|RATIO".split('|').map(String::from).collect()];
    let known = |seconds: Option<f64>| seconds.map_or("unknown".into(), duration);
    cells.extend(rows.iter().map(|row| {
        let times = row.screened.filter(|_| row.is_comparable).zip(row.median());
        let ratio = times.map(|(screened, median)| format!("{:.2}", screened / median));
        let interval = row.interval().map(|(low, high)| format!("{} to {}", duration(low), duration(high)));
        vec![
            row.label.clone(),
            known(row.screened),
            known(row.median()),
            interval.unwrap_or_default(),
            ratio.unwrap_or_default(),
        ]
    }));
    aligned(&cells)
}

/// Lists the sets that there are.
fn list(study: &Study, json: bool) -> Result<ExitCode> {
    let mut cells: Vec<Vec<String>> = vec![
        "NAME|HOST|PROCESSOR|THREADS|BUILD|KINDS OF STEPS|SAMPLES|DISTURBED|DRIFT"
            .split('|')
            .map(String::from)
            .collect(),
    ];
    let mut exit = ExitCode::SUCCESS;
    for name in TimeSet::names(study)? {
        let set = match TimeSet::read(study, &name) {
            Ok(Some(set)) => set,
            Ok(None) => continue,
            Err(error) => {
                errln!("error: {error:#}");
                exit = ExitCode::FAILURE;
                continue;
            }
        };
        let drift = set.drift();
        let of = &set.fingerprint;
        if json {
            outln!(
                "{}",
                json!({
                    "times": set.name,
                    "host": set.host,
                    "fingerprint": of,
                    "shapes": set.shapes.len(),
                    "samples": set.samples.len(),
                    "tainted": set.tainted(),
                    "drift": drift.map(|drift| json!({"change": drift.change, "largest": drift.largest})),
                })
            );
        }
        let unknown = || "unknown".to_string();
        cells.push(vec![
            set.name.clone(),
            set.host.clone(),
            if of.is_of_gpu() { of.device.clone() } else { of.processor.clone().unwrap_or_else(unknown) },
            of.threads.to_string(),
            of.git_revision.clone().unwrap_or_else(unknown),
            set.shapes.len().to_string(),
            set.samples.len().to_string(),
            set.tainted().to_string(),
            drift.map_or_else(unknown, |drift| percent(Some(drift.largest))),
        ]);
    }
    match cells.len() {
        _ if json => {}
        1 => outln!("{} has no times yet: `fastrcaps time {0}` takes them", study.folder.display()),
        _ => outln!("{}", aligned(&cells).trim_end()),
    }
    Ok(exit)
}

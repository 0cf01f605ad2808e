//! `fastrcaps explore`: train every configuration of a space and keep the front up to date.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
    time::SystemTime,
};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use fastrcaps::{
    data::{self, DataDirs},
    dispatch::{Dispatcher, Event},
    executor::{Local, Slots},
    journal::Journal,
    machine::{self, Machine},
    record::{Status, TrialRecord},
    report::{keeper::Keeper, view::StudyView},
    space::{Expansion, Space, Trial},
    strategy::{Order, Sweep},
    study::{self, Study, StudyFile},
    upkeep,
};

use super::{
    data::DataDirArg,
    display::{Display, Mode, duration},
    front::{self, ObjectivesArg},
    input::outln,
};

/// Train every configuration of a space, in parallel, and find the Pareto front.
///
/// Trials run as processes of their own, each on its slot's cores. The study folder holds trials.csv, epochs.csv,
/// front.csv and charts/front.png, valid after every trial. The same command again continues where it was stopped:
/// finished trials are kept, only missing ones run.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fastrcaps explore search-spaces/smoke.toml
  fastrcaps explore search-spaces/mnist-small.toml --data-dir ~/data --slots 4x2
  fastrcaps explore search-spaces/mnist-small.toml --set train.epochs=2 --limit 8 --out results/short
  fastrcaps explore my-space.toml --dry-run")]
pub struct Args {
    /// The space: search-spaces/README.md is its format
    space: PathBuf,
    /// Study folder [default: results/NAME, where NAME is the space's]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    data_dir: DataDirArg,
    /// Trials at once × threads of each, as in 2x1 [default: one thread on every core]
    #[arg(long, value_name = "COUNTxTHREADS")]
    slots: Option<Slots>,
    /// Set a value of the base, as in train.epochs=2; replaces an axis of that path. Can be given repeatedly
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = super::input::parse_set)]
    sets: Vec<(String, String)>,
    /// Train the first N trials of the order and no others
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Order of the trials
    #[arg(long, value_enum, default_value_t = OrderArg::Grid)]
    order: OrderArg,
    /// Train trials again that failed in an earlier run
    #[arg(long)]
    retry_failed: bool,
    /// Say what would be trained, and train nothing
    #[arg(long)]
    dry_run: bool,
    /// Show nothing but errors
    #[arg(long, conflicts_with = "json")]
    quiet: bool,
    /// Print events as JSON, one a line, on standard output
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum OrderArg {
    /// As the space lists them
    Grid,
    /// Shuffled, always in the same way
    Random,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let space = Space::read(&args.space, &args.sets)?;
    let expansion = space.expand()?;
    let trials = expansion.trials(space.replicates);
    let order = match args.order {
        OrderArg::Grid => Order::Grid,
        OrderArg::Random => Order::Random,
    };
    let sweep = Sweep::new(trials.len(), order).limited(args.limit.map(|limit| limit as usize));
    let study = Study::new(args.out.unwrap_or_else(|| Path::new("results").join(&space.name)));
    if args.dry_run {
        return dry_run(&study, &space, &expansion, &trials, &sweep);
    }

    let fingerprints = fingerprints(&trials, &args.data_dir.dirs())?;
    let keys = study::trial_keys(&trials, &fingerprints)?;
    let slots = args.slots.unwrap_or_else(|| Slots::one_per_core(machine::cores().len()));
    let mode = match (args.quiet, args.json) {
        (true, _) => Mode::Quiet,
        (_, true) => Mode::Json,
        _ => Mode::Progress,
    };
    let lock = study.open()?;
    let build = machine::git_revision().unwrap_or_default();
    let begun_by = study.declare(
        &lock,
        &StudyFile {
            fastrcaps_version: machine::VERSION.into(),
            git_revision: build.clone(),
            created: machine::rfc3339(SystemTime::now()),
            identity: study::identity(&keys),
            data: fingerprints,
            name: space.name.clone(),
            set: args.sets.clone(),
            space: space.text().to_string(),
        },
    )?;
    if begun_by != build && mode != Mode::Quiet {
        eprintln!(
            "note: this study was begun by build {begun_by}, this is {build}: bits and times may differ between them"
        );
    }
    let mut journal = Journal::open(&study.journal())?;
    let history = history(&study, &mut journal, args.retry_failed)?;
    let wanted: Vec<usize> = sweep.order().iter().copied().filter(|index| history[*index] == Status::Pending).collect();
    if !wanted.is_empty() {
        study.write_machine(&Machine::this(slots.to_string()))?;
    }
    let view = StudyView::read(&study)?;
    if mode == Mode::Progress {
        let kept = sweep.order().len() - wanted.len();
        let kept = if kept > 0 { format!(", {kept} kept from before") } else { String::new() };
        eprintln!("{} trials to train on slots {slots}{kept}; study folder {}", wanted.len(), study.folder.display());
    }

    let placed = slots.place(&machine::cores());
    if placed.iter().any(|slot| slot.cores.is_empty()) && mode == Mode::Progress {
        let cores = machine::cores().len();
        eprintln!(
            "note: slots {slots} want {} cores and {cores} are there: trials share them and are timed together",
            slots.total_threads()
        );
    }
    let program = machine::this_program().context("cannot find this program's own file")?;
    let mut executor = Local::new(program, trial_arguments(&args.data_dir));
    let mut display = Display::new(mode, &view, &wanted, slots.count);
    let began = std::time::Instant::now();
    let mut dispatcher = Dispatcher {
        study: &study,
        trials: &trials,
        keys: &keys,
        slots: &placed,
        journal: &mut journal,
        executor: &mut executor,
    };
    let keeper = Keeper::start(study.clone())?;
    let swept = dispatcher.run(&sweep, history, &mut |event| {
        display.show(event);
        if matches!(event, Event::Ended { .. }) {
            keeper.changed();
        }
        Ok(())
    });
    display.finish();
    let written = keeper.finish();
    swept?;
    let view = written?;
    close(&study, &view, mode, began.elapsed().as_secs_f64())
}

/// Status of every trial from earlier runs. What an earlier explorer left running is pending again: nobody runs it now.
/// An end that the journal lacks, though its folder holds it, is taken up first: no trial is trained twice.
fn history(study: &Study, journal: &mut Journal, retry_failed: bool) -> Result<Vec<Status>> {
    let mut view = StudyView::read(study)?;
    upkeep::take_up(study, &mut view, journal)?;
    let mut history = Vec::new();
    for record in view.records {
        let is_kept =
            |record: &TrialRecord| record.status.is_final() && !(retry_failed && record.status == Status::Failed);
        history.push(match record {
            Some(record) if is_kept(&record) => record.status,
            Some(record) => {
                journal.put(&TrialRecord { status: Status::Pending, ..record }, &[])?;
                Status::Pending
            }
            None => Status::Pending,
        });
    }
    Ok(history)
}

/// Lists what would be trained, with regard to what the study holds already.
fn dry_run(study: &Study, space: &Space, expansion: &Expansion, trials: &[Trial], sweep: &Sweep) -> Result<ExitCode> {
    let known = StudyView::read(study).ok().filter(|view| view.space.declaration() == space.declaration());
    let is_over = |index: usize| {
        known.as_ref().and_then(|view| view.records[index].as_ref()).is_some_and(|record| record.status.is_final())
    };
    let wanted: Vec<usize> = sweep.order().iter().copied().filter(|index| !is_over(*index)).collect();
    for index in &wanted {
        let trial = &trials[*index];
        outln!("replicate {}  {}", trial.replicate, expansion.candidates[trial.candidate].label);
    }
    let kept = sweep.order().len() - wanted.len();
    let kept = if kept > 0 { format!(", {kept} are done already") } else { String::new() };
    outln!("{} trials would be trained{kept}", wanted.len());
    Ok(ExitCode::SUCCESS)
}

/// Prints what came of the sweep.
fn close(study: &Study, view: &StudyView, mode: Mode, seconds: f64) -> Result<ExitCode> {
    let (done, diverged, failed) = (view.count(Status::Done), view.count(Status::Diverged), view.count(Status::Failed));
    if mode == Mode::Progress {
        outln!("{}", front::table(view, ObjectivesArg::TimeAccuracy.into()));
        outln!("{done} trials done, {diverged} diverged, {failed} failed; this run took {}", duration(seconds));
        if failed > 0 {
            outln!("reasons stand in trials.csv; the same command with --retry-failed trains the failed ones again");
        }
        outln!("front: {}", study.folder.join("charts/front.png").display());
        outln!("tables: {}", study.folder.join("{trials,epochs,front}.csv").display());
    }
    if done == 0 {
        bail!("no trial was trained to its end; the reasons stand in {}", study.folder.join("trials.csv").display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Fingerprint of every selection of data that the trials train on; reads all of it, so that damage shows before a start.
fn fingerprints(trials: &[Trial], dirs: &DataDirs) -> Result<BTreeMap<String, String>> {
    let mut known = BTreeMap::new();
    for trial in trials {
        let id = study::data_id(&trial.config.data);
        if let std::collections::btree_map::Entry::Vacant(entry) = known.entry(id) {
            entry.insert(data::load(&trial.config.data, dirs)?.fingerprint);
        }
    }
    Ok(known)
}

fn trial_arguments(data_dir: &DataDirArg) -> Vec<OsString> {
    match &data_dir.data_dir {
        Some(dir) => vec!["--data-dir".into(), dir.clone().into()],
        None => Vec::new(),
    }
}

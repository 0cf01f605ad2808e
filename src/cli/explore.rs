//! `fastrcaps explore`: train every configuration of a space and keep the front up to date.

use std::{
    collections::{BTreeMap, HashSet},
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Instant, SystemTime},
};

use anyhow::{Context, Result, bail};
use fastrcaps::{
    base::{
        machine::{self, Machine},
        words::{by_count, plural},
    },
    engine::upkeep,
    learn::{
        data::{self, DataDirs},
        record::{EpochRow, Status, TrialRecord},
    },
    present::report::{findings::Findings, keeper::Keeper, view::StudyView},
    search::{
        dispatch::{Dispatcher, Ending, Event, Past},
        journal::Journal,
        space::{Expansion, Space, Trial},
        strategy::{Grid, Searcher},
        study::{self, Declared, Lock, Study, StudyFile},
        worker::{Admissions, Local, Slots},
    },
};

use super::{
    checkpoints::CheckpointsArg,
    confirming::{ConfirmArg, Swept},
    data::DataDirArg,
    device,
    display::{Display, Mode, duration, given_up},
    front::{self, ObjectivesArg},
    input::{errln, outln, print_line, shell_line, tell_notes},
    interrupt::{INTERRUPTED, stop_on_signals},
    limits::{LimitsArg, gpu_memory},
    order::{Choice, StrategyArg},
    replicates::{Replicates, further, parse_replicates},
    sweep_log::SweepLog,
};

/// Train every configuration of a space, in parallel, and find the Pareto front.
///
/// Trials run as processes of their own, each on its slot's cores or GPU. The study folder holds trials.csv, epochs.csv,
/// front.csv and charts/front.png, valid after every trial. The same command again continues where it was stopped:
/// finished trials are kept, interrupted ones go on from their last checkpoint. A space that has all configurations of the
/// study, and more, extends it: what is there is taken over. At last the trainings are timed anew, step by step, alone on
/// the machine, as `fastrcaps time` does.
///
/// A folder that is not empty and holds no study is refused; hidden files in it are in nobody's way.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fastrcaps explore search-spaces/smoke.toml
  fastrcaps explore search-spaces/mnist-small.toml --data-dir ~/data --slots 4x2
  fastrcaps explore search-spaces/mnist-small.toml --data-dir ~/data --slots cuda:0x3
  fastrcaps explore search-spaces/mnist-small.toml --set train.epochs=2 --limit 8 --out results/short
  fastrcaps explore search-spaces/paper.toml --data-dir ~/data --until 08:00 --max-failures 25%
  fastrcaps explore my-space.toml --dry-run

Ctrl-C (or SIGTERM) stops in order: what runs writes a checkpoint, and the same command goes on from there. \
A second one ends all at once; what came after the last checkpoints is trained again.

Exit code: 0 when all that was wanted has ended or the time is over, 130 when stopped by a signal, \
1 for an error, too many failures, or no trial that was trained to its end.")]
pub struct Args {
    /// The space: search-spaces/README.md is its format
    space: PathBuf,
    /// Study folder, a new or an empty one, or that of this study [default: results/NAME, where NAME is the space's]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    data_dir: DataDirArg,
    /// Where trials run: on CPU cores, trials at once × threads of each, as in 2x1; on a GPU, as in
    /// cuda:0, with the number of trials that share it, as in cuda:0x3; or several of these, as in
    /// 2x1,cuda:0,cuda:1x2 [default: one thread on every core, or as many as a container's CPU quota
    /// allows]
    #[arg(long, value_name = "SLOTS")]
    slots: Option<Slots>,
    /// Set a value of the base, as in train.epochs=2; replaces an axis of that path. Can be given repeatedly
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = super::input::parse_set)]
    sets: Vec<(String, String)>,
    /// Train the first N trials of the order and no others; not with --replicates auto
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// What is trained next, and how far [default: grid; with a deadline, what tells most in least time]
    #[arg(long, value_enum, visible_alias = "order", conflicts_with_all = ["until", "budget"])]
    strategy: Option<StrategyArg>,
    /// Trainings of each configuration, each under a seed of its own [default: the space's, or
    /// as many as were asked for earlier]; auto: those of the space, then
    /// further ones where it is undecided who is on the front
    #[arg(long, value_name = "N|auto", value_parser = parse_replicates)]
    replicates: Option<Replicates>,
    /// The most that --replicates auto trains of a configuration [default: 10]
    #[arg(long, value_name = "N", requires = "replicates", value_parser = clap::value_parser!(u32).range(2..=1000))]
    max_replicates: Option<u32>,
    /// Train trials again that failed in an earlier run
    #[arg(long)]
    retry_failed: bool,
    #[command(flatten)]
    limits: LimitsArg,
    #[command(flatten)]
    checkpoints: CheckpointsArg,
    #[command(flatten)]
    confirm: ConfirmArg,
    /// Say what would be trained, and train nothing
    #[arg(long)]
    dry_run: bool,
    /// Show nothing but errors, and that the sweep waits for something
    #[arg(long, conflicts_with = "json")]
    quiet: bool,
    /// Print events as JSON, one a line, on standard output
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let space = Space::read(&args.space, &args.sets)?;
    let expansion = space.expand()?;
    let slots = args.slots.unwrap_or_else(|| Slots::one_per_core(machine::usable_cores()));
    check_devices(&expansion, &slots)?;
    let mode = match (args.quiet, args.json) {
        (true, _) => Mode::Quiet,
        (_, true) => Mode::Json,
        _ => Mode::Progress,
    };
    if mode != Mode::Quiet {
        tell_notes(expansion.labelled());
    }
    let study = Study::new(args.out.clone().unwrap_or_else(|| Path::new("results").join(&space.name)));
    study.check_explorable()?;
    let asked = asked_before(&study);
    let replicates = args.replicates.unwrap_or(Replicates::Count(space.replicates.max(asked)));
    match (replicates, args.max_replicates, args.limit) {
        (Replicates::Count(_), Some(_), _) => bail!("--max-replicates goes with --replicates auto"),
        (Replicates::Auto, _, Some(_)) => {
            bail!("--limit does not go with --replicates auto, which chooses itself what is trained")
        }
        _ => {}
    }
    let most = args.max_replicates.map_or(MOST_REPLICATES, |most| most as usize);
    let configurations = expansion.candidates.len();
    let (first, most) = replicates.range(&space, configurations, asked, most)?;
    // A budget counts from here.
    let deadline = args.limits.deadline();
    if deadline.is_some() {
        // Steps are timed in this process, with as many threads as trials have. Before anything computes: drawing images does.
        super::threads::install(slots.threads())?;
    }
    // Before anything is begun.
    let gpus = if args.dry_run && deadline.is_none() { BTreeMap::new() } else { device::look_at(slots.gpus())? };
    let limit = args.limit.map(|limit| limit as usize);
    let trials = expansion.trials(first);
    let asked = trials.len();
    let declared = |data: BTreeMap<String, String>| -> Result<StudyFile> {
        let keys = study::trial_keys(&expansion.trials(space.replicates), &data)?;
        Ok(StudyFile {
            fastrcaps_version: machine::VERSION.into(),
            git_revision: machine::git_revision().unwrap_or_default(),
            created: machine::rfc3339(SystemTime::now()),
            identity: study::identity(&keys),
            further_replicates: most - space.replicates,
            asked_replicates: first,
            data,
            name: space.name.clone(),
            set: args.sets.clone(),
            space: space.text().to_string(),
        })
    };
    if args.dry_run {
        let (trials, begun) = (&trials[..], &[][..]);
        let places = slots.places().collect();
        let choice = Choice { expansion: &expansion, trials, asked, begun, deadline, places, mode };
        let chosen = choice.make(args.strategy, limit, None)?;
        let declared = declared(fingerprints_of(&study, trials))?;
        return dry_run(&study, &declared, &expansion, trials, &chosen.order, args.retry_failed);
    }

    let declared = declared(fingerprints(&trials, &args.data_dir.dirs())?)?;
    let lock = study.open()?;
    let before = declare(&study, &lock, &declared, mode)?;
    // With what earlier explorations added to it.
    let plan = study.plan()?;
    let mut journal = Journal::open(&study.journal())?;
    // What halving gave up, halving leaves.
    let reopens = args.strategy != Some(StrategyArg::Halving);
    let mut past = past(&study, &mut journal, reopens)?;
    if let Some(before) = before.filter(|_| mode != Mode::Quiet) {
        let ended = past.iter().filter(|past| past.status.is_final()).count();
        let is_new =
            |(key, past): &(&String, &Past)| !before.contains(*key) && past.attempts == 0 && !past.status.is_final();
        let new = plan.keys[..plan.asked].iter().zip(&past).filter(is_new).count();
        let (ended, have) = (plural(ended, "trial"), by_count(ended, "has ended is", "have ended are"));
        errln!("the space extends the study: {ended} that {have} taken over, {new} {} new", by_count(new, "is", "are"));
    }
    let would_be = |past: &Past| match past.status {
        Status::Failed if args.retry_failed => Past { status: Status::Pending, ..past.clone() },
        _ => past.clone(),
    };
    let would_be: Vec<Past> = past.iter().map(would_be).collect();
    // Further ones that an earlier exploration began: nobody would end them otherwise.
    let is_begun = |index: &usize| would_be[*index].status == Status::Pending && would_be[*index].attempts > 0;
    let begun: Vec<usize> = (asked..plan.trials.len()).filter(|index| limit.is_none() && is_begun(index)).collect();
    let places = slots.places().collect();
    let choice = Choice { expansion: &expansion, trials: &plan.trials, asked, begun: &begun, deadline, places, mode };
    let chosen = choice.make(args.strategy, limit, Some((&study, &plan.keys, &would_be)))?;
    if args.retry_failed {
        try_again(&study, &mut journal, &chosen.order, &mut past)?;
    }
    let is_pending = |past: &[Past], index: &usize| past[*index].status == Status::Pending;
    let wanted: Vec<usize> = chosen.order.iter().copied().filter(|index| is_pending(&past, index)).collect();
    if !wanted.is_empty() {
        let described = gpus.iter().map(|(place, gpu)| format!("{place} {}", gpu.name)).collect();
        study.write_machine(&Machine { gpus: described, ..Machine::this(slots.to_string()) })?;
    }
    let mut placed = slots.place(&machine::own_cores());
    for slot in &mut placed {
        slot.gpu = gpus.get(&slot.place).map(|gpu| gpu.name.clone());
    }
    if mode == Mode::Progress {
        let kept = chosen.order.len() - wanted.len();
        let kept = if kept > 0 { format!(", {kept} kept from before") } else { String::new() };
        let trials = plural(wanted.len(), "trial");
        errln!("{trials} to train on slots {slots}{kept}; study folder {}", study.folder.display());
        for (place, gpu) in &gpus {
            errln!(
                "{place}: {}, {:.1} of {:.1} GB free",
                gpu.name,
                gpu.free_bytes as f64 / 1e9,
                gpu.memory_bytes as f64 / 1e9
            );
        }
        let (wanted, usable) = (slots.total_threads(), machine::usable_cores());
        if wanted > usable {
            let are = by_count(usable, "is", "are");
            errln!(
                "note: slots {slots} want {wanted} cores and {usable} {are} there: trials share them and are timed together"
            );
        }
    }

    let program = machine::this_program().context("cannot find this program's own file")?;
    let stop = stop_on_signals()?;
    let began = Instant::now();
    let leaving_time = args.confirm.leaving_time(&expansion, deadline);
    let limits = args.limits.limits(&space, leaving_time);
    let memory = args.limits.memory.of(&plan.trials, &slots)?;
    if let Some(memory) = memory.as_ref().filter(|_| mode != Mode::Quiet) {
        let wanted: Vec<_> = wanted.iter().map(|index| &plan.trials[*index].config).collect();
        args.limits.memory.notes(memory, &wanted, &slots).iter().for_each(|note| errln!("{note}"));
    }
    let admissions = Admissions::new(memory, gpu_memory(&gpus));
    let mut worker = Local::new(program, trial_arguments(&args.data_dir, &args.checkpoints), placed, admissions);
    let dispatcher = Dispatcher {
        study: &study,
        trials: &plan.trials,
        keys: &plan.keys,
        journal: &mut journal,
        worker: &mut worker,
        limits,
        stop: &stop,
    };
    let mut sweeper = Sweeper { dispatcher, mode, slots: &slots, display: None };
    let (mut view, mut ending) = sweeper.sweep(chosen.searcher.as_ref(), &wanted, past)?;
    let swept = Swept {
        study: &study,
        lock: &lock,
        slots: &slots,
        gpus: &gpus,
        data_dir: &args.data_dir,
        deadline,
        stop: &stop,
        mode,
        began,
        trained: !wanted.is_empty(),
        ending,
    };
    // Before it is asked who is on the front: further seeds have steps of the same kinds.
    (view, ending) = args.confirm.after(swept, view);
    // Nothing more is timed after what follows.
    sweeper.dispatcher.limits.deadline = deadline;
    while replicates == Replicates::Auto && ending == Ending::Finished {
        let wanted = further(&view, most, deadline);
        if wanted.is_empty() {
            break;
        }
        if mode == Mode::Progress {
            errln!("it is open who is on the front: another seed for {} of the configurations", wanted.len());
        }
        let past = past_of(&study, &view, reopens);
        (view, ending) = sweeper.sweep(&Grid::over(wanted.clone()), &wanted, past)?;
    }
    sweeper.over(&view, ending);
    close(&study, &view, mode, began.elapsed().as_secs_f64(), ending)
}

/// Refuses configurations that a slot cannot train, with the value at fault.
fn check_devices(expansion: &Expansion, slots: &Slots) -> Result<()> {
    for candidate in expansion.candidates.iter().filter(|_| slots.has_cpu()) {
        let label = &candidate.label;
        candidate.config.check_for_cpu().with_context(|| format!("slots {slots} cannot train {label:?}"))?;
    }
    Ok(())
}

/// The most that --replicates auto trains of a configuration, where nobody says otherwise.
const MOST_REPLICATES: usize = 10;

/// Trains trials, and shows and logs what happens meanwhile.
struct Sweeper<'a> {
    dispatcher: Dispatcher<'a>,
    mode: Mode,
    slots: &'a Slots,
    /// Of the last sweep.
    display: Option<Display>,
}

impl Sweeper<'_> {
    /// Trains what `searcher` wants, which is `wanted` where all goes well; gives the study as it stands then.
    fn sweep(&mut self, searcher: &dyn Searcher, wanted: &[usize], past: Vec<Past>) -> Result<(StudyView, Ending)> {
        let study = self.dispatcher.study;
        let view = StudyView::read(study)?;
        let mut display = Display::new(self.mode, &view, wanted, self.dispatcher.worker.slots());
        let mut log = SweepLog::open(study, &view);
        let (process, build) = (std::process::id(), machine::git_revision().unwrap_or_default());
        let slots = self.slots;
        let trials = plural(wanted.len(), "trial");
        log.line(&format!("process {process} of build {build} explores {trials} on slots {slots}"));
        let keeper = Keeper::start(study.clone())?;
        let swept = self.dispatcher.run(searcher, past, &mut |event| {
            display.show(event);
            log.event(event);
            if matches!(
                event,
                Event::Ended { .. } | Event::Retried { .. } | Event::Rested { .. } | Event::Stopped { .. }
            ) {
                keeper.changed();
            }
            Ok(())
        });
        display.finish();
        let written = keeper.finish();
        log.close(&match &swept {
            Ok(swept) => format!("{:?}", swept.ending).to_lowercase(),
            Err(error) => format!("failed: {error:#}"),
        });
        let swept = swept?;
        if let Some(error) = swept.unwritten {
            errln!(
                "warning: not all that ended stands in the journal: {error:#}; the next run takes it up from the trials' folders"
            );
        }
        let view = written.or_else(|error| {
            let folder = study.folder.display();
            errln!(
                "warning: tables and charts are not up to date: {error:#}; `fastrcaps study rebuild {folder}` writes them"
            );
            StudyView::read(study)
        })?;
        self.display = Some(display);
        Ok((view, swept.ending))
    }

    /// Tells that there is nothing more to do.
    fn over(&self, view: &StudyView, ending: Ending) {
        self.display.iter().for_each(|display| display.over(view, ending));
    }
}

/// Declares the study, finds that it is the same, or extends it; says where another build began it. Gives the keys that had
/// been asked for of one that was extended.
fn declare(study: &Study, lock: &Lock, declared: &StudyFile, mode: Mode) -> Result<Option<HashSet<String>>> {
    let Declared { begun_by, before } = study.declare(lock, declared)?;
    let build = &declared.git_revision;
    if begun_by != *build && mode != Mode::Quiet {
        errln!(
            "note: this study was begun by build {begun_by}, this is {build}: bits and times may differ between them"
        );
    }
    Ok(before)
}

/// What earlier runs know of every trial. What an earlier explorer left running is pending again: nobody runs it now.
/// An end that the journal lacks, though its folder holds it, is taken up first: no trial is trained twice.
fn past(study: &Study, journal: &mut Journal, reopens: bool) -> Result<Vec<Past>> {
    let mut view = StudyView::read(study)?;
    for record in view.records.iter().flatten().filter(|record| record.status == Status::Running) {
        let folder = study.trial(&record.key);
        if folder.path.is_dir() {
            // Its process ends with its explorer; until it has, it may still write.
            drop(folder.claim()?);
        }
    }
    upkeep::take_up(study, &mut view, journal)?;
    let past = past_of(study, &view, reopens);
    for (record, past) in view.records.into_iter().zip(&past) {
        if let Some(record) = record.filter(|record| record.status != past.status) {
            journal.put(&TrialRecord { status: past.status, ..record }, &[])?;
        }
    }
    Ok(past)
}

/// What a study that nobody else explores knows of every trial. `reopens` has those go on that a searcher gave up: another one
/// may not.
fn past_of(study: &Study, view: &StudyView, reopens: bool) -> Vec<Past> {
    let past = |(record, epochs): (&Option<TrialRecord>, &Vec<EpochRow>)| {
        let Some(record) = record else { return Past::NONE };
        let folder = study.trial(&record.key);
        let (status, epochs) = match record.status {
            Status::Done | Status::Diverged | Status::Failed => (record.status, epochs.clone()),
            Status::Stopped if !reopens => (record.status, epochs.clone()),
            Status::Pending | Status::Running | Status::Stopped if folder.checkpoint().exists() => {
                (Status::Pending, folder.read_epochs().unwrap_or_default())
            }
            Status::Pending | Status::Running | Status::Stopped => (Status::Pending, Vec::new()),
        };
        Past { status, attempts: record.attempts, epochs }
    };
    view.records.iter().zip(&view.epochs).map(past).collect()
}

/// Lets those of the trials in `order` that failed be trained again; the others keep their ends, and the reasons for them.
fn try_again(study: &Study, journal: &mut Journal, order: &[usize], past: &mut [Past]) -> Result<()> {
    let view = StudyView::read(study)?;
    for index in order {
        if past[*index].status != Status::Failed {
            continue;
        }
        past[*index].status = Status::Pending;
        if let Some(record) = &view.records[*index] {
            journal.put(&TrialRecord { status: Status::Pending, ..record.clone() }, &[])?;
        }
    }
    Ok(())
}

/// Replicates that an earlier exploration of the study was asked for beyond those of its space; 0 where it was for none.
fn asked_before(study: &Study) -> usize {
    let is_more =
        |file: &StudyFile| file.space("its space").is_ok_and(|space| file.asked_replicates > space.replicates);
    study.read().ok().filter(is_more).map_or(0, |file| file.asked_replicates)
}

/// Lists what would be trained, with regard to what the study holds already; an error where it could not be of this study.
fn dry_run(
    study: &Study,
    declared: &StudyFile,
    expansion: &Expansion,
    trials: &[Trial],
    order: &[usize],
    retry_failed: bool,
) -> Result<ExitCode> {
    study.before(declared)?;
    let records = StudyView::read(study).map(|view| view.records).unwrap_or_default();
    let is_over =
        |record: &&TrialRecord| record.status.is_final() && !(retry_failed && record.status == Status::Failed);
    let over: HashSet<&str> = records.iter().flatten().filter(is_over).map(|record| record.key.as_str()).collect();
    let keys = study::trial_keys(trials, &declared.data)?;
    let is_over = |index: usize| over.contains(keys[index].as_str());
    let wanted: Vec<usize> = order.iter().copied().filter(|index| !is_over(*index)).collect();
    for index in &wanted {
        let trial = &trials[*index];
        outln!("replicate {}  {}", trial.replicate, expansion.candidates[trial.candidate].label);
    }
    let kept = order.len() - wanted.len();
    let have = by_count(kept, "has", "have");
    let kept = if kept > 0 { format!(", {kept} {have} ended already") } else { String::new() };
    outln!("{} would be trained{kept}", plural(wanted.len(), "trial"));
    Ok(ExitCode::SUCCESS)
}

/// Prints what came of the sweep.
fn close(study: &Study, view: &StudyView, mode: Mode, seconds: f64, ending: Ending) -> Result<ExitCode> {
    let (done, diverged, failed) = (view.count(Status::Done), view.count(Status::Diverged), view.count(Status::Failed));
    // The sweep is over and written down: that its summary cannot be printed, as the terminal is gone, is no failure of it.
    let say = |line: String| drop(print_line(&line));
    if mode == Mode::Progress {
        say(front::table(view, &Findings::of(view), ObjectivesArg::TimeAccuracy.into()));
        let trials = plural(done, "trial");
        let stopped = given_up(view.count(Status::Stopped));
        say(format!(
            "{trials} done, {diverged} diverged, {failed} failed{stopped}; this run took {}",
            duration(seconds)
        ));
        if failed > 0 {
            say("reasons stand in trials.csv; the same command with --retry-failed trains the failed ones again".into());
        }
        say(format!("front: {}", study.folder.join("charts/front.png").display()));
        say(format!("tables: {}", study.folder.join("{trials,epochs,front}.csv").display()));
    }
    let again = || format!("this continues it:\n  {}", continuing(std::env::args_os()));
    match ending {
        Ending::Failures => bail!(
            "the sweep was stopped: {} failed, of {} that ended. The reasons stand in {}; --retry-failed trains what failed \
             again",
            plural(failed, "trial"),
            done + diverged + failed,
            study.folder.join("trials.csv").display()
        ),
        Ending::Asked => {
            if mode == Mode::Progress {
                errln!("stopped; nothing that was trained is lost, {}", again());
            }
            return Ok(ExitCode::from(INTERRUPTED));
        }
        Ending::Deadline if mode == Mode::Progress => {
            errln!("the time was over before all trials were trained; {}", again());
        }
        _ => {}
    }
    if done == 0 && ending != Ending::Deadline {
        bail!("no trial was trained to its end; the reasons stand in {}", study.folder.join("trials.csv").display());
    }
    Ok(ExitCode::SUCCESS)
}

/// The command line that continues the sweep of this one: without a time that will be over, and without what was to be done
/// once.
fn continuing(words: impl IntoIterator<Item = OsString>) -> String {
    let mut kept: Vec<String> = Vec::new();
    let mut words = words.into_iter().map(|word| word.to_string_lossy().into_owned());
    while let Some(word) = words.next() {
        let (name, value) = word.split_once('=').map_or((word.as_str(), None), |(name, value)| (name, Some(value)));
        match name {
            "--retry-failed" => {}
            "--until" => {
                let is_inline = value.is_some();
                let time = value.map(str::to_string).or_else(|| words.next()).unwrap_or_default();
                // A time of day comes again, a date does not.
                match (time.contains('-'), is_inline) {
                    (true, _) => {}
                    (false, true) => kept.push(word),
                    (false, false) => kept.extend(["--until".to_string(), time]),
                }
            }
            _ => kept.push(word),
        }
    }
    shell_line(kept)
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

/// Fingerprint of every selection of data that the trials train on, as far as the study knows it; of what it does not know,
/// it has no trial.
fn fingerprints_of(study: &Study, trials: &[Trial]) -> BTreeMap<String, String> {
    let mut known = study.read().map(|file| file.data).unwrap_or_default();
    for trial in trials {
        known.entry(study::data_id(&trial.config.data)).or_default();
    }
    known
}

fn trial_arguments(data_dir: &DataDirArg, checkpoints: &CheckpointsArg) -> Vec<OsString> {
    let mut arguments = checkpoints.arguments();
    if let Some(dir) = &data_dir.data_dir {
        arguments.extend(["--data-dir".into(), dir.clone().into()]);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_continues_leaves_out_what_is_over() {
        let continues = |line: &str| continuing(line.split(' ').map(OsString::from));
        assert_eq!(continues("f explore s.toml --retry-failed --slots 2x1"), "f explore s.toml --slots 2x1");
        assert_eq!(continues("f explore s.toml --until 2026-11-23T08:00 --limit 2"), "f explore s.toml --limit 2");
        assert_eq!(continues("f explore s.toml --until=2026-11-23T08:00"), "f explore s.toml");
        assert_eq!(continues("f explore s.toml --until 08:00"), "f explore s.toml --until 08:00");
        assert_eq!(
            continues("f explore s.toml --until=08:00 --set a=[1]"),
            "f explore s.toml --until=08:00 --set 'a=[1]'"
        );
    }
}

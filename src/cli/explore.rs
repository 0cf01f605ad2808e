//! `fastrcaps explore`: train every configuration of a space and keep the front up to date.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use fastrcaps::{
    base::{
        machine,
        words::{by_count, plural},
    },
    engine::explore::{Backend, Exploration, Explored, Preview, Replicates},
    learn::record::Status,
    present::report::findings::Findings,
    search::{
        dispatch::{Ending, Limits},
        space::Space,
        strategy::{Audit, STRATEGIES, Settings, Strategy},
        study::Study,
        worker::Slots,
    },
};

use super::{
    checkpoints::CheckpointsArg,
    confirming::ConfirmArg,
    data::DataDirArg,
    display::{Mode, duration, given_up, set_aside},
    executor::ExecutorArg,
    explore_display::ExploreDisplay,
    front::{self, ObjectivesArg},
    input::{errln, outln, print_line, shell_line, tell_notes},
    interrupt::{INTERRUPTED, stop_on_signals, stop_on_wishes},
    limits::LimitsArg,
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
    #[arg(long, value_name = "SLOTS", conflicts_with = "executor_file")]
    slots: Option<Slots>,
    /// Set a value of the base, as in train.epochs=2; replaces an axis of that path. Can be given repeatedly
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = super::input::parse_set)]
    sets: Vec<(String, String)>,
    /// Train the first N trials of the order and no others; with evolve: propose N configurations at most; not with
    /// --replicates auto
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// What is trained next, and how far; with --until or --budget: evolve or none [default: grid; with a deadline, what
    /// tells most in least time]
    #[arg(long, value_name = "STRATEGY", visible_alias = "order", value_parser = strategies())]
    strategy: Option<&'static Strategy>,
    /// Of freeze-thaw: finish paused configurations, drawn at random, until at most this share of the paused belongs on the
    /// front with 95 % confidence, as in 0.05 or 5%
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    risk: Option<f64>,
    /// Of freeze-thaw: finish this share of the configurations with each value of each axis, so that main effects can be
    /// estimated [default: 0; without a value: 0.1]
    #[arg(long, value_name = "SHARE", num_args = 0..=1, default_missing_value = "0.1", value_parser = parse_share)]
    keep_factors: Option<f64>,
    /// Of freeze-thaw and evolve: decide by the step times in this file, costs.json of another study, where this study keeps none
    /// [default: time them once]
    #[arg(long, value_name = "FILE")]
    costs: Option<PathBuf>,
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
    #[command(flatten)]
    executor: ExecutorArg,
    /// Say what would be trained, and train nothing; of a cluster, show the script of the first array of jobs
    #[arg(long)]
    dry_run: bool,
    /// Show nothing but errors, and that the sweep waits for something
    #[arg(long, conflicts_with = "json")]
    quiet: bool,
    /// Print events as JSON, one a line, on standard output
    #[arg(long)]
    json: bool,
}

/// Takes the name of a strategy.
pub fn strategies() -> impl TypedValueParser<Value = &'static Strategy> {
    let values = STRATEGIES.map(|strategy| PossibleValue::new(strategy.name).help(strategy.help));
    let named = |name: String| STRATEGIES.into_iter().find(|of| of.name == name).ok_or("no strategy");
    PossibleValuesParser::new(values).try_map(named)
}

/// A share above 0 and up to 1, also in percent.
pub fn parse_share(text: &str) -> Result<f64, String> {
    let (number, unit) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let share = number.trim().parse::<f64>().ok().map(|number| number / unit);
    share
        .filter(|share| *share > 0.0 && *share <= 1.0)
        .ok_or(format!("{text:?} is no share: give one above 0, as in 0.05 or 5%"))
}

fn parse_replicates(text: &str) -> Result<Replicates, String> {
    match (text, text.parse()) {
        ("auto", _) => Ok(Replicates::Auto),
        (_, Ok(count)) if (1..=1000).contains(&count) => Ok(Replicates::Count(count)),
        _ => Err(format!("{text:?} is no number of replicates: give one from 1 to 1000, or auto")),
    }
}

pub fn run(args: Args) -> Result<ExitCode> {
    let mode = match (args.quiet, args.json) {
        (true, _) => Mode::Quiet,
        (_, true) => Mode::Json,
        _ => Mode::Progress,
    };
    let exploration = args.exploration()?;
    // What is proposed is not known yet.
    if mode != Mode::Quiet && !exploration.strategy.proposes {
        tell_notes(exploration.space.expand()?.labelled());
    }
    if exploration.limits.deadline.is_some() || exploration.strategy.needs_costs {
        // Steps are timed in this process, with as many threads as trials have. Before anything computes: drawing images does.
        super::threads::install(exploration.slots.threads())?;
    }
    let mut display = ExploreDisplay::new(mode, &exploration, &args.limits.memory);
    if args.dry_run {
        let preview = exploration.preview(&mut |event| display.show(event))?;
        return match exploration.script(&preview)? {
            Some(script) => print_line(script.trim_end()).map(|()| ExitCode::SUCCESS),
            None => list(&preview),
        };
    }
    let stop = if exploration.backend.is_local() { stop_on_signals()? } else { stop_on_wishes()? };
    let explored = exploration.run(&stop, &mut |event| display.show(event))?;
    close(&exploration.study, &explored, mode)
}

impl Args {
    /// Refuses a flag that the strategy has no use for.
    fn check_flags(&self) -> Result<()> {
        type Has = fn(&Strategy) -> bool;
        let given: [(&str, bool, Has); 3] = [
            ("--risk", self.risk.is_some(), |strategy| strategy.audits),
            ("--keep-factors", self.keep_factors.is_some(), |strategy| strategy.audits),
            ("--costs", self.costs.is_some(), |strategy| strategy.needs_costs),
        ];
        match given.into_iter().find(|(_, is_given, has)| *is_given && !self.strategy.is_some_and(has)) {
            None => Ok(()),
            Some((flag, _, has)) => {
                let names: Vec<&str> = STRATEGIES.into_iter().filter(|of| has(of)).map(|of| of.name).collect();
                bail!("{flag} goes with --strategy {} alone: give that, or leave {flag} out", names.join(" or "))
            }
        }
    }

    fn exploration(&self) -> Result<Exploration> {
        let space = Space::read(&self.space, &self.sets)?;
        let study = Study::new(self.out.clone().unwrap_or_else(|| Path::new("results").join(&space.name)));
        let program = machine::this_program().context("cannot find this program's own file")?;
        let mut exploration = Exploration::new(space, study, program, self.data_dir.dirs());
        self.check_flags()?;
        let chosen = self.strategy.filter(|strategy| !strategy.proposes);
        if let (Some(strategy), Some(_)) = (chosen, self.limits.limits(&exploration.space).deadline) {
            bail!(
                "--strategy {} does not go with --until or --budget: a deadline chooses by itself what is trained, so leave one of them out",
                strategy.name
            );
        }
        let backend = self.executor.backend()?;
        match (&self.slots, &backend) {
            (Some(_), Backend::Slurm(_)) => {
                bail!("--slots are those of this machine: `jobs` and `cpus` of --executor-file say it of a cluster")
            }
            (Some(slots), Backend::Local) => exploration.slots = slots.clone(),
            (None, Backend::Slurm(profile)) => exploration.slots = Backend::slots(profile)?,
            (None, Backend::Local) => {}
        }
        let data_arguments = backend.data_arguments(self.data_dir.arguments());
        Ok(Exploration {
            trial_arguments: [self.checkpoints.arguments(), data_arguments.clone()].concat(),
            timing_arguments: data_arguments,
            strategy: self.strategy.unwrap_or(exploration.strategy),
            settings: Settings {
                risk: self.risk,
                keep_factors: self.keep_factors.unwrap_or(0.0),
                ..exploration.settings
            },
            costs: self.costs.clone(),
            limit: self.limit.map(|limit| limit as usize),
            replicates: self.replicates,
            max_replicates: self.max_replicates.map(|most| most as usize),
            retry_failed: self.retry_failed,
            limits: Limits { detach: self.executor.detach, ..self.limits.limits(&exploration.space) },
            backend,
            memory: self.limits.memory.bytes(),
            confirm: self.confirm.confirm(),
            ..exploration
        })
    }
}

/// What the audit of paused configurations found, in words.
pub fn audit_line(audit: &Audit) -> String {
    let Audit { paused, finished, on_front, bound, remaining, remaining_on_front, level, .. } = audit;
    if *paused == 0 {
        return "audit: nothing was paused that might be on the front".into();
    }
    format!(
        "audit: of {} that {} paused, {finished} drawn at random {} finished, and {on_front} {} on the front; with {:.0} % confidence at \
         most {:.1} % of the paused belonged there, which are at most {remaining_on_front} of the {remaining} that are paused still. This \
         is a bound by sampling, no proof",
        plural(*paused, "configuration"),
        by_count(*paused, "was", "were"),
        by_count(*finished, "was", "were"),
        by_count(*on_front, "is", "are"),
        100.0 * level,
        100.0 * bound,
    )
}

/// Lists what would be trained.
fn list(preview: &Preview) -> Result<ExitCode> {
    let Preview { expansion, trials, wanted, kept } = preview;
    for index in wanted {
        let trial = &trials[*index];
        outln!("replicate {}  {}", trial.replicate, expansion.candidates[trial.candidate].label);
    }
    let have = by_count(*kept, "has", "have");
    let kept = if *kept > 0 { format!(", {kept} {have} ended already") } else { String::new() };
    outln!("{} would be trained{kept}", plural(wanted.len(), "trial"));
    Ok(ExitCode::SUCCESS)
}

/// Prints what came of the sweep.
fn close(study: &Study, explored: &Explored, mode: Mode) -> Result<ExitCode> {
    let Explored { view, ending, took, audit, page } = explored;
    let (done, diverged, failed) = (view.count(Status::Done), view.count(Status::Diverged), view.count(Status::Failed));
    // The sweep is over and written down: that its summary cannot be printed, as the terminal is gone, is no failure of it.
    let say = |line: String| drop(print_line(&line));
    if mode == Mode::Progress {
        say(front::table(view, &Findings::of(view), ObjectivesArg::TimeAccuracy.into()));
        let trials = plural(done, "trial");
        let stopped = given_up(view.count(Status::Stopped)) + &set_aside(view.count(Status::Paused));
        say(format!(
            "{trials} done, {diverged} diverged, {failed} failed{stopped}; this run took {}",
            duration(took.as_secs_f64())
        ));
        if let Some(audit) = audit {
            say(audit_line(audit));
        }
        if failed > 0 {
            say("reasons stand in trials.csv; the same command with --retry-failed trains the failed ones again".into());
        }
        match page {
            Ok(page) => say(format!("page: {}", page.display())),
            Err(error) => errln!("note: the page was not written: {error:#}"),
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
        Ending::Detached => {
            if mode == Mode::Progress {
                errln!(
                    "the jobs are left to the cluster; the same command without --detach takes up what became of them"
                );
            }
            return Ok(ExitCode::SUCCESS);
        }
        Ending::Deadline if mode == Mode::Progress => {
            errln!("the time was over before all trials were trained; {}", again());
        }
        _ => {}
    }
    if done == 0 && *ending != Ending::Deadline {
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

//! `fastrcaps plan`: what a space holds, and how long it would take.

use std::{collections::BTreeSet, path::PathBuf, process::ExitCode};

use anyhow::Result;
use fastrcaps::{
    base::{device::Place, machine, words::plural},
    engine::explore,
    learn::{config::TrialConfig, kernels::open_device},
    search::{
        beginnings::{Beginnings, Stage},
        space::{Range, Space, Trial},
        worker::Slots,
    },
    timing::predict::StepClock,
};

use super::{
    data::{DataDirArg, state as data_state},
    device,
    display::duration,
    input::{outln, tell_notes},
    limits::MemoryArg,
    threads,
};

/// Count the configurations of a space, and predict its time from a few timed steps.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fastrcaps plan search-spaces/smoke.toml
  fastrcaps plan search-spaces/paper.toml --no-timing
  fastrcaps plan search-spaces/mnist-small.toml --data-dir ~/data --slots 4x2 --set train.epochs=3

The prediction counts training steps only, each timed alone: trials that share a memory bus, or a GPU, take longer. \
If all slots are on GPUs, the steps are timed on the first of them, else on CPU cores. The timing does not need the data; \
the last line says whether it is there and undamaged.")]
pub struct Args {
    /// The space: search-spaces/README.md is its format
    space: PathBuf,
    /// Set a value of the base, as `explore` takes it
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = super::input::parse_set)]
    sets: Vec<(String, String)>,
    /// Where trials run, as `explore` takes it, as in 2x1 or cuda:0x2 [default: as there]
    #[arg(long, value_name = "SLOTS")]
    slots: Option<Slots>,
    #[command(flatten)]
    memory: MemoryArg,
    #[command(flatten)]
    data_dir: DataDirArg,
    /// Count only; time no steps
    #[arg(long)]
    no_timing: bool,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let space = Space::read(&args.space, &args.sets)?;
    if let Err(why) = space.check_listable() {
        space.check_values()?;
        outln!("{why}");
        let has_range = space.axes.iter().any(|axis| axis.range.is_some_and(|range| range.points.is_none()));
        let counted = match has_range {
            true => {
                format!(" (a range without points counts as {} numbers at most, and the baseline's)", Range::RESOLUTION)
            }
            false => String::new(),
        };
        outln!(
            "{}{}: none is listed, and `explore {} --strategy evolve --budget 8h` proposes from them",
            plural(space.size(), "combination"),
            counted,
            args.space.display()
        );
        return Ok(ExitCode::SUCCESS);
    }
    let expansion = space.expand()?;
    tell_notes(expansion.labelled());
    let slots = args.slots.unwrap_or_else(|| Slots::one_per_core(machine::usable_cores()));
    threads::install(slots.threads())?;

    let configs = || expansion.candidates.iter().map(|candidate| &candidate.config);
    let mut clock = None;
    if !args.no_timing {
        // Beside slots on CPU cores, which are slower, those on GPUs are taken for no faster.
        let place = if slots.has_cpu() { Place::Cpu } else { slots.first_place() };
        configs().try_for_each(|config| device::check(place, config))?;
        clock = Some(StepClock::on(open_device(place)?));
    }
    let times: Vec<Option<f64>> = match &mut clock {
        None => vec![None; expansion.candidates.len()],
        Some(clock) => configs().map(|config| clock.predict(config).map(Some)).collect::<Result<_>>()?,
    };
    outln!("{:>12}  {:>12}  {:>10}  CONFIGURATION", "PARAMETERS", "SAMPLES", "TIME");
    for (candidate, time) in expansion.candidates.iter().zip(&times) {
        let samples = candidate.config.samples_seen(candidate.config.data.counts().train);
        let time = time.map_or("not timed".to_string(), duration);
        outln!("{:>12}  {samples:>12}  {time:>10}  {}", candidate.config.parameters(), candidate.label);
    }
    let trials = expansion.trials(space.replicates);
    outln!(
        "\n{} − {} excluded − {} = {} × {} = {}",
        plural(expansion.combinations, "combination"),
        expansion.excluded,
        plural(expansion.duplicates, "duplicate"),
        plural(expansion.candidates.len(), "configuration"),
        plural(space.replicates, "replicate"),
        plural(trials.len(), "trial")
    );
    let all: Vec<&TrialConfig> = trials.iter().map(|trial| &trial.config).collect();
    let memory = explore::memory(args.memory.bytes(), &trials, &slots)?;
    let places: Vec<Place> = slots.places().collect();
    let at_once = memory.as_ref().map_or(usize::MAX, |memory| memory.fit(all.iter().copied(), &places).at_once);
    if let Some(total) = times.iter().copied().sum::<Option<f64>>() {
        let total = total * space.replicates as f64;
        outln!(
            "about {} of training steps: {} on slots {slots}",
            duration(total),
            duration(total / slots.count().min(at_once) as f64)
        );
    }
    if let Some(line) = sharing(&trials, clock)? {
        outln!("{line}");
    }
    for note in memory.iter().flat_map(|memory| args.memory.notes(memory, &all, &slots)) {
        outln!("{note}");
    }
    // Configurations of a space differ in nothing that says which images there are.
    let data = expansion.candidates[0].config.data.name;
    outln!("data: {}", data_state(data, &args.data_dir.dirs()));
    Ok(ExitCode::SUCCESS)
}

/// What the trials' shared beginnings save, in a line; none where they share nothing. Weighed by the time of steps where there is
/// a clock, else by samples.
fn sharing(trials: &[Trial], clock: Option<StepClock>) -> Result<Option<String>> {
    // Configurations alone say what is shared, whatever the data.
    let beginnings = Beginnings::of(trials, |_| "");
    let saved = beginnings.saved();
    if saved.is_empty() {
        return Ok(None);
    }
    let of = if clock.is_some() { "time of steps" } else { "samples" };
    let mut clock = clock;
    let mut cost = |trial: usize, epochs: usize| match &mut clock {
        Some(clock) => clock.predict_first(&trials[trial].config, epochs),
        None => {
            let config = &trials[trial].config;
            Ok(config.schedule.samples_seen(epochs, config.data.counts().train) as f64)
        }
    };
    let (mut all, mut shared) = (0.0, 0.0);
    for (index, trial) in trials.iter().enumerate() {
        all += cost(index, trial.config.train.epochs)?;
    }
    for Stage { trial, from, to } in &saved {
        shared += cost(*trial, *to)? - cost(*trial, *from)?;
    }
    let takers: BTreeSet<usize> = saved.iter().map(|stage| stage.trial).collect();
    let percent = 100.0 * shared / all;
    Ok(Some(format!(
        "shared beginnings: {} of {} go on from epochs that another trains, which saves {percent:.1} % of the {of}",
        takers.len(),
        plural(trials.len(), "trial"),
    )))
}

//! `fastrcaps simulate`: what a strategy would have done with curves that are known.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use fastrcaps::{
    base::stats::quantile,
    engine::simulate::{Exhaustive, Outcome, Recording, simulate},
    search::strategy::{Settings, Strategy},
};

use super::{
    explore::{parse_share, strategies},
    front::ObjectivesArg,
    input::{errln, outln},
};

/// Try a strategy on recorded curves, without training.
///
/// The study must have been trained to its end. The strategy decides with the real dispatcher, in a time that only seems to
/// pass; its front is compared with that of all curves.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fastrcaps simulate results/smoke --strategy freeze-thaw
  fastrcaps simulate results/smoke --strategy freeze-thaw --slots 16 --seeds 30
  fastrcaps simulate results/records/2026-11-22_mnist-small --strategy halving --json

A folder with trials.csv and epochs.csv of a study will do.")]
pub struct Args {
    /// A study folder, or one with trials.csv and epochs.csv
    study: PathBuf,
    /// The strategy
    #[arg(long, value_name = "STRATEGY", value_parser = strategies())]
    strategy: &'static Strategy,
    /// Trials at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    slots: u16,
    /// Simulations, each with random choices of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    seeds: u16,
    /// Objectives of the front
    #[arg(long, value_enum, default_value_t = ObjectivesArg::TimeAccuracy)]
    objectives: ObjectivesArg,
    /// Of freeze-thaw: as for explore
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    risk: Option<f64>,
    /// Of freeze-thaw: as for explore
    #[arg(long, value_name = "SHARE", num_args = 0..=1, default_missing_value = "0.1", value_parser = parse_share)]
    keep_factors: Option<f64>,
    /// Print a JSON object for each simulation, one a line
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let recording = Recording::read(&args.study)?;
    let objectives = args.objectives.into();
    let exhaustive = Exhaustive::of(&recording, objectives);
    if !args.json {
        errln!(
            "{}: {}; {} points on the front, {:.1} s of training",
            args.study.display(),
            recording.words(),
            exhaustive.front.len(),
            exhaustive.seconds
        );
    }
    let mut outcomes: Vec<Outcome> = Vec::new();
    for seed in 0..u64::from(args.seeds) {
        let settings = Settings {
            objectives,
            seed,
            risk: args.risk,
            keep_factors: args.keep_factors.unwrap_or(0.0),
            ..Settings::default()
        };
        let outcome = simulate(&recording, &exhaustive, args.strategy, settings, args.slots.into())?;
        match args.json {
            true => outln!("{}", serde_json::to_string(&outcome)?),
            false => outcomes.push(outcome),
        }
    }
    if !args.json {
        show(&outcomes)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A table of medians and of the worst simulation.
fn show(outcomes: &[Outcome]) -> Result<()> {
    outln!("{:<34}{:>10}{:>10}{:>10}", "", "MEDIAN", "LEAST", "GREATEST");
    let line = |name: &str, of: &dyn Fn(&Outcome) -> Option<f64>| -> Result<()> {
        let mut values: Vec<f64> = outcomes.iter().filter_map(of).collect();
        values.sort_by(f64::total_cmp);
        let never = outcomes.len() - values.len();
        if values.is_empty() {
            outln!("{name:<34}{:>10}", "never");
            return Ok(());
        }
        let shown = |share: f64| format!("{:.4}", quantile(&values, share));
        let never = if never > 0 { format!("   ({never} of {} never)", outcomes.len()) } else { String::new() };
        outln!("{name:<34}{:>10}{:>10}{:>10}{never}", shown(0.5), shown(0.0), shown(1.0));
        Ok(())
    };
    line("share of exhaustive training", &|of| Some(of.cost))?;
    line("share of exhaustive hypervolume", &|of| Some(of.reached.hypervolume))?;
    line("recall of the front", &|of| Some(of.reached.recall))?;
    line("recall within what seeds tell", &|of| Some(of.reached.recall_within_noise))?;
    line("false members of the front", &|of| Some(of.reached.false_members as f64))?;
    line("cost until 99 % of hypervolume", &|of| of.cost_99)?;
    line("cost until 99.5 % of hypervolume", &|of| of.cost_995)?;
    line("cost until 99.9 % of hypervolume", &|of| of.cost_999)?;
    line("cost until 95 % of that recall", &|of| of.cost_recall_95)?;
    line("cost until the same front", &|of| of.cost_same_front)?;
    line("wall time over that without idling", &|of| Some(of.idle_factor))?;
    if outcomes.iter().any(|of| of.audit.is_some()) {
        line("audit: bound on the share", &|of| of.audit.map(|audit| audit.bound))?;
        line("audit: configurations lost", &|of| Some(of.lost as f64))?;
        let held = outcomes.iter().filter_map(|of| of.bound_holds);
        let (holds, all) = held.fold((0, 0), |(holds, all), of| (holds + usize::from(of), all + 1));
        outln!("the audit's bound holds in {holds} of {all} simulations");
    }
    Ok(())
}

//! The command line: one file per subcommand, each with its arguments, its `run` and its helpers, in this order.

mod attribution;
mod bench;
mod cancel;
mod chart;
mod checkpoints;
mod columns;
mod compare;
mod completions;
mod confirming;
mod constraints;
mod data;
mod device;
mod display;
mod estimate;
mod executor;
mod explain;
mod explore;
mod explore_display;
mod export;
mod front;
mod has_data;
pub(crate) mod input;
mod inspect;
mod interrupt;
mod limits;
mod live_front;
mod lr_find;
mod origins;
mod pick;
mod plan;
mod predict;
mod probe_device;
mod report;
mod run_trial;
mod schedule;
mod selftest;
mod serve;
mod simulate;
mod status;
mod study;
mod target;
mod terminal;
mod threads;
mod time;
mod time_steps;
mod timing_display;
mod train;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "fastrcaps", version, propagate_version = true, max_term_width = 110)]
/// Explore training optimisations of capsule networks and find the Pareto front of training time, accuracy and
/// parameters.
///
/// You declare a space of configurations in a TOML file. fastrcaps trains all of them in parallel and writes the front as
/// tables and charts. You can stop a sweep at any moment: the same command continues it.
#[command(after_help = "\
Examples:
  fastrcaps explore search-spaces/smoke.toml        train a space of 48 small configurations in a minute
  fastrcaps plan search-spaces/mnist-small.toml     what a space contains and how long it would take
  fastrcaps time results/smoke                      training times of its steps, timed alone
  fastrcaps front results/smoke                     the front of a study, as a table
  fastrcaps pick results/smoke --within 0.1pp       one configuration of it, ready to train
  fastrcaps attribution results/smoke               the effect of each optimisation
  fastrcaps report results/smoke                    all of it as one page for a browser
  fastrcaps status results/smoke                    progress of a sweep, from another terminal
  fastrcaps train results/smoke/trials/KEY/config.toml --out results/again

Formats: search-spaces/README.md. How figures are made: METHODOLOGY.md. Terms: GLOSSARY.md.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
// There is one of it, and not for long.
#[allow(clippy::large_enum_variant)]
enum Command {
    Explore(explore::Args),
    Time(time::Args),
    Front(front::Args),
    Pick(pick::Args),
    #[command(visible_alias = "ablation")]
    Attribution(attribution::Args),
    Chart(chart::Args),
    Export(export::Args),
    Report(report::Args),
    Serve(serve::Args),
    Compare(compare::Args),
    Status(status::Args),
    Explain(explain::Args),
    Simulate(simulate::Args),
    Cancel(cancel::Args),
    Study(study::Args),
    Plan(plan::Args),
    Train(train::Args),
    Schedule(schedule::Args),
    LrFind(lr_find::Args),
    Data(data::Args),
    Bench(bench::Args),
    Selftest(selftest::Args),
    Completions(completions::Args),
    #[command(hide = true)]
    RunTrial(run_trial::Args),
    #[command(hide = true)]
    TimeSteps(time_steps::Args),
    #[command(hide = true)]
    Predict(predict::Args),
    #[command(hide = true)]
    ProbeDevice(probe_device::Args),
    #[command(hide = true)]
    HasData(has_data::Args),
}

/// Parses the command line and does what it says.
pub fn run() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Explore(args) => explore::run(args),
        Command::Time(args) => time::run(args),
        Command::Front(args) => front::run(args),
        Command::Pick(args) => pick::run(args),
        Command::Attribution(args) => attribution::run(args),
        Command::Chart(args) => chart::run(args),
        Command::Export(args) => export::run(args),
        Command::Report(args) => report::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Status(args) => status::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Simulate(args) => simulate::run(args),
        Command::Cancel(args) => cancel::run(args),
        Command::Study(args) => study::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Train(args) => train::run(args),
        Command::Schedule(args) => schedule::run(args),
        Command::LrFind(args) => lr_find::run(args),
        Command::Data(args) => data::run(args).map(|()| ExitCode::SUCCESS),
        Command::Bench(args) => bench::run(args),
        Command::Selftest(args) => selftest::run(args),
        Command::Completions(args) => completions::run(args),
        Command::RunTrial(args) => run_trial::run(args),
        Command::TimeSteps(args) => time_steps::run(args),
        Command::Predict(args) => predict::run(args),
        Command::ProbeDevice(args) => probe_device::run(args),
        Command::HasData(args) => has_data::run(args),
    }
}

//! `fastrcaps schedule`: what a configuration's learning rate and batch size do over the epochs, and what is computed and trained.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use fastrcaps::{
    base::words::plural,
    learn::{
        config::TrialConfig,
        model::{
            config::{CapsNetConfig, ClassCapsules, Decoder, ModelConfig},
            scope::{Frozen, Scope},
        },
        schedule::outline::outline,
    },
    present::charts::{
        self, Style,
        schedule::{self, ScheduleChart},
    },
};

use super::{
    input::{outln, read_config, tell_notes},
    target::Target,
};

/// Draw the learning rate and the batch size of a configuration, without training it.
///
/// It also prints the values at the turns of the curves and between them. EPOCHS are the epochs completed; two rows at the
/// same moment are a jump. Where the schedule changes what steps compute and train, ROUTING is the number of routing iterations,
/// RECONSTRUCTS says in which steps the decoder runs, and FROZEN which layers are not trained any more. Where some epochs see a share
/// of the training samples only, SAMPLES says which share.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fastrcaps schedule my.toml
  fastrcaps schedule results/smoke/trials/KEY/config.toml --out schedule.png")]
pub struct Args {
    /// Configuration: search-spaces/README.md lists every field
    config: PathBuf,
    /// File to draw to [default: NAME-schedule.png beside the config]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace a file that is not a chart of this program
    #[arg(long)]
    force: bool,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let config = read_config(&args.config)?;
    tell_notes([("", &config)]);
    let name = args.config.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let out = args.out.unwrap_or_else(|| args.config.with_file_name(format!("{name}-schedule.png")));
    let out = Target::checked(out, args.force, charts::is_own)?;
    let samples = config.data.counts().train;
    let steps: u64 = config.steps_by_size(samples).values().sum();
    let chart = ScheduleChart {
        title: format!("{name}: learning rate and batch size"),
        subtitle: format!(
            "{} of {}{samples} samples, {}",
            plural(config.train.epochs, "epoch"),
            if config.schedule.samples.is_all() { "" } else { "up to " },
            plural(steps as usize, "step")
        ),
        lines: vec![schedule::sample(&config.schedule, config.train.epochs)],
        left_out: 0,
    };
    out.write(&schedule::draw(&chart, &Style::default()).png())?;
    print_outline(&config)?;
    outln!("drawn to {}", out.path().display());
    Ok(ExitCode::SUCCESS)
}

/// Rows that show what the curve does.
fn print_outline(config: &TrialConfig) -> Result<()> {
    let outline = outline(&config.schedule, config.train.epochs);
    let is_whole = config.schedule.is_whole();
    let heads = if is_whole { String::new() } else { parts("ROUTING", "RECONSTRUCTS", "FROZEN") };
    let sees = |share: &str| if config.schedule.samples.is_all() { String::new() } else { format!("  {share:>7}") };
    outln!("{:>10}  {:>12}  {:>6}{}{heads}", "EPOCHS", "RATE", "BATCH", sees("SAMPLES"));
    for (number, row) in outline.rows.iter().enumerate() {
        if outline.is_cut && number + 1 == outline.rows.len() {
            outln!("{:>10}  so it goes on; the picture has all", "…");
        }
        let scope = if is_whole { String::new() } else { words(config, row.scope) };
        let share = sees(&format!("{:.1} %", 100.0 * row.share));
        outln!("{:>10.3}  {:>12.3e}  {:>6}{share}{scope}", row.epoch, row.learning_rate, row.batch_size);
    }
    Ok(())
}

/// The columns of what steps compute and train.
fn parts(routing: &str, reconstructs: &str, frozen: &str) -> String {
    format!("  {routing:>7}  {reconstructs:>12}  {frozen:<14}").trim_end().to_string()
}

/// What those columns say of a moment; `scope` is that of the first step of an epoch there.
fn words(config: &TrialConfig, scope: Scope) -> String {
    let routing = match &config.model {
        ModelConfig::Capsnet(CapsNetConfig { class_capsules: ClassCapsules::Homogeneous, .. }) => "none".to_string(),
        ModelConfig::Capsnet(model) => scope.iterations.unwrap_or(model.routing_iterations).to_string(),
        ModelConfig::EfficientCapsnet(_) => "1".to_string(),
        ModelConfig::Lenet5 => return parts("none", "none", frozen(scope)),
    };
    let reconstructs = match config.schedule.reconstruction.every {
        _ if config.model.decoder() == Decoder::None || scope.skips_decoder => "never".to_string(),
        1 => "always".to_string(),
        every => format!("1 step of {every}"),
    };
    parts(&routing, &reconstructs, frozen(scope))
}

fn frozen(scope: Scope) -> &'static str {
    match scope.frozen {
        Frozen::Nothing => "nothing",
        Frozen::Conv1 => "conv1",
        Frozen::Primary => "conv1, primary",
    }
}

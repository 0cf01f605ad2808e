//! `fastrcaps lr-find`: the learning-rate range test of a configuration.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use fastrcaps::{
    analysis::range_test::suggest,
    base::words::{number, plural},
    learn::{data, train::range_test},
    present::charts::{
        self,
        lr_find::{self, LrFindChart},
        style,
    },
};
use indicatif::{ProgressBar, ProgressStyle};

use super::{
    data::DataDirArg,
    device::DeviceArg,
    input::{outln, read_config},
    target::Target,
    threads::ThreadsArg,
};

/// Find a learning rate: train while the rate grows from 1e-6, tenfold every 100 steps, and read the loss (Smith 2017).
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fastrcaps lr-find my.toml
  fastrcaps lr-find my.toml --steps 500 --out lr.png

The suggested rate is a tenth of the rate with the lowest smoothed loss, which itself is too high to train with.")]
pub struct Args {
    /// Configuration: the test uses its network, data, seed and first batch size, but not its policies
    config: PathBuf,
    /// Maximum number of steps; 600 end at a rate of 1
    #[arg(long, value_name = "N", default_value_t = 600, value_parser = clap::value_parser!(u32).range(20..=900))]
    steps: u32,
    /// File to draw to [default: NAME-lr-find.png beside the config]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace a file that is not a chart of this program
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    data_dir: DataDirArg,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    threads: ThreadsArg,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let config = read_config(&args.config)?;
    let name = args.config.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let out = args.out.unwrap_or_else(|| args.config.with_file_name(format!("{name}-lr-find.png")));
    let out = Target::checked(out, args.force, charts::is_own)?;
    args.threads.install()?;
    let device = args.device.open(&config)?;
    let data = data::load(&config.data, &args.data_dir.dirs())?;
    let bar = ProgressBar::new(u64::from(args.steps));
    // A constant with known keys.
    bar.set_style(ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg}").expect("a valid template"));
    let points = range_test::run(&config, &data, &device, args.steps as usize, &mut |step, point| {
        bar.set_position(step as u64 + 1);
        bar.set_message(format!("rate {:.2e} · loss {}", point.learning_rate, number(point.loss, 4)));
    })?;
    bar.finish_and_clear();
    let rates: Vec<f64> = points.iter().map(|point| point.learning_rate).collect();
    let losses: Vec<f64> = points.iter().map(|point| point.loss).collect();
    let suggestion = suggest(&rates, &losses);
    let chart = LrFindChart {
        title: format!("{name}: learning-rate range test"),
        subtitle: format!("{}, seed {}", plural(points.len(), "step"), config.seed),
        rates,
        losses,
        suggestion,
    };
    out.write(&lr_find::draw(&chart, &charts::Style::default()).png())?;
    match suggestion {
        Some(of) => outln!(
            "suggested learning rate {} (the smoothed loss is lowest at {}, which is too high)",
            style::rate(of.rate),
            style::rate(of.lowest)
        ),
        None => outln!("the loss never fell clearly: no rate is suggested; try more --steps or another batch size"),
    }
    outln!("drawn to {}", out.path().display());
    Ok(ExitCode::SUCCESS)
}

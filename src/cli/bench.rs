//! `fastrcaps bench`: how fast this machine trains, and where the time goes.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, bail};
use clap::{Subcommand, builder::PossibleValuesParser};
use fastrcaps::{
    base::{
        device::{Gpu, Place},
        machine::Machine,
        stats::Spread,
        words::{plural, three_digits},
    },
    learn::{
        config::TrialConfig,
        kernels::open::describe,
        model::config::{PRESETS, Precision},
    },
    timing::{
        repeat::Limits,
        roofline::{Bound, Ceilings, LIMITS, Measured, PUBLISHED, Speed, measure},
        stand_in::stand_in,
    },
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use toml::{Table, Value};

use super::{
    device::{DeviceArg, device_object, precisions, words},
    display::{aligned, duration},
    estimate,
    input::{outln, read_config},
    threads::ThreadsArg,
};

/// Measure how fast this machine trains, and where the time goes.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Step(StepArgs),
}

/// Profile a training step: its time, its parts, and how near each comes to the roofline of the machine.
///
/// It measures a step as training does it: assembling the batch, forward, loss, backward, optimizer; on synthetic images,
/// after two steps that do not count. A time is the median over the steps. SHARE is the mean over the steps of a part's
/// share of each: shares add up to 100 %, medians of parts need not.
///
/// GFLOP/s counts two for each multiply-add that convolutions, votes, routing, dense layers and Muon's products really do. In
/// a convolution in the frequency domain those are its products of spectra. Elementwise work (ReLU, squash, softmax, sigmoid,
/// losses, every other optimizer) and the transforms count by their time only. AS IF DIRECT is for a convolution that is
/// computed otherwise: the GFLOP/s that one by the definition would need to be as fast.
///
/// GB/s counts the bytes that must move at least: the operands of a part read once, its results written once (batch: bytes
/// of images become floats; optimizer: values and moments read and written, and what Muon's products take; average: read and
/// written, the weights read). Gradients of weights do not count: the largest go to the optimizer in blocks that the caches
/// hold. The operands of a small part lie in a cache, too, so it may be above the ceiling.
///
/// The ceilings are measured in the same run on the same threads, best of several: a large f32 product by this program's own
/// code, one a thread; and a ← a/2 + b over arrays of several times the largest cache, two values read and one written. On a
/// GPU they are a large product by cuBLAS in the precision of the training, and a large copy. There, steps run one by one for
/// the times of their parts, and then enqueued together, as in a training.
///
/// OF CEILING is the least time that a part's work can take, divided by the time it took. BOUND BY says which ceiling limits
/// it: compute or memory. For a whole step, it is the sum over the parts.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fastrcaps bench step
  fastrcaps bench step --preset small --batch 32,64 --threads 1
  fastrcaps bench step --config results/smoke/trials/KEY/config.toml --batch 16
  fastrcaps bench step --batch 128 --json > step.json
  fastrcaps bench step --device cuda:0 --precision tf32 --batch 16,128,512
  fastrcaps bench step --estimate h200 --precision bf16 --batch 128      without a GPU: the least time of a step

Other programs on the machine disturb the measurement. To compare with PyTorch: benches/compare.py.")]
struct StepArgs {
    /// Network to train
    #[arg(long, value_name = "PRESET", default_value = PRESETS[0], value_parser = PossibleValuesParser::new(PRESETS))]
    preset: String,
    /// Use network and images of this configuration instead, capsule network or not. Of its schedule it takes what steps compute and
    /// train of the network: each kind of step is measured
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    config: Option<PathBuf>,
    /// Batch sizes, one measurement each
    #[arg(
        long,
        value_name = "N,…",
        value_delimiter = ',',
        default_value = "1,16,128,512",
        value_parser = clap::value_parser!(u32).range(1..=4096)
    )]
    batch: Vec<u32>,
    /// Steps to time of each size [default: 7, and more of short ones, for about 2 s]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    steps: Option<u32>,
    #[command(flatten)]
    device: DeviceArg,
    /// Number format of products on a GPU [default: that of the configuration, f32]
    #[arg(long, value_name = "PRECISION", value_parser = precisions())]
    precision: Option<Precision>,
    /// Measure nothing: list the launches of a step on a GPU and their least times by its published figures
    #[arg(long, value_name = "GPU", value_parser = PossibleValuesParser::new(PUBLISHED.map(|of| of.name)), conflicts_with_all = ["device", "steps", "threads"])]
    estimate: Option<String>,
    /// Print one JSON object instead of tables
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    threads: ThreadsArg,
}

pub fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        Command::Step(args) => step(args),
    }
}

fn step(args: StepArgs) -> Result<ExitCode> {
    let (config, network) = match &args.config {
        Some(path) => (read_config(path)?, path.display().to_string()),
        None => (of_preset(&args.preset)?, args.preset.clone()),
    };
    let config = args.precision.map_or(config.clone(), |precision| config.in_precision(precision));
    let precision = config.train.precision;
    if let Some(name) = &args.estimate {
        estimate::show(&config, &network, name, &args.batch, args.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    args.threads.install()?;
    let place = args.device.place();
    if place.is_cpu() && !precision.is_f32() {
        bail!("CPU cores compute in f32 alone: give --device cuda:0, or --precision f32");
    }
    let device = args.device.open(&config)?;
    let limits = args.steps.map_or(LIMITS, |steps| Limits { least: steps as usize, most: steps as usize, ..LIMITS });
    let data = stand_in(config.data.name);

    let scopes = config.schedule.scopes();
    let bar = ProgressBar::new((args.batch.len() * scopes.len()) as u64 + 1);
    // A constant with known keys.
    bar.set_style(ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg}").expect("a valid template"));
    bar.set_message("ceilings of the machine");
    bar.tick();
    let ceilings = Ceilings::measure(&device, precision)?;
    bar.inc(1);
    let mut all = Vec::new();
    for (&batch, &scope) in args.batch.iter().flat_map(|batch| scopes.iter().map(move |scope| (batch, scope))) {
        all.push(measure(&config, &data, &device, batch as usize, scope, limits, &mut |step| {
            bar.set_message(format!("batch {batch} · step {step}"));
        })?);
        bar.inc(1);
    }
    bar.finish_and_clear();

    let threads = rayon::current_num_threads();
    let of = Measurement {
        config,
        network,
        machine: Machine::this(format!("1x{threads}")),
        place,
        gpu: describe(&device)?,
        threads,
        precision,
        ceilings,
    };
    if args.json {
        outln!("{:#}", object(&of, &all));
    } else {
        outln!("{}", heading(&of));
        for measured in &all {
            outln!("\n{}", table(measured, ceilings));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A preset's network on the images of a config that says nothing else.
fn of_preset(name: &str) -> Result<TrialConfig> {
    let table = |key: &str, value: Value| Value::Table(Table::from_iter([(key.to_string(), value)]));
    let Value::Table(config) = table("model", table("preset", name.into())) else { unreachable!("it is a table") };
    Ok(TrialConfig::resolve(config)?)
}

/// What was measured, and where.
struct Measurement {
    config: TrialConfig,
    /// Its name.
    network: String,
    machine: Machine,
    place: Place,
    gpu: Option<Gpu>,
    threads: usize,
    precision: Precision,
    ceilings: Ceilings,
}

/// The machine and the build, what a time counts, and what the times are held against.
fn heading(of: &Measurement) -> String {
    let Measurement { config, network, machine, place, gpu, threads, precision, ceilings } = of;
    let shape = config.data.name.image_shape();
    let processor = machine.processor.as_deref().unwrap_or(&machine.architecture);
    let cores = format!("{} of {processor}", plural(machine.cores, "core"));
    let device = match gpu {
        None => format!("{cores}, {}", plural(*threads, "thread")),
        Some(gpu) => format!("{place} {}, precision {}, {cores}", words(gpu), precision.as_str()),
    };
    format!(
        "{device}, build {}; a time is one training step: batch, forward, backward, optimizer\n\
         network {network}, {} parameters, images of {}×{}×{}; ceilings {:.1} GFLOP/s and {:.1} GB/s",
        machine.git_revision.as_deref().unwrap_or(&machine.fastrcaps_version),
        config.parameters(),
        shape.height,
        shape.width,
        shape.channels,
        ceilings.flops / 1e9,
        ceilings.bandwidth / 1e9,
    )
}

/// A step and its parts.
fn table(measured: &Measured, ceilings: Ceilings) -> String {
    let step = measured.step();
    let mut rows: Vec<Vec<String>> =
        vec!["PART|MS|SHARE|GFLOP/s|GB/s|OF CEILING|BOUND BY|AS IF DIRECT".split('|').map(String::from).collect()];
    let parts = measured.parts.iter();
    rows.extend(parts.map(|part| row(part.part.as_str(), part.share(measured), &part.speed(ceilings))));
    rows.push(row("step", 1.0, &measured.speed(ceilings)));
    let in_training = measured.step_in_training().map_or(String::new(), |of| {
        let [median, lower, upper] = [of.median, of.lower_quartile, of.upper_quartile].map(duration);
        format!("; enqueued as in a training {median} (quartiles {lower} and {upper})")
    });
    let scope = if measured.scope.is_whole() { String::new() } else { format!(", {}", measured.scope) };
    format!(
        "batch {}{scope}: median {} (least {}, quartiles {} and {}, {}){in_training}, {} samples/s\n{}",
        measured.batch,
        duration(step.median),
        duration(step.min),
        duration(step.lower_quartile),
        duration(step.upper_quartile),
        plural(measured.steps.len(), "step"),
        three_digits(measured.samples_per_second()),
        aligned(&rows).trim_end(),
    )
}

fn row(name: &str, share: f64, speed: &Speed) -> Vec<String> {
    let giga = |value: Option<f64>| value.map_or(String::new(), |value| format!("{:.1}", value / 1e9));
    vec![
        name.to_string(),
        format!("{:.3}", 1e3 * speed.seconds.median),
        format!("{:.1} %", 100.0 * share),
        giga(speed.flops),
        giga(speed.bandwidth),
        speed.of_ceiling.map_or(String::new(), |share| format!("{:.0} %", 100.0 * share)),
        speed.bound.map_or(String::new(), |bound| bound.as_str().to_string()),
        giga(speed.direct_flops.filter(|direct| Some(*direct) != speed.flops)),
    ]
}

/// Everything that was measured, as JSON.
fn object(of: &Measurement, all: &[Measured]) -> serde_json::Value {
    let Measurement { config, network, machine, place, gpu, threads, precision, ceilings } = of;
    let ceilings = *ceilings;
    let batches = all.iter().map(|measured| {
        let parts = measured.parts.iter().map(|part| {
            let mut object = figures(&part.speed(ceilings));
            object["part"] = json!(part.part.as_str());
            object["share"] = json!(part.share(measured));
            object
        });
        let mut object = figures(&measured.speed(ceilings));
        object["batch"] = json!(measured.batch);
        if !measured.scope.is_whole() {
            object["scope"] = json!(measured.scope);
        }
        object["steps"] = json!(measured.steps.len());
        object["ms_in_training"] = measured.step_in_training().map_or(json!(null), |spread| milliseconds(&spread));
        object["samples_per_second"] = json!(measured.samples_per_second());
        object["parts"] = parts.collect();
        object
    });
    json!({
        "machine": machine,
        "device": device_object(*place, gpu.as_ref()),
        "precision": precision,
        "threads": threads,
        "network": { "name": network, "parameters": config.parameters(), "model": config.model, "data": config.data.name.as_str() },
        "ceilings": { "gflops": ceilings.flops / 1e9, "gigabytes_per_second": ceilings.bandwidth / 1e9 },
        "batches": batches.collect::<Vec<_>>(),
    })
}

fn figures(speed: &Speed) -> serde_json::Value {
    let giga = |value: Option<f64>| value.map(|value| value / 1e9);
    json!({
        "ms": milliseconds(&speed.seconds),
        "multiply_adds": speed.work.map(|work| work.multiply_adds),
        "direct_multiply_adds": speed.work.map(|work| work.direct_multiply_adds),
        "bytes": speed.work.map(|work| work.bytes),
        "gflops": giga(speed.flops),
        "direct_gflops": giga(speed.direct_flops),
        "gigabytes_per_second": giga(speed.bandwidth),
        "of_ceiling": speed.of_ceiling,
        "bound_by": speed.bound.map(Bound::as_str),
    })
}

fn milliseconds(of: &Spread) -> serde_json::Value {
    let Spread { min, lower_quartile, median, upper_quartile, max } = *of;
    json!({
        "min": 1e3 * min,
        "lower_quartile": 1e3 * lower_quartile,
        "median": 1e3 * median,
        "upper_quartile": 1e3 * upper_quartile,
        "max": 1e3 * max,
    })
}

//! `fastrcaps selftest`: whether a device computes correctly.

use std::process::ExitCode;

use anyhow::{Result, bail};
use fastrcaps::{
    base::{
        device::Gpu,
        machine::{git_revision, processor},
        words::duration,
    },
    learn::{
        kernels::{open::describe, open_device},
        selftest::{self, Options, Row},
    },
};
use serde_json::json;

use super::{
    device::{DeviceArg, device_object, words},
    input::{outln, shell_line},
    threads::ThreadsArg,
};

/// Test whether a device computes correctly: every operation, networks, trainings.
///
/// It runs each operation with its gradients on random shapes and compares the results with plain tensor code in f64 on CPU
/// cores. It compares random networks, and small trainings step by step in every precision. Then it checks that the same
/// training twice gives the same bits, and that the network at full size agrees with CPU cores. It needs only this program.
///
/// ERROR is the largest difference divided by the largest absolute value expected, of the comparison nearest to its TOLERATED
/// (or furthest beyond it). Losses are compared after every step; the tolerance grows with the steps.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fastrcaps selftest --device cuda:0
  fastrcaps selftest --device cuda:0 --quick
  fastrcaps selftest --device cuda:0 --only conv2d,conv2d-relu --cases 200 --seed 7
  fastrcaps selftest --device cuda:0 --only conv2d --seed 7 --case 31     one case again

Exit codes: 0 all tests passed, 1 a test failed, 2 a wrong command line.")]
pub struct Args {
    #[command(flatten)]
    device: DeviceArg,
    /// Random cases of each operation
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    cases: u32,
    /// Seed of shapes and values
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// At most five cases, trainings of half the steps, and without the network at full size
    #[arg(long)]
    quick: bool,
    /// Run only these tests, by their names in the table
    #[arg(long, value_name = "TEST,…", value_delimiter = ',')]
    only: Vec<String>,
    /// Run only the case of this number, of one test
    #[arg(long, value_name = "N", requires = "only")]
    case: Option<usize>,
    /// Print a JSON object at the end instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    threads: ThreadsArg,
}

/// Cases of a quick test.
const QUICK: usize = 5;

pub fn run(args: Args) -> Result<ExitCode> {
    args.threads.install()?;
    let place = args.device.place();
    let device = open_device(place)?;
    let cases = args.cases as usize;
    let cases = if args.quick { cases.min(QUICK) } else { cases };
    let options = Options { seed: args.seed, cases, is_quick: args.quick, case: args.case };
    let mut tests = selftest::tests(&device, &options);
    let names: Vec<&str> = tests.iter().map(|test| test.name).collect();
    for name in &args.only {
        if !names.contains(&name.as_str()) {
            bail!("there is no test {name} of {}; there are {}", args.device.place(), names.join(", "));
        }
    }
    if args.case.is_some() && args.only.len() > 1 {
        bail!("--case is the case of one test; name it alone with --only");
    }
    let width = names.iter().map(|name| name.len()).max().unwrap_or(0);
    tests.retain(|test| args.only.is_empty() || args.only.iter().any(|name| name == test.name));

    let gpu = describe(&device)?;
    if !args.json {
        outln!("{}", heading(&args, gpu.as_ref()));
        outln!("{:width$}  CASES    ERROR  TOLERATED       TIME", "TEST");
    }
    let mut rows = Vec::new();
    for test in &tests {
        let row = selftest::run(test, &device, &options);
        if !args.json {
            outln!("{}", line(&row, width));
            if let Some(failure) = &row.failure {
                outln!("  case {}: {}", failure.case, failure.shape);
                outln!("  {}", failure.what);
                outln!("  again: {}", again(&args, test.name, failure.case));
            }
        }
        rows.push(row);
    }
    let failed = rows.iter().filter(|row| !row.is_ok()).count();
    if args.json {
        let object = json!({
            "device": device_object(place, gpu.as_ref()),
            "git_revision": git_revision(),
            "seed": args.seed,
            "tests": rows,
            "ok": failed == 0,
        });
        outln!("{object:#}");
    } else if failed == 0 {
        outln!("all {} tests ok on {}", rows.len(), args.device.place());
    } else {
        outln!("{failed} of {} tests FAILED on {}", rows.len(), args.device.place());
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn heading(args: &Args, gpu: Option<&Gpu>) -> String {
    let device = match gpu {
        Some(gpu) => words(gpu),
        None => processor().unwrap_or_else(|| "a processor without a name".into()),
    };
    let build = git_revision().unwrap_or_else(|| "unknown".into());
    format!("{}: {device}; build {build}, seed {}", args.device.place(), args.seed)
}

fn line(row: &Row, width: usize) -> String {
    let Row { test, cases, error, tolerance, seconds, .. } = row;
    let verdict = if row.is_ok() { "ok" } else { "FAILED" };
    let (error, tolerance) = (format!("{error:.1e}"), format!("{tolerance:.1e}"));
    format!("{test:width$}  {cases:>5}  {error:>7}  {tolerance:>9}  {:>9}  {verdict}", duration(*seconds))
}

/// The command that runs a case by itself.
fn again(args: &Args, test: &str, case: usize) -> String {
    let words = ["fastrcaps", "selftest", "--device", &args.device.place().to_string(), "--only", test, "--seed"];
    let numbers = [args.seed.to_string(), "--case".into(), case.to_string()];
    shell_line(words.map(String::from).into_iter().chain(numbers))
}

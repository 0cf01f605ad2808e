//! `fastrcaps time-steps`: times steps for `time` and `explore`, in a process of its own. Started by these only.

use std::{
    io::{self, Read, Write},
    process::{self, ExitCode},
    thread,
};

use anyhow::{Context, Result};
use fastrcaps::{
    base::machine,
    learn::kernels::open_device,
    timing::rounds::{Job, worker},
};

use super::{
    data::DataDirArg,
    device::{self, DeviceArg},
    input::errln,
};

/// Time the steps that a line of JSON on standard input asks for; end when standard input ends.
#[derive(clap::Args)]
pub struct Args {
    /// Threads to compute with
    #[arg(long)]
    threads: usize,
    /// Cores to stay on
    #[arg(long, value_delimiter = ',')]
    cores: Vec<usize>,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    data_dir: DataDirArg,
}

pub fn run(args: Args) -> Result<ExitCode> {
    machine::end_with_parent();
    let mut line = String::new();
    io::stdin().read_line(&mut line).context("cannot read what is to be timed")?;
    let job: Job = serde_json::from_str(&line).context("what is to be timed is not understood")?;
    let listener = thread::Builder::new().spawn(end_with_stdin);
    listener.context("cannot start the thread that hears whether anybody still waits")?;
    if !args.cores.is_empty()
        && let Err(error) = machine::pin_to(&args.cores)
    {
        // Slower perhaps, as it moves from core to core.
        errln!("warning: {error:#}; it runs on any core");
    }
    super::threads::install(args.threads)?;
    let place = args.device.place();
    job.tasks.iter().try_for_each(|task| device::check(place, &task.config))?;
    let device = open_device(place)?;
    worker::work(&job, &args.data_dir.dirs(), &device, &mut |line| {
        // Whoever waited is gone where this fails: an end, and no reason to go on.
        let mut out = io::stdout().lock();
        let written = writeln!(out, "{}", serde_json::to_string(&line)?).and_then(|()| out.flush());
        written.context("nobody reads the times any more")
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Ends this process with standard input: whoever waited for it is gone.
fn end_with_stdin() {
    let mut byte = [0];
    loop {
        match io::stdin().read(&mut byte) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => process::exit(1),
        }
    }
}

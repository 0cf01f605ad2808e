//! `fastrcaps run-trial`: one trial of a sweep, in a process and a folder of its own. Started by workers only.

use std::{
    io::{self, Read},
    path::PathBuf,
    process::{self, ExitCode},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::SystemTime,
};

use anyhow::{Context, Error, Result, bail};
use candle_core::Device;
use fastrcaps::{
    base::machine,
    learn::{
        data,
        folder::TrialFolder,
        kernels::{self, open::Trouble},
        record::{EpochRow, Fault, Status, TrialRecord},
        train::{
            Observer,
            beginning::{Beginning, Shared},
            checkpoint::State,
            run::{Interruption, RunOutcome, run_in_folder},
            session::Foreign,
        },
    },
    search::worker,
};

use super::{
    checkpoints::CheckpointsArg,
    data::DataDirArg,
    device::DeviceArg,
    input::{errln, print_line, read_config},
    interrupt::{stop_on_signals, stop_on_terminations},
};

/// Train the trial that a folder declares.
#[derive(clap::Args)]
pub struct Args {
    /// The trial's folder, with its config.toml and trial.json
    folder: PathBuf,
    /// Threads to compute with
    #[arg(long)]
    threads: usize,
    /// Cores to stay on
    #[arg(long, value_delimiter = ',')]
    cores: Vec<usize>,
    #[command(flatten)]
    device: DeviceArg,
    /// End when standard input ends, because the explorer is gone then; stop with a checkpoint when it says `s`
    #[arg(long)]
    end_with_stdin: bool,
    /// As a job of a cluster: write into the record that the training begins, and where; stop on SIGTERM, however often it comes
    #[arg(long)]
    tell_begin: bool,
    /// Stop with a checkpoint once so many epochs are completed, unless they are all
    #[arg(long, value_name = "N")]
    until_epoch: Option<usize>,
    /// Without a checkpoint, go on from this state of another training after so many epochs; the first that can be used
    #[arg(long, value_name = "EPOCHS=FILE", value_parser = parse_beginning)]
    begin_from: Vec<(usize, PathBuf)>,
    /// Leave the state after so many epochs for other trainings
    #[arg(long, value_name = "EPOCHS=FILE", value_parser = parse_beginning)]
    leave: Vec<(usize, PathBuf)>,
    #[command(flatten)]
    checkpoints: CheckpointsArg,
    #[command(flatten)]
    data_dir: DataDirArg,
    /// Where the user's own images lie here, if not where the configuration says
    #[arg(long, value_name = "PATH")]
    data_path: Option<String>,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let stop = if args.tell_begin { stop_on_terminations()? } else { stop_on_signals()? };
    if args.end_with_stdin {
        machine::end_with_parent();
        let stop = stop.clone();
        let listener = thread::Builder::new().spawn(move || listen(&stop));
        listener.context("cannot start the thread that hears the explorer")?;
    }
    let folder = TrialFolder::new(&args.folder);
    let _claim = folder.claim()?;
    let record = folder.read_record()?;
    match train(&args, &folder, record.clone(), &stop) {
        Ok(RunOutcome::Ended(record, _)) => {
            // For who reads the log; the record stands in its file.
            let _ = print_line(&serde_json::to_string(&record)?);
            Ok(ExitCode::SUCCESS)
        }
        Ok(RunOutcome::Stopped(..)) => process::exit(worker::STOPPED),
        Err(error) => {
            let ended = Some(machine::rfc3339(SystemTime::now()));
            let reason = format!("{error:#}");
            // Who opened the device has said it already.
            let mend = kernels::open::mend(&reason).filter(|mend| !reason.contains(mend));
            let reason = mend.map_or(reason.clone(), |mend| format!("{reason}; {mend}"));
            let (fault, reason) = (Some(fault(&error)), Some(reason));
            let record = TrialRecord { status: Status::Failed, ended, fault, error: reason, ..record };
            if let Err(unwritten) = folder.write_record(&record) {
                errln!("warning: {unwritten:#}");
            }
            Err(error)
        }
    }
}

fn train(args: &Args, folder: &TrialFolder, record: TrialRecord, stop: &AtomicBool) -> Result<RunOutcome> {
    if !args.cores.is_empty()
        && let Err(error) = machine::pin_to(&args.cores)
    {
        // Slower perhaps, beside others; the results do not depend on it.
        errln!("warning: {error:#}; it runs on any core");
    }
    super::threads::install(args.threads)?;
    let config = read_config(&folder.config())?;
    // What cannot be opened is told before the data is read.
    let device = args.device.open(&config)?;
    let record = if args.tell_begin { begun(folder, record, &device)? } else { record };
    let here = args.data_path.as_ref().map(|path| config.data.at(path).map_err(Error::msg)).transpose()?;
    let data = data::load(here.as_ref().unwrap_or(&config.data), &args.data_dir.dirs())?;
    let key = config.key(&data.fingerprint);
    if key != record.key {
        bail!("the data changed since the sweep began: this is trial {key}, {} was asked for", record.key);
    }
    let beginning = |(epochs, path): &(usize, PathBuf)| {
        let key = config.beginning(*epochs, data.train.len(), &data.fingerprint);
        Beginning { epochs: *epochs, key, path: path.clone() }
    };
    let from: Vec<Beginning> = args.begin_from.iter().map(beginning).collect();
    let leave: Vec<Beginning> = args.leave.iter().map(beginning).collect();
    let shared = Shared { from: &from, leave: &leave };
    run_in_folder(
        folder,
        &config,
        record,
        &data,
        &device,
        Interruption { shared, ..args.checkpoints.interruption(stop, Foreign::SetAside) },
        &mut Log { stop, until_epoch: args.until_epoch },
    )
}

/// A pair of epochs and file.
fn parse_beginning(text: &str) -> Result<(usize, PathBuf), String> {
    let (epochs, path) = text.split_once('=').ok_or("expected EPOCHS=FILE")?;
    Ok((epochs.parse().map_err(|_| format!("{epochs:?} is no number of epochs"))?, path.into()))
}

/// Has the record say that its training begins here and now.
fn begun(folder: &TrialFolder, record: TrialRecord, device: &Device) -> Result<TrialRecord> {
    let processor = kernels::open::gpu_name(device).or_else(machine::processor);
    let record = TrialRecord {
        status: Status::Running,
        started: Some(machine::rfc3339(SystemTime::now())),
        host: Some(machine::host()),
        processor,
        ..record
    };
    folder.write_record(&record)?;
    Ok(record)
}

/// Hears what the explorer says on standard input, until it is gone.
fn listen(stop: &AtomicBool) {
    let mut byte = [0];
    loop {
        match io::stdin().read(&mut byte) {
            Ok(1) if byte == *b"s" => stop.store(true, Relaxed),
            Ok(1) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => process::exit(1),
        }
    }
}

/// Whose fault it is that a trial came to no end: the machine's, where a file could not be read or written, or a GPU not be used.
fn fault(error: &Error) -> Fault {
    match kernels::trouble(&format!("{error:#}")) {
        Some(Trouble::Memory) => Fault::Memory,
        Some(Trouble::Machine) => Fault::Machine,
        None if error.chain().any(|cause| cause.is::<io::Error>()) => Fault::Machine,
        None => Fault::Configuration,
    }
}

/// Standard error is the trial's log.
struct Log<'a> {
    stop: &'a AtomicBool,
    until_epoch: Option<usize>,
}

impl Log<'_> {
    /// Has the training stop where it is as far as was asked for.
    fn stop_after(&self, epochs: usize) {
        if self.until_epoch.is_some_and(|until| epochs >= until) {
            self.stop.store(true, Relaxed);
        }
    }
}

impl Observer for Log<'_> {
    fn epoch(&mut self, row: &EpochRow) -> Result<()> {
        self.stop_after(row.epoch);
        Ok(())
    }

    fn resumed(&mut self, state: &State) -> Result<()> {
        let epochs = state.epochs.len();
        self.stop_after(epochs);
        match state.shared_epochs {
            Some(shared) if shared == epochs && state.sums.seen == 0 => {
                self.say(&format!("note: epochs 1 to {epochs} are those of another trial"));
            }
            _ => self.say(&format!("note: continues after step {}, in epoch {}", state.steps, epochs + 1)),
        }
        Ok(())
    }

    fn say(&mut self, line: &str) {
        errln!("{line}");
    }
}

//! `fastrcaps run-trial`: one trial of a sweep, in a process and a folder of its own. Started by executors only.

use std::{io::Read, path::PathBuf, process::ExitCode};

use anyhow::{Result, bail};
use fastrcaps::{
    data,
    folder::TrialFolder,
    machine,
    record::{Status, TrialRecord},
    train::run::run_in_folder,
};

use super::{
    data::DataDirArg,
    input::{print_line, read_config},
};

/// Train the trial that a folder asks for.
#[derive(clap::Args)]
pub struct Args {
    folder: PathBuf,
    #[arg(long)]
    threads: usize,
    /// Cores to stay on
    #[arg(long, value_delimiter = ',')]
    cores: Vec<usize>,
    /// End when standard input ends: whoever waited for the result is gone
    #[arg(long)]
    end_with_stdin: bool,
    #[command(flatten)]
    data_dir: DataDirArg,
}

pub fn run(args: Args) -> Result<ExitCode> {
    if args.end_with_stdin {
        machine::end_with_parent();
        std::thread::spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            std::process::exit(1);
        });
    }
    let folder = TrialFolder::new(&args.folder);
    let _claim = folder.claim()?;
    let record = folder.read_record()?;
    match train(&args, &folder, record.clone()) {
        Ok(record) => {
            print_line(&serde_json::to_string(&record)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            let ended = Some(machine::rfc3339(std::time::SystemTime::now()));
            let reason = Some(format!("{error:#}"));
            folder.write_record(&TrialRecord { status: Status::Failed, ended, error: reason, ..record })?;
            Err(error)
        }
    }
}

fn train(args: &Args, folder: &TrialFolder, record: TrialRecord) -> Result<TrialRecord> {
    if !args.cores.is_empty() {
        machine::pin_to(&args.cores)?;
    }
    super::threads::install(args.threads)?;
    let config = read_config(&folder.config())?;
    let data = data::load(&config.data, &args.data_dir.dirs())?;
    let key = config.key(&data.fingerprint);
    if key != record.key {
        bail!("the data changed since the sweep began: this is trial {key}, {} was asked for", record.key);
    }
    let (record, _) = run_in_folder(folder, &config, record, &data, &mut ())?;
    Ok(record)
}

//! `fastrcaps has-data`: whether the images of a selection are found here, and are those that are meant. Asked by who submits jobs
//! to a cluster whose files it does not see.

use std::process::ExitCode;

use anyhow::{Context, Result};
use fastrcaps::{
    learn::data::{self, DataConfig},
    search::worker::slurm::IS_HERE,
};

use super::{data::DataDirArg, input::outln};

/// Say whether images are found here: `here`, or why not.
#[derive(clap::Args)]
pub struct Args {
    /// `[data]` of a configuration, as JSON
    selection: String,
    /// Fingerprint of its images
    fingerprint: String,
    #[command(flatten)]
    data_dir: DataDirArg,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let config: DataConfig = serde_json::from_str(&args.selection).context("the selection of data cannot be read")?;
    match data::load(&config, &args.data_dir.dirs()) {
        Ok(data) if data.fingerprint == args.fingerprint => outln!("{IS_HERE}"),
        Ok(data) => {
            outln!("its images are others: their fingerprint is {}, not {}", data.fingerprint, args.fingerprint)
        }
        Err(error) => outln!("{error:#}"),
    }
    Ok(ExitCode::SUCCESS)
}

//! How many threads a command computes with.

use anyhow::{Context, Result};
use fastrcaps::base::machine;

/// `--threads N`, for commands that train in their own process.
#[derive(clap::Args)]
pub struct ThreadsArg {
    /// Threads to compute with; the results do not depend on it [default: one on every core, or as many as a container's CPU
    /// quota allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    threads: Option<u16>,
}

impl ThreadsArg {
    /// Makes the thread pool that everything computes in.
    pub fn install(&self) -> Result<()> {
        install(self.threads.map_or_else(machine::usable_cores, usize::from))
    }
}

/// Makes the thread pool that everything computes in.
pub fn install(threads: usize) -> Result<()> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().context("cannot start the threads")
}

//! How many threads a command computes with.

use anyhow::{Context, Result};

/// `--threads N`, for commands that train in their own process.
#[derive(clap::Args)]
pub struct ThreadsArg {
    /// Threads to compute with; all cores where absent. The results do not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    threads: Option<u16>,
}

impl ThreadsArg {
    /// Makes the thread pool that everything computes in.
    pub fn install(&self) -> Result<()> {
        install(self.threads.map_or(0, usize::from))
    }
}

/// Makes the thread pool that everything computes in; 0 takes one thread per core.
pub fn install(threads: usize) -> Result<()> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().context("cannot start the threads")
}

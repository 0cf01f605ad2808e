//! Where trials run, as the command line says: on this machine, or on a cluster.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::ValueEnum;
use fastrcaps::{engine::explore::Backend, search::worker::slurm::Profile};

/// Where trials run.
#[derive(clap::Args)]
pub struct ExecutorArg {
    /// Run trials as processes of this machine, or as jobs of a cluster
    #[arg(long, value_enum, default_value_t = Executor::Local, help_heading = "Cluster")]
    executor: Executor,
    /// What the cluster's jobs ask for, and where the work lies: docs/slurm.md is its format
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    executor_file: Option<PathBuf>,
    /// Leave the jobs to the cluster once all are submitted; the same command without this takes up what became of them
    #[arg(long, help_heading = "Cluster")]
    pub detach: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Executor {
    /// Processes of this machine
    Local,
    /// Jobs of Slurm
    Slurm,
}

impl ExecutorArg {
    pub fn backend(&self) -> Result<Backend> {
        match (self.executor, &self.executor_file) {
            (Executor::Local, Some(_)) => bail!("--executor-file goes with --executor slurm"),
            (Executor::Local, None) if self.detach => {
                bail!("--detach goes with --executor slurm: trials end with this program")
            }
            (Executor::Local, None) => Ok(Backend::Local),
            (Executor::Slurm, None) => Ok(Backend::Slurm(Box::default())),
            (Executor::Slurm, Some(path)) => Ok(Backend::Slurm(Box::new(Profile::read(path)?))),
        }
    }
}

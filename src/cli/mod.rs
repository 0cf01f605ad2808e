//! The command line, one file a subcommand.

pub mod data;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "fastrcaps", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List, fetch and verify data sets
    Data(data::Args),
}

pub fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Data(args) => data::run(args),
    }
}

//! `fastrcaps completions`: what a shell needs to complete this program's arguments.

use std::process::ExitCode;

use anyhow::Result;
use clap::CommandFactory;

use super::input::outln;

/// Print shell completions.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fastrcaps completions bash > ~/.local/share/bash-completion/completions/fastrcaps
  fastrcaps completions zsh  > ~/.zfunc/_fastrcaps
  fastrcaps completions fish > ~/.config/fish/completions/fastrcaps.fish")]
pub struct Args {
    shell: clap_complete::Shell,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "fastrcaps", &mut script);
    outln!("{}", String::from_utf8_lossy(&script).trim_end());
    Ok(ExitCode::SUCCESS)
}

//! `fastrcaps serve`: pages of studies, which follow them while they are explored.

use std::{net::IpAddr, path::PathBuf, process::ExitCode};

use anyhow::Result;
use fastrcaps::engine::live::Live;

use super::{
    input::{errln, outln},
    interrupt::stop_on_signals,
};

/// Serve the pages of studies, on this machine, until Ctrl-C. They follow their studies while these are explored.
///
/// It only reads, at low priority, and does not disturb a sweep. Programs of other machines are refused, unless --listen
/// names an address: then only who has the printed token may look. The connection is not encrypted: across a network
/// that others can read, let ssh lead to this machine instead, as in
/// `ssh -L 8000:127.0.0.1:8000 HOST fastrcaps serve results --port 8000`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fastrcaps serve results/smoke
  fastrcaps serve results                               all studies in it, and the fronts of two in one picture
  fastrcaps serve results --listen 0.0.0.0 --port 8000")]
pub struct Args {
    /// A study folder, or a folder of studies
    #[arg(value_name = "STUDY|DIR")]
    place: PathBuf,
    /// Port [default: a free one]
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    port: u16,
    /// Listen on this address of the machine, as in 192.168.1.5, or 0.0.0.0 for all; makes a token, without which nothing is
    /// shown
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<IpAddr>,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let live = Live::new(args.place, args.listen, args.port)?;
    outln!("{}", live.url()?);
    if args.listen.is_some() {
        errln!("note: who has this address with its token can read the studies; the connection is not encrypted");
    }
    let stop = stop_on_signals()?;
    live.run(&stop)?;
    Ok(ExitCode::SUCCESS)
}

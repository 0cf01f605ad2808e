//! `fastrcaps report`: a study as one page of HTML.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use fastrcaps::{
    base::words::megabytes,
    present::page::{self, Content, Report},
    search::study::{Study, holdings::PAGE},
};

use super::{
    input::{TimesArg, outln},
    target::Target,
};

/// Write a study as one page: report.html, which opens in a browser and needs nothing beside it.
///
/// It says what to train with, what each optimisation does, what went wrong, and where every figure comes from. It
/// reaches for no network, and can be read and printed without JavaScript; with it, charts and tables can be searched,
/// sorted and filtered.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fastrcaps report results/smoke
  fastrcaps report results/smoke --out smoke.html
  fastrcaps report results/smoke --times gpu-server

METHODOLOGY.md has the rules of its figures; the page holds a copy.")]
pub struct Args {
    /// A study folder, made by `fastrcaps explore`
    study: PathBuf,
    #[command(flatten)]
    times: TimesArg,
    /// File to write [default: STUDY/report.html]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace a file that this program did not write
    #[arg(long)]
    force: bool,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let study = Study::new(args.study);
    let out = args.out.unwrap_or_else(|| study.folder.join(PAGE));
    let out = Target::checked(out, args.force, page::is_own)?;
    let page = page::html(&Report::read(&study, args.times.name())?)?.write(&Content::File);
    out.write(page.as_bytes())?;
    outln!("{} ({}): open it in a browser", out.path().display(), megabytes(page.len() as u64));
    Ok(ExitCode::SUCCESS)
}

//! `fastrcaps compare`: two studies beside each other.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use fastrcaps::{
    present::{
        page::{self, Content},
        report::comparison::{Comparison, Side},
    },
    search::study::Study,
};

use super::{
    display::aligned,
    input::{TimesArg, outln},
    target::Target,
};

/// Compare two studies: their fronts, and the configurations that both have.
///
/// It says where accuracies do not compare, as the images differ, and where times do not, as machines or builds differ.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fastrcaps compare results/smoke results/again
  fastrcaps compare results/smoke results/again --out both.html")]
pub struct Args {
    /// A study folder, made by `fastrcaps explore`
    first: PathBuf,
    /// Another one
    second: PathBuf,
    #[command(flatten)]
    times: TimesArg,
    /// Write a page with both fronts in one picture, too
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace a file that this program did not write
    #[arg(long, requires = "out")]
    force: bool,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let out = args.out.map(|out| Target::checked(out, args.force, page::is_own)).transpose()?;
    let read = |folder: PathBuf| Side::read(&Study::new(folder), args.times.name());
    let comparison = Comparison::of([read(args.first)?, read(args.second)?]);
    outln!("{}", text(&comparison));
    if let Some(out) = out {
        out.write(page::compare::html(&comparison).write(&Content::File).as_bytes())?;
        outln!("\n{}: open it in a browser", out.path().display());
    }
    Ok(ExitCode::SUCCESS)
}

fn text(comparison: &Comparison) -> String {
    let mut text = String::new();
    // A value a line: those of two studies are too long to stand beside each other on a terminal.
    for [what, first, second] in comparison.rows() {
        text += &format!("{what}\n  first   {first}\n  second  {second}\n");
    }
    let shared = comparison.shared_rows();
    if !shared.is_empty() {
        let header = "CONFIGURATION OF BOTH|VALIDATION|SECOND|POINTS|TIME|SECOND|FIRST / SECOND";
        let mut rows: Vec<Vec<String>> = vec![header.split('|').map(String::from).collect()];
        rows.extend(shared.into_iter().map(Vec::from));
        text += &format!("\n{}", aligned(&rows));
    }
    for warning in &comparison.warnings {
        text += &format!("\nnote: {warning}");
    }
    text
}

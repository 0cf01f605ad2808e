//! `fastrcaps export`: a study in the formats of other programs.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use fastrcaps::{
    base::words::plural,
    present::{export, report::findings::Findings},
    search::study::Study,
};

use super::{
    input::{TimesArg, outln},
    target::Target,
};

/// Write a study in a format of other programs: CSV, JSON, LaTeX, TensorBoard.
///
/// `fastrcaps study export` packs a study into one file instead, from which fastrcaps goes on elsewhere.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fastrcaps export results/smoke --format csv --out tables        a folder of trials.csv, epochs.csv and front.csv
  fastrcaps export results/smoke --format json > smoke.json       in the form of docs/export.schema.json
  fastrcaps export results/smoke --format latex --out front.tex   the front, for \\input
  fastrcaps export results/smoke --format tensorboard --out runs  then: tensorboard --logdir runs")]
pub struct Args {
    /// A study folder, made by `fastrcaps explore`
    study: PathBuf,
    /// Format to write
    #[arg(long, value_enum)]
    format: Format,
    /// File to write, or folder of files [default: standard output, or the folder STUDY-FORMAT here]
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    #[command(flatten)]
    times: TimesArg,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A row per trial, a row per epoch, and the front: a folder of three files
    Csv,
    /// One document: trials with their curves, and the front
    Json,
    /// Table of the front
    Latex,
    /// Event files of the curves: a folder, with a run for each trial
    Tensorboard,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let view = args.times.read(&Study::new(&args.study))?;
    let findings = Findings::of(&view);
    match args.format {
        Format::Csv => args.folder("csv", export::csv(&view, &findings)?)?,
        Format::Tensorboard => args.folder("tensorboard", export::tensorboard(&view))?,
        Format::Json => args.file(&export::json(&view, &findings)?)?,
        Format::Latex => args.file(&export::latex(&view, &findings))?,
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn file(&self, bytes: &[u8]) -> Result<()> {
        let Some(out) = &self.out else {
            let mut stdout = std::io::stdout().lock();
            return match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
                written => written.context("cannot write to standard output"),
            };
        };
        Target::checked(out, self.force, |_| false)?.write(bytes)?;
        outln!("written to {}", out.display());
        Ok(())
    }

    fn folder(&self, format: &str, files: export::Files) -> Result<()> {
        let name = std::path::absolute(&self.study)?;
        let name = name.file_name().map_or("study".into(), |name| name.to_string_lossy().into_owned());
        let out = self.out.clone().unwrap_or_else(|| PathBuf::from(format!("{name}-{format}")));
        if files.is_empty() {
            bail!("{} has no epoch yet: there is nothing to write", self.study.display());
        }
        let place = |name: &str| name.split('/').fold(out.clone(), |place: PathBuf, part| place.join(Path::new(part)));
        // All are looked at before the first is written.
        let checked = |(name, _): &(String, Vec<u8>)| Target::checked(place(name), self.force, |_| false);
        let targets: Vec<Target> = files.iter().map(checked).collect::<Result<_>>()?;
        for (target, (_, bytes)) in targets.iter().zip(&files) {
            target.write(bytes)?;
        }
        outln!("{} written to {}", plural(files.len(), "file"), out.display());
        Ok(())
    }
}

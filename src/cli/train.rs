//! `fastrcaps train`: one configuration, from its file to its weights.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use anyhow::{Result, bail};
use fastrcaps::{
    charts::reconstructions::{self, Picture, ReconstructionsChart, Sample},
    config::TrialConfig,
    data,
    files::write_atomically,
    folder::TrialFolder,
    model::argmax,
    record::{EpochRow, Status, TrialRecord},
    train::{
        Observer, Predictions, StepReport,
        checkpoint::State,
        run::{Outcome, run_in_folder, save_predictions},
    },
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    checkpoints::CheckpointsArg,
    data::DataDirArg,
    display::{duration, percent},
    input::{errln, outln, read_config},
    interrupt::{INTERRUPTED, stop_on_signals},
    threads::ThreadsArg,
};

/// Test images in the picture of reconstructions.
const SHOWN: usize = 20;
/// Test images whose predictions are written down.
const PREDICTED: usize = 1000;

/// Train one configuration.
///
/// Writes config.toml (every field), epochs.csv, trial.json, weights.safetensors (of the best validation accuracy),
/// predictions.safetensors and reconstructions.png. Ctrl-C stops it with a checkpoint, from which --resume goes on to the
/// same bits; so does it after a power cut, from the last checkpoint before.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fastrcaps train my.toml
  fastrcaps train my.toml --resume
  fastrcaps train results/smoke/trials/KEY/config.toml --out results/again
  printf '[model]\\npreset = \"tiny\"\\n' > tiny.toml && fastrcaps train tiny.toml

The weights load into PyTorch: python tests/load_weights.py results/train-my")]
pub struct Args {
    /// Configuration to train: search-spaces/README.md lists every field
    config: PathBuf,
    /// Folder to write to [default: results/train-NAME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write over an earlier training in the folder
    #[arg(long)]
    force: bool,
    /// Continue the interrupted training in the folder
    #[arg(long, conflicts_with = "force")]
    resume: bool,
    #[command(flatten)]
    checkpoints: CheckpointsArg,
    /// Print no progress
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    data_dir: DataDirArg,
    #[command(flatten)]
    threads: ThreadsArg,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let config = read_config(&args.config)?;
    let stem = args.config.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let folder = TrialFolder::new(args.out.unwrap_or_else(|| PathBuf::from(format!("results/train-{stem}"))));
    check_folder(&folder, args.force, args.resume)?;
    args.threads.install()?;
    let data = data::load(&config.data, &args.data_dir.dirs())?;
    let record = TrialRecord::pending(config.key(&data.fingerprint), 0, &config);
    if args.resume {
        check_resumed(&folder, &record)?;
    } else {
        folder.remove_checkpoints()?;
    }
    let stop = stop_on_signals()?;
    folder.prepare(&config, &record)?;
    if !args.quiet {
        errln!(
            "{} parameters, {} training, {} validation and {} test images; seed {}",
            record.parameters,
            data.train.len(),
            data.validation.len(),
            data.test.len(),
            config.seed
        );
    }
    let mut progress = Progress::new(args.quiet, config.train.epochs, data.train.len());
    let interruption = args.checkpoints.interruption(&stop);
    let outcome = run_in_folder(&folder, &config, record, &data, interruption, &mut progress)?;
    progress.bar.finish_and_clear();
    let Outcome::Ended(record, trained) = outcome else {
        errln!("stopped; this continues it:\n  {}", continuing(std::env::args_os()));
        return Ok(ExitCode::from(INTERRUPTED));
    };
    if record.status == Status::Diverged {
        bail!(
            "the training diverged {}; a lower learning rate or a warm-up may help, see `fastrcaps lr-find`",
            record.error.unwrap_or_default()
        );
    }
    let said = save_predictions(&folder, &trained, &data, PREDICTED)?;
    draw_reconstructions(&folder, &config, &said)?;
    outln!(
        "test accuracy {} (weights of epoch {}, validation {}), {} of training",
        percent(record.test_accuracy),
        record.best_epoch.unwrap_or_default(),
        percent(record.validation_accuracy),
        duration(record.train_seconds.unwrap_or_default()),
    );
    outln!("written to {}", folder.path.display());
    Ok(ExitCode::SUCCESS)
}

/// Refuses a folder that holds anything but an earlier training, and that one unless it is said what is to become of it.
fn check_folder(folder: &TrialFolder, force: bool, resume: bool) -> Result<()> {
    let path = folder.path.display();
    let is_empty = std::fs::read_dir(&folder.path).map_or(true, |mut entries| entries.next().is_none());
    match folder.read_record() {
        _ if is_empty && resume => bail!("{path} holds no training to continue; --resume is for one that began there"),
        _ if is_empty => Ok(()),
        Ok(_) if force => Ok(()),
        Ok(record) if record.status.is_final() => {
            let hint = "give another folder with --out, or --force to write over it";
            let resume = if resume { ", at its end: there is nothing to continue" } else { "" };
            bail!("{path} holds a training already{resume}; {hint}")
        }
        Ok(_) if resume => Ok(()),
        Ok(_) => bail!(
            "{path} holds an interrupted training; continue it with --resume, write over it with --force, or give \
             another folder with --out"
        ),
        Err(_) => bail!("{path} holds other files than a training's; give a folder of its own with --out"),
    }
}

/// Refuses to continue what another configuration, or other data, began.
fn check_resumed(folder: &TrialFolder, record: &TrialRecord) -> Result<()> {
    let begun = folder.read_record()?;
    if begun.key != record.key {
        bail!(
            "{} holds the interrupted training {}, and this configuration and its data make training {}; continue it \
             with {}, or write over it with --force",
            folder.path.display(),
            begun.key,
            record.key,
            folder.config().display()
        );
    }
    Ok(())
}

/// The command `arguments`, for a shell, as it continues what it began.
fn continuing(arguments: impl Iterator<Item = OsString>) -> String {
    let words = arguments.map(|word| word.to_string_lossy().into_owned());
    let mut words: Vec<String> = words.filter(|word| word != "--force" && word != "--resume").collect();
    words.push("--resume".into());
    let is_plain = |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || "_-./:=,+@%".contains(c));
    let quoted = words.iter().map(|word| match is_plain(word) && !word.is_empty() {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    });
    quoted.collect::<Vec<_>>().join(" ")
}

struct Progress {
    bar: ProgressBar,
    epochs: usize,
    is_quiet: bool,
}

impl Progress {
    fn new(is_quiet: bool, epochs: usize, samples: usize) -> Progress {
        let bar = ProgressBar::new((epochs * samples) as u64);
        bar.set_draw_target(if is_quiet {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr_with_hz(4)
        });
        let style = ProgressStyle::with_template("{wide_bar} {percent:>3} % {msg} · ETA {eta}");
        // The template above is a constant with known keys.
        bar.set_style(style.expect("a valid template"));
        Progress { bar, epochs, is_quiet }
    }
}

impl Observer for Progress {
    fn step(&mut self, report: &StepReport) {
        if self.bar.is_hidden() {
            return;
        }
        self.bar.set_message(format!(
            "epoch {}/{} · loss {:.4} · accuracy {:.2} % · rate {:.2e} · batch {} · {:.0} samples/s",
            report.step.progress.epoch as usize + 1,
            self.epochs,
            report.loss,
            100.0 * report.train_accuracy,
            report.step.learning_rate,
            report.step.batch_size,
            report.samples as f64 / report.train_seconds,
        ));
        self.bar.set_position(report.samples);
    }

    fn epoch(&mut self, row: &EpochRow) -> Result<()> {
        if !self.is_quiet {
            let line = format!(
                "epoch {:>3}  loss {:.4}  accuracy {:.2} %  validation {:.2} %  rate {:.2e}  batch {}  {}  {:.0} samples/s",
                row.epoch,
                row.train_loss,
                100.0 * row.train_accuracy,
                100.0 * row.validation_accuracy,
                row.learning_rate,
                row.batch_size,
                duration(row.train_seconds),
                row.samples as f64 / row.train_seconds,
            );
            self.bar.suspend(|| errln!("{line}"));
            self.bar.tick();
        }
        Ok(())
    }

    fn resumed(&mut self, state: &State) -> Result<()> {
        self.bar.set_position(state.samples);
        if !self.is_quiet {
            self.say(&format!("note: continues after step {}, in epoch {}", state.steps, state.epochs.len() + 1));
        }
        Ok(())
    }

    fn say(&mut self, line: &str) {
        self.bar.suspend(|| errln!("{line}"));
    }
}

/// A picture of the first test images and what the decoder makes of them; nothing where there is no decoder.
fn draw_reconstructions(folder: &TrialFolder, config: &TrialConfig, said: &Predictions) -> Result<()> {
    let Some(reconstruction) = &said.reconstruction else { return Ok(()) };
    let shape = config.data.name.image_shape();
    let picture =
        |values: Vec<f32>| Picture { channels: shape.channels, height: shape.height, width: shape.width, values };
    let labels = said.labels.to_vec1::<u32>()?;
    let originals = said.images.flatten_from(1)?.to_vec2::<f32>()?;
    let rows = originals
        .into_iter()
        .zip(reconstruction.to_vec2::<f32>()?)
        .zip(labels.iter().zip(said.scores.to_vec2::<f32>()?));
    let samples = rows
        .take(SHOWN)
        .map(|((original, reconstruction), (label, scores))| Sample {
            original: picture(original),
            reconstruction: picture(reconstruction),
            truth: label.to_string(),
            predicted: argmax(&scores).to_string(),
        })
        .collect();
    let chart = ReconstructionsChart {
        title: "Test images and their reconstructions".into(),
        subtitle: "above the image, below what the decoder makes of its longest capsule".into(),
        samples,
    };
    write_atomically(&folder.reconstructions(), &reconstructions::draw(&chart).png())
}

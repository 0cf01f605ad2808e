//! `fastrcaps train`: one configuration, from its file to its weights.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Error, Result, bail};
use candle_core::Device;
use fastrcaps::{
    base::{
        files::{check_no_file_in_way, make_folder, write_atomically},
        words::number,
    },
    engine::picked,
    learn::{
        config::TrialConfig,
        data::{self, Dataset, verify},
        folder::TrialFolder,
        model::{Network, config::Decoder},
        record::{EpochRow, Status, TrialRecord},
        train::{
            Observer, Predictions, StepReport,
            checkpoint::{State, Unusable},
            run::{RunOutcome, run_in_folder, save_predictions, trained},
            session::Foreign,
        },
    },
    present::charts::{
        Style,
        reconstructions::{self, ReconstructionsChart},
    },
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    checkpoints::CheckpointsArg,
    data::{DataDirArg, tell_differences},
    device::DeviceArg,
    display::{duration, percent},
    input::{errln, outln, read_config, shell_line, tell_notes},
    interrupt::{INTERRUPTED, stop_on_signals},
    threads::ThreadsArg,
};

/// Test images in the picture of reconstructions.
const SHOWN: usize = 20;
/// Test images whose predictions are written.
const PREDICTED: usize = 1000;
/// How long to wait for another process that trains in the folder.
const PATIENCE: Duration = Duration::from_secs(1);

/// Train one configuration.
///
/// It writes config.toml (every field), epochs.csv, trial.json, weights.safetensors (of the best validation accuracy),
/// predictions.safetensors and reconstructions.png. Ctrl-C stops it with a checkpoint. --resume continues from the last
/// checkpoint, to the same bits, also after a power cut.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fastrcaps train my.toml
  fastrcaps train my.toml --resume
  fastrcaps train my.toml --device cuda:0
  fastrcaps train results/smoke/trials/KEY/config.toml --out results/again
  printf '[model]\\npreset = \"tiny\"\\n' > tiny.toml && fastrcaps train tiny.toml

Exit codes: 0 trained to its end, 1 failed or diverged, 2 a wrong command line, 130 stopped in order.

The weights load into PyTorch: python tests/load_weights.py results/train-my")]
pub struct Args {
    /// Configuration to train: search-spaces/README.md lists every field
    config: PathBuf,
    /// Folder to write to [default: results/train-NAME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Overwrite an earlier training in the folder
    #[arg(long)]
    force: bool,
    /// Continue the interrupted training in the folder; configuration and data must be the same as when it began
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
    device: DeviceArg,
    #[command(flatten)]
    threads: ThreadsArg,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let config = read_config(&args.config)?;
    if !args.quiet {
        tell_notes([("", &config)]);
    }
    let stem = args.config.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let folder = TrialFolder::new(args.out.unwrap_or_else(|| PathBuf::from(format!("results/train-{stem}"))));
    check_folder(&folder, args.force, args.resume)?;
    args.threads.install()?;
    let device = args.device.open(&config)?;
    let data = data::load(&config.data, &args.data_dir.dirs())?;
    tell_differences(&verify::differences(config.data.name, &args.data_dir.dirs())?);
    make_folder(&folder.path)?;
    // Held to the end. Whoever held it until now may have changed what is there.
    let _claim = folder.claim_within(PATIENCE)?;
    check_folder(&folder, args.force, args.resume)?;
    let mut record = TrialRecord { attempts: 1, ..TrialRecord::pending(config.key(&data.fingerprint), 0, &config) };
    if args.resume {
        let begun = begun(&folder, &args.config, &record.key, &data)?;
        if let Some(begun) = begun.as_ref().filter(|begun| begun.status == Status::Done) {
            return finish(&folder, &config, begun, &data, &device);
        }
        record.attempts += begun.map_or(0, |begun| begun.attempts);
        if !folder.checkpoint().exists() && !folder.previous_checkpoint().exists() {
            errln!("note: {} holds no checkpoint: the training begins anew", folder.path.display());
        }
    } else {
        folder.remove_checkpoints()?;
    }
    let stop = stop_on_signals()?;
    folder.prepare(&config, &record)?;
    if !args.quiet {
        tell_sizes(&record, &data, config.seed);
    }
    let mut progress = Progress::new(args.quiet, config.train.epochs, config.samples_seen(data.train.len()));
    let interruption = args.checkpoints.interruption(&stop, Foreign::Refuse);
    let outcome =
        run_in_folder(&folder, &config, record, &data, &device, interruption, &mut progress).map_err(explained);
    progress.bar.finish_and_clear();
    let (record, trained) = match outcome? {
        RunOutcome::Ended(record, trained) => (record, trained),
        RunOutcome::Stopped(_, kept) => return Ok(stopped(kept)),
    };
    if record.status == Status::Diverged {
        bail!(
            "the training diverged {}; a lower learning rate or a warm-up may help, see `fastrcaps lr-find`",
            record.error.unwrap_or_default()
        );
    }
    show(&folder, &config, &record, &trained.trainer.network, &data)
}

fn tell_sizes(record: &TrialRecord, data: &Dataset, seed: u64) {
    errln!(
        "{} parameters, {} training, {} validation and {} test images; seed {seed}",
        record.parameters,
        data.train.len(),
        data.validation.len(),
        data.test.len()
    );
}

/// Says how a training that was stopped goes on, from the step of its last checkpoint.
fn stopped(kept: Option<u64>) -> ExitCode {
    let kept = kept.map_or("no checkpoint could be written, so that it begins anew".into(), |step| {
        format!("the last checkpoint is of step {step}")
    });
    errln!("stopped; {kept}; this continues it:\n  {}", continuing());
    ExitCode::from(INTERRUPTED)
}

/// Writes the results of a finished training, and prints its accuracies.
fn show(
    folder: &TrialFolder,
    config: &TrialConfig,
    record: &TrialRecord,
    network: &Network,
    data: &Dataset,
) -> Result<ExitCode> {
    let said = save_predictions(folder, network, data, PREDICTED)?;
    draw_reconstructions(folder, config, &said)?;
    outln!(
        "test accuracy {} (weights of epoch {}, validation {}), {} of training",
        percent(record.test_accuracy),
        record.best_epoch.unwrap_or_default(),
        percent(record.validation_accuracy),
        duration(record.train_seconds_screen.unwrap_or_default()),
    );
    outln!("written to {}", folder.path.display());
    Ok(ExitCode::SUCCESS)
}

/// [`show`] of a training that was interrupted after its end.
fn finish(
    folder: &TrialFolder,
    config: &TrialConfig,
    record: &TrialRecord,
    data: &Dataset,
    device: &Device,
) -> Result<ExitCode> {
    errln!("note: the training is at its end; what it has to show is written now");
    let trainer =
        trained(folder, config, record.weights_sha256.as_deref(), data, device).context("train again with --force")?;
    show(folder, config, record, &trainer.network, data)
}

/// Whether a training that reached its end was interrupted before it had written all results.
fn is_to_finish(folder: &TrialFolder, record: &TrialRecord) -> bool {
    let draws = || {
        let config = read_config(&folder.config()).ok();
        config.is_some_and(|config| config.model.decoder() != Decoder::None)
    };
    let lacks = |path: PathBuf| !path.exists();
    record.status == Status::Done && (lacks(folder.predictions()) || lacks(folder.reconstructions()) && draws())
}

/// Refuses a folder that holds other files, and one with an earlier training unless `force` or `resume` is given.
fn check_folder(folder: &TrialFolder, force: bool, resume: bool) -> Result<()> {
    let path = folder.path.display();
    check_no_file_in_way(&folder.path).context("give another folder with --out")?;
    let is_empty = folder.is_empty();
    match folder.read_record() {
        _ if is_empty && resume => bail!("{path} holds no training to continue; --resume is for one that began there"),
        _ if is_empty => Ok(()),
        Err(_) if !folder.is_begun() => {
            bail!("{path} holds other files than a training's; give a folder of its own with --out")
        }
        _ if force => Ok(()),
        Ok(record) if resume && is_to_finish(folder, &record) => Ok(()),
        Ok(record) if record.status.is_final() => {
            let hint = "give another folder with --out, or --force to write over it";
            let resume = if resume { ", at its end: there is nothing to continue" } else { "" };
            bail!("{path} holds a training already{resume}; {hint}")
        }
        _ if resume => Ok(()),
        _ => bail!(
            "{path} holds an interrupted training; continue it with --resume, write over it with --force, or give \
             another folder with --out"
        ),
    }
}

/// The record of the training that began in the folder, if it can be read.
///
/// Errors: the training began with another configuration or other data than those of `key`.
fn begun(folder: &TrialFolder, config: &Path, key: &str, data: &Dataset) -> Result<Option<TrialRecord>> {
    let record = folder.read_record();
    let begun = match &record {
        Ok(record) => Some(record.key.clone()),
        Err(error) => {
            errln!("warning: {error:#}; it is written anew");
            // Where that cannot be read either, the checkpoints still know whose they are.
            read_config(&folder.config()).ok().map(|config| config.key(&data.fingerprint))
        }
    };
    if let Some(begun) = begun.filter(|begun| begun != key) {
        let [own, out] = [folder.config(), folder.path.clone()].map(|path| path.to_string_lossy().into_owned());
        bail!(
            "{out} holds the interrupted training {begun}, and {} and its data make training {key}: write over it with \
             --force, or continue it with\n  {}",
            config.display(),
            shell_line(["fastrcaps", "train", &own, "--out", &out, "--resume"].map(String::from))
        );
    }
    Ok(record.ok())
}

/// What to do with a checkpoint of another training.
fn explained(error: Error) -> Error {
    match error.downcast_ref::<Unusable>() {
        Some(Unusable::Foreign(_)) => {
            error.context("it stays as it is; write over it with --force, or give another folder with --out")
        }
        _ => error,
    }
}

/// The shell command that continues this training.
fn continuing() -> String {
    let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let words = words.filter(|word| word != "--force" && word != "--resume");
    shell_line(words.chain(["--resume".into()]))
}

struct Progress {
    bar: ProgressBar,
    epochs: usize,
    is_quiet: bool,
}

impl Progress {
    /// Of a training that sees so many samples in all.
    fn new(is_quiet: bool, epochs: usize, samples: usize) -> Progress {
        let bar = ProgressBar::new(samples as u64);
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
            "epoch {}/{} · loss {} · accuracy {:.2} % · rate {:.2e} · batch {} · {:.0} samples/s",
            report.step.progress.epoch as usize + 1,
            self.epochs,
            number(report.loss, 4),
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
                "epoch {:>3}  loss {}  accuracy {:.2} %  validation {:.2} %  rate {:.2e}  batch {}  {}  {:.0} samples/s",
                row.epoch,
                number(row.train_loss, 4),
                100.0 * row.train_accuracy,
                100.0 * row.validation_accuracy,
                row.learning_rate,
                row.batch_size,
                duration(row.train_seconds_screen),
                row.samples as f64 / row.train_seconds_screen,
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

/// A picture of test images of each class and their reconstructions; none without a decoder.
fn draw_reconstructions(folder: &TrialFolder, config: &TrialConfig, said: &Predictions) -> Result<()> {
    let samples = picked::shown(said, config, SHOWN)?;
    if samples.is_empty() {
        return Ok(());
    }
    let chart = ReconstructionsChart {
        title: "Test images and their reconstructions".into(),
        subtitle: "above the image, below what the decoder makes of its longest capsule".into(),
        samples,
    };
    write_atomically(&folder.reconstructions(), &reconstructions::draw(&chart, &Style::default()).png())
}

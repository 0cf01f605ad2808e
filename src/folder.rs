//! A trial's folder: what is asked for, and what the trial leaves behind.

use std::{
    fs,
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    config::TrialConfig,
    files::write_atomically,
    record::{EpochRow, TrialRecord},
    seal,
};

/// How the line begins that stands in a trial's log before what an attempt says.
pub const ATTEMPT: &str = "=== attempt of";

/// Bytes at the end of a log in which the reason of an end is looked for.
const LAST_WORDS: u64 = 1 << 16;
/// How long a process that is about to end is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Held while a process trains in a folder; the operating system lets go of it when that process ends, however it ends.
pub struct Claim {
    _file: fs::File,
}

/// The folder of one trial.
#[derive(Clone, Debug)]
pub struct TrialFolder {
    pub path: PathBuf,
}

impl TrialFolder {
    pub fn new(path: impl Into<PathBuf>) -> TrialFolder {
        TrialFolder { path: path.into() }
    }

    /// Makes the folder ready for a trial's process: its config, its record so far, nothing of an earlier attempt.
    pub fn prepare(&self, config: &TrialConfig, record: &TrialRecord) -> Result<()> {
        fs::create_dir_all(&self.path).with_context(|| format!("cannot make the folder {}", self.path.display()))?;
        for stale in [self.epochs(), self.weights(), self.predictions(), self.reconstructions()] {
            if stale.exists() {
                fs::remove_file(&stale).with_context(|| format!("cannot remove {}", stale.display()))?;
            }
        }
        write_atomically(&self.config(), config.to_toml().as_bytes())?;
        self.write_record(record)
    }

    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    pub fn epochs(&self) -> PathBuf {
        self.path.join("epochs.csv")
    }

    /// Weights of the epoch of the best validation accuracy.
    pub fn weights(&self) -> PathBuf {
        self.path.join("weights.safetensors")
    }

    pub fn predictions(&self) -> PathBuf {
        self.path.join("predictions.safetensors")
    }

    pub fn reconstructions(&self) -> PathBuf {
        self.path.join("reconstructions.png")
    }

    pub fn log(&self) -> PathBuf {
        self.path.join("log.txt")
    }

    fn record(&self) -> PathBuf {
        self.path.join("trial.json")
    }

    pub fn read_record(&self) -> Result<TrialRecord> {
        let path = self.record();
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        seal::from_json(&bytes).with_context(|| format!("{} is no trial record", path.display()))
    }

    /// The record of a trial that has ended, and its epochs; none where either cannot be read.
    pub fn read_end(&self) -> Option<(TrialRecord, Vec<EpochRow>)> {
        let record = self.read_record().ok().filter(|record| record.status.is_final())?;
        let epochs = self.read_epochs().ok().filter(|epochs| epochs.len() == record.epochs)?;
        Some((record, epochs))
    }

    pub fn write_record(&self, record: &TrialRecord) -> Result<()> {
        write_atomically(&self.record(), &seal::to_json(record)?)
    }

    /// The epochs written so far. A last line without its end is one being written, or torn: it is left out.
    pub fn read_epochs(&self) -> Result<Vec<EpochRow>> {
        let path = self.epochs();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let rows = csv::Reader::from_reader(&text.as_bytes()[..whole]).into_deserialize();
        rows.collect::<Result<_, _>>().with_context(|| format!("{} is damaged", path.display()))
    }

    /// Adds an epoch, whole and synced.
    pub fn append_epoch(&self, row: &EpochRow) -> Result<()> {
        let path = self.epochs();
        let context = || format!("cannot write {}", path.display());
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&path).with_context(context)?;
        let is_new = file.metadata().with_context(context)?.len() == 0;
        let mut writer = csv::WriterBuilder::new().has_headers(is_new).from_writer(Vec::new());
        writer.serialize(row)?;
        let bytes = writer.into_inner().map_err(|error| error.into_error())?;
        file.write_all(&bytes).and_then(|()| file.sync_data()).with_context(context)
    }

    /// Takes the folder for this process; waits a while for one that is about to end.
    ///
    /// Errors: another process trains here; the folder cannot be written to.
    pub fn claim(&self) -> Result<Claim> {
        let path = self.path.join("trial.lock");
        let context = || format!("cannot write {}", path.display());
        let file = fs::File::options().write(true).create(true).truncate(false).open(&path).with_context(context)?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Claim { _file: file }),
                Err(fs::TryLockError::WouldBlock) if began.elapsed() < PATIENCE => thread::sleep(PATIENCE / 1000),
                Err(fs::TryLockError::WouldBlock) => bail!(
                    "another process still trains in {}: end it, or wait for it (`fuser -v {}` names it)",
                    self.path.display(),
                    path.display()
                ),
                Err(fs::TryLockError::Error(error)) => return Err(error).with_context(context),
            }
        }
    }

    /// The line of the log that says best why the last attempt ended, or none.
    pub fn last_words(&self) -> Option<String> {
        let mut log = fs::File::open(self.log()).ok()?;
        // However much it said, its last words are short.
        let end = log.metadata().ok()?.len();
        log.seek(SeekFrom::Start(end.saturating_sub(LAST_WORDS))).ok()?;
        let mut tail = Vec::new();
        log.take(LAST_WORDS).read_to_end(&mut tail).ok()?;
        let text = String::from_utf8_lossy(&tail);
        let last = text.rfind(ATTEMPT).map_or(&text[..], |at| text[at..].split_once('\n').map_or("", |(_, rest)| rest));
        let lines: Vec<&str> = last.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let telling = |line: &&&str| line.contains("memory allocation of") || line.starts_with("error:");
        if let Some(at) = lines.iter().rposition(|line| line.contains("panicked at")) {
            // The message of a panic stands on the line after its place.
            return Some(lines[at..lines.len().min(at + 2)].join(" "));
        }
        lines.iter().rev().find(telling).or(lines.last()).map(|line| line.to_string())
    }
}

/// Where the folders of a study's trials stand.
pub fn trials_folder(study: &Path) -> PathBuf {
    study.join("trials")
}

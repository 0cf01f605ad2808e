//! A trial's folder: what is asked for, and what the trial leaves behind.

use std::{
    fs,
    io::{ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    base::{
        files::{is_unfinished, make_folder, remove_if_there, remove_unfinished, write_atomically},
        seal,
        words::plural,
    },
    learn::{
        config::TrialConfig,
        record::{EpochRow, TrialRecord},
    },
};

/// How the line begins that stands in a trial's log before what an attempt says.
pub const ATTEMPT: &str = "=== attempt of";

/// Bytes at the end of a log in which the reason of an end is looked for.
const LAST_WORDS: u64 = 1 << 16;
/// How long a process that is about to end is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(20);

/// The files of a trial's folder. The last two are drawn beside its config by `schedule` and `lr-find`, where nobody says
/// otherwise.
const FILES: [&str; 12] = [
    "config.toml",
    "epochs.csv",
    "trial.json",
    "trial.lock",
    "log.txt",
    "weights.safetensors",
    "checkpoint.safetensors",
    "checkpoint-previous.safetensors",
    "predictions.safetensors",
    "reconstructions.png",
    "config-schedule.png",
    "config-lr-find.png",
];
/// How a checkpoint's name ends that is of another format or trial, and was set aside.
pub const UNUSABLE: &str = ".unusable";

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

    /// Whether trials make files of this name.
    pub fn holds(name: &str) -> bool {
        let set_aside = name.strip_suffix(UNUSABLE).filter(|name| name.starts_with("checkpoint"));
        FILES.contains(&set_aside.unwrap_or(name))
    }

    /// Moves what is no trial's from here into the folder that took its place, unless something of that name is there.
    pub fn hand_over(&self, successor: &TrialFolder) -> Result<()> {
        let context = || format!("cannot move what is no trial's out of {}", self.path.display());
        for entry in fs::read_dir(&self.path).with_context(context)? {
            let entry = entry.with_context(context)?;
            let name = entry.file_name();
            let is_own = name.to_str().is_some_and(|name| TrialFolder::holds(name) || is_unfinished(name));
            let to = successor.path.join(&name);
            let is_file = entry.file_type().with_context(context)?.is_file();
            if !(is_file && is_own) && fs::symlink_metadata(&to).is_err() {
                fs::rename(entry.path(), to).with_context(context)?;
            }
        }
        Ok(())
    }

    /// An error where a file or a link stands in the folder's place: it is no trial's, nor may be what lies behind it.
    pub fn check_place(&self) -> Result<()> {
        match fs::symlink_metadata(&self.path) {
            Ok(metadata) if !metadata.is_dir() => {
                bail!("{} is a file or a link, where trials have a folder: move it elsewhere", self.path.display())
            }
            _ => Ok(()),
        }
    }

    /// Makes the folder ready for a trial's process: its config, its record so far, and of an earlier attempt nothing but
    /// its checkpoints, from which the training goes on if they are its own.
    pub fn prepare(&self, config: &TrialConfig, record: &TrialRecord) -> Result<()> {
        make_folder(&self.path)?;
        remove_unfinished(&self.path)?;
        for stale in [self.epochs(), self.weights(), self.predictions(), self.reconstructions()] {
            remove_if_there(&stale)?;
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

    /// The state of an unfinished training, complete.
    pub fn checkpoint(&self) -> PathBuf {
        self.path.join("checkpoint.safetensors")
    }

    /// The checkpoint before that one.
    pub fn previous_checkpoint(&self) -> PathBuf {
        self.path.join("checkpoint-previous.safetensors")
    }

    /// Whether nothing is here but what a process left that was ended before it wrote anything, and hidden files, which are
    /// in nobody's way.
    pub fn is_empty(&self) -> bool {
        let is_nothing = |entry: fs::DirEntry| {
            let name = entry.file_name();
            let is_file = || entry.file_type().is_ok_and(|kind| kind.is_file());
            entry.path() == self.lock() || name.to_string_lossy().starts_with('.') && is_file()
        };
        fs::read_dir(&self.path).map_or(true, |entries| entries.flatten().all(is_nothing))
    }

    /// Whether a training began here, also where its record is gone or damaged.
    pub fn is_begun(&self) -> bool {
        let is_prepared = self.config().exists() && (self.record().exists() || self.lock().exists());
        is_prepared || self.checkpoint().exists() || self.previous_checkpoint().exists()
    }

    /// What was trained so far is given up, or no longer needed.
    pub fn remove_checkpoints(&self) -> Result<()> {
        remove_if_there(&self.checkpoint())?;
        remove_if_there(&self.previous_checkpoint())
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

    pub fn record(&self) -> PathBuf {
        self.path.join("trial.json")
    }

    /// What the process holds that trains here.
    fn lock(&self) -> PathBuf {
        self.path.join("trial.lock")
    }

    pub fn read_record(&self) -> Result<TrialRecord> {
        let path = self.record();
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        seal::from_json(&bytes).with_context(|| format!("{} is no trial record", path.display()))
    }

    /// The end of trial `key` and its epochs, as its folder has them; none where there is no folder or no end yet.
    ///
    /// # Errors
    /// What is wrong with it: it is another trial's, or a file cannot be read, or has lost epochs.
    pub fn read_end(&self, key: &str) -> Result<Option<(TrialRecord, Vec<EpochRow>)>> {
        if !self.path.exists() {
            return Ok(None);
        }
        let record = self.read_record()?;
        if record.key != key {
            bail!("{} holds the record of another trial, {}", self.path.display(), record.key);
        }
        if !record.status.is_final() {
            return Ok(None);
        }
        let epochs = self.read_epochs()?;
        if epochs.len() != record.epochs {
            let (path, said, found) = (self.epochs(), record.epochs, plural(epochs.len(), "whole epoch"));
            bail!("{} has {found}, the trial's record says {said}", path.display());
        }
        Ok(Some((record, epochs)))
    }

    pub fn write_record(&self, record: &TrialRecord) -> Result<()> {
        write_atomically(&self.record(), &seal::to_json(record)?)
    }

    /// The epochs written so far. A last line without its end is one being written, or torn: it is left out.
    pub fn read_epochs(&self) -> Result<Vec<EpochRow>> {
        let path = self.epochs();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        rows::read(&text[..rows::whole(text.as_bytes())]).with_context(|| format!("{} is damaged", path.display()))
    }

    /// Puts `epochs` in the place of those written so far.
    pub fn write_epochs(&self, epochs: &[EpochRow]) -> Result<()> {
        let mut text = String::new();
        for row in epochs {
            text += &rows::line(row, text.is_empty())?;
        }
        write_atomically(&self.epochs(), text.as_bytes())
    }

    /// Adds an epoch, whole and synced. Where that fails, nothing of it stays; nor does what was torn before.
    pub fn append_epoch(&self, row: &EpochRow) -> Result<()> {
        let path = self.epochs();
        let append = || {
            let mut file = fs::OpenOptions::new().create(true).read(true).append(true).open(&path)?;
            let length = file.metadata()?.len();
            let mut before = Vec::new();
            (&file).take(length).read_to_end(&mut before)?;
            let whole = rows::whole(&before);
            if length > whole as u64 {
                file.set_len(whole as u64)?;
            }
            let line = rows::line(row, whole == 0)?;
            let written = file.write_all(line.as_bytes()).and_then(|()| file.sync_data());
            if written.is_err() {
                // Where this fails too, the torn line is left out by readers and cut by the next writer.
                let _ = file.set_len(whole as u64);
            }
            Ok::<_, anyhow::Error>(written?)
        };
        append().with_context(|| format!("cannot write {}", path.display()))
    }

    /// Takes the folder for this process; waits a while for one that is about to end.
    ///
    /// Errors: another process trains here; the folder cannot be written to.
    pub fn claim(&self) -> Result<Claim> {
        self.claim_within(PATIENCE)
    }

    /// [`TrialFolder::claim`], with another patience.
    pub fn claim_within(&self, patience: Duration) -> Result<Claim> {
        let path = self.lock();
        let context = || format!("cannot write {}", path.display());
        let file = fs::File::options().write(true).create(true).truncate(false).open(&path).with_context(context)?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Claim { _file: file }),
                Err(fs::TryLockError::WouldBlock) if began.elapsed() < patience => thread::sleep(LOOK),
                Err(fs::TryLockError::WouldBlock) => bail!(
                    "another process still trains in {}: end it, or wait for it (`fuser -v {}` names it)",
                    self.path.display(),
                    path.display()
                ),
                Err(fs::TryLockError::Error(error)) => return Err(error).with_context(context),
            }
        }
    }

    /// The last lines of the log of the last attempt, not more than `count`; none where there is no log.
    pub fn last_lines(&self, count: usize) -> Option<String> {
        let tail = self.tail_of_log()?;
        let lines: Vec<&str> = tail.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        Some(lines[lines.len().saturating_sub(count)..].join("\n"))
    }

    /// What the last attempt said, or the end of it.
    fn tail_of_log(&self) -> Option<String> {
        let mut log = fs::File::open(self.log()).ok()?;
        // However much it said, its last words are short.
        let end = log.metadata().ok()?.len();
        log.seek(SeekFrom::Start(end.saturating_sub(LAST_WORDS))).ok()?;
        let mut tail = Vec::new();
        log.take(LAST_WORDS).read_to_end(&mut tail).ok()?;
        let text = String::from_utf8_lossy(&tail);
        let last = text.rfind(ATTEMPT).map_or(&text[..], |at| text[at..].split_once('\n').map_or("", |(_, rest)| rest));
        Some(last.into())
    }

    /// The line of the log that says best why the last attempt ended, or none.
    pub fn last_words(&self) -> Option<String> {
        let last = self.tail_of_log()?;
        let is_telling = |line: &&str| !line.is_empty() && !line.starts_with("note:");
        let lines: Vec<&str> = last.lines().map(str::trim).filter(is_telling).collect();
        let telling = |line: &&&str| line.contains("memory allocation of") || line.starts_with("error:");
        if let Some(at) = lines.iter().rposition(|line| line.contains("panicked at")) {
            // The message of a panic stands on the line after its place.
            return Some(lines[at..lines.len().min(at + 2)].join(" "));
        }
        lines.iter().rev().find(telling).or(lines.last()).map(|line| line.to_string())
    }
}

/// The lines of a trial's `epochs.csv`: each row ends with a checksum of its text before.
mod rows {
    use anyhow::{Context, Result, ensure};

    use crate::{base::seal::checksum, learn::record::EpochRow};

    /// The last column, in the header.
    const CHECKSUM: &str = ",checksum";

    /// Bytes up to the end of the last whole line.
    pub fn whole(bytes: &[u8]) -> usize {
        bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
    }

    /// The line of `row`, after the header if it is the file's first.
    pub fn line(row: &EpochRow, is_first: bool) -> Result<String> {
        let mut writer = csv::WriterBuilder::new().has_headers(is_first).from_writer(Vec::new());
        writer.serialize(row)?;
        let text = String::from_utf8(writer.into_inner().map_err(|error| error.into_error())?)?;
        let (header, row) = match text.trim_end().split_once('\n') {
            Some((header, row)) => (format!("{header}{CHECKSUM}\n"), row),
            None => (String::new(), text.trim_end()),
        };
        Ok(format!("{header}{row},{}\n", checksum(row.as_bytes())))
    }

    /// The rows of whole lines.
    pub fn read(text: &str) -> Result<Vec<EpochRow>> {
        let mut lines = text.split_terminator('\n');
        let Some(header) = lines.next() else { return Ok(Vec::new()) };
        let header = header.strip_suffix(CHECKSUM).context("its header has no last column `checksum`")?;
        let mut plain = format!("{header}\n");
        for (number, line) in lines.enumerate() {
            let row = line.rsplit_once(',').filter(|(row, sum)| checksum(row.as_bytes()) == *sum);
            ensure!(row.is_some(), "line {} does not have the checksum of its text: {line}", number + 2);
            plain.extend(row.into_iter().flat_map(|(row, _)| [row, "\n"]));
        }
        Ok(csv::Reader::from_reader(plain.as_bytes()).into_deserialize().collect::<Result<_, _>>()?)
    }
}

/// Where the folders of a study's trials stand.
pub fn trials_folder(study: &Path) -> PathBuf {
    study.join("trials")
}

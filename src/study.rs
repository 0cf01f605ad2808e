//! A study: the folder of one exploration, whom it belongs to, and what it was declared to explore.

pub mod holdings;

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io::{ErrorKind, Read, Seek, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{
    data::DataConfig,
    files::{is_folder, is_link, remove_unfinished, write_atomically},
    folder::{TrialFolder, trials_folder},
    machine::{self, Machine},
    seal,
    source::Document,
    space::{Expansion, Space, Trial},
    words::plural,
};
use holdings::{Holdings, Place, not_through};

/// How long a lock is tried for: who asks whether a study is being explored holds it for some microseconds.
const LOCK_PATIENCE: Duration = Duration::from_millis(200);

/// What `study.toml` keeps: enough to know the study again, and to read it without the space file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StudyFile {
    pub fastrcaps_version: String,
    pub git_revision: String,
    /// UTC, RFC 3339.
    pub created: String,
    /// Hash of every configuration of the space, its replicates and its data; not of further replicates.
    pub identity: String,
    /// Replicates of each configuration beyond those of the space that may be trained: a study may grow by them.
    #[serde(default)]
    pub further_replicates: usize,
    /// Replicates of each configuration that were asked for; 0 where nobody did, which are those of the space.
    #[serde(default)]
    pub asked_replicates: usize,
    /// Fingerprint of each data selection the space trains on, by its hash.
    pub data: BTreeMap<String, String>,
    /// Name of the space.
    pub name: String,
    /// `path=value` pairs that went over the space's base.
    pub set: Vec<(String, String)>,
    /// The space file, letter by letter.
    pub space: String,
}

impl StudyFile {
    /// The space that was declared.
    pub fn space(&self, origin: &str) -> Result<Space> {
        Space::from_document(Document::parse(origin, self.space.clone())?, &self.name, &self.set)
    }
}

/// A study folder.
#[derive(Clone, Debug)]
pub struct Study {
    pub folder: PathBuf,
}

/// All that a study declares: its space, expanded, and the identity of every trial.
pub struct Plan {
    pub file: StudyFile,
    pub space: Space,
    pub expansion: Expansion,
    pub trials: Vec<Trial>,
    /// Identity of each trial.
    pub keys: Vec<String>,
    /// How many of them were asked for, the first ones: those of the space at least. What follows are further replicates
    /// that may be trained.
    pub asked: usize,
}

/// How the names of folders begin that are being copied into a study.
pub const UNFINISHED_FOLDER: &str = ".writing-";
/// What an explorer does with a study, as it stands in its lock.
const EXPLORED: &str = "explored";

/// Who explores a study.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Explorer {
    /// It is being explored by this process; empty for the moment in which its line is written.
    Active(String),
    /// It is not being explored, but held by who does something else with it, as in "rebuilt by process 5 on host".
    Busy(String),
    /// Nobody, but this one did, and left its line behind.
    Gone(String),
    Nobody,
    /// It cannot be known, for this reason.
    Unknown(String),
}

impl Explorer {
    /// Whether someone may be writing to the study.
    pub fn may_write(&self) -> bool {
        matches!(self, Explorer::Active(_) | Explorer::Busy(_) | Explorer::Unknown(_))
    }
}

/// Held while a process explores or changes a study; the operating system lets go of it when that process ends, however it ends.
pub struct Lock {
    _file: File,
}

impl Study {
    pub fn new(folder: impl Into<PathBuf>) -> Study {
        Study { folder: folder.into() }
    }

    pub fn journal(&self) -> PathBuf {
        self.folder.join("journal.sqlite")
    }

    /// What its explorers did and when.
    pub fn log(&self) -> PathBuf {
        self.folder.join("sweep.log")
    }

    pub fn trial(&self, key: &str) -> TrialFolder {
        TrialFolder::new(trials_folder(&self.folder).join(key))
    }

    fn file(&self) -> PathBuf {
        self.folder.join("study.toml")
    }

    /// Reads the study's declaration.
    pub fn read(&self) -> Result<StudyFile> {
        let path = self.file();
        let text = fs::read_to_string(&path).with_context(|| {
            format!(
                "cannot read {}: is {} a study folder, made by `fastrcaps explore`?",
                path.display(),
                self.folder.display()
            )
        })?;
        seal::from_toml(&text).with_context(|| {
            format!(
                "{} is damaged, or was changed by hand: explore into another folder with --out, or bring the file back",
                path.display()
            )
        })
    }

    /// Reads the study's declaration, and what follows from it; an error where the one is not that of the other.
    pub fn plan(&self) -> Result<Plan> {
        let file = self.read()?;
        let space = file.space(&format!("the space in {}", self.file().display()))?;
        let expansion = space.expand()?;
        let trials = expansion.trials(space.replicates + file.further_replicates);
        let keys = trial_keys(&trials, &file.data)?;
        let declared = expansion.candidates.len() * space.replicates;
        let found = identity(&keys[..declared]);
        if found != file.identity {
            bail!(
                "{} declares trials of identity {}, and its space means those of {found}: it was changed by hand, or \
                 written by another build; explore into another folder with --out, or bring the file back",
                self.file().display(),
                file.identity
            );
        }
        let replicates = file.asked_replicates.max(space.replicates);
        let asked = (expansion.candidates.len() * replicates).min(trials.len());
        Ok(Plan { file, space, expansion, trials, keys, asked })
    }

    /// The space the study explores.
    pub fn space(&self) -> Result<Space> {
        self.read()?.space(&format!("the space in {}", self.file().display()))
    }

    /// Writes down the machine that explores the study now.
    pub fn write_machine(&self, machine: &Machine) -> Result<()> {
        write_atomically(&self.folder.join("machine.json"), &seal::to_json(machine)?)
    }

    /// The machine of the study's times, in a line; empty where it is not known.
    pub fn machine_line(&self) -> String {
        self.machine().map(|machine| machine.line()).unwrap_or_default()
    }

    /// The machine that explored the study last, where that is known.
    pub fn machine(&self) -> Option<Machine> {
        seal::from_json(&fs::read(self.folder.join("machine.json")).ok()?).ok()
    }

    /// Makes the folder and takes it for this process, for exploring; an error says who has it, or that it is no study's.
    /// What writers that were killed left unfinished goes.
    pub fn open(&self) -> Result<Lock> {
        self.check_explorable()?;
        fs::create_dir_all(trials_folder(&self.folder)).with_context(|| self.cannot_make())?;
        let lock = self.lock(EXPLORED)?;
        // A study that was there may have been removed while this waited, and others' files have stayed.
        self.check_explorable()?;
        self.tidy()?;
        Ok(lock)
    }

    /// Removes what writers left that were killed. Trials see to their own folders.
    fn tidy(&self) -> Result<()> {
        let trials = trials_folder(&self.folder);
        let folders = ["", "charts", "times", "trials"].map(|name| self.folder.join(name));
        // Behind a link nothing is removed.
        for folder in folders.iter().filter(|folder| is_folder(folder)) {
            remove_unfinished(folder)?;
        }
        if !is_folder(&trials) {
            return Ok(());
        }
        // A merge copies whole folders. The one that it had put aside comes back where nothing took its place; else what is
        // no trial's in it moves to what did.
        let context = || format!("cannot tidy {}", trials.display());
        for entry in fs::read_dir(&trials).with_context(context)? {
            let entry = entry.with_context(context)?;
            if !is_folder(&entry.path()) || !entry.file_name().to_string_lossy().starts_with(UNFINISHED_FOLDER) {
                continue;
            }
            for aside in fs::read_dir(entry.path()).with_context(context)? {
                let aside = aside.with_context(context)?;
                let place = trials.join(aside.file_name());
                match is_folder(&aside.path()) {
                    true if is_folder(&place) => {
                        TrialFolder::new(aside.path()).hand_over(&TrialFolder::new(place))?;
                    }
                    true if fs::symlink_metadata(&place).is_err() => {
                        fs::rename(aside.path(), place).with_context(context)?;
                    }
                    _ => {}
                }
            }
            Holdings::of(&entry.path(), Place::Unfinished, None)?.remove()?;
        }
        Ok(())
    }

    /// Declares the study, or takes up again one of the same trials; anything else is an error.
    ///
    /// Gives the build that began the study.
    pub fn declare(&self, _lock: &Lock, declared: &StudyFile) -> Result<String> {
        let write = |file: &StudyFile| write_atomically(&self.file(), seal::to_toml(file)?.as_bytes());
        if !self.file().exists() {
            write(declared)?;
            return Ok(declared.git_revision.clone());
        }
        let there = self.read()?;
        let folder = self.folder.display();
        if there.fastrcaps_version != declared.fastrcaps_version {
            bail!(
                "{folder} was made by fastrcaps {}, this is {}: its trials would not be comparable. \
                 Continue with the version that began it, or give a new folder with --out",
                there.fastrcaps_version,
                declared.fastrcaps_version
            );
        }
        if there.identity != declared.identity {
            let (old, new) = (self.space()?, declared.space("the space")?);
            let what =
                if old.declaration() == new.declaration() { "the same space on other data" } else { "another space" };
            bail!("{folder} holds a study of {what}{}. Give a new folder with --out", difference(&old, &new));
        }
        // The same trials: the baseline, a label or a comment may have changed. What was added to them stays.
        write(&StudyFile {
            created: there.created,
            git_revision: there.git_revision.clone(),
            further_replicates: there.further_replicates.max(declared.further_replicates),
            asked_replicates: match declared.asked_replicates {
                0 => there.asked_replicates,
                asked => asked,
            },
            ..declared.clone()
        })?;
        Ok(there.git_revision)
    }

    /// Takes a study that is there for this process; `what` it does with it is a word as in "rebuilt", for others who
    /// want the study meanwhile. An error says who has it.
    pub fn hold(&self, what: &str) -> Result<Lock> {
        // An error of reading says that this is no study.
        self.read()?;
        self.check_no_links()?;
        self.lock(what)
    }

    /// Lets the study have at least so many replicates beyond those of its space.
    pub fn grow(&self, _lock: &Lock, further_replicates: usize) -> Result<()> {
        let there = self.read()?;
        if there.further_replicates >= further_replicates {
            return Ok(());
        }
        write_atomically(&self.file(), seal::to_toml(&StudyFile { further_replicates, ..there })?.as_bytes())
    }

    /// As [`Study::hold`], also of a study whose declaration is damaged.
    pub fn seize(&self, what: &str) -> Result<Lock> {
        self.lock(what)
    }

    /// Who explores the study now. Does not keep anyone from beginning to.
    pub fn explorer(&self) -> Explorer {
        let path = self.lock_file();
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Explorer::Nobody,
            Err(error) => return Explorer::Unknown(format!("cannot read {}: {error}", path.display())),
        };
        // Shared, so that those who ask are not in each other's way, and let go of at once.
        let is_held = match file.try_lock_shared() {
            Ok(()) => {
                let _ = file.unlock();
                false
            }
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Error(error)) => {
                return Explorer::Unknown(format!("the file system of {} locks no files: {error}", path.display()));
            }
        };
        let line = holder(&mut file);
        let explored_by = line.strip_prefix(EXPLORED).and_then(|rest| rest.strip_prefix(" by "));
        match (is_held, explored_by) {
            (true, Some(who)) => Explorer::Active(who.into()),
            (true, None) if line.is_empty() => Explorer::Active(line),
            (true, None) => Explorer::Busy(line),
            (false, Some(who)) => Explorer::Gone(who.into()),
            (false, None) => Explorer::Nobody,
        }
    }

    fn lock_file(&self) -> PathBuf {
        self.folder.join("study.lock")
    }

    fn lock(&self, what: &str) -> Result<Lock> {
        let path = self.lock_file();
        if is_link(&path) {
            not_through(&path)?;
        }
        let context = || format!("cannot write {}; give another folder with --out", path.display());
        let since = Instant::now();
        let mut file = loop {
            let mut file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .with_context(context)?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path) => break file,
                // The study was removed while this waited: its folder, or another of its name, is looked at anew.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if since.elapsed() < LOCK_PATIENCE => {}
                Err(TryLockError::WouldBlock) => {
                    let line = holder(&mut file);
                    // Empty for the moment in which it is written.
                    let what = if line.is_empty() { "held by another process" } else { &line };
                    bail!("{} is being {what}; wait for it, or stop it", self.folder.display());
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| {
                        format!(
                            "cannot lock {}: does its file system lock files? Give a folder on another with --out",
                            path.display()
                        )
                    });
                }
            }
            thread::sleep(Duration::from_millis(5));
        };
        let since = machine::rfc3339(std::time::SystemTime::now());
        let line = format!("{what} by process {} on {} since {since}\n", std::process::id(), machine::host());
        let write = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(line.as_bytes()));
        write.with_context(context)?;
        Ok(Lock { _file: file })
    }
}

/// The line that a lock's holder wrote into it.
fn holder(file: &mut File) -> String {
    let mut line = Vec::new();
    let _ = file.read_to_end(&mut line);
    String::from_utf8_lossy(&line).trim().to_string()
}

/// Whether `file` is still what stands at `path`.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let of = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    matches!((file.metadata().map(of), fs::metadata(path).map(of)), (Ok(open), Ok(there)) if open == there)
}

#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}

/// Hash of a selection of data, under which a study keeps its fingerprint.
pub fn data_id(config: &DataConfig) -> String {
    // Numbers and strings: what JSON can hold.
    seal::checksum(serde_json::to_string(config).expect("a data config is JSON").as_bytes())
}

/// The identity of every trial, from the fingerprints of the data they train on by [`data_id`].
pub fn trial_keys(trials: &[Trial], data: &BTreeMap<String, String>) -> Result<Vec<String>> {
    trials
        .iter()
        .map(|trial| {
            let id = data_id(&trial.config.data);
            let fingerprint = data.get(&id).with_context(|| format!("the study knows no data selection {id}"))?;
            Ok(trial.config.key(fingerprint))
        })
        .collect()
}

/// Hash of what a study is about: its trials in order, each with its configuration, seed and data.
pub fn identity(keys: &[String]) -> String {
    seal::checksum(keys.join(" ").as_bytes())
}

/// Names the first keys in which two declared spaces differ.
pub fn difference(there: &Space, declared: &Space) -> String {
    let (mut old, mut new) = (BTreeMap::new(), BTreeMap::new());
    leaves("", &toml::Value::Table(there.declaration().clone()), &mut old);
    leaves("", &toml::Value::Table(declared.declaration().clone()), &mut new);
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let show = |value: Option<&String>| value.map_or("absent".to_string(), String::clone);
    let differing: Vec<String> = (keys.into_iter().filter(|key| old.get(*key) != new.get(*key)))
        .map(|key| format!("{key}: there {}, now {}", show(old.get(key)), show(new.get(key))))
        .collect();
    match differing.len() {
        0 => String::new(),
        1..=3 => format!(" ({})", differing.join("; ")),
        more => format!(" ({}; and {})", differing[..3].join("; "), plural(more - 3, "more difference")),
    }
}

fn leaves(path: &str, value: &toml::Value, into: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, inner) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                leaves(&path, inner, into);
            }
        }
        other => {
            into.insert(path.to_string(), other.to_string());
        }
    }
}

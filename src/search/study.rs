//! A study: the folder of one exploration, whom it belongs to, and what it was declared to explore.

mod difference;
pub mod holdings;
mod lock;
mod proposals;

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{
    base::{
        files::{is_folder, remove_unfinished, write_atomically},
        machine::Machine,
        seal,
        source::Document,
    },
    learn::{
        data::DataConfig,
        folder::{TrialFolder, trials_folder},
    },
    search::{
        beginnings::Beginnings,
        space::{Expansion, MOST_TRIALS, Space, Trial},
    },
};
pub use difference::difference;
use holdings::{FolderKind, Holdings};
use lock::EXPLORED;
pub use lock::{Explorer, Lock};

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
    /// In what a published data set that the space trains on is not the published one, a line a file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_differences: Vec<String>,
    /// Name of the space.
    pub name: String,
    /// The configurations that were proposed, each by the names of its values on the axes, where the study is of these alone and not
    /// of all that the space has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposed: Option<Vec<Vec<String>>>,
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

    /// What follows from the declaration.
    fn plan(self, origin: &str) -> Result<Plan> {
        let space = self.space(origin)?;
        let (space, expansion) = match &self.proposed {
            None => {
                let expansion = space.expand()?;
                (space, expansion)
            }
            Some(proposed) => space.listed(proposed)?,
        };
        let replicates = space.replicates.saturating_add(self.further_replicates);
        let configurations = expansion.candidates.len();
        let count = configurations.saturating_mul(replicates);
        if count > MOST_TRIALS {
            bail!(
                "{configurations} configurations × {replicates} replicates are {count} trials; at most {MOST_TRIALS} are \
                 allowed: take fewer of either, or give a new folder with --out"
            );
        }
        let trials = expansion.trials(replicates);
        let keys = trial_keys(&trials, &self.data)?;
        let asked = configurations * self.asked_replicates.max(space.replicates).min(replicates);
        Ok(Plan { file: self, space, expansion, trials, keys, asked })
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

impl Plan {
    /// Identity of each configuration: that of its first replicate.
    pub fn configurations(&self) -> &[String] {
        &self.keys[..self.expansion.candidates.len()]
    }

    /// What the study's trials have in common.
    pub fn beginnings(&self) -> Beginnings {
        // Where the keys are known, so are the fingerprints.
        let fingerprint = |trial: &Trial| self.file.data.get(&data_id(&trial.config.data)).map_or("", String::as_str);
        Beginnings::of(&self.trials, fingerprint)
    }

    /// Trainings that each configuration may have.
    pub fn replicates(&self) -> usize {
        self.space.replicates + self.file.further_replicates
    }

    /// Whether data that both train on is not the same.
    pub fn is_on_other_data(&self, other: &Plan) -> bool {
        let mut shared = self.file.data.iter().filter_map(|(id, here)| Some((here, other.file.data.get(id)?)));
        shared.any(|(here, there)| here != there)
    }
}

/// A study that was declared.
pub struct Declared {
    /// The build that began it.
    pub begun_by: String,
    /// Keys of the trials that had been asked for, where it was a study of other trials, all of which it still has.
    pub before: Option<HashSet<String>>,
}

/// How the names of folders begin that are being copied into a study.
pub const UNFINISHED_FOLDER: &str = ".writing-";
impl Study {
    pub fn new(folder: impl Into<PathBuf>) -> Study {
        Study { folder: folder.into() }
    }

    pub fn journal(&self) -> PathBuf {
        self.folder.join("journal.sqlite")
    }

    /// What is known of its jobs on a cluster: a hidden folder is in nobody's way.
    pub fn jobs(&self) -> PathBuf {
        self.folder.join(JOBS)
    }

    /// What its explorers did and when.
    pub fn log(&self) -> PathBuf {
        self.folder.join("sweep.log")
    }

    pub fn trial(&self, key: &str) -> TrialFolder {
        TrialFolder::new(trials_folder(&self.folder).join(key))
    }

    /// Beginnings that trials left for others, and that somebody still waits for.
    pub fn beginnings(&self) -> PathBuf {
        self.folder.join(BEGINNINGS)
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
        let plan = self.read()?.plan(&format!("the space in {}", self.file().display()))?;
        let declared = plan.expansion.candidates.len() * plan.space.replicates;
        let found = identity(&plan.keys[..declared]);
        if found != plan.file.identity {
            bail!(
                "{} declares trials of identity {}, and its space means those of {found}: it was changed by hand, or \
                 written by another build; explore into another folder with --out, or bring the file back",
                self.file().display(),
                plan.file.identity
            );
        }
        Ok(plan)
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
            Holdings::of(&entry.path(), FolderKind::Unfinished, None)?.remove()?;
        }
        Ok(())
    }

    /// Declares the study, takes up again one of the same trials, or extends one by further ones. What was added to a study
    /// stays; what it is of changes at one moment, when its file is replaced.
    ///
    /// Errors: as those of [`Study::before`].
    pub fn declare(&self, _lock: &Lock, declared: &StudyFile) -> Result<Declared> {
        let write = |file: &StudyFile| write_atomically(&self.file(), seal::to_toml(file)?.as_bytes());
        if !self.file().exists() {
            write(declared)?;
            return Ok(Declared { begun_by: declared.git_revision.clone(), before: None });
        }
        let before = self.before(declared)?;
        let there = self.read()?;
        let further_replicates = match &before {
            // The same trials: the baseline, a label or a comment may have changed.
            None => there.further_replicates,
            // Where the space has fewer replicates now, those that were trained are further ones.
            Some(old) => old.replicates().saturating_sub(declared.space("the space given")?.replicates),
        };
        let file = StudyFile {
            created: there.created,
            git_revision: there.git_revision.clone(),
            further_replicates: further_replicates.max(declared.further_replicates),
            asked_replicates: match declared.asked_replicates {
                0 => there.asked_replicates,
                asked => asked,
            },
            ..declared.clone()
        };
        if before.is_some() {
            // One that is too large is not written.
            file.clone().plan("the space given")?;
        }
        write(&file)?;
        let asked = |plan: Plan| plan.keys.into_iter().take(plan.asked).collect();
        Ok(Declared { begun_by: there.git_revision, before: before.map(asked) })
    }

    /// What the study is of, where `declared` is of other trials and has all of its configurations; none where it is of the
    /// same trials, or there is no study yet.
    ///
    /// Errors: a study of another version, on other data, or with a configuration that `declared` lacks.
    pub fn before(&self, declared: &StudyFile) -> Result<Option<Plan>> {
        if !self.file().exists() {
            return Ok(None);
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
        if there.identity == declared.identity {
            return Ok(None);
        }
        let (old, new) = (self.plan()?, declared.clone().plan("the space given")?);
        if old.is_on_other_data(&new) {
            bail!("{folder} holds a study on other data than is there now. Give a new folder with --out");
        }
        let has: HashSet<&String> = new.configurations().iter().collect();
        let lacking = old.configurations().iter().filter(|key| !has.contains(key)).count();
        if lacking > 0 {
            bail!(
                "{folder} holds a study of another space: {lacking} of its {} configurations are not in the space \
                 given{}. A space that has all of them extends the study; for another, give a new folder with --out",
                old.configurations().len(),
                difference((&folder.to_string(), &old.space), ("the space given", &new.space))
            );
        }
        Ok(Some(old))
    }

    /// Lets the study have at least so many replicates beyond those of its space.
    pub fn grow(&self, _lock: &Lock, further_replicates: usize) -> Result<()> {
        let there = self.read()?;
        if there.further_replicates >= further_replicates {
            return Ok(());
        }
        let grown = StudyFile { further_replicates, ..there };
        // One that is too large is not written.
        grown.clone().plan("its space")?;
        write_atomically(&self.file(), seal::to_toml(&grown)?.as_bytes())
    }
}

/// The folder of beginnings, and how the names of its files end.
const BEGINNINGS: &str = "beginnings";
const JOBS: &str = ".slurm";
const BEGINNING: &str = ".safetensors";

/// The name of the file of a beginning by its key: what CPU cores and GPUs come to differs in bits.
pub fn name_of_beginning(key: &str, is_on_cpu: bool) -> String {
    let device = if is_on_cpu { "cpu" } else { "gpu" };
    format!("{key}-{device}{BEGINNING}")
}

/// The key of the beginning at `path`; none where [`name_of_beginning`] gives none that name.
pub fn key_of_beginning(path: &Path) -> Option<&str> {
    let (key, device) = path.file_name()?.to_str()?.strip_suffix(BEGINNING)?.split_once('-')?;
    (holdings::is_key(key) && ["cpu", "gpu"].contains(&device)).then_some(key)
}

/// Hash of a selection of data, under which a study keeps its fingerprint.
pub fn data_id(config: &DataConfig) -> String {
    // Numbers and strings: what JSON can hold.
    seal::checksum(serde_json::to_string(&config.identity()).expect("a data config is JSON").as_bytes())
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

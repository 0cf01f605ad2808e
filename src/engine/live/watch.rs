//! Whether a study has changed: by the sizes and moments of a few files, which costs next to nothing.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use crate::search::study::Study;

/// How a study's files lie: size and moment of each that a page depends on.
pub type Signature = Vec<Option<(u64, SystemTime)>>;

/// The signature of a study, in which `running` trials add epochs.
pub fn signature(study: &Study, running: &[String]) -> Signature {
    let of = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.len(), metadata.modified().ok()?))
    };
    let fixed = ["study.toml", "machine.json", "times", "times/default.json"].map(|name| study.folder.join(name));
    let epochs = running.iter().map(|key| study.trial(key).epochs());
    fixed.into_iter().chain([study.journal()]).chain(epochs).map(|path| of(&path)).collect()
}

/// The studies at a place by name: itself, or the folders in it.
pub fn studies_at(place: &Path) -> BTreeMap<String, Study> {
    let is_study = |folder: &Path| folder.join("study.toml").is_file();
    let name = |folder: &Path| folder.file_name().map(|name| name.to_string_lossy().into_owned());
    if is_study(place) {
        let resolved = || place.canonicalize().ok().and_then(|place| name(&place));
        let name = name(place).or_else(resolved).unwrap_or_else(|| "study".into());
        return BTreeMap::from([(name, Study::new(place))]);
    }
    let folders = fs::read_dir(place).into_iter().flatten().flatten().map(|entry| entry.path());
    let studies = folders.filter(|folder| is_study(folder));
    studies.filter_map(|folder: PathBuf| Some((name(&folder)?, Study::new(folder)))).collect()
}

/// Numbers that rise with each change, by study; who waits for one is woken.
#[derive(Default)]
pub struct Changes {
    counts: Mutex<BTreeMap<String, u64>>,
    told: Condvar,
}

impl Changes {
    /// Counts a change of a study.
    pub fn add(&self, name: &str) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(name.into()).or_default() += 1;
        self.told.notify_all();
    }

    /// Wakes all who wait.
    pub fn wake(&self) {
        self.told.notify_all();
    }

    /// How often a study, or any, has changed.
    pub fn count(&self, name: Option<&str>) -> u64 {
        Changes::of(&self.counts.lock().unwrap_or_else(PoisonError::into_inner), name)
    }

    /// The same, once it is another number than `seen` or the patience is over.
    pub fn wait(&self, name: Option<&str>, seen: u64, patience: Duration) -> u64 {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let unchanged = |counts: &mut BTreeMap<String, u64>| Changes::of(counts, name) == seen;
        let waited = self.told.wait_timeout_while(counts, patience, unchanged);
        Changes::of(&waited.unwrap_or_else(PoisonError::into_inner).0, name)
    }

    fn of(counts: &BTreeMap<String, u64>, name: Option<&str>) -> u64 {
        match name {
            Some(name) => counts.get(name).copied().unwrap_or(0),
            None => counts.values().sum(),
        }
    }
}

//! A study's folder of work, which this machine and the nodes share: its arrays, its attempts, and the word of those that ended.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{
    base::files::{make_folder, name, write_atomically},
    learn::{
        folder::TrialFolder,
        record::{Status, TrialRecord},
    },
};

/// The folder of work.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub path: PathBuf,
}

/// The word of a start of a task that it is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub attempt: String,
    pub restart: u64,
    pub code: i32,
    /// Where it ran; empty where that is not known.
    pub node: String,
}

impl Work {
    /// Makes it where it is not there yet.
    pub fn open(path: PathBuf) -> Result<Work> {
        for folder in ["batches", "attempts", "ended"] {
            make_folder(&path.join(folder))?;
        }
        Ok(Work { path })
    }

    pub fn batch(&self, number: u64) -> PathBuf {
        self.path.join("batches").join(number.to_string())
    }

    pub fn attempt(&self, attempt: &str) -> Attempt {
        Attempt { base: self.path.join("attempts").join(attempt) }
    }

    /// An array's script.
    pub fn script(&self, number: u64) -> PathBuf {
        self.batch(number).join("job.sh")
    }

    /// Where trials leave beginnings for others. In a mirror the files are empty: their names say what lies there.
    pub fn beginnings(&self) -> PathBuf {
        Work::beginnings_in(&self.path)
    }

    /// The same of the folder of work at `path`.
    pub fn beginnings_in(path: &Path) -> PathBuf {
        path.join("beginnings")
    }

    /// Where what comes from afar is unpacked.
    pub fn incoming(&self) -> PathBuf {
        self.path.join(".incoming")
    }

    /// Names of the attempts of every array that was written.
    pub fn batches(&self) -> Result<BTreeMap<u64, Vec<String>>> {
        let numbers = entries(&self.path.join("batches"))?;
        let numbers = numbers.iter().filter_map(|path| name(path).parse().ok());
        Ok(numbers.map(|number| (number, self.attempts_of(number))).collect())
    }

    /// Names of the attempts of an array; none where it is gone.
    pub fn attempts_of(&self, number: u64) -> Vec<String> {
        let text = fs::read_to_string(self.batch(number).join("tasks")).unwrap_or_default();
        let first = |line: &str| line.split(' ').next().unwrap_or_default().to_string();
        text.lines().map(first).collect()
    }

    /// Names of all attempts that are there.
    pub fn attempts(&self) -> Result<Vec<String>> {
        let all = entries(&self.path.join("attempts"))?;
        Ok(all.iter().map(|path| name(path).to_string()).filter(|name| !name.starts_with('.')).collect())
    }

    /// Writes an array's tasks and script.
    pub fn write_batch(&self, number: u64, tasks: &str, script: &str) -> Result<()> {
        let folder = self.batch(number);
        make_folder(&folder)?;
        // Somebody may have removed all of it.
        make_folder(&self.path.join("ended"))?;
        write_atomically(&folder.join("tasks"), tasks.as_bytes())?;
        write_atomically(&self.script(number), script.as_bytes())
    }

    pub fn remove_batch(&self, number: u64) {
        // Nobody reads it any more.
        let _ = fs::remove_dir_all(self.batch(number));
    }

    /// Takes up the words of starts that are over.
    pub fn take_ended(&self) -> Vec<Word> {
        let all = entries(&self.path.join("ended")).unwrap_or_default();
        let of = |path: PathBuf| {
            let (attempt, restart) = name(&path).rsplit_once(".r").filter(|(attempt, _)| !attempt.starts_with('.'))?;
            let text = fs::read_to_string(&path).ok()?;
            let (code, node) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
            let (restart, code) = (restart.parse().ok()?, code.parse().ok()?);
            let _ = fs::remove_file(&path);
            Some(Word { attempt: attempt.into(), restart, code, node: node.into() })
        };
        all.into_iter().filter_map(of).collect()
    }

    /// Removes what is left where no trial is left to train: what its writers did not finish, and, but in `home`, all of it.
    pub fn tidy(&self, home: &Path) {
        if !self.attempts().is_ok_and(|attempts| attempts.is_empty()) {
            // Jobs may write there.
            return;
        }
        for folder in ["batches", "attempts", "ended"].map(|folder| self.path.join(folder)) {
            let hidden = entries(&folder).unwrap_or_default().into_iter().filter(|path| name(path).starts_with('.'));
            for path in hidden {
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
            }
        }
        if self.path != home {
            // Each fails where something is in it that is wanted yet.
            for folder in ["batches", "attempts", "ended", "beginnings", ""] {
                let _ = fs::remove_dir(self.path.join(folder));
            }
        }
    }

    /// The last number of an attempt of each trial, by those that are there and `others`.
    pub fn numbers<'a>(&self, others: impl Iterator<Item = &'a str>) -> Result<HashMap<String, u64>> {
        let mut last: HashMap<String, u64> = HashMap::new();
        let mut all = self.attempts()?;
        all.extend(others.map(str::to_string));
        for attempt in &all {
            if let Some((key, number)) = attempt.rsplit_once('.')
                && let Ok(number) = number.parse()
            {
                let known = last.entry(key.into()).or_default();
                *known = (*known).max(number);
            }
        }
        Ok(last)
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    Ok(read.filter_map(|entry| Some(entry.ok()?.path())).collect())
}

/// The folder of an attempt: what a trial begins with, and a folder for each start of its job (Slurm starts one again whose node
/// is lost, and the one before may still train there).
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub base: PathBuf,
}

impl Attempt {
    /// Lays out what `folder` has for the start of a training.
    pub fn lay_out(&self, folder: &TrialFolder) -> Result<()> {
        // Another explorer's of the same number, which no job is to find.
        self.remove();
        make_folder(&self.base)?;
        let from = [folder.config(), folder.record(), folder.checkpoint(), folder.previous_checkpoint()];
        for from in from {
            if from.exists() {
                take_over(&from, &self.base.join(name(&from)))?;
            }
        }
        Ok(())
    }

    /// The folders of its starts, the last one last.
    pub fn starts(&self) -> Vec<TrialFolder> {
        self.numbers().into_iter().map(|number| self.start(number)).collect()
    }

    /// The folder of a start, whether or not it is there.
    pub fn start(&self, number: u64) -> TrialFolder {
        TrialFolder::new(self.base.join(format!("r{number}")))
    }

    /// The numbers of its starts, the last one last.
    pub fn numbers(&self) -> Vec<u64> {
        let number = |path: PathBuf| name(&path).strip_prefix('r')?.parse().ok();
        let mut numbers: Vec<u64> = entries(&self.base).unwrap_or_default().into_iter().filter_map(number).collect();
        numbers.sort();
        numbers
    }

    /// Has a training that runs end at a checkpoint when it looks, and one that waits not begin.
    pub fn ask_to_stop(&self) {
        // Where this fails its job is told so by Slurm, or is ended when its time is over.
        let _ = fs::write(self.base.join("stop"), "");
    }

    pub fn is_asked_to_stop(&self) -> bool {
        self.base.join("stop").exists()
    }

    /// Whether one of its starts has trained to the end.
    pub fn is_whole(&self, key: &str) -> bool {
        self.record_of_end(key).is_some_and(|record| is_result(&record))
    }

    /// Whether its training has ended, also in a failure.
    pub fn has_ended(&self, key: &str) -> bool {
        self.record_of_end(key).is_some()
    }

    fn record_of_end(&self, key: &str) -> Option<TrialRecord> {
        self.best(key)?.read_end(key).ok().flatten().map(|(record, _)| record)
    }

    /// The start whose training is whole, if there is one; else the last that has anything to go on from, else the last.
    pub fn best(&self, key: &str) -> Option<TrialFolder> {
        let starts = self.starts();
        let is_whole =
            |start: &&TrialFolder| matches!(start.read_end(key), Ok(Some((record, _))) if is_result(&record));
        let found = starts.iter().find(is_whole);
        let last = || starts.iter().rev().find(|start| start.checkpoint().exists()).or(starts.last());
        found.or_else(last).cloned()
    }

    /// Brings into a trial's folder what its attempt left: of the best of its starts, and what all of them said.
    ///
    /// Errors: it cannot be read or written; it may be tried again.
    pub fn bring_home(&self, key: &str, folder: &TrialFolder) -> Result<()> {
        let Some(best) = self.best(key) else { return Ok(()) };
        let starts = self.starts();
        let mut log = fs::read(folder.log()).unwrap_or_default();
        let before = log.len();
        for start in &starts {
            log.extend(fs::read(start.log()).unwrap_or_default());
        }
        // What was laid out may have been trained on another.
        let laid_out = TrialFolder::new(&self.base);
        let earlier = laid_out.checkpoint().exists().then(|| laid_out.read_record().ok()?.processor);
        let kinds = processors(&starts, &best);
        let is_other = |earlier: Option<String>| kinds.iter().any(|kind| earlier.as_ref() != Some(kind));
        let mixed = kinds.len() > 1 || earlier.is_some_and(is_other);
        for (from, to) in [
            (best.checkpoint(), folder.checkpoint()),
            (best.previous_checkpoint(), folder.previous_checkpoint()),
            (best.weights(), folder.weights()),
        ] {
            if from.exists() {
                take_over(&from, &to)?;
            }
        }
        // A damaged file of rows is brought over as it is: who judges the trial says so.
        if let Ok(epochs) = fs::read(best.epochs()) {
            write_atomically(&folder.epochs(), &epochs)?;
        }
        match best.read_record() {
            Ok(record) => {
                let is_over = record.status.is_final();
                let processor = record.processor.clone().filter(|_| !mixed);
                // One that was killed says that it runs: that is for its explorer to say.
                folder.write_record(&TrialRecord { processor, ..record })?;
                if is_over && !best.checkpoint().exists() {
                    folder.remove_checkpoints()?;
                }
            }
            Err(_) if best.record().exists() => take_over(&best.record(), &folder.record())?,
            Err(_) => {}
        }
        if log.len() > before {
            write_atomically(&folder.log(), &log)?;
        }
        Ok(())
    }

    /// Whether it is there.
    pub fn exists(&self) -> bool {
        self.base.is_dir()
    }

    /// Removes it: no job begins it any more.
    pub fn remove(&self) {
        let gone = self.base.with_file_name(format!(".gone-{}", name(&self.base)));
        let _ = fs::remove_dir_all(&gone);
        if fs::rename(&self.base, &gone).is_ok() {
            // A node that was cut off may still write there; what is left then is in nobody's way.
            let _ = fs::remove_dir_all(&gone);
        }
    }
}

fn is_result(record: &TrialRecord) -> bool {
    matches!(record.status, Status::Done | Status::Diverged)
}

/// Kinds of processors on which starts trained, up to the best of them.
fn processors(starts: &[TrialFolder], best: &TrialFolder) -> Vec<String> {
    let mut kinds: Vec<String> = Vec::new();
    for start in starts {
        let has_part = start.path == best.path || start.checkpoint().exists();
        let kind = start.read_record().ok().filter(|_| has_part).and_then(|record| record.processor);
        kinds.extend(kind.filter(|kind| !kinds.contains(kind)));
        if start.path == best.path {
            break;
        }
    }
    kinds
}

/// Has `to` be what `from` is. Files that are only ever replaced as a whole may be one file in both places.
fn take_over(from: &Path, to: &Path) -> Result<()> {
    let context = || format!("cannot bring {} to {}", from.display(), to.display());
    match fs::remove_file(to) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).with_context(context),
        _ => {}
    }
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop)).with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::config::TrialConfig;

    #[test]
    fn a_training_that_goes_on_from_another_processors_is_of_none() {
        let config = TrialConfig::resolve("[model]\npreset = 'tiny'".parse().unwrap()).unwrap();
        let record = |status, processor: &str| TrialRecord {
            status,
            processor: Some(processor.into()),
            ..TrialRecord::pending("k".into(), 0, &config)
        };
        for (earlier, kept) in [(None, Some("zen")), (Some("zen"), Some("zen")), (Some("icelake"), None)] {
            let folder = tempfile::tempdir().unwrap();
            let home = TrialFolder::new(folder.path().join("home"));
            home.prepare(&config, &record(Status::Running, earlier.unwrap_or("unknown"))).unwrap();
            earlier.iter().for_each(|_| fs::write(home.checkpoint(), "weights").unwrap());
            let attempt = Attempt { base: folder.path().join("k.1") };
            attempt.lay_out(&home).unwrap();
            attempt.start(0).prepare(&config, &record(Status::Done, "zen")).unwrap();
            // Also the second time, as after an explorer that ended meanwhile.
            for _ in 0..2 {
                attempt.bring_home("k", &home).unwrap();
                assert_eq!(home.read_record().unwrap().processor.as_deref(), kept, "{earlier:?}");
            }
        }
    }
}

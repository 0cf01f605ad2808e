//! Holds all that a study keeps against all that it says of itself. Reads only.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::Result;
use serde::Serialize;

use super::{End, check_config, check_weights, entries, is_temporary, name, shapes_of};
use crate::{
    base::{machine::Machine, seal},
    learn::{
        folder::trials_folder,
        record::{EpochRow, Status, TrialRecord},
    },
    search::{
        journal::{Contents, Journal},
        study::{
            self, Plan, Study,
            holdings::{FolderKind, Holdings},
        },
    },
    timing::sets::TimeSet,
};

/// Age above which a temporary file belongs to no one, while the study is explored.
const ABANDONED: Duration = Duration::from_secs(600);

/// Something wrong: what, where, and how it is mended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub place: PathBuf,
    pub what: String,
    pub mend: String,
}

/// What a check found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Findings {
    pub problems: Vec<Problem>,
    /// What lies in the study and is not the study's, by its place in it. It harms nothing, and is told of no further.
    pub foreign: Vec<PathBuf>,
    /// Trials that were asked for or begun, and those that the journal has as ended well, diverged, failed and given up.
    pub trials: usize,
    pub done: usize,
    pub diverged: usize,
    pub failed: usize,
    pub stopped: usize,
    pub running: usize,
    /// Folders of trials whose end was held against the journal, and files of weights held against their SHA-256.
    pub folders: usize,
    pub weights: usize,
    /// Whether someone explores or changes the study now, or may.
    pub explored: bool,
}

/// Checks a study; an error only where it is none.
pub fn check(study: &Study) -> Result<Findings> {
    if !study.folder.join("study.toml").exists() {
        // Says that this is no study.
        study.read()?;
    }
    let findings = look(study)?;
    // Where an exploration began meanwhile, what runs was taken for what was left: once more, with that known.
    let began = !findings.explored && study.explorer().may_write();
    if began { look(study) } else { Ok(findings) }
}

fn look(study: &Study) -> Result<Findings> {
    let mut check = Check::new(study);
    let plan = study.plan();
    check.machine();
    let journal = check.journal();
    let keys = plan.as_ref().ok().map(|plan| plan.keys.iter().cloned().collect::<HashSet<String>>());
    match plan {
        Ok(plan) => {
            let (records, epochs) = journal.unwrap_or_default();
            let begun: HashSet<&str> = records.iter().map(|record| record.key.as_str()).collect();
            let further = plan.keys[plan.asked..].iter().filter(|key| begun.contains(key.as_str())).count();
            check.findings.trials = plan.asked + further;
            check.records(&plan, &records);
            check.folders(&plan, &records, epochs);
            check.times(&plan);
        }
        Err(error) => {
            check.add("study.toml".into(), error, "bring it back from a copy; nothing else says what the study is")
        }
    }
    for folder in ["", "charts", "times", "pick"] {
        check.temporaries(&study.folder.join(folder));
    }
    check.others(keys.as_ref());
    Ok(check.findings)
}

struct Check<'a> {
    study: &'a Study,
    findings: Findings,
    /// Whether the journal could be read: what it lacks is no news otherwise.
    has_journal: bool,
}

impl Check<'_> {
    fn new(study: &Study) -> Check<'_> {
        let explored = study.explorer().may_write();
        Check { study, findings: Findings { explored, ..Findings::default() }, has_journal: false }
    }

    fn add(&mut self, place: PathBuf, what: impl Into<anyhow::Error>, mend: &str) {
        let (what, mend) = (format!("{:#}", what.into()), mend.to_string());
        self.findings.problems.push(Problem { place, what, mend });
    }

    fn say(&mut self, place: PathBuf, what: impl Into<String>, mend: &str) {
        self.add(place, anyhow::Error::msg(what.into()), mend);
    }

    fn machine(&mut self) {
        let Ok(bytes) = fs::read(self.study.folder.join("machine.json")) else { return };
        if let Err(error) = seal::from_json::<Machine>(&bytes) {
            self.add("machine.json".into(), error, "remove it: the next `fastrcaps explore` writes it anew");
        }
    }

    fn journal(&mut self) -> Option<Contents> {
        if self.findings.explored && !self.study.journal().exists() {
            // It is about to be made.
            return None;
        }
        let read = || -> Result<_> {
            let journal = Journal::read(&self.study.journal())?;
            journal.check_structure()?;
            journal.contents()
        };
        match read() {
            Ok(contents) => {
                self.has_journal = true;
                Some(contents)
            }
            Err(error) => {
                let mend = format!("fastrcaps study rebuild {}", self.study.folder.display());
                self.add("journal.sqlite".into(), error, &mend);
                None
            }
        }
    }

    /// The journal against the space.
    fn records(&mut self, plan: &Plan, records: &[TrialRecord]) {
        let index: HashMap<&str, usize> = plan.keys.iter().enumerate().map(|(at, key)| (key.as_str(), at)).collect();
        for record in records {
            let count = match record.status {
                Status::Done => &mut self.findings.done,
                Status::Diverged => &mut self.findings.diverged,
                Status::Failed => &mut self.findings.failed,
                Status::Stopped => &mut self.findings.stopped,
                Status::Running => &mut self.findings.running,
                Status::Pending | Status::Paused => continue,
            };
            *count += 1;
            let what = match index.get(record.key.as_str()) {
                None => "is no trial of the space".to_string(),
                Some(&at) => {
                    let (said, meant) = ((record.replicate, record.seed, record.parameters), &plan.trials[at]);
                    let meant = (meant.replicate, meant.config.seed, meant.config.parameters());
                    if said == meant {
                        continue;
                    }
                    format!("has replicate, seed and parameters {said:?}, the space says {meant:?}")
                }
            };
            let mend = format!("fastrcaps study rebuild {}", self.study.folder.display());
            self.say("journal.sqlite".into(), format!("trial {} {what}", record.key), &mend);
        }
    }

    /// Every trial's folder, and the journal against it.
    fn folders(&mut self, plan: &Plan, records: &[TrialRecord], epochs: Vec<(String, EpochRow)>) {
        let journal: HashMap<&str, &TrialRecord> = records.iter().map(|record| (record.key.as_str(), record)).collect();
        let mut rows: HashMap<String, Vec<EpochRow>> = HashMap::new();
        for (key, row) in epochs {
            rows.entry(key).or_default().push(row);
        }
        let without_weights = super::export::left_out_weights(self.study);
        for (trial, key) in plan.trials.iter().zip(&plan.keys) {
            let record = journal.get(key.as_str()).copied();
            if let Some(end) = self.end(key, record) {
                let data = study::data_id(&trial.config.data);
                self.against_journal(key, (record, rows.get(key.as_str())), &end);
                // Every trial's data was fingerprinted, or it would have no key.
                self.files(key, &plan.file.data[&data], &end, without_weights);
            }
        }
        self.foreign(plan);
    }

    /// The end in a trial's folder, where there is one that is to be held against the journal.
    fn end(&mut self, key: &str, record: Option<&TrialRecord>) -> Option<End> {
        let folder = self.study.trial(key);
        let place = Path::new("trials").join(key);
        let is_final = record.is_some_and(|record| record.status.is_final());
        if !is_final && self.findings.explored {
            // It may begin, or end, while this looks.
            return None;
        }
        let end = match folder.read_end(key) {
            Ok(end) => end,
            // One that failed may have left anything; its record in the journal says why.
            Err(_) if record.is_some_and(|record| record.status == Status::Failed) => return None,
            // Killed before it could leave anything.
            Err(_) if !is_final && !folder.path.join("trial.json").exists() => return None,
            Err(error) => {
                self.add(place, error, &self.anew(key));
                return None;
            }
        };
        self.temporaries(&folder.path);
        match (record, &end) {
            (Some(record), None) if record.status != Status::Failed && is_final => {
                let what = format!("the journal has it as {}, and its folder has no end", record.status.as_str());
                self.say(place, what, &self.anew(key));
            }
            // It was to be tried again, and its explorer ended first.
            (_, Some(end)) if end.0.status == Status::Failed && !is_final => return None,
            _ => {}
        }
        end
    }

    /// How a trial is made again.
    fn anew(&self, key: &str) -> String {
        format!("fastrcaps study rm {} --trial {key}, then explore again", self.study.folder.display())
    }

    fn against_journal(&mut self, key: &str, journal: (Option<&TrialRecord>, Option<&Vec<EpochRow>>), end: &End) {
        self.findings.folders += 1;
        if self.has_journal
            && let Some(what) = difference(journal.0, journal.1, end)
        {
            let rebuild = format!("fastrcaps study rebuild {}", self.study.folder.display());
            self.say(Path::new("trials").join(key), what, &rebuild);
        }
    }

    /// The configuration and the weights of a trial that ended.
    fn files(&mut self, key: &str, fingerprint: &str, (record, _): &End, without_weights: bool) {
        if record.status == Status::Failed {
            return;
        }
        let (folder, place) = (self.study.trial(key), Path::new("trials").join(key));
        if let Err(error) = check_config(&folder, key, fingerprint) {
            self.add(place.clone(), error, &self.anew(key));
        }
        if without_weights && !folder.weights().exists() {
            return;
        }
        self.findings.weights += usize::from(record.weights_sha256.is_some());
        if let Err(error) = check_weights(&folder, record) {
            self.add(place, error, &self.anew(key));
        }
    }

    /// Every set of times: whole, and of the steps of this study.
    fn times(&mut self, plan: &Plan) {
        let mend = "remove it, and `fastrcaps time` takes the times again; or move it elsewhere, if it holds no times";
        let names = match TimeSet::names(self.study) {
            Ok(names) if names.is_empty() => return,
            Ok(names) => names,
            Err(error) => return self.add("times".into(), error, "let this user read it"),
        };
        let known = shapes_of(plan);
        for name in names {
            let place = Path::new("times").join(format!("{name}.json"));
            let set = match TimeSet::read(self.study, &name) {
                Ok(Some(set)) => set,
                // Removed meanwhile.
                Ok(None) => continue,
                Err(error) => {
                    self.add(place, error, mend);
                    continue;
                }
            };
            if let Some((id, _)) = set.shapes.iter().find(|(id, shape)| shape.id() != **id) {
                self.say(place, format!("its shape {id} stands under an id that is not its own"), mend);
            } else if let Some(id) = set.shapes.keys().find(|id| !known.contains(*id)) {
                self.say(place, format!("no training of the space has steps of its shape {id}"), mend);
            } else if let Some(sample) = set.samples.iter().find(|sample| !set.shapes.contains_key(&sample.shape)) {
                self.say(place, format!("it has a sample of the shape {}, which it does not know", sample.shape), mend);
            } else if set.samples.iter().any(|sample| !(sample.seconds_per_step > 0.0)) {
                self.say(place, "it has a step that took no time", mend);
            }
        }
    }

    /// What has no business under trials/.
    fn foreign(&mut self, plan: &Plan) {
        let folder = trials_folder(&self.study.folder);
        let known: std::collections::HashSet<&str> = plan.keys.iter().map(String::as_str).collect();
        match entries(&folder) {
            Err(error) => self.add("trials".into(), error, "let this user read it"),
            Ok(paths) => {
                for path in paths.iter().filter(|path| !known.contains(name(path)) && !is_temporary(path)) {
                    let place = Path::new("trials").join(path.file_name().unwrap_or_default());
                    self.say(place, "is no trial of this study", "move it elsewhere, or remove it");
                }
            }
        }
        self.temporaries(&folder);
    }

    /// What is not the study's, but for what is a problem already.
    fn others(&mut self, keys: Option<&HashSet<String>>) {
        let root = &self.study.folder;
        let others = match Holdings::of(root, FolderKind::Study, keys) {
            Ok(holdings) => holdings.others,
            Err(error) => return self.add(PathBuf::new(), error, "let this user read it"),
        };
        let places = others.iter().map(|path| path.strip_prefix(root).unwrap_or(path).to_path_buf());
        let is_told = |place: &PathBuf| self.findings.problems.iter().any(|problem| problem.place == *place);
        self.findings.foreign = places.filter(|place| !is_told(place)).collect();
    }

    /// What writers left that died.
    fn temporaries(&mut self, folder: &Path) {
        for path in entries(folder).unwrap_or_default().iter().filter(|path| is_temporary(path)) {
            let age = || SystemTime::now().duration_since(fs::metadata(path).ok()?.modified().ok()?).ok();
            if !self.findings.explored || age().is_some_and(|age| age > ABANDONED) {
                let place = path.strip_prefix(&self.study.folder).unwrap_or(path).to_path_buf();
                self.say(place, "was being written when its writer died", "remove it");
            }
        }
    }
}

/// How the journal and a folder differ on the end of a trial, in words.
fn difference(record: Option<&TrialRecord>, rows: Option<&Vec<EpochRow>>, (end, epochs): &End) -> Option<String> {
    let there = end.status.as_str();
    let Some(record) = record else {
        return Some(format!("its folder says {there}, the journal does not know it"));
    };
    if record.status != end.status {
        return Some(format!("its folder says {there}, the journal says {}", record.status.as_str()));
    }
    if record.status == Status::Failed {
        // One that could not even be started again has the end of an earlier attempt in its folder.
        return None;
    }
    // As text, in which NaN is NaN.
    let fields = |record: &TrialRecord| match serde_json::to_value(record) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (journal, folder) = (fields(record), fields(end));
    for (field, value) in &journal {
        if folder.get(field) != Some(value) {
            let there = folder.get(field).unwrap_or(&serde_json::Value::Null);
            return Some(format!("its folder says {field} = {there}, the journal says {value}"));
        }
    }
    let none = Vec::new();
    let text = |rows: &[EpochRow]| serde_json::to_string(rows).ok();
    (text(rows.unwrap_or(&none)) != text(epochs)).then(|| "its epochs.csv and the journal differ".to_string())
}

//! A study survives what happens to files: it is read as it was written or refused, checked, made again, joined, packed
//! and removed.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicBool, Ordering},
};

use fastrcaps::{
    base::{
        machine::{self, Machine},
        seal,
        source::Document,
    },
    engine::upkeep::{check, export, merge, rebuild, remove, status, take_up},
    learn::record::{EpochRow, Status, TrialRecord},
    present::{derived, report::view::StudyView},
    search::{
        journal::Journal,
        space::Space,
        study::{self, Explorer, Study, StudyFile},
    },
    timing::{
        sets::{Fingerprint, TimeSet},
        shape::{Shape, steps_of},
    },
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use crate::facts::Facts;

/// Six trials that nobody trains here.
const SPACE: &str = "
replicates = 2
[base]
model = { preset = 'tiny' }
[axes]
\"train.epochs\" = [1, 2, 3]
";

/// Declares a study of the space, with an empty journal.
pub fn declare(folder: &Path) -> Study {
    declare_on(folder, "the data")
}

fn declare_on(folder: &Path, fingerprint: &str) -> Study {
    declare_space(folder, SPACE, fingerprint)
}

/// Declares a study of another space.
pub fn declare_space(folder: &Path, text: &str, fingerprint: &str) -> Study {
    let space = Space::from_document(Document::parse("space", text.into()).unwrap(), "space", &[]).unwrap();
    let trials = space.expand().unwrap().trials(space.replicates);
    let data: BTreeMap<String, String> =
        trials.iter().map(|trial| (study::data_id(&trial.config.data), fingerprint.to_string())).collect();
    let study = Study::new(folder);
    let lock = study.open().unwrap();
    let file = StudyFile {
        fastrcaps_version: machine::VERSION.into(),
        git_revision: "build".into(),
        created: "2026-01-01T00:00:00Z".into(),
        identity: study::identity(&study::trial_keys(&trials, &data).unwrap()),
        further_replicates: 0,
        asked_replicates: 0,
        data,
        data_differences: Vec::new(),
        proposed: None,
        name: "space".into(),
        set: Vec::new(),
        space: text.into(),
    };
    study.declare(&lock, &file).unwrap();
    study.write_machine(&Machine::this("2x1".into())).unwrap();
    Journal::open(&study.journal()).unwrap();
    study
}

pub fn row(epoch: usize, trial: usize) -> EpochRow {
    EpochRow {
        epoch,
        learning_rate: 1e-3,
        batch_size: 8,
        train_loss: if trial == 3 { f64::NAN } else { 0.1 + 0.2 },
        train_accuracy: 1.0 / 3.0,
        validation_loss: 0.5,
        validation_accuracy: 0.5 + 0.01 * trial as f64,
        train_seconds_screen: epoch as f64 / 3.0,
        samples: 100,
        steps: 13,
    }
}

/// Leaves the end of a trial in its folder.
fn leave(study: &Study, at: usize, status: Status) -> (TrialRecord, Vec<EpochRow>) {
    let plan = study.plan().unwrap();
    let (trial, key) = (&plan.trials[at], &plan.keys[at]);
    let folder = study.trial(key);
    let begun = TrialRecord::pending(key.clone(), trial.replicate, &trial.config);
    folder.prepare(&trial.config, &begun).unwrap();
    let epochs: Vec<EpochRow> = (1..=trial.config.train.epochs).map(|epoch| row(epoch, at)).collect();
    for row in &epochs {
        folder.append_epoch(row).unwrap();
    }
    let weights = format!("weights of {at}").into_bytes();
    fs::write(folder.weights(), &weights).unwrap();
    let sha256 = Sha256::digest(&weights).iter().map(|byte| format!("{byte:02x}")).collect();
    let record = TrialRecord {
        status,
        epochs: epochs.len(),
        best_epoch: Some(1),
        validation_accuracy: Some(0.5 + 0.01 * at as f64),
        test_accuracy: Some(0.5),
        train_seconds_screen: Some(epochs.len() as f64 / 3.0),
        started: Some("2026-01-01T00:00:00Z".into()),
        ended: Some(format!("2026-01-01T00:00:0{at}Z")),
        host: Some(format!("host-{}", at % 2)),
        weights_sha256: Some(sha256),
        error: (status != Status::Done).then(|| "why not".into()),
        ..begun
    };
    folder.write_record(&record).unwrap();
    (record, epochs)
}

/// Leaves the end of a trial in its folder and in the journal.
pub fn finish(study: &Study, at: usize, status: Status) -> (TrialRecord, Vec<EpochRow>) {
    let (record, epochs) = leave(study, at, status);
    Journal::open(&study.journal()).unwrap().put(&record, &epochs).unwrap();
    (record, epochs)
}

/// A study of which four trials are done, one diverged, one failed.
pub fn finished(folder: &Path) -> Study {
    let study = declare(folder);
    for at in 0..6 {
        finish(&study, at, [Status::Done, Status::Diverged, Status::Failed][at.saturating_sub(3)]);
    }
    write_tables(&study);
    study
}

fn write_tables(study: &Study) {
    let view = StudyView::read(study).unwrap();
    derived::write_all(study, &view).unwrap();
}

fn tables(study: &Study) -> [String; 2] {
    ["trials.csv", "epochs.csv"].map(|name| fs::read_to_string(study.folder.join(name)).unwrap())
}

pub fn problems(study: &Study) -> Vec<String> {
    let found = check::check(study).unwrap();
    found.problems.iter().map(|of| format!("{}: {}; {}", of.place.display(), of.what, of.mend)).collect()
}

/// The places of its problems.
fn places(study: &Study) -> Vec<String> {
    check::check(study).unwrap().problems.iter().map(|of| of.place.display().to_string()).collect()
}

pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_fastrcaps"));
    program.env_remove("FASTRCAPS_DATA").env("XDG_CACHE_HOME", "/nonexistent");
    program.current_dir(folder).args(arguments).output().unwrap()
}

/// What a command prints, both streams, and whether it ended well.
pub fn say(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let output = run(folder, arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!text.contains("panicked"), "{arguments:?} panicked: {text}");
    (output.status.success(), text)
}

#[test]
fn small_files_cut_or_flipped_anywhere_are_read_as_they_were_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let study = declare(folder.path());
    let (record, _) = finish(&study, 0, Status::Done);
    let trial = study.trial(&record.key);
    let (declared, machine) = (format!("{:?}", study.read().unwrap()), study.machine_line());
    assert!(!machine.is_empty());
    type Reads<'a> = &'a dyn Fn() -> Option<bool>;
    let files: [(PathBuf, Reads); 3] = [
        (folder.path().join("study.toml"), &|| Some(format!("{:?}", study.plan().ok()?.file) == declared)),
        (trial.path.join("trial.json"), &|| Some(trial.read_record().ok()? == record)),
        (folder.path().join("machine.json"), &|| {
            Some(study.machine_line()).filter(|l| !l.is_empty()).map(|l| l == machine)
        }),
    ];
    let mut random = ChaCha8Rng::seed_from_u64(7);
    for (path, reads) in files {
        let whole = fs::read(&path).unwrap();
        assert_eq!(reads(), Some(true));
        let mut accepted = [0, 0];
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let read = reads();
            assert_ne!(read, Some(false), "{} cut at {length}", path.display());
            accepted[0] += usize::from(read.is_some());
        }
        let rounds = 3000;
        for round in 0..rounds {
            let mut flipped = whole.clone();
            for _ in 0..[1, 1, 3][round % 3] {
                let at = random.random_range(0..whole.len());
                flipped[at] ^= 1 << random.random_range(0..8);
            }
            fs::write(&path, flipped).unwrap();
            let read = reads();
            assert_ne!(read, Some(false), "{} flipped", path.display());
            accepted[1] += usize::from(read.is_some());
        }
        fs::write(&path, &whole).unwrap();
        println!(
            "{}: cut at {} lengths, {} read as they were; {rounds} with flipped bits, {} read as they were",
            path.file_name().unwrap().display(),
            whole.len(),
            accepted[0],
            accepted[1]
        );
    }
}

#[test]
fn a_declaration_that_does_not_mean_its_identity_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let study = declare(folder.path());
    let path = folder.path().join("study.toml");
    let text = fs::read_to_string(&path).unwrap();
    let mut table: toml::Table = text.parse().unwrap();
    table.remove("checksum");
    table["space"] = toml::Value::from(SPACE.replace("[1, 2, 3]", "[1, 2, 4]"));
    fs::write(&path, toml::to_string(&table).unwrap()).unwrap();
    let said = format!("{:#}", study.plan().err().unwrap());
    let name = path.display().to_string();
    said.names([&name[..], "--out"]);
    fs::write(&path, seal::to_toml(&table).unwrap()).unwrap();
    let said = format!("{:#}", study.plan().err().unwrap());
    // Sealed as it should be, it is the identity that is wrong.
    said.names([&name[..], table["identity"].as_str().unwrap(), "--out"]);
    assert_eq!(places(&study), ["study.toml"]);
}

#[test]
fn copies_taken_while_a_writer_commits_are_of_one_moment_or_refused_and_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let study = finished(&folder.path().join("study"));
    let keys = study.plan().unwrap().keys;
    let before = tables(&study);
    let is_over = AtomicBool::new(false);
    let (mut of_a_moment, mut refused, mut with_rollback) = (0, 0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut journal = Journal::open(&study.journal()).unwrap();
            let ends: Vec<_> = keys.iter().map(|key| study.trial(key).read_end(key).unwrap().unwrap()).collect();
            for step in 1.. {
                if is_over.load(Ordering::SeqCst) {
                    break;
                }
                // Every commit changes another trial, with rows that fill several pages.
                let (record, epochs) = &ends[step % ends.len()];
                let record = TrialRecord {
                    attempts: step,
                    status: Status::Failed,
                    error: Some("x".repeat(3000)),
                    ..record.clone()
                };
                let rows: Vec<EpochRow> =
                    (1..40).map(|epoch| EpochRow { epoch, steps: step as u64, ..epochs[0].clone() }).collect();
                journal.put(&record, &rows).unwrap();
            }
        });
        for number in 0..100 {
            let copy = Study::new(folder.path().join("copy"));
            fs::create_dir_all(&copy.folder).unwrap();
            let mut names = ["journal.sqlite", "journal.sqlite-journal"];
            if number % 2 == 1 {
                names.reverse();
            }
            for name in names {
                with_rollback +=
                    usize::from(copy_slowly(&study.folder.join(name), &copy.folder.join(name)) && name.contains('-'));
            }
            fs::copy(study.folder.join("study.toml"), copy.folder.join("study.toml")).unwrap();
            copy_folder(&study.folder.join("trials"), &copy.folder.join("trials"));
            match Journal::read(&copy.journal()).and_then(|journal| journal.contents()) {
                Ok((records, epochs)) => {
                    of_a_moment += 1;
                    check_moment(&keys, &records, &epochs);
                }
                Err(error) => {
                    format!("{error:#}").names(["fastrcaps study rebuild"]);
                    refused += 1;
                    assert!(!problems(&copy).is_empty());
                    rebuild::rebuild(&copy, &copy.hold("rebuilt").unwrap()).unwrap();
                    assert_eq!(problems(&copy), [""; 0]);
                    assert_eq!(tables(&copy), before);
                }
            }
            fs::remove_dir_all(&copy.folder).unwrap();
        }
        is_over.store(true, Ordering::SeqCst);
    });
    println!(
        "100 copies, {with_rollback} with a rollback: {of_a_moment} of one moment, {refused} refused and made again"
    );
}

/// Copies a file piece by piece, so that a writer gets in between; false where there is none.
fn copy_slowly(from: &Path, to: &Path) -> bool {
    let Ok(mut file) = fs::File::open(from) else { return false };
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = file.read(&mut piece) {
        bytes.extend_from_slice(&piece[..read]);
        std::thread::yield_now();
    }
    fs::write(to, bytes).unwrap();
    true
}

/// Holds what was read against what the writer had written when it came to some step.
fn check_moment(keys: &[String], records: &[TrialRecord], epochs: &[(String, EpochRow)]) {
    let moment = records.iter().map(|record| record.attempts).max().unwrap();
    assert_eq!(records.len(), keys.len());
    for (at, key) in keys.iter().enumerate() {
        let record = records.iter().find(|record| record.key == *key).unwrap();
        let last = (1..=moment).rev().find(|step| step % keys.len() == at).unwrap_or(0);
        assert_eq!(record.attempts, last, "trial {at} at step {moment}");
        for (_, row) in epochs.iter().filter(|(of, _)| of == key && last > 0) {
            assert_eq!(row.steps, last as u64);
        }
    }
}

#[test]
fn a_check_finds_nothing_in_a_whole_study_and_each_damage_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let whole = finished(&folder.path().join("whole"));
    assert_eq!(problems(&whole), [""; 0]);
    let found = check::check(&whole).unwrap();
    let counts = (found.trials, found.done, found.diverged, found.failed, found.folders, found.weights);
    assert_eq!(counts, (6, 4, 1, 1, 6, 5));
    let key = whole.plan().unwrap().keys[2].clone();
    let other = whole.plan().unwrap().keys[1].clone();
    let in_trial = |name: &str| format!("trials/{key}/{name}");
    let replace = |from: &'static str, to: &'static str| {
        move |path: &Path| {
            let text = fs::read_to_string(path).unwrap();
            assert!(text.contains(from), "{text}");
            fs::write(path, text.replacen(from, to, 1)).unwrap();
        }
    };
    let remove = |path: &Path| fs::remove_file(path).unwrap();
    let write = |path: &Path| fs::write(path, "x").unwrap();
    let resealed = |path: &Path| {
        let folder = fastrcaps::learn::folder::TrialFolder::new(path.parent().unwrap());
        let record = folder.read_record().unwrap();
        folder.write_record(&TrialRecord { test_accuracy: Some(0.9), ..record }).unwrap();
    };
    let anothers = |path: &Path| {
        fs::copy(path.parent().unwrap().with_file_name(&other).join("config.toml"), path).unwrap();
    };
    let sql =
        |sql: &'static str| move |path: &Path| rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
    let running = |path: &Path| {
        let study = Study::new(path.parent().unwrap());
        let (record, _) = study.trial(&key).read_end(&key).unwrap().unwrap();
        let record = TrialRecord { status: Status::Running, ..record };
        Journal::open(path).unwrap().put(&record, &[]).unwrap();
    };
    let stranger = |path: &Path| {
        let study = Study::new(path.parent().unwrap());
        let (record, _) = study.trial(&key).read_end(&key).unwrap().unwrap();
        let record = TrialRecord { status: Status::Failed, key: "0123456789abcdef".into(), ..record };
        Journal::open(path).unwrap().put(&record, &[]).unwrap();
    };
    let halved = |path: &Path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    };
    type Plant<'a> = &'a dyn Fn(&Path);
    let row = format!("trials/{key}");
    // Each with the place where it is found, where that is another, and the facts of it.
    let damages: [(String, Plant, Option<&str>, &[&str]); 18] = [
        ("study.toml".into(), &replace("tiny", "Tiny"), None, &[]),
        ("machine.json".into(), &halved, None, &["JSON"]),
        ("journal.sqlite".into(), &halved, None, &["fastrcaps study rebuild"]),
        ("journal.sqlite".into(), &remove, None, &["fastrcaps study rebuild"]),
        (
            "journal.sqlite".into(),
            &sql("UPDATE trials SET record = replace(record, 'done', 'failed')"),
            None,
            &["fastrcaps study rebuild"],
        ),
        (
            "journal.sqlite".into(),
            &sql("DELETE FROM epochs WHERE epoch = 2"),
            None,
            &["epochs", "fastrcaps study rebuild"],
        ),
        ("journal.sqlite".into(), &running, Some(&row), &["done", "running"]),
        ("journal.sqlite".into(), &stranger, None, &["0123456789abcdef"]),
        (in_trial("trial.json"), &replace("0.5", "0.6"), None, &["checksum"]),
        (in_trial("trial.json"), &resealed, Some(&row), &["test_accuracy", "0.9", "0.5"]),
        (in_trial("trial.json"), &remove, None, &["os error 2"]),
        (in_trial("epochs.csv"), &halved, None, &[]),
        (in_trial("config.toml"), &anothers, None, &[&other]),
        (in_trial("config.toml"), &remove, None, &["os error 2"]),
        (in_trial("weights.safetensors"), &write, None, &["SHA-256"]),
        (in_trial("weights.safetensors"), &remove, None, &["os error 2"]),
        (in_trial(".writing-abc"), &write, None, &[]),
        ("trials/notes.txt".into(), &write, None, &[]),
    ];
    for (number, (place, plant, found_at, facts)) in damages.iter().enumerate() {
        let study = Study::new(folder.path().join(number.to_string()));
        copy_folder(&whole.folder, &study.folder);
        plant(&study.folder.join(place));
        let ([at], [problem]) = (&places(&study)[..], &problems(&study)[..]) else {
            panic!("{place}: {:?}", problems(&study));
        };
        // Of a trial's record and config, it is the trial that is named first.
        let wanted = found_at.unwrap_or(place);
        assert!(at == wanted || wanted.starts_with(&format!("{at}/")), "{place}: {problem}");
        problem.names([wanted.rsplit('/').next().unwrap()]).names(*facts);
    }
    println!("{} kinds of damage, each found", damages.len());
    // A trial whose folder is gone.
    fs::remove_dir_all(whole.trial(&key).path).unwrap();
    assert_eq!(places(&whole), [row], "{:?}", problems(&whole));
}

#[test]
fn while_a_study_is_explored_what_runs_is_no_problem() {
    let folder = tempfile::tempdir().unwrap();
    let study = declare(folder.path());
    finish(&study, 0, Status::Done);
    let (record, _) = leave(&study, 1, Status::Done);
    let running = TrialRecord { status: Status::Running, ..record };
    Journal::open(&study.journal()).unwrap().put(&running, &[]).unwrap();
    fs::write(study.trial(&running.key).path.join(".writing-abc"), "x").unwrap();
    let lock = study.open().unwrap();
    assert_eq!(problems(&study), [""; 0]);
    let standing = status::standing(&study).unwrap();
    let who = standing.explorer.unwrap();
    who.names([format!("process {} on {}", std::process::id(), machine::host())]);
    assert_eq!((standing.done, standing.running.len(), standing.pending), (1, 1, 4));
    assert_eq!((standing.running[0].epoch, standing.running[0].epochs), (2, 2));
    assert_eq!(standing.running[0].validation_accuracy, Some(0.51));
    drop(lock);
    let standing = status::standing(&study).unwrap();
    assert_eq!((standing.explorer, standing.interrupted, standing.pending), (None, 1, 5));
    assert_eq!(standing.last_explorer, Some(who));
    assert_eq!(problems(&study).len(), 2);
}

#[test]
fn an_end_that_its_explorer_did_not_live_to_journal_is_taken_up() {
    let folder = tempfile::tempdir().unwrap();
    let study = declare(folder.path());
    let mut journal = Journal::open(&study.journal()).unwrap();
    let ends: Vec<_> = (0..3).map(|at| leave(&study, at, Status::Done)).collect();
    let running = |at: usize| TrialRecord { status: Status::Running, ..ends[at].0.clone() };
    // The journal has trial 0 as running, does not know trial 1, and trial 2 left half an end.
    journal.put(&running(0), &[]).unwrap();
    journal.put(&running(2), &[]).unwrap();
    let epochs = study.trial(&ends[2].0.key).epochs();
    let text = fs::read(&epochs).unwrap();
    fs::write(&epochs, &text[..text.len() - 3]).unwrap();
    let mut view = StudyView::read(&study).unwrap();
    assert_eq!(take_up(&study, &mut view, &mut journal).unwrap(), 2);
    assert_eq!(view.records[..2], [Some(ends[0].0.clone()), Some(ends[1].0.clone())]);
    assert_eq!(view.count(Status::Running), 1);
    assert_eq!(StudyView::read(&study).unwrap().records, view.records);
    assert_eq!(take_up(&study, &mut view, &mut journal).unwrap(), 0);
}

#[test]
fn a_journal_made_again_gives_the_same_tables_and_keeps_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let study = finished(&folder.path().join("study"));
    let before = tables(&study);
    fs::write(study.folder.join("journal.sqlite-journal"), "stale").unwrap();
    let bytes = fs::read(study.journal()).unwrap();
    fs::write(study.journal(), &bytes[..5000]).unwrap();
    assert!(StudyView::read(&study).is_err());
    let rebuilt = rebuild::rebuild(&study, &study.hold("rebuilt").unwrap()).unwrap();
    assert_eq!((rebuilt.done, rebuilt.diverged, rebuilt.failed, rebuilt.pending), (4, 1, 1, 0));
    assert_eq!(fs::read(rebuilt.kept.unwrap()).unwrap(), &bytes[..5000]);
    assert_eq!(tables(&study), before);
    assert_eq!(problems(&study), [""; 0]);
    // What cannot be trusted is pending.
    let key = study.plan().unwrap().keys[0].clone();
    fs::write(study.trial(&key).path.join("trial.json"), "{}").unwrap();
    let rebuilt = rebuild::rebuild(&study, &study.hold("rebuilt").unwrap()).unwrap();
    assert_eq!((rebuilt.done, rebuilt.pending, rebuilt.refused.len()), (3, 1, 1));
    assert_eq!(rebuilt.refused[0].0, key);
}

#[test]
fn two_halves_merged_are_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let whole = finished(&folder.path().join("whole"));
    let [a, b] = ["a", "b"].map(|name| declare(&folder.path().join(name)));
    for at in 0..6 {
        let status = [Status::Done, Status::Diverged, Status::Failed][usize::saturating_sub(at, 3)];
        finish(if at % 2 == 0 { &a } else { &b }, at, status);
    }
    // Trial 2 ended in both, trial 3 failed here and was trained there.
    finish(&b, 2, Status::Done);
    finish(&a, 3, Status::Failed);
    let left = fs::read(b.journal()).unwrap();
    let merged = merge::merge(&a, std::slice::from_ref(&b), &a.hold("merged into").unwrap()).unwrap();
    assert_eq!((merged.taken, merged.replaced, merged.kept, merged.pending), (2, 1, 1, 0));
    assert_eq!(merged.refused, []);
    assert_eq!(tables(&a), tables(&whole));
    assert_eq!(problems(&a), [""; 0]);
    assert!(fs::read(b.journal()).unwrap() == left, "the study merged from was changed");
    let hosts = merge::hosts(&StudyView::read(&a).unwrap());
    assert_eq!(hosts, [("host-0".to_string(), 2), ("host-1".to_string(), 2)]);
    // Again changes nothing.
    let again = merge::merge(&a, &[b], &a.hold("merged into").unwrap()).unwrap();
    assert_eq!((again.taken, again.replaced, again.kept), (0, 0, 4));
    assert_eq!(tables(&a), tables(&whole));
}

#[test]
fn a_merge_takes_what_both_spaces_have_and_says_what_is_of_no_use() {
    let folder = tempfile::tempdir().unwrap();
    let into = declare(&folder.path().join("into"));
    // The axis has other values, in another order, and there are more replicates.
    let space = SPACE.replace("[1, 2, 3]", "[4, 3, 2]").replace("replicates = 2", "replicates = 3");
    let from = declare_space(&folder.path().join("from"), &space, "the data");
    let ends: Vec<_> = (0..9).map(|at| finish(&from, at, Status::Done).0).collect();
    let shape = |study: &Study| steps_of(&study.plan().unwrap().trials[0].config, 1)[0].0.clone();
    let mut set = TimeSet::new("default", "elsewhere".into(), Fingerprint::this(1));
    set.shapes.insert(shape(&from).id(), shape(&from));
    let foreign = Shape { samples: 7, ..shape(&from) };
    set.shapes.insert(foreign.id(), foreign);
    set.write(&from).unwrap();
    let merged = merge::merge(&into, std::slice::from_ref(&from), &into.hold("merged into").unwrap()).unwrap();
    assert_eq!((merged.taken, merged.kept, merged.useless, merged.pending), (6, 0, 3, 2));
    assert_eq!(problems(&into), [""; 0]);
    let view = StudyView::read(&into).unwrap();
    let labels = |view: &StudyView, key: &str| {
        let at = view.keys.iter().position(|of| of == key).unwrap();
        (view.trials[at].config.train.epochs, view.trials[at].replicate, view.records[at].clone())
    };
    assert_eq!(labels(&view, &ends[7].key), (3, 2, Some(ends[7].clone())));
    assert_eq!(TimeSet::read(&into, "default").unwrap().unwrap().shapes.len(), 1);
    // The other way round, too; again there is nothing new.
    let merged = merge::merge(&from, std::slice::from_ref(&into), &from.hold("merged into").unwrap()).unwrap();
    assert_eq!((merged.taken, merged.kept, merged.useless), (0, 6, 0));
}

#[test]
fn only_studies_that_share_trials_and_whole_ones_are_merged() {
    let folder = tempfile::tempdir().unwrap();
    let into = declare(&folder.path().join("into"));
    let other = declare_on(&folder.path().join("other"), "other data");
    let refuse = |others: &[Study]| {
        let lock = into.hold("merged into").unwrap();
        format!("{:#}", merge::merge(&into, others, &lock).unwrap_err())
    };
    let said = refuse(&[other]);
    let named = |name: &str| folder.path().join(name).display().to_string();
    said.names([named("other"), named("into")]);
    let other = declare_space(&folder.path().join("third"), &SPACE.replace("[1, 2, 3]", "[4, 5]"), "the data");
    let facts = ["2 configurations", "axes.train.epochs", "4, 5", &named("third"), "1, 2, 3", &named("into")];
    refuse(&[other]).names(facts);
    refuse(&[Study::new(folder.path().join("into/../into"))]).names([named("into/../into")]);
    refuse(&[Study::new(folder.path())]).names([folder.path().display().to_string()]);
    let damaged = declare(&folder.path().join("damaged"));
    let (record, _) = finish(&damaged, 0, Status::Done);
    fs::write(damaged.trial(&record.key).weights(), "others").unwrap();
    let merged = merge::merge(&into, &[damaged], &into.hold("merged into").unwrap()).unwrap();
    assert_eq!((merged.taken, merged.refused.len(), merged.pending), (0, 1, 6));
    assert!(!into.trial(&record.key).path.exists());
}

#[test]
fn an_exported_study_unpacked_elsewhere_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let study = finished(&folder.path().join("study"));
    let key = &study.plan().unwrap().keys[0];
    for name in [".writing-abc", "checkpoint.safetensors"] {
        fs::write(study.trial(key).path.join(name), "x").unwrap();
    }
    for (number, weights) in [true, false].into_iter().enumerate() {
        let archive = folder.path().join(format!("{number}.tar.gz"));
        let exported = export::export(&study, &archive, weights, false).unwrap();
        assert_eq!(exported.trials, 6);
        let said = format!("{:#}", export::export(&study, &archive, weights, false).unwrap_err());
        said.names([&archive.display().to_string()[..], "--force"]);
        export::export(&study, &archive, weights, true).unwrap();
        let there = folder.path().join(format!("unpacked-{number}"));
        tar::Archive::new(flate2::read::GzDecoder::new(fs::File::open(&archive).unwrap())).unpack(&there).unwrap();
        let unpacked = Study::new(there.join("study"));
        assert_eq!(problems(&unpacked), [""; 0]);
        assert_eq!(tables(&unpacked), tables(&study));
        assert_eq!(unpacked.trial(key).weights().exists(), weights);
        assert_eq!(fs::read_dir(unpacked.trial(key).path).unwrap().count(), if weights { 4 } else { 3 });
        assert_eq!(StudyView::read(&unpacked).unwrap().records, StudyView::read(&study).unwrap().records);
        assert_eq!(say(&there, &["front", "study"]), say(folder.path(), &["front", "study"]));
    }
}

#[test]
fn only_a_study_that_nobody_explores_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::create_dir_all(here.join("notes")).unwrap();
    fs::write(here.join("notes/study.toml"), "name = 'mine'").unwrap();
    fs::write(here.join("notes/precious"), "x").unwrap();
    let study = finished(&here.join("study"));
    std::os::unix::fs::symlink("study", here.join("link")).unwrap();
    for (arguments, facts) in [
        (vec!["study", "rm", "nowhere", "--yes"], ["nowhere"]),
        (vec!["study", "rm", ".", "--yes"], ["."]),
        (vec!["study", "rm", "notes", "--yes"], ["notes/study.toml"]),
        (vec!["study", "rm", "study"], ["--yes"]),
        (vec!["study", "rm", "study", "--trial", "../..", "--yes"], ["../.."]),
        (vec!["study", "rm", "link", "--yes"], ["link"]),
    ] {
        let (well, said) = say(here, &arguments);
        assert!(!well, "{arguments:?} says {said}");
        said.names(facts);
    }
    assert!(here.join("notes/precious").exists() && here.join("link").is_symlink());
    let lock = study.open().unwrap();
    let (well, said) = say(here, &["study", "rm", "study", "--yes"]);
    assert!(!well, "{said}");
    said.names([format!("process {} on {}", std::process::id(), machine::host())]);
    drop(lock);
    assert_eq!(problems(&study), [""; 0]);
    // Trials are pending then, and not taken up again.
    let keys = study.plan().unwrap().keys;
    let (well, said) = say(here, &["study", "rm", "study", "--trial", &keys[0], "--trial", &keys[5], "--yes"]);
    assert!(well, "{said}");
    said.names(["2 trials"]);
    let mut view = StudyView::read(&study).unwrap();
    assert_eq!((view.count(Status::Done), view.count(Status::Failed)), (3, 0));
    let mut journal = Journal::open(&study.journal()).unwrap();
    assert_eq!(take_up(&study, &mut view, &mut journal).unwrap(), 0);
    drop(journal);
    assert_eq!(problems(&study), [""; 0]);
    let (well, said) = say(here, &["study", "rm", "study", "--yes"]);
    assert!(well && !study.folder.exists(), "{said}");
    // A study whose declaration is damaged goes too.
    let study = finished(&here.join("study"));
    let text = fs::read_to_string(study.folder.join("study.toml")).unwrap();
    fs::write(study.folder.join("study.toml"), text.replace("tiny", "Tiny")).unwrap();
    remove::remove(&remove::extent(&study).unwrap(), &study.seize("removed").unwrap()).unwrap();
    assert!(!study.folder.exists());
}

#[test]
fn who_asks_whether_a_study_is_explored_keeps_nobody_from_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let study = declare(folder.path());
    assert!(matches!(study.explorer(), Explorer::Gone(_)));
    fs::remove_file(folder.path().join("study.lock")).unwrap();
    assert_eq!(study.explorer(), Explorer::Nobody);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    study.explorer();
                }
            });
        }
        for _ in 0..50 {
            let lock = study.open().expect("a free study");
            assert!(matches!(study.explorer(), Explorer::Active(_)));
            drop(lock);
        }
        is_over.store(true, Ordering::SeqCst);
    });
}

#[test]
fn who_holds_a_study_says_what_for() {
    let folder = tempfile::tempdir().unwrap();
    let study = declare(folder.path());
    let lock = study.hold("rebuilt").unwrap();
    let wanted = format!("rebuilt by process {} on {}", std::process::id(), machine::host());
    let Explorer::Busy(line) = study.explorer() else { panic!("{:?}", study.explorer()) };
    assert!(line.starts_with(&wanted), "{line}");
    let said = format!("{:#}", study.open().err().unwrap());
    let facts = ["rebuilt".to_string(), format!("process {} on {}", std::process::id(), machine::host())];
    said.names(&facts);
    let (well, said) = say(folder.path(), &["status", "."]);
    assert!(well, "{said}");
    said.names(&facts);
    drop(lock);
    assert_eq!(study.explorer(), Explorer::Nobody);
    // What is no lock that can be asked for.
    fs::remove_file(folder.path().join("study.lock")).unwrap();
    std::os::unix::fs::symlink("study.lock", folder.path().join("study.lock")).unwrap();
    assert!(matches!(study.explorer(), Explorer::Unknown(_)), "{:?}", study.explorer());
    let (well, said) = say(folder.path(), &["status", "."]);
    assert!(well, "{said}");
    said.is_silent_on(["process"]);
}

#[test]
fn who_explores_clears_away_what_killed_writers_left_and_brings_back_what_they_moved() {
    let folder = tempfile::tempdir().unwrap();
    let study = declare(folder.path());
    let (record, _) = finish(&study, 0, Status::Failed);
    let (other, _) = finish(&study, 1, Status::Done);
    fs::create_dir_all(folder.path().join("charts")).unwrap();
    let left = [".writing-a", "charts/.writing-b", "trials/.writing-c", "trials/.tmpAb3dE9", ".tmpeeeeee"];
    for place in left {
        fs::write(folder.path().join(place), "x").unwrap();
    }
    // A merge was killed between putting one folder aside and putting another in its place; one was being copied.
    let trial = study.trial(&record.key).path;
    fs::create_dir_all(folder.path().join("trials/.writing-f")).unwrap();
    fs::rename(&trial, folder.path().join("trials/.writing-f").join(&record.key)).unwrap();
    copy_folder(&study.trial(&other.key).path, &folder.path().join("trials/.writing-g"));
    // What a trial's own folder holds is the trial's.
    let own = study.trial(&other.key).path.join(".writing-own");
    fs::write(&own, "x").unwrap();
    let found = places(&study);
    let unfinished = |place: &&String| place.contains("/.") || place.starts_with('.');
    assert_eq!(found.iter().filter(unfinished).count(), left.len() + 3, "{found:?}");
    drop(study.open().unwrap());
    assert_eq!(problems(&study).len(), 1, "{:?}", problems(&study));
    assert!(own.exists() && study.trial(&record.key).read_end(&record.key).unwrap().is_some());
}

#[test]
fn no_folder_is_changed_in_which_a_process_trains() {
    let folder = tempfile::tempdir().unwrap();
    let study = finished(&folder.path().join("study"));
    let other = finished(&folder.path().join("other"));
    let (record, _) = finish(&other, 5, Status::Done);
    let claim = study.trial(&record.key).claim().unwrap();
    let there = |path: &str| folder.path().join(path).exists();
    for arguments in [
        vec!["study", "rm", "study", "--yes"],
        vec!["study", "rm", "study", "--yes", "--trial", &record.key],
        vec!["study", "merge", "study", "other"],
    ] {
        let (well, said) = say(folder.path(), &arguments);
        assert!(!well, "{arguments:?} says {said}");
        said.names([&record.key]);
        assert!(there("study/study.toml") && study.trial(&record.key).read_end(&record.key).unwrap().is_some());
    }
    drop(claim);
    let (well, said) = say(folder.path(), &["study", "merge", "study", "other"]);
    assert!(well && StudyView::read(&study).unwrap().count(Status::Failed) == 0, "{said}");
    let (well, said) = say(folder.path(), &["study", "rm", "study", "--yes"]);
    assert!(well && !there("study"), "{said}");
}

#[test]
fn a_journal_kept_by_a_rebuilding_stands_for_itself() {
    let folder = tempfile::tempdir().unwrap();
    let study = finished(&folder.path().join("study"));
    let before = Journal::read(&study.journal()).unwrap().contents().unwrap().0;
    // The file and its rollback in the middle of a commit that does not fit in memory.
    let writer = rusqlite::Connection::open(study.journal()).unwrap();
    writer
        .execute_batch("PRAGMA cache_size = 1; BEGIN IMMEDIATE; UPDATE trials SET record = record || zeroblob(1);")
        .unwrap();
    writer.execute_batch("CREATE TABLE big AS SELECT hex(randomblob(100000)) AS x FROM trials;").unwrap();
    let copy = Study::new(folder.path().join("copy"));
    copy_folder(&study.folder, &copy.folder);
    drop(writer);
    let is_hot = fs::metadata(copy.folder.join("journal.sqlite-journal")).unwrap().len() > 512;
    assert!(is_hot && fs::read(copy.journal()).unwrap() != fs::read(study.journal()).unwrap());
    let rebuilt = rebuild::rebuild(&copy, &copy.hold("rebuilt").unwrap()).unwrap();
    let kept = Journal::read(&rebuilt.kept.unwrap()).unwrap();
    assert_eq!(kept.contents().unwrap().0, before);
    assert_eq!(problems(&copy), [""; 0]);
}

#[test]
fn a_study_without_an_epoch_has_tables_with_their_headers() {
    let folder = tempfile::tempdir().unwrap();
    let study = declare(folder.path());
    write_tables(&study);
    let empty = tables(&study)[1].clone();
    finish(&study, 0, Status::Done);
    write_tables(&study);
    let [_, filled] = tables(&study);
    assert!(
        empty.starts_with("key,configuration,replicate,epoch,") && empty.trim_end() == filled.lines().next().unwrap()
    );
    // As many cells in every row as in the header, which the CSV reader insists on.
    let rows: Vec<_> = csv::Reader::from_reader(filled.as_bytes()).records().collect::<Result<_, _>>().unwrap();
    assert_eq!((rows.len(), &rows[0][3], &rows[0][5]), (1, "1", "8"));
}

#[test]
fn how_long_a_sweep_takes_is_said_by_what_it_trained_from_the_beginning_only() {
    let folder = tempfile::tempdir().unwrap();
    let study = declare(folder.path());
    let (record, _) = leave(&study, 5, Status::Done);
    let lock = study.open().unwrap();
    let now = Some(machine::rfc3339(std::time::SystemTime::now()));
    let mut journal = Journal::open(&study.journal()).unwrap();
    // An attempt after another one: which of its epochs were trained when is not known.
    for (attempts, is_known) in [(2, false), (1, true)] {
        let running = TrialRecord { status: Status::Running, attempts, started: now.clone(), ..record.clone() };
        journal.put(&running, &[]).unwrap();
        let standing = status::standing(&study).unwrap();
        assert_eq!((standing.running.len(), standing.eta_seconds.is_some()), (1, is_known));
    }
    drop(lock);
}

#[test]
fn a_sweep_is_watched_and_checked_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let space = "[base]\ndata = { name = 'glyphs', train_samples = 400, test_samples = 40 }\n\
                 model = { preset = 'tiny' }\ntrain = { epochs = 4 }\n\
                 [axes]\n\"model.routing_iterations\" = [1, 2, 3]\n\"train.epochs\" = [6, 8]\n";
    fs::write(folder.path().join("space.toml"), space).unwrap();
    let mut explorer = Command::new(env!("CARGO_BIN_EXE_fastrcaps"))
        .current_dir(folder.path())
        .args(["explore", "space.toml", "--quiet", "--slots", "1x1", "--no-confirm"])
        .spawn()
        .unwrap();
    let (mut checks, mut active) = (0, 0);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(300);
    while explorer.try_wait().unwrap().is_none() && std::time::Instant::now() < end {
        if !folder.path().join("results/space/journal.sqlite").exists() {
            continue;
        }
        let (well, said) = say(folder.path(), &["status", "results/space", "--json"]);
        // In the moment in which the journal is being made there is none to read.
        if let (true, Ok(standing)) = (well, serde_json::from_str::<serde_json::Value>(&said)) {
            active += usize::from(standing["explorer"].as_str().is_some_and(|who| who.starts_with("process")));
            assert_eq!(standing["trials"], 6);
            let (well, said) = say(folder.path(), &["study", "check", "results/space"]);
            assert!(well, "{said}");
            checks += 1;
        }
    }
    assert!(explorer.wait().unwrap().success());
    println!("{checks} checks and {active} looks while a sweep ran");
    assert!(active > 0);
    let (well, said) = say(folder.path(), &["status", "results/space"]);
    assert!(well, "{said}");
    said.names(["6", "6 trials"]);
    let (_, said) = say(folder.path(), &["status", "results/space", "--json"]);
    let standing: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&standing["explorer"], &standing["done"]), (&serde_json::Value::Null, &6.into()), "{standing}");
    fs::write(folder.path().join("results/space/trials/x"), "x").unwrap();
    let output = run(folder.path(), &["study", "check", "results/space", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["problems"][0]["place"], "trials/x");
    let (well, said) = say(folder.path(), &["study", "rebuild", "results/space"]);
    assert!(well, "{said}");
    let kept = fs::read_dir(folder.path().join("results/space")).unwrap().map(|entry| entry.unwrap().file_name());
    let kept = kept.map(|name| name.into_string().unwrap()).find(|name| name.starts_with("journal.sqlite.bak-"));
    said.names(["6 done", &kept.expect("the journal of before is kept")]);
}

#[test]
fn a_damaged_set_of_times_keeps_nobody_from_the_front_and_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let study = finished(folder.path());
    for name in ["first", "second", "third"] {
        TimeSet::new(name, "host".into(), Fingerprint::this(1)).write(&study).unwrap();
    }
    fs::write(folder.path().join("times/second.json"), "{").unwrap();
    let (is_well, said) = say(folder.path(), &["front", "."]);
    assert!(is_well, "{said}");
    said.names(["first", "third", "warning", "second.json"]);
}

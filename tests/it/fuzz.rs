//! Readers meet what nobody wrote for them: arbitrary bytes, and damaged files of their own.
//!
//! A reader may refuse; it must not panic, nor take memory out of all proportion to its input. `FASTRCAPS_FUZZ_CASES` says how many
//! inputs each reader gets. They follow from their numbers alone, so that a failure comes again.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{OnceLock, atomic::AtomicBool},
    time::{Duration, Instant},
};

use candle_core::{Device, Tensor};
use fastrcaps::{
    base::{rng, seal, source::Document},
    learn::{
        config::TrialConfig,
        data::{
            self, DataDirs, Dataset, ImageShape, cifar, idx,
            own::{Wishes, inspect},
            sets::cifar10,
        },
        folder::TrialFolder,
        model::tensor_file,
        record::{EpochRow, Status, TrialRecord},
        schedule::{Progress, ScheduleConfig},
        train::{
            Observer, Session,
            checkpoint::{self, Checkpoint, State},
            memory::peak_bytes,
            train,
        },
    },
    search::{
        space::Space,
        study::{Study, StudyFile},
    },
};
use flate2::{Compression, write::GzEncoder};
use rand::{Rng, seq::IndexedRandom};

use super::{allocations, checkpoint::small_checkpoint, data::own};

type Read = fn(&Path, &[u8]) -> bool;

/// A reader under test. To add one: how it reads, and files that it can read.
struct Target {
    name: &'static str,
    /// Reads `input`, in a folder that is its own; whether it was accepted.
    read: Read,
    valid: fn() -> Vec<Vec<u8>>,
}

const TARGETS: &[Target] = &[
    Target { name: "idx images", read: |_, input| idx::check_images(input, 4, SHAPE).is_ok(), valid: idx_images },
    Target { name: "idx labels", read: |_, input| idx::check_labels(input, 4, 10).is_ok(), valid: idx_labels },
    Target { name: "idx files", read: read_idx, valid: || with_gzip(idx_images()) },
    Target {
        name: "cifar records",
        read: |_, input| cifar::parse(input, 2, &cifar10::SET).is_ok(),
        valid: cifar_records,
    },
    Target { name: "cifar archives", read: read_archive, valid: archives },
    Target { name: "own IDX images", read: read_own_idx, valid: || with_gzip(vec![own::idx(&[12, 4, 4], &[7; 192])]) },
    Target { name: "own arrays", read: read_own_npz, valid: own_arrays },
    Target { name: "spaces", read: read_space, valid: spaces },
    Target { name: "configs", read: read_config, valid: configs },
    Target { name: "schedules", read: read_schedule, valid: schedules },
    Target { name: "sealed records", read: |_, input| seal::from_json::<TrialRecord>(input).is_ok(), valid: records },
    Target { name: "records sealed anew", read: read_resealed, valid: records },
    Target { name: "epochs.csv", read: read_epochs, valid: epochs },
    Target { name: "logs", read: read_log, valid: || vec![b"error: a\nthread 'x' panicked at y:\nmessage\n".to_vec()] },
    Target { name: "study.toml", read: read_study, valid: studies },
    Target { name: "study.toml sealed anew", read: read_resealed_study, valid: studies },
    Target { name: "checkpoints", read: |_, input| Checkpoint::from_bytes(input).is_ok(), valid: checkpoints },
    Target { name: "checkpoints sealed anew", read: read_resealed_checkpoint, valid: states_of_checkpoints },
];

/// Bytes that a reader may take beside a multiple of its input.
const MEMORY: usize = 64 << 20;
const MEMORY_OF_A_BYTE: usize = 256;

#[test]
fn no_reader_panics_or_takes_memory_without_bound() {
    let cases = std::env::var("FASTRCAPS_FUZZ_CASES").map_or(1000, |text| text.parse().expect("FASTRCAPS_FUZZ_CASES"));
    let only = std::env::var("FASTRCAPS_FUZZ_TARGET").ok();
    let folder = tempfile::tempdir().unwrap();
    for target in TARGETS.iter().filter(|target| only.as_ref().is_none_or(|only| only == target.name)) {
        let valid = (target.valid)();
        let (mut accepted, mut slowest, began) = (0, (Duration::ZERO, 0), Instant::now());
        for case in 0..cases {
            let input = input(target.name, case, &valid);
            let start = Instant::now();
            let read = || catch_unwind(AssertUnwindSafe(|| (target.read)(folder.path(), &input)));
            let (read, memory) = allocations::peak_of_thread(read);
            slowest = slowest.max((start.elapsed(), case));
            let at = || {
                format!(
                    "{}, case {case}, {} bytes: {:.2000}",
                    target.name,
                    input.len(),
                    input.escape_ascii().to_string()
                )
            };
            accepted += usize::from(read.unwrap_or_else(|_| panic!("panicked: {}", at())));
            let most = MEMORY + MEMORY_OF_A_BYTE * input.len();
            assert!(memory <= most, "took {memory} bytes: {}", at());
        }
        println!(
            "{:>20}: {cases} inputs, {accepted} accepted, {:.1} s, the slowest {:.3} s (case {})",
            target.name,
            began.elapsed().as_secs_f64(),
            slowest.0.as_secs_f64(),
            slowest.1
        );
    }
}

#[test]
fn every_target_accepts_what_its_mutations_start_from() {
    let folder = tempfile::tempdir().unwrap();
    for target in TARGETS.iter().filter(|target| target.name != "cifar archives") {
        for (number, valid) in (target.valid)().iter().enumerate() {
            assert!((target.read)(folder.path(), valid), "{}, file {number}", target.name);
        }
    }
}

#[test]
fn what_claims_to_be_huge_is_refused_before_it_takes_anything() {
    let folder = tempfile::tempdir().unwrap();
    let mut many_images = idx_images().remove(0);
    many_images[4..16].fill(0xff);
    let bomb = gzip(&vec![0; 32 << 20]);
    let axes: String = ["1", "2", "3", "4"].map(|axis| format!("\"x{axis}\" = [{}]\n", "1,".repeat(1000))).concat();
    let claims: [(&str, Read, Vec<u8>); 10] = [
        ("an IDX header of 2³² images", read_idx, many_images),
        ("a gzip bomb as IDX", read_idx, bomb.clone()),
        ("a gzip bomb as CIFAR-10", read_archive, bomb),
        ("a space of 10¹² combinations", expand, format!("[axes]\n{axes}").into_bytes()),
        ("an axis of a million values", expand, format!("[axes]\nseeds = [{}]", "1,".repeat(1_000_000)).into_bytes()),
        ("a path of 100000 parts", expand, format!("[axes]\n\"{}\" = [1]", "a.".repeat(100_000)).into_bytes()),
        ("an exclusion as deep", expand, format!("[[exclude]]\n\"{}\" = 1", "a.".repeat(100_000)).into_bytes()),
        ("ten thousand tables nobody asked for", read_config, b"[[x]]\n".repeat(10_000)),
        ("tables in tables", expand, format!("[base]\na = {}", "{a=".repeat(100_000)).into_bytes()),
        (
            "two million trials",
            expand,
            b"replicates = 10000\n[axes]\n\"train.epochs\" = [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]\n\
              \"model.routing_iterations\" = [1,2,3,4,5,6,7,8,9,10]\n"
                .to_vec(),
        ),
    ];
    for (what, read, claim) in claims {
        let (accepted, memory) = allocations::peak_of_thread(|| read(folder.path(), &claim));
        assert!(!accepted, "{what} was accepted");
        assert!(memory <= (4 << 20) + MEMORY_OF_A_BYTE * claim.len(), "{what} took {memory} bytes");
    }
}

#[test]
fn the_steps_of_the_longest_training_of_single_samples_are_counted_without_walking_through_them() {
    let text = "data.name = 'mnist'\nmodel.preset = 'tiny'\ntrain.epochs = 100000\n\
                schedule.batch = { policy = 'adabatch', phases = [{ epochs = 50000.5, size = 1 }, { size = 2 }] }";
    let config = TrialConfig::resolve(text.parse().unwrap()).unwrap();
    let steps = config.steps_by_size(1000);
    assert_eq!(steps.into_iter().collect::<Vec<_>>(), [(1, 50_000_500), (2, 24_999_750)]);
}

/// However large it is.
fn expand(_: &Path, input: &[u8]) -> bool {
    let document = String::from_utf8(input.to_vec()).map(|text| Document::parse("space.toml", text));
    let space = document
        .unwrap()
        .and_then(|document| Space::from_document(document, "space", &[]).map_err(|error| error.downcast().unwrap()));
    space.is_ok_and(|space| space.expand().is_ok())
}

/// Input number `case`: now and then arbitrary bytes, else one of the valid files with some damage.
fn input(name: &str, case: u64, valid: &[Vec<u8>]) -> Vec<u8> {
    let mut random = rng::stream(1, &format!("fuzz {name}"), case);
    if case.is_multiple_of(16) {
        let len = 1 << random.random_range(0..12);
        return (0..len).map(|_| random.random()).collect();
    }
    let mut bytes = valid.choose(&mut random).unwrap().clone();
    for _ in 0..random.random_range(1..=4) {
        damage(&mut bytes, &mut random);
    }
    bytes
}

fn damage(bytes: &mut Vec<u8>, random: &mut impl Rng) {
    let at = random.random_range(0..=bytes.len());
    let some = |random: &mut dyn FnMut() -> usize, bytes: &[u8]| at..(at + random() % 64).min(bytes.len());
    let mut draw = || random.random::<u32>() as usize;
    match draw() % 10 {
        0 if at < bytes.len() => bytes[at] ^= 1 << (draw() % 8),
        1 if at < bytes.len() => bytes[at] = draw() as u8,
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(some(&mut draw, bytes))),
        4 => {
            let piece = bytes[some(&mut draw, bytes)].to_vec();
            let to = draw() % (bytes.len() + 1);
            bytes.splice(to..to, piece);
        }
        5 => {
            let piece: Vec<u8> = (0..draw() % 16).map(|_| draw() as u8).collect();
            bytes.splice(at..at, piece);
        }
        // Whole lines come twice, or change places.
        6 => {
            let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
            if !lines.is_empty() {
                let [from, to] = [draw() % lines.len(), draw() % lines.len()];
                if draw() % 2 == 0 { lines.swap(from, to) } else { lines.insert(to, lines[from]) }
            }
            *bytes = lines.concat();
        }
        7 | 8 => {
            let numbers = numbers(bytes);
            if let Some(number) = numbers.get(draw() % numbers.len().max(1)) {
                let other = NUMBERS[draw() % NUMBERS.len()].bytes();
                bytes.splice(number.clone(), other);
            }
        }
        _ => {
            let piece = NASTY[draw() % NASTY.len()];
            let times = [1, 2, 100, 10_000][draw() % 4];
            bytes.splice(at..at, piece.repeat(times).into_bytes());
        }
    }
}

const NUMBERS: [&str; 22] = [
    "0",
    "-0.0",
    "-1",
    "1",
    "1e308",
    "-1e308",
    "1e400",
    "1e-320",
    "nan",
    "-nan",
    "inf",
    "-inf",
    "18446744073709551615",
    "9223372036854775807",
    "-9223372036854775808",
    "4294967296",
    "100000",
    "65536",
    "0.1",
    "1e9",
    "\"\"",
    "[]",
];

const NASTY: [&str; 16] = [
    "[",
    "{a=",
    "{\"a\":",
    "a.",
    "\"",
    "'''",
    "\"\"\"\n",
    "é\u{301}\u{202e}",
    "\0",
    "\r\n",
    ",",
    "[[x]]\n",
    "x",
    "9",
    "\n[axes]\n",
    "=",
];

/// Where numbers stand in a text.
fn numbers(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut start = None;
    for (at, byte) in bytes.iter().chain(b" ").enumerate() {
        let is_inside = byte.is_ascii_digit() || (start.is_some() && b".e-+_".contains(byte));
        match start {
            None if is_inside => start = Some(at),
            Some(from) if !is_inside => {
                found.push(from..at);
                start = None;
            }
            _ => {}
        }
    }
    found
}

const SHAPE: ImageShape = ImageShape { channels: 1, height: 3, width: 2 };

fn idx_images() -> Vec<Vec<u8>> {
    let header = [0x803_u32, 4, 3, 2].map(u32::to_be_bytes).concat();
    vec![[header, (0..24).collect()].concat()]
}

fn idx_labels() -> Vec<Vec<u8>> {
    let header = [0x801_u32, 4].map(u32::to_be_bytes).concat();
    vec![[header, vec![0, 9, 3, 1]].concat()]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Each as it is and compressed.
fn with_gzip(files: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let compressed: Vec<_> = files.iter().map(|file| gzip(file)).collect();
    [files, compressed].concat()
}

fn write(folder: &Path, name: &str, input: &[u8]) -> std::path::PathBuf {
    let path = folder.join(name);
    fs::write(&path, input).unwrap();
    path
}

fn read_idx(folder: &Path, input: &[u8]) -> bool {
    idx::read_images(&write(folder, "images", input), 4, SHAPE).is_ok()
}

fn cifar_records() -> Vec<Vec<u8>> {
    vec![(0..2 * 3073).map(|at| if at % 3073 == 0 { 7 } else { at as u8 }).collect()]
}

fn archives() -> Vec<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in
        [("cifar/readme", &b"text"[..]), ("cifar/data_batch_1.bin", &[0; 3073]), ("../test_batch.bin", &[])]
    {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        archive.append(&header, bytes).unwrap();
    }
    with_gzip(vec![archive.into_inner().unwrap()])
}

fn read_archive(folder: &Path, input: &[u8]) -> bool {
    cifar::read_archive(&write(folder, "cifar.tar.gz", input), &cifar10::SET).is_ok()
}

fn reads(path: &Path, format: &str) -> bool {
    inspect(path.to_str().unwrap(), Some(format), Wishes::default()).is_ok()
}

fn read_own_idx(folder: &Path, input: &[u8]) -> bool {
    write(folder, "train-images-idx3-ubyte", input);
    write(folder, "train-labels-idx1-ubyte", &own::idx(&[12], &[0, 1].repeat(6)));
    reads(folder, "idx")
}

fn own_arrays() -> Vec<Vec<u8>> {
    let [images, labels] = [("12, 4, 4", [7; 192].as_slice()), ("12,", &[0, 1].repeat(6))]
        .map(|(sizes, values)| own::npy("|u1", sizes, values));
    vec![own::npz(&[("x", images), ("y", labels)])]
}

fn read_own_npz(folder: &Path, input: &[u8]) -> bool {
    reads(&write(folder, "data.npz", input), "npz")
}

/// Those of the repository that are small enough to be expanded over and over, and one with all that a space may declare.
fn spaces() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("search-spaces");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let is_space = |path: &std::path::PathBuf| path.extension().is_some_and(|extension| extension == "toml");
    let mut spaces: Vec<Vec<u8>> = files.into_iter().filter(is_space).map(|path| fs::read(path).unwrap()).collect();
    let all = "name = 'all'\nreplicates = 3\n[base]\nseed = 4\nmodel.preset = 'tiny'\n[axes]\n\"model.routing_iterations\" = [3, 1]\n\
               schedule.lr = [{ policy = 'fixed', label = 'f' }, { policy = 'cosine', last = 1e-5 }]\n\
               [[exclude]]\n\"model.routing_iterations\" = [1]\nschedule.lr = 'f'\n\
               [baseline]\nmodel.routing_iterations = 3\nschedule.lr = 'f'\n";
    spaces.push(all.into());
    spaces
}

fn read_space(_: &Path, input: &[u8]) -> bool {
    let Ok(text) = String::from_utf8(input.to_vec()) else { return false };
    let Ok(document) = Document::parse("space.toml", text) else { return false };
    let space = Space::from_document(document.clone(), "space", &[]);
    let _ =
        Space::from_document(document, "space", &[("model.preset".into(), "tiny".into()), ("a.b".into(), "[".into())]);
    // Larger ones take their time, and no more than their limit allows.
    space.is_ok_and(|space| space.size() > 300 || space.expand().is_ok())
}

fn configs() -> Vec<Vec<u8>> {
    let texts = [
        "[model]\npreset = 'tiny'\n",
        "[model]\nkind = 'lenet5'\n[schedule]\nwarmup_epochs = 0.5\nlr = { policy = 'step', milestones = [1, 2.5], factor = 0.3 }\n",
        "[model]\nkind = 'efficient-capsnet'\ndecoder = 'small'\n[schedule]\nreconstruction = { every = 2 }\n",
        "seed = 3\n[data]\nname = 'mnist'\n[model]\npreset = 'small'\nclass_sharing = 'by-type'\n[schedule]\n\
         lr = { policy = 'warm-restarts', period = 'batch-phase' }\nbatch = { policy = 'adabatch' }\n[train]\nepochs = 70\n",
    ];
    let whole = |text: &&str| TrialConfig::resolve(text.parse().unwrap()).unwrap().to_toml().into_bytes();
    texts.iter().map(|text| text.as_bytes().to_vec()).chain(texts.iter().map(whole)).collect()
}

fn read_config(_: &Path, input: &[u8]) -> bool {
    let Some(table) = std::str::from_utf8(input).ok().and_then(|text| text.parse().ok()) else { return false };
    let Ok(config) = TrialConfig::resolve(table) else { return false };
    let again = TrialConfig::resolve(config.to_toml().parse().unwrap()).unwrap();
    assert_eq!(config.key(""), again.key(""));
    let samples = config.data.counts().train;
    let steps = config.steps_by_size(samples);
    let seen: u64 = steps.iter().map(|(size, count)| *size as u64 * count).sum();
    assert_eq!(seen, config.samples_seen(samples) as u64);
    assert!(peak_bytes(&config, 1).unwrap() > 0 && config.parameters() > 0);
    true
}

fn schedules() -> Vec<Vec<u8>> {
    let lrs = [
        "{ policy = 'fixed', rate = 0.001 }",
        "{ policy = 'exponential', initial = 0.001, decay = 0.96, period = 4.267, staircase = true }",
        "{ policy = 'step', initial = 0.01, factor = 0.1, milestones = [1, 2.5, 3] }",
        "{ policy = 'one-cycle', initial = 0.001, peak = 0.01, last = 0.0001, up = 0.45, down = 0.45 }",
        "{ policy = 'cosine', initial = 0.001, last = 0.0 }",
        "{ policy = 'cooldown', rate = 0.001, share = 0.2 }",
        "{ policy = 'warm-restarts', peak = 0.01, floor = 0.001, period = 1.5, multiplier = 2.0 }",
    ];
    let batch =
        "{ policy = 'adabatch', phases = [{ epochs = 1.5, size = 1 }, { epochs = 2, size = 16 }, { size = 32 }] }";
    let scope = "routing = { policy = 'phases', phases = [{ until = 0.3, iterations = 1 }, { until = 0.8 }, { iterations = 2 }] }\n\
                 reconstruction = { every = 3, until = 0.9 }\nfreeze = { conv1 = 0.5, primary = 0.75 }\n\
                 samples = { share = 0.5, after = 1, full_every = 3 }\n";
    let plain = lrs.iter().map(|lr| format!("lr = {lr}\nbatch = {batch}\nwarmup_epochs = 0.5\n"));
    plain.chain([format!("batch = {batch}\n{scope}")]).map(String::into_bytes).collect()
}

fn read_schedule(_: &Path, input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let Ok(schedule) = toml::from_str::<ScheduleConfig>(text) else { return false };
    let epochs = 100_000;
    if schedule.validate(epochs).is_err() {
        return false;
    }
    for epoch in [0, 1, 2, 3, 5, 1000, epochs - 1] {
        for step in schedule.epoch_steps(epoch, epochs, 40) {
            assert!(step.scope.iterations.is_none_or(|iterations| (1..=10).contains(&iterations)));
            assert!(step.learning_rate.is_finite() && step.learning_rate >= 0.0, "{step:?} of {schedule:?}");
            assert!(!step.samples.is_empty());
        }
    }
    let progress = Progress { epoch: 99_999.9, epochs: epochs as f64 };
    assert!(schedule.batch_size(progress) > 0);
    let counted: u64 = schedule.steps_by_size(2, epochs, 40).into_iter().map(|(size, count)| size as u64 * count).sum();
    assert_eq!(counted, schedule.samples_seen(2, 40) as u64);
    true
}

fn record() -> TrialRecord {
    let config = TrialConfig::resolve("[model]\npreset = 'tiny'".parse().unwrap()).unwrap();
    let pending = TrialRecord::pending("0123456789abcdef".into(), 1, &config);
    TrialRecord {
        status: Status::Done,
        epochs: 2,
        best_epoch: Some(1),
        validation_accuracy: Some(0.5),
        train_seconds_screen: Some(1.25),
        error: Some("\"é\n\"".into()),
        ..pending
    }
}

fn records() -> Vec<Vec<u8>> {
    vec![seal::to_json(&record()).unwrap()]
}

/// Damage that the checksum does not show.
fn read_resealed(folder: &Path, input: &[u8]) -> bool {
    let Ok(serde_json::Value::Object(mut value)) = serde_json::from_slice(input) else { return false };
    value.remove("checksum");
    let sealed = seal::to_json(&value).unwrap();
    write(folder, "trial.json", &sealed);
    let trial = TrialFolder::new(folder);
    let _ = trial.read_record().map(|record| trial.read_end(&record.key));
    trial.read_record().is_ok_and(|record| seal::to_json(&record).is_ok())
}

fn epochs() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let folder = TrialFolder::new(folder.path());
    for epoch in 1..=3 {
        let row = EpochRow {
            epoch,
            learning_rate: 1e-3,
            batch_size: 16,
            train_loss: if epoch == 3 { f64::NAN } else { 0.5 },
            train_accuracy: 0.75,
            validation_loss: 0.25,
            validation_accuracy: 0.5,
            train_seconds_screen: 1.5 * epoch as f64,
            samples: 60_000,
            steps: 3750,
        };
        folder.append_epoch(&row).unwrap();
    }
    vec![fs::read(folder.epochs()).unwrap()]
}

fn read_epochs(folder: &Path, input: &[u8]) -> bool {
    write(folder, "epochs.csv", input);
    TrialFolder::new(folder).read_epochs().is_ok()
}

fn read_log(folder: &Path, input: &[u8]) -> bool {
    write(folder, "log.txt", input);
    TrialFolder::new(folder).last_words().is_some()
}

fn studies() -> Vec<Vec<u8>> {
    let space = spaces().pop().map(|space| String::from_utf8(space).unwrap()).unwrap();
    let file = StudyFile {
        fastrcaps_version: "0.1.0".into(),
        git_revision: "abc".into(),
        created: "2026-01-01T00:00:00Z".into(),
        identity: "0123456789abcdef".into(),
        further_replicates: 2,
        asked_replicates: 0,
        data: [("a".to_string(), "b".to_string())].into(),
        data_differences: Vec::new(),
        proposed: None,
        name: "all".into(),
        set: vec![("train.epochs".into(), "2".into())],
        space,
    };
    vec![seal::to_toml(&file).unwrap().into_bytes()]
}

fn read_resealed_study(folder: &Path, input: &[u8]) -> bool {
    let Some(mut table) = std::str::from_utf8(input).ok().and_then(|text| text.parse::<toml::Table>().ok()) else {
        return false;
    };
    table.remove("checksum");
    read_study(folder, seal::to_toml(&table).unwrap().as_bytes())
}

fn checkpoints() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let folder = TrialFolder::new(folder.path());
    small_checkpoint().write(&folder, false).unwrap();
    vec![fs::read(folder.checkpoint()).unwrap()]
}

/// A training that was stopped after its third step: its configuration, its data, and its checkpoint.
fn stopped_training() -> &'static (TrialConfig, Dataset, BTreeMap<String, Tensor>) {
    static STOPPED: OnceLock<(TrialConfig, Dataset, BTreeMap<String, Tensor>)> = OnceLock::new();
    STOPPED.get_or_init(|| {
        let text = "data = { train_samples = 40, test_samples = 10, validation_fraction = 0.5 }\ntrain.epochs = 3\n\
                    schedule.batch = { policy = 'fixed', size = 7 }\n\
                    model = { preset = 'tiny', conv1_channels = 4, primary_types = 2, primary_dim = 4, class_dim = 4, \
                    decoder_hidden = [8, 8] }\n";
        let config = TrialConfig::resolve(text.parse().unwrap()).unwrap();
        let data = data::load(&config.data, &DataDirs::at("/nonexistent")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let folder = TrialFolder::new(folder.path());
        for _ in 0..4 {
            take_a_step(&config, &data, &folder);
        }
        let tensors = candle_core::safetensors::load(folder.checkpoint(), &Device::Cpu).unwrap();
        (config, data, tensors.into_iter().collect())
    })
}

/// Goes on with a training by one step; whether there was a checkpoint that it went on from.
fn take_a_step(config: &TrialConfig, data: &Dataset, folder: &TrialFolder) -> bool {
    struct Resumed(bool);
    impl Observer for Resumed {
        fn resumed(&mut self, _: &State) -> anyhow::Result<()> {
            self.0 = true;
            Ok(())
        }
    }
    let mut resumed = Resumed(false);
    let stop = AtomicBool::new(true);
    let session = Session::in_folder(folder, "00", Duration::MAX, &stop);
    train(config, data, &Device::Cpu, session, &mut resumed).unwrap();
    resumed.0
}

fn states_of_checkpoints() -> Vec<Vec<u8>> {
    vec![stopped_training().2["state"].to_vec1().unwrap()]
}

/// Damage to the state of a checkpoint that its checksum does not show.
fn read_resealed_checkpoint(folder: &Path, input: &[u8]) -> bool {
    let (config, data, tensors) = stopped_training();
    let mut tensors = tensors.clone();
    let bytes = |bytes: &[u8]| Tensor::from_slice(bytes, bytes.len(), &Device::Cpu).unwrap();
    tensors.insert("state".into(), bytes(input));
    tensors.remove("sha256");
    let sum = checkpoint::hash(&tensors).unwrap();
    tensors.insert("sha256".into(), bytes(&sum));
    let folder = TrialFolder::new(folder);
    folder.remove_checkpoints().unwrap();
    tensor_file::write(&write(&folder.path, "checkpoint.safetensors", &[]), &tensors).unwrap();
    // What cannot even be read is not worth a step.
    Checkpoint::read(&folder.checkpoint()).is_ok() && take_a_step(config, data, &folder)
}

fn read_study(folder: &Path, input: &[u8]) -> bool {
    write(folder, "study.toml", input);
    Study::new(folder).space().is_ok_and(|space| space.size() > 300 || space.expand().is_ok())
}

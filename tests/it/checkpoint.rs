//! Trainings that are interrupted, and what they come to when they go on.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    io::Write,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::Duration,
};

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use fastrcaps::{
    config::TrialConfig,
    data::{self, DataDirs, Dataset},
    executor::STOPPED,
    folder::TrialFolder,
    machine,
    model::parameters::Snapshot,
    record::{EpochRow, Fault, Status, TrialRecord},
    train::{
        Observer, StepReport,
        checkpoint::{Checkpoint, State, Sums},
        run::{Interruption, Outcome, run_in_folder},
    },
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::cli::{program, refuse, succeed};

/// Batches that change within the training, and two cycles of the learning rate.
const SCHEDULE: &str = "
[data]
train_samples = 60
test_samples = 12
validation_fraction = 0.2
shift = 2
[train]
epochs = 3
[schedule]
lr = { policy = 'warm-restarts', period = 'batch-phase' }
batch = { policy = 'adabatch', phases = [{ epochs = 1, size = 9 }, { size = 20 }] }
";
const CAPSNET: &str = "
[model]
preset = 'tiny'
conv1_channels = 4
primary_types = 2
primary_dim = 4
class_dim = 4
decoder_hidden = [8, 8]
";
const LENET: &str = "model = { kind = 'lenet5' }";

/// One training in a folder of its own.
struct Case {
    config: TrialConfig,
    data: Dataset,
    folder: TempDir,
    stop: AtomicBool,
    every: Duration,
    keep_checkpoints: bool,
}

impl Case {
    fn new(text: &str) -> Case {
        let config = TrialConfig::resolve(toml::from_str(text).unwrap()).unwrap();
        let data = data::load(&config.data, &DataDirs::at("/nonexistent")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let every = Duration::ZERO;
        Case { config, data, folder, stop: AtomicBool::new(false), every, keep_checkpoints: false }
    }

    /// One that writes hardly a checkpoint but when it is stopped.
    fn rarely(text: &str) -> Case {
        Case { every: Duration::MAX, ..Case::new(text) }
    }

    fn trial(&self) -> TrialFolder {
        TrialFolder::new(self.folder.path())
    }

    fn record(&self) -> TrialRecord {
        TrialRecord::pending(self.config.key(&self.data.fingerprint), 0, &self.config)
    }

    fn prepare(&self) {
        self.trial().prepare(&self.config, &self.record()).unwrap();
    }

    /// Trains in the folder as it is.
    fn run(&self, observer: &mut dyn Observer) -> Outcome {
        let (stop, checkpoint_every, keep_checkpoints) = (&self.stop, self.every, self.keep_checkpoints);
        let interruption = Interruption { stop, checkpoint_every, keep_checkpoints };
        run_in_folder(&self.trial(), &self.config, self.record(), &self.data, interruption, observer).unwrap()
    }

    /// Trains to the end, from what is there.
    fn finish(&self, observer: &mut dyn Observer) -> End {
        self.stop.store(false, SeqCst);
        self.prepare();
        match self.run(observer) {
            Outcome::Ended(record, _) => End::read(&self.trial(), record),
            Outcome::Stopped(_) => panic!("stopped unasked"),
        }
    }

    /// Goes on from what is there, and stops after step `step` of the whole training.
    fn stop_after(&self, step: u64) {
        self.stop.store(false, SeqCst);
        self.prepare();
        let mut steps = Stop { at: step, steps: 0, stop: &self.stop };
        assert!(matches!(self.run(&mut steps), Outcome::Stopped(record) if record.status == Status::Pending));
        assert_eq!(self.trial().read_record().unwrap().status, Status::Pending);
        assert_eq!(steps.steps, step, "stopped after another step than the one it was asked in");
    }
}

/// All that must not depend on interruptions.
#[derive(Debug, PartialEq)]
struct End {
    record: TrialRecord,
    epochs: Vec<EpochRow>,
    weights: Option<Vec<u8>>,
}

impl End {
    fn read(folder: &TrialFolder, record: TrialRecord) -> End {
        assert_eq!(folder.read_record().unwrap(), record);
        let (_, epochs) = folder.read_end().unwrap();
        assert_eq!(epochs.last().map(|row| row.train_seconds), record.train_seconds);
        assert!(epochs.is_sorted_by(|a, b| a.train_seconds < b.train_seconds));
        let weights = fs::read(folder.weights()).ok();
        assert_eq!(weights.is_some(), record.best_epoch.is_some());
        assert_eq!(record.weights_sha256, weights.as_deref().map(fastrcaps::seal::sha256));
        let record = TrialRecord {
            train_seconds: None,
            samples_per_second: None,
            peak_memory_bytes: None,
            started: None,
            ended: None,
            threads: None,
            ..record
        };
        let epochs = epochs.into_iter().map(|row| EpochRow { train_seconds: 0.0, ..row }).collect();
        End { record, epochs, weights }
    }
}

/// Asks to stop in one step.
struct Stop<'a> {
    at: u64,
    steps: u64,
    stop: &'a AtomicBool,
}

impl Observer for Stop<'_> {
    fn step(&mut self, _: &StepReport) {
        self.steps += 1;
        if self.steps == self.at {
            self.stop.store(true, SeqCst);
        }
    }

    fn resumed(&mut self, state: &State) -> Result<()> {
        self.steps = state.steps;
        Ok(())
    }
}

/// Keeps what is said, and does something on each line.
struct Listener<'a> {
    said: Vec<String>,
    resumed: Option<State>,
    act: Box<dyn FnMut(&str) + 'a>,
}

impl<'a> Listener<'a> {
    fn new() -> Listener<'a> {
        Listener::doing(|_| {})
    }

    fn doing(act: impl FnMut(&str) + 'a) -> Listener<'a> {
        Listener { said: Vec::new(), resumed: None, act: Box::new(act) }
    }
}

impl Observer for Listener<'_> {
    fn resumed(&mut self, state: &State) -> Result<()> {
        self.resumed = Some(state.clone());
        Ok(())
    }

    fn say(&mut self, line: &str) {
        self.said.push(line.to_string());
        (self.act)(line);
    }
}

fn resumed_at_every_step(model: &str) {
    let text = format!("{model}\n{SCHEDULE}");
    let whole = Case::rarely(&text);
    let expected = whole.finish(&mut ());
    let steps = expected.epochs.last().unwrap().steps;
    assert_eq!(steps, 12, "48 samples by 9, then twice by 20");
    assert!(!whole.trial().checkpoint().exists());

    // Once at each step, alone.
    for step in 1..=steps {
        let case = Case::rarely(&text);
        case.stop_after(step);
        let mut listener = Listener::new();
        assert_eq!(case.finish(&mut listener), expected, "stopped after step {step}");
        assert_eq!(listener.resumed.unwrap().steps, step);
        assert!(listener.said.is_empty(), "{:?}", listener.said);
        assert!(!case.trial().checkpoint().exists() && !case.trial().previous_checkpoint().exists());
    }

    // At all of them, one after the other; a checkpoint after every step changes nothing either.
    let case = Case::new(&text);
    (1..=steps).for_each(|step| case.stop_after(step));
    assert_eq!(case.finish(&mut ()), expected);
    let case = Case { keep_checkpoints: true, ..Case::new(&text) };
    assert_eq!(case.finish(&mut ()), expected);

    // After the last epoch, with the previous checkpoint, and with none.
    fs::remove_file(case.trial().weights()).unwrap();
    assert_eq!(case.finish(&mut ()), expected);
    fs::write(case.trial().checkpoint(), "torn").unwrap();
    let mut listener = Listener::new();
    assert_eq!(case.finish(&mut listener), expected);
    assert_eq!(listener.said.len(), 1, "{:?}", listener.said);
    assert!(listener.said[0].contains("checkpoint.safetensors cannot be used"), "{:?}", listener.said);
    assert!(listener.resumed.is_some());
    for path in [case.trial().checkpoint(), case.trial().previous_checkpoint()] {
        fs::write(path, "torn").unwrap();
    }
    let mut listener = Listener::new();
    assert_eq!(case.finish(&mut listener), expected);
    assert!(listener.resumed.is_none());
    assert!(listener.said.last().unwrap().contains("begins anew"), "{:?}", listener.said);
    assert_eq!(listener.said.len(), 3);
}

#[test]
fn a_capsule_network_resumed_at_any_step_comes_to_the_same_bits() {
    resumed_at_every_step(CAPSNET);
}

#[test]
fn a_lenet_resumed_at_any_step_comes_to_the_same_bits() {
    resumed_at_every_step(LENET);
}

#[test]
fn a_training_that_diverges_does_so_in_the_same_words_when_it_was_resumed() {
    let schedule = "[data]\ntrain_samples = 60\ntest_samples = 12\nvalidation_fraction = 0.2\n[schedule]\n\
                    lr = { policy = 'fixed', rate = 0.3 }\nbatch = { policy = 'fixed', size = 9 }\n";
    let text = format!("{LENET}\n{schedule}");
    let expected = Case::rarely(&text).finish(&mut ());
    assert_eq!((expected.record.status, expected.record.fault), (Status::Diverged, Some(Fault::Configuration)));
    let error = expected.record.error.as_ref().unwrap();
    assert!(error.contains("the mean loss rose to"), "{error}");
    for step in 1..=6 {
        let case = Case::rarely(&text);
        case.stop_after(step);
        assert_eq!(case.finish(&mut ()), expected, "stopped after step {step}");
        assert!(!case.trial().checkpoint().exists());
    }
}

#[test]
fn training_time_of_before_counts_and_of_lost_steps_does_not() {
    let case = Case::new(&format!("{CAPSNET}\n{SCHEDULE}"));
    case.stop_after(8);
    let before = Checkpoint::read(&case.trial().checkpoint()).unwrap().state;
    assert_eq!((before.steps, before.epochs.len()), (8, 1));
    let mut listener = Listener::new();
    case.finish(&mut listener);
    assert_eq!(listener.resumed, Some(before.clone()));
    let epochs = case.trial().read_epochs().unwrap();
    assert_eq!(epochs[0], before.epochs[0], "the first epoch was over already");
    assert!(epochs[1].train_seconds > before.clock.as_secs_f64());
}

#[test]
fn a_checkpoint_of_another_trial_network_or_version_is_refused_in_words() {
    let text = format!("{CAPSNET}\n{SCHEDULE}");
    let case = Case::new(&text);
    case.stop_after(3);
    let checkpoint = Checkpoint::read(&case.trial().checkpoint()).unwrap();
    let of_another = Checkpoint { key: "0123456789abcdef".into(), ..checkpoint.clone() };
    let mut narrow = checkpoint.weights.tensors().clone();
    let (name, values) = narrow.pop_last().unwrap();
    let mut missing = Checkpoint { weights: narrow.clone().into(), ..checkpoint.clone() };
    narrow.insert(name, Tensor::zeros(values.elem_count() + 1, DType::F32, &Device::Cpu).unwrap());
    let of_other_shape = Checkpoint { best: narrow.into(), ..checkpoint.clone() };
    let mut moments = checkpoint.optimizer.clone();
    moments.1.pop_first();
    let without_moments = Checkpoint { optimizer: moments, ..checkpoint.clone() };
    missing.state.steps = 1;
    let refused = [
        (of_another, "it is of trial 0123456789abcdef"),
        (missing, "it holds no"),
        (of_other_shape, "but the network's is"),
        (without_moments, "holds no moments of"),
    ];
    let expected = Case::new(&text).finish(&mut ());
    for (checkpoint, words) in refused {
        let case = Case::new(&text);
        checkpoint.write(&case.trial()).unwrap();
        let mut listener = Listener::new();
        assert_eq!(case.finish(&mut listener), expected);
        assert!(listener.said[0].contains(words), "{:?} without {words}", listener.said);
        assert!(listener.resumed.is_none());
    }
}

/// A checkpoint of three variables, of which one is a number and one has no values.
pub fn small_checkpoint() -> Checkpoint {
    let tensor = |values: &[f32], shape: &[usize]| Tensor::from_slice(values, shape, &Device::Cpu).unwrap();
    let weights = |of: f32| {
        let tensors = [("a.weight", tensor(&[of, -0.0, f32::NAN, 1e-40], &[2, 2])), ("b", tensor(&[of], &[]))];
        Snapshot::from(BTreeMap::from(tensors.map(|(name, tensor)| (name.to_string(), tensor))))
    };
    let epoch = EpochRow {
        epoch: 1,
        learning_rate: 0.1 + 0.2,
        batch_size: 3,
        train_loss: f64::NAN,
        train_accuracy: 0.5,
        validation_loss: f64::INFINITY,
        validation_accuracy: 1.0 / 3.0,
        train_seconds: 1e-300,
        samples: 4,
        steps: 2,
    };
    let state = State {
        epochs: vec![epoch],
        best: Some((1, 1.0 / 3.0)),
        clock: Duration::new(3, 999_999_999),
        samples: 6,
        steps: 3,
        first_loss: Some(2.0 / 3.0),
        sums: Sums { seen: 2, correct: 1, loss: 0.7 },
        peak_memory_bytes: Some(1 << 40),
    };
    let moments = BTreeMap::from([("b".to_string(), tensor(&[0.25, 0.5], &[2, 1]))]);
    Checkpoint { key: "00".into(), state, weights: weights(1.5), best: weights(-1.5), optimizer: (3, moments) }
}

/// Everything that a checkpoint says, to the bit.
fn said(checkpoint: &Checkpoint) -> String {
    let Checkpoint { key, state, weights, best, optimizer } = checkpoint;
    let bits = |tensors: &BTreeMap<String, Tensor>| {
        let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let bits = |tensor: &Tensor| values(tensor).into_iter().map(f32::to_bits).collect::<Vec<_>>();
        tensors
            .iter()
            .map(|(name, tensor)| format!("{name} {:?} {:?}", tensor.dims(), bits(tensor)))
            .collect::<Vec<_>>()
    };
    let parts = [weights.tensors(), best.tensors(), &optimizer.1].map(bits);
    format!("{key} {state:?} {} {parts:?}", optimizer.0)
}

#[test]
fn no_damage_to_a_checkpoint_makes_another_one_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let trial = TrialFolder::new(folder.path());
    let checkpoint = small_checkpoint();
    checkpoint.write(&trial).unwrap();
    let bytes = fs::read(trial.checkpoint()).unwrap();
    let expected = said(&checkpoint);
    assert_eq!(said(&Checkpoint::from_bytes(&bytes).unwrap()), expected);
    for length in 0..bytes.len() {
        assert!(Checkpoint::from_bytes(&bytes[..length]).is_err(), "cut to {length} of {} bytes", bytes.len());
    }
    let mut refused = 0;
    let mut check = |damaged: &[u8], what: &dyn Fn() -> String| match Checkpoint::from_bytes(damaged) {
        Ok(read) => assert_eq!(said(&read), expected, "{}", what()),
        Err(_) => refused += 1,
    };
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        for bit in 0..8 {
            damaged[at] = bytes[at] ^ (1 << bit);
            check(&damaged, &|| format!("byte {at} bit {bit}"));
        }
        for value in [0, 0xff, b'9', b'"', b' '].into_iter().filter(|value| *value != bytes[at]) {
            damaged[at] = value;
            check(&damaged, &|| format!("byte {at} is {value}"));
        }
        let mut swapped = bytes.clone();
        swapped.rotate_left(at);
        if swapped != bytes {
            check(&swapped, &|| format!("rotated by {at}"));
        }
        check(&[&bytes[..at], &bytes[at + 1..]].concat(), &|| format!("without byte {at}"));
        check(&[&bytes[..at], &[7][..], &bytes[at..]].concat(), &|| format!("another byte before {at}"));
    }
    assert!(refused > 15 * bytes.len() - 500, "{refused} of {} bytes' damages were refused", bytes.len());
}

#[test]
fn another_version_of_the_format_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let trial = TrialFolder::new(folder.path());
    small_checkpoint().write(&trial).unwrap();
    // Rewritten with a checksum of its own, as another version's program would have.
    let mut tensors: BTreeMap<_, _> =
        candle_core::safetensors::load(trial.checkpoint(), &Device::Cpu).unwrap().into_iter().collect();
    let text = String::from_utf8(tensors["state"].to_vec1::<u8>().unwrap()).unwrap();
    let text = text.replace("\"version\":1", "\"version\":9");
    let state = Tensor::from_slice(text.as_bytes(), text.len(), &Device::Cpu).unwrap();
    tensors.insert("state".into(), state);
    tensors.remove("sha256");
    let sum = fastrcaps::train::checkpoint::hash(&tensors).unwrap();
    tensors.insert("sha256".into(), Tensor::from_slice(&sum, sum.len(), &Device::Cpu).unwrap());
    candle_core::safetensors::save(&tensors.into_iter().collect(), trial.checkpoint()).unwrap();
    let error = Checkpoint::read(&trial.checkpoint()).unwrap_err().to_string();
    assert!(error.contains("version 9") && error.contains("reads 1"), "{error}");
}

#[test]
fn a_checkpoint_that_cannot_be_written_is_told_once_and_the_training_goes_on() {
    let text = format!("{CAPSNET}\n{SCHEDULE}");
    let expected = Case::new(&text).finish(&mut ());
    let case = Case { keep_checkpoints: true, ..Case::new(&text) };
    fs::create_dir_all(case.trial().previous_checkpoint().join("in the way")).unwrap();
    let mut listener = Listener::new();
    assert_eq!(case.finish(&mut listener), expected);
    // Told of as it is found; and once when the first cannot become the previous one.
    let [found, anew, failing] = &listener.said[..] else { panic!("{:?}", listener.said) };
    assert!(found.contains("cannot be used") && anew.contains("begins anew"), "{found} {anew}");
    assert!(failing.contains("warning: no checkpoint: cannot write"), "{failing}");
    let left: HashSet<_> = fs::read_dir(case.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 6, "a temporary file is left: {left:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_training_without_room_for_an_epoch_waits_for_room_or_for_being_stopped() {
    let text = format!("{CAPSNET}\n{SCHEDULE}");
    let expected = Case::new(&text).finish(&mut ());
    let fill = |case: &Case| {
        case.prepare();
        std::os::unix::fs::symlink("/dev/full", case.trial().epochs()).unwrap();
    };
    // A device that is always full stands for the disk; whoever makes room takes it away.
    let case = Case::rarely(&text);
    fill(&case);
    let mut listener = Listener::doing(|line| {
        if line.starts_with("warning:") {
            fs::remove_file(case.trial().epochs()).unwrap();
        }
    });
    let Outcome::Ended(record, _) = case.run(&mut listener) else { panic!("stopped unasked") };
    assert_eq!(End::read(&case.trial(), record), expected);
    let said = listener.said.clone();
    assert!(said[0].contains("until there is room") && said[1].contains("there is room again"), "{said:?}");
    assert_eq!(said.len(), 2);

    let case = Case::new(&text);
    fill(&case);
    let mut listener = Listener::doing(|_| case.stop.store(true, SeqCst));
    assert!(matches!(case.run(&mut listener), Outcome::Stopped(_)));
    drop(listener);
    fs::remove_file(case.trial().epochs()).unwrap();
    assert_eq!(case.finish(&mut ()), expected);
}

#[test]
fn no_damage_to_the_epochs_of_a_trial_makes_other_ones_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let trial = TrialFolder::new(folder.path());
    let row = |epoch: usize| {
        let train_loss = if epoch == 2 { f64::INFINITY } else { 1.0 / epoch as f64 };
        EpochRow { epoch, train_loss, validation_loss: 0.5, ..small_checkpoint().state.epochs[0].clone() }
    };
    let rows: Vec<EpochRow> = (1..=3).map(row).collect();
    rows.iter().for_each(|row| trial.append_epoch(row).unwrap());
    let bytes = fs::read(trial.epochs()).unwrap();
    let appended = bytes.clone();
    trial.write_epochs(&rows).unwrap();
    assert_eq!(fs::read(trial.epochs()).unwrap(), appended, "written at once as written one by one");
    assert_eq!(trial.read_epochs().unwrap(), rows);
    let read = |bytes: &[u8]| {
        // A new file, as some file systems sync one that is cut and written again.
        let _ = fs::remove_file(trial.epochs());
        fs::write(trial.epochs(), bytes).unwrap();
        trial.read_epochs()
    };
    for length in 0..bytes.len() {
        let left = read(&bytes[..length]).unwrap();
        assert_eq!(left, rows[..left.len()], "cut to {length} bytes");
        assert!(left.len() < rows.len());
        // The next writer cuts what is torn.
        if length % 11 == 0 {
            trial.append_epoch(&row(9)).unwrap();
            assert_eq!(trial.read_epochs().unwrap(), [left, vec![row(9)]].concat());
        }
    }
    let mut refused = 0;
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            match read(&damaged) {
                Ok(left) => assert_eq!(left, rows[..left.len()], "byte {at} bit {bit}"),
                Err(error) => {
                    let words = format!("{error:#}");
                    assert!(words.contains("is damaged") || words.contains("cannot read"), "{words}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused >= 8 * (bytes.len() - 1), "{refused} of {} flips were refused", 8 * bytes.len());
}

/// A training of 630 steps in `my.toml`: enough to be interrupted before its end.
fn with_config() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("{CAPSNET}\n{}", SCHEDULE.replace("size = 20", "size = 3").replace("epochs = 3", "epochs = 40"));
    fs::write(folder.path().join("my.toml"), text).unwrap();
    folder
}

/// What a training left in `trained` of `folder`.
fn end_of(folder: &Path, trained: &str) -> End {
    let trial = TrialFolder::new(folder.join(trained));
    let record = trial.read_record().unwrap();
    End::read(&trial, record)
}

/// `arguments` in `folder`, with a checkpoint after every step.
fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = program();
    command.current_dir(folder).args(arguments).args(["--checkpoint-every", "0s", "--threads", "1"]);
    command
}

/// Starts a command, and waits until it has written checkpoints in `trial`, or has ended.
fn start(trial: &TrialFolder, mut command: Command) -> Child {
    let _ = fs::remove_file(trial.previous_checkpoint());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    while !trial.previous_checkpoint().exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

/// Those of `signals` that whoever started the tests does not ignore.
fn heard<const N: usize>(signals: [Signal; N]) -> impl Iterator<Item = Signal> {
    signals.into_iter().filter(|signal| !machine::is_ignored(signal.as_raw()))
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn a_training_that_is_killed_again_and_again_comes_to_the_same_bits() {
    let folder = with_config();
    let path = folder.path();
    succeed(path, &["train", "my.toml", "--out", "whole", "--quiet"]);
    let trial = TrialFolder::new(path.join("killed"));
    let mut resume = &[][..];
    for attempt in 0..6 {
        let arguments = ["train", "my.toml", "--out", "killed", "--quiet"];
        let mut child = start(&trial, command(path, &[&arguments[..], resume].concat()));
        std::thread::sleep(Duration::from_millis(7 * attempt));
        child.kill().unwrap();
        child.wait().unwrap();
        if trial.read_record().unwrap().status.is_final() {
            break;
        }
        resume = &["--resume"][..];
    }
    if !trial.read_record().unwrap().status.is_final() {
        let said = refuse(path, &["train", "my.toml", "--out", "killed"]);
        assert!(
            said.contains("interrupted training") && said.contains("--resume") && said.contains("--force"),
            "{said}"
        );
        fs::write(path.join("other.toml"), format!("seed = 1\n{}", fs::read_to_string(path.join("my.toml")).unwrap()))
            .unwrap();
        let said = refuse(path, &["train", "other.toml", "--out", "killed", "--resume"]);
        assert!(said.contains("this configuration and its data"), "{said}");
        succeed(path, &["train", "my.toml", "--out", "killed", "--quiet", "--resume"]);
    }
    assert_eq!(end_of(path, "killed"), end_of(path, "whole"));
    let names = fs::read_dir(path.join("killed")).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with(['.', 'c'])).collect();
    assert_eq!(left, ["config.toml"], "neither checkpoints nor temporary files stay");
    assert!(refuse(path, &["train", "my.toml", "--out", "killed", "--resume"]).contains("nothing to continue"));
    assert!(refuse(path, &["train", "my.toml", "--out", "absent", "--resume"]).contains("no training to continue"));
    assert!(!path.join("absent").exists());
}

#[test]
fn a_training_stopped_by_a_signal_names_the_command_that_continues_it() {
    let folder = with_config();
    let path = folder.path();
    succeed(path, &["train", "my.toml", "--out", "whole", "--quiet"]);
    let trial = TrialFolder::new(path.join("it's stopped"));
    let mut next = command(path, &["train", "my.toml", "--out", "it's stopped", "--quiet"]);
    for signal in heard([Signal::TERM, Signal::INT, Signal::HUP]) {
        let child = start(&trial, next);
        send(&child, signal);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(130), "{said}");
        let continuing = said.lines().last().unwrap().trim();
        assert!(continuing.contains("'it'\\''s stopped'") && continuing.ends_with("--resume"), "{continuing}");
        next = Command::new("sh");
        next.current_dir(path).args(["-c", &format!("exec {continuing}")]);
    }
    succeed(path, &["train", "my.toml", "--out", "it's stopped", "--quiet", "--resume"]);
    assert_eq!(end_of(path, "it's stopped"), end_of(path, "whole"));
}

#[test]
#[cfg(target_os = "linux")]
fn a_training_that_is_to_ignore_the_end_of_its_terminal_goes_on_after_it() {
    let folder = with_config();
    let trial = TrialFolder::new(folder.path().join("long"));
    let mut command = Command::new("sh");
    let started = format!(
        "trap '' HUP; exec '{}' train my.toml --out long --quiet --checkpoint-every 30ms --threads 1",
        program().get_program().to_str().unwrap()
    );
    command.current_dir(folder.path()).args(["-c", &started]);
    let child = start(&trial, command);
    send(&child, Signal::HUP);
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(trial.read_record().unwrap().status, Status::Done);
}

#[test]
fn a_trial_stops_with_a_checkpoint_when_its_explorer_says_so_or_a_signal_comes() {
    let text = fs::read_to_string(with_config().path().join("my.toml")).unwrap();
    let expected = Case::rarely(&text).finish(&mut ());
    let case = Case::rarely(&text);
    let folder = case.folder.path().to_str().unwrap();
    let arguments = ["run-trial", folder, "--end-with-stdin"];
    let mut last = 0;
    for signal in std::iter::once(None).chain(heard([Signal::TERM, Signal::INT]).map(Some)) {
        case.prepare();
        let mut child = start(&case.trial(), command(case.folder.path(), &arguments));
        match signal {
            Some(signal) => send(&child, signal),
            None => child.stdin.as_mut().unwrap().write_all(b"s").unwrap(),
        }
        // Its standard input stays open until it has ended.
        let mut input = child.stdin.take();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(STOPPED), "{}", String::from_utf8_lossy(&output.stderr));
        input.take();
        assert_eq!(case.trial().read_record().unwrap().status, Status::Pending);
        let steps = Checkpoint::read(&case.trial().checkpoint()).unwrap().state.steps;
        assert!(steps > last, "{steps} after {last}");
        last = steps;
    }
    // With the explorer gone it ends at once; from what it leaves, the training goes on too.
    case.prepare();
    let mut child = start(&case.trial(), command(case.folder.path(), &arguments));
    drop(child.stdin.take());
    assert!(matches!(child.wait().unwrap().code(), Some(1 | 0)));
    let mut listener = Listener::new();
    assert_eq!(case.finish(&mut listener), expected);
    assert!(listener.resumed.unwrap().steps >= last);
}

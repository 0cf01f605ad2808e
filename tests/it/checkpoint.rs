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
    base::{
        files::{is_unfinished, write_keeping_previous},
        machine,
    },
    learn::{
        config::TrialConfig,
        data::{self, DataDirs, Dataset},
        folder::TrialFolder,
        model::{parameters::Snapshot, tensor_file},
        record::{EpochRow, Fault, Status, TrialRecord},
        train::{
            Observer, StepReport,
            beginning::Shared,
            checkpoint::{Build, Checkpoint, State, Sums, Unusable},
            run::{Interruption, RunOutcome, run_in_folder},
            session::Foreign,
        },
    },
    search::worker::STOPPED,
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    cli::{program, refuse, succeed},
    facts::Facts,
    skipped::skipped,
};

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

#[test]
fn the_beginning_of_a_training_is_the_shorter_training_where_its_schedule_says_so() {
    let text = |epochs: usize| {
        format!(
            "data = {{ name = 'glyphs', train_samples = 160, test_samples = 40, validation_fraction = 0.2, shift = 1 }}\n\
             model = {{ preset = 'tiny' }}\ntrain = {{ epochs = {epochs} }}\n\
             schedule = {{ lr = {{ policy = 'warm-restarts', period = 2 }}, batch = {{ policy = 'adabatch', phases = [{{ epochs = 1, size = 8 }}, {{ size = 32 }}] }} }}"
        )
    };
    let long = Case::new(&text(5));
    assert_eq!(long.config.schedule.stops(5), [2, 4, 5]);
    let whole = long.finish(&mut ()).epochs;
    for stop in [2, 4] {
        assert_eq!(Case::new(&text(stop)).finish(&mut ()).epochs, whole[..stop]);
    }
}

/// One training in a folder of its own.
struct Case {
    config: TrialConfig,
    data: Dataset,
    folder: TempDir,
    stop: AtomicBool,
    every: Duration,
    keep_checkpoints: bool,
    foreign: Foreign,
}

impl Case {
    fn new(text: &str) -> Case {
        let config = TrialConfig::resolve(toml::from_str(text).unwrap()).unwrap();
        let data = data::load(&config.data, &DataDirs::at("/nonexistent")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let every = Duration::ZERO;
        Case {
            config,
            data,
            folder,
            stop: AtomicBool::new(false),
            every,
            keep_checkpoints: false,
            foreign: Foreign::SetAside,
        }
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
    fn run(&self, observer: &mut dyn Observer) -> RunOutcome {
        self.try_run(observer).unwrap()
    }

    fn try_run(&self, observer: &mut dyn Observer) -> Result<RunOutcome> {
        let (stop, checkpoint_every, keep_checkpoints) = (&self.stop, self.every, self.keep_checkpoints);
        let foreign = self.foreign;
        let interruption =
            Interruption { stop, checkpoint_every, keep_checkpoints, foreign, shared: Shared::default() };
        run_in_folder(&self.trial(), &self.config, self.record(), &self.data, &Device::Cpu, interruption, observer)
    }

    /// Trains to the end, from what is there.
    fn finish(&self, observer: &mut dyn Observer) -> End {
        self.stop.store(false, SeqCst);
        self.prepare();
        match self.run(observer) {
            RunOutcome::Ended(record, _) => End::read(&self.trial(), record),
            RunOutcome::Stopped(..) => panic!("stopped unasked"),
        }
    }

    /// Goes on from what is there, and stops after step `step` of the whole training.
    fn stop_after(&self, step: u64) {
        self.stop.store(false, SeqCst);
        self.prepare();
        let mut steps = Stop { at: step, steps: 0, stop: &self.stop };
        assert!(
            matches!(self.run(&mut steps), RunOutcome::Stopped(record, Some(kept)) if record.status == Status::Pending && kept == step)
        );
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
        let (_, epochs) = folder.read_end(&record.key).unwrap().unwrap();
        assert_eq!(epochs.last().map(|row| row.train_seconds_screen), record.train_seconds_screen);
        assert!(epochs.is_sorted_by(|a, b| a.train_seconds_screen < b.train_seconds_screen));
        let weights = fs::read(folder.weights()).ok();
        assert_eq!(weights.is_some(), record.best_epoch.is_some());
        assert_eq!(record.weights_sha256, weights.as_deref().map(fastrcaps::base::seal::sha256));
        let record = TrialRecord {
            train_seconds_screen: None,
            samples_per_second: None,
            peak_memory_bytes: None,
            started: None,
            ended: None,
            threads: None,
            attempts: 0,
            ..record
        };
        let epochs = epochs.into_iter().map(|row| EpochRow { train_seconds_screen: 0.0, ..row }).collect();
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

fn resumed_at_every_step(model: &str, schedule: &str) {
    // 48 samples by 9, then twice by 20.
    resumed_at_every_step_of(12, model, schedule);
}

fn resumed_at_every_step_of(of: u64, model: &str, schedule: &str) {
    let text = format!("{model}\n{SCHEDULE}{schedule}");
    let whole = Case::rarely(&text);
    let expected = whole.finish(&mut ());
    let steps = expected.epochs.last().unwrap().steps;
    assert_eq!(steps, of);
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
    listener.said[0].names([case.trial().checkpoint().display().to_string()]);
    assert!(listener.resumed.is_some());
    for path in [case.trial().checkpoint(), case.trial().previous_checkpoint()] {
        fs::write(path, "torn").unwrap();
    }
    let mut listener = Listener::new();
    assert_eq!(case.finish(&mut listener), expected);
    assert!(listener.resumed.is_none());
    // A line for each checkpoint, and one on what it does now.
    let [newest, previous, _] = &listener.said[..] else { panic!("{:?}", listener.said) };
    newest.names([case.trial().checkpoint().display().to_string()]);
    previous.names([case.trial().previous_checkpoint().display().to_string()]);
}

#[test]
fn a_capsule_network_resumed_at_any_step_comes_to_the_same_bits() {
    resumed_at_every_step(CAPSNET, "");
}

#[test]
fn a_capsule_network_whose_steps_leave_ever_more_out_resumed_at_any_step_comes_to_the_same_bits() {
    let schedule = "routing = { phases = [{ until = 0.5, iterations = 1 }, {}] }\n\
                    reconstruction = { every = 2, until = 0.9 }\nfreeze = { conv1 = 0.4, primary = 0.7 }\n";
    resumed_at_every_step(CAPSNET, schedule);
}

#[test]
fn a_training_whose_epochs_choose_their_samples_resumed_at_any_step_comes_to_the_same_bits() {
    // All samples by 9, 29 of them by 20, and all by 20.
    resumed_at_every_step_of(11, CAPSNET, "samples = { share = 0.6, after = 1, full_every = 2 }\n");
}

#[test]
fn a_lenet_resumed_at_any_step_comes_to_the_same_bits() {
    resumed_at_every_step(LENET, "");
}

#[test]
fn a_training_by_another_optimizer_or_with_an_average_comes_to_the_same_bits_when_it_was_resumed() {
    for (model, train) in [
        (CAPSNET, "optimizer = { kind = 'adamw', weight_decay = 0.1 }\nema = { decay = 0.9 }"),
        (CAPSNET, "optimizer = { kind = 'sgd' }\nema = { decay = 0.5 }"),
        (CAPSNET, "optimizer = { kind = 'muon', weight_decay = 0.1 }"),
        (LENET, "optimizer = { kind = 'muon' }\nema = { decay = 0.9 }"),
    ] {
        let text = format!("{model}\n{SCHEDULE}").replace("epochs = 3\n", &format!("epochs = 3\n{train}\n"));
        let case = Case::rarely(&text);
        assert_eq!(case.config.train.ema.is_some(), train.contains("ema"));
        let expected = case.finish(&mut ());
        for step in [1, 4, 6, 9, 12] {
            let case = Case::rarely(&text);
            case.stop_after(step);
            let mut listener = Listener::new();
            assert_eq!(case.finish(&mut listener), expected, "{train} stopped after step {step}");
            assert!(listener.said.is_empty(), "{:?}", listener.said);
        }
    }
}

#[test]
fn a_schedule_free_training_resumed_at_any_step_comes_to_the_same_bits() {
    // Over its warm-up the steps weigh more and more.
    let rate = "lr = { policy = 'fixed', rate = 1e-2 }\nwarmup_epochs = 1.5\n";
    let train = "epochs = 3\noptimizer = { kind = 'schedule-free', weight_decay = 0.1 }\n";
    let schedule = SCHEDULE.replace("epochs = 3\n", train);
    let schedule = schedule.replace("lr = { policy = 'warm-restarts', period = 'batch-phase' }\n", rate);
    let text = format!("{CAPSNET}\n{schedule}");
    let expected = Case::rarely(&text).finish(&mut ());
    for step in 1..=expected.epochs.last().unwrap().steps {
        let case = Case::rarely(&text);
        case.stop_after(step);
        let squares = Checkpoint::read(&case.trial().checkpoint()).unwrap().squares.unwrap();
        let steps = (0..3).flat_map(|epoch| case.config.schedule.epoch_steps(epoch, 3, 48));
        let rates = steps.take(step as usize).map(|step| step.learning_rate * step.learning_rate);
        assert_eq!(squares, rates.sum::<f64>());
        let mut listener = Listener::new();
        assert_eq!(case.finish(&mut listener), expected, "stopped after step {step}");
        assert!(listener.said.is_empty(), "{:?}", listener.said);
    }
    // Without its sum a checkpoint is of no such training.
    let case = Case::rarely(&text);
    case.stop_after(4);
    let checkpoint = Checkpoint { squares: None, ..Checkpoint::read(&case.trial().checkpoint()).unwrap() };
    checkpoint.write(&case.trial(), false).unwrap();
    let mut listener = Listener::new();
    case.finish(&mut listener);
    listener.said[0].names(["rates"]);
}

#[test]
fn an_efficient_capsnet_resumed_after_any_batch_comes_to_the_same_bits() {
    let text = "model = { kind = 'efficient-capsnet', decoder_hidden = [8, 8] }
[data]
train_samples = 60
test_samples = 12
validation_fraction = 0.2
[train]
epochs = 2
ema = { decay = 0.5 }
[schedule]
batch = { policy = 'adabatch', phases = [{ epochs = 1, size = 47 }, { size = 48 }] }
";
    let expected = Case::rarely(text).finish(&mut ());
    assert_eq!(expected.epochs.last().unwrap().steps, 3, "47 samples and one, then 48 at once");
    for step in [1, 2] {
        let case = Case::rarely(text);
        case.stop_after(step);
        let mut listener = Listener::new();
        assert_eq!(case.finish(&mut listener), expected, "stopped after step {step}");
        assert_eq!(listener.resumed.unwrap().steps, step);
        assert!(listener.said.is_empty(), "{:?}", listener.said);
    }
}

#[test]
fn a_training_that_diverges_does_so_with_the_same_record_when_it_was_resumed() {
    let schedule = "[data]\ntrain_samples = 60\ntest_samples = 12\nvalidation_fraction = 0.2\n[schedule]\n\
                    lr = { policy = 'fixed', rate = 0.3 }\nbatch = { policy = 'fixed', size = 9 }\n";
    let text = format!("{LENET}\n{schedule}");
    let expected = Case::rarely(&text).finish(&mut ());
    assert_eq!((expected.record.status, expected.record.fault), (Status::Diverged, Some(Fault::Configuration)));
    assert!(expected.record.error.is_some());
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
    let before = Checkpoint::read(&case.trial().checkpoint()).unwrap();
    // Two more steps, which take an hour each, and are lost: the checkpoint after them is torn.
    case.stop_after(10);
    let mut lost = Checkpoint::read(&case.trial().checkpoint()).unwrap();
    lost.state.clock += Duration::from_secs(7200);
    before.write(&case.trial(), false).unwrap();
    lost.write(&case.trial(), false).unwrap();
    fs::File::options().write(true).open(case.trial().checkpoint()).unwrap().set_len(1000).unwrap();
    let before = before.state;
    assert_eq!((before.steps, before.epochs.len()), (8, 1));
    let mut listener = Listener::new();
    case.finish(&mut listener);
    assert_eq!(listener.resumed, Some(before.clone()));
    let epochs = case.trial().read_epochs().unwrap();
    assert_eq!(epochs[0], before.epochs[0], "the first epoch was over already");
    assert!(epochs[1].train_seconds_screen > before.clock.as_secs_f64());
    assert!(epochs[2].train_seconds_screen < 7200.0, "time of lost steps was counted");
}

#[test]
fn a_checkpoint_of_another_trial_or_network_is_refused_with_what_differs_and_kept() {
    let text = format!("{CAPSNET}\n{SCHEDULE}");
    let case = Case::new(&text);
    case.stop_after(3);
    let checkpoint = Checkpoint::read(&case.trial().checkpoint()).unwrap();
    let of_another = Checkpoint { key: "0123456789abcdef".into(), ..checkpoint.clone() };
    let mut narrow = checkpoint.weights.tensors().clone();
    let (name, values) = narrow.pop_last().unwrap();
    let last_name = name.clone();
    let mut missing = Checkpoint { weights: narrow.clone().into(), ..checkpoint.clone() };
    narrow.insert(name, Tensor::zeros(values.elem_count() + 1, DType::F32, &Device::Cpu).unwrap());
    let of_other_shape = Checkpoint { best: narrow.into(), ..checkpoint.clone() };
    let mut moments = checkpoint.optimizer.clone();
    moments.1.pop_first();
    let without_moments = Checkpoint { optimizer: moments, ..checkpoint.clone() };
    let mut moments = checkpoint.optimizer.clone();
    moments.1.values_mut().for_each(|of| *of = of.narrow(0, 0, 1).unwrap());
    let of_another_optimizer = Checkpoint { optimizer: moments, ..checkpoint.clone() };
    let with_average = Checkpoint { average: checkpoint.weights.clone(), ..checkpoint.clone() };
    let with_squares = Checkpoint { squares: Some(1.), ..checkpoint.clone() };
    let with_losses = Checkpoint { losses: checkpoint.weights.clone(), ..checkpoint.clone() };
    missing.state.steps = 1;
    let mut of_no_step = checkpoint.clone();
    of_no_step.state.sums.seen = 17;
    let (first, last) = (checkpoint.optimizer.1.keys().next().unwrap().as_str(), last_name.as_str());
    let shape = format!("{:?}", values.dims());
    let other_shape = format!("[{}]", values.elem_count() + 1);
    let refused = [
        (of_another, vec!["0123456789abcdef"]),
        (missing, vec![last]),
        (of_other_shape, vec![last, &other_shape, &shape]),
        (without_moments, vec![first]),
        (of_another_optimizer, vec!["moments"]),
        (with_average, vec!["average"]),
        (with_squares, vec!["rates"]),
        (with_losses, vec!["losses"]),
        (of_no_step, vec!["17", "epoch 1"]),
    ];
    let expected = Case::new(&text).finish(&mut ());
    for (checkpoint, facts) in refused {
        let case = Case::new(&text);
        checkpoint.write(&case.trial(), false).unwrap();
        let mut listener = Listener::new();
        assert_eq!(case.finish(&mut listener), expected);
        listener.said[0].names(&facts);
        assert!(listener.resumed.is_none());
        // Whoever it belongs to has it still.
        let aside = case.folder.path().join("checkpoint.safetensors.unusable");
        assert_eq!(said(&Checkpoint::read(&aside).unwrap()), said(&checkpoint));
        let case = Case { foreign: Foreign::Refuse, ..Case::new(&text) };
        checkpoint.write(&case.trial(), false).unwrap();
        let error = case.try_run(&mut ()).err().unwrap();
        assert!(matches!(error.downcast_ref(), Some(Unusable::Foreign(_))), "{error:#}");
        format!("{error:#}").names(&facts);
        assert_eq!(said(&Checkpoint::read(&case.trial().checkpoint()).unwrap()), said(&checkpoint));
    }
}

#[test]
fn a_checkpoint_that_cannot_be_read_is_neither_removed_nor_begun_anew_from() {
    let text = format!("{CAPSNET}\n{SCHEDULE}");
    let case = Case::new(&text);
    case.stop_after(5);
    let (newest, previous) = (case.trial().checkpoint(), case.trial().previous_checkpoint());
    let kept = case.folder.path().join("kept");
    fs::rename(&newest, &kept).unwrap();
    // Reading a folder fails as a broken disk does: nothing is known of what is there.
    fs::create_dir(&newest).unwrap();
    let mut listener = Listener::new();
    case.prepare();
    case.stop.store(true, SeqCst);
    assert!(matches!(case.run(&mut listener), RunOutcome::Stopped(_, Some(5))), "four steps, and one more");
    assert_eq!(listener.resumed.unwrap().steps, 4, "it goes on from the one before");
    assert!(case.folder.path().join("checkpoint.safetensors.unusable").is_dir());

    fs::remove_file(&previous).ok();
    fs::remove_file(&newest).unwrap();
    fs::create_dir(&newest).unwrap();
    let mut listener = Listener::new();
    let error = case.try_run(&mut listener).err().unwrap();
    let is_folder = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::IsADirectory;
    assert!(error.chain().any(|cause| cause.downcast_ref().is_some_and(is_folder)), "{error:#}");
    format!("{error:#}").names([newest.display().to_string()]);
    assert!(newest.is_dir() && listener.resumed.is_none());
}

#[test]
fn a_training_that_another_build_goes_on_with_is_told_that_bits_may_differ() {
    let case = Case::new(&format!("{CAPSNET}\n{SCHEDULE}"));
    case.stop_after(3);
    let mut checkpoint = Checkpoint::read(&case.trial().checkpoint()).unwrap();
    checkpoint.build.vector_width = Some(3);
    checkpoint.write(&case.trial(), false).unwrap();
    let mut listener = Listener::new();
    case.finish(&mut listener);
    assert_eq!(listener.said.len(), 1, "{:?}", listener.said);
    listener.said[0].names(["3 floats", "bits"]);
    assert!(listener.resumed.is_some());
}

#[test]
fn a_training_whose_checkpoints_are_kept_has_one_at_its_end() {
    let text = format!("{CAPSNET}\n{SCHEDULE}");
    let case = Case { keep_checkpoints: true, ..Case::rarely(&text) };
    let end = case.finish(&mut ());
    let checkpoint = Checkpoint::read(&case.trial().checkpoint()).unwrap();
    assert_eq!(checkpoint.state.steps, end.epochs.last().unwrap().steps);
    assert_eq!(case.finish(&mut ()), end);
}

#[test]
fn a_training_that_is_stopped_without_a_checkpoint_says_so() {
    let case = Case::new(&format!("{CAPSNET}\n{SCHEDULE}"));
    case.prepare();
    // A folder with something in it is in the way of the first and of its successor.
    let mut listener = InTheWay { trial: case.trial(), stop: &case.stop, said: Vec::new() };
    assert!(matches!(case.run(&mut listener), RunOutcome::Stopped(_, None)));
    let [warning] = &listener.said[..] else { panic!("{:?}", listener.said) };
    warning.names(["warning", "checkpoint", case.trial().checkpoint().to_str().unwrap()]);
}

#[test]
fn checkpoints_that_cost_more_than_a_hundredth_of_the_training_are_put_off() {
    struct Count(usize);
    impl Observer for Count {
        fn kept(&mut self, _: u64) {
            self.0 += 1;
        }
    }
    let case = Case { every: Duration::from_nanos(1), ..Case::new(&format!("{CAPSNET}\n{SCHEDULE}")) };
    let mut kept = Count(0);
    let end = case.finish(&mut kept);
    assert!(kept.0 < end.epochs.last().unwrap().steps as usize, "{} checkpoints", kept.0);
}

#[test]
#[cfg(target_os = "linux")]
fn a_trial_that_may_not_run_on_its_cores_runs_on_others_and_says_so() {
    let error = machine::pin_to(&[1000]).unwrap_err();
    assert!(error.chain().any(|cause| cause.is::<std::io::Error>()), "{error:#}");
    let case = Case::new(&format!("{CAPSNET}\n{SCHEDULE}"));
    case.prepare();
    let folder = case.folder.path();
    let output = command(folder, &["run-trial", folder.to_str().unwrap(), "--cores", "1000"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    said.names(["warning", "[1000]"]);
}

/// Is in the way of every checkpoint from the first step on, in which it asks to stop.
struct InTheWay<'a> {
    trial: TrialFolder,
    stop: &'a AtomicBool,
    said: Vec<String>,
}

impl Observer for InTheWay<'_> {
    fn step(&mut self, _: &StepReport) {
        for path in [self.trial.checkpoint(), self.trial.previous_checkpoint()] {
            fs::create_dir_all(path.join("in the way")).unwrap();
        }
        self.stop.store(true, SeqCst);
    }

    fn say(&mut self, line: &str) {
        self.said.push(line.to_string());
    }
}

#[test]
fn the_start_of_a_training_is_that_of_its_first_sitting() {
    let case = Case::new(&format!("{CAPSNET}\n{SCHEDULE}"));
    case.stop_after(3);
    let mut checkpoint = Checkpoint::read(&case.trial().checkpoint()).unwrap();
    assert!(checkpoint.state.started.is_some());
    checkpoint.state.started = Some("2020-02-02T02:02:02Z".into());
    checkpoint.write(&case.trial(), false).unwrap();
    case.finish(&mut ());
    assert_eq!(case.trial().read_record().unwrap().started.as_deref(), Some("2020-02-02T02:02:02Z"));
}

#[test]
fn where_there_is_no_room_for_a_third_file_the_previous_one_goes_first_if_the_newest_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let [newest, previous] = ["newest", "previous"].map(|name| folder.path().join(name));
    let room = |path: &Path| match previous.exists() {
        true => Err(std::io::Error::from(std::io::ErrorKind::StorageFull).into()),
        false => Ok(fs::write(path, "c")?),
    };
    for is_whole in [false, true] {
        fs::write(&newest, "b").unwrap();
        fs::write(&previous, "a").unwrap();
        let written = write_keeping_previous(&newest, &previous, is_whole, room);
        assert_eq!(written.is_ok(), is_whole);
        let left = [&newest, &previous].map(|path| fs::read_to_string(path).unwrap());
        assert_eq!(left, if is_whole { ["c", "b"] } else { ["b", "a"] });
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn names_of_files_that_were_being_written_are_known() {
    for name in [".writing-a", ".tmpAb3dE9"] {
        assert!(is_unfinished(name), "{name}");
    }
    for name in ["checkpoint.safetensors", ".tmp", ".tmpfiles", ".tmp-a.b", "a.tmpAb3dE9"] {
        assert!(!is_unfinished(name), "{name}");
    }
}

#[test]
fn tensors_are_written_as_the_library_of_safetensors_writes_them() {
    let folder = tempfile::tempdir().unwrap();
    let [ours, theirs] = ["ours", "theirs"].map(|name| folder.path().join(name));
    let mut tensors = small_checkpoint().weights.tensors().clone();
    tensors.insert("\"é\n".into(), Tensor::new(&[1_u32, 2, 3], &Device::Cpu).unwrap());
    tensors.insert("bytes".into(), Tensor::new(&[1_u8, 2, 3], &Device::Cpu).unwrap());
    tensors.insert("none".into(), Tensor::zeros((0, 3), DType::F32, &Device::Cpu).unwrap());
    fs::write(&ours, "").unwrap();
    tensor_file::write(&ours, &tensors).unwrap();
    candle_core::safetensors::save(&tensors.into_iter().collect(), &theirs).unwrap();
    assert_eq!(fs::read(ours).unwrap(), fs::read(theirs).unwrap());
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
        train_seconds_screen: 1e-300,
        samples: 4,
        steps: 2,
    };
    let state = State {
        started: Some("2026-01-01T00:00:00Z".into()),
        epochs: vec![epoch],
        best: Some((1, 1.0 / 3.0)),
        clock: Duration::new(3, 999_999_999),
        samples: 6,
        steps: 3,
        first_loss: Some(2.0 / 3.0),
        sums: Sums { seen: 2, correct: 1, loss: 0.7 },
        peak_memory_bytes: Some(1 << 40),
        shared_epochs: Some(1),
    };
    let moments = BTreeMap::from([("b".to_string(), tensor(&[0.25, 0.5], &[2, 1]))]);
    let optimizer = (3, moments);
    let average = Snapshot::from(BTreeMap::from([("b".to_string(), tensor(&[0.125], &[]))]));
    let losses = [("epoch", tensor(&[], &[0])), ("known", tensor(&[0.5, f32::INFINITY], &[2]))];
    let losses = BTreeMap::from(losses.map(|(name, tensor)| (name.to_string(), tensor)));
    Checkpoint {
        key: "00".into(),
        build: Build::this(None),
        state,
        weights: weights(1.5),
        best: weights(-1.5),
        optimizer,
        squares: Some(0.1 + 0.2),
        average,
        losses: losses.into(),
    }
}

/// Everything that a checkpoint says, to the bit.
fn said(checkpoint: &Checkpoint) -> String {
    let Checkpoint { key, build, state, weights, best, optimizer, squares, average, losses } = checkpoint;
    let bits = |tensors: &BTreeMap<String, Tensor>| {
        let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let bits = |tensor: &Tensor| values(tensor).into_iter().map(f32::to_bits).collect::<Vec<_>>();
        tensors
            .iter()
            .map(|(name, tensor)| format!("{name} {:?} {:?}", tensor.dims(), bits(tensor)))
            .collect::<Vec<_>>()
    };
    let parts = [weights.tensors(), best.tensors(), &optimizer.1, average.tensors(), losses.tensors()].map(bits);
    format!("{key} {build} {state:?} {} {squares:?} {parts:?}", optimizer.0)
}

#[test]
fn no_damage_to_a_checkpoint_makes_another_one_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let trial = TrialFolder::new(folder.path());
    let checkpoint = small_checkpoint();
    checkpoint.write(&trial, false).unwrap();
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
    small_checkpoint().write(&trial, false).unwrap();
    // Rewritten with a checksum of its own, as another version's program would have.
    let mut tensors: BTreeMap<_, _> =
        candle_core::safetensors::load(trial.checkpoint(), &Device::Cpu).unwrap().into_iter().collect();
    let text = String::from_utf8(tensors["state"].to_vec1::<u8>().unwrap()).unwrap();
    let text = text.replace("\"version\":1", "\"version\":9");
    let state = Tensor::from_slice(text.as_bytes(), text.len(), &Device::Cpu).unwrap();
    tensors.insert("state".into(), state);
    tensors.remove("sha256");
    let sum = fastrcaps::learn::train::checkpoint::hash(&tensors).unwrap();
    tensors.insert("sha256".into(), Tensor::from_slice(&sum, sum.len(), &Device::Cpu).unwrap());
    candle_core::safetensors::save(&tensors.into_iter().collect(), trial.checkpoint()).unwrap();
    let error = Checkpoint::read(&trial.checkpoint()).unwrap_err();
    assert!(matches!(error, Unusable::Foreign(_)), "{error:?}");
    error.to_string().names(["version 9", "1"]);
}

#[test]
fn a_checkpoint_that_cannot_be_written_is_told_once_and_the_training_goes_on() {
    let text = format!("{CAPSNET}\n{SCHEDULE}");
    let expected = Case::new(&text).finish(&mut ());
    let case = Case { keep_checkpoints: true, ..Case::new(&text) };
    case.stop_after(1);
    // The first cannot become the previous one.
    fs::create_dir_all(case.trial().previous_checkpoint().join("in the way")).unwrap();
    let mut listener = Listener::new();
    assert_eq!(case.finish(&mut listener), expected);
    let [failing] = &listener.said[..] else { panic!("{:?}", listener.said) };
    failing.names(["warning", case.trial().checkpoint().to_str().unwrap()]);
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
    let RunOutcome::Ended(record, _) = case.run(&mut listener) else { panic!("stopped unasked") };
    assert_eq!(End::read(&case.trial(), record), expected);
    let said = listener.said.clone();
    // That it waits, and that it goes on.
    assert_eq!(said.len(), 2, "{said:?}");
    said[0].names(["warning", "os error 28"]);
    said[1].is_silent_on(["warning"]);

    let case = Case::new(&text);
    fill(&case);
    let mut listener = Listener::doing(|_| case.stop.store(true, SeqCst));
    assert!(matches!(case.run(&mut listener), RunOutcome::Stopped(_, Some(_))));
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
                    format!("{error:#}").names([trial.epochs().display().to_string()]);
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
    signals.into_iter().filter(|signal| {
        let is_ignored = machine::is_ignored(signal.as_raw());
        if is_ignored {
            skipped(format_args!("with {signal:?}, which whoever started the tests ignores"));
        }
        !is_ignored
    })
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
        refuse(path, &["train", "my.toml", "--out", "killed"]).names(["killed", "--resume", "--force"]);
        fs::write(path.join("other.toml"), format!("seed = 1\n{}", fs::read_to_string(path.join("my.toml")).unwrap()))
            .unwrap();
        let said = refuse(path, &["train", "other.toml", "--out", "killed", "--resume"]);
        said.names(["other.toml", &trial.read_record().unwrap().key]);
        succeed(path, &["train", "my.toml", "--out", "killed", "--quiet", "--resume"]);
    }
    assert_eq!(end_of(path, "killed"), end_of(path, "whole"));
    let names = fs::read_dir(path.join("killed")).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with(['.', 'c'])).collect();
    assert_eq!(left, ["config.toml"], "neither checkpoints nor temporary files stay");
    refuse(path, &["train", "my.toml", "--out", "killed", "--resume"]).names(["killed"]);
    assert_eq!(end_of(path, "killed"), end_of(path, "whole"));
    refuse(path, &["train", "my.toml", "--out", "absent", "--resume"]).names(["absent"]);
    assert!(!path.join("absent").exists());
}

#[test]
fn a_folder_is_trained_in_by_one_process_at_a_time() {
    let folder = with_config();
    let path = folder.path();
    let trial = TrialFolder::new(path.join("one"));
    let train = ["train", "my.toml", "--out", "one", "--quiet"];
    let text = fs::read_to_string(path.join("my.toml")).unwrap();
    fs::write(path.join("short.toml"), &text).unwrap();
    let text = text.replace("epochs = 40", "epochs = 4000");
    fs::write(path.join("my.toml"), text).unwrap();
    let mut child = start(&trial, command(path, &train));
    let before = fs::read(trial.config()).unwrap();
    for other in ["--resume", "--force"] {
        let said = refuse(path, &[&train[..], &[other]].concat());
        said.names(["one"]).is_silent_on(["--force", "--resume"]);
    }
    assert_eq!(fs::read(trial.config()).unwrap(), before);
    assert!(trial.checkpoint().exists() || trial.previous_checkpoint().exists(), "--force removed them");
    child.kill().unwrap();
    child.wait().unwrap();
    // Of its folder only the lock is left: nothing that another training could be in the way of.
    fs::remove_dir_all(&trial.path).unwrap();
    fs::create_dir(&trial.path).unwrap();
    fs::write(trial.path.join("trial.lock"), "").unwrap();
    refuse(path, &[&train[..], &["--resume"]].concat()).names(["one"]);
    succeed(path, &["train", "short.toml", "--out", "one", "--quiet"]);
}

/// A training in `out` of a folder that was stopped after step 5, and what it would come to.
fn stopped_in_out() -> (TempDir, TrialFolder, End) {
    let case = Case::new(&format!("{CAPSNET}\n{SCHEDULE}"));
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("my.toml"), case.config.to_toml()).unwrap();
    case.stop_after(5);
    let trial = TrialFolder::new(folder.path().join("out"));
    fs::create_dir(&trial.path).unwrap();
    for entry in fs::read_dir(case.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, trial.path.join(path.file_name().unwrap())).unwrap();
    }
    let end = Case::new(&format!("{CAPSNET}\n{SCHEDULE}")).finish(&mut ());
    (folder, trial, end)
}

/// What `train --resume` of it says.
fn resume(folder: &Path, arguments: &[&str]) -> std::process::Output {
    let all = [&["train", "my.toml", "--out", "out"], arguments].concat();
    program().current_dir(folder).args(all).output().unwrap()
}

#[test]
fn a_training_whose_record_is_damaged_or_gone_is_continued_and_written_over() {
    let spoil: [fn(&Path); 2] =
        [|record| fs::write(record, "torn").unwrap(), |record| fs::remove_file(record).unwrap()];
    for spoil in spoil {
        for option in ["--resume", "--force"] {
            let (folder, trial, end) = stopped_in_out();
            spoil(&trial.path.join("trial.json"));
            refuse(folder.path(), &["train", "my.toml", "--out", "out"]).names(["out", "--resume", "--force"]);
            let output = resume(folder.path(), &[option]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{said}");
            match option {
                "--resume" => said.names(["step 5"]),
                _ => said.is_silent_on(["step 5"]),
            };
            assert_eq!(end_of(folder.path(), "out"), end);
        }
    }
}

#[test]
fn a_training_that_is_continued_without_a_checkpoint_says_that_it_begins_anew() {
    let (folder, trial, end) = stopped_in_out();
    trial.remove_checkpoints().unwrap();
    let output = resume(folder.path(), &["--resume"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said.names(["out", "checkpoint"]).is_silent_on(["step 5"]);
    assert_eq!(end_of(folder.path(), "out"), end);
    assert_eq!(trial.read_record().unwrap().attempts, 1);
}

#[test]
fn a_training_is_not_continued_over_a_checkpoint_that_is_not_its_own() {
    let (folder, trial, _) = stopped_in_out();
    let checkpoint = Checkpoint::read(&trial.checkpoint()).unwrap();
    Checkpoint { key: "0123456789abcdef".into(), ..checkpoint }.write(&trial, false).unwrap();
    let before = fs::read(trial.checkpoint()).unwrap();
    let said = refuse(folder.path(), &["train", "my.toml", "--out", "out", "--resume"]);
    said.names(["0123456789abcdef", "--force"]);
    assert_eq!(fs::read(trial.checkpoint()).unwrap(), before);
    let text = fs::read_to_string(folder.path().join("my.toml")).unwrap().replace("seed = 0", "seed = 1");
    fs::write(folder.path().join("other.toml"), text).unwrap();
    let said = refuse(folder.path(), &["train", "other.toml", "--out", "out", "--resume"]);
    said.names(["fastrcaps train out/config.toml --out out --resume"]);
}

#[test]
fn a_training_that_ended_before_it_had_shown_its_predictions_shows_them_when_it_is_continued() {
    let (folder, trial, end) = stopped_in_out();
    assert!(resume(folder.path(), &["--resume"]).status.success());
    let written = || [trial.predictions(), trial.reconstructions()].map(|path| fs::read(path).unwrap());
    let before = written();
    for lost in [trial.predictions(), trial.reconstructions()] {
        fs::remove_file(lost).unwrap();
        let output = resume(folder.path(), &["--resume"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(written() == before, "other predictions or another picture");
    }
    assert_eq!(end_of(folder.path(), "out"), end);
    let refused = |fact: &str| {
        let output = resume(folder.path(), &["--resume"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8_lossy(&output.stderr).names([fact]);
    };
    refused("out");
    fs::remove_file(trial.predictions()).unwrap();
    fs::write(trial.weights(), "torn").unwrap();
    refused("out/weights.safetensors");
    assert!(!trial.predictions().exists());
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
        let steps = Checkpoint::read(&trial.checkpoint()).unwrap().state.steps;
        said.names([format!("step {steps}")]);
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
        "trap '' HUP; exec '{}' train my.toml --out long --quiet --checkpoint-every 0s --threads 1",
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

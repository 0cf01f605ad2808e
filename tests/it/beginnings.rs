//! Beginnings that trials share: which they are, and that what is trained from them is what is trained alone.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use fastrcaps::{
    learn::{config::TrialConfig, model::scope::Scope, schedule::Step},
    search::{
        beginnings::{Beginnings, Stage},
        space::Trial,
    },
};
use proptest::prelude::*;

use crate::cli::{folder_with, program, succeed, table};

/// Of the eight trainings, six are a beginning of another, or begin as another does.
const SPACE: &str = "
[base]
data = { name = 'glyphs', train_samples = 160, test_samples = 40, validation_fraction = 0.2 }
model = { preset = 'tiny' }
schedule.batch = { policy = 'fixed', size = 8 }
[axes]
\"schedule.lr\" = [
    { policy = 'fixed', rate = 1e-3 },
    { policy = 'step', initial = 1e-3, factor = 0.1, milestones = [2] },
]
\"train.epochs\" = [4, 1, 2, 3]
";

fn trial(schedule: &str, epochs: usize) -> Trial {
    let table = format!(
        "data = {{ name = 'glyphs', train_samples = 50, test_samples = 20, validation_fraction = 0.2 }}\n\
         model = {{ preset = 'tiny' }}\ntrain = {{ epochs = {epochs} }}\n{schedule}\n"
    );
    Trial { candidate: 0, replicate: 0, config: TrialConfig::resolve(table.parse().unwrap()).unwrap() }
}

/// Epochs that two trainings have in common, found by going through their steps.
fn common(one: &TrialConfig, other: &TrialConfig) -> usize {
    let steps = |of: &TrialConfig, epoch: usize| -> Vec<(usize, u64, Scope)> {
        let bits = |step: Step| (step.samples.len(), step.learning_rate.to_bits(), step.scope);
        of.schedule.epoch_steps(epoch, of.train.epochs, of.data.counts().train).map(bits).collect()
    };
    // One that notes the losses of samples comes to a state that the other has not, though their steps are the same.
    let notes = |of: &TrialConfig| !of.schedule.samples.is_all();
    let most = if notes(one) == notes(other) { one.train.epochs.min(other.train.epochs) } else { 0 };
    (0..most).take_while(|epoch| steps(one, *epoch) == steps(other, *epoch)).count()
}

fn some_schedule() -> impl Strategy<Value = String> {
    let rate = prop_oneof![
        Just("lr = { policy = 'fixed', rate = 1e-3 }"),
        Just("lr = { policy = 'exponential', initial = 1e-3, decay = 0.5, period = 2, staircase = true }"),
        Just("lr = { policy = 'exponential', initial = 1e-3, decay = 0.5, period = 1.3 }"),
        Just("lr = { policy = 'step', initial = 1e-3, milestones = [1, 3] }"),
        Just("lr = { policy = 'step', initial = 1e-3, milestones = [1, 2.5] }"),
        Just("lr = { policy = 'cosine', initial = 1e-3 }"),
        Just("lr = { policy = 'one-cycle' }"),
        Just("lr = { policy = 'cooldown', share = 0.5 }"),
        Just("lr = { policy = 'warm-restarts', period = 1, multiplier = 2 }"),
        Just("lr = { policy = 'warm-restarts', period = 'batch-phase' }"),
    ];
    let batch = prop_oneof![
        Just("batch = { policy = 'fixed', size = 8 }"),
        Just("batch = { policy = 'adabatch', phases = [{ epochs = 2, size = 8 }, { size = 16 }] }"),
        Just("batch = { policy = 'adabatch', phases = [{ epochs = 1.5, size = 8 }, { size = 16 }] }"),
    ];
    let warmup = prop_oneof![Just("0"), Just("0.5"), Just("1")];
    let scope = prop_oneof![
        3 => Just(""),
        1 => Just(", routing = { phases = [{ until = 0.5 }, { iterations = 1 }] }"),
        1 => Just(", routing = { phases = [{ until = 0.8 }, { iterations = 1 }] }"),
        1 => Just(", reconstruction = { until = 0.5 }"),
        1 => Just(", reconstruction = { every = 2 }"),
        1 => Just(", freeze = { conv1 = 0.5 }"),
        1 => Just(", freeze = { conv1 = 0.5, primary = 0.7 }"),
    ];
    let samples = prop_oneof![
        3 => Just(""),
        1 => Just(", samples = { share = 0.5 }"),
        1 => Just(", samples = { share = 0.5, after = 1, full_every = 2 }"),
        1 => Just(", samples = { share = 0.3, after = 1, full_every = 3 }"),
    ];
    (rate, batch, warmup, scope, samples).prop_map(|(rate, batch, warmup, scope, samples)| {
        format!("schedule = {{ {rate}, {batch}, warmup_epochs = {warmup}{scope}{samples} }}")
    })
}

proptest! {
    #[test]
    fn trials_share_the_epochs_whose_steps_are_the_same(
        trials in prop::collection::vec((some_schedule(), 1usize..6), 2..8)
    ) {
        let trials: Vec<Trial> = trials.iter().map(|(schedule, epochs)| trial(schedule, *epochs)).collect();
        let found = Beginnings::of(&trials, |_| "of the data");
        for (index, trial) in trials.iter().enumerate() {
            let others = (0..trials.len()).filter(|other| *other != index);
            let mut wanted: Vec<usize> = others.map(|other| common(&trial.config, &trials[other].config)).collect();
            wanted.retain(|epochs| *epochs > 0);
            wanted.sort_unstable();
            wanted.dedup();
            let branches = found.branches(index);
            prop_assert_eq!(branches.iter().map(|branch| branch.epochs).collect::<Vec<_>>(), wanted);
            for branch in branches {
                let samples = trial.config.data.counts().train;
                prop_assert_eq!(&branch.key, &trial.config.beginning(branch.epochs, samples, "of the data"));
                let alike = |other: &usize| common(&trial.config, &trials[*other].config) >= branch.epochs;
                let sharers: Vec<usize> = (0..trials.len()).filter(|other| *other == index || alike(other)).collect();
                prop_assert_eq!(found.sharers(&branch.key), sharers);
            }
        }
    }
}

#[test]
fn other_networks_seeds_and_data_share_nothing() {
    let of = |extra: &str| trial(&format!("schedule = {{}}\n{extra}"), 2);
    let seed = |seed: u64| Trial { config: TrialConfig { seed, ..of("").config }, ..of("") };
    let trials = [seed(0), seed(1)];
    assert!(Beginnings::of(&trials, |_| "").branches(0).is_empty());
    let alike = [of(""), of("")];
    assert!(!Beginnings::of(&alike, |_| "").branches(0).is_empty());
    let mut fingerprints = ["one", "other"].iter();
    let by_data: BTreeMap<usize, &str> = (0..2).map(|index| (index, *fingerprints.next().unwrap())).collect();
    let of_data = |trial: &Trial| by_data[&trial.replicate];
    let alike = [of(""), Trial { replicate: 1, ..of("") }];
    assert!(Beginnings::of(&alike, of_data).branches(0).is_empty());
}

#[test]
fn what_is_saved_is_what_an_earlier_trial_has_trained() {
    let fixed = |epochs| trial("schedule = {}", epochs);
    let found = Beginnings::of(&[fixed(4), fixed(1), fixed(3)], |_| "");
    let stage = |trial, from, to| Stage { trial, from, to };
    assert_eq!(found.saved(), [stage(1, 0, 1), stage(2, 0, 1), stage(2, 1, 3)]);
}

/// Weights, epochs and accuracies of every trial, by its key.
fn trained(study: &Path) -> BTreeMap<String, Vec<String>> {
    let epochs = table(study.join("epochs.csv"));
    let figures = |row: BTreeMap<String, String>| {
        let key = row["key"].clone();
        let columns = ["status", "epochs", "best_epoch", "validation_accuracy", "test_accuracy", "weights_sha256"];
        let mut figures: Vec<String> = columns.iter().map(|column| row[*column].clone()).collect();
        let columns = ["epoch", "learning_rate", "train_loss", "validation_loss", "samples", "steps"];
        for epoch in epochs.iter().filter(|epoch| epoch["key"] == key) {
            figures.extend(columns.iter().map(|column| epoch[*column].clone()));
        }
        (key, figures)
    };
    table(study.join("trials.csv")).into_iter().map(figures).collect()
}

/// Every configuration of [`SPACE`] in a study of its own.
fn alone() -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    let lines: Vec<&str> = SPACE.lines().collect();
    for epochs in [4, 1, 2, 3] {
        for policy in lines.iter().filter(|line| line.contains("policy") && line.starts_with("    ")) {
            let base = SPACE.split("[axes]").next().unwrap();
            let space = format!("{base}[axes]\n\"schedule.lr\" = [{policy}]\n\"train.epochs\" = [{epochs}]\n");
            let folder = folder_with(&space);
            explore(folder.path(), &[]);
            all.extend(trained(&folder.path().join("results/space")));
        }
    }
    all
}

fn explore(folder: &Path, arguments: &[&str]) {
    succeed(folder, &[&["explore", "space.toml", "--quiet", "--no-confirm"], arguments].concat());
}

/// Epochs that each trial took over, in grid order.
fn shared(folder: &Path) -> Vec<String> {
    let rows = table(folder.join("results/space/trials.csv"));
    rows.iter().map(|row| row["shared_epochs"].clone()).collect()
}

fn beginnings(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("results/space/beginnings"));
    entries.map_or(Vec::new(), |entries| entries.map(|entry| entry.unwrap().path()).collect())
}

#[test]
fn trials_that_go_on_from_a_beginning_come_to_the_bits_of_those_trained_alone() {
    let wanted = alone();
    assert_eq!(wanted.len(), 8);
    let serial = folder_with(SPACE);
    explore(serial.path(), &["--slots", "1x1"]);
    assert_eq!(trained(&serial.path().join("results/space")), wanted);
    // The first trains all four epochs; what others are up to there they take over, the longest that there is.
    assert_eq!(shared(serial.path()), ["", "1", "2", "3", "2", "1", "2", "3"]);
    assert!(beginnings(serial.path()).is_empty(), "nobody waits for them any more");
    let parallel = folder_with(SPACE);
    explore(parallel.path(), &["--slots", "3x1"]);
    assert_eq!(trained(&parallel.path().join("results/space")), wanted);
    let halved = folder_with(SPACE);
    explore(halved.path(), &["--slots", "2x1", "--strategy", "halving"]);
    explore(halved.path(), &["--slots", "2x1"]);
    assert_eq!(trained(&halved.path().join("results/space")), wanted);
}

#[test]
fn a_beginning_that_is_damaged_is_trained_again() {
    let folder = folder_with(SPACE);
    explore(folder.path(), &["--slots", "1x1", "--limit", "1"]);
    let left = beginnings(folder.path());
    assert_eq!(left.len(), 3, "for one, two and three epochs: {left:?}");
    for path in &left {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    }
    explore(folder.path(), &["--slots", "1x1"]);
    assert_eq!(trained(&folder.path().join("results/space")), alone());
    assert_eq!(shared(folder.path())[1], "", "it trained its epoch itself");
    let checked = succeed(folder.path(), &["study", "check", "results/space"]);
    assert!(checked.contains("8 done"), "{checked}");
}

#[test]
fn killed_at_any_moment_a_sweep_with_beginnings_comes_to_the_same() {
    let folder = folder_with(SPACE);
    for moment in [300, 500, 700] {
        let mut explorer = program()
            .current_dir(folder.path())
            .args(["explore", "space.toml", "--quiet", "--no-confirm", "--slots", "2x1"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let end = Instant::now() + Duration::from_millis(moment);
        while explorer.try_wait().unwrap().is_none() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        Command::new("kill").args(["-KILL", &explorer.id().to_string()]).status().unwrap();
        explorer.wait().unwrap();
    }
    explore(folder.path(), &["--slots", "2x1"]);
    assert_eq!(trained(&folder.path().join("results/space")), alone());
}

#[test]
fn plan_says_how_much_of_a_space_is_shared() {
    let folder = folder_with(SPACE);
    let said = succeed(folder.path(), &["plan", "space.toml", "--no-timing"]);
    // 20 epochs are asked for; the first trial has 4 of them, one other has 2 of its own, one 1.
    assert!(said.contains("7 of 8 trials") && said.contains("saves 70.0 %"), "{said}");
}

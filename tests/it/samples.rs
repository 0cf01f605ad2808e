//! Epochs that see a share of the training samples: which these are, how many, and that trainings are otherwise what they were.

use std::{collections::BTreeMap, fs};

use candle_core::{Device, Tensor};
use fastrcaps::{
    learn::{
        config::TrialConfig,
        data::{
            self, DataDirs, Dataset,
            batch::{Shift, epoch_order, gather},
        },
        model::{Mask, config::ModelConfig},
        record::EpochRow,
        schedule::{ScheduleConfig, outline::outline},
        train::{Session, Trainer, memory::peak_bytes, train},
    },
    timing::shape::steps_of,
};

use crate::{
    cli::{folder_with, refuse, succeed, table},
    facts::Facts,
};

const DATA: &str = "data = { train_samples = 60, test_samples = 12, validation_fraction = 0.2, shift = 1 }\n";
const CAPSNET: &str = "preset = 'tiny', conv1_channels = 4, primary_types = 2, primary_dim = 4, class_dim = 4";
const LENET: &str = "kind = 'lenet5'";
/// Batches that change within an epoch that sees 29 of the 48 samples.
const BATCH: &str = "batch = { policy = 'adabatch', phases = [{ epochs = 1.5, size = 8 }, { size = 20 }] }";
const SAMPLES: &str = "samples = { share = 0.6, after = 1, full_every = 3 }";

fn resolve(text: &str) -> TrialConfig {
    TrialConfig::resolve(text.parse().unwrap()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn config(model: &str, schedule: &str, epochs: usize) -> TrialConfig {
    let comma = if schedule.is_empty() { "" } else { ", " };
    resolve(&format!(
        "{DATA}model = {{ {model} }}\nschedule = {{ {BATCH}{comma}{schedule} }}\ntrain = {{ epochs = {epochs} }}\n"
    ))
}

fn glyphs(config: &TrialConfig) -> Dataset {
    data::load(&config.data, &DataDirs::at("/nonexistent")).unwrap()
}

/// The rows of a training without their times.
fn rows(config: &TrialConfig, threads: usize) -> Vec<EpochRow> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    // What was trained stays on the pool's thread: with a device it cannot leave it.
    let train = || train(config, &glyphs(config), &Device::Cpu, Session::default(), &mut ()).unwrap().epochs;
    pool.install(train).into_iter().map(|row| EpochRow { train_seconds_screen: 0.0, ..row }).collect()
}

/// The loss of one sample by its class, as its definition has it: lengths of capsules, or logits.
fn loss(scores: &[f32], label: usize, is_of_capsules: bool) -> f64 {
    let scores: Vec<f64> = scores.iter().map(|score| f64::from(*score)).collect();
    if !is_of_capsules {
        return scores.iter().map(|score| score.exp()).sum::<f64>().ln() - scores[label];
    }
    let margin = |(class, length): (usize, &f64)| match class == label {
        true => (0.9 - length).max(0.0).powi(2),
        false => 0.5 * (length - 0.1).max(0.0).powi(2),
    };
    scores.iter().enumerate().map(margin).sum()
}

/// The losses of the samples of a step, by candle's graph.
fn losses(trainer: &Trainer, config: &TrialConfig, data: &Dataset, indices: &[u32], epoch: usize) -> Vec<f64> {
    let mut pixels = vec![0.0; indices.len() * data.shape.pixels()];
    let mut labels = vec![0; indices.len()];
    let shift = Shift { max: config.data.shift, seed: config.seed, epoch };
    gather(&data.train, data.shape, indices, Some(shift), &mut pixels, &mut labels);
    let size = (indices.len(), data.shape.channels, data.shape.height, data.shape.width);
    let images = Tensor::from_slice(&pixels, size, &Device::Cpu).unwrap();
    let scores = trainer.network.forward(&images, Mask::NoReconstruction).unwrap().scores.to_vec2::<f32>().unwrap();
    let is_of_capsules = matches!(config.model, ModelConfig::Capsnet(_));
    scores.iter().zip(labels).map(|(scores, label)| loss(scores, label as usize, is_of_capsules)).collect()
}

/// Mean training loss and validation loss of every epoch, and which samples it saw: by a training written out here.
fn by_hand(config: &TrialConfig) -> Vec<(f64, f64, Vec<u32>)> {
    let data = glyphs(config);
    let mut trainer = Trainer::new(config, &data, &Device::Cpu).unwrap();
    let mut known: BTreeMap<u32, f64> = BTreeMap::new();
    let mut epochs = Vec::new();
    for epoch in 0..config.train.epochs {
        let order = epoch_order(data.train.len(), config.seed, epoch);
        let count = config.schedule.samples.count(epoch, order.len());
        let mut ranked: Vec<&u32> = order.iter().collect();
        // The sort is stable: of equal losses the one that stands first.
        ranked.sort_by(|one, other| known.get(other).partial_cmp(&known.get(one)).unwrap());
        let chosen = &ranked[..count];
        let seen: Vec<u32> = order.iter().filter(|index| chosen.contains(index)).copied().collect();
        let mut sum = 0.0;
        for step in config.schedule.epoch_steps(epoch, config.train.epochs, order.len()) {
            let indices = &seen[step.samples.clone()];
            known.extend(indices.iter().copied().zip(losses(&trainer, config, &data, indices, epoch)));
            sum += trainer.step(&data, indices, epoch, &step).unwrap().loss * indices.len() as f64;
        }
        let validation = trainer.evaluate(&data, &data.validation).unwrap().loss;
        epochs.push((sum / count as f64, validation, seen));
    }
    epochs
}

#[test]
fn an_epoch_sees_the_samples_whose_loss_was_greatest_when_they_were_seen_last() {
    for model in [CAPSNET, LENET] {
        let config = config(model, SAMPLES, 6);
        let expected = by_hand(&config);
        let rows = rows(&config, 1);
        for (row, (train, validation, _)) in rows.iter().zip(&expected) {
            assert_eq!((row.train_loss, row.validation_loss), (*train, *validation), "epoch {} of {model}", row.epoch);
        }
        let seen: Vec<usize> = expected.iter().map(|(.., seen)| seen.len()).collect();
        assert_eq!(seen, [48, 29, 29, 48, 29, 29]);
        assert_eq!(rows.last().unwrap().samples, 2 * 48 + 4 * 29);
        // It is not by their order that they are chosen.
        let order = epoch_order(48, config.seed, 1);
        assert_ne!(expected[1].2, order[..29]);
    }
}

#[test]
fn the_losses_of_the_samples_of_a_step_have_its_loss_as_their_mean() {
    let without = format!("{CAPSNET}, decoder = 'none'");
    for model in [&without, LENET, "kind = 'efficient-capsnet', decoder = 'none'"] {
        let config = config(model, SAMPLES, 4);
        let data = glyphs(&config);
        let mut trainer = Trainer::new(&config, &data, &Device::Cpu).unwrap();
        for indices in [&[3_u32, 1, 4, 15, 9, 2][..], &[6, 5, 35]] {
            let loss = trainer.step(&data, indices, 0, 1e-3).unwrap().loss;
            let losses = trainer.losses();
            assert_eq!(losses.len(), indices.len());
            let mean = losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() / losses.len() as f64;
            assert!((mean - loss).abs() < 1e-5 * loss, "{mean} for {loss} of {model}");
        }
    }
}

#[test]
fn trainings_that_choose_samples_come_to_the_same_bits_on_any_number_of_threads() {
    let config = config(CAPSNET, SAMPLES, 4);
    let expected = rows(&config, 1);
    for threads in [2, 3] {
        assert_eq!(rows(&config, threads), expected, "{threads} threads");
    }
}

#[test]
fn steps_and_samples_are_known_before_a_training_and_are_those_that_it_takes() {
    for schedule in ["", SAMPLES, "samples = { share = 0.01, after = 2, full_every = 2 }"] {
        let config = config(CAPSNET, schedule, 5);
        for row in rows(&config, 1) {
            assert_eq!(row.samples, config.schedule.samples_seen(row.epoch, 48) as u64, "{schedule}");
            let steps: u64 = steps_of(&config, row.epoch).iter().map(|(_, count)| count).sum();
            assert_eq!(row.steps, steps, "{schedule}");
        }
    }
    let plain = config(CAPSNET, "", 5);
    assert!(peak_bytes(&plain, 1).unwrap() < peak_bytes(&config(CAPSNET, SAMPLES, 5), 1).unwrap());
}

#[test]
fn a_schedule_says_how_many_samples_an_epoch_sees() {
    let schedule: ScheduleConfig = toml::from_str("samples = { share = 0.5 }").unwrap();
    let counts = |schedule: &ScheduleConfig, samples| -> Vec<usize> {
        (0..10).map(|epoch| schedule.samples.count(epoch, samples)).collect()
    };
    assert_eq!(counts(&schedule, 101), [101, 101, 51, 51, 51, 101, 51, 51, 51, 101]);
    assert_eq!(counts(&schedule, 1), [1; 10]);
    let few: ScheduleConfig = toml::from_str("samples = { share = 0.001, after = 9, full_every = 2 }").unwrap();
    assert_eq!(counts(&few, 20), [20, 20, 20, 20, 20, 20, 20, 20, 20, 1]);
    // It does not ask for the length of the training: a shorter one is a beginning.
    assert_eq!(schedule.stops(4), [1, 2, 3, 4]);
    let turns: Vec<(f64, f64)> = outline(&schedule, 10).rows.iter().map(|row| (row.epoch, row.share)).collect();
    for (epoch, before, after) in [(2.0, 1.0, 0.5), (5.0, 0.5, 1.0), (6.0, 1.0, 0.5), (9.0, 0.5, 1.0)] {
        assert!(turns.windows(2).any(|rows| rows == [(epoch, before), (epoch, after)]), "{epoch} in {turns:?}");
    }
    // A step's place in its epoch is a share of what the epoch sees.
    let config = config(CAPSNET, SAMPLES, 4);
    let places: Vec<f64> = config.schedule.epoch_steps(1, 4, 48).map(|step| step.progress.epoch).collect();
    assert_eq!(places, [0.0, 8.0, 16.0].map(|seen| 1.0 + seen / 29.0));
}

#[test]
fn a_shorter_training_that_chooses_samples_is_a_beginning_of_the_longer_one() {
    let long = rows(&config(CAPSNET, SAMPLES, 5), 1);
    for epochs in [1, 3] {
        assert_eq!(rows(&config(CAPSNET, SAMPLES, epochs), 1), long[..epochs]);
    }
}

#[test]
fn a_schedule_in_which_every_epoch_sees_all_samples_is_that_of_before_there_was_a_choice() {
    for model in [CAPSNET, LENET] {
        let plain = config(model, "", 4);
        assert!(!serde_json::to_string(&plain).unwrap().contains("samples\":{"));
        for schedule in [
            "samples = {}",
            "samples = { share = 1 }",
            "samples = { share = 1.0, after = 1, full_every = 9 }",
            "samples = { share = 0.5, full_every = 1 }",
            "samples = { share = 0.5, after = 4 }",
        ] {
            let same = config(model, schedule, 4);
            assert_eq!((&same, same.key("")), (&plain, plain.key("")), "{schedule}");
        }
        assert_eq!(resolve(&plain.to_toml()), plain);
        let mut keys = vec![plain.key("")];
        for schedule in [
            "samples = { share = 0.5 }",
            "samples = { share = 0.5, after = 3 }",
            "samples = { share = 0.5, full_every = 2 }",
            "samples = { share = 0.6 }",
        ] {
            let other = config(model, schedule, 4);
            assert_eq!(resolve(&other.to_toml()), other, "{schedule}");
            keys.push(other.key(""));
        }
        // Of the two epochs that are left none sees all.
        let never = ["samples = { share = 0.5, full_every = 3 }", "samples = { share = 0.5, full_every = 70 }"];
        let [one, other] = never.map(|schedule| config(model, schedule, 4).key(""));
        assert_eq!(one, other);
        let distinct: std::collections::BTreeSet<&String> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }
    for (schedule, path) in [
        ("samples = 0.5", "schedule.samples"),
        ("samples = { share = 'half' }", "schedule.samples.share"),
        ("samples = { skip = 0.5 }", "schedule.samples.skip"),
        ("samples = { share = 0 }", "schedule.samples.share"),
    ] {
        let error = TrialConfig::resolve(format!("schedule = {{ {schedule} }}\n").parse().unwrap()).unwrap_err();
        assert_eq!(error.path(), path, "{schedule}: {error}");
    }
}

#[test]
fn a_gpu_refuses_a_training_that_chooses_samples_by_key() {
    assert!(config(CAPSNET, "", 4).check_for_gpu().is_ok());
    let error = config(CAPSNET, SAMPLES, 4).check_for_gpu().unwrap_err();
    assert_eq!(error.path, "schedule.samples.share");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("my.toml"), "schedule = { samples = { share = 0.5 } }\n").unwrap();
    refuse(folder.path(), &["train", "my.toml", "--device", "cuda:0"]).names(["schedule.samples.share", "0.5"]);
}

/// The last three have one epoch in common with each other, and the last two have two.
const SPACE: &str = "
name = 'samples'
[base]
data = { name = 'glyphs', train_samples = 60, test_samples = 20, validation_fraction = 0.2 }
model = { preset = 'tiny', conv1_channels = 4, primary_types = 2 }
train = { epochs = 3 }
schedule.batch = { policy = 'fixed', size = 16 }
schedule.samples.after = 1
[axes]
\"schedule.samples.share\" = [1, 0.75, 0.5]
\"schedule.samples.full_every\" = [2, 3]
[[exclude]]
\"schedule.samples.share\" = 0.75
\"schedule.samples.full_every\" = 3
";

#[test]
fn a_space_explores_them_as_axes_that_share_beginnings() {
    let folder = folder_with(SPACE);
    let plan = succeed(folder.path(), &["plan", "space.toml", "--no-timing"]);
    // All of the 48 samples in three epochs; then three quarters or half of them in one epoch, or half of them in two.
    plan.names(["144", "132", "120", "96", "4 configurations", "1 duplicate"]);
    succeed(folder.path(), &["explore", "space.toml", "--quiet", "--slots", "1x1", "--no-confirm"]);
    let study = folder.path().join("results/samples");
    let trials = table(study.join("trials.csv"));
    let shared: Vec<&str> = trials.iter().map(|row| row["shared_epochs"].as_str()).collect();
    assert_eq!(shared, ["", "", "1", "2"]);
    let epochs = table(study.join("epochs.csv"));
    for trial in &trials {
        assert_eq!(trial["status"], "done", "{}", trial["error"]);
        let written = fs::read_to_string(study.join("trials").join(&trial["key"]).join("config.toml")).unwrap();
        let alone = rows(&resolve(&written), 1);
        let of_trial: Vec<_> = epochs.iter().filter(|row| row["key"] == trial["key"]).collect();
        assert_eq!(of_trial.len(), alone.len());
        for (row, alone) in of_trial.iter().zip(&alone) {
            let figures = ["train_loss", "validation_loss"].map(|column| row[column].parse::<f64>().unwrap());
            assert_eq!(figures, [alone.train_loss, alone.validation_loss]);
            assert_eq!([&row["samples"], &row["steps"]], [&alone.samples.to_string(), &alone.steps.to_string()]);
        }
    }
    let said =
        succeed(folder.path(), &["schedule", &format!("results/samples/trials/{}/config.toml", trials[2]["key"])]);
    said.names(["SAMPLES", "50.0 %", "100.0 %"]);
    fs::write(folder.path().join("plain.toml"), "").unwrap();
    assert!(!succeed(folder.path(), &["schedule", "plain.toml"]).contains("SAMPLES"));
}

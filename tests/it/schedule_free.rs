//! Schedule-Free AdamW in whole trainings: gradients are taken at the weights y, and all else is of their average x. Its formula is
//! held in `optimizers.rs`.

use std::{collections::BTreeMap, fs};

use candle_core::{Device, Tensor};
use fastrcaps::{
    learn::{
        config::{OptimizerConfig, OptimizerKind, TrialConfig},
        data::{self, DataDirs, Dataset},
        kernels::{Average, Optimizer, Rule, average_decay, optimizer::Constants, reference::judged},
        model::parameters::Parameters,
        train::{Session, Trainer, TrainingEnd, laps::Laps, memory::peak_bytes, rule, train},
    },
    search::{beginnings::Beginnings, space::Trial},
    timing::shape::shapes,
};

use crate::{
    cli::{folder_with, refuse, succeed, table},
    facts::Facts,
    tensors::{assert_close, bits, values, var},
};

const FREE: &str = "optimizer = { kind = 'schedule-free' }";

fn resolve(text: &str) -> TrialConfig {
    TrialConfig::resolve(text.parse().unwrap()).unwrap()
}

/// A small training on glyphs.
fn training(train: &str, epochs: usize) -> (TrialConfig, Dataset) {
    let config = resolve(&format!(
        "data = {{ train_samples = 400, test_samples = 40, validation_fraction = 0.2 }}\nmodel = {{ preset = 'tiny' }}\n\
         schedule = {{ lr.rate = 3e-3, batch.size = 32 }}\n[train]\nepochs = {epochs}\n{train}\n"
    ));
    let data = data::load(&config.data, &DataDirs::at("/nonexistent")).unwrap();
    (config, data)
}

fn bits_of(tensors: &BTreeMap<String, Tensor>) -> Vec<Vec<u32>> {
    tensors.values().map(bits).collect()
}

#[test]
fn a_schedule_free_training_leaves_and_is_tested_by_the_averages_of_its_best_epoch() {
    let (config, data) = training(FREE, 3);
    let mut trained = train(&config, &data, &Device::Cpu, Session::default(), &mut ()).unwrap();
    assert_eq!(trained.ending, TrainingEnd::Finished);
    let losses: Vec<f64> = trained.epochs.iter().map(|row| row.train_loss).collect();
    assert!(losses[2] < 0.9 * losses[0], "{losses:?}");
    let row = &trained.epochs[trained.best_epoch.unwrap() - 1];
    let again = trained.trainer.evaluate(&data, &data.validation).unwrap();
    assert_eq!((again.loss, again.accuracy), (row.validation_loss, row.validation_accuracy));
    assert_eq!(trained.test_accuracy, Some(trained.trainer.evaluate(&data, &data.test).unwrap().accuracy));
    // A network trained by another optimizer, which takes up what was left, says the same.
    let (plain, _) = training("", 3);
    let mut other = Trainer::new(&plain, &data, &Device::Cpu).unwrap();
    other.restore(&trained.parameters().view()).unwrap();
    assert_eq!(other.evaluate(&data, &data.validation).unwrap(), again);
}

#[test]
fn a_network_is_judged_by_x_and_evaluations_leave_the_training_alone() {
    let (config, data) = training("optimizer = { kind = 'schedule-free', beta1 = 0.6, weight_decay = 0.1 }", 1);
    let mut watched = Trainer::new(&config, &data, &Device::Cpu).unwrap();
    let mut alone = Trainer::new(&config, &data, &Device::Cpu).unwrap();
    let start = watched.snapshot().unwrap();
    assert!(bits_of(start.tensors()) == bits_of(alone.parameters.view().tensors()), "x begins as y");
    for t in 0..6 {
        // A warm-up: the weights of the steps differ.
        let rate = 1e-2 * f64::from(t + 1).min(4.) / 4.;
        let indices: Vec<u32> = (t * 20..t * 20 + 20).collect();
        for trainer in [&mut watched, &mut alone] {
            trainer.step(&data, &indices, 0, rate).unwrap();
        }
        watched.evaluate(&data, &data.validation).unwrap();
        watched.snapshot().unwrap();
        let [with, without] = [&watched, &alone].map(|of| bits_of(of.parameters.view().tensors()));
        assert!(with == without, "step {t}");
    }
    let x = alone.snapshot().unwrap();
    assert!(bits_of(x.tensors()) != bits_of(alone.parameters.view().tensors()), "x is not y");
    let said = alone.evaluate(&data, &data.validation).unwrap();
    // What begins anew with x has it for y and z, too.
    watched.restore(&x).unwrap();
    assert_eq!(watched.evaluate(&data, &data.validation).unwrap(), said);
    assert!(bits_of(watched.snapshot().unwrap().tensors()) == bits_of(x.tensors()));
}

#[test]
fn x_that_is_found_from_y_and_z_is_the_average_of_all_z_weighed_by_the_squares_of_their_rates() {
    for (beta1, tolerance) in [(0.1, 1e-5), (0.9, 1e-5), (0.98, 1e-5)] {
        let constants = Constants { beta1, beta2: 0.99, epsilon: 1e-8 };
        let theta = var_of_f32("θ", &[70, 300]);
        let vars = vec![("a.weight".to_string(), theta.clone())];
        let mut optimizer = Optimizer::new(vars.clone(), Rule::ScheduleFree { constants, weight_decay: 0.1 }).unwrap();
        let mut average = Average::found(vars).unwrap();
        let (mut sum, mut weights) = (vec![0.; theta.elem_count()], 0.);
        for t in 1..=40 {
            let rate = 1e-2 * f64::from(t).min(10.) / 10.;
            let gradient: Vec<f32> = values(&var(&format!("g {t}"), theta.dims())).iter().map(|g| *g as f32).collect();
            optimizer.begin(rate);
            optimizer.lend::<f32>(0, &mut |weight| weight.whole(&gradient)).unwrap();
            let z = optimizer.view().1["a.weight"].get(0).unwrap();
            sum.iter_mut().zip(values(&z)).for_each(|(sum, z)| *sum += rate * rate * z);
            weights += rate * rate;
            let expected: Vec<f64> = sum.iter().map(|sum| sum / weights).collect();
            optimizer.find(&mut average).unwrap();
            let what = format!("β₁ = {beta1}, step {t}");
            assert_close(&what, &values(&average.view()["a.weight"]), &expected, tolerance);
            assert_close(&what, &values(&judged(&theta, &z, beta1).unwrap()), &expected, tolerance);
        }
    }
}

/// A variable in f32.
fn var_of_f32(name: &str, shape: &[usize]) -> candle_core::Var {
    let values = var(name, shape).to_dtype(candle_core::DType::F32).unwrap().copy().unwrap().detach();
    candle_core::Var::from_tensor(&values).unwrap()
}

#[test]
fn what_is_found_for_a_network_has_the_same_bits_on_any_number_of_threads() {
    let shapes: [(&str, &[usize]); 2] = [("a.weight", &[301, 517]), ("c.bias", &[40_001])];
    let rule =
        Rule::ScheduleFree { constants: Constants { beta1: 0.9, beta2: 0.99, epsilon: 1e-8 }, weight_decay: 0.1 };
    let on = |threads: usize| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            let vars = shapes.map(|(name, shape)| (name.to_string(), var_of_f32(name, shape))).to_vec();
            let mut optimizer = Optimizer::new(vars.clone(), rule).unwrap();
            let mut average = Average::found(vars.clone()).unwrap();
            for t in 1..=2 {
                optimizer.begin(0.01);
                for (index, (_, of)) in vars.iter().enumerate() {
                    let gradient = values(&var(&format!("g {t}"), of.dims()));
                    let gradient: Vec<f32> = gradient.iter().map(|g| *g as f32).collect();
                    optimizer.lend::<f32>(index, &mut |weight| weight.whole(&gradient)).unwrap();
                }
                optimizer.find(&mut average).unwrap();
            }
            bits_of(&average.view())
        })
    };
    let expected = on(1);
    for threads in [2, 3] {
        assert!(on(threads) == expected, "{threads} threads");
    }
}

#[test]
fn other_optimizers_find_no_average_and_an_average_that_is_kept_is_not_found() {
    let theta = var_of_f32("θ", &[3, 4]);
    let vars = vec![("a.weight".to_string(), theta.clone())];
    let constants = Constants { beta1: 0.9, beta2: 0.99, epsilon: 1e-8 };
    let optimizer = Optimizer::new(vars.clone(), Rule::adam(constants)).unwrap();
    let [mut kept, mut found] = [Average::new(vars.clone(), 0.9).unwrap(), Average::found(vars.clone()).unwrap()];
    assert!(kept.is_kept() && !found.is_kept());
    let other = var_of_f32("other", &[3, 4]);
    theta.set(&other).unwrap();
    optimizer.find(&mut found).unwrap();
    assert!(bits(&found.view()["a.weight"]) != bits(&other));
    // Of a variable that it does not know it finds nothing.
    let free = Optimizer::new(vars, Rule::ScheduleFree { constants, weight_decay: 0. }).unwrap();
    assert!(free.find(&mut Average::found(vec![("b.weight".into(), theta.clone())]).unwrap()).is_err());
    kept.step(1).unwrap();
    found.step(1).unwrap();
    assert!(average_decay(0.9, 1) < 0.9 && bits(&kept.view()["a.weight"]) != bits(&found.view()["a.weight"]));
    assert_eq!(Parameters::new(0).trained().len(), 0);
}

#[test]
fn a_schedule_free_configuration_has_one_spelling_and_a_key_of_its_own() {
    let of = |train: &str| resolve(&format!("[train]\n{train}\n"));
    let free = of(FREE);
    assert_eq!(free.train.optimizer, OptimizerConfig::ScheduleFree { beta1: 0.9, weight_decay: 0. });
    assert_eq!(free.train.optimizer.kind(), OptimizerKind::ScheduleFree);
    for same in ["beta1 = 0.5\n", "ema = { decay = 0 }\n"] {
        assert_eq!(of(&format!("{same}{FREE}")), free, "{same}");
    }
    let others = [
        of(""),
        of("optimizer = { kind = 'adamw', weight_decay = 0 }"),
        of("optimizer = { kind = 'schedule-free', beta1 = 0.95 }"),
        of("optimizer = { kind = 'schedule-free', weight_decay = 0.1 }"),
        of(&format!("beta2 = 0.99\n{FREE}")),
    ];
    let keys: std::collections::BTreeSet<String> = others.iter().chain([&free]).map(|of| of.key("")).collect();
    assert_eq!(keys.len(), others.len() + 1);
    assert_eq!(resolve(&free.to_toml()), free);
    let rule = rule(&of(&format!("beta1 = 0.5\nbeta2 = 0.99\n{FREE}")).train);
    let constants = Constants { beta1: 0.9, beta2: 0.99, epsilon: 1e-8 };
    assert_eq!(rule, Rule::ScheduleFree { constants, weight_decay: 0. });
    // Steps have a time of their own, whatever their constants.
    assert_eq!(shapes(&[&free, &others[2], &others[3]]).len(), shapes(&[&free]).len());
    assert_eq!(shapes(&[&free, &others[0], &others[1]]).len(), 3 * shapes(&[&free]).len());
}

#[test]
fn what_schedule_free_steps_cannot_be_combined_with_is_refused_by_key() {
    let kind = |fields: &str| format!("[train]\noptimizer = {{ kind = 'schedule-free'{fields} }}\n");
    let with = |more: &str| format!("{more}\n{}", kind(""));
    for (text, path, facts) in [
        (kind(", beta1 = 1.0"), "train.optimizer.beta1", vec!["1", "0.1"]),
        (kind(", beta1 = 0"), "train.optimizer.beta1", vec!["0", "0.1"]),
        (kind(", beta1 = nan"), "train.optimizer.beta1", vec!["NaN"]),
        (kind(", weight_decay = -0.1"), "train.optimizer.weight_decay", vec!["-0.1", "1"]),
        (kind(", momentum = 0.9"), "train.optimizer.momentum", vec!["schedule-free", "beta1", "weight_decay"]),
        (kind("").replace(" }\n", " }\nema = { decay = 0.99 }\n"), "train.ema.decay", vec!["0.99", "schedule-free"]),
        (with("model.kind = 'efficient-capsnet'"), "train.optimizer.kind", vec!["schedule-free", "efficient-capsnet"]),
    ] {
        let error = TrialConfig::resolve(text.parse().unwrap()).unwrap_err();
        assert_eq!(error.path(), path, "{text}: {error}");
        error.to_string().names(&facts);
    }
    let schedules = ["warmup_epochs = 0.5", "freeze.conv1 = 0.5", "lr = { policy = 'cosine' }"];
    for schedule in schedules {
        resolve(&with(&format!("schedule.{schedule}")));
    }
    resolve(&with("model.kind = 'lenet5'"));
    assert!(resolve(&kind("")).check_for_gpu().is_err());
    let folder = folder_with("");
    fs::write(folder.path().join("my.toml"), kind("")).unwrap();
    refuse(folder.path(), &["train", "my.toml", "--device", "cuda:0"]).names(["train.optimizer.kind", "schedule-free"]);
}

#[test]
fn z_v_and_x_count_in_memory_and_the_work_of_a_step_is_that_of_two_moments() {
    let of = |train: &str| peak_bytes(&resolve(&format!("model.preset = 'paper'\n[train]\n{train}\n")), 1).unwrap();
    let [adam, free, averaged] = [of(""), of(FREE), of("ema = { decay = 0.9 }")];
    assert!(adam < free && free == averaged, "{adam} {free} {averaged}");
    let (config, data) = training(FREE, 1);
    let mut trainer = Trainer::new(&config, &data, &Device::Cpu).unwrap();
    let mut laps = Laps::default();
    trainer.step_in_parts(&data, &[0, 1, 2], 0, 1e-3, &mut laps).unwrap();
    let parts = |name: &str| trainer.work().unwrap().into_iter().find(|(part, _)| part.as_str() == name);
    assert_eq!(parts("optimizer").unwrap().1.bytes, 24 * config.parameters() as u64);
    // x is found when the network is judged, and takes no time of a step.
    assert!(parts("average").is_none() && laps.parts().iter().all(|(part, _)| part.as_str() != "average"));
}

const SPACE: &str = "
[base]
data = { name = 'glyphs', train_samples = 160, test_samples = 40, validation_fraction = 0.2 }
model = { preset = 'tiny' }
schedule = { batch.size = 8, warmup_epochs = 0.5 }
train = { optimizer = { kind = 'schedule-free', weight_decay = 0.01 } }
[axes]
\"train.epochs\" = [4, 2]
";

#[test]
fn schedule_free_trainings_of_several_lengths_share_their_beginning_and_come_to_the_bits_of_those_trained_alone() {
    let of = |epochs: usize| {
        let text = SPACE.replace("[base]", "").replace("train = {", &format!("train = {{ epochs = {epochs},"));
        let config = resolve(text.split("[axes]").next().unwrap());
        // Every epoch is the end of a training that was planned so.
        assert_eq!(config.schedule.stops(epochs), (1..=epochs).collect::<Vec<usize>>());
        Trial { candidate: 0, replicate: 0, config }
    };
    let found = Beginnings::of(&[of(4), of(2)], |_| "");
    let [branch] = found.branches(1) else { panic!("{:?}", found.branches(1)) };
    assert_eq!((branch.epochs, found.sharers(&branch.key)), (2, &[0, 1][..]));
    let trained = |space: &str| {
        let folder = folder_with(space);
        succeed(folder.path(), &["explore", "space.toml", "--quiet", "--no-confirm", "--slots", "1x1"]);
        let rows = table(folder.path().join("results/space/trials.csv"));
        let figure = |row: &BTreeMap<String, String>, column: &str| row[column].clone();
        let columns = ["key", "best_epoch", "validation_accuracy", "test_accuracy", "weights_sha256"];
        let figures = |row| columns.map(|column| figure(row, column));
        (rows.iter().map(figures).collect::<Vec<_>>(), figure(rows.last().unwrap(), "shared_epochs"))
    };
    let (both, shared) = trained(SPACE);
    let (alone, unshared) = trained(&SPACE.replace("[4, 2]", "[2]"));
    assert_eq!((shared.as_str(), unshared.as_str()), ("2", ""));
    assert_eq!(both[1..], alone[..]);
}

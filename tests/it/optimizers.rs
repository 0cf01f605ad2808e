//! What moves the weights: each optimizer against its formula and its reference, with the same bits on any number of threads and
//! after any interruption; and the average that a network may be judged by.

use std::{collections::BTreeMap, fs};

use candle_core::{DType, Device, Tensor, Var};
use fastrcaps::{
    learn::{
        config::{EmaConfig, OptimizerConfig, TrainConfig, TrialConfig},
        data::{self, DataDirs, Dataset},
        kernels::{
            Average, Optimizer, Real, Rule, average_decay,
            optimizer::{Constants, matrix_sides, muon_scale},
            orthogonalise, reference,
        },
        train::{Session, Trained, Trainer, TrainingEnd, laps::Laps, memory::peak_bytes, rule, train},
    },
    search::{
        beginnings::Beginnings,
        space::{Space, Trial},
    },
    timing::shape::{Shape, shapes},
};
use proptest::prelude::*;
use serde::Deserialize;

use crate::{
    cli::{folder_with, refuse},
    facts::Facts,
    tensors::{assert_close, bits, values, var},
};

const CONSTANTS: Constants = Constants { beta1: 0.9, beta2: 0.99, epsilon: 1e-8 };
const RULES: [Rule; 5] = [
    Rule::Adam { constants: CONSTANTS, weight_decay: 0. },
    Rule::Adam { constants: CONSTANTS, weight_decay: 0.1 },
    Rule::Nesterov { momentum: 0.9, weight_decay: 0.01 },
    Rule::ScheduleFree { constants: CONSTANTS, weight_decay: 0.1 },
    Rule::Muon { momentum: 0.95, weight_decay: 0.1, others: CONSTANTS },
];
/// As a configuration has them.
const OPTIMIZERS: [&str; 5] = [
    "kind = 'adam'",
    "kind = 'adamw', weight_decay = 0.05",
    "kind = 'sgd', momentum = 0.9",
    "kind = 'sgd', momentum = 0.5, weight_decay = 0.001",
    "kind = 'muon'",
];

fn resolve(text: &str) -> TrialConfig {
    TrialConfig::resolve(text.parse().unwrap()).unwrap()
}

/// A variable of type T, its values those of that name.
fn variable<T: Real>(name: &str, shape: &[usize]) -> Var {
    Var::from_tensor(&var(name, shape).to_dtype(T::DTYPE).unwrap().copy().unwrap().detach()).unwrap()
}

fn gradient<T: Real>(name: &str, shape: &[usize], step: u64) -> Vec<T> {
    let tensor = var(&format!("{name} {step}"), shape).to_dtype(T::DTYPE).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// A step in plain tensor code, one of several at one rate, of a value and two moments, of which some rules leave one alone.
fn plainly(
    rule: Rule,
    name: &str,
    [theta, m, v]: &[Tensor; 3],
    gradient: &Tensor,
    t: u64,
    learning_rate: f64,
) -> [Tensor; 3] {
    let adam = |constants: Constants, weight_decay: f64| {
        let factors = constants.factors(t, learning_rate).decaying(learning_rate, weight_decay);
        let (theta, m, v) = reference::adam_step(theta, gradient, m, v, factors).unwrap();
        [theta, m, v]
    };
    let (theta, m) = match (rule, matrix_sides(name, theta.dims())) {
        (Rule::Adam { constants, weight_decay }, _) => return adam(constants, weight_decay),
        (Rule::Nesterov { momentum, weight_decay }, _) => {
            reference::nesterov_step(theta, gradient, m, learning_rate, momentum, weight_decay).unwrap()
        }
        (Rule::ScheduleFree { constants, weight_decay }, _) => {
            let squares = t as f64 * learning_rate * learning_rate;
            let factors = constants.free_factors(t, learning_rate, squares, weight_decay);
            let (y, z, v) = reference::schedule_free_step(theta, gradient, m, v, factors).unwrap();
            return [y, z, v];
        }
        (Rule::Muon { weight_decay, others, .. }, None) => return adam(others, weight_decay),
        (Rule::Muon { momentum, weight_decay, .. }, Some(sides)) => {
            let (keep, size) = (1. - learning_rate * weight_decay, learning_rate * muon_scale(sides));
            reference::muon_step(theta, gradient, m, sides, momentum, keep, size).unwrap()
        }
    };
    [theta, m, v.clone()]
}

fn assert_agrees_with_its_reference<T: Real>(rule: Rule, name: &str, shape: &[usize], tolerance: f64) {
    let learning_rate = 0.03;
    let theta = variable::<T>("θ", shape);
    let zeros = var("θ", shape).zeros_like().unwrap();
    let start = theta.to_dtype(DType::F64).unwrap().copy().unwrap();
    let first = if matches!(rule, Rule::ScheduleFree { .. }) { start.clone() } else { zeros.clone() };
    let mut expected = [start, first, zeros];
    let mut optimizer = Optimizer::new(vec![(name.into(), theta.clone())], rule).unwrap();
    for t in 1..=3 {
        let gradient = gradient::<T>("g", shape, t);
        optimizer.begin(learning_rate);
        optimizer.lend::<T>(0, &mut |weight| weight.whole(&gradient)).unwrap();
        let gradient = Tensor::from_slice(&gradient, shape, &Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
        expected = plainly(rule, name, &expected, &gradient, t, learning_rate);
        assert_close(&format!("{rule:?} of {name} {shape:?}"), &values(&theta), &values(&expected[0]), tolerance);
    }
    let (steps, moments) = optimizer.view();
    assert_eq!(steps, 3);
    let kept = moments[name].dims()[0];
    assert_eq!(moments[name].dims()[1..], *shape);
    for (index, expected) in expected[1..][..kept].iter().enumerate() {
        assert_close("moments", &values(&moments[name].get(index).unwrap()), &values(expected), tolerance);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_optimizer_agrees_with_its_reference_over_odd_shapes(
        which in 0..RULES.len(), rows in 1usize..90, columns in 1usize..90, channels in 1usize..5, kernel in 1usize..4,
    ) {
        let rule = RULES[which];
        let shapes: [(&str, Vec<usize>); 5] = [
            ("a.weight", vec![rows, columns]),
            ("a.weight", vec![rows, channels, kernel, kernel + 1]),
            ("a.weight", vec![channels, kernel, columns]),
            ("a.bias", vec![rows, channels]),
            ("a.bias", vec![rows * columns]),
        ];
        for (name, shape) in shapes {
            assert_agrees_with_its_reference::<f64>(rule, name, &shape, 1e-9);
            // Small singular values grow by up to 500 times, and their roundings with them.
            assert_agrees_with_its_reference::<f32>(rule, name, &shape, 1e-3);
        }
    }

    #[test]
    fn a_gradient_that_comes_in_blocks_moves_a_weight_as_one_that_comes_at_once(
        which in 0..RULES.len(), rows in 1usize..70, columns in 1usize..700, at in (0usize..70, 0usize..700),
    ) {
        let (row, column) = (at.0.min(rows), at.1.min(columns));
        let shape = [rows, columns];
        let in_parts = |blocks: &[(std::ops::Range<usize>, std::ops::Range<usize>)]| {
            let theta = variable::<f32>("θ", &shape);
            let mut optimizer = Optimizer::new(vec![("a.weight".into(), theta.clone())], RULES[which]).unwrap();
            for t in 1..=2 {
                let gradient = gradient::<f32>("g", &shape, t);
                optimizer.begin(0.01);
                optimizer.lend::<f32>(0, &mut |weight| {
                    for (rows, columns) in blocks.iter().filter(|(rows, columns)| !rows.is_empty() && !columns.is_empty()) {
                        let block: Vec<f32> = rows.clone()
                            .flat_map(|row| gradient[row * shape[1]..][columns.clone()].iter().copied())
                            .collect();
                        weight.gradient(rows.clone(), columns.clone(), &block);
                    }
                }).unwrap();
            }
            bits(&theta)
        };
        let whole = in_parts(&[(0..rows, 0..columns)]);
        let blocks = [
            (row..rows, 0..column), (0..row, column..columns), (0..row, 0..column), (row..rows, column..columns),
        ];
        prop_assert!(in_parts(&blocks) == whole);
    }
}

#[test]
fn every_optimizer_and_the_average_give_the_same_bits_on_any_number_of_threads() {
    // Larger than what a thread takes at a time, in whole and in last parts.
    let shapes: [(&str, &[usize]); 4] =
        [("a.weight", &[301, 517]), ("b.weight", &[520, 130]), ("c.weight", &[70, 30, 4, 5]), ("c.bias", &[40_001])];
    for rule in RULES {
        let on = |threads: usize| {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
                let vars = shapes.map(|(name, shape)| (name.to_string(), variable::<f32>(name, shape))).to_vec();
                let mut optimizer = Optimizer::new(vars.clone(), rule).unwrap();
                let mut average = Average::new(vars.clone(), 0.9).unwrap();
                for t in 1..=2 {
                    optimizer.begin(0.01);
                    for (index, (name, shape)) in shapes.iter().enumerate() {
                        let gradient = gradient::<f32>(name, shape, t);
                        optimizer.lend::<f32>(index, &mut |weight| weight.whole(&gradient)).unwrap();
                    }
                    average.step(t).unwrap();
                }
                let moments = optimizer.view().1;
                let vars = vars.into_iter().map(|(name, var)| (name, var.as_tensor().clone()));
                vars.chain(moments)
                    .chain(average.view())
                    .map(|(name, tensor)| (name, bits(&tensor)))
                    .collect::<Vec<_>>()
            })
        };
        let expected = on(1);
        for threads in [2, 3, 5] {
            assert!(on(threads) == expected, "{rule:?} on {threads} threads");
        }
    }
}

#[test]
fn a_matrix_is_made_nearly_orthogonal_along_its_shorter_side() {
    for sides @ [rows, columns] in [[1, 1], [1, 40], [33, 1], [20, 90], [90, 20], [64, 64]] {
        let matrix = var("matrix", &[rows, columns]);
        let mut got = values(&matrix);
        orthogonalise(&mut got, sides);
        assert_close("orthogonal", &got, &values(&reference::orthogonal(&matrix).unwrap()), 1e-9);
        if rows == columns && rows > 1 {
            // Of a random square matrix some singular values are too small for five iterations.
            continue;
        }
        let got = Tensor::from_vec(got, &[rows, columns], &Device::Cpu).unwrap();
        let got = if rows > columns { got.t().unwrap().contiguous().unwrap() } else { got };
        let gram = got.matmul(&got.t().unwrap().contiguous().unwrap()).unwrap().to_vec2::<f64>().unwrap();
        for (row, values) in gram.iter().enumerate() {
            for (column, value) in values.iter().enumerate() {
                // Singular values end between 0.68 and 1.14.
                let range = if row == column { 0.4..1.4 } else { -0.5..0.5 };
                assert!(range.contains(value), "{sides:?}: {value} at {row}, {column}");
            }
        }
    }
    let mut zeros = vec![0f32; 12];
    orthogonalise(&mut zeros, [3, 4]);
    assert_eq!(zeros, [0.; 12]);
    let mut none = vec![f32::NAN; 12];
    orthogonalise(&mut none, [4, 3]);
    assert!(none.iter().all(|value| value.is_nan()), "a NaN that enters leaves");
}

#[derive(Deserialize)]
struct Golden {
    learning_rate: f64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    variables: Vec<GoldenVariable>,
    optimizers: Vec<GoldenOptimizer>,
    averages: Vec<GoldenAverage>,
}

#[derive(Deserialize)]
struct GoldenVariable {
    name: String,
    shape: Vec<usize>,
    start: Vec<f64>,
    gradients: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct GoldenOptimizer {
    optimizer: OptimizerConfig,
    /// Of each step, where they differ from the one of all others.
    rates: Option<Vec<f64>>,
    values: BTreeMap<String, Vec<Vec<f64>>>,
    /// What the network is judged by, where these are not the values.
    judged: Option<BTreeMap<String, Vec<Vec<f64>>>>,
}

#[derive(Deserialize)]
struct GoldenAverage {
    decay: f64,
    start: f64,
    steps: Vec<[f64; 2]>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../golden/optimizers.json")).unwrap()
}

#[test]
fn every_optimizer_takes_the_steps_of_its_published_formula() {
    let Golden { learning_rate, beta1, beta2, epsilon, variables, optimizers, .. } = golden();
    for GoldenOptimizer { optimizer: of, rates, values: expected, judged } in optimizers {
        let rule = rule(&TrainConfig { beta1, beta2, epsilon, optimizer: of, ..TrainConfig::default() });
        let make = |of: &GoldenVariable| {
            let start = Tensor::from_slice(&of.start, of.shape.as_slice(), &Device::Cpu).unwrap();
            (of.name.clone(), Var::from_tensor(&start).unwrap())
        };
        let vars: Vec<(String, Var)> = variables.iter().map(make).collect();
        let mut optimizer = Optimizer::new(vars.clone(), rule).unwrap();
        let mut average = Average::found(vars.clone()).unwrap();
        for t in 1..=variables[0].gradients.len() {
            optimizer.begin(rates.as_ref().map_or(learning_rate, |rates| rates[t - 1]));
            for (index, variable) in variables.iter().enumerate() {
                let gradient = &variable.gradients[t - 1];
                optimizer.lend::<f64>(index, &mut |weight| weight.whole(gradient)).unwrap();
            }
            for (name, var) in &vars {
                assert_close(&format!("{of:?}, {name} after step {t}"), &values(var), &expected[name][t - 1], 1e-10);
            }
            optimizer.find(&mut average).unwrap();
            for (name, expected) in judged.iter().flatten() {
                let judged = values(&average.view()[name]);
                assert_close(&format!("{of:?}, {name} as judged after step {t}"), &judged, &expected[t - 1], 1e-10);
            }
        }
    }
}

#[test]
fn the_average_is_that_of_its_published_formula() {
    for GoldenAverage { decay, start, steps } in golden().averages {
        let value = Var::new(&[start], &Device::Cpu).unwrap();
        let mut average = Average::new(vec![("a".into(), value.clone())], decay).unwrap();
        for (t, [of, expected]) in (1..).zip(steps) {
            value.set(&Tensor::new(&[of], &Device::Cpu).unwrap()).unwrap();
            average.step(t).unwrap();
            assert_close("average", &values(&average.view()["a"]), &[expected], 1e-12);
        }
    }
    assert_eq!((average_decay(0.999, 1), average_decay(0.999, 1_000_000)), (2. / 11., 0.999));
}

/// A small training on glyphs.
fn training(train: &str) -> (TrialConfig, Dataset) {
    // A gradient that is not divided by its size takes a larger rate, and a smaller momentum a still larger one.
    let rate = match (train.contains("sgd"), train.contains("momentum = 0.5")) {
        (false, _) => 1e-3,
        (true, false) => 0.03,
        (true, true) => 0.15,
    };
    let config = resolve(&format!(
        "data = {{ train_samples = 400, test_samples = 40, validation_fraction = 0.2 }}\nmodel = {{ preset = 'tiny' }}\n\
         schedule = {{ lr.rate = {rate}, batch.size = 32 }}\n[train]\nepochs = 2\n{train}\n"
    ));
    let data = data::load(&config.data, &DataDirs::at("/nonexistent")).unwrap();
    (config, data)
}

fn trained(config: &TrialConfig, data: &Dataset) -> Trained {
    let trained = train(config, data, &Device::Cpu, Session::default(), &mut ()).unwrap();
    assert_eq!(trained.ending, TrainingEnd::Finished);
    trained
}

#[test]
fn every_optimizer_trains() {
    for kind in OPTIMIZERS {
        for ema in ["", "ema = { decay = 0.9 }"] {
            let (config, data) = training(&format!("optimizer = {{ {kind} }}\n{ema}"));
            let trained = trained(&config, &data);
            let losses: Vec<f64> = trained.epochs.iter().map(|row| row.train_loss).collect();
            assert!(losses[1] < 0.97 * losses[0], "{kind} {ema}: {losses:?}");
        }
    }
}

#[test]
fn a_network_is_judged_by_the_average_and_its_training_goes_on_with_the_weights() {
    let (plain, data) = training("");
    let (averaged, _) = training("ema = { decay = 0.95 }");
    let bits_of = |tensors: &BTreeMap<String, Tensor>| -> Vec<Vec<u32>> { tensors.values().map(bits).collect() };
    let mut by_weights = Trainer::new(&plain, &data, &Device::Cpu).unwrap();
    let mut by_average = Trainer::new(&averaged, &data, &Device::Cpu).unwrap();
    let start = by_weights.snapshot().unwrap();
    let mut expected: Vec<Vec<f64>> = start.tensors().values().map(values).collect();
    for t in 1..=6 {
        for trainer in [&mut by_weights, &mut by_average] {
            trainer.step(&data, &(t as u32 * 20..t as u32 * 20 + 20).collect::<Vec<_>>(), 0, 1e-2).unwrap();
            trainer.evaluate(&data, &data.validation).unwrap();
        }
        let weights = by_weights.snapshot().unwrap();
        assert!(bits_of(weights.tensors()) == bits_of(by_average.parameters.view().tensors()), "step {t}");
        let rest = 1. - average_decay(0.95, t);
        for (average, weight) in expected.iter_mut().zip(weights.tensors().values()) {
            average.iter_mut().zip(values(weight)).for_each(|(average, weight)| *average += rest * (weight - *average));
        }
    }
    let average = by_average.snapshot().unwrap();
    for ((name, got), expected) in average.tensors().iter().zip(&expected) {
        assert_close(name, &values(got), expected, 1e-5);
    }
    let judged = by_average.evaluate(&data, &data.validation).unwrap();
    assert_ne!(judged, by_weights.evaluate(&data, &data.validation).unwrap());
    by_weights.restore(&average).unwrap();
    assert_eq!(judged, by_weights.evaluate(&data, &data.validation).unwrap());
    // The average begins anew with weights that are put in.
    by_average.restore(&start).unwrap();
    by_weights.restore(&start).unwrap();
    let both = [&mut by_average, &mut by_weights].map(|of| of.evaluate(&data, &data.validation).unwrap());
    assert_eq!(both[0], both[1]);
}

#[test]
fn a_training_leaves_the_average_of_its_best_epoch() {
    let (config, data) = training("ema = { decay = 0.9 }");
    let mut trained = trained(&config, &data);
    let row = &trained.epochs[trained.best_epoch.unwrap() - 1];
    let again = trained.trainer.evaluate(&data, &data.validation).unwrap();
    assert_eq!((again.loss, again.accuracy), (row.validation_loss, row.validation_accuracy));
    let test = trained.trainer.evaluate(&data, &data.test).unwrap().accuracy;
    assert_eq!(trained.test_accuracy, Some(test));
    // Another network that takes up what was left says the same.
    let weights = trained.parameters().view();
    let plain = resolve(&config.to_toml().replace("decay = 0.9", "decay = 0.0"));
    let mut other = Trainer::new(&plain, &data, &Device::Cpu).unwrap();
    other.restore(&weights).unwrap();
    assert_eq!(other.evaluate(&data, &data.validation).unwrap(), again);
}

#[test]
fn trainings_of_before_there_was_a_choice_keep_their_keys_and_every_other_has_its_own() {
    let silent = resolve("");
    let json = serde_json::to_string(&silent).unwrap();
    assert!(!json.contains("optimizer") && !json.contains("ema"), "{json}");
    for same in ["optimizer = { kind = 'adam' }", "ema = { decay = 0 }"] {
        assert_eq!(resolve(&format!("[train]\n{same}\n")), silent, "{same}");
    }
    let others = [
        "optimizer = { kind = 'adamw' }",
        "optimizer = { kind = 'adamw', weight_decay = 0.1 }",
        "optimizer = { kind = 'sgd' }",
        "optimizer = { kind = 'sgd', momentum = 0.5 }",
        "optimizer = { kind = 'sgd', weight_decay = 0.1 }",
        "optimizer = { kind = 'muon' }",
        "optimizer = { kind = 'muon', momentum = 0.9 }",
        "ema = {}",
        "ema = { decay = 0.99 }",
        "optimizer = { kind = 'muon' }\nema = { decay = 0.99 }",
    ];
    let configs = others.map(|text| resolve(&format!("[train]\n{text}\n")));
    let keys: std::collections::BTreeSet<String> = configs.iter().chain([&silent]).map(|of| of.key("")).collect();
    assert_eq!(keys.len(), others.len() + 1);
    for config in configs.iter().chain([&silent]) {
        assert_eq!(&resolve(&config.to_toml()), config);
        let table: toml::Table = config.to_toml().parse().unwrap();
        assert_eq!(table["train"]["optimizer"]["kind"].as_str(), Some(config.train.optimizer.kind().as_str()));
    }
    assert_eq!(configs[7].train.ema, Some(EmaConfig { decay: 0.999 }));
    // Without moments of a gradient's square, their constants do not matter.
    let with = |constants: &str| resolve(&format!("[train]\n{constants}\noptimizer = {{ kind = 'sgd' }}\n"));
    assert_eq!(with("beta1 = 0.5\nbeta2 = 0.9\nepsilon = 1e-3"), with(""));
}

#[test]
fn values_that_no_optimizer_takes_are_refused_by_key() {
    for (train, path, facts) in [
        ("optimizer = { kind = 'adamw', weight_decay = -0.1 }", "train.optimizer.weight_decay", vec!["-0.1", "1"]),
        ("optimizer = { kind = 'sgd', weight_decay = nan }", "train.optimizer.weight_decay", vec!["NaN"]),
        ("optimizer = { kind = 'sgd', momentum = 1.0 }", "train.optimizer.momentum", vec!["1"]),
        ("optimizer = { kind = 'muon', momentum = -1 }", "train.optimizer.momentum", vec!["-1"]),
        ("optimizer = { kind = 'adagrad' }", "train.optimizer.kind", vec!["adagrad", "adamw", "sgd", "muon"]),
        ("optimizer = { kind = 'adam', momentum = 0.9 }", "train.optimizer.momentum", vec!["momentum", "adam"]),
        ("optimizer = { kind = 'sgd', beta1 = 0.9 }", "train.optimizer.beta1", vec!["beta1", "sgd", "weight_decay"]),
        ("optimizer = { momentum = 0.9 }", "train.optimizer", vec!["kind"]),
        ("optimizer = 'muon'", "train.optimizer", vec!["muon", "kind"]),
        ("ema = { decay = 1.0 }", "train.ema.decay", vec!["1"]),
        ("ema = { decay = -0.5 }", "train.ema.decay", vec!["-0.5"]),
        ("ema = 0.999", "train.ema", vec!["0.999", "decay"]),
        ("ema = { rate = 0.9 }", "train.ema.rate", vec!["rate", "decay"]),
    ] {
        let error = TrialConfig::resolve(format!("[train]\n{train}\n").parse().unwrap()).unwrap_err();
        assert_eq!(error.path(), path, "{train}: {error}");
        error.to_string().names(&facts);
    }
}

const SPACE: &str = "
[base]
data = { name = 'glyphs', train_samples = 60, test_samples = 20, validation_fraction = 0.2 }
model = { preset = 'tiny' }
train = { epochs = 1 }
[axes]
\"train.optimizer\" = [
    { kind = 'adam' },
    { kind = 'adamw', weight_decay = 0.1 },
    { kind = 'sgd', momentum = 0.9 },
    { kind = 'muon' },
]
\"train.ema.decay\" = [0, 0.99]
[baseline]
\"train.optimizer\" = 'adam'
\"train.ema.decay\" = 0
";

fn space(text: &str) -> Vec<(String, TrialConfig)> {
    let document = fastrcaps::base::source::Document::parse("space", text.into()).unwrap();
    let expansion = Space::from_document(document, "space", &[]).unwrap().expand().unwrap();
    expansion.candidates.into_iter().map(|of| (of.label, of.config)).collect()
}

#[test]
fn optimizers_and_averages_are_axes_whose_values_are_called_by_their_kind() {
    let found: Vec<String> = space(SPACE).into_iter().map(|(label, _)| label).collect();
    let expected =
        ["baseline", "decay 0.99", "adamw", "adamw, decay 0.99", "sgd", "sgd, decay 0.99", "muon", "muon, decay 0.99"];
    assert_eq!(found, expected);
}

#[test]
fn steps_of_another_optimizer_and_averaged_ones_have_times_of_their_own() {
    let configs: Vec<TrialConfig> = space(SPACE).into_iter().map(|(_, config)| config).collect();
    let configs: Vec<&TrialConfig> = configs.iter().collect();
    assert_eq!(shapes(&configs).len(), 8 * shapes(&configs[..1]).len());
    // The constants change no time, and a shape of Adam is called as it was.
    let other = SPACE.replace("weight_decay = 0.1", "weight_decay = 0.2").replace("0.99]", "0.9]");
    let others: Vec<TrialConfig> = space(&other).into_iter().map(|(_, config)| config).collect();
    let ids = |configs: &[&TrialConfig]| shapes(configs).into_keys().collect::<Vec<String>>();
    assert_eq!(ids(&configs), ids(&others.iter().collect::<Vec<_>>()));
    let (shape, _) = shapes(&configs[..1]).into_values().next().unwrap();
    let json = serde_json::to_string(&shape).unwrap();
    assert!(!json.contains("optimizer") && !json.contains("averaged"), "{json}");
    for (shape, _) in shapes(&configs).into_values() {
        assert_eq!(serde_json::from_str::<Shape>(&serde_json::to_string(&shape).unwrap()).unwrap(), shape);
    }
}

#[test]
fn trainings_share_a_beginning_only_with_the_same_optimizer_and_average() {
    let longer = space(&SPACE.replace("epochs = 1 }", "epochs = 2 }"));
    let of = |(_, config): (String, TrialConfig)| Trial { candidate: 0, replicate: 0, config };
    let trials: Vec<Trial> = space(SPACE).into_iter().chain(longer).map(of).collect();
    let found = Beginnings::of(&trials, |_| "");
    for index in 0..8 {
        let [branch] = found.branches(index) else { panic!("{:?}", found.branches(index)) };
        assert_eq!((branch.epochs, found.sharers(&branch.key)), (1, &[index, index + 8][..]));
    }
}

#[test]
fn what_an_optimizer_keeps_counts_in_memory_and_work() {
    let of = |train: &str| resolve(&format!("model = {{ preset = 'paper' }}\n[train]\n{train}\n"));
    let [adam, sgd, muon, averaged] =
        ["", "optimizer = { kind = 'sgd' }", "optimizer = { kind = 'muon' }", "ema = { decay = 0.9 }"]
            .map(|train| peak_bytes(&of(train), 1).unwrap());
    assert!(sgd < adam && adam < averaged && adam < muon, "{sgd} {adam} {averaged} {muon}");
    let work = |train: &str| {
        let (config, data) = training(train);
        let mut trainer = Trainer::new(&config, &data, &Device::Cpu).unwrap();
        let mut laps = Laps::default();
        trainer.step_in_parts(&data, &[0, 1, 2], 0, 1e-3, &mut laps).unwrap();
        let work: BTreeMap<&str, _> =
            trainer.work().unwrap().into_iter().map(|(part, of)| (part.as_str(), of)).collect();
        let timed: Vec<&str> = laps.parts().iter().map(|(part, _)| part.as_str()).collect();
        assert_eq!(timed.contains(&"average"), work.contains_key("average"), "{train}");
        assert!(timed.contains(&"optimizer"));
        (work["optimizer"], work.get("average").map(|of| of.bytes), config.parameters() as u64)
    };
    let (of_adam, average, parameters) = work("ema = { decay = 0.9 }");
    assert_eq!((of_adam.bytes, of_adam.multiply_adds, average), (24 * parameters, 0, Some(12 * parameters)));
    let (of_sgd, average, _) = work("optimizer = { kind = 'sgd' }");
    assert_eq!((of_sgd.bytes, of_sgd.multiply_adds, average), (16 * parameters, 0, None));
    let (of_muon, ..) = work("optimizer = { kind = 'muon' }");
    // Conv1 of 16 filters of 81 values, and so on; five iterations.
    let sides = [[16, 81], [64, 400], [32, 80], [64, 32], [784, 64]];
    let adds = |[a, b]: [u64; 2]| 5 * (2 * a.min(b).pow(2) * a.max(b) + a.min(b).pow(3));
    assert_eq!(of_muon.multiply_adds, sides.map(adds).iter().sum::<u64>());
}

#[test]
fn what_a_gpu_cannot_train_is_refused_by_key_before_anything_is_begun() {
    let folder = folder_with(SPACE);
    let muon = "[train]\noptimizer = { kind = 'muon' }\n";
    let averaged = "[train]\nema = { decay = 0.99 }\n";
    for (text, facts) in
        [(muon, ["train.optimizer.kind", "muon", "adamw"]), (averaged, ["train.ema.decay", "0.99", "0"])]
    {
        fs::write(folder.path().join("my.toml"), text).unwrap();
        for command in ["train", "lr-find"] {
            refuse(folder.path(), &[command, "my.toml", "--device", "cuda:0"]).names(facts);
        }
        refuse(folder.path(), &["bench", "step", "--config", "my.toml", "--estimate", "h100"]).names(facts);
    }
    let said = refuse(folder.path(), &["explore", "space.toml", "--slots", "cuda:0"]);
    said.names(["train.ema.decay", "0.99"]);
    assert!(!folder.path().join("results").exists());
    let trains = |text: &str| resolve(text).check_for_gpu().is_ok();
    assert!(trains("") && trains("[train]\noptimizer = { kind = 'adamw' }\n"));
    assert!(!trains(muon) && !trains(averaged) && !trains("[train]\noptimizer = { kind = 'sgd' }\n"));
}

//! What steps compute and train over a training: routing iterations, reconstruction, frozen layers.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use fastrcaps::{
    learn::{
        config::TrialConfig,
        data::{self, DataDirs, Dataset, ImageShape, batch::epoch_order},
        kernels::{Optimizer, Rule, optimizer::Constants},
        model::{
            config::{CapsNetConfig, ClassSharing, Decoder, ModelConfig, preset},
            parameters::Snapshot,
            pass::{Pass, Stage},
            scope::{Frozen, Scope},
        },
        schedule::{Progress, ScheduleConfig, outline::outline},
        train::{Session, Trained, Trainer, Update, memory::peak_bytes, train},
    },
    timing::{predict::StepClock, shape::steps_of},
};
use proptest::prelude::*;

use crate::{
    cli::{folder_with, succeed, table},
    facts::Facts,
    model::{MNIST, Setup, any_capsnet},
    pass::assert_agrees_within,
    tensors::bits,
};

const DATA: &str = "data = { train_samples = 60, test_samples = 12, validation_fraction = 0.2 }\n";
const MODEL: &str = "preset = 'tiny', conv1_channels = 4, primary_types = 2, primary_dim = 4, class_dim = 4";

fn resolve(text: &str) -> TrialConfig {
    TrialConfig::resolve(text.parse().unwrap()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A small training of four epochs of 6 steps each, by this schedule.
fn config(model: &str, schedule: &str) -> TrialConfig {
    resolve(&format!(
        "{DATA}model = {{ {model} }}\nschedule = {{ {} }}\ntrain = {{ epochs = 4 }}\n",
        of_eights(schedule)
    ))
}

/// The fields of a schedule of batches of eight.
fn of_eights(schedule: &str) -> String {
    let batch = "batch = { policy = 'fixed', size = 8 }";
    if schedule.is_empty() { batch.into() } else { format!("{batch}, {schedule}") }
}

fn glyphs(config: &TrialConfig) -> Dataset {
    data::load(&config.data, &DataDirs::at("/nonexistent")).unwrap()
}

fn trained(config: &TrialConfig) -> Trained {
    train(config, &glyphs(config), &Device::Cpu, Session::default(), &mut ()).unwrap()
}

/// Values of every variable, as bits.
type Weights = BTreeMap<String, Vec<u32>>;

fn weights(snapshot: &Snapshot) -> Weights {
    snapshot.tensors().iter().map(|(name, tensor)| (name.clone(), bits(tensor))).collect()
}

/// The weights before the first step and after every step, with what the step did.
fn walk(config: &TrialConfig) -> (Vec<Weights>, Vec<Scope>) {
    let data = glyphs(config);
    let mut trainer = Trainer::new(config, &data, &Device::Cpu).unwrap();
    let (mut walked, mut scopes) = (vec![weights(&trainer.snapshot().unwrap())], Vec::new());
    for epoch in 0..config.train.epochs {
        let order = epoch_order(data.train.len(), config.seed, epoch);
        for step in config.schedule.epoch_steps(epoch, config.train.epochs, order.len()) {
            trainer.step(&data, &order[step.samples.clone()], epoch, &step).unwrap();
            walked.push(weights(&trainer.snapshot().unwrap()));
            scopes.push(step.scope);
        }
    }
    (walked, scopes)
}

/// The first parts of the names of the variables that a step moved.
fn moved(before: &Weights, after: &Weights) -> Vec<String> {
    let moved = before.iter().filter(|(name, values)| after[*name] != **values);
    let mut layers: Vec<String> = moved.map(|(name, _)| name.split('.').next().unwrap().to_string()).collect();
    layers.dedup();
    layers
}

const ALL: [&str; 4] = ["class_caps", "conv1", "decoder", "primary"];

#[test]
fn a_schedule_says_at_every_moment_what_is_computed_and_trained() {
    let schedule: ScheduleConfig = toml::from_str(
        "routing = { policy = 'phases', phases = [{ until = 0.5, iterations = 1 }, { until = 0.8, iterations = 2 }, {}] }
         reconstruction = { every = 3, until = 0.7 }
         freeze = { conv1 = 0.3, primary = 0.9 }",
    )
    .unwrap();
    let at = |epoch: f64, number| schedule.scope(Progress { epoch, epochs: 10.0 }, number);
    let scope = |iterations, skips_decoder, frozen| Scope { iterations, skips_decoder, frozen };
    assert_eq!(at(0.0, 0), scope(Some(1), false, Frozen::Nothing));
    assert_eq!(at(2.999, 1), scope(Some(1), true, Frozen::Nothing));
    assert_eq!(at(3.0, 3), scope(Some(1), false, Frozen::Conv1));
    assert_eq!(at(5.0, 0), scope(Some(2), false, Frozen::Conv1));
    assert_eq!(at(7.0, 0), scope(Some(2), true, Frozen::Conv1));
    assert_eq!(at(8.0, 0), scope(None, true, Frozen::Conv1));
    assert_eq!(at(9.0, 0), scope(None, true, Frozen::Primary));
    assert_eq!(schedule.scopes().first(), Some(&at(0.0, 0)));
    assert_eq!(schedule.scopes().last(), Some(&at(9.5, 0)));
    assert_eq!(schedule.stops(10), [10], "shares of a shorter training are others");
    assert!(ScheduleConfig::default().is_whole() && !schedule.is_whole());
    // A reconstruction in every so manyth step does not ask for the length.
    let every: ScheduleConfig = toml::from_str("reconstruction = { every = 3 }").unwrap();
    assert_eq!(every.stops(3), [1, 2, 3]);
}

#[test]
fn an_outline_shows_where_what_is_computed_and_trained_changes() {
    let schedule: ScheduleConfig = toml::from_str("routing = { policy = 'phases' }\nfreeze = { conv1 = 0.3 }").unwrap();
    let rows: Vec<(f64, Option<usize>, Frozen)> =
        outline(&schedule, 10).rows.iter().map(|row| (row.epoch, row.scope.iterations, row.scope.frozen)).collect();
    let expected = [
        (0.0, Some(1), Frozen::Nothing),
        (3.0, Some(1), Frozen::Nothing),
        (3.0, Some(1), Frozen::Conv1),
        (8.0, Some(1), Frozen::Conv1),
        (8.0, None, Frozen::Conv1),
        (10.0, None, Frozen::Conv1),
    ];
    assert_eq!(rows, expected);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("my.toml"),
        "schedule = { routing = {}, freeze = { conv1 = 0.3 }, reconstruction = { every = 4 } }\n",
    )
    .unwrap();
    let said = succeed(folder.path(), &["schedule", "my.toml"]);
    said.names(["ROUTING", "RECONSTRUCTS", "FROZEN", "1 step of 4", "conv1"]);
    std::fs::write(folder.path().join("plain.toml"), "").unwrap();
    assert!(!succeed(folder.path(), &["schedule", "plain.toml"]).contains("ROUTING"));
}

fn some_schedule() -> impl Strategy<Value = String> {
    let routing = prop_oneof![
        Just(""),
        Just("routing = { policy = 'phases' }"),
        Just(
            "routing = { policy = 'phases', phases = [{ until = 0.31, iterations = 2 }, { until = 0.7, iterations = 1 }, {}] }"
        ),
        Just("routing = { policy = 'phases', phases = [{ iterations = 1 }] }"),
    ];
    let until = prop_oneof![Just(1.0), Just(0.1), Just(0.3), Just(0.6), Just(0.75), 0.01f64..1.0];
    let freeze = prop_oneof![Just((1.0, 1.0)), Just((0.2, 1.0)), Just((0.0, 0.6)), Just((0.3, 0.3))];
    (routing, 1usize..6, until, freeze).prop_map(|(routing, every, until, (conv1, primary))| {
        format!(
            "{routing}\nreconstruction = {{ every = {every}, until = {until} }}\n\
             freeze = {{ conv1 = {conv1:?}, primary = {primary:?} }}"
        )
    })
}

fn some_batch() -> impl Strategy<Value = String> {
    prop_oneof![
        (1usize..70).prop_map(|size| format!("batch = {{ policy = 'fixed', size = {size} }}")),
        (0.1f64..4.0, 1usize..70, 1usize..70).prop_map(|(epochs, one, other)| format!(
            "batch = {{ policy = 'adabatch', phases = [{{ epochs = {epochs:?}, size = {one} }}, {{ size = {other} }}] }}"
        )),
    ]
}

fn some_share() -> impl Strategy<Value = String> {
    let some = (0.001f64..1.0, 1usize..4, 1usize..5).prop_map(|(share, after, every)| {
        format!("samples = {{ share = {share:?}, after = {after}, full_every = {every} }}")
    });
    prop_oneof![Just(String::new()), some]
}

proptest! {
    #[test]
    fn steps_are_counted_by_kind_as_they_are_taken(
        scope in some_schedule(), batch in some_batch(), share in some_share(), samples in 1usize..200,
        epochs in 1usize..12, stop in 1usize..12,
    ) {
        let schedule: ScheduleConfig = toml::from_str(&format!("{scope}\n{batch}\n{share}")).unwrap();
        prop_assert_eq!(schedule.validate(epochs), Ok(()));
        let stop = stop.min(epochs);
        let (mut walked, mut sizes) = (BTreeMap::new(), BTreeMap::new());
        for step in (0..stop).flat_map(|epoch| schedule.epoch_steps(epoch, epochs, samples)) {
            *walked.entry((step.samples.len(), step.scope)).or_insert(0) += 1;
            *sizes.entry(step.samples.len()).or_insert(0) += 1;
            prop_assert!(schedule.scopes().contains(&step.scope));
        }
        prop_assert_eq!(schedule.steps_by_kind(stop, epochs, samples), walked);
        let seen: usize = sizes.iter().map(|(size, count)| size * *count as usize).sum();
        prop_assert_eq!(schedule.samples_seen(stop, samples), seen);
        prop_assert_eq!(schedule.steps_by_size(stop, epochs, samples), sizes);
    }
}

#[test]
fn a_schedule_that_changes_nothing_is_that_of_before_there_was_a_choice() {
    let plain = config(MODEL, "");
    for schedule in [
        "routing = { policy = 'model' }",
        "routing = { phases = [{}] }",
        "routing = { phases = [{ until = 0.5, iterations = 3 }, {}] }",
        "reconstruction = { every = 1, until = 1 }",
        "freeze = { conv1 = 1, primary = 1.0 }",
        "routing = { policy = 'model' }, reconstruction = {}, freeze = {}",
    ] {
        let same = config(MODEL, schedule);
        assert_eq!((&same, same.key("")), (&plain, plain.key("")), "{schedule}");
    }
    let written = serde_json::to_string(&plain).unwrap();
    for field in ["routing\"", "reconstruction\"", "freeze\""] {
        assert!(!written.contains(field), "{field} in {written}");
    }
    let mut keys = vec![plain.key("")];
    for schedule in [
        "routing = {}",
        "routing = { phases = [{ until = 0.5, iterations = 1 }, {}] }",
        "routing = { phases = [{ iterations = 1 }] }",
        "reconstruction = { every = 2 }",
        "reconstruction = { until = 0.5 }",
        "freeze = { conv1 = 0.5 }",
        "freeze = { conv1 = 0.5, primary = 0.8 }",
    ] {
        let other = config(MODEL, schedule);
        assert_eq!(resolve(&other.to_toml()), other, "{schedule}");
        keys.push(other.key(""));
    }
    assert_eq!(resolve(&plain.to_toml()), plain);
    let distinct: std::collections::BTreeSet<&String> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len());
    // What a network does not have cannot matter to it.
    let (lenet, alone) = ("kind = 'lenet5'", "preset = 'tiny', decoder = 'none'");
    for (model, schedule) in [
        (lenet, "routing = {}, reconstruction = { every = 2 }"),
        (alone, "reconstruction = { every = 2, until = 0.5 }"),
    ] {
        assert_eq!(config(model, schedule).key(""), config(model, "").key(""), "{model} {schedule}");
    }
    let both = config(lenet, "freeze = { conv1 = 0.5, primary = 0.8 }");
    assert_eq!(both.key(""), config(lenet, "freeze = { conv1 = 0.5 }").key(""));
    assert_ne!(both.key(""), config(lenet, "").key(""));
}

#[test]
fn values_at_fault_are_named_in_a_configuration_too() {
    let error = |schedule: &str| {
        let text = format!("schedule = {{ {schedule} }}\n");
        TrialConfig::resolve(text.parse().unwrap()).expect_err(schedule)
    };
    for (schedule, path) in [
        ("routing = { phases = [{ until = 0.5, iterations = 12 }, {}] }", "schedule.routing.phases[0].iterations"),
        ("routing = { phases = [{ until = 'half' }, {}] }", "schedule.routing.phases[0].until"),
        ("routing = { policy = 'wave' }", "schedule.routing.policy"),
        ("routing = 3", "schedule.routing"),
        ("routing = { policy = 'model', phases = [] }", "schedule.routing.phases"),
        ("reconstruction = { every = 0 }", "schedule.reconstruction.every"),
        ("reconstruction = { each = 2 }", "schedule.reconstruction.each"),
        ("freeze = { primary = 0.5 }", "schedule.freeze.conv1"),
        ("freeze = { class_caps = 0.5 }", "schedule.freeze.class_caps"),
    ] {
        assert_eq!(error(schedule).path(), path, "{schedule}: {}", error(schedule));
    }
}

pub const SCOPES: [Scope; 5] = [
    Scope { iterations: Some(1), skips_decoder: false, frozen: Frozen::Nothing },
    Scope { iterations: Some(5), skips_decoder: true, frozen: Frozen::Nothing },
    Scope { iterations: None, skips_decoder: false, frozen: Frozen::Conv1 },
    Scope { iterations: Some(2), skips_decoder: true, frozen: Frozen::Conv1 },
    Scope { iterations: Some(1), skips_decoder: true, frozen: Frozen::Primary },
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_pass_within_a_scope_computes_what_the_graph_does_and_lends_nothing_else(
        config in any_capsnet(), scope in prop::sample::select(SCOPES.to_vec()), batch in 1usize..12,
    ) {
        let ModelConfig::Capsnet(config) = config else { unreachable!() };
        let shape = ImageShape { channels: 2, height: 23, width: 21 };
        assert_agrees_within::<f64>(scope, &config, shape, batch, 1e-9);
    }
}

#[test]
fn a_pass_within_a_scope_computes_what_the_graph_does_at_full_size() {
    for scope in [SCOPES[2], SCOPES[4]] {
        assert_agrees_within::<f32>(scope, &preset("paper").unwrap(), MNIST, 9, 1e-4);
    }
    let frozen = Scope { frozen: Frozen::Primary, ..Scope::default() };
    assert_agrees_within::<f32>(frozen, &preset("small").unwrap(), MNIST, 20, 1e-4);
}

const CONSTANTS: Constants = Constants { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };

/// Images and labels of a setup, from a sample on.
fn slices(setup: &Setup, from: usize) -> (Vec<f32>, Vec<u32>) {
    let rest = |tensor: &Tensor| tensor.narrow(0, from, tensor.dim(0).unwrap() - from).unwrap().flatten_all().unwrap();
    (rest(&setup.images).to_vec1().unwrap(), rest(&setup.labels).to_vec1().unwrap())
}

/// Weights and moments after steps of each scope, and evaluations between them.
fn after_scopes(config: &CapsNetConfig, threads: usize) -> Vec<Vec<u32>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let setup = Setup::new(&ModelConfig::Capsnet(config.clone()), MNIST, 21, DType::F32);
        let mut pass = Pass::<f32>::new(&config.layers(MNIST, 10), &setup.parameters).unwrap();
        let mut adam = Optimizer::new(setup.parameters.vars(), Rule::adam(CONSTANTS)).unwrap();
        for (scope, from) in SCOPES.into_iter().chain([Scope::default()]).zip([0, 0, 13, 0, 19, 0]) {
            let (images, labels) = slices(&setup, from);
            adam.begin(1e-3);
            pass.train_within(scope, &images, &labels, &mut adam).unwrap();
            pass.evaluate(&images, &labels).unwrap();
        }
        let weights = setup.parameters.vars().into_iter().map(|(_, var)| var.as_detached_tensor());
        weights.chain(adam.view().1.into_values()).map(|tensor| bits(&tensor)).collect()
    })
}

#[test]
fn steps_of_all_scopes_give_the_same_bits_on_any_number_of_threads() {
    let small = preset("small").unwrap();
    let shared = CapsNetConfig { class_sharing: ClassSharing::ByType, decoder: Decoder::Small, ..small.clone() };
    for config in [small, shared] {
        let expected = after_scopes(&config, 1);
        for threads in [2, 3] {
            assert!(after_scopes(&config, threads) == expected, "{threads} threads");
        }
    }
}

#[test]
fn a_pass_that_has_routed_otherwise_before_gives_the_bits_of_one_that_has_not() {
    for class_sharing in [ClassSharing::None, ClassSharing::ByType] {
        let config = CapsNetConfig { class_sharing, ..preset("small").unwrap() };
        let setup = Setup::new(&ModelConfig::Capsnet(config.clone()), MNIST, 40, DType::F32);
        let new = |config: &CapsNetConfig| Pass::<f32>::new(&config.layers(MNIST, 10), &setup.parameters).unwrap();
        let losses_and_gradients = |pass: &mut Pass<f32>, iterations: Option<usize>, from: usize| {
            let (images, labels) = slices(&setup, from);
            let mut kept = crate::pass::Kept::new(&setup);
            let scope = Scope { iterations, ..Scope::default() };
            let loss = pass.train_within(scope, &images, &labels, &mut kept).unwrap();
            let gradients: Vec<Vec<u32>> =
                kept.gradients().map(|of: &[f32]| of.iter().map(|value| value.to_bits()).collect()).collect();
            (loss.to_bits(), gradients)
        };
        let mut used = new(&config);
        for (iterations, from) in [(5, 0), (1, 0), (3, 35), (2, 0), (1, 35)] {
            let of = CapsNetConfig { routing_iterations: iterations, ..config.clone() };
            let expected = losses_and_gradients(&mut new(&of), None, from);
            assert!(losses_and_gradients(&mut used, Some(iterations), from) == expected, "{iterations} from {from}");
        }
    }
}

#[test]
fn phases_of_three_iterations_train_as_a_network_of_three_does() {
    // One epoch, so that its weights are the last.
    let of = |own: usize, schedule: &str| {
        resolve(&format!(
            "{DATA}model = {{ {MODEL}, routing_iterations = {own} }}\ntrain = {{ epochs = 1 }}\nschedule = {{ {} }}\n",
            of_eights(schedule)
        ))
    };
    let last = |config: &TrialConfig| weights(&trained(config).trainer.parameters.snapshot().unwrap());
    let three = of(3, "");
    let phased = of(1, "routing = { phases = [{ until = 0.5, iterations = 3 }, { iterations = 3 }] }");
    assert_ne!(phased.key(""), three.key(""), "it is evaluated otherwise");
    assert!(last(&phased) == last(&three));
    assert!(last(&of(1, "")) != last(&three));
    let half = of(1, "routing = { phases = [{ until = 0.5, iterations = 3 }, {}] }");
    assert!(last(&half) != last(&three) && last(&half) != last(&of(1, "")));
}

#[test]
fn evaluation_takes_the_networks_own_number_of_iterations() {
    let config = config(MODEL, "routing = { phases = [{ iterations = 1 }] }");
    let mut end = trained(&config);
    let data = glyphs(&config);
    let phased = end.trainer.evaluate(&data, &data.test).unwrap();
    let mut own = Trainer::new(&crate::scope::config(MODEL, ""), &data, &Device::Cpu).unwrap();
    own.restore(&end.trainer.snapshot().unwrap()).unwrap();
    assert_eq!(own.evaluate(&data, &data.test).unwrap(), phased);
    let one = format!("{MODEL}, routing_iterations = 1");
    let mut one = Trainer::new(&crate::scope::config(&one, ""), &data, &Device::Cpu).unwrap();
    one.restore(&end.trainer.snapshot().unwrap()).unwrap();
    assert_ne!(one.evaluate(&data, &data.test).unwrap(), phased);
}

#[test]
fn a_frozen_layer_moves_before_its_share_of_the_training_and_not_after() {
    let config = config(MODEL, "freeze = { conv1 = 0.5, primary = 0.75 }");
    let (walked, scopes) = walk(&config);
    assert_eq!(scopes.len(), 24);
    for (step, pair) in walked.windows(2).enumerate() {
        let expected: &[&str] = match step {
            0..12 => &ALL,
            12..18 => &["class_caps", "decoder", "primary"],
            _ => &["class_caps", "decoder"],
        };
        assert_eq!(moved(&pair[0], &pair[1]), expected, "step {step}");
    }
    // Up to there it is the training that freezes nothing.
    let (whole, _) = walk(&crate::scope::config(MODEL, ""));
    assert!(walked[..13] == whole[..13] && walked[13] != whole[13]);
}

#[test]
fn a_lenet_freezes_its_first_convolution() {
    let config = config("kind = 'lenet5'", "freeze = { conv1 = 0.5 }");
    let (walked, _) = walk(&config);
    for (step, pair) in walked.windows(2).enumerate() {
        let is_moved = moved(&pair[0], &pair[1]).contains(&"conv1".to_string());
        assert_eq!(is_moved, step < 12, "step {step}");
        assert!(moved(&pair[0], &pair[1]).contains(&"conv2".to_string()));
    }
}

#[test]
fn a_step_without_reconstruction_leaves_the_decoder_as_it_is() {
    let (walked, _) = walk(&config(MODEL, "reconstruction = { every = 4, until = 0.75 }"));
    for (step, pair) in walked.windows(2).enumerate() {
        // The first step of an epoch of six, and the fifth.
        let reconstructs = step < 18 && matches!(step % 6, 0 | 4);
        assert_eq!(moved(&pair[0], &pair[1]).contains(&"decoder".to_string()), reconstructs, "step {step}");
        assert!(moved(&pair[0], &pair[1]).contains(&"conv1".to_string()));
    }
}

#[test]
fn moments_of_what_a_step_does_not_train_stay_what_they_are() {
    let config = preset("tiny").unwrap();
    let setup = Setup::new(&ModelConfig::Capsnet(config.clone()), MNIST, 12, DType::F32);
    let mut pass = Pass::<f32>::new(&config.layers(MNIST, 10), &setup.parameters).unwrap();
    let mut adam = Optimizer::new(setup.parameters.vars(), Rule::adam(CONSTANTS)).unwrap();
    let (images, labels) = slices(&setup, 0);
    let mut step = |scope: Scope| -> Weights {
        adam.begin(1e-3);
        pass.train_within(scope, &images, &labels, &mut adam).unwrap();
        adam.view().1.iter().map(|(name, moments)| (name.clone(), bits(moments))).collect()
    };
    let whole = step(Scope::default());
    let without = step(Scope { skips_decoder: true, ..Scope::default() });
    assert_eq!(moved(&whole, &without), ["class_caps", "conv1", "primary"]);
    let conv1 = step(Scope { frozen: Frozen::Conv1, ..Scope::default() });
    assert_eq!(moved(&without, &conv1), ["class_caps", "decoder", "primary"]);
    let primary = step(Scope { frozen: Frozen::Primary, ..Scope::default() });
    assert_eq!(moved(&conv1, &primary), ["class_caps", "decoder"]);
    assert_eq!(moved(&primary, &step(Scope::default())), ALL);
}

#[test]
fn what_a_step_leaves_out_is_no_work_and_no_part_of_it() {
    let layers = preset("small").unwrap().layers(MNIST, 10);
    let stages = |scope| layers.work::<f32>(scope, 16).unwrap();
    let names = |scope| stages(scope).into_iter().map(|(stage, _)| stage).collect::<Vec<_>>();
    let work = |scope, of: Stage| stages(scope).into_iter().find(|(stage, _)| *stage == of).unwrap().1;
    let whole = Scope::default();
    let frozen = |frozen| Scope { frozen, ..whole };
    assert_eq!(names(whole).len(), 9);
    let without = names(Scope { skips_decoder: true, ..whole });
    assert!(without.len() == 7 && !without.contains(&Stage::Decoder) && !without.contains(&Stage::DecoderBackward));
    assert!(!names(frozen(Frozen::Conv1)).contains(&Stage::Conv1Backward));
    let primary = names(frozen(Frozen::Primary));
    assert!(!primary.contains(&Stage::Conv1Backward) && !primary.contains(&Stage::PrimaryCapsulesBackward));
    let of = Stage::PrimaryCapsulesBackward;
    let (all, half) = (work(whole, of), work(frozen(Frozen::Conv1), of));
    assert_eq!(2 * half.multiply_adds, all.multiply_adds);
    assert!(half.bytes < all.bytes);
    let one = Scope { iterations: Some(1), ..whole };
    assert!(work(one, Stage::ClassCapsules).multiply_adds < work(whole, Stage::ClassCapsules).multiply_adds);
    let of_layer = |name: &str| {
        let setup = Setup::new(&ModelConfig::Capsnet(preset("small").unwrap()), MNIST, 1, DType::F32);
        let vars = setup.parameters.vars().into_iter().filter(|(known, _)| known.starts_with(name));
        vars.map(|(_, var)| var.elem_count()).sum::<usize>()
    };
    let all = layers.trained(whole);
    assert_eq!(all, of_layer(""));
    assert_eq!(layers.trained(frozen(Frozen::Primary)), all - of_layer("conv1") - of_layer("primary"));
    assert_eq!(layers.trained(Scope { skips_decoder: true, ..whole }), all - of_layer("decoder"));
}

#[test]
fn steps_of_other_scopes_are_other_kinds_and_those_of_other_iterations_are_the_other_networks() {
    let ids = |config: &TrialConfig| -> Vec<(String, u64)> {
        steps_of(config, 4).into_iter().map(|(shape, count)| (shape.id(), count)).collect()
    };
    let plain = ids(&config(MODEL, ""));
    let one = ids(&config(&format!("{MODEL}, routing_iterations = 1"), ""));
    let mut phased = ids(&config(MODEL, "routing = { phases = [{ until = 0.75, iterations = 1 }, {}] }"));
    phased.sort();
    let mut expected = vec![(one[0].0.clone(), 18), (plain[0].0.clone(), 6)];
    expected.sort();
    assert_eq!(phased, expected);
    let of = config(MODEL, "freeze = { conv1 = 0.5, primary = 0.75 }, reconstruction = { every = 2 }");
    let kinds = steps_of(&of, 4);
    let count = |skips_decoder, frozen| {
        let scope = Scope { iterations: None, skips_decoder, frozen };
        kinds.iter().filter(|(shape, _)| shape.scope_in(&of) == scope).map(|(_, count)| count).sum::<u64>()
    };
    for skips in [false, true] {
        assert_eq!(
            [count(skips, Frozen::Nothing), count(skips, Frozen::Conv1), count(skips, Frozen::Primary)],
            [6, 3, 3]
        );
    }
    let shape = &steps_of(&config(MODEL, "routing = { phases = [{ iterations = 1 }] }"), 4)[0].0;
    assert_eq!(shape.scope_in(&config(MODEL, "")).iterations, Some(1));
    // Read again as it was written.
    for (shape, _) in kinds {
        let again: fastrcaps::timing::shape::Shape =
            serde_json::from_str(&serde_json::to_string(&shape).unwrap()).unwrap();
        assert_eq!(again, shape);
    }
    assert!(StepClock::default().predict(&of).unwrap() > 0.0);
}

#[test]
fn memory_is_predicted_for_the_largest_number_of_iterations() {
    let of = |own: usize, schedule: &str| {
        let text = format!(
            "data = {{ name = 'mnist' }}\nmodel = {{ preset = 'small', routing_iterations = {own} }}\nschedule = {{ {schedule} }}\n"
        );
        peak_bytes(&resolve(&text), 1).unwrap()
    };
    assert_eq!(of(3, "routing = { phases = [{ until = 0.5, iterations = 1 }, {}] }"), of(3, ""));
    assert_eq!(of(1, "routing = { phases = [{ until = 0.5, iterations = 6 }, {}] }"), of(6, ""));
    assert!(of(6, "") > of(3, ""));
}

#[test]
fn a_step_can_be_told_to_leave_things_out() {
    let config = config(MODEL, "");
    let data = glyphs(&config);
    let indices: Vec<u32> = (0..8).collect();
    let mut losses = Vec::new();
    for skips_decoder in [false, true] {
        let mut trainer = Trainer::new(&config, &data, &Device::Cpu).unwrap();
        let scope = Scope { skips_decoder, ..Scope::default() };
        losses.push(trainer.step(&data, &indices, 0, Update { learning_rate: 1e-3, scope }).unwrap().loss);
    }
    assert!(losses[1] < losses[0], "its loss is that of the margin alone: {losses:?}");
}

const SPACE: &str = "
name = 'scope'
[base]
data = { name = 'glyphs', train_samples = 60, test_samples = 20, validation_fraction = 0.2 }
model = { preset = 'tiny' }
train = { epochs = 2 }
schedule.batch = { policy = 'fixed', size = 8 }
[axes]
\"model.kind\" = ['capsnet', 'lenet5']
\"schedule.routing\" = [{ policy = 'model' }, { policy = 'phases', phases = [{ until = 0.5, iterations = 1 }, {}] }]
\"schedule.reconstruction.every\" = [1, 2]
\"schedule.freeze.conv1\" = [1, 0.5]
";

#[test]
fn a_space_explores_them_as_axes_that_share_beginnings_and_have_confirmed_times() {
    let folder = folder_with(SPACE);
    let confirm = ["--confirm-rounds", "6", "--confirm-patience", "0s"];
    succeed(folder.path(), &[&["explore", "space.toml", "--quiet", "--slots", "1x1"][..], &confirm].concat());
    let rows = table(folder.path().join("results/scope/trials.csv"));
    // Eight capsule networks, and a LeNet-5 that freezes or does not.
    assert_eq!(rows.len(), 10);
    assert!(rows.iter().all(|row| row["status"] == "done"));
    let shared: Vec<&str> = rows.iter().map(|row| row["shared_epochs"].as_str()).collect();
    // Freezing begins with the second epoch; the others differ from the first step on.
    assert_eq!(shared, ["", "1", "", "1", "", "1", "", "1", "", "1"]);
    // Six of the capsule networks: with one iteration nothing is frozen yet. Two of LeNet-5.
    let times = std::fs::read(folder.path().join("results/scope/times/default.json")).unwrap();
    let times: serde_json::Value = serde_json::from_slice(&times).unwrap();
    assert_eq!(times["shapes"].as_object().unwrap().len(), 8);
    let effects = table(folder.path().join("results/scope/attribution.csv"));
    let axes: Vec<&str> = effects.iter().map(|row| row["axis"].as_str()).collect();
    for axis in ["schedule.routing", "schedule.reconstruction.every", "schedule.freeze.conv1"] {
        assert!(axes.contains(&axis), "{axis} in {axes:?}");
    }
}

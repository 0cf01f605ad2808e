//! The written-out pass: what candle's graph computes, with the same bits on any number of threads, and nothing allocated.

use std::ops::Range;

use candle_core::{DType, Result, Tensor};
use fastrcaps::learn::{
    data::ImageShape,
    kernels::{Optimizer, Real, Rule, Weight, optimizer::Constants},
    model::{
        Mask,
        config::{CapsNetConfig, ClassSharing, Decoder, ModelConfig, preset},
        pass::{Gradients, Pass},
        scope::{Frozen, Scope},
    },
};
use proptest::prelude::*;

use crate::{
    allocations,
    facts::Facts,
    model::{CIFAR, MNIST, Setup, any_capsnet},
    tensors::{assert_close, bits, values},
};

/// Gradients kept as they come, by variable; a value that does not come stays NaN, one that comes twice is an error.
pub struct Kept<T>(Vec<KeptWeight<T>>);

pub struct KeptWeight<T> {
    values: Vec<T>,
    columns: usize,
    gradient: Vec<T>,
}

impl<T: Real> Kept<T> {
    pub fn new(setup: &Setup) -> Self {
        let keep = |(_, var): (String, candle_core::Var)| {
            let values = var.flatten_all().unwrap().to_vec1::<T>().unwrap();
            let columns = values.len() / var.dim(0).unwrap();
            KeptWeight { gradient: vec![T::from_f64(f64::NAN); values.len()], values, columns }
        };
        Kept(setup.parameters.vars().into_iter().map(keep).collect())
    }

    /// In the order of the parameters.
    pub fn gradients(&self) -> impl Iterator<Item = &[T]> {
        self.0.iter().map(|kept| kept.gradient.as_slice())
    }
}

impl<T: Real> Gradients<T> for Kept<T> {
    fn lend(&mut self, index: usize, task: &mut dyn FnMut(&mut dyn Weight<T>)) -> Result<()> {
        task(&mut self.0[index]);
        Ok(())
    }
}

impl<T: Real> Weight<T> for KeptWeight<T> {
    fn values(&self) -> &[T] {
        &self.values
    }

    fn gradient(&mut self, rows: Range<usize>, columns: Range<usize>, block: &[T]) {
        for (row, block) in rows.zip(block.chunks_exact(columns.len())) {
            for (value, &new) in self.gradient[row * self.columns..][columns.clone()].iter_mut().zip(block) {
                assert!(value.to_f64().is_nan(), "a gradient that comes twice");
                *value = new;
            }
        }
    }

    fn whole(&mut self, gradient: &[T]) {
        self.gradient(0..self.values.len() / self.columns, 0..self.columns, gradient);
    }
}

/// A pass over the network of a setup.
fn pass<T: Real>(config: &CapsNetConfig, shape: ImageShape, setup: &Setup) -> Pass<T> {
    Pass::new(&config.layers(shape, 10), &setup.parameters).unwrap()
}

fn slices<T: Real>(setup: &Setup, from: usize) -> (Vec<T>, Vec<u32>) {
    let rest = |tensor: &Tensor| tensor.narrow(0, from, tensor.dim(0).unwrap() - from).unwrap().flatten_all().unwrap();
    (rest(&setup.images).to_vec1().unwrap(), rest(&setup.labels).to_vec1().unwrap())
}

/// Loss, scores and gradients of a batch are those of the graph, whatever was computed before.
fn assert_agrees_with_the_graph<T: Real>(config: &CapsNetConfig, shape: ImageShape, batch: usize, tolerance: f64) {
    assert_agrees_within::<T>(Scope::default(), config, shape, batch, tolerance);
}

/// The same of a step that computes and trains what `scope` says; what has no gradient in the graph is not lent.
pub fn assert_agrees_within<T: Real>(
    scope: Scope,
    config: &CapsNetConfig,
    shape: ImageShape,
    batch: usize,
    tolerance: f64,
) {
    let setup = Setup::new(&ModelConfig::Capsnet(config.clone()), shape, batch, T::DTYPE);
    let mut pass = pass::<T>(config, shape, &setup);
    // Another batch size before, which must leave no trace.
    let (images, labels) = slices::<T>(&setup, batch / 2);
    pass.train(&images, &labels, &mut Kept::new(&setup)).unwrap();

    let (images, labels) = slices::<T>(&setup, 0);
    let output = setup.network.forward_in_step(1, scope, &setup.images, Mask::TrueLabels(&setup.labels)).unwrap();
    let loss = setup.network.loss(&output, &setup.images, &setup.labels).unwrap();
    let mut kept = Kept::new(&setup);
    let got = pass.train_within(scope, &images, &labels, &mut kept).unwrap();
    assert_close("loss", &[got], &values(&loss.unsqueeze(0).unwrap()), tolerance);
    let scores: Vec<f64> = pass.scores().iter().map(|v| v.to_f64()).collect();
    assert_close("scores", &scores, &values(&output.scores), tolerance);
    let gradients = loss.backward().unwrap();
    for ((name, var), kept) in setup.parameters.vars().iter().zip(&kept.0) {
        let got: Vec<f64> = kept.gradient.iter().map(|v| v.to_f64()).collect();
        match gradients.get(var) {
            Some(expected) => assert_close(name, &got, &values(expected), tolerance),
            None => assert!(!scope.is_whole() && got.iter().all(|value| value.is_nan()), "{name} was lent"),
        }
    }

    let output = setup.network.forward(&setup.images, Mask::Longest).unwrap();
    let loss = setup.network.loss(&output, &setup.images, &setup.labels).unwrap();
    let got = pass.evaluate(&images, &labels).unwrap();
    assert_close("loss of the longest", &[got], &values(&loss.unsqueeze(0).unwrap()), tolerance);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_pass_computes_what_the_graph_computes(config in any_capsnet(), channels in 1usize..4, batch in 1usize..12) {
        let ModelConfig::Capsnet(config) = config else { unreachable!() };
        assert_agrees_with_the_graph::<f64>(&config, ImageShape { channels, height: 23, width: 21 }, batch, 1e-9);
    }
}

#[test]
fn a_pass_computes_what_the_graph_computes_at_full_size() {
    let paper = preset("paper").unwrap();
    assert_agrees_with_the_graph::<f32>(&paper, MNIST, 9, 1e-4);
    assert_agrees_with_the_graph::<f32>(&paper.clone().with_dense_primary(8), MNIST, 9, 1e-4);
    assert_agrees_with_the_graph::<f32>(&paper.clone().with_homogeneous_classes(), MNIST, 3, 1e-4);
    let light = CapsNetConfig {
        conv1_sharing: 4,
        primary_sharing: 8,
        class_sharing: ClassSharing::ByType,
        decoder: Decoder::Small,
        ..paper
    };
    assert_agrees_with_the_graph::<f32>(&light, MNIST, 16, 1e-4);
    assert_agrees_with_the_graph::<f32>(&preset("small").unwrap(), CIFAR, 20, 1e-4);
}

/// The weights after a few steps, one of them on a batch of its own size.
fn trained(config: &CapsNetConfig, rule: Rule, threads: usize) -> Vec<Vec<u32>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let setup = Setup::new(&ModelConfig::Capsnet(config.clone()), MNIST, 21, DType::F32);
        let mut pass = pass::<f32>(config, MNIST, &setup);
        let mut optimizer = Optimizer::new(setup.parameters.vars(), rule).unwrap();
        for from in [0, 0, 19, 0] {
            let (images, labels) = slices(&setup, from);
            optimizer.begin(1e-3);
            pass.train(&images, &labels, &mut optimizer).unwrap();
        }
        setup.parameters.vars().iter().map(|(_, var)| bits(var)).collect()
    })
}

const CONSTANTS: Constants = Constants { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };

#[test]
fn training_gives_the_same_bits_on_any_number_of_threads() {
    let small = preset("small").unwrap();
    let shared = CapsNetConfig { class_sharing: ClassSharing::ByType, primary_sharing: 2, ..small.clone() };
    let adam = Rule::adam(CONSTANTS);
    let momentum = Rule::Nesterov { momentum: 0.9, weight_decay: 0.01 };
    let muon = Rule::Muon { momentum: 0.95, weight_decay: 0.01, others: CONSTANTS };
    let free = Rule::ScheduleFree { constants: CONSTANTS, weight_decay: 0.01 };
    let dense = small.clone().with_dense_primary(8);
    let [homogeneous, both] = [&small, &shared].map(|config| config.clone().with_homogeneous_classes());
    for (config, rule) in [
        (&small, adam),
        (&shared, adam),
        (&small, momentum),
        (&shared, muon),
        (&small, free),
        (&dense, muon),
        (&homogeneous, adam),
        (&both, adam),
    ] {
        let expected = trained(config, rule, 1);
        for threads in [2, 3, 5] {
            assert!(trained(config, rule, threads) == expected, "{rule:?} on {threads} threads");
        }
    }
    let paper = preset("paper").unwrap();
    assert!(trained(&paper, adam, 1) == trained(&paper, adam, 2), "full size");
}

#[test]
fn a_step_allocates_nothing_once_it_has_seen_its_sizes_of_batches() {
    let config = preset("small").unwrap();
    let light = CapsNetConfig {
        class_sharing: ClassSharing::ByType,
        decoder: Decoder::Small,
        conv1_sharing: 2,
        ..config.clone()
    };
    let dense = config.clone().with_dense_primary(8);
    let homogeneous = light.clone().with_homogeneous_classes();
    for (config, sizes) in [
        (config, [16, 5]),
        (light, [16, 1]),
        (dense, [16, 3]),
        (homogeneous, [16, 2]),
        (preset("paper").unwrap(), [10, 2]),
    ] {
        for threads in [1, 2] {
            let setup = Setup::new(&ModelConfig::Capsnet(config.clone()), MNIST, sizes[0], DType::F32);
            let mut pass = pass::<f32>(&config, MNIST, &setup);
            let mut adam = Optimizer::new(setup.parameters.vars(), Rule::adam(CONSTANTS)).unwrap();
            let batches = sizes.map(|size| slices::<f32>(&setup, sizes[0] - size));
            let mut steps = || {
                for (images, labels) in &batches {
                    adam.begin(1e-3);
                    pass.train(images, labels, &mut adam).unwrap();
                    pass.evaluate(images, labels).unwrap();
                    let frozen = Frozen::Conv1;
                    let scope = Scope { iterations: Some(4), skips_decoder: true, frozen };
                    pass.train_within(scope, images, labels, &mut adam).unwrap();
                }
            };
            let counted = allocations::of_pool(threads, || {
                steps();
                steps();
                // A thread's first theft registers it with the pool, whenever that is: once, and not in every window.
                let mut window = || {
                    allocations::begin();
                    steps();
                    allocations::end()
                };
                (0..5).map(|_| window()).min().unwrap()
            });
            assert_eq!(counted, 0, "{config:?} on {threads} threads");
        }
    }
}

#[test]
fn a_nan_in_an_image_reaches_the_loss() {
    let config = preset("tiny").unwrap();
    let setup = Setup::new(&ModelConfig::Capsnet(config.clone()), MNIST, 20, DType::F32);
    let mut pass = pass::<f32>(&config, MNIST, &setup);
    let (mut images, labels) = slices::<f32>(&setup, 0);
    images[28 * 14 + 14] = f32::NAN;
    assert!(pass.train(&images, &labels, &mut Kept::new(&setup)).unwrap().is_nan());
    assert!(pass.evaluate(&images, &labels).unwrap().is_nan());
}

#[test]
fn a_pass_needs_the_variables_of_its_network() {
    let setup = Setup::new(&ModelConfig::Lenet5, MNIST, 2, DType::F32);
    let tiny = preset("tiny").unwrap().layers(MNIST, 10);
    let error = |setup: &Setup| Pass::<f32>::new(&tiny, &setup.parameters).err().unwrap().to_string();
    error(&setup).names(["`conv1.weight`", "[6, 1, 5, 5]"]);
    let other = CapsNetConfig { decoder: Decoder::None, ..preset("tiny").unwrap() };
    let other = Setup::new(&ModelConfig::Capsnet(other), MNIST, 2, DType::F32);
    error(&other).names(["decoder.0"]);
}

//! The networks: sizes, checks, parameters, gradients, and the same bits on any number of threads.

use candle_core::{DType, Device, Tensor};
use fastrcaps::learn::{
    data::ImageShape,
    kernels::{Optimizer, Rule, optimizer::Constants},
    model::{
        Mask, Network,
        config::{
            CapsNetConfig, ClassCapsules, ClassSharing, Decoder, EfficientCapsNetConfig, ModelConfig, PRESETS, Primary,
            Squash, preset,
        },
        parameters::Parameters,
    },
};
use proptest::prelude::*;

use crate::{
    facts::Facts,
    tensors::{bits, values, var},
};

pub const MNIST: ImageShape = ImageShape { channels: 1, height: 28, width: 28 };
pub const CIFAR: ImageShape = ImageShape { channels: 3, height: 32, width: 32 };

/// A network small enough for finite differences.
fn miniature() -> CapsNetConfig {
    CapsNetConfig {
        conv1_channels: 4,
        conv1_kernel: 5,
        conv1_stride: 2,
        primary_types: 4,
        primary_dim: 4,
        primary_kernel: 3,
        class_dim: 4,
        decoder_hidden: [6, 7],
        reconstruction_weight: 0.05,
        ..preset("tiny").unwrap()
    }
}

fn images(batch: usize, shape: ImageShape) -> Tensor {
    let signed = var("images", &[batch, shape.channels, shape.height, shape.width]).as_detached_tensor();
    ((signed + 1.).unwrap() / 2.).unwrap()
}

fn labels(batch: usize) -> Tensor {
    Tensor::from_iter((0..batch as u32).map(|i| i * 7 % 10), &Device::Cpu).unwrap()
}

/// A network with its parameters, images and labels.
pub struct Setup {
    pub network: Network,
    pub parameters: Parameters,
    pub images: Tensor,
    pub labels: Tensor,
}

impl Setup {
    pub fn new(config: &ModelConfig, shape: ImageShape, batch: usize, dtype: DType) -> Self {
        config.validate(shape, 10).unwrap();
        let parameters = Parameters::new(3);
        let network = Network::new(config, shape, 10, parameters.builder(dtype, &Device::Cpu)).unwrap();
        Setup { network, parameters, images: images(batch, shape).to_dtype(dtype).unwrap(), labels: labels(batch) }
    }

    fn loss(&self) -> Tensor {
        let output = self.network.forward(&self.images, Mask::TrueLabels(&self.labels)).unwrap();
        self.network.loss(&output, &self.images, &self.labels).unwrap()
    }
}

#[test]
fn parameter_counts_are_those_of_the_paper() {
    let paper = preset("paper").unwrap();
    assert_eq!(ModelConfig::Capsnet(paper.clone()).parameters(MNIST, 10), 8_215_728);
    let shared = CapsNetConfig { class_sharing: ClassSharing::ByType, decoder: Decoder::Small, ..paper };
    assert_eq!(ModelConfig::Capsnet(shared).parameters(MNIST, 10), 6_708_400);
    assert_eq!(ModelConfig::Lenet5.parameters(MNIST, 10), 44_426);
}

#[test]
fn the_full_network_has_the_parameters_of_the_paper_by_layer() {
    let setup = Setup::new(&ModelConfig::Capsnet(preset("paper").unwrap()), MNIST, 1, DType::F32);
    let sums = [("conv1", 20_992), ("primary", 5_308_672), ("class_caps", 1_474_720), ("decoder", 1_411_344)];
    for (layer, expected) in sums {
        let of_layer = setup.parameters.vars().into_iter().filter(|(name, _)| name.starts_with(layer));
        assert_eq!(of_layer.map(|(_, var)| var.elem_count()).sum::<usize>(), expected, "{layer}");
    }
}

#[test]
fn every_preset_is_valid_on_every_data_set_and_can_share_by_two_and_four() {
    for name in PRESETS {
        for sharing in [1, 2, 4] {
            let config = preset(name).unwrap();
            let config =
                ModelConfig::Capsnet(CapsNetConfig { conv1_sharing: sharing, primary_sharing: sharing, ..config });
            config.validate(MNIST, 10).unwrap();
            config.validate(CIFAR, 10).unwrap();
        }
    }
    ModelConfig::Lenet5.validate(CIFAR, 10).unwrap();
    ModelConfig::EfficientCapsnet(EfficientCapsNetConfig::default()).validate(CIFAR, 10).unwrap();
    assert_eq!(preset("huge"), None);
}

/// Any valid configuration of a small network, with layers that CPU cores alone train.
pub fn any_capsnet() -> impl Strategy<Value = ModelConfig> {
    (any_config(), 0usize..8, any::<bool>()).prop_map(|(config, capsules, is_homogeneous)| {
        let ModelConfig::Capsnet(mut config) = config else { unreachable!() };
        if capsules >= 4 {
            config = config.with_dense_primary(capsules - 3);
            config.class_sharing = ClassSharing::None;
        }
        ModelConfig::Capsnet(if is_homogeneous { config.with_homogeneous_classes() } else { config })
    })
}

/// Any valid configuration of a small network that every device trains.
pub fn any_config() -> impl Strategy<Value = ModelConfig> {
    let conv1 = (1usize..4, 1usize..8, 1usize..4, 1usize..4);
    let primary = (1usize..5, 1usize..6, 1usize..6, 1usize..4, 1usize..4);
    let sharing = prop::sample::select(vec![ClassSharing::None, ClassSharing::ByType]);
    let decoder = prop::sample::select(vec![Decoder::Full, Decoder::Small, Decoder::None]);
    let squash = prop::sample::select(vec![Squash::Exact, Squash::Approximate]);
    let rest = (1usize..6, sharing, 1usize..5, squash, decoder, 1usize..20, 1usize..20);
    (conv1, primary, rest).prop_map(|(conv1, primary, rest)| {
        ModelConfig::Capsnet(CapsNetConfig {
            conv1_channels: conv1.0 * conv1.3,
            conv1_kernel: conv1.1,
            conv1_stride: conv1.2,
            conv1_sharing: conv1.3,
            primary_types: primary.0 * primary.4,
            primary_dim: primary.1,
            primary_kernel: primary.2,
            primary_stride: primary.3,
            primary_sharing: primary.4,
            primary: Primary::Convolution,
            primary_capsules: 0,
            class_capsules: ClassCapsules::Routed,
            class_dim: rest.0,
            class_sharing: rest.1,
            routing_iterations: rest.2,
            squash: rest.3,
            decoder: rest.4,
            decoder_hidden: [rest.5, rest.6],
            reconstruction_weight: 0.0005,
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_closed_form_counts_what_is_built_and_training_reaches_all_of_it(config in any_capsnet(), channels in 1usize..4) {
        let shape = ImageShape { channels, height: 23, width: 21 };
        let config = config.canonical();
        let setup = Setup::new(&config, shape, 2, DType::F32);
        prop_assert_eq!(config.parameters(shape, 10), setup.parameters.count());
        let grads = setup.loss().backward().unwrap();
        for (name, var) in setup.parameters.vars() {
            let grad = grads.get(&var);
            prop_assert!(grad.is_some_and(|g| values(g).iter().all(|v| v.is_finite())), "{} has no finite gradient", name);
        }
    }
}

#[test]
fn values_that_cannot_be_used_are_refused_by_name_with_what_is_allowed() {
    let small = preset("small").unwrap();
    let with = |edit: fn(&mut CapsNetConfig)| {
        let mut config = small.clone();
        edit(&mut config);
        ModelConfig::Capsnet(config)
    };
    // What is allowed: the values, or their bounds.
    let rows: [(ModelConfig, &str, &[&str]); 11] = [
        (with(|c| c.primary_sharing = 3), "model.primary_sharing", &["64", "1, 2, 4, 8, 16, 32, 64"]),
        (with(|c| c.conv1_sharing = 0), "model.conv1_sharing", &["conv1_channels"]),
        (with(|c| c.conv1_kernel = 29), "model.conv1_kernel", &["1", "28"]),
        (with(|c| c.primary_kernel = 20), "model.primary_kernel", &["1", "10", "10 pixels"]),
        (with(|c| c.primary_types = 0), "model.primary_types", &["1"]),
        (with(|c| c.conv1_stride = 0), "model.conv1_stride", &["1"]),
        (with(|c| c.routing_iterations = 0), "model.routing_iterations", &["1", "10"]),
        (with(|c| c.reconstruction_weight = f64::NAN), "model.reconstruction_weight", &["0"]),
        (with(|c| c.decoder_hidden[1] = 0), "model.decoder_hidden", &["1"]),
        (with(|c| c.conv1_channels = 4096), "model", &["100000000"]),
        (with(|c| (c.primary_types, c.class_dim) = (1024, 256)), "model.primary_types", &["vote"]),
    ];
    for (config, path, allowed) in rows {
        let config = match path {
            "model" => {
                let ModelConfig::Capsnet(c) = config else { unreachable!() };
                ModelConfig::Capsnet(CapsNetConfig { primary_types: 256, primary_kernel: 9, ..c })
            }
            _ => config,
        };
        let error = config.validate(MNIST, 10).unwrap_err();
        assert_eq!(error.path, path, "{error}");
        error.allowed.names(allowed);
    }
    let error = ModelConfig::Lenet5.validate(ImageShape { channels: 1, height: 12, width: 28 }, 10).unwrap_err();
    error.allowed.names(["16×16"]);
}

#[test]
fn two_spellings_of_one_network_have_one_canonical_form() {
    let base = CapsNetConfig { decoder: Decoder::None, ..preset("tiny").unwrap() };
    let other = CapsNetConfig { decoder_hidden: [99, 98], reconstruction_weight: 3., ..base.clone() };
    let canonical = ModelConfig::Capsnet(base).canonical();
    assert_eq!(canonical, ModelConfig::Capsnet(other).canonical());
    canonical.validate(MNIST, 10).unwrap();
    let full = ModelConfig::Capsnet(preset("tiny").unwrap());
    assert_eq!(full.clone().canonical(), full);
}

#[test]
fn gradients_agree_with_finite_differences() {
    let shape = ImageShape { channels: 2, height: 15, width: 14 };
    let base = miniature();
    let variants = [
        base.clone(),
        CapsNetConfig { class_sharing: ClassSharing::ByType, decoder: Decoder::Small, ..base.clone() },
        CapsNetConfig { squash: Squash::Approximate, routing_iterations: 2, ..base.clone() },
        CapsNetConfig { conv1_sharing: 2, primary_sharing: 4, decoder: Decoder::None, ..base.clone() },
        base.clone().with_dense_primary(3),
        CapsNetConfig { class_sharing: ClassSharing::ByType, ..base.clone() }.with_homogeneous_classes(),
        base.with_dense_primary(3).with_homogeneous_classes(),
    ];
    let variants = variants.map(ModelConfig::Capsnet).into_iter().chain([ModelConfig::Lenet5]);
    for config in variants {
        let shape = if config == ModelConfig::Lenet5 { ImageShape { height: 17, width: 18, ..shape } } else { shape };
        let setup = Setup::new(&config, shape, 3, DType::F64);
        let grads = setup.loss().backward().unwrap();
        for (name, parameter) in setup.parameters.vars() {
            let start = parameter.as_detached_tensor().copy().unwrap();
            let direction = var(&format!("direction of {name}"), start.dims()).as_detached_tensor();
            let at = |step: f64| {
                parameter.set(&(&start + (&direction * step).unwrap()).unwrap()).unwrap();
                setup.loss().to_scalar::<f64>().unwrap()
            };
            let step = 1e-6;
            let slope = (at(step) - at(-step)) / (2. * step);
            parameter.set(&start).unwrap();
            let expected =
                (grads.get(&parameter).unwrap() * direction).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
            let good = (slope - expected).abs() <= 1e-6 * expected.abs() + 1e-9;
            assert!(good, "{config:?}: {name}: slope {slope}, gradient {expected}");
        }
    }
}

#[test]
fn initial_weights_depend_on_seed_name_and_shape_alone() {
    let initial = |seed: u64, config: CapsNetConfig| {
        let parameters = Parameters::new(seed);
        let builder = parameters.builder(DType::F32, &Device::Cpu);
        Network::new(&ModelConfig::Capsnet(config), MNIST, 10, builder).unwrap();
        parameters.vars()
    };
    let tiny = preset("tiny").unwrap();
    let base = initial(1, tiny.clone());
    let other =
        initial(1, CapsNetConfig { decoder: Decoder::None, class_sharing: ClassSharing::ByType, ..tiny.clone() });
    for name in ["conv1.weight", "conv1.bias", "primary.weight"] {
        let of = |vars: &[(String, candle_core::Var)]| bits(&vars.iter().find(|(n, _)| n == name).unwrap().1);
        assert_eq!(of(&base), of(&other), "{name}");
        assert_ne!(of(&base), of(&initial(2, tiny.clone())), "{name}");
    }
    let names: Vec<_> = base.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "class_caps.bias",
            "class_caps.weight",
            "conv1.bias",
            "conv1.weight",
            "decoder.0.bias",
            "decoder.0.weight",
            "decoder.2.bias",
            "decoder.2.weight",
            "decoder.4.bias",
            "decoder.4.weight",
            "primary.bias",
            "primary.weight",
        ]
    );
}

#[test]
fn saved_weights_load_with_the_same_bits_and_others_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let tiny = preset("tiny").unwrap();
    let setup = Setup::new(&ModelConfig::Capsnet(tiny.clone()), MNIST, 2, DType::F32);
    setup.parameters.save(&path).unwrap();
    let scores = |setup: &Setup| bits(&setup.network.forward(&setup.images, Mask::NoReconstruction).unwrap().scores);
    let expected = scores(&setup);

    let snapshot = setup.parameters.snapshot().unwrap();
    for (_, var) in setup.parameters.vars() {
        var.set(&var.zeros_like().unwrap()).unwrap();
    }
    assert_ne!(scores(&setup), expected);
    setup.parameters.restore(&snapshot).unwrap();
    assert_eq!(scores(&setup), expected);

    for (_, var) in setup.parameters.vars() {
        var.set(&var.zeros_like().unwrap()).unwrap();
    }
    setup.parameters.load(&path).unwrap();
    assert_eq!(scores(&setup), expected);

    let refused = |config: CapsNetConfig| {
        let other = Setup::new(&ModelConfig::Capsnet(config), MNIST, 2, DType::F32);
        format!("{:#}", other.parameters.load(&path).unwrap_err())
    };
    let error = refused(CapsNetConfig { class_dim: 4, decoder: Decoder::None, ..tiny.clone() });
    error.names(["`class_caps.bias`", "[10, 8]", "[10, 4]"]);
    let error = refused(CapsNetConfig { decoder: Decoder::None, ..tiny });
    error.names(["`decoder.0.bias`"]);
    let none = folder.path().join("none");
    let error = setup.parameters.load(&none).unwrap_err();
    format!("{error:#}").names([none.to_str().unwrap(), "os error 2"]);
}

#[test]
fn the_decoder_sees_the_chosen_capsule_and_runs_only_when_asked() {
    for decoder in [Decoder::Full, Decoder::Small] {
        let config = ModelConfig::Capsnet(CapsNetConfig { decoder, ..preset("tiny").unwrap() });
        let setup = Setup::new(&config, CIFAR, 2, DType::F32);
        let longest = setup.network.forward(&setup.images, Mask::Longest).unwrap();
        let winners = longest.scores.argmax(1).unwrap();
        let by_label = setup.network.forward(&setup.images, Mask::TrueLabels(&winners)).unwrap();
        let reconstruction = longest.reconstruction.unwrap();
        assert_eq!(reconstruction.dims(), [2, 3 * 32 * 32]);
        assert_eq!(bits(&reconstruction), bits(&by_label.reconstruction.unwrap()));
        let other = setup.network.forward(&setup.images, Mask::TrueLabels(&((winners + 1.).unwrap()))).unwrap();
        assert_ne!(bits(&reconstruction), bits(&other.reconstruction.unwrap()));
        assert!(setup.network.forward(&setup.images, Mask::NoReconstruction).unwrap().reconstruction.is_none());
    }
}

#[test]
fn a_nan_in_an_image_reaches_the_loss() {
    for config in [ModelConfig::Capsnet(preset("tiny").unwrap()), ModelConfig::Lenet5] {
        let mut setup = Setup::new(&config, MNIST, 2, DType::F32);
        let mut pixels = setup.images.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        pixels[400] = f32::NAN;
        setup.images = Tensor::from_vec(pixels, setup.images.shape(), &Device::Cpu).unwrap();
        assert!(setup.loss().to_scalar::<f32>().unwrap().is_nan(), "{config:?}");
    }
}

/// The bits of all parameters after some steps of training.
fn trained_bits(config: &ModelConfig, shape: ImageShape, batch: usize, steps: usize) -> Vec<u32> {
    let setup = Setup::new(config, shape, batch, DType::F32);
    let constants = Constants { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
    let mut adam = Optimizer::new(setup.parameters.vars(), Rule::adam(constants)).unwrap();
    for _ in 0..steps {
        adam.step(&setup.loss().backward().unwrap(), 1e-3).unwrap();
    }
    setup.parameters.vars().iter().flat_map(|(_, var)| bits(var)).collect()
}

#[test]
fn training_gives_the_same_bits_on_any_number_of_threads() {
    let small = preset("small").unwrap();
    let shared = CapsNetConfig { class_sharing: ClassSharing::ByType, primary_sharing: 2, ..small.clone() };
    let cases = [
        (ModelConfig::Capsnet(preset("tiny").unwrap()), MNIST, 33),
        (ModelConfig::Capsnet(small), CIFAR, 37),
        (ModelConfig::Capsnet(shared), MNIST, 1),
        (ModelConfig::Lenet5, CIFAR, 19),
    ];
    for (config, shape, batch) in cases {
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| trained_bits(&config, shape, batch, 2))
        };
        let expected = on(1);
        for threads in [2, 3, 5] {
            assert!(on(threads) == expected, "{config:?} on {threads} threads");
        }
    }
}

#[test]
fn networks_of_every_size_learn_at_the_papers_learning_rate() {
    for preset_name in ["paper", "small", "tiny"] {
        for class_sharing in [ClassSharing::None, ClassSharing::ByType] {
            let config = ModelConfig::Capsnet(CapsNetConfig { class_sharing, ..preset(preset_name).unwrap() });
            let setup = Setup::new(&config, MNIST, 8, DType::F32);
            let constants = Constants { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
            let mut adam = Optimizer::new(setup.parameters.vars(), Rule::adam(constants)).unwrap();
            let loss = || setup.loss().to_scalar::<f32>().unwrap();
            let first = loss();
            for _ in 0..25 {
                adam.step(&setup.loss().backward().unwrap(), 1e-3).unwrap();
            }
            let last = loss();
            assert!(last < 0.8 * first, "{preset_name} {class_sharing:?}: from {first} to {last}");
        }
    }
}

//! Efficient-CapsNet: against PyTorch in float64, its sizes, its running statistics, and what its configuration refuses.
//!
//! `tests/golden/efficient.py` made the numbers, by the formula of `make_goldens.py`.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use fastrcaps::learn::{
    config::{ConfigError, TrialConfig},
    data::ImageShape,
    kernels::{Optimizer, Rule, optimizer::Constants},
    model::{
        Mask, Network, Output,
        config::{Decoder, EfficientCapsNetConfig, ModelConfig},
        graph_work,
        layout::Layer,
        norm::share_of_batch,
        parameters::Parameters,
        scope::Scope,
    },
};
use serde::Deserialize;

use crate::{
    goldens::{Summary, formula},
    model::{CIFAR, MNIST, Setup},
    tensors::{assert_close, bits, values},
};

#[derive(Deserialize)]
struct Golden {
    name: String,
    model: ModelConfig,
    shape: [usize; 3],
    labels: Vec<u32>,
    scores: Vec<Vec<f64>>,
    /// Scores of an evaluation after a step, of which the running statistics took in a hundredth.
    evaluated: Vec<Vec<f64>>,
    loss: f64,
    reconstruction: Option<Summary>,
    exponents: BTreeMap<String, i32>,
    gradients: BTreeMap<String, Summary>,
    /// Running statistics after the first step of a training, and after a late one.
    running_first: BTreeMap<String, Summary>,
    running_later: BTreeMap<String, Summary>,
}

/// A step late enough for the share of a batch in the running statistics to be what it is from then on.
const LATE: u64 = 1000;

impl Golden {
    fn setup(&self, dtype: DType) -> Setup {
        let ([channels, height, width], classes) = (self.shape, self.scores[0].len());
        let shape = ImageShape { channels, height, width };
        self.model.validate(shape, classes).unwrap();
        let parameters = Parameters::new(0);
        let network = Network::new(&self.model, shape, classes, parameters.builder(dtype, &Device::Cpu)).unwrap();
        for (name, var) in parameters.trained() {
            var.set(&formula(&name, var.dims(), self.exponents[&name]).to_dtype(dtype).unwrap()).unwrap();
        }
        let images = formula("images", &[self.labels.len(), channels, height, width], 0);
        let images = ((images + 1.).unwrap() / 2.).unwrap().to_dtype(dtype).unwrap();
        Setup { network, parameters, images, labels: Tensor::new(self.labels.as_slice(), &Device::Cpu).unwrap() }
    }

    fn assert_agrees(&self, dtype: DType, tolerance: f64) {
        let what = |part: &str| format!("{} in {dtype:?}: {part}", self.name);
        for (step, running) in [(1, &self.running_first), (LATE, &self.running_later)] {
            let setup = self.setup(dtype);
            let output = step_forward(&setup, step);
            assert_close(&what("scores"), &values(&output.scores), &self.scores.concat(), tolerance);
            assert_eq!(output.reconstruction.is_some(), self.reconstruction.is_some(), "{}", self.name);
            if let (Some(got), Some(expected)) = (&output.reconstruction, &self.reconstruction) {
                expected.assert_agrees(&what("reconstruction"), got, tolerance);
            }
            let loss = setup.network.loss(&output, &setup.images, &setup.labels).unwrap();
            assert_close(&what("loss"), &values(&loss), &[self.loss], tolerance);
            let grads = loss.backward().unwrap();
            let trained = setup.parameters.trained();
            assert_eq!(trained.len(), self.gradients.len());
            for (name, var) in trained {
                // Biases before a normalisation have small gradients that are differences of large ones.
                self.gradients[&name].assert_agrees(&what(&name), grads.get(&var).unwrap(), tolerance);
            }
            assert_eq!(statistics(&setup).len(), running.len());
            for (name, var) in statistics(&setup) {
                running[&name].assert_agrees(&what(&name), &var, tolerance);
            }
            if step == LATE {
                let evaluated = setup.network.forward(&setup.images, Mask::Longest).unwrap();
                assert_close(&what("evaluation"), &values(&evaluated.scores), &self.evaluated.concat(), tolerance);
            }
        }
    }
}

fn step_forward(setup: &Setup, step: u64) -> Output {
    let mask = Mask::TrueLabels(&setup.labels);
    setup.network.forward_in_step(step, Scope::default(), &setup.images, mask).unwrap()
}

/// The variables that nothing trains.
fn statistics(setup: &Setup) -> Vec<(String, Var)> {
    let trained: Vec<String> = setup.parameters.trained().into_iter().map(|(name, _)| name).collect();
    setup.parameters.vars().into_iter().filter(|(name, _)| !trained.contains(name)).collect()
}

fn goldens() -> Vec<Golden> {
    serde_json::from_str(include_str!("../golden/efficient.json")).unwrap()
}

fn efficient(decoder: Decoder) -> ModelConfig {
    ModelConfig::EfficientCapsnet(EfficientCapsNetConfig {
        decoder,
        decoder_hidden: [8, 9],
        ..EfficientCapsNetConfig::default()
    })
}

#[test]
fn a_step_and_an_evaluation_agree_with_pytorch_in_f32() {
    goldens().iter().for_each(|golden| golden.assert_agrees(DType::F32, 2e-4));
}

#[test]
fn a_step_and_an_evaluation_agree_with_pytorch_in_f64_to_their_last_digits() {
    goldens().iter().for_each(|golden| golden.assert_agrees(DType::F64, 1e-10));
}

#[test]
fn its_parameters_are_those_of_the_paper() {
    assert_eq!(efficient(Decoder::None).parameters(MNIST, 10), 161_824);
    let whole = ModelConfig::EfficientCapsnet(EfficientCapsNetConfig::default());
    // The decoder is the CapsNet's.
    assert_eq!(whole.parameters(MNIST, 10), 161_824 + 1_411_344);
    let setup = Setup::new(&whole, MNIST, 1, DType::F32);
    assert_eq!(setup.parameters.trained().iter().map(|(_, var)| var.elem_count()).sum::<usize>(), 1_573_168);
    let statistics: usize = statistics(&setup).iter().map(|(_, var)| var.elem_count()).sum();
    assert_eq!(statistics, whole.layers(MNIST, 10).iter().map(Layer::statistics).sum::<usize>());
    assert_eq!(statistics, 2 * (32 + 64 + 64 + 128));
}

#[test]
fn its_work_is_that_of_its_convolutions_and_little_more() {
    let layers = efficient(Decoder::None).layers(MNIST, 10);
    let work = graph_work::work(&layers, Scope::default(), 1).unwrap();
    let first = 576 * 25 * 32;
    let convolutions = 484 * 9 * 32 * 64 + 400 * 9 * 64 * 64 + 81 * 9 * 64 * 128;
    let capsules = 128 * 81 + 16 * 8 * 160 + 2 * 16 * 160;
    // The gradient of the image is not computed.
    assert_eq!(work.direct_multiply_adds, 2 * first + 3 * (convolutions + capsules));
}

#[test]
fn an_evaluation_does_not_depend_on_the_batch_and_a_step_does() {
    let setup = Setup::new(&efficient(Decoder::None), CIFAR, 3, DType::F32);
    step_forward(&setup, 1);
    let of_first = |scores: &Tensor| bits(&scores.get(0).unwrap());
    let alone = setup.images.narrow(0, 0, 1).unwrap();
    let evaluate = |images: &Tensor| of_first(&setup.network.forward(images, Mask::NoReconstruction).unwrap().scores);
    assert_eq!(evaluate(&alone), evaluate(&setup.images));
    let step = |images: &Tensor| {
        let output = setup.network.forward_in_step(2, Scope::default(), images, Mask::NoReconstruction).unwrap();
        of_first(&output.scores)
    };
    assert_ne!(step(&alone), step(&setup.images));
}

#[test]
fn running_statistics_begin_as_the_mean_of_all_batches() {
    let shares: Vec<f64> = [1, 2, 4, 100, 101, 1_000_000].map(share_of_batch).to_vec();
    assert_eq!(shares, [1., 0.5, 0.25, 0.01, 0.01, 0.01]);
    let setup = Setup::new(&efficient(Decoder::None), MNIST, 2, DType::F64);
    let first = setup.images.narrow(0, 0, 1).unwrap();
    let means = |images: &[&Tensor]| {
        let setup = Setup::new(&efficient(Decoder::None), MNIST, 2, DType::F64);
        for (step, images) in (1..).zip(images) {
            setup.network.forward_in_step(step, Scope::default(), images, Mask::NoReconstruction).unwrap();
        }
        let (_, mean) = statistics(&setup).into_iter().find(|(name, _)| name == "norm1.running_mean").unwrap();
        values(&mean)
    };
    let (one, other) = (means(&[&first]), means(&[&setup.images]));
    let both: Vec<f64> = one.iter().zip(&other).map(|(a, b)| (a + 2. * b) / 3.).collect();
    assert_close("mean", &means(&[&first, &setup.images, &setup.images]), &both, 1e-12);
}

#[test]
fn a_single_image_whose_map_has_one_position_trains() {
    let shape = ImageShape { channels: 1, height: 11, width: 12 };
    let setup = Setup::new(&efficient(Decoder::Full), shape, 1, DType::F32);
    let output = step_forward(&setup, 1);
    let grads = setup.network.loss(&output, &setup.images, &setup.labels).unwrap().backward().unwrap();
    for (name, var) in setup.parameters.trained() {
        assert!(values(grads.get(&var).unwrap()).iter().all(|value| value.is_finite()), "{name}");
    }
    let (_, variance) = statistics(&setup).into_iter().find(|(name, _)| name == "norm4.running_var").unwrap();
    assert!(values(&variance).iter().all(|variance| *variance == 0.));
    let smaller = ImageShape { height: 10, ..shape };
    assert_eq!(efficient(Decoder::Full).validate(smaller, 10).unwrap_err().path, "model.kind");
}

#[test]
fn a_nan_in_an_image_reaches_the_loss_of_a_step() {
    let mut setup = Setup::new(&efficient(Decoder::None), MNIST, 2, DType::F32);
    let mut pixels = setup.images.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    pixels[400] = f32::NAN;
    setup.images = Tensor::from_vec(pixels, setup.images.shape(), &Device::Cpu).unwrap();
    let loss = setup.network.loss(&step_forward(&setup, 1), &setup.images, &setup.labels).unwrap();
    assert!(loss.to_scalar::<f32>().unwrap().is_nan());
}

#[test]
fn steps_give_the_same_bits_on_any_number_of_threads() {
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let setup = Setup::new(&efficient(Decoder::Full), MNIST, 7, DType::F32);
            let constants = Constants { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
            let mut adam = Optimizer::new(setup.parameters.trained(), Rule::adam(constants)).unwrap();
            for step in 1..=2 {
                let loss = setup.network.loss(&step_forward(&setup, step), &setup.images, &setup.labels).unwrap();
                adam.step(&loss.backward().unwrap(), 1e-3).unwrap();
            }
            setup.parameters.vars().iter().flat_map(|(_, var)| bits(var)).collect::<Vec<u32>>()
        })
    };
    let expected = on(1);
    for threads in [2, 3] {
        assert!(on(threads) == expected, "on {threads} threads");
    }
}

fn resolve(text: &str) -> Result<TrialConfig, ConfigError> {
    TrialConfig::resolve(text.parse().unwrap())
}

#[test]
fn what_it_has_no_choice_of_is_refused_by_its_key() {
    for (text, path) in [
        ("model = { kind = 'efficient-capsnet', routing_iterations = 3 }", "model.routing_iterations"),
        ("model = { kind = 'efficient-capsnet', squash = 'exact' }", "model.squash"),
        ("model = { kind = 'efficient-capsnet', class_sharing = 'by-type' }", "model.class_sharing"),
        ("model = { kind = 'efficient-capsnet', preset = 'paper' }", "model.preset"),
        ("model = { kind = 'efficient-capsnet', decoder = 'large' }", "model.decoder"),
        ("model = { kind = 'efficient-capsnet', decoder_hidden = [0, 3] }", "model.decoder_hidden"),
        ("model = { kind = 'efficient-capsnet', reconstruction_weight = -1.0 }", "model.reconstruction_weight"),
        ("model = { kind = 'efficient-capsnet', layers = 3 }", "model.layers"),
        (
            "model = { kind = 'efficient-capsnet' }\nschedule = { routing = { phases = [{ iterations = 1 }] } }",
            "schedule.routing.policy",
        ),
        ("model = { kind = 'efficient-capsnet' }\nschedule = { freeze = { conv1 = 0.5 } }", "schedule.freeze.conv1"),
    ] {
        let error = resolve(text).expect_err(text);
        assert_eq!(error.path(), path, "{error}");
    }
}

#[test]
fn its_configuration_reads_back_as_itself_and_trains_on_cpu_cores_alone() {
    let plain = resolve("model = { kind = 'efficient-capsnet' }").unwrap();
    let mut keys = vec![plain.key("")];
    for text in [
        "model = { kind = 'efficient-capsnet', decoder = 'none' }",
        "model = { kind = 'efficient-capsnet', decoder = 'small', decoder_hidden = [16, 32] }",
        "model = { kind = 'efficient-capsnet' }\nschedule = { reconstruction = { every = 2 } }",
        "model = { kind = 'efficient-capsnet' }\ntrain = { optimizer = { kind = 'adamw' }, ema = { decay = 0.9 } }",
    ] {
        let config = resolve(text).unwrap();
        assert_eq!(resolve(&config.to_toml()).unwrap(), config, "{text}");
        keys.push(config.key(""));
    }
    assert_eq!(resolve(&plain.to_toml()).unwrap(), plain);
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 5);
    let without = "model = { kind = 'efficient-capsnet', decoder = 'none'";
    let [widths, every] = [", decoder_hidden = [4, 4] }", " }\nschedule = { reconstruction = { every = 3 } }"]
        .map(|rest| resolve(&format!("{without}{rest}")).unwrap().key(""));
    assert_eq!(widths, every, "no decoder has widths or a schedule");
    assert!(plain.check_for_cpu().is_ok());
    assert_eq!(plain.check_for_gpu().unwrap_err().path, "model.kind");
}

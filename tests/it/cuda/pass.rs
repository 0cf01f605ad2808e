//! The capsule network's step on a device: what the pass on CPU cores computes, whatever the network, the batch and the plan.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::Duration,
};

use candle_core::{DType, Device, Tensor};
use fastrcaps::learn::{
    config::TrialConfig,
    data::{self, DataDirs, Dataset, ImageShape, Images, batch::gather},
    folder::TrialFolder,
    kernels::{
        Optimizer, Rule,
        cuda::{
            Gpu,
            batch::{Resident, Source},
        },
        optimizer::Constants,
    },
    model::{
        config::{CapsNetConfig, ClassSharing, Decoder, ModelConfig, Precision, preset},
        device_pass::{AdamStep, DevicePass, Most, Step},
        pass::Pass,
        scope::Scope,
    },
    record::TrialRecord,
    train::{
        Observer, StepReport, Trainer,
        beginning::Shared,
        run::{Interruption, RunOutcome, run_in_folder},
        session::Foreign,
    },
};
use proptest::prelude::*;

use super::own_gpu;
use crate::{
    model::{MNIST, Setup, any_config},
    pass::Kept,
    scope::SCOPES,
    tensors::assert_close,
};

/// A device whose stream nobody else uses: steps are captured.
fn device() -> Device {
    Device::Cuda(own_gpu().device().clone())
}

/// Images of no meaning.
fn images(shape: ImageShape, count: usize) -> Images {
    Images {
        pixels: (0..count * shape.pixels()).map(|at| (at * 97 % 251) as u8).collect(),
        labels: (0..count).map(|at| (at * 7 % 10) as u8).collect(),
    }
}

/// Loss and gradients of a step on the device are those of the pass on the CPU.
fn assert_agrees_with_the_cpu(
    config: &CapsNetConfig,
    shape: ImageShape,
    batch: usize,
    precision: Precision,
    tolerance: f64,
) {
    assert_agrees_within(Scope::default(), config, shape, batch, precision, tolerance);
}

/// The same of a step that computes and trains what `scope` says; moments of what it does not train stay 0.
fn assert_agrees_within(
    scope: Scope,
    config: &CapsNetConfig,
    shape: ImageShape,
    batch: usize,
    precision: Precision,
    tolerance: f64,
) {
    let setup = Setup::new(&ModelConfig::Capsnet(config.clone()), shape, 1, DType::F32);
    let images = images(shape, batch + 2);
    let order: Vec<u32> = (0..batch as u32 + 2).rev().collect();
    let (mut pixels, mut labels) = (vec![0.; batch * shape.pixels()], vec![0; batch]);
    gather(&images, shape, &order[1..][..batch], None, &mut pixels, &mut labels);
    let mut on_cpu = Pass::<f32>::new(&config.layers(shape, 10), &setup.parameters).unwrap();
    let mut kept = Kept::new(&setup);
    let expected = on_cpu.train_within(scope, &pixels, &labels, &mut kept).unwrap();

    let device = device();
    let gpu = Gpu::of(&device).unwrap();
    let model = ModelConfig::Capsnet(config.clone());
    let most = Most { samples: batch + 3, iterations: scope.iterations.unwrap_or(0) };
    let mut pass = DevicePass::new(&model, shape, 10, &setup.parameters, &device, precision, most).unwrap();
    // A first moment that forgets everything before is the gradient.
    let constants = Constants { beta1: 0., beta2: 0.999, epsilon: 1e-8 };
    let adam = Optimizer::new(setup.parameters.vars(), Rule::adam(constants)).unwrap();
    let (_, moments) = adam.view();
    pass.push(&setup.parameters, &moments).unwrap();
    let resident = Resident::new(&gpu, &images.pixels, &images.labels).unwrap();
    let (order, factors) = (gpu.upload(&order).unwrap(), gpu.upload(&[0f32, 1., 1.]).unwrap());
    let (cursor, shift) = (gpu.upload(&[0i32, 1]).unwrap(), gpu.upload(&[1u64, 0]).unwrap());
    let metrics = gpu.zeros(2).unwrap();
    let source = Source { images: &resident, order: Some(&order), cursor: &cursor, shift: &shift, largest_shift: 0 };
    let step = Step { source, metrics: &metrics, scope };
    // SAFETY: the cursor stands at the second index of the order, which has as many more, and at the first step.
    unsafe { pass.step(batch, step, Some(AdamStep { constants, factors: &factors }), &mut |_| Ok(())) }.unwrap();
    let got = metrics.download(&gpu).unwrap();
    assert_close("loss", &got[..1], &[expected], tolerance);
    assert_eq!(cursor.download(&gpu).unwrap(), [1, 1 + batch as i32]);
    let scores: Vec<f64> = pass.scores(batch).unwrap().into_iter().map(f64::from).collect();
    let expected_scores: Vec<f64> = on_cpu.scores().iter().copied().map(f64::from).collect();
    assert_close("scores", &scores, &expected_scores, tolerance);
    let before: Vec<Vec<f32>> = setup.parameters.vars().iter().map(|(_, var)| flat(var)).collect();
    pass.pull(&setup.parameters, Some(&moments)).unwrap();
    for (((name, var), gradient), before) in setup.parameters.vars().iter().zip(kept.gradients()).zip(&before) {
        assert_eq!(&flat(var), before, "{name} moved at a step size of 0");
        let got: Vec<f64> = flat(&moments[name].get(0).unwrap()).into_iter().map(f64::from).collect();
        let is_trained = gradient.iter().any(|value| !value.is_nan());
        assert!(is_trained || !scope.is_whole(), "{name}");
        let expected: Vec<f64> =
            gradient.iter().map(|value| if is_trained { f64::from(*value) } else { 0.0 }).collect();
        assert_close(name, &got, &expected, tolerance);
    }

    assert_evaluates_as_the_cpu(&gpu, &mut pass, &resident, &pixels, &labels, &mut on_cpu, batch, tolerance);
}

/// Evaluation: without an order, and with the longest capsule reconstructed.
#[allow(clippy::too_many_arguments)]
fn assert_evaluates_as_the_cpu(
    gpu: &Gpu,
    pass: &mut DevicePass,
    resident: &Resident,
    pixels: &[f32],
    labels: &[u32],
    on_cpu: &mut Pass<f32>,
    batch: usize,
    tolerance: f64,
) {
    let expected = on_cpu.evaluate(pixels, labels).unwrap();
    let order: Vec<u32> = (0..batch as u32 + 2).rev().skip(1).take(batch).collect();
    let order = gpu.upload(&order).unwrap();
    let (cursor, shift, metrics) = (gpu.zeros(2).unwrap(), gpu.zeros(2).unwrap(), gpu.zeros(2).unwrap());
    let source = Source { images: resident, order: Some(&order), cursor: &cursor, shift: &shift, largest_shift: 0 };
    // SAFETY: the cursor stands at the first of the order's indices, which are as many, and at the first step.
    unsafe { pass.evaluate(batch, Step { source, metrics: &metrics, scope: Scope::default() }) }.unwrap();
    assert_close("loss of the longest", &metrics.download(gpu).unwrap()[..1], &[expected], tolerance);
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_step_on_the_device_computes_what_the_cpu_computes(config in any_config(), channels in 1usize..4, batch in 1usize..12) {
        let ModelConfig::Capsnet(config) = config else { unreachable!() };
        let shape = ImageShape { channels, height: 23, width: 21 };
        assert_agrees_with_the_cpu(&config, shape, batch, Precision::F32, 2e-4);
    }
}

#[test]
fn a_step_on_the_device_computes_what_the_cpu_computes_for_every_preset() {
    let light = CapsNetConfig {
        conv1_sharing: 4,
        primary_sharing: 8,
        class_sharing: ClassSharing::ByType,
        decoder: Decoder::Small,
        ..preset("small").unwrap()
    };
    for (config, batch) in [(preset("tiny").unwrap(), 33), (preset("small").unwrap(), 5), (light, 7)] {
        assert_agrees_with_the_cpu(&config, MNIST, batch, Precision::F32, 2e-4);
    }
    // The full size is the slowest by far where the device is emulated.
    assert_agrees_with_the_cpu(&preset("paper").unwrap(), MNIST, 2, Precision::F32, 5e-4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_step_on_the_device_within_a_scope_computes_what_the_cpu_computes(
        config in any_config(), scope in prop::sample::select(SCOPES.to_vec()), batch in 1usize..12,
    ) {
        let ModelConfig::Capsnet(config) = config else { unreachable!() };
        let shape = ImageShape { channels: 2, height: 23, width: 21 };
        assert_agrees_within(scope, &config, shape, batch, Precision::F32, 2e-4);
    }
}

#[test]
fn lower_precisions_stay_near() {
    let config = preset("tiny").unwrap();
    assert_agrees_with_the_cpu(&config, MNIST, 9, Precision::Tf32, 2e-2);
    assert_agrees_with_the_cpu(&config, MNIST, 9, Precision::Bf16, 1e-1);
}

const SHORT: &str = "data = { name = 'glyphs', train_samples = 150, test_samples = 40, validation_fraction = 0.2, shift = 1 }\n\
     model = { preset = 'tiny' }\ntrain = { epochs = 3 }\n\
     schedule = { batch = { policy = 'adabatch', phases = [{ epochs = 1, size = 16 }, { size = 32 }] } }";

/// The same with steps that leave ever more out.
fn leaving_out() -> String {
    let scope = "routing = { phases = [{ until = 0.5, iterations = 1 }, { iterations = 4 }] }, \
                 reconstruction = { every = 2, until = 0.9 }, freeze = { conv1 = 0.4, primary = 0.7 } }";
    format!("{}, {scope}", SHORT.strip_suffix(" }").unwrap())
}

fn short() -> (TrialConfig, Dataset) {
    of(SHORT)
}

fn of(text: &str) -> (TrialConfig, Dataset) {
    let config = TrialConfig::resolve(toml::from_str(text).unwrap()).unwrap();
    let data = data::load(&config.data, &DataDirs::at("/nonexistent")).unwrap();
    (config, data)
}

/// What a training in a folder of its own leaves, in sittings that end after the steps of `stops`.
fn trained_in_folder(text: &str, device: &Device, stops: &[u64]) -> (Vec<(f64, f64, f64)>, Vec<u8>, TrialRecord) {
    let (config, data) = of(text);
    let folder = tempfile::tempdir().unwrap();
    let trial = TrialFolder::new(folder.path());
    let record = TrialRecord::pending(config.key(&data.fingerprint), 0, &config);
    trial.prepare(&config, &record).unwrap();
    for stop_at in stops.iter().copied().chain([u64::MAX]) {
        let stop = AtomicBool::new(stop_at == 0);
        let every = if stop_at == u64::MAX { Duration::MAX } else { Duration::ZERO };
        let interruption = Interruption {
            stop: &stop,
            checkpoint_every: every,
            keep_checkpoints: false,
            foreign: Foreign::Refuse,
            shared: Shared::default(),
        };
        let mut watch = StopAt { at: stop_at, steps: 0, stop: &stop };
        match run_in_folder(&trial, &config, record.clone(), &data, device, interruption, &mut watch).unwrap() {
            RunOutcome::Stopped(_, kept) => assert_eq!(kept, Some(stop_at)),
            RunOutcome::Ended(record, trained) => {
                assert_eq!(stop_at, u64::MAX);
                let rows = trained.epochs.iter();
                let rows = rows.map(|row| (row.train_loss, row.train_accuracy, row.validation_loss)).collect();
                return (rows, std::fs::read(trial.weights()).unwrap(), record);
            }
        }
    }
    unreachable!("the last sitting goes to the end")
}

struct StopAt<'a> {
    at: u64,
    steps: u64,
    stop: &'a AtomicBool,
}

impl Observer for StopAt<'_> {
    fn step(&mut self, _: &StepReport) {
        self.steps += 1;
        if self.steps == self.at {
            self.stop.store(true, SeqCst);
        }
    }

    fn kept(&mut self, step: u64) {
        self.steps = step;
    }
}

#[test]
fn a_training_on_the_device_follows_that_on_the_cpu() {
    follows_the_cpu(SHORT);
}

#[test]
fn a_training_on_the_device_whose_steps_leave_ever_more_out_follows_that_on_the_cpu() {
    follows_the_cpu(&leaving_out());
}

fn follows_the_cpu(text: &str) {
    let (on_cpu, _, of_cpu) = trained_in_folder(text, &Device::Cpu, &[]);
    let (on_device, _, of_device) = trained_in_folder(text, &device(), &[]);
    for (epoch, (cpu, device)) in on_cpu.iter().zip(&on_device).enumerate() {
        // Rounding differs, and grows with the steps.
        let near = |a: f64, b: f64| (a - b).abs() <= 2e-3 * a.abs();
        assert!(near(cpu.0, device.0) && near(cpu.2, device.2), "epoch {epoch}: {cpu:?} and {device:?}");
        assert!((cpu.1 - device.1).abs() <= 0.02, "epoch {epoch}: {cpu:?} and {device:?}");
    }
    assert!((of_cpu.test_accuracy.unwrap() - of_device.test_accuracy.unwrap()).abs() <= 0.05);
}

#[test]
fn a_training_on_the_device_has_the_same_bits_however_it_is_interrupted() {
    for text in [SHORT.to_string(), leaving_out()] {
        let whole = trained_in_folder(&text, &device(), &[]);
        assert_eq!(trained_in_folder(&text, &device(), &[]).1, whole.1, "twice the same");
        for stops in [&[3][..], &[1, 9, 10]] {
            let interrupted = trained_in_folder(&text, &device(), stops);
            assert_eq!((&interrupted.0, &interrupted.1), (&whole.0, &whole.1), "stopped after {stops:?}");
        }
    }
}

#[test]
fn steps_that_were_prepared_and_steps_that_were_not_are_the_same() {
    let (config, data) = short();
    let order: Vec<u32> = (0..70).map(|at| at * 13 % 120).collect();
    let sizes = [16, 16, 5, 16, 17];
    let weights = |is_prepared: bool| {
        let mut trainer = Trainer::new(&config, &data, &device()).unwrap();
        if is_prepared {
            trainer.prepare(&data, &order, 2, sizes.iter().map(|&size| (size, 1e-3.into())).collect()).unwrap();
        }
        let (mut first, mut losses) = (0, Vec::new());
        for size in sizes {
            trainer.enqueue(&data, &order[first..first + size], 2, 1e-3).unwrap();
            first += size;
        }
        losses.extend(trainer.settle().unwrap().into_iter().map(|outcome| (outcome.loss.to_bits(), outcome.correct)));
        assert_eq!(losses.len(), sizes.len());
        let snapshot = trainer.snapshot().unwrap();
        let weights: BTreeMap<String, Vec<u32>> =
            snapshot.tensors().iter().map(|(name, tensor)| (name.clone(), crate::tensors::bits(tensor))).collect();
        (losses, weights)
    };
    assert_eq!(weights(true), weights(false));
}

#[test]
fn the_batch_may_grow_beyond_what_there_was_room_for() {
    let (config, data) = short();
    let step = |sizes: &[usize]| {
        let mut trainer = Trainer::new(&config, &data, &device()).unwrap();
        let mut losses = Vec::new();
        for &size in sizes {
            let indices: Vec<u32> = (0..size as u32).map(|at| at % 120).collect();
            losses.push(trainer.step(&data, &indices, 0, 1e-3).unwrap().loss);
        }
        let worth = trainer.evaluate(&data, &data.test).unwrap();
        assert!(worth.loss.is_finite());
        losses
    };
    let grown = step(&[16, 300, 16]);
    let cpu = {
        let mut trainer = Trainer::new(&config, &data, &Device::Cpu).unwrap();
        let mut losses = Vec::new();
        for size in [16, 300, 16] {
            let indices: Vec<u32> = (0..size).map(|at| at % 120).collect();
            losses.push(trainer.step(&data, &indices, 0, 1e-3).unwrap().loss);
        }
        losses
    };
    assert_close("losses", &grown, &cpu, 1e-3);
}

#[test]
fn lenet_trains_on_the_device_as_on_the_cpu() {
    let text = SHORT.replace("{ preset = 'tiny' }", "{ kind = 'lenet5' }");
    let config = TrialConfig::resolve(toml::from_str(&text).unwrap()).unwrap();
    let data = data::load(&config.data, &DataDirs::at("/nonexistent")).unwrap();
    let losses = |device: &Device| {
        let mut trainer = Trainer::new(&config, &data, device).unwrap();
        let mut losses: Vec<f64> = (0..12u32)
            .map(|step| {
                let indices: Vec<u32> = (0..20).map(|at| (step * 20 + at) % 120).collect();
                trainer.step(&data, &indices, 0, 1e-3).unwrap().loss
            })
            .collect();
        losses.push(trainer.evaluate(&data, &data.test).unwrap().loss);
        losses
    };
    assert_close("losses", &losses(&device()), &losses(&Device::Cpu), 1e-3);
}

#[test]
fn images_of_any_shape_in_any_number_of_classes_train_on_the_device_as_on_the_cpu() {
    // Class capsules on a GPU are 32 at most.
    for (shape, classes) in [((1, 20, 24), 26), ((3, 32, 32), 2), ((1, 28, 28), 32)] {
        let shape = ImageShape { channels: shape.0, height: shape.1, width: shape.2 };
        let part = |count: usize| Images {
            labels: (0..count).map(|at| (at * 7 % classes) as u8).collect(),
            ..images(shape, count)
        };
        let (train, validation, test) = (part(100), part(20), part(20));
        let data = Dataset { shape, classes, train, validation, test, fingerprint: String::new() };
        for model in ["kind = 'lenet5'", "preset = 'tiny', primary_kernel = 3"] {
            let config = TrialConfig::resolve(toml::from_str(&format!("model = {{ {model} }}")).unwrap()).unwrap();
            let losses = |device: &Device| {
                let mut trainer = Trainer::new(&config, &data, device).unwrap();
                let step = |step: u32| (0..20).map(|at| (step * 20 + at) % 100).collect::<Vec<u32>>();
                let mut losses: Vec<f64> =
                    (0..5).map(|at| trainer.step(&data, &step(at), 0, 1e-3).unwrap().loss).collect();
                losses.push(trainer.evaluate(&data, &data.test).unwrap().loss);
                losses
            };
            assert_close(model, &losses(&device()), &losses(&Device::Cpu), 1e-3);
        }
    }
}

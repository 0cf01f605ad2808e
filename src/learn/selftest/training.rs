//! Networks and trainings on a device. Losses are held against those of plain training: candle's graph in f64 on CPU cores; of the
//! network at full size, against what CPU cores train in f32.

use std::{cell::OnceCell, rc::Rc};

use anyhow::{Result, bail, ensure};
use candle_core::{DType, Device, Tensor};

use super::{Case, Draw, Test, ops::is_clear};
use crate::learn::{
    config::{TrainConfig, TrialConfig},
    data::{
        DataConfig, DataDirs, Dataset, ImageShape, Images,
        batch::{Shift, epoch_order, gather},
        load,
    },
    kernels::{self, Optimizer},
    model::{
        Mask, Network,
        config::{
            CapsNetConfig, ClassCapsules, ClassSharing, Decoder, ModelConfig, Precision, Primary, Squash, preset,
        },
        parameters::Parameters,
        scope::{Frozen, Scope},
    },
    schedule::ScheduleConfig,
    train::{Trainer, Update, rule},
};

const CLASSES: usize = 10;
/// Of the gradients of a network against those in f64: they come through all of its layers.
const NETWORK: f64 = 1e-4;
/// Steps of a small training: two epochs and a half; where it is to be quick, one and a quarter.
const STEPS: usize = 40;
const QUICK_STEPS: usize = 20;
const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::Tf32, Precision::Bf16];

/// How far losses may be from those of plain training, relative to them: `first` before any step was taken, `growth` times that after
/// each further one.
///
/// The first loss differs by the roundings of one forward pass. After that Adam divides each gradient by its own size: one that is
/// nearly nothing takes its sign from roundings, and its weight goes a whole step either way. Of three trainings of 40 steps as below,
/// on CPU cores in f32 and on the emulated device in the other precisions, the errors were
///
/// | | f32 | TF32 | bf16 |
/// |---|---|---|---|
/// | before any step | 6e-8 | 1e-6 | 2e-5 |
/// | at step 4 | 6e-8 | 9e-5 | 2e-4 |
/// | largest of all | 9e-6 | 4e-4 | 1e-3 |
///
/// and in f32 1.2e-4 was the largest of 43 trainings, after all of their steps. What is tolerated is 5 times that and more. A GPU may cut off factors where the emulated device rounds them.
#[derive(Clone, Copy)]
struct Tolerance {
    first: f64,
    growth: f64,
}

impl Tolerance {
    fn of(precision: Precision) -> Tolerance {
        match precision {
            Precision::F32 => Tolerance { first: 5e-6, growth: 1.15 },
            Precision::Tf32 => Tolerance { first: 5e-4, growth: 1.1 },
            Precision::Bf16 => Tolerance { first: 2e-3, growth: 1.1 },
        }
    }

    /// After `steps` steps.
    fn after(self, steps: usize) -> f64 {
        self.first * self.growth.powi(steps as i32)
    }
}

/// Every test of networks and trainings. Of those in other precisions than f32 CPU cores know nothing.
pub(super) fn all(device: &Device, is_quick: bool) -> Vec<Test> {
    let precisions = if device.is_cpu() { &PRECISIONS[..1] } else { &PRECISIONS };
    let count = if is_quick { QUICK_STEPS } else { STEPS };
    let mut tests = vec![
        Test::new("network", "loss and gradients of random networks through candle's graph, against f64", network),
        Test::new("steps", "losses of random networks in three steps, batches shifted, against plain training", steps),
    ];
    for &precision in precisions {
        let [name, _, _] = names(precision);
        let about = "losses of 40 steps of a small network (--quick: 20), against plain training";
        let run = move |device: &Device, draw: &mut Draw, case: &mut Case| {
            training(small_training(draw, precision, count)?, device, case)
        };
        tests.push(Test::new(name, about, run).once());
    }
    for &precision in precisions {
        let [_, name, _] = names(precision);
        let about = "two trainings, to the bit";
        let run = move |device: &Device, draw: &mut Draw, case: &mut Case| {
            same_bits(small_training(draw, precision, count)?, device, case)
        };
        tests.push(Test::new(name, about, run).once());
    }
    // CPU cores are what others are held against.
    if !is_quick && !device.is_cpu() {
        let known = Rc::new(OnceCell::new());
        for &precision in precisions {
            let ([_, _, name], known) = (names(precision), known.clone());
            let about = "losses of 3 steps of the network at full size, batch 128, against CPU cores";
            let run = move |device: &Device, _: &mut Draw, case: &mut Case| full_size(precision, &known, device, case);
            tests.push(Test::new(name, about, run).once());
        }
    }
    tests
}

fn names(precision: Precision) -> [&'static str; 3] {
    match precision {
        Precision::F32 => ["training-f32", "same-bits-f32", "full-size-f32"],
        Precision::Tf32 => ["training-tf32", "same-bits-tf32", "full-size-tf32"],
        Precision::Bf16 => ["training-bf16", "same-bits-bf16", "full-size-bf16"],
    }
}

/// A step of a training: which samples, in which epoch, and how it is taken.
struct TrainStep {
    indices: Vec<u32>,
    epoch: usize,
    update: Update,
}

/// The losses of steps on a device, each before its step: those of an epoch are enqueued together, as a training does.
fn train(trainer: &mut Trainer, data: &Dataset, steps: &[TrainStep]) -> Result<Vec<f64>> {
    let mut losses = Vec::new();
    for steps in steps.chunk_by(|before, after| before.epoch == after.epoch) {
        let order: Vec<u32> = steps.iter().flat_map(|step| step.indices.iter().copied()).collect();
        let sizes = steps.iter().map(|step| (step.indices.len(), step.update)).collect();
        trainer.prepare(data, &order, steps[0].epoch, sizes)?;
        for step in steps {
            trainer.enqueue(data, &step.indices, step.epoch, step.update)?;
        }
        losses.extend(trainer.settle()?.iter().map(|outcome| outcome.loss));
    }
    Ok(losses)
}

/// A training in plain tensor code: the losses of `steps`, and then the one on the test images.
fn train_plainly(config: &TrialConfig, data: &Dataset, steps: &[TrainStep]) -> Result<(Vec<f64>, f64)> {
    let parameters = Parameters::new(config.seed);
    let builder = parameters.builder(DType::F64, &Device::Cpu);
    let network = Network::new(&config.model, data.shape, data.classes, builder)?;
    let mut optimizer = Optimizer::new(parameters.trained(), rule(&config.train))?;
    let mut losses = Vec::new();
    for (number, step) in (1..).zip(steps) {
        let shift = Shift { max: config.data.shift, seed: config.seed, epoch: step.epoch };
        let (images, labels) = batch(data, &data.train, &step.indices, Some(shift))?;
        let Update { learning_rate, scope } = step.update;
        let output = network.forward_in_step(number, scope, &images, Mask::TrueLabels(&labels))?;
        let loss = network.loss(&output, &images, &labels)?;
        optimizer.step(&loss.backward()?, learning_rate)?;
        losses.push(loss.to_scalar()?);
    }
    let indices: Vec<u32> = (0..data.test.len() as u32).collect();
    let (images, labels) = batch(data, &data.test, &indices, None)?;
    let output = network.forward(&images, Mask::Longest)?;
    Ok((losses, network.loss(&output, &images, &labels)?.to_scalar()?))
}

/// Images in f64 and labels, on the CPU.
fn batch(data: &Dataset, images: &Images, indices: &[u32], shift: Option<Shift>) -> Result<(Tensor, Tensor)> {
    let (count, ImageShape { channels, height, width }) = (indices.len(), data.shape);
    let (mut pixels, mut labels) = (vec![0.0; count * data.shape.pixels()], vec![0; count]);
    gather(images, data.shape, indices, shift, &mut pixels, &mut labels);
    let pixels = Tensor::from_vec(pixels, (count, channels, height, width), &Device::Cpu)?.to_dtype(DType::F64)?;
    Ok((pixels, Tensor::from_vec(labels, count, &Device::Cpu)?))
}

/// A random network and images for it.
fn draw_network(draw: &mut Draw) -> (ModelConfig, Dataset) {
    loop {
        let side = |draw: &mut Draw| draw.size(12..=24);
        let shape = ImageShape { channels: draw.size(1..=3), height: side(draw), width: side(draw) };
        let model = match draw.case {
            2 => ModelConfig::Lenet5,
            _ => ModelConfig::Capsnet(draw_capsnet(draw)),
        };
        if model.validate(shape, CLASSES).is_ok() {
            return (model, draw_images(draw, shape));
        }
    }
}

fn draw_capsnet(draw: &mut Draw) -> CapsNetConfig {
    let [conv1_sharing, primary_sharing] = [(); 2].map(|()| draw.pick(&[1, 1, 2]));
    CapsNetConfig {
        conv1_channels: conv1_sharing * draw.size(1..=20),
        conv1_kernel: draw.size(1..=9),
        conv1_stride: draw.size(1..=3),
        conv1_sharing,
        primary_types: primary_sharing * draw.size(1..=5),
        primary_dim: draw.size(1..=9),
        primary_kernel: draw.size(1..=7),
        primary_stride: draw.size(1..=3),
        primary_sharing,
        primary: Primary::Convolution,
        primary_capsules: 0,
        class_capsules: ClassCapsules::Routed,
        class_dim: draw.size(2..=17),
        class_sharing: draw.pick(&[ClassSharing::None, ClassSharing::ByType]),
        routing_iterations: draw.size(1..=4),
        squash: draw.pick(&[Squash::Exact, Squash::Approximate]),
        decoder: draw.pick(&[Decoder::Full, Decoder::Small, Decoder::None]),
        decoder_hidden: [draw.size(1..=40), draw.size(1..=70)],
        reconstruction_weight: 0.01 * draw.share(),
    }
}

fn draw_images(draw: &mut Draw, shape: ImageShape) -> Dataset {
    const IMAGES: usize = 48;
    let mut images = || Images {
        pixels: (0..IMAGES * shape.pixels()).map(|_| draw.size(0..=255) as u8).collect(),
        labels: (0..IMAGES).map(|_| draw.size(0..=CLASSES - 1) as u8).collect(),
    };
    let (train, validation, test) = (images(), images(), images());
    Dataset { shape, classes: CLASSES, train, validation, test, fingerprint: String::new() }
}

/// What was drawn, in words.
fn words(model: &ModelConfig, shape: ImageShape) -> String {
    // A config is numbers and strings: what JSON can hold.
    let model = serde_json::to_string(model).expect("a config is JSON");
    format!("images {}×{}×{}, {model}", shape.channels, shape.height, shape.width)
}

/// Loss and gradients of a network that candle builds of the device's ops.
fn network(device: &Device, draw: &mut Draw, case: &mut Case) -> Result<()> {
    const TRIES: usize = 20;
    for _ in 0..TRIES {
        let (model, data) = draw_network(draw);
        let count = draw.size(1..=9);
        case.shape = format!("batch {count}, {}", words(&model, data.shape));
        let indices: Vec<u32> = (0..count as u32).collect();
        let (images, labels) = batch(&data, &data.train, &indices, None)?;
        let (plain, expected) = gradients(&model, &data, &images, &labels)?;
        if let ModelConfig::Capsnet(config) = &model
            && !is_conv1_clear(config, &plain, &images)?
        {
            continue;
        }
        let images = images.to_dtype(DType::F32)?.to_device(device)?;
        let (parameters, got) = gradients(&model, &data, &images, &labels.to_device(device)?)?;
        for ((name, _), (got, expected)) in parameters.vars().iter().zip(got.iter().zip(&expected)) {
            case.compare_tensors(format!("gradient of {name}"), got, expected, NETWORK)?;
        }
        return Ok(());
    }
    bail!("no network in {TRIES} draws keeps clear of the kinks of its rectifier")
}

/// Gradients of the variables in their order, the loss last; in the images' type and on their device.
fn gradients(
    model: &ModelConfig,
    data: &Dataset,
    images: &Tensor,
    labels: &Tensor,
) -> Result<(Parameters, Vec<Tensor>)> {
    let parameters = Parameters::new(0);
    let builder = parameters.builder(images.dtype(), images.device());
    let network = Network::new(model, data.shape, data.classes, builder)?;
    let loss = network.loss(&network.forward(images, Mask::TrueLabels(labels))?, images, labels)?;
    let gradients = loss.backward()?;
    let mut all = Vec::new();
    for (name, var) in parameters.vars() {
        let Some(gradient) = gradients.get(&var) else { bail!("no gradient of {name}") };
        all.push(gradient.clone());
    }
    all.push(loss);
    Ok((parameters, all))
}

/// Whether no value before Conv1's rectifier is so near to 0 that f32 could take it for the other side.
fn is_conv1_clear(config: &CapsNetConfig, parameters: &Parameters, images: &Tensor) -> Result<bool> {
    let vars = parameters.vars();
    let find = |name: &str| vars.iter().find(|(known, _)| known == name).map(|(_, var)| var.as_tensor().clone());
    let (Some(weight), Some(bias)) = (find("conv1.weight"), find("conv1.bias")) else { bail!("no conv1") };
    let z = kernels::conv2d(images, &weight, &bias, config.conv1_stride)?;
    Ok(z.elem_count() > 1 << 15 || is_clear(&z.flatten_all()?.to_vec1()?, 0.0))
}

fn trial(seed: u64, model: ModelConfig, data: DataConfig) -> TrialConfig {
    TrialConfig { seed, data, model, schedule: ScheduleConfig::default(), train: TrainConfig::default() }
}

/// What a step of a network computes and trains: all of it, or less.
fn draw_scope(draw: &mut Draw, model: &ModelConfig) -> Scope {
    let own = match model {
        ModelConfig::Capsnet(config) => config.routing_iterations,
        ModelConfig::EfficientCapsnet(_) => {
            return Scope { skips_decoder: draw.pick(&[false, true]), ..Scope::default() };
        }
        ModelConfig::Lenet5 => {
            return Scope { frozen: draw.pick(&[Frozen::Nothing, Frozen::Conv1]), ..Scope::default() };
        }
    };
    Scope {
        iterations: Some(draw.size(1..=own)),
        skips_decoder: draw.pick(&[false, true]),
        frozen: draw.pick(&[Frozen::Nothing, Frozen::Conv1, Frozen::Primary]),
    }
}

/// Three steps of a random network on batches of different sizes, of which the second and the third may leave something out.
fn steps(device: &Device, draw: &mut Draw, case: &mut Case) -> Result<()> {
    const STEPS: usize = 3;
    let (model, data) = draw_network(draw);
    let shift = draw.size(0..=4);
    let sizes: Vec<usize> = (0..STEPS).map(|_| draw.size(1..=40)).collect();
    case.shape = format!("batches {sizes:?}, shift {shift}, {}", words(&model, data.shape));
    let config = trial(draw.size(0..=1000) as u64, model, DataConfig { shift, ..DataConfig::default() });
    let mut steps: Vec<TrainStep> = Vec::new();
    for (number, &size) in sizes.iter().enumerate() {
        let indices = epoch_order(data.train.len(), config.seed, number)[..size].to_vec();
        let scope = if number == 0 { Scope::default() } else { draw_scope(draw, &config.model) };
        steps.push(TrainStep { indices, epoch: number, update: Update { learning_rate: 1e-3, scope } });
    }
    let (expected, evaluated) = train_plainly(&config, &data, &steps)?;
    let mut trainer = Trainer::new(&config, &data, device)?;
    compare(case, &train(&mut trainer, &data, &steps)?, &expected, Tolerance::of(Precision::F32));
    let loss = trainer.evaluate(&data, &data.test)?.loss;
    case.compare("loss on test images", &[loss], &[evaluated], Tolerance::of(Precision::F32).after(STEPS));
    Ok(())
}

/// Losses step by step.
fn compare(case: &mut Case, got: &[f64], expected: &[f64], tolerance: Tolerance) {
    for (steps, (got, expected)) in got.iter().zip(expected).enumerate() {
        case.compare(format!("loss after {steps} steps"), &[*got], &[*expected], tolerance.after(steps));
    }
}

/// What a training is made of.
type Small = (TrialConfig, Dataset, Vec<TrainStep>);

/// The tiny preset on glyphs, some of them, and so many steps.
fn small_training(draw: &mut Draw, precision: Precision, count: usize) -> Result<Small> {
    const BATCH: usize = 32;
    let data = DataConfig { train_samples: Some(569), test_samples: Some(100), ..DataConfig::default() };
    let Some(model) = preset("tiny") else { bail!("there is no preset tiny") };
    let config = trial(draw.size(0..=1000) as u64, ModelConfig::Capsnet(model), data);
    let data = load(&config.data, &DataDirs::at("."))?;
    let mut steps: Vec<TrainStep> = Vec::new();
    for epoch in 0.. {
        for indices in epoch_order(data.train.len(), config.seed, epoch).chunks_exact(BATCH) {
            if steps.len() == count {
                return Ok((config.in_precision(precision), data, steps));
            }
            steps.push(TrainStep { indices: indices.to_vec(), epoch, update: 3e-3.into() });
        }
    }
    unreachable!("an epoch has steps")
}

fn training((config, data, steps): Small, device: &Device, case: &mut Case) -> Result<()> {
    let precision = config.train.precision;
    case.shape = format!("seed {}", config.seed);
    let (expected, evaluated) = train_plainly(&config, &data, &steps)?;
    let mut trainer = Trainer::new(&config, &data, device)?;
    let tolerance = Tolerance::of(precision);
    let losses = train(&mut trainer, &data, &steps)?;
    compare(case, &losses, &expected, tolerance);
    if !precision.is_f32() {
        let f32_config = config.in_precision(Precision::F32);
        let in_f32 = train(&mut Trainer::new(&f32_config, &data, device)?, &data, &steps)?;
        ensure!(
            losses != in_f32,
            "losses are those of f32 to the bit: products are not computed in {}",
            precision.as_str()
        );
    }
    let loss = trainer.evaluate(&data, &data.test)?.loss;
    case.compare("loss on test images", &[loss], &[evaluated], tolerance.after(steps.len()));
    Ok(())
}

fn same_bits((config, data, steps): Small, device: &Device, case: &mut Case) -> Result<()> {
    case.shape = format!("seed {}", config.seed);
    let losses = || -> Result<Vec<f64>> {
        let mut trainer = Trainer::new(&config, &data, device)?;
        let mut losses = train(&mut trainer, &data, &steps)?;
        losses.push(trainer.evaluate(&data, &data.test)?.loss);
        Ok(losses)
    };
    case.compare("losses of the second training", &losses()?, &losses()?, 0.0);
    Ok(())
}

/// `known`: what CPU cores came to, once they have.
fn full_size(precision: Precision, known: &OnceCell<Vec<f64>>, device: &Device, case: &mut Case) -> Result<()> {
    const BATCH: usize = 128;
    const STEPS: usize = 3;
    let data = DataConfig { train_samples: Some(427), test_samples: Some(20), ..DataConfig::default() };
    let Some(model) = preset("paper") else { bail!("there is no preset paper") };
    let config = trial(0, ModelConfig::Capsnet(model), data);
    case.shape = format!("paper, batch {BATCH}");
    let data = load(&config.data, &DataDirs::at("."))?;
    let batches = epoch_order(data.train.len(), 0, 0);
    let step = |indices: &[u32]| TrainStep { indices: indices.to_vec(), epoch: 0, update: 1e-3.into() };
    let steps: Vec<TrainStep> = batches.chunks_exact(BATCH).take(STEPS).map(step).collect();
    let expected = match known.get() {
        Some(losses) => losses,
        None => {
            let losses = train(&mut Trainer::new(&config, &data, &Device::Cpu)?, &data, &steps)?;
            known.get_or_init(|| losses)
        }
    };
    let mut trainer = Trainer::new(&config.in_precision(precision), &data, device)?;
    compare(case, &train(&mut trainer, &data, &steps)?, expected, Tolerance::of(precision));
    Ok(())
}

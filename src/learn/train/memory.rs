//! How much memory a training takes, known before it begins: so that no more trials run at once than fit.

use std::collections::BTreeMap;

use anyhow::Result;

use super::{evaluate, timing::steps_by_size};
use crate::learn::{
    config::TrialConfig,
    data::{ImageShape, descriptor::Origin},
    kernels::{Activation, Algorithm, ClassCapsulesPlan, Conv2dPlan},
    model::config::{CapsNetConfig, ClassSharing, Decoder, ModelConfig},
};

/// The program and its libraries, its stacks, and what each layer works on: as measured, of the smallest trainings.
const BASE: usize = 52 << 20;
/// What another thread adds: its share of panels and tiles.
const THREAD: usize = 3 << 20;
/// Buffers start and end in whole huge pages, and freed ones go back late: as measured.
const SLACK: f64 = 1.05;

/// Bytes a process that trains `config` on `threads` threads has resident at its peak: from a tenth below to two fifths above what
/// was measured on Linux (see `tests/it/memory.rs`). One that goes on from a checkpoint takes no more: the file is read into the
/// tensors that are there.
///
/// Errors: sizes that make no network.
pub fn peak_bytes(config: &TrialConfig, threads: usize) -> Result<u64> {
    let threads = threads.max(1);
    // Values, two moments, the best weights so far and, while they are replaced, the next.
    let weights = 5 * size_of::<f32>() * config.parameters();
    let training = match &config.model {
        ModelConfig::Capsnet(model) => capsnet(model, config, threads)?,
        ModelConfig::Lenet5 => lenet(config),
    };
    let data = Data::of(config);
    let training = data.splits as f64 + (weights + size_of::<f32>() * training) as f64 * SLACK;
    // Files are read whole before the splits are taken from them. By the time of training that is free again, most of it: where
    // both are alike the peak is above either, where one is much the larger it is that one's.
    let grown = (data.loading as f64).hypot(training);
    Ok((BASE + (threads - 1) * THREAD) as u64 + grown as u64)
}

/// What a process with CUDA holds of the host's memory beside its own: the driver's and cuBLAS's libraries, and their buffers.
const CUDA_ON_HOST: u64 = 600 << 20;
/// What a CUDA context, its kernels and those of cuBLAS take of a GPU.
const CUDA_CONTEXT: usize = 600 << 20;
/// What products may use beside their operands.
const CUDA_WORKSPACE: usize = 32 << 20;
/// Values of an image and a row of the kernel below which a convolution is unfolded whole, not one-sided.
const ONE_SIDED: usize = 64;

/// Bytes of the host's memory that a process takes at its peak which trains `config` on a GPU, whatever the network.
pub fn peak_bytes_beside_gpu(config: &TrialConfig) -> u64 {
    let data = Data::of(config);
    CUDA_ON_HOST + (data.loading.max(data.splits) + 4 * size_of::<f32>() * config.parameters()) as u64
}

/// Bytes of a GPU's memory that a training of `config` takes at its peak; absent where its sizes make no network.
///
/// The context; all images; of every parameter its value, its gradient and two moments; of the largest batch what leaves every
/// layer and the gradients of these, and both convolutions' unfolded inputs and their gradients; what products work in.
pub fn gpu_peak_bytes(config: &TrialConfig) -> Option<u64> {
    let of_a_sample = match &config.model {
        ModelConfig::Capsnet(model) => of_a_sample_on_gpu(model, config)?,
        ModelConfig::Lenet5 => lenet(config).div_ceil(batches(config).map(|(batch, _)| batch).max().unwrap_or(1)),
    };
    // An evaluation has the buffers of the training.
    let samples = batches(config).map(|(batch, _)| batch).max()?;
    let values = 4 * config.parameters() + samples * of_a_sample;
    Some((CUDA_CONTEXT + CUDA_WORKSPACE + Data::of(config).splits + size_of::<f32>() * values) as u64)
}

/// Values of one sample, with their gradients.
fn of_a_sample_on_gpu(model: &CapsNetConfig, config: &TrialConfig) -> Option<usize> {
    let (shape, classes) = (config.data.name.image_shape(), config.data.name.classes());
    let plans = Plans::new(model, shape, classes).ok()?;
    let unfolded = |height: usize, channels: usize, [rows, columns]: [usize; 2], kernel: usize, stride: usize| {
        if kernel * channels < ONE_SIDED {
            rows * columns * kernel * kernel * channels
        } else {
            stride * height.div_ceil(stride) * columns * kernel * channels
        }
    };
    let map = plans.conv1.out();
    let conv1 = unfolded(shape.height, shape.channels, map, model.conv1_kernel, model.conv1_stride);
    let primary =
        unfolded(map[0], model.conv1_channels, plans.primary.out(), model.primary_kernel, model.primary_stride);
    // Votes of every capsule for every class.
    let votes = model.primary_capsules(shape) * classes * model.class_dim;
    Some(shape.pixels() + 2 * (plans.of_a_sample + votes + conv1 + primary))
}

/// Bytes of images.
struct Data {
    /// While they are loaded.
    loading: usize,
    /// The three splits.
    splits: usize,
}

impl Data {
    fn of(config: &TrialConfig) -> Data {
        let set = config.data.name.descriptor();
        let image = set.shape.pixels() + 1;
        let counts = config.data.counts();
        let splits = image * (counts.train + counts.validation + counts.test);
        // A file's bytes move while its buffer grows; what is drawn stays where it was drawn.
        let (whole, reading) = match set.origin {
            Origin::Drawn(_) => (splits, 0),
            Origin::Files(_) => {
                let whole = image * (set.available.0 + set.available.1);
                (whole, 2 * whole)
            }
        };
        Data { loading: reading.max(whole + splits), splits }
    }
}

/// Values of every buffer that grows with the batch or the network.
fn capsnet(model: &CapsNetConfig, config: &TrialConfig, threads: usize) -> Result<usize> {
    let (shape, classes) = (config.data.name.image_shape(), config.data.name.classes());
    let plans = Plans::new(model, shape, classes)?;
    // Buffers grow to the largest size they have seen, which need not be that of one batch.
    let mut largest: BTreeMap<&str, usize> = BTreeMap::new();
    let mut see = |buffer, values: usize| {
        let known = largest.entry(buffer).or_default();
        *known = values.max(*known);
    };
    for (batch, is_training) in batches(config) {
        let name =
            |layer: [&'static str; 2], algorithm| if algorithm == Algorithm::Unfold { layer[0] } else { layer[1] };
        let (algorithm, values) = plans.conv1.room(batch, is_training, threads);
        see(name(["conv1 unfolded", "conv1 transformed"], algorithm), values);
        let (algorithm, values) = plans.primary.room(batch, is_training, threads);
        see(name(["primary unfolded", "primary transformed"], algorithm), values);
        see("class capsules", plans.classes.room(batch, is_training));
        let layers = batch * plans.of_a_sample;
        see("values", layers + batch * shape.pixels());
        see("gradients", if is_training { layers } else { 0 });
    }
    Ok(largest.values().sum::<usize>() + plans.weight_gradient)
}

/// The plans of a network, which hold nothing yet.
struct Plans {
    conv1: Conv2dPlan<f32>,
    primary: Conv2dPlan<f32>,
    classes: ClassCapsulesPlan<f32>,
    /// Values that leave the layers.
    of_a_sample: usize,
    /// Values of the largest gradient that is not handed over in blocks.
    weight_gradient: usize,
}

impl Plans {
    fn new(model: &CapsNetConfig, shape: ImageShape, classes: usize) -> Result<Plans> {
        let CapsNetConfig { conv1_channels, conv1_kernel, primary_types, primary_dim, primary_kernel, .. } = *model;
        let image = [1, shape.channels, shape.height, shape.width];
        let filters = [conv1_channels / model.conv1_sharing, shape.channels, conv1_kernel, conv1_kernel];
        let conv1 = Conv2dPlan::new(image, filters, conv1_channels, model.conv1_stride, Activation::Relu)?;
        let [height, width] = conv1.out();
        let channels = primary_types * primary_dim;
        let filters = [channels / model.primary_sharing, conv1_channels, primary_kernel, primary_kernel];
        let map = [1, conv1_channels, height, width];
        let primary = Conv2dPlan::new(map, filters, channels, model.primary_stride, Activation::None)?;
        let positions: usize = primary.out().iter().product();
        let capsules = primary_types * positions;
        let matrices = match model.class_sharing {
            ClassSharing::None => capsules,
            ClassSharing::ByType => primary_types,
        };
        let of_classes = classes * model.class_dim;
        let plan = ClassCapsulesPlan::new(
            [1, capsules, primary_dim],
            [matrices, primary_dim, of_classes],
            [classes, model.class_dim],
            model.routing_iterations,
            model.squash,
        )?;
        let [first, second] = model.decoder_hidden;
        let (decoded, largest_layer) = match model.decoder {
            Decoder::None => (0, 0),
            // The last layers put their outputs together in another order, too.
            _ => (
                first + 2 * second + 2 * shape.pixels(),
                (model.decoder_inputs(classes) * first).max(first * second).max(second * shape.pixels()),
            ),
        };
        Ok(Plans {
            conv1,
            primary,
            classes: plan,
            of_a_sample: map.iter().product::<usize>() + 2 * channels * positions + of_classes + decoded,
            weight_gradient: largest_layer.max(matrices * primary_dim * of_classes),
        })
    }
}

/// Values of a LeNet-5 beyond its weights: those of the graph and their gradients, of which candle frees none before a step's end.
fn lenet(config: &TrialConfig) -> usize {
    /// Both convolutions and poolings, the dense layers, and what stands between them: about so many times an image.
    const IMAGES: usize = 31;
    let batch = batches(config).map(|(batch, _)| batch).max().unwrap_or(1);
    batch * IMAGES * config.data.name.image_shape().pixels()
}

/// The batch sizes of the training, and those of evaluations after it.
fn batches(config: &TrialConfig) -> impl Iterator<Item = (usize, bool)> {
    let counts = config.data.counts();
    let evaluated = [counts.validation, counts.test].map(|images| (images.min(evaluate::BATCH), false));
    let trained = steps_by_size(config, counts.train).into_keys();
    trained.map(|size| (size, true)).chain(evaluated)
}

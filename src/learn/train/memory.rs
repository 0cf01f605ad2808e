//! How much memory a training takes, known before it begins: so that no more trials run at once than fit.

use std::collections::BTreeMap;

use anyhow::Result;

use super::evaluate;
use crate::learn::{
    config::{OptimizerKind, TrialConfig},
    data::descriptor::Origin,
    kernels::{
        Algorithm,
        optimizer::{matrix_sides, scratch_values},
    },
    model::{
        config::ModelConfig,
        layout::{CapsNetLayers, ConvolutionLayer, DenseLayer, Layer, PrimaryLayer},
        pass::ClassPlan,
    },
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
    // Values, the best weights so far and, while they are replaced, the next.
    let weights =
        size_of::<f32>() * (3 * (config.parameters() + config.statistics()) + of_optimizer(config) + of_losses(config));
    let training = match capsnet(config) {
        Some(layers) => of_pass(&layers, config, threads)?,
        None => of_graph(config),
    };
    let data = Data::of(config);
    let training = data.splits as f64 + (weights + size_of::<f32>() * training) as f64 * SLACK;
    // Files are read whole before the splits are taken from them. By the time of training that is free again, most of it: where
    // both are alike the peak is above either, where one is much the larger it is that one's.
    let grown = (data.loading as f64).hypot(training);
    Ok((BASE + (threads - 1) * THREAD) as u64 + grown as u64)
}

/// Values that the optimizer keeps, and the average of the weights, with what a step of theirs works in.
fn of_optimizer(config: &TrialConfig) -> usize {
    let parameters = config.parameters();
    let moments = match config.train.optimizer.kind() {
        OptimizerKind::Adam | OptimizerKind::Adamw => 2 * parameters,
        OptimizerKind::Sgd => parameters,
        // z and v, and x, by which the network is judged.
        OptimizerKind::ScheduleFree => 3 * parameters,
        // A matrix has one moment; buffers stay for the next step, those of each matrix.
        OptimizerKind::Muon => {
            let sides: Vec<[usize; 2]> = config.layers().iter().filter_map(matrix).collect();
            let one: usize = sides.iter().map(|[rows, columns]| rows * columns).sum();
            2 * parameters - one + sides.into_iter().map(scratch_values).sum::<usize>()
        }
    };
    moments + if config.train.ema.is_some() { parameters + config.statistics() } else { 0 }
}

/// Values by which epochs choose their samples: of every training sample, of those of an epoch, and a copy of both in a checkpoint.
fn of_losses(config: &TrialConfig) -> usize {
    if config.schedule.samples.is_all() { 0 } else { 4 * config.data.counts().train }
}

/// Rows and columns of a layer's weight, where Muon takes it for a matrix.
fn matrix(layer: &Layer) -> Option<[usize; 2]> {
    const WEIGHT: &str = "layer.weight";
    match layer {
        Layer::Convolution(layer) => matrix_sides(WEIGHT, &layer.weight()),
        Layer::Dense(layer) => matrix_sides(WEIGHT, &layer.weight()),
        Layer::ClassCapsules(layer) => matrix_sides(WEIGHT, &layer.weight()),
        Layer::HomogeneousCapsules(layer) => matrix_sides(WEIGHT, &layer.weight()),
        Layer::DepthwiseCapsules(layer) => matrix_sides(WEIGHT, &layer.weight()),
        Layer::AttentionCapsules(layer) => matrix_sides(WEIGHT, &layer.weight()),
        Layer::MaxPool(_) | Layer::PrimaryCapsules(_) | Layer::BatchNorm(_) | Layer::Mask(_) => None,
    }
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
/// layer and the gradients of these, and the convolutions' unfolded inputs and their gradients; what products work in.
pub fn gpu_peak_bytes(config: &TrialConfig) -> Option<u64> {
    let of_a_sample = match capsnet(config) {
        Some(layers) => of_a_sample_on_gpu(&layers)?,
        None => of_a_sample_in_graph(config, TRAINED),
    };
    // An evaluation has the buffers of the training.
    let samples = largest_batch(config);
    let values = 4 * config.parameters() + samples * of_a_sample;
    Some((CUDA_CONTEXT + CUDA_WORKSPACE + Data::of(config).splits + size_of::<f32>() * values) as u64)
}

/// Values of one sample, with their gradients; none where its sizes make no network.
fn of_a_sample_on_gpu(layers: &CapsNetLayers) -> Option<usize> {
    let unfolded = |layer: &ConvolutionLayer| -> Option<usize> {
        layer.unfolded().ok()?;
        let (ConvolutionLayer { kernel, stride, .. }, [channels, height, _]) = (*layer, layer.image);
        let [_, rows, columns] = layer.map();
        Some(if kernel * channels < ONE_SIDED {
            rows * columns * kernel * kernel * channels
        } else {
            stride * height.div_ceil(stride) * columns * kernel * channels
        })
    };
    let unfolded = layers.convolutions().map(unfolded).sum::<Option<usize>>()?;
    // Votes of every capsule for every class.
    Some(layers.pixels() + 2 * (of_a_sample(layers) + layers.classes.votes() + unfolded))
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
            Origin::Files(_) | Origin::Own(_) => {
                let whole = image * (set.available.0 + set.available.1);
                (whole, 2 * whole)
            }
        };
        Data { loading: reading.max(whole + splits), splits }
    }
}

/// The layers of a capsule network, whose passes are written out; none of another network, which candle's graph trains.
fn capsnet(config: &TrialConfig) -> Option<CapsNetLayers> {
    let ModelConfig::Capsnet(model) = &config.model else { return None };
    Some(model.layers(config.data.name.image_shape(), config.data.name.classes()))
}

/// Values of every buffer that grows with the batch or the network.
fn of_pass(layers: &CapsNetLayers, config: &TrialConfig, threads: usize) -> Result<usize> {
    let plan = |layer: &ConvolutionLayer| Ok((layer.name, layer.plan::<f32>()?));
    let convolutions: Vec<_> = layers.convolutions().map(plan).collect::<Result<_>>()?;
    let mut classes = ClassPlan::<f32>::new(&layers.classes)?;
    let iterations = layers.classes.iterations(None);
    let most_iterations = config.schedule.routing.most(iterations);
    // Buffers grow to the largest size they have seen, which need not be that of one batch.
    let mut largest: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut see = |layer, buffer, values: usize| {
        let known = largest.entry((layer, buffer)).or_default();
        *known = values.max(*known);
    };
    for (batch, is_training) in batches(config) {
        for (name, plan) in &convolutions {
            let (algorithm, values) = plan.room(batch, is_training, threads);
            see(*name, if algorithm == Algorithm::Unfold { "unfolded" } else { "transformed" }, values);
        }
        classes.set_iterations(if is_training { most_iterations } else { iterations });
        see(layers.classes.name(), "sweeps", classes.room(batch, is_training));
        let values = batch * of_a_sample(layers);
        see("all", "values", values + batch * layers.pixels());
        see("all", "gradients", if is_training { values } else { 0 });
    }
    Ok(largest.values().sum::<usize>() + layers.largest_gradient())
}

/// Values that leave the layers of a written-out pass, of a sample.
fn of_a_sample(layers: &CapsNetLayers) -> usize {
    let CapsNetLayers { conv1, primary, capsules, classes, decoder: _ } = layers;
    // The decoder's first layer reads the chosen capsule where it stands; other dense layers put their outputs together in another
    // order, too.
    let primary = match primary {
        PrimaryLayer::Convolution(layer) => layer.values(),
        PrimaryLayer::Dense(layer) => 2 * layer.outputs,
    };
    let dense = |(index, layer): (usize, &DenseLayer)| if index == 0 { layer.outputs } else { 2 * layer.outputs };
    let decoder: usize = layers.dense().iter().enumerate().map(dense).sum();
    conv1.values() + primary + capsules.values() + classes.values() + decoder
}

/// Values of a network in candle's graph beyond its weights: of the largest batch of training, or of evaluations, which have no
/// gradients.
fn of_graph(config: &TrialConfig) -> usize {
    let of_a_batch = |(batch, is_training): (usize, bool)| {
        batch * of_a_sample_in_graph(config, if is_training { TRAINED } else { EVALUATED })
    };
    batches(config).map(of_a_batch).max().unwrap_or(0)
}

/// Values of a step and of an evaluation in candle's graph, as multiples of those that leave the layers: as measured of LeNet-5 and
/// of Efficient-CapsNet.
const TRAINED: usize = 4;
const EVALUATED: usize = 2;

/// Values of a sample, of which candle's graph frees none before the end: so many times those that leave the layers.
fn of_a_sample_in_graph(config: &TrialConfig, times: usize) -> usize {
    /// Of LeNet-5: both convolutions and poolings, the dense layers, and what stands between them: about so many times an image.
    const IMAGES: usize = 31;
    let layers: usize = config.layers().iter().map(Layer::values).sum();
    (IMAGES * config.data.name.image_shape().pixels()).max(times * layers)
}

/// Samples of the largest batch of training and evaluations.
fn largest_batch(config: &TrialConfig) -> usize {
    batches(config).map(|(batch, _)| batch).max().unwrap_or(1)
}

/// The batch sizes of the training, and those of evaluations after it.
fn batches(config: &TrialConfig) -> impl Iterator<Item = (usize, bool)> {
    let counts = config.data.counts();
    let evaluated = [counts.validation, counts.test].map(|images| (images.min(evaluate::BATCH), false));
    let trained = config.steps_by_size(counts.train).into_keys();
    trained.map(|size| (size, true)).chain(evaluated)
}

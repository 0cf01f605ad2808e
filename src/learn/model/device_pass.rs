//! Training and evaluation of a network on a CUDA GPU, over the kernels of the device: `capsnet.rs` and `lenet.rs` have the layers,
//! this what they have in common.
//!
//! Everything a step needs lies on the device and stays where it is: values, gradients, weights with their moments in flat buffers,
//! the data set, the order of the epoch and the factors of its steps. A step is a fixed sequence of launches that a CUDA
//! graph can replay; the host waits for nothing and learns the losses when it asks for them.
//!
//! Activations of the convolutions are `[height][width][batch][channels]`, and their weights
//! `[kernel row][kernel column][in channel][filter]`: as the products want them. [`DevicePass::pull`] brings weights and moments back in
//! the order of [`Parameters`].

mod capsnet;
mod lenet;

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use candle_core::{Device, Result, Tensor, bail};

use capsnet::CapsNet;
use lenet::LeNet;

use super::{
    config::{ModelConfig, Precision},
    layout::ConvolutionLayer,
    lenet::LeNetLayers,
    parameters::Parameters,
    pass::Stage,
    scope::Scope,
};
use crate::learn::{
    data::ImageShape,
    kernels::{
        cuda::{
            Buffer, Gpu, Input, Output,
            adam::{ALIGNMENT, Flat},
            batch::{Batch, Source},
            conv2d::Conv2d,
            loss::Losses,
        },
        optimizer::Constants,
        with_values, with_values_mut,
    },
};

/// A part of a step that has been enqueued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enqueued {
    Batch,
    Stage(Stage),
    /// Both passes of a network that has no stages.
    Passes,
    Optimizer,
}

/// What a step takes from the host: where its batch comes from and where its metrics go.
#[derive(Clone, Copy)]
pub struct Step<'a> {
    pub source: Source<'a>,
    /// `[steps, 2]`: mean loss, and samples that were classified rightly, of each step.
    pub metrics: &'a Buffer<f64>,
    /// What it computes and trains.
    pub scope: Scope,
}

/// How a step moves the weights: by Adam or AdamW.
#[derive(Clone, Copy)]
pub struct AdamStep<'a> {
    pub constants: Constants,
    /// `[steps, 3]`: those of each step, as [`Flat::step`] wants them.
    pub factors: &'a Buffer<f32>,
}

/// What steps have at most.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    pub samples: usize,
    /// Routing iterations, where these are more than the network's own.
    pub iterations: usize,
}

/// Where a variable stands in the flat buffers.
struct Place {
    name: String,
    offset: usize,
    len: usize,
    /// `[filters, in channels, kernel rows, kernel columns]` of the weight of a convolution.
    filters: Option<[usize; 4]>,
}

impl Place {
    /// Copies the variable's values to where they stand on the device.
    fn place(&self, values: &[f32], flat: &mut [f32]) {
        let flat = &mut flat[self.offset..][..self.len];
        match self.filters {
            None => flat.copy_from_slice(values),
            Some(shape) => each_weight(shape, |host, device| flat[device] = values[host]),
        }
    }

    /// The way back.
    fn take(&self, flat: &[f32], values: &mut [f32]) {
        let flat = &flat[self.offset..][..self.len];
        match self.filters {
            None => values.copy_from_slice(flat),
            Some(shape) => each_weight(shape, |host, device| values[host] = flat[device]),
        }
    }
}

/// Calls `task` with the place of each weight among the parameters and on the device.
fn each_weight([filters, in_channels, rows, columns]: [usize; 4], mut task: impl FnMut(usize, usize)) {
    let positions = rows * columns;
    for filter in 0..filters {
        for channel in 0..in_channels {
            for position in 0..positions {
                let host = (filter * in_channels + channel) * positions + position;
                task(host, (position * in_channels + channel) * filters + filter);
            }
        }
    }
}

/// Weight and bias of a layer.
#[derive(Clone, Copy)]
struct Variables {
    weight: Span,
    bias: Span,
}

/// Values in the flat buffers.
#[derive(Clone, Copy)]
struct Span {
    offset: usize,
    len: usize,
}

/// Forward and backward passes of one network on a device.
pub struct DevicePass {
    core: Core,
    layers: Box<dyn Layers>,
    places: Vec<Place>,
    /// Samples that there is room for.
    most: usize,
}

/// What every network has.
struct Core {
    gpu: Arc<Gpu>,
    flat: Flat,
    images: Batch,
    losses: Losses,
}

/// Called after each stage that was enqueued.
type Ended<'a> = &'a mut dyn FnMut(Stage) -> Result<()>;

/// The layers of a network.
trait Layers {
    /// From the images to the losses of the samples; in a training, also to their gradient by what entered them.
    fn forward(&self, core: &Core, batch: usize, purpose: Purpose, ended: Ended) -> Result<()>;
    /// From there to the gradients of the parameters that a step within `scope` trains.
    fn backward(&self, core: &Core, batch: usize, scope: Scope, ended: Ended) -> Result<()>;
    /// Names of the layers that a step within `scope` does not train.
    fn untrained(&self, scope: Scope) -> Vec<&'static str>;
}

#[derive(Clone, Copy, PartialEq)]
enum Purpose {
    Training(Scope),
    Evaluation,
}

impl DevicePass {
    /// The passes of the network that has been built in `parameters` from the same config, for steps of up to `most`; the weights
    /// come by [`DevicePass::push`].
    ///
    /// Errors: not a CUDA device; no room on it; sizes that the kernels do not take.
    pub fn new(
        config: &ModelConfig,
        shape: ImageShape,
        classes: usize,
        parameters: &Parameters,
        device: &Device,
        precision: Precision,
        most: Most,
    ) -> Result<Self> {
        let Most { samples: most, iterations } = most;
        let gpu = Gpu::of(device)?;
        let (places, len) = places(parameters)?;
        let (layers, class_dim): (Box<dyn Layers>, usize) = match config {
            ModelConfig::Capsnet(config) => {
                let layers = config.layers(shape, classes);
                (
                    Box::new(CapsNet::new(&gpu, &layers, &places, precision, Most { samples: most, iterations })?),
                    layers.classes.capsules()[1],
                )
            }
            ModelConfig::Lenet5 => {
                (Box::new(LeNet::new(&gpu, &LeNetLayers::new(shape, classes), &places, precision, most)?), 1)
            }
            ModelConfig::EfficientCapsnet(_) => bail!("{} trains on CPU cores alone", super::efficient::KIND),
        };
        let core = Core {
            flat: Flat::zeros(&gpu, len)?,
            images: Batch::new(&gpu, [shape.channels, shape.height, shape.width], classes, most)?,
            losses: Losses::new(&gpu, most, classes, class_dim)?,
            gpu,
        };
        Ok(DevicePass { core, layers, places, most })
    }

    pub fn gpu(&self) -> &Arc<Gpu> {
        &self.core.gpu
    }

    /// The largest batch there is room for.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Takes weights, and moments `[2, ..shape]` by variable, from the host.
    pub fn push(&mut self, parameters: &Parameters, moments: &BTreeMap<String, Tensor>) -> Result<()> {
        let mut flat = [(); 3].map(|()| vec![0.; self.core.flat.theta.len()]);
        let [theta, m, v] = &mut flat;
        for (place, (_, var)) in self.places.iter().zip(parameters.vars()) {
            with_values(&var, |values: &[f32]| place.place(values, theta))?;
            let Some(moments) = moments.get(&place.name) else { bail!("no moments of `{}`", place.name) };
            with_values(moments, |moments: &[f32]| {
                let (first, second) = moments.split_at(place.len);
                place.place(first, m);
                place.place(second, v);
            })?;
        }
        let Flat { theta, m, v, .. } = &mut self.core.flat;
        for (buffer, values) in [theta, m, v].into_iter().zip(&flat) {
            buffer.fill_from(&self.core.gpu, values)?;
        }
        Ok(())
    }

    /// Brings the weights to the host, and the moments if there are tensors for them, once the device has come to them.
    pub fn pull(&self, parameters: &Parameters, moments: Option<&BTreeMap<String, Tensor>>) -> Result<()> {
        let theta = self.core.flat.theta.download(&self.core.gpu)?;
        for (place, (_, var)) in self.places.iter().zip(parameters.vars()) {
            with_values_mut(&var, |values: &mut [f32]| place.take(&theta, values))?;
        }
        let Some(moments) = moments else { return Ok(()) };
        let (m, v) = (self.core.flat.m.download(&self.core.gpu)?, self.core.flat.v.download(&self.core.gpu)?);
        for place in &self.places {
            let Some(moments) = moments.get(&place.name) else { bail!("no moments of `{}`", place.name) };
            with_values_mut(moments, |moments: &mut [f32]| {
                let (first, second) = moments.split_at_mut(place.len);
                place.take(&m, first);
                place.take(&v, second);
            })?;
        }
        Ok(())
    }

    /// Enqueues a training step on `batch` samples. Without an optimizer the weights stay what they are. Calls `enqueued` after
    /// each part.
    ///
    /// # Safety
    /// Once the device comes to this, the cursor of the step's source stands where there are metrics and factors of a step, and
    /// the indices of `batch` images of the source from there on (without an order, as many images).
    pub unsafe fn step(
        &self,
        batch: usize,
        step: Step,
        adam: Option<AdamStep>,
        enqueued: &mut dyn FnMut(Enqueued) -> Result<()>,
    ) -> Result<()> {
        let Core { gpu, flat, images, losses } = &self.core;
        // SAFETY: what the caller ensures of the cursor, here and below; nothing moves it before the end of the step.
        unsafe { images.gather(gpu, batch, step.source)? };
        enqueued(Enqueued::Batch)?;
        let mut has_stages = false;
        let mut ended = |stage| {
            has_stages = true;
            enqueued(Enqueued::Stage(stage))
        };
        self.layers.forward(&self.core, batch, Purpose::Training(step.scope), &mut ended)?;
        self.layers.backward(&self.core, batch, step.scope, &mut ended)?;
        if !has_stages {
            enqueued(Enqueued::Passes)?;
        }
        if let Some(AdamStep { constants, factors }) = adam {
            for part in self.trained(step.scope) {
                unsafe { flat.step(gpu, constants, factors, step.source.cursor, part)? };
            }
        }
        unsafe { losses.end_of_step(gpu, batch, step.metrics, step.source.cursor)? };
        enqueued(Enqueued::Optimizer)
    }

    /// Where the variables stand that a step within `scope` trains: those that follow one another are one part.
    fn trained(&self, scope: Scope) -> Vec<Range<usize>> {
        let untrained = self.layers.untrained(scope);
        let is_trained = |place: &Place| {
            let layer = place.name.rsplit_once('.').map_or("", |(layer, _)| layer);
            !untrained.contains(&layer)
        };
        let mut parts: Vec<Range<usize>> = Vec::new();
        for place in self.places.iter().filter(|place| is_trained(place)) {
            let end = (place.offset + place.len).next_multiple_of(ALIGNMENT);
            match parts.last_mut() {
                Some(part) if part.end == place.offset => part.end = end,
                _ => parts.push(place.offset..end),
            }
        }
        parts
    }

    /// Loads what a step with an optimizer calls beside one without.
    ///
    /// # Safety
    /// Once the device comes to this, the cursor stands where there are factors of a step.
    pub unsafe fn rehearse(&self, adam: AdamStep, cursor: &Buffer<i32>) -> Result<()> {
        // SAFETY: what the caller ensures.
        unsafe { self.core.flat.rehearse(&self.core.gpu, adam.constants, adam.factors, cursor) }
    }

    /// Enqueues the losses of `batch` samples with [`super::Mask::Longest`], without gradients, by the whole network.
    ///
    /// # Safety
    /// As [`Self::step`] without an optimizer.
    pub unsafe fn evaluate(&self, batch: usize, step: Step) -> Result<()> {
        // SAFETY: what the caller ensures of the cursor, here and below.
        unsafe { self.core.images.gather(&self.core.gpu, batch, step.source)? };
        self.layers.forward(&self.core, batch, Purpose::Evaluation, &mut |_| Ok(()))?;
        unsafe { self.core.losses.end_of_step(&self.core.gpu, batch, step.metrics, step.source.cursor) }
    }

    /// Lengths of the class capsules of the last batch, `[batch, classes]`, once the device has come to them.
    pub fn scores(&self, batch: usize) -> Result<Vec<f32>> {
        let mut scores = self.core.losses.scores.download(&self.core.gpu)?;
        scores.truncate(scores.len() / self.most * batch);
        Ok(scores)
    }
}

/// A convolution of up to `most` samples.
fn convolution(
    gpu: &Gpu,
    layer: &ConvolutionLayer,
    precision: Precision,
    needs_input_gradient: bool,
    most: usize,
) -> Result<Conv2d> {
    let ConvolutionLayer { image, channels, kernel, stride, activation, .. } = *layer;
    let filters = layer.filters();
    Conv2d::new(gpu, most, image, filters, channels, [kernel; 2], stride, activation, precision, needs_input_gradient)
}

/// Where each variable of `parameters` stands in flat buffers, and how long these are.
fn places(parameters: &Parameters) -> Result<(Vec<Place>, usize)> {
    let mut end = 0;
    let place = |(name, var): (String, candle_core::Var)| {
        let (offset, len) = (end, var.elem_count());
        end = (offset + len).next_multiple_of(ALIGNMENT);
        let filters = match var.dims() {
            &[filters, in_channels, rows, columns] => Some([filters, in_channels, rows, columns]),
            _ => None,
        };
        Place { name, offset, len, filters }
    };
    let places = parameters.vars().into_iter().map(place).collect();
    Ok((places, end))
}

impl Variables {
    fn find(places: &[Place], name: &str) -> Result<Variables> {
        let span = |what: &str| {
            let name = format!("{name}.{what}");
            match places.iter().find(|place| place.name == name) {
                Some(Place { offset, len, .. }) => Ok(Span { offset: *offset, len: *len }),
                None => bail!("the network has no variable `{name}`"),
            }
        };
        Ok(Variables { weight: span("weight")?, bias: span("bias")? })
    }

    fn values(self, flat: &Flat) -> (Input<'_, f32>, Input<'_, f32>) {
        let of = |span: Span| flat.theta.input().part(span.offset, span.len);
        (of(self.weight), of(self.bias))
    }

    fn gradients(self, flat: &Flat) -> (Output<'_, f32>, Output<'_, f32>) {
        let of = |span: Span| flat.gradient.output().part(span.offset, span.len);
        (of(self.weight), of(self.bias))
    }
}

//! Training and evaluation of a capsule network on a CUDA GPU: [`super::pass`] once more, over the kernels of the device.
//!
//! Everything a step needs lies on the device and stays where it is: values, gradients, weights with their moments in flat buffers,
//! the data set, the order of the epoch and the factors of its steps. A step is a fixed sequence of launches that a CUDA
//! graph can replay; the host waits for nothing and learns the losses when it asks for them.
//!
//! Activations of the convolutions are `[height][width][batch][channels]`, and their weights
//! `[kernel row][kernel column][in channel][filter]`: as the products want them. [`DevicePass::pull`] brings weights and moments back in
//! the order of [`Parameters`].

use std::{collections::BTreeMap, sync::Arc};

use candle_core::{Device, Result, Tensor, bail};

use super::{
    config::{CapsNetConfig, Decoder as Kind, Precision, Squash},
    parameters::Parameters,
    pass::Stage,
};
use crate::{
    data::ImageShape,
    kernels::{
        Activation,
        adam::Constants,
        cuda::{
            Address, Buffer, Gpu,
            adam::{ALIGNMENT, Flat},
            batch::{Batch, Source},
            class_capsules::{CapsuleOrder, ClassCapsules},
            conv2d::Conv2d,
            linear::{linear_backward, linear_forward},
            loss::{Losses, Masked},
            squash::{squash_backward, squash_forward},
        },
        with_values, with_values_mut,
    },
};

/// A part of a step that has been enqueued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enqueued {
    Batch,
    Stage(Stage),
    Adam,
}

/// What a step takes from the host: where its batch comes from and where its metrics go.
#[derive(Clone, Copy)]
pub struct Step<'a> {
    pub source: Source<'a>,
    /// `[steps, 2]`: mean loss, and samples that were classified rightly, of each step.
    pub metrics: &'a Buffer<f64>,
}

/// How a step moves the weights.
#[derive(Clone, Copy)]
pub struct Optimizer<'a> {
    pub constants: Constants,
    /// `[steps, 2]`: the step size and the correction of each step.
    pub factors: &'a Buffer<f32>,
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

/// Weight and bias of a layer: offsets in the flat buffers.
#[derive(Clone, Copy)]
struct Layer {
    weight: usize,
    bias: usize,
}

/// Forward and backward passes of one network on a device.
pub struct DevicePass {
    gpu: Arc<Gpu>,
    places: Vec<Place>,
    flat: Flat,
    /// Samples that there is room for.
    most: usize,
    sizes: Sizes,
    conv1: (Layer, Conv2d),
    primary: (Layer, Conv2d),
    classes: (Layer, ClassCapsules),
    decoder: Option<Decoder>,
    images: Batch,
    losses: Losses,
    values: Values,
    gradients: Values,
}

/// The sizes that a pass needs beside those its layers know.
#[derive(Clone, Copy)]
struct Sizes {
    /// Of the primary convolution's output: positions, and channels at each.
    positions: usize,
    channels: usize,
    /// Of a primary capsule.
    dim: usize,
    pixels: usize,
    squash: Squash,
    precision: Precision,
}

/// What enters and leaves the layers, or its gradient.
struct Values {
    /// Conv1's output `[h][w][batch][channels]`.
    map: Buffer<f32>,
    /// The primary convolution's output `[h][w][batch][types × dim]`.
    channels: Buffer<f32>,
    /// The same, squashed: `[position][batch][type][dim]`.
    capsules: Buffer<f32>,
    /// `[batch][classes][dim]`
    classes: Buffer<f32>,
}

/// What leaves the decoder's layers, or its gradient.
struct Decoded {
    /// What enters the first.
    masked: Buffer<f32>,
    hidden: [Buffer<f32>; 2],
    /// Before the sigmoid; the gradient takes its place.
    image: Buffer<f32>,
}

struct Decoder {
    layers: [Layer; 3],
    /// Widths: what enters, both hidden layers, the image.
    widths: [usize; 4],
    is_small: bool,
    reconstruction_weight: f64,
    values: Decoded,
    gradients: Decoded,
}

impl DevicePass {
    /// The passes of the network that has been built in `parameters` from the same config, for batches of up to `most`; the weights
    /// come by [`DevicePass::push`].
    ///
    /// Errors: not a CUDA device; no room on it; sizes that the kernels do not take.
    pub fn new(
        config: &CapsNetConfig,
        shape: ImageShape,
        classes: usize,
        parameters: &Parameters,
        device: &Device,
        precision: Precision,
        most: usize,
    ) -> Result<Self> {
        let gpu = Gpu::of(device)?;
        let (places, len) = places(parameters)?;
        let layer = |name: &str| Layer::find(&places, name);
        let image = [shape.channels, shape.height, shape.width];
        let convolution = |image, channels, sharing, kernel, stride, activation, needs_input_gradient| {
            let (filters, kernel) = (channels / sharing, [kernel; 2]);
            Conv2d::new(
                &gpu,
                most,
                image,
                filters,
                channels,
                kernel,
                stride,
                activation,
                precision,
                needs_input_gradient,
            )
        };
        let CapsNetConfig { conv1_channels, conv1_sharing, conv1_kernel, conv1_stride, .. } = *config;
        let conv1 =
            convolution(image, conv1_channels, conv1_sharing, conv1_kernel, conv1_stride, Activation::Relu, false)?;
        let [h, w] = conv1.out();
        let channels = config.primary_types * config.primary_dim;
        let CapsNetConfig { primary_sharing, primary_kernel, primary_stride, .. } = *config;
        let map = [conv1_channels, h, w];
        let primary =
            convolution(map, channels, primary_sharing, primary_kernel, primary_stride, Activation::None, true)?;
        let positions: usize = primary.out().iter().product();
        let class_weight = parameters.vars().into_iter().find(|(name, _)| name == "class_caps.weight");
        let Some((_, class_weight)) = class_weight else { bail!("the network has no variable `class_caps.weight`") };
        let class_capsules = ClassCapsules::new(
            &gpu,
            most,
            config.primary_types * positions,
            class_weight.dims3().map(|(a, b, c)| [a, b, c])?,
            [classes, config.class_dim],
            config.routing_iterations,
            config.squash,
            CapsuleOrder::ByPosition { types: config.primary_types },
        )?;
        let values = || {
            Ok::<_, candle_core::Error>(Values {
                map: gpu.zeros(most * conv1_channels * h * w)?,
                channels: gpu.zeros(most * channels * positions)?,
                capsules: gpu.zeros(most * channels * positions)?,
                classes: gpu.zeros(most * classes * config.class_dim)?,
            })
        };
        Ok(DevicePass {
            conv1: (layer("conv1")?, conv1),
            primary: (layer("primary")?, primary),
            classes: (layer("class_caps")?, class_capsules),
            decoder: Decoder::new(&gpu, config, classes, shape.pixels(), &places, most)?,
            images: Batch::new(&gpu, image, most)?,
            losses: Losses::new(&gpu, most, classes, config.class_dim)?,
            values: values()?,
            gradients: values()?,
            flat: Flat::zeros(&gpu, len)?,
            sizes: Sizes {
                positions,
                channels,
                dim: config.primary_dim,
                pixels: shape.pixels(),
                squash: config.squash,
                precision,
            },
            places,
            most,
            gpu,
        })
    }

    pub fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    /// The largest batch there is room for.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Takes weights, and moments `[2, ..shape]` by variable, from the host.
    pub fn push(&mut self, parameters: &Parameters, moments: &BTreeMap<String, Tensor>) -> Result<()> {
        let mut flat = [(); 3].map(|()| vec![0.; self.flat.theta.len()]);
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
        let Flat { theta, m, v, .. } = &mut self.flat;
        for (buffer, values) in [theta, m, v].into_iter().zip(&flat) {
            buffer.fill_from(&self.gpu, values)?;
        }
        Ok(())
    }

    /// Brings the weights to the host, and the moments if there are tensors for them, once the device has come to them.
    pub fn pull(&self, parameters: &Parameters, moments: Option<&BTreeMap<String, Tensor>>) -> Result<()> {
        let theta = self.flat.theta.download(&self.gpu)?;
        for (place, (_, var)) in self.places.iter().zip(parameters.vars()) {
            with_values_mut(&var, |values: &mut [f32]| place.take(&theta, values))?;
        }
        let Some(moments) = moments else { return Ok(()) };
        let (m, v) = (self.flat.m.download(&self.gpu)?, self.flat.v.download(&self.gpu)?);
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
    pub fn step(
        &self,
        batch: usize,
        step: Step,
        optimizer: Option<Optimizer>,
        enqueued: &mut dyn FnMut(Enqueued) -> Result<()>,
    ) -> Result<()> {
        let gpu = &self.gpu;
        self.images.gather(gpu, batch, step.source)?;
        enqueued(Enqueued::Batch)?;
        let mut ended = |stage| enqueued(Enqueued::Stage(stage));
        self.forward(batch, Purpose::Training, &mut ended)?;
        self.backward(batch, &mut ended)?;
        if let Some(Optimizer { constants, factors }) = optimizer {
            self.flat.step(gpu, constants, factors, step.source.cursor)?;
        }
        self.losses.end_of_step(gpu, batch, step.metrics, step.source.cursor)?;
        enqueued(Enqueued::Adam)
    }

    /// Loads what a step with an optimizer calls beside one without.
    pub fn rehearse(&self, optimizer: Optimizer, cursor: &Buffer<i32>) -> Result<()> {
        self.flat.rehearse(&self.gpu, optimizer.constants, optimizer.factors, cursor)
    }

    /// Enqueues the losses of `batch` samples with [`super::Mask::Longest`], without gradients.
    pub fn evaluate(&self, batch: usize, step: Step) -> Result<()> {
        self.images.gather(&self.gpu, batch, step.source)?;
        self.forward(batch, Purpose::Evaluation, &mut |_| Ok(()))?;
        self.losses.end_of_step(&self.gpu, batch, step.metrics, step.source.cursor)
    }

    /// Lengths of the class capsules of the last batch, `[batch, classes]`, once the device has come to them.
    pub fn scores(&self, batch: usize) -> Result<Vec<f32>> {
        let mut scores = self.losses.scores.download(&self.gpu)?;
        scores.truncate(scores.len() / self.most * batch);
        Ok(scores)
    }

    fn forward(&self, batch: usize, purpose: Purpose, ended: &mut dyn FnMut(Stage) -> Result<()>) -> Result<()> {
        let DevicePass { gpu, values, sizes, images, losses, .. } = self;
        let is_training = purpose == Purpose::Training;
        let (layer, conv1) = &self.conv1;
        let (weight, bias) = layer.values(&self.flat);
        conv1.forward(gpu, batch, images.map.start(), weight, bias, values.map.start())?;
        ended(Stage::Conv1)?;
        let (layer, primary) = &self.primary;
        let (weight, bias) = layer.values(&self.flat);
        primary.forward(gpu, batch, values.map.start(), weight, bias, values.channels.start())?;
        let capsules = batch * sizes.positions * sizes.channels / sizes.dim;
        let (channels, squashed) = (values.channels.start(), values.capsules.start());
        squash_forward(gpu, sizes.squash, capsules, sizes.dim, channels, squashed)?;
        ended(Stage::PrimaryCapsules)?;
        let (layer, classes) = &self.classes;
        let (weight, bias) = layer.values(&self.flat);
        let v = values.classes.start();
        classes.forward(gpu, batch, squashed, weight, bias, v)?;
        let masked = self.decoder.as_ref().map(|decoder| decoder.masked(&decoder.values));
        let dv = is_training.then(|| self.gradients.classes.start());
        losses.margin(gpu, batch, v, &images.labels, !is_training, dv, masked)?;
        ended(Stage::ClassCapsules)?;
        let Some(decoder) = &self.decoder else { return Ok(()) };
        decoder.forward(gpu, &self.flat, sizes.precision, batch)?;
        ended(Stage::Decoder)?;
        let (z, weight) = (decoder.values.image.start(), decoder.reconstruction_weight);
        losses.reconstruction(gpu, batch, z, images.flat.start(), sizes.pixels, weight, is_training)?;
        ended(Stage::Loss)
    }

    fn backward(&self, batch: usize, ended: &mut dyn FnMut(Stage) -> Result<()>) -> Result<()> {
        let DevicePass { gpu, values, gradients: d, sizes, images, .. } = self;
        if let Some(decoder) = &self.decoder {
            decoder.backward(gpu, &self.flat, sizes.precision, batch)?;
            let dmasked = decoder.masked(&decoder.gradients);
            self.losses.unmask(gpu, batch, dmasked, d.classes.start())?;
            ended(Stage::DecoderBackward)?;
        }
        let (layer, classes) = &self.classes;
        let ((weight, bias), (dweight, dbias)) = (layer.values(&self.flat), layer.gradients(&self.flat));
        let (u, du) = (values.capsules.start(), d.capsules.start());
        classes.backward(gpu, batch, u, weight, bias, d.classes.start(), du, dweight, dbias)?;
        ended(Stage::ClassCapsulesBackward)?;
        let capsules = batch * sizes.positions * sizes.channels / sizes.dim;
        let (channels, dchannels) = (values.channels.start(), d.channels.start());
        squash_backward(gpu, sizes.squash, capsules, sizes.dim, channels, du, dchannels)?;
        let (layer, primary) = &self.primary;
        let ((weight, _), (dweight, dbias)) = (layer.values(&self.flat), layer.gradients(&self.flat));
        let dmap = d.map.start();
        primary.backward(gpu, batch, weight, channels, dchannels, Some(dmap), dweight, dbias)?;
        ended(Stage::PrimaryCapsulesBackward)?;
        let (layer, conv1) = &self.conv1;
        let ((weight, _), (dweight, dbias)) = (layer.values(&self.flat), layer.gradients(&self.flat));
        conv1.backward(gpu, batch, weight, values.map.start(), dmap, None, dweight, dbias)?;
        ended(Stage::Conv1Backward)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Purpose {
    Training,
    Evaluation,
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

impl Layer {
    fn find(places: &[Place], name: &str) -> Result<Layer> {
        let offset = |what: &str| {
            let name = format!("{name}.{what}");
            match places.iter().find(|place| place.name == name) {
                Some(place) => Ok(place.offset),
                None => bail!("the network has no variable `{name}`"),
            }
        };
        Ok(Layer { weight: offset("weight")?, bias: offset("bias")? })
    }

    fn values(self, flat: &Flat) -> (Address<f32>, Address<f32>) {
        (flat.theta.at(self.weight), flat.theta.at(self.bias))
    }

    fn gradients(self, flat: &Flat) -> (Address<f32>, Address<f32>) {
        (flat.gradient.at(self.weight), flat.gradient.at(self.bias))
    }
}

impl Decoder {
    fn new(
        gpu: &Gpu,
        config: &CapsNetConfig,
        classes: usize,
        pixels: usize,
        places: &[Place],
        most: usize,
    ) -> Result<Option<Self>> {
        if config.decoder == Kind::None {
            return Ok(None);
        }
        let [first, second] = config.decoder_hidden;
        let widths = [config.decoder_inputs(classes), first, second, pixels];
        let values = || {
            let [masked, first, second, image] = widths.map(|width| gpu.zeros(most * width));
            Ok::<_, candle_core::Error>(Decoded { masked: masked?, hidden: [first?, second?], image: image? })
        };
        let layer = |name: &str| Layer::find(places, name);
        Ok(Some(Decoder {
            layers: [layer("decoder.0")?, layer("decoder.2")?, layer("decoder.4")?],
            widths,
            is_small: config.decoder == Kind::Small,
            reconstruction_weight: config.reconstruction_weight,
            values: values()?,
            gradients: values()?,
        }))
    }

    fn masked(&self, of: &Decoded) -> Masked {
        Masked { at: of.masked.start(), is_small: self.is_small }
    }

    fn forward(&self, gpu: &Gpu, flat: &Flat, precision: Precision, batch: usize) -> Result<()> {
        let all = self.values.all();
        for (index, layer) in self.layers.iter().enumerate() {
            let (weight, bias) = layer.values(flat);
            let (inputs, outputs) = (self.widths[index], self.widths[index + 1]);
            let (x, y) = (all[index], all[index + 1]);
            linear_forward(gpu, precision, batch, inputs, outputs, x, weight, bias, activation(index), y)?;
        }
        Ok(())
    }

    /// From the gradient by the last layer's output, which stands where that stood, to that by what the decoder saw.
    fn backward(&self, gpu: &Gpu, flat: &Flat, precision: Precision, batch: usize) -> Result<()> {
        let (all, mut d) = (self.values.all(), self.gradients.all());
        d[3] = all[3];
        for (index, layer) in self.layers.iter().enumerate().rev() {
            let ((weight, _), (dweight, dbias)) = (layer.values(flat), layer.gradients(flat));
            let (inputs, outputs) = (self.widths[index], self.widths[index + 1]);
            linear_backward(
                gpu,
                precision,
                batch,
                inputs,
                outputs,
                all[index],
                weight,
                activation(index),
                all[index + 1],
                d[index + 1],
                Some(d[index]),
                dweight,
                dbias,
            )?;
        }
        Ok(())
    }
}

/// Of the decoder's layer `index`; the sigmoid of the last is part of the loss.
fn activation(index: usize) -> Activation {
    if index < 2 { Activation::Relu } else { Activation::None }
}

impl Decoded {
    /// What enters each layer and leaves the last.
    fn all(&self) -> [Address<f32>; 4] {
        [self.masked.start(), self.hidden[0].start(), self.hidden[1].start(), self.image.start()]
    }
}

//! A capsule network on a device, layer by layer: see [`crate::learn::model::pass`], which does the same on CPU cores.

use candle_core::Result;

use super::{Core, Ended, Layer, Layers, Place, Purpose};
use crate::learn::{
    data::ImageShape,
    kernels::{
        Activation,
        cuda::{
            Address, Buffer, Gpu,
            adam::Flat,
            class_capsules::{CapsuleOrder, ClassCapsules},
            conv2d::Conv2d,
            linear::{linear_backward, linear_forward},
            loss::Masked,
            squash::{squash_backward, squash_forward},
        },
    },
    model::{
        config::{CapsNetConfig, ClassSharing, Decoder as Kind, Precision, Squash},
        pass::Stage,
    },
};

/// The layers of one capsule network and what is between them.
pub(super) struct CapsNet {
    conv1: (Layer, Conv2d),
    primary: (Layer, Conv2d),
    classes: (Layer, ClassCapsules),
    decoder: Option<Decoder>,
    sizes: Sizes,
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

impl CapsNet {
    pub(super) fn new(
        gpu: &Gpu,
        config: &CapsNetConfig,
        shape: ImageShape,
        classes: usize,
        places: &[Place],
        precision: Precision,
        most: usize,
    ) -> Result<Self> {
        let layer = |name: &str| Layer::find(places, name);
        let image = [shape.channels, shape.height, shape.width];
        let convolution = |image, channels, sharing, kernel, stride, activation, needs_input_gradient| {
            let (filters, kernel) = (channels / sharing, [kernel; 2]);
            Conv2d::new(
                gpu,
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
        let capsules = config.primary_types * positions;
        let matrices = match config.class_sharing {
            ClassSharing::None => capsules,
            ClassSharing::ByType => config.primary_types,
        };
        let class_capsules = ClassCapsules::new(
            gpu,
            most,
            capsules,
            [matrices, config.primary_dim, classes * config.class_dim],
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
        Ok(CapsNet {
            conv1: (layer("conv1")?, conv1),
            primary: (layer("primary")?, primary),
            classes: (layer("class_caps")?, class_capsules),
            decoder: Decoder::new(gpu, config, classes, shape.pixels(), places, most)?,
            values: values()?,
            gradients: values()?,
            sizes: Sizes {
                positions,
                channels,
                dim: config.primary_dim,
                pixels: shape.pixels(),
                squash: config.squash,
                precision,
            },
        })
    }
}

impl Layers for CapsNet {
    fn forward(&self, core: &Core, batch: usize, purpose: Purpose, ended: Ended) -> Result<()> {
        let CapsNet { values, sizes, .. } = self;
        let Core { gpu, flat, images, losses, .. } = core;
        let is_training = purpose == Purpose::Training;
        let (layer, conv1) = &self.conv1;
        let (weight, bias) = layer.values(flat);
        conv1.forward(gpu, batch, images.map.start(), weight, bias, values.map.start())?;
        ended(Stage::Conv1)?;
        let (layer, primary) = &self.primary;
        let (weight, bias) = layer.values(flat);
        primary.forward(gpu, batch, values.map.start(), weight, bias, values.channels.start())?;
        let capsules = batch * sizes.positions * sizes.channels / sizes.dim;
        let (channels, squashed) = (values.channels.start(), values.capsules.start());
        squash_forward(gpu, sizes.squash, capsules, sizes.dim, channels, squashed)?;
        ended(Stage::PrimaryCapsules)?;
        let (layer, classes) = &self.classes;
        let (weight, bias) = layer.values(flat);
        let v = values.classes.start();
        classes.forward(gpu, batch, squashed, weight, bias, v)?;
        let masked = self.decoder.as_ref().map(|decoder| decoder.masked(&decoder.values));
        let dv = is_training.then(|| self.gradients.classes.start());
        losses.margin(gpu, batch, v, &images.labels, !is_training, dv, masked)?;
        ended(Stage::ClassCapsules)?;
        let Some(decoder) = &self.decoder else { return Ok(()) };
        decoder.forward(gpu, flat, sizes.precision, batch)?;
        ended(Stage::Decoder)?;
        let (z, weight) = (decoder.values.image.start(), decoder.reconstruction_weight);
        losses.reconstruction(gpu, batch, z, images.flat.start(), sizes.pixels, weight, is_training)?;
        ended(Stage::Loss)
    }

    fn backward(&self, core: &Core, batch: usize, ended: Ended) -> Result<()> {
        let CapsNet { values, gradients: d, sizes, .. } = self;
        let Core { gpu, flat, losses, .. } = core;
        if let Some(decoder) = &self.decoder {
            decoder.backward(gpu, flat, sizes.precision, batch)?;
            let dmasked = decoder.masked(&decoder.gradients);
            losses.unmask(gpu, batch, dmasked, d.classes.start())?;
            ended(Stage::DecoderBackward)?;
        }
        let (layer, classes) = &self.classes;
        let ((weight, _), (dweight, dbias)) = (layer.values(flat), layer.gradients(flat));
        let (u, du) = (values.capsules.start(), d.capsules.start());
        classes.backward(gpu, batch, u, weight, d.classes.start(), du, dweight, dbias)?;
        ended(Stage::ClassCapsulesBackward)?;
        let capsules = batch * sizes.positions * sizes.channels / sizes.dim;
        let (channels, dchannels) = (values.channels.start(), d.channels.start());
        squash_backward(gpu, sizes.squash, capsules, sizes.dim, channels, du, dchannels)?;
        let (layer, primary) = &self.primary;
        let ((weight, _), (dweight, dbias)) = (layer.values(flat), layer.gradients(flat));
        let dmap = d.map.start();
        primary.backward(gpu, batch, weight, channels, dchannels, Some(dmap), dweight, dbias)?;
        ended(Stage::PrimaryCapsulesBackward)?;
        let (layer, conv1) = &self.conv1;
        let ((weight, _), (dweight, dbias)) = (layer.values(flat), layer.gradients(flat));
        conv1.backward(gpu, batch, weight, values.map.start(), dmap, None, dweight, dbias)?;
        ended(Stage::Conv1Backward)
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

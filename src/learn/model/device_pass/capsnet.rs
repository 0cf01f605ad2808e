//! A capsule network on a device, layer by layer: see [`crate::learn::model::pass`], which does the same on CPU cores.

use candle_core::{Result, bail};

use super::{Core, Ended, Layers, Most, Place, Purpose, Variables, convolution};
use crate::learn::{
    kernels::cuda::{
        Buffer, Gpu, Output,
        adam::Flat,
        class_capsules::{CapsuleOrder, ClassCapsules},
        conv2d::Conv2d,
        linear::{OutputGradient, linear_backward, linear_forward},
        loss::Masked,
        squash::{squash_backward, squash_forward},
    },
    model::{
        config::Precision,
        layout::{CapsNetLayers, ClassLayer, DecoderLayers, DenseLayer, PrimaryCapsuleLayer, PrimaryLayer},
        pass::Stage,
        scope::{Frozen, Scope},
    },
};

/// The layers of one capsule network and what is between them.
pub(super) struct CapsNet {
    conv1: (Variables, Conv2d),
    primary: (Variables, Conv2d),
    classes: (Variables, ClassCapsules),
    decoder: Option<Decoder>,
    in_channels: PrimaryCapsuleLayer,
    layers: CapsNetLayers,
    pixels: usize,
    precision: Precision,
    values: Values,
    gradients: Values,
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
    sizes: DecoderLayers,
    layers: [Variables; 3],
    values: Decoded,
    gradients: Decoded,
}

impl CapsNet {
    pub(super) fn new(
        gpu: &Gpu,
        layers: &CapsNetLayers,
        places: &[Place],
        precision: Precision,
        most: Most,
    ) -> Result<Self> {
        let Most { samples: most, iterations } = most;
        let CapsNetLayers { conv1, primary, capsules, classes, decoder } = layers;
        let PrimaryLayer::Convolution(primary) = primary else {
            bail!("a dense primary layer trains on CPU cores alone")
        };
        let ClassLayer::Routed(classes) = classes else { bail!("homogeneous class capsules train on CPU cores alone") };
        let class_capsules = ClassCapsules::new(
            gpu,
            most,
            classes.capsules,
            classes.weight(),
            classes.bias(),
            classes.iterations.max(iterations),
            classes.squash,
            CapsuleOrder::ByPosition { types: capsules.types },
        )?;
        let values = || {
            Ok::<_, candle_core::Error>(Values {
                map: gpu.zeros(most * conv1.values())?,
                channels: gpu.zeros(most * primary.values())?,
                capsules: gpu.zeros(most * capsules.values())?,
                classes: gpu.zeros(most * classes.values())?,
            })
        };
        let layer = |name: &str| Variables::find(places, name);
        Ok(CapsNet {
            conv1: (layer(conv1.name)?, convolution(gpu, conv1, precision, false, most)?),
            primary: (layer(primary.name)?, convolution(gpu, primary, precision, true, most)?),
            classes: (layer(classes.name)?, class_capsules),
            decoder: decoder.as_ref().map(|decoder| Decoder::new(gpu, decoder, places, most)).transpose()?,
            in_channels: *capsules,
            layers: *layers,
            pixels: layers.pixels(),
            precision,
            values: values()?,
            gradients: values()?,
        })
    }
}

impl CapsNet {
    /// Routing iterations of a pass within `scope`.
    fn iterations(&self, scope: Scope) -> Option<usize> {
        Some(self.layers.classes.iterations(scope.iterations))
    }

    /// The decoder, in a pass within `scope` that has it run.
    fn decoder(&self, scope: Scope) -> Option<&Decoder> {
        self.decoder.as_ref().filter(|_| !scope.skips_decoder)
    }
}

impl Layers for CapsNet {
    fn forward(&self, core: &Core, batch: usize, purpose: Purpose, ended: Ended) -> Result<()> {
        let CapsNet { values, in_channels, .. } = self;
        let Core { gpu, flat, images, losses, .. } = core;
        let (is_training, scope) = match purpose {
            Purpose::Training(scope) => (true, scope),
            Purpose::Evaluation => (false, Scope::default()),
        };
        let (layer, conv1) = &self.conv1;
        let (weight, bias) = layer.values(flat);
        conv1.forward(gpu, batch, images.map.input(), weight, bias, values.map.output())?;
        ended(Stage::Conv1)?;
        let (layer, primary) = &self.primary;
        let (weight, bias) = layer.values(flat);
        primary.forward(gpu, batch, values.map.input(), weight, bias, values.channels.output())?;
        let PrimaryCapsuleLayer { dim, squash, .. } = *in_channels;
        let (channels, squashed) = (values.channels.input(), &values.capsules);
        squash_forward(gpu, squash, batch * in_channels.capsules(), dim, channels, squashed.output())?;
        ended(Stage::PrimaryCapsules)?;
        let (layer, classes) = &self.classes;
        let (weight, bias) = layer.values(flat);
        let iterations = self.iterations(scope);
        classes.forward(gpu, batch, iterations, squashed.input(), weight, bias, values.classes.output())?;
        let masked = self.decoder(scope).map(|decoder| decoder.masked(decoder.values.masked.output()));
        let dv = is_training.then(|| self.gradients.classes.output());
        losses.margin(gpu, batch, values.classes.input(), &images.labels, !is_training, dv, masked)?;
        ended(Stage::ClassCapsules)?;
        let Some(decoder) = self.decoder(scope) else { return Ok(()) };
        decoder.forward(gpu, flat, self.precision, batch)?;
        ended(Stage::Decoder)?;
        let (z, weight) = (decoder.values.image.output(), decoder.sizes.mask.reconstruction_weight);
        losses.reconstruction(gpu, batch, z, images.flat.input(), self.pixels, weight, is_training)?;
        ended(Stage::Loss)
    }

    fn backward(&self, core: &Core, batch: usize, scope: Scope, ended: Ended) -> Result<()> {
        let CapsNet { values, gradients: d, in_channels, .. } = self;
        let Core { gpu, flat, losses, .. } = core;
        if let Some(decoder) = self.decoder(scope) {
            decoder.backward(gpu, flat, self.precision, batch)?;
            let dmasked = decoder.masked(decoder.gradients.masked.input());
            losses.unmask(gpu, batch, dmasked, d.classes.output())?;
            ended(Stage::DecoderBackward)?;
        }
        let (layer, classes) = &self.classes;
        let ((weight, _), (dweight, dbias)) = (layer.values(flat), layer.gradients(flat));
        let (u, du) = (values.capsules.input(), d.capsules.output());
        classes.backward(gpu, batch, self.iterations(scope), u, weight, d.classes.input(), du, dweight, dbias)?;
        ended(Stage::ClassCapsulesBackward)?;
        if scope.frozen == Frozen::Primary {
            return Ok(());
        }
        let PrimaryCapsuleLayer { dim, squash, .. } = *in_channels;
        let (channels, dchannels) = (values.channels.input(), d.channels.output());
        squash_backward(gpu, squash, batch * in_channels.capsules(), dim, channels, du.input(), dchannels)?;
        let (layer, primary) = &self.primary;
        let ((weight, _), (dweight, dbias)) = (layer.values(flat), layer.gradients(flat));
        let dmap = d.map.output();
        let below = scope.frozen.is_nothing().then_some(dmap);
        primary.backward(gpu, batch, weight, channels, dchannels, below, dweight, dbias)?;
        ended(Stage::PrimaryCapsulesBackward)?;
        if scope.frozen == Frozen::Conv1 {
            return Ok(());
        }
        let (layer, conv1) = &self.conv1;
        let ((weight, _), (dweight, dbias)) = (layer.values(flat), layer.gradients(flat));
        conv1.backward(gpu, batch, weight, values.map.input(), dmap, None, dweight, dbias)?;
        ended(Stage::Conv1Backward)
    }

    fn untrained(&self, scope: Scope) -> Vec<&'static str> {
        self.layers.untrained(scope)
    }
}

impl Decoder {
    fn new(gpu: &Gpu, sizes: &DecoderLayers, places: &[Place], most: usize) -> Result<Self> {
        let [first, second, last] = &sizes.dense;
        let values = || {
            Ok::<_, candle_core::Error>(Decoded {
                masked: gpu.zeros(most * first.inputs)?,
                hidden: [gpu.zeros(most * first.outputs)?, gpu.zeros(most * second.outputs)?],
                image: gpu.zeros(most * last.outputs)?,
            })
        };
        let layer = |layer: &DenseLayer| Variables::find(places, layer.name);
        Ok(Decoder {
            sizes: *sizes,
            layers: [layer(first)?, layer(second)?, layer(last)?],
            values: values()?,
            gradients: values()?,
        })
    }

    fn masked<V>(&self, values: V) -> Masked<V> {
        Masked { values, is_small: !self.sizes.mask.keeps_all }
    }

    fn forward(&self, gpu: &Gpu, flat: &Flat, precision: Precision, batch: usize) -> Result<()> {
        let all = self.values.all();
        for (index, (layer, size)) in self.layers.iter().zip(&self.sizes.dense).enumerate() {
            let (weight, bias) = layer.values(flat);
            let DenseLayer { inputs, outputs, activation, .. } = *size;
            let (x, y) = (all[index].input(), all[index + 1]);
            linear_forward(gpu, precision, batch, inputs, outputs, x, weight, bias, activation, y)?;
        }
        Ok(())
    }

    /// From the gradient by the last layer's output, which stands where that stood, to that by what the decoder saw.
    fn backward(&self, gpu: &Gpu, flat: &Flat, precision: Precision, batch: usize) -> Result<()> {
        let (all, mut d) = (self.values.all(), self.gradients.all());
        d[3] = all[3];
        for (index, (layer, size)) in self.layers.iter().zip(&self.sizes.dense).enumerate().rev() {
            let ((weight, _), (dweight, dbias)) = (layer.values(flat), layer.gradients(flat));
            let DenseLayer { inputs, outputs, activation, .. } = *size;
            linear_backward(
                gpu,
                precision,
                batch,
                inputs,
                outputs,
                all[index].input(),
                weight,
                OutputGradient::new(activation, all[index + 1].input(), d[index + 1]),
                Some(d[index]),
                dweight,
                dbias,
            )?;
        }
        Ok(())
    }
}

impl Decoded {
    /// What enters each layer and leaves the last.
    fn all(&self) -> [Output<'_, f32>; 4] {
        [self.masked.output(), self.hidden[0].output(), self.hidden[1].output(), self.image.output()]
    }
}

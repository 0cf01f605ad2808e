//! Training and evaluation of a capsule network on the CPU, written out layer by layer over buffers of its own.
//!
//! [`super::Network`] says what is computed, in candle's graph, for any device and type; this computes the same with the same
//! kernels, but allocates nothing once it has seen its sizes of batches, adds no gradients that have one part only, and keeps that of
//! a weight no longer than its layer, of a large convolution no longer than a block of it is in the caches.

mod work;

use std::ops::{Deref, DerefMut};

use candle_core::{Result, Tensor, bail};
pub use work::Work;

use super::{
    argmax,
    config::{CapsNetConfig, Decoder as Kind},
    parameters::Parameters,
};
use crate::learn::{
    data::ImageShape,
    kernels::{
        Activation, Adam, ClassCapsulesPlan, Conv2dPlan, Dense, DenseOfChosen, InChannels, Real, Weight, loss,
        relu_backward, relu_forward, with_values,
    },
};

/// What a training step consists of, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Conv1,
    /// The convolution and the squash.
    PrimaryCapsules,
    /// Votes and routing.
    ClassCapsules,
    Decoder,
    /// Its value and its gradient.
    Loss,
    DecoderBackward,
    ClassCapsulesBackward,
    PrimaryCapsulesBackward,
    Conv1Backward,
}

/// Who takes the gradients of a pass.
pub trait Gradients<T> {
    /// Lends the variable at `index` of [`Parameters::vars`] to `task`, which hands in its gradient.
    fn lend(&mut self, index: usize, task: &mut dyn FnMut(&mut dyn Weight<T>)) -> Result<()>;
    /// Called at the end of each part of a stage.
    fn ended(&mut self, _stage: Stage) {}
}

impl<T: Real> Gradients<T> for Adam {
    fn lend(&mut self, index: usize, task: &mut dyn FnMut(&mut dyn Weight<T>)) -> Result<()> {
        Adam::lend(self, index, task)
    }
}

/// Values of every sample of a batch: as many as the largest batch so far had.
struct Samples<T> {
    values: Vec<T>,
    sample: usize,
    batch: usize,
}

impl<T: Real> Samples<T> {
    fn of(sample: usize) -> Self {
        Samples { values: Vec::new(), sample, batch: 0 }
    }

    fn set_batch(&mut self, batch: usize) {
        self.batch = batch;
        if self.values.len() < batch * self.sample {
            self.values.resize(batch * self.sample, T::zero());
        }
    }
}

impl<T> Deref for Samples<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.values[..self.batch * self.sample]
    }
}

impl<T> DerefMut for Samples<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[..self.batch * self.sample]
    }
}

/// The weight and the bias of a layer, each with its place among the parameters.
struct Layer<T> {
    weight: (usize, Tensor),
    bias: (usize, Tensor),
    dbias: Vec<T>,
}

impl<T: Real> Layer<T> {
    fn new(parameters: &Parameters, name: &str) -> Result<Self> {
        let vars = parameters.vars();
        let find = |what: &str| {
            let name = format!("{name}.{what}");
            match vars.iter().position(|(known, _)| *known == name) {
                Some(index) => Ok((index, vars[index].1.as_tensor().clone())),
                None => bail!("the network has no variable `{name}`"),
            }
        };
        let bias = find("bias")?;
        let dbias = vec![T::zero(); bias.1.elem_count()];
        Ok(Layer { weight: find("weight")?, bias, dbias })
    }

    /// Calls `task` with weight and bias.
    fn with(&self, task: impl FnOnce(&[T], &[T])) -> Result<()> {
        with_values(&self.weight.1, |weight| with_values(&self.bias.1, |bias| task(weight, bias)))?
    }

    /// Lends the weight to `task`, which writes the gradient of the bias too (it gets the bias and where to write), and then
    /// hands that in.
    fn gradients(
        &mut self,
        gradients: &mut dyn Gradients<T>,
        mut task: impl FnMut(&mut dyn Weight<T>, &[T], &mut [T]),
    ) -> Result<()> {
        let Layer { weight, bias, dbias } = self;
        let lend = |bias: &[T]| gradients.lend(weight.0, &mut |weight| task(weight, bias, dbias));
        with_values(&bias.1, lend)??;
        gradients.lend(bias.0, &mut |bias| bias.whole(dbias))
    }
}

/// Forward and backward passes of one network.
pub struct Pass<T: Real> {
    conv1_plan: Conv2dPlan<T>,
    conv1: Layer<T>,
    primary_plan: Conv2dPlan<T>,
    primary: Layer<T>,
    in_channels: InChannels,
    classes_plan: ClassCapsulesPlan<T>,
    classes: Layer<T>,
    decoder: Option<Decoder<T>>,
    values: Values<T>,
    gradients: Values<T>,
    /// Of the weight at hand.
    dweight: Vec<T>,
    lengths: Samples<T>,
    chosen: Vec<u32>,
    /// Of an image.
    pixels: usize,
}

/// What enters and leaves the layers, or its gradient.
struct Values<T> {
    /// Conv1's output `[batch, channels, h, w]`.
    map: Samples<T>,
    /// The primary convolution's output `[batch, types × dim, h, w]`.
    channels: Samples<T>,
    /// `[batch, capsules, dim]`
    capsules: Samples<T>,
    /// `[batch, classes, dim]`
    classes: Samples<T>,
}

impl<T: Real> Values<T> {
    fn set_batch(&mut self, batch: usize) {
        let Values { map, channels, capsules, classes } = self;
        [map, channels, capsules, classes].into_iter().for_each(|values| values.set_batch(batch));
    }
}

/// Which capsule the decoder sees.
#[derive(Clone, Copy)]
enum Chosen {
    TrueLabel,
    Longest,
}

impl<T: Real> Pass<T> {
    /// The passes of the network that has been built in `parameters` from the same config, on the CPU and of type T.
    pub fn new(config: &CapsNetConfig, shape: ImageShape, classes: usize, parameters: &Parameters) -> Result<Self> {
        let layer = |name: &str| Layer::new(parameters, name);
        let (conv1, primary, class_layer) = (layer("conv1")?, layer("primary")?, layer("class_caps")?);
        let dims4 = |tensor: &Tensor| tensor.dims4().map(|(a, b, c, d)| [a, b, c, d]);
        let image = [1, shape.channels, shape.height, shape.width];
        let conv1_plan = Conv2dPlan::new(
            image,
            dims4(&conv1.weight.1)?,
            config.conv1_channels,
            config.conv1_stride,
            Activation::Relu,
        )?;
        let [h, w] = conv1_plan.out();
        let primary_channels = config.primary_types * config.primary_dim;
        let map = [1, config.conv1_channels, h, w];
        let primary_plan =
            Conv2dPlan::new(map, dims4(&primary.weight.1)?, primary_channels, config.primary_stride, Activation::None)?;
        let positions = primary_plan.out().iter().product();
        let in_channels =
            InChannels { types: config.primary_types, dim: config.primary_dim, positions, kind: config.squash };
        let capsules = config.primary_types * positions;
        let class_values = classes * config.class_dim;
        let classes_plan = ClassCapsulesPlan::new(
            [1, capsules, config.primary_dim],
            class_layer.weight.1.dims3().map(|(a, b, c)| [a, b, c])?,
            [classes, config.class_dim],
            config.routing_iterations,
            config.squash,
        )?;
        let values = || Values {
            map: Samples::of(map.iter().product()),
            channels: Samples::of(primary_channels * positions),
            capsules: Samples::of(capsules * config.primary_dim),
            classes: Samples::of(class_values),
        };
        let decoder = Decoder::new(config, classes, shape.pixels(), parameters)?;
        let largest = decoder.iter().flat_map(|decoder| decoder.layers.iter().map(|layer| &layer.weight.1));
        let largest = largest.chain([&class_layer.weight.1]).map(|weight| weight.elem_count()).max();
        Ok(Pass {
            conv1_plan,
            conv1,
            primary_plan,
            primary,
            in_channels,
            classes_plan,
            classes: class_layer,
            decoder,
            values: values(),
            gradients: values(),
            dweight: vec![T::zero(); largest.unwrap_or(0)],
            lengths: Samples::of(classes),
            chosen: Vec::new(),
            pixels: shape.pixels(),
        })
    }

    /// Hands the gradients of the loss of a batch to `gradients`, and gives the loss: [`super::Network::loss`] with
    /// [`super::Mask::TrueLabels`]. images `[batch, c, h, w]`, labels `[batch]`.
    pub fn train(&mut self, images: &[T], labels: &[u32], gradients: &mut dyn Gradients<T>) -> Result<f64> {
        let loss = self.forward(images, labels, Chosen::TrueLabel, &mut |stage| gradients.ended(stage))?;
        self.backward(images, labels, gradients)?;
        Ok(loss)
    }

    /// The loss of a batch with [`super::Mask::Longest`], without gradients.
    pub fn evaluate(&mut self, images: &[T], labels: &[u32]) -> Result<f64> {
        self.forward(images, labels, Chosen::Longest, &mut |_| {})
    }

    /// Lengths of the class capsules of the last batch, `[batch, classes]`.
    pub fn scores(&self) -> &[T] {
        &self.lengths
    }

    fn set_batch(&mut self, batch: usize) {
        if self.lengths.batch != batch {
            self.conv1_plan.set_batch(batch);
            self.primary_plan.set_batch(batch);
            self.classes_plan.set_batch(batch);
            self.values.set_batch(batch);
            self.lengths.set_batch(batch);
            self.decoder.iter_mut().for_each(|decoder| decoder.values.set_batch(batch));
        }
    }

    fn forward(&mut self, images: &[T], labels: &[u32], chosen: Chosen, ended: &mut dyn FnMut(Stage)) -> Result<f64> {
        let classes = self.lengths.sample;
        match labels.iter().find(|&&label| label as usize >= classes) {
            Some(label) => bail!("label {label} of a network of {classes} classes"),
            None if labels.is_empty() => bail!("a batch of no samples"),
            None => self.set_batch(labels.len()),
        }
        let Pass { conv1_plan, primary_plan, classes_plan, values, lengths, .. } = self;
        let Values { map, channels, capsules, classes } = values;
        self.conv1.with(|weight, bias| conv1_plan.forward(images, weight, bias, map))?;
        ended(Stage::Conv1);
        self.primary.with(|weight, bias| primary_plan.forward(map, weight, bias, channels))?;
        self.in_channels.squash(channels, capsules);
        ended(Stage::PrimaryCapsules);
        self.classes.with(|weight, bias| classes_plan.forward(capsules, weight, bias, classes))?;
        loss::lengths(classes, lengths);
        ended(Stage::ClassCapsules);
        self.chosen.clear();
        match chosen {
            Chosen::TrueLabel => self.chosen.extend_from_slice(labels),
            Chosen::Longest => self.chosen.extend(lengths.chunks_exact(lengths.sample).map(|row| argmax(row) as u32)),
        }
        let mut loss = 0.;
        if let Some(decoder) = &mut self.decoder {
            decoder.forward(classes, &self.chosen)?;
            ended(Stage::Decoder);
            loss = decoder.reconstruction_weight * loss::reconstruction(&decoder.values.image, images, labels.len());
        }
        loss += loss::margin(lengths, labels);
        ended(Stage::Loss);
        Ok(loss)
    }

    fn backward(&mut self, images: &[T], labels: &[u32], gradients: &mut dyn Gradients<T>) -> Result<()> {
        self.gradients.set_batch(labels.len());
        let Pass { conv1_plan, primary_plan, classes_plan, values, dweight, .. } = self;
        let d = &mut self.gradients;
        match &mut self.decoder {
            Some(decoder) => {
                decoder.gradients.set_batch(labels.len());
                decoder.backward(images, &values.classes, &self.chosen, &mut d.classes, dweight, gradients)?;
            }
            None => d.classes.fill(T::zero()),
        }
        loss::margin_backward(&values.classes, &self.lengths, labels, &mut d.classes);
        gradients.ended(Stage::Loss);
        let dweight = &mut dweight[..self.classes.weight.1.elem_count()];
        self.classes.gradients(gradients, |weight, bias, dbias| {
            let (u, du) = (&values.capsules, &mut d.capsules);
            classes_plan.backward(u, weight.values(), bias, &d.classes, du, dweight, dbias);
            weight.whole(dweight);
        })?;
        gradients.ended(Stage::ClassCapsulesBackward);
        self.in_channels.backward(&values.channels, &d.capsules, &mut d.channels);
        self.primary.gradients(gradients, |weight, _, dbias| {
            primary_plan.backward(&values.map, weight, &values.channels, &d.channels, Some(&mut d.map), dbias);
        })?;
        gradients.ended(Stage::PrimaryCapsulesBackward);
        self.conv1.gradients(gradients, |weight, _, dbias| {
            conv1_plan.backward(images, weight, &values.map, &d.map, None, dbias);
        })?;
        gradients.ended(Stage::Conv1Backward);
        Ok(())
    }
}

/// The decoder's part of a pass.
struct Decoder<T: Real> {
    first: DenseOfChosen,
    second: Dense<T>,
    last: Dense<T>,
    layers: [Layer<T>; 3],
    values: Decoded<T>,
    gradients: Decoded<T>,
    reconstruction_weight: f64,
}

/// What leaves the decoder's layers, or its gradient.
struct Decoded<T> {
    hidden: [Samples<T>; 2],
    image: Samples<T>,
}

impl<T: Real> Decoded<T> {
    fn set_batch(&mut self, batch: usize) {
        let [first, second] = &mut self.hidden;
        [first, second, &mut self.image].into_iter().for_each(|values| values.set_batch(batch));
    }
}

impl<T: Real> Decoder<T> {
    fn new(config: &CapsNetConfig, classes: usize, pixels: usize, parameters: &Parameters) -> Result<Option<Self>> {
        if config.decoder == Kind::None {
            return Ok(None);
        }
        let [first, second] = config.decoder_hidden;
        let values = || Decoded { hidden: [first, second].map(Samples::of), image: Samples::of(pixels) };
        let layer = |name: &str| Layer::new(parameters, name);
        Ok(Some(Decoder {
            first: DenseOfChosen {
                classes,
                dim: config.class_dim,
                outputs: first,
                is_per_class: config.decoder == Kind::Full,
            },
            second: Dense::new(first, second),
            last: Dense::new(second, pixels),
            layers: [layer("decoder.0")?, layer("decoder.2")?, layer("decoder.4")?],
            values: values(),
            gradients: values(),
            reconstruction_weight: config.reconstruction_weight,
        }))
    }

    fn forward(&mut self, classes: &[T], chosen: &[u32]) -> Result<()> {
        let Decoder { first, second, last, values, layers, .. } = self;
        let Decoded { hidden: [a, b], image } = values;
        layers[0].with(|weight, bias| first.forward(classes, chosen, weight, bias, a))?;
        relu_forward(a);
        layers[1].with(|weight, bias| second.forward(a, weight, bias, b))?;
        relu_forward(b);
        layers[2].with(|weight, bias| last.forward(b, weight, bias, image))?;
        loss::sigmoid(image);
        Ok(())
    }

    /// Writes the reconstruction's gradient by the class capsules.
    fn backward(
        &mut self,
        images: &[T],
        classes: &[T],
        chosen: &[u32],
        dclasses: &mut [T],
        dweight: &mut [T],
        gradients: &mut dyn Gradients<T>,
    ) -> Result<()> {
        let Decoder { first, second, last, values, layers: [layer0, layer1, layer2], .. } = self;
        let Decoded { hidden: [a, b], image } = values;
        let Decoded { hidden: [da, db], image: dimage } = &mut self.gradients;
        loss::reconstruction_backward(image, images, chosen.len(), self.reconstruction_weight, dimage);
        gradients.ended(Stage::Loss);
        layer2.gradients(gradients, |weight, _, dbias| {
            let dweight = &mut dweight[..last.weights()];
            last.input_gradient(weight.values(), dimage, db);
            last.weight_gradient(b, dimage, dweight, dbias);
            weight.whole(dweight);
        })?;
        relu_backward(b, db);
        layer1.gradients(gradients, |weight, _, dbias| {
            let dweight = &mut dweight[..second.weights()];
            second.input_gradient(weight.values(), db, da);
            second.weight_gradient(a, db, dweight, dbias);
            weight.whole(dweight);
        })?;
        relu_backward(a, da);
        layer0.gradients(gradients, |weight, _, dbias| {
            let dweight = &mut dweight[..first.inputs() * first.outputs];
            first.input_gradient(chosen, weight.values(), da, dclasses);
            first.weight_gradient(classes, chosen, da, dweight, dbias);
            weight.whole(dweight);
        })?;
        gradients.ended(Stage::DecoderBackward);
        Ok(())
    }
}

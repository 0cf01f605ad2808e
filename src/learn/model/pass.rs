//! Training and evaluation of a capsule network on the CPU, written out layer by layer over buffers of its own.
//!
//! [`super::Network`] says what is computed, in candle's graph, for any device and type; this computes the same with the same
//! kernels, but allocates nothing once it has seen its sizes of batches, adds no gradients that have one part only, and keeps that of
//! a weight no longer than its layer, of a large convolution no longer than a block of it is in the caches.

mod classes;
mod decoder;
mod primary;
mod work;

use std::ops::{Deref, DerefMut};

use candle_core::{Result, Tensor, bail};
pub(crate) use classes::ClassPlan;
use decoder::Decoder;
use primary::PrimaryPlan;
pub use work::Work;
pub(crate) use work::convolution as convolution_work;

use super::{
    argmax,
    layout::{CapsNetLayers, PrimaryLayer},
    parameters::Parameters,
    scope::{Frozen, Scope},
};
use crate::learn::kernels::{Buffer, Conv2dPlan, InChannels, Optimizer, Real, Weight, loss, with_values};

/// What a training step consists of, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Conv1,
    /// The convolution or dense layer, and the squash.
    PrimaryCapsules,
    /// Votes and their routing, or their sums.
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

impl<T: Real> Gradients<T> for Optimizer {
    fn lend(&mut self, index: usize, task: &mut dyn FnMut(&mut dyn Weight<T>)) -> Result<()> {
        Optimizer::lend(self, index, task)
    }
}

/// Values of every sample of a batch, in room for the largest batch so far. They begin with a cache line and stand in huge pages:
/// where they happen to begin elsewhere, every vector that a convolution writes touches two lines.
struct Samples<T: Real> {
    values: Buffer<T>,
    sample: usize,
    batch: usize,
}

impl<T: Real> Samples<T> {
    fn of(sample: usize) -> Self {
        Samples { values: Buffer::empty(), sample, batch: 0 }
    }

    fn set_batch(&mut self, batch: usize) {
        self.batch = batch;
        self.values.resize(batch * self.sample);
    }
}

impl<T: Real> Deref for Samples<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.values
    }
}

impl<T: Real> DerefMut for Samples<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values
    }
}

/// The weight and the bias of a layer, each with its place among the parameters.
struct Variables<T> {
    weight: (usize, Tensor),
    bias: (usize, Tensor),
    dbias: Vec<T>,
}

impl<T: Real> Variables<T> {
    /// Those of the layer `name`, whose weight has the dimensions `weight`.
    fn new(parameters: &Parameters, name: &str, weight: &[usize]) -> Result<Self> {
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
        let found = find("weight")?;
        if found.1.dims() != weight {
            bail!("`{name}.weight` has shape {:?}, but the layer's is {weight:?}", found.1.dims());
        }
        Ok(Variables { weight: found, bias, dbias })
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
        let Variables { weight, bias, dbias } = self;
        let lend = |bias: &[T]| gradients.lend(weight.0, &mut |weight| task(weight, bias, dbias));
        with_values(&bias.1, lend)??;
        gradients.lend(bias.0, &mut |bias| bias.whole(dbias))
    }
}

/// Forward and backward passes of one network.
pub struct Pass<T: Real> {
    layers: CapsNetLayers,
    conv1_plan: Conv2dPlan<T>,
    conv1: Variables<T>,
    primary_plan: PrimaryPlan<T>,
    primary: Variables<T>,
    in_channels: InChannels,
    classes_plan: ClassPlan<T>,
    classes: Variables<T>,
    decoder: Option<Decoder<T>>,
    values: Values<T>,
    gradients: Values<T>,
    /// Of the weight at hand.
    dweight: Vec<T>,
    lengths: Samples<T>,
    chosen: Vec<u32>,
    /// Of the last pass.
    scope: Scope,
}

/// What enters and leaves the layers, or its gradient.
struct Values<T: Real> {
    /// Conv1's output `[batch, channels, h, w]`.
    map: Samples<T>,
    /// The primary layer's output `[batch, types × dim, h, w]`.
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
    /// The passes of the network that has been built in `parameters` of the same layers, on the CPU and of type T.
    pub fn new(layers: &CapsNetLayers, parameters: &Parameters) -> Result<Self> {
        let CapsNetLayers { conv1, primary, capsules, classes, decoder } = layers;
        let values = || Values {
            map: Samples::of(conv1.values()),
            channels: Samples::of(primary.values()),
            capsules: Samples::of(capsules.values()),
            classes: Samples::of(classes.values()),
        };
        Ok(Pass {
            conv1: Variables::new(parameters, conv1.name, &conv1.weight())?,
            conv1_plan: conv1.plan()?,
            primary: match primary {
                PrimaryLayer::Convolution(layer) => Variables::new(parameters, layer.name, &layer.weight())?,
                PrimaryLayer::Dense(layer) => Variables::new(parameters, layer.name, &layer.weight())?,
            },
            primary_plan: PrimaryPlan::new(primary)?,
            in_channels: capsules.in_channels(),
            classes: Variables::new(parameters, classes.name(), &classes.weight())?,
            classes_plan: ClassPlan::new(classes)?,
            decoder: decoder.as_ref().map(|decoder| Decoder::new(decoder, parameters)).transpose()?,
            values: values(),
            gradients: values(),
            dweight: vec![T::zero(); layers.largest_gradient()],
            lengths: Samples::of(classes.capsules()[0]),
            chosen: Vec::new(),
            scope: Scope::default(),
            layers: *layers,
        })
    }

    /// Hands the gradients of the loss of a batch to `gradients`, and gives the loss: [`super::Network::loss`] with
    /// [`super::Mask::TrueLabels`]. images `[batch, c, h, w]`, labels `[batch]`.
    pub fn train(&mut self, images: &[T], labels: &[u32], gradients: &mut dyn Gradients<T>) -> Result<f64> {
        self.train_within(Scope::default(), images, labels, gradients)
    }

    /// [`Pass::train`] of a step that computes and trains what `scope` says; see [`super::Network::forward_in_step`]. Variables that it
    /// does not train are not lent, and what would lead to their gradients alone is not computed.
    pub fn train_within(
        &mut self,
        scope: Scope,
        images: &[T],
        labels: &[u32],
        gradients: &mut dyn Gradients<T>,
    ) -> Result<f64> {
        self.set_scope(scope);
        let loss = self.forward(images, labels, Chosen::TrueLabel, &mut |stage| gradients.ended(stage))?;
        self.backward(images, labels, gradients)?;
        Ok(loss)
    }

    /// The loss of a batch with [`super::Mask::Longest`], without gradients.
    pub fn evaluate(&mut self, images: &[T], labels: &[u32]) -> Result<f64> {
        self.set_scope(Scope::default());
        self.forward(images, labels, Chosen::Longest, &mut |_| {})
    }

    /// Lengths of the class capsules of the last batch, `[batch, classes]`.
    pub fn scores(&self) -> &[T] {
        &self.lengths
    }

    fn set_scope(&mut self, scope: Scope) {
        self.scope = scope;
        self.classes_plan.set_iterations(self.layers.classes.iterations(scope.iterations));
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
        if let Some(decoder) = self.decoder.as_mut().filter(|_| !self.scope.skips_decoder) {
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
        let Scope { skips_decoder, frozen, .. } = self.scope;
        let d = &mut self.gradients;
        match &mut self.decoder {
            Some(decoder) if !skips_decoder => {
                decoder.gradients.set_batch(labels.len());
                decoder.backward(images, &values.classes, &self.chosen, &mut d.classes, dweight, gradients)?;
            }
            _ => d.classes.fill(T::zero()),
        }
        loss::margin_backward(&values.classes, &self.lengths, labels, &mut d.classes);
        gradients.ended(Stage::Loss);
        self.classes.gradients(gradients, |weight, bias, dbias| {
            let dweight = &mut dweight[..weight.values().len()];
            let (u, du) = (&values.capsules, &mut d.capsules);
            classes_plan.backward(u, weight.values(), bias, &d.classes, du, dweight, dbias);
            weight.whole(dweight);
        })?;
        gradients.ended(Stage::ClassCapsulesBackward);
        if frozen == Frozen::Primary {
            return Ok(());
        }
        self.in_channels.backward(&values.channels, &d.capsules, &mut d.channels);
        self.primary.gradients(gradients, |weight, _, dbias| {
            let dmap = (frozen == Frozen::Nothing).then_some(&mut *d.map);
            primary_plan.backward(&values.map, weight, &values.channels, &d.channels, dmap, dweight, dbias);
        })?;
        gradients.ended(Stage::PrimaryCapsulesBackward);
        if frozen == Frozen::Conv1 {
            return Ok(());
        }
        self.conv1.gradients(gradients, |weight, _, dbias| {
            conv1_plan.backward(images, weight, &values.map, &d.map, None, dbias);
        })?;
        gradients.ended(Stage::Conv1Backward);
        Ok(())
    }
}

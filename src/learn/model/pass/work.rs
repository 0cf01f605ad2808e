//! How much work the stages of a training step are, whoever does it.

use std::ops::Add;

use candle_core::Result;

use super::{ClassPlan, Pass, Stage};
use crate::learn::{
    kernels::Real,
    model::{
        layout::{CapsNetLayers, ConvolutionLayer, DecoderLayers, DenseLayer, Layer, PrimaryLayer},
        scope::{Frozen, Scope},
    },
};

/// Work of a stage: what no implementation by the same algorithm could leave out.
///
/// Multiply-adds are those of convolutions, votes, routing sums and dense layers, and of Muon's products. What is done value by
/// value (ReLU, squash, softmax, sigmoid, losses, every other optimizer) counts by its bytes alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    pub multiply_adds: u64,
    /// Those of the same stage if its convolution were computed by its definition.
    pub direct_multiply_adds: u64,
    /// Each operand read once and each result written once. The gradient of a weight is neither: the optimizer takes it from
    /// the caches.
    pub bytes: u64,
}

impl Work {
    /// Work that moves values and multiplies nothing worth counting.
    pub fn moving(bytes: usize) -> Work {
        Work { bytes: bytes as u64, ..Work::default() }
    }
}

impl Add for Work {
    type Output = Work;
    fn add(self, other: Work) -> Work {
        Work {
            multiply_adds: self.multiply_adds + other.multiply_adds,
            direct_multiply_adds: self.direct_multiply_adds + other.direct_multiply_adds,
            bytes: self.bytes + other.bytes,
        }
    }
}

impl<T: Real> Pass<T> {
    /// The work of each stage of a step like the last one, without the optimizer's.
    pub fn work(&self) -> Result<Vec<(Stage, Work)>> {
        self.layers.work::<T>(self.scope, self.lengths.batch)
    }
}

impl<T: Real> Pass<T> {
    /// Names of the layers that a step like the last one does not train.
    pub fn untrained(&self) -> Vec<&'static str> {
        self.layers.untrained(self.scope)
    }
}

impl CapsNetLayers {
    /// The work of each stage of a [`Pass`] within `scope` on `batch` samples (at least 1), without the optimizer's.
    ///
    /// Errors: sizes that do not fit.
    pub fn work<T: Real>(&self, scope: Scope, batch: usize) -> Result<Vec<(Stage, Work)>> {
        let CapsNetLayers { conv1, primary, capsules, classes, decoder } = self;
        let count = |[multiply_adds, direct_multiply_adds]: [u64; 2], values: usize| Work {
            multiply_adds,
            direct_multiply_adds,
            bytes: (values * size_of::<T>()) as u64,
        };
        let (conv1_adds, conv1_direct) = convolution::<T>(conv1, batch)?;
        let (primary_adds, primary_direct) = match primary {
            PrimaryLayer::Convolution(layer) => convolution::<T>(layer, batch)?,
            PrimaryLayer::Dense(layer) => {
                let adds = (batch * layer.weights()) as u64;
                ([adds; 3], adds)
            }
        };
        let mut plan = ClassPlan::<T>::new(classes)?;
        plan.set_iterations(classes.iterations(scope.iterations));
        let [classes_adds, classes_backward] = plan.work(batch);

        let images = batch * self.pixels();
        let [map, channels] = [conv1.values(), primary.values()].map(|values| batch * values);
        let (capsules, class_values, scores) =
            (batch * capsules.values(), batch * classes.values(), batch * classes.capsules()[0]);
        let in_classes = capsules + classes.weights() + classes.values();
        let mut work = vec![
            (Stage::Conv1, count([conv1_adds[0], conv1_direct], images + conv1.weights() + conv1.channels + map)),
            (
                Stage::PrimaryCapsules,
                count([primary_adds[0], primary_direct], map + primary.layer().parameters() + channels + capsules),
            ),
            (Stage::ClassCapsules, count([classes_adds; 2], in_classes + class_values + scores)),
        ];
        // Margin: the class capsules and their lengths, and a gradient that is read and written.
        let mut loss = 3 * class_values + 2 * scores;
        if let Some(decoder) = decoder.as_ref().filter(|_| !scope.skips_decoder) {
            let [forward, backward] = decoder.values_moved(batch);
            let products = decoder.multiply_adds(batch);
            // Reconstruction and images, twice each: the value, and the gradient, which is written.
            loss += 5 * images;
            work.extend([
                (Stage::Decoder, count([products; 2], forward)),
                (Stage::Loss, count([0; 2], loss)),
                (Stage::DecoderBackward, count([2 * products; 2], backward)),
            ]);
        } else {
            work.push((Stage::Loss, count([0; 2], loss)));
        }
        work.push((Stage::ClassCapsulesBackward, count([classes_backward; 2], in_classes + class_values + capsules)));
        if scope.frozen < Frozen::Primary {
            // For the gradient of what is below: that, and the weight.
            let (products, below) = match scope.frozen {
                Frozen::Nothing => ([primary_adds[1] + primary_adds[2], 2 * primary_direct], map + primary.weights()),
                _ => ([primary_adds[2], primary_direct], 0),
            };
            work.push((Stage::PrimaryCapsulesBackward, count(products, channels + capsules + map + below)));
        }
        if scope.frozen.is_nothing() {
            // Nobody asks for the gradient of the images, nor for the weight then.
            work.push((Stage::Conv1Backward, count([conv1_adds[2], conv1_direct], images + 2 * map)));
        }
        Ok(work)
    }

    /// Names of the layers that a step within `scope` does not train.
    pub fn untrained(&self, scope: Scope) -> Vec<&'static str> {
        let frozen = [self.conv1.name, self.primary.name()].into_iter().take(scope.frozen.layers());
        frozen.chain(self.dense().iter().filter(|_| scope.skips_decoder).map(|layer| layer.name)).collect()
    }

    /// Parameters that a step within `scope` trains.
    pub fn trained(&self, scope: Scope) -> usize {
        let frozen = [Layer::Convolution(self.conv1), self.primary.layer()].into_iter().take(scope.frozen.layers());
        let skipped = self.dense().iter().filter(|_| scope.skips_decoder).map(|layer| Layer::Dense(*layer));
        let all: usize = self.list().iter().map(Layer::parameters).sum();
        all - frozen.chain(skipped).map(|layer| layer.parameters()).sum::<usize>()
    }
}

/// Multiply-adds of a convolution for its output and for the gradients of image and weight, and of one of these passes by
/// its definition; channels that share a filter are computed once.
pub(crate) fn convolution<T: Real>(layer: &ConvolutionLayer, batch: usize) -> Result<([u64; 3], u64)> {
    let mut plan = layer.plan::<T>()?;
    plan.set_batch(batch);
    Ok((plan.work(), (batch * layer.positions() * layer.weights()) as u64))
}

impl DecoderLayers {
    /// Inputs of each layer that a sample has values for: of the first, its chosen capsule's.
    fn inputs(&self) -> [usize; 3] {
        let [_, second, last] = &self.dense;
        [self.mask.dim, second.inputs, last.inputs]
    }

    /// Of the forward pass; the backward pass has twice as many.
    fn multiply_adds(&self, batch: usize) -> u64 {
        let of_a_sample: usize =
            self.inputs().iter().zip(&self.dense).map(|(inputs, layer)| inputs * layer.outputs).sum();
        (batch * of_a_sample) as u64
    }

    /// Values read and written by the forward and by the backward pass.
    fn values_moved(&self, batch: usize) -> [usize; 2] {
        let [first, second, last] = &self.dense;
        // Inputs of the first layer that the samples of a batch see, all their classes being different as long as they can be.
        let classes = if self.mask.keeps_all { self.mask.classes.min(batch) } else { 1 };
        let weights = classes * self.mask.dim * first.outputs + second.weights() + last.weights();
        let outputs: usize = self.dense.iter().map(|layer: &DenseLayer| layer.outputs).sum();
        let values = batch * (self.mask.dim + outputs);
        [values + weights + outputs, values + batch * self.mask.classes * self.mask.dim + weights]
    }
}

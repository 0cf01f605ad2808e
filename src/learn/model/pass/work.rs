//! How much work the stages of a training step are, whoever does it.

use std::ops::Add;

use super::{Decoder, Layer, Pass, Stage};
use crate::learn::kernels::{Conv2dPlan, Real};

/// Work of a stage: what no implementation by the same algorithm could leave out.
///
/// Multiply-adds are those of convolutions, votes, routing sums and dense layers. What is done value by value (ReLU, squash,
/// softmax, sigmoid, losses, the optimizer) counts by its bytes alone.
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
    /// The work of each stage on a batch of the size of the last one, without the optimizer's.
    pub fn work(&self) -> Vec<(Stage, Work)> {
        let Pass { conv1_plan, primary_plan, classes_plan, values, lengths, .. } = self;
        let batch = lengths.batch;
        let count = |[multiply_adds, direct_multiply_adds]: [u64; 2], values: usize| Work {
            multiply_adds,
            direct_multiply_adds,
            bytes: (values * size_of::<T>()) as u64,
        };
        let (conv1, conv1_direct) = (conv1_plan.work(), direct(conv1_plan, &self.conv1, batch));
        let (primary, primary_direct) = (primary_plan.work(), direct(primary_plan, &self.primary, batch));
        let [classes, classes_backward] = classes_plan.work();

        let images = batch * self.pixels;
        let [map, channels] = [&values.map, &values.channels].map(|values| values.len());
        let [capsules, class_values, scores] = [&values.capsules, &values.classes, lengths].map(|values| values.len());
        let weights = |layer: &Layer<T>| layer.weight.1.elem_count() + layer.bias.1.elem_count();
        let in_classes = capsules + weights(&self.classes);
        let mut work = vec![
            (Stage::Conv1, count([conv1[0], conv1_direct], images + weights(&self.conv1) + map)),
            (
                Stage::PrimaryCapsules,
                count([primary[0], primary_direct], map + weights(&self.primary) + channels + capsules),
            ),
            (Stage::ClassCapsules, count([classes; 2], in_classes + class_values + scores)),
        ];
        // Margin: the class capsules and their lengths, and a gradient that is read and written.
        let mut loss = 3 * class_values + 2 * scores;
        if let Some(decoder) = &self.decoder {
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
        work.extend([
            (Stage::ClassCapsulesBackward, count([classes_backward; 2], in_classes + class_values + capsules)),
            (
                Stage::PrimaryCapsulesBackward,
                count(
                    [primary[1] + primary[2], 2 * primary_direct],
                    channels + capsules + 2 * map + self.primary.weight.1.elem_count(),
                ),
            ),
            // Nobody asks for the gradient of the images, nor for the weight then.
            (Stage::Conv1Backward, count([conv1[2], conv1_direct], images + 2 * map)),
        ]);
        work
    }
}

/// Multiply-adds of one pass of a convolution by its definition; channels that share a filter are computed once.
fn direct<T: Real>(plan: &Conv2dPlan<T>, layer: &Layer<T>, batch: usize) -> u64 {
    let [rows, columns] = plan.out();
    (batch * rows * columns * layer.weight.1.elem_count()) as u64
}

impl<T: Real> Decoder<T> {
    /// Inputs of the first layer that the samples of a batch see, all their classes being different as long as they can be.
    fn inputs_seen(&self, batch: usize) -> usize {
        let classes = if self.first.is_per_class { self.first.classes.min(batch) } else { 1 };
        classes * self.first.dim
    }

    /// Of the forward pass; the backward pass has twice as many.
    fn multiply_adds(&self, batch: usize) -> u64 {
        let Decoder { first, second, last, .. } = self;
        (batch * (first.dim * first.outputs + second.inputs * second.outputs + last.inputs * last.outputs)) as u64
    }

    /// Values read and written by the forward and by the backward pass.
    fn values_moved(&self, batch: usize) -> [usize; 2] {
        let Decoder { first, second, last, .. } = self;
        let weights =
            self.inputs_seen(batch) * first.outputs + second.inputs * second.outputs + last.inputs * last.outputs;
        let biases = first.outputs + second.outputs + last.outputs;
        let hidden = first.outputs + second.outputs;
        [
            batch * (first.dim + hidden + last.outputs) + weights + biases,
            batch * (first.dim + hidden + last.outputs + first.classes * first.dim) + weights,
        ]
    }
}

//! The layer of a pass that makes the class capsules.

use candle_core::Result;

use crate::learn::{
    kernels::{ClassCapsulesPlan, HomogeneousPlan, Real},
    model::layout::ClassLayer,
};

/// The layer over slices: routed class capsules, or homogeneous ones.
pub(crate) enum ClassPlan<T: Real> {
    Routed(Box<ClassCapsulesPlan<T>>),
    Homogeneous(HomogeneousPlan<T>),
}

impl<T: Real> ClassPlan<T> {
    /// Errors: sizes that do not fit.
    pub(crate) fn new(layer: &ClassLayer) -> Result<Self> {
        Ok(match layer {
            ClassLayer::Routed(layer) => ClassPlan::Routed(Box::new(layer.plan()?)),
            ClassLayer::Homogeneous(layer) => ClassPlan::Homogeneous(layer.plan()?),
        })
    }

    pub(super) fn set_batch(&mut self, batch: usize) {
        match self {
            ClassPlan::Routed(plan) => plan.set_batch(batch),
            ClassPlan::Homogeneous(_) => {}
        }
    }

    /// Takes another number of routing iterations from now on, if there are any.
    pub(crate) fn set_iterations(&mut self, iterations: usize) {
        match self {
            ClassPlan::Routed(plan) => plan.set_iterations(iterations),
            ClassPlan::Homogeneous(_) => {}
        }
    }

    pub(super) fn forward(&mut self, capsules: &[T], weight: &[T], bias: &[T], classes: &mut [T]) {
        match self {
            ClassPlan::Routed(plan) => plan.forward(capsules, weight, bias, classes),
            ClassPlan::Homogeneous(plan) => plan.forward(capsules, weight, bias, classes),
        }
    }

    /// Overwrites the gradients of capsules, weight and bias.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn backward(
        &mut self,
        capsules: &[T],
        weight: &[T],
        bias: &[T],
        dclasses: &[T],
        dcapsules: &mut [T],
        dweight: &mut [T],
        dbias: &mut [T],
    ) {
        match self {
            ClassPlan::Routed(plan) => plan.backward(capsules, weight, bias, dclasses, dcapsules, dweight, dbias),
            ClassPlan::Homogeneous(plan) => plan.backward(capsules, weight, dclasses, dcapsules, dweight, dbias),
        }
    }

    /// Multiply-adds of the forward and of the backward pass over `batch` samples.
    pub(super) fn work(&mut self, batch: usize) -> [u64; 2] {
        self.set_batch(batch);
        match self {
            ClassPlan::Routed(plan) => plan.work(),
            ClassPlan::Homogeneous(plan) => plan.work(batch),
        }
    }

    /// Values in the buffers after passes over `batch` samples, with a backward pass too where it `is_training`.
    pub(crate) fn room(&self, batch: usize, is_training: bool) -> usize {
        match self {
            ClassPlan::Routed(plan) => plan.room(batch, is_training),
            ClassPlan::Homogeneous(plan) => plan.room(batch, is_training),
        }
    }
}

//! The layer of a pass that makes the values of the primary capsules.

use candle_core::Result;

use crate::learn::{
    kernels::{Conv2dPlan, Dense, Real, Weight},
    model::layout::PrimaryLayer,
};

/// The layer over slices: a convolution, or a dense layer over all of Conv1's map.
pub(super) enum PrimaryPlan<T: Real> {
    Convolution(Box<Conv2dPlan<T>>),
    Dense(Dense<T>),
}

impl<T: Real> PrimaryPlan<T> {
    /// Errors: sizes that do not fit.
    pub(super) fn new(layer: &PrimaryLayer) -> Result<Self> {
        Ok(match layer {
            PrimaryLayer::Convolution(layer) => PrimaryPlan::Convolution(Box::new(layer.plan()?)),
            PrimaryLayer::Dense(layer) => PrimaryPlan::Dense(Dense::new(layer.inputs, layer.outputs)),
        })
    }

    pub(super) fn set_batch(&mut self, batch: usize) {
        match self {
            PrimaryPlan::Convolution(plan) => plan.set_batch(batch),
            PrimaryPlan::Dense(_) => {}
        }
    }

    pub(super) fn forward(&mut self, map: &[T], weight: &[T], bias: &[T], values: &mut [T]) {
        match self {
            PrimaryPlan::Convolution(plan) => plan.forward(map, weight, bias, values),
            PrimaryPlan::Dense(layer) => layer.forward(map, weight, bias, values),
        }
    }

    /// Hands in the gradient of the weight, and writes those of the bias and, if it is asked for, of the map. `dweight` has room for
    /// the gradient of a dense layer's weight.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn backward(
        &mut self,
        map: &[T],
        weight: &mut dyn Weight<T>,
        values: &[T],
        dvalues: &[T],
        dmap: Option<&mut [T]>,
        dweight: &mut [T],
        dbias: &mut [T],
    ) {
        match self {
            PrimaryPlan::Convolution(plan) => plan.backward(map, weight, values, dvalues, dmap, dbias),
            PrimaryPlan::Dense(layer) => {
                if let Some(dmap) = dmap {
                    layer.input_gradient(weight.values(), dvalues, dmap);
                }
                let dweight = &mut dweight[..layer.weights()];
                layer.weight_gradient(map, dvalues, dweight, dbias);
                weight.whole(dweight);
            }
        }
    }
}

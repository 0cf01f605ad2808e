//! What a training computes, roughly: for who compares many configurations whose steps nobody has timed.

use super::TrialConfig;
use crate::learn::model::{graph_work::computed, layout::Layer, scope::Scope};

/// A layer's backward pass has two products like that of its forward pass: of its input's gradient, and of its weight's.
const PASSES: f64 = 3.0;
/// Moving a weight waits for memory: it takes as long as so many multiply-adds.
const OF_A_WEIGHT: f64 = 16.0;

impl TrialConfig {
    /// Multiply-adds of all training steps, with what moving the weights takes. A figure to compare trainings of one study by, to a
    /// factor of some: times that are reported are measured.
    pub fn rough_work(&self) -> f64 {
        let epochs = self.train.epochs;
        let (layers, weights) = (self.layers(), self.parameters() as f64);
        let steps = self.schedule.steps_by_kind(epochs, epochs, self.data.counts().train);
        let of = |((samples, scope), count): ((usize, Scope), u64)| {
            count as f64 * (samples as f64 * of_sample(&layers, scope) + OF_A_WEIGHT * weights)
        };
        steps.into_iter().map(of).sum()
    }
}

/// Multiply-adds of a step for each of its samples.
fn of_sample(layers: &[Layer], scope: Scope) -> f64 {
    let frozen = scope.frozen.layers();
    let of = |(place, layer): (usize, &Layer)| {
        let layer = match (*layer, scope.iterations) {
            (Layer::ClassCapsules(mut layer), Some(iterations)) => {
                layer.iterations = iterations;
                Layer::ClassCapsules(layer)
            }
            (layer, _) => layer,
        };
        let passes = if place < frozen { 1.0 } else { PASSES };
        passes * layer.multiply_adds() as f64
    };
    computed(layers, scope).enumerate().map(of).sum()
}

//! How much memory a convolution takes, known before it takes any.

use super::{
    fourier::{self, BLOCK},
    geometry::Geometry,
    options::Algorithm,
    plan::Conv2dPlan,
    unfold::{BLOCKS, SHARES, VALUES_AT_ONCE},
};
use crate::learn::kernels::real::Real;

impl<T: Real> Conv2dPlan<T> {
    /// Values in the buffers after passes over `batch` samples on `threads` threads, with a backward pass too where it
    /// `is_training`: by which algorithm, and how many. Buffers of either algorithm stay when the other one's turn comes.
    ///
    /// Counts what grows with batch or weight, not the few values that a thread works on.
    pub fn room(&self, batch: usize, is_training: bool, threads: usize) -> (Algorithm, usize) {
        let g = Geometry { batch, ..self.g.clone() };
        let algorithm = self.fixed.unwrap_or_else(|| g.cheapest());
        let values = match algorithm {
            Algorithm::Unfold => unfolded(&g, is_training, threads),
            Algorithm::Fourier => transformed(&g, is_training),
        };
        (algorithm, values)
    }
}

fn unfolded(g: &Geometry, is_training: bool, threads: usize) -> usize {
    let (positions, patch) = (g.positions(), g.patch());
    if g.is_large() {
        let samples = (VALUES_AT_ONCE / (positions * patch)).clamp(1, g.batch);
        let block = g.channels_at_once() * g.kernel[0] * g.kernel[1];
        let forward = (patch + g.filters) * g.batch * positions;
        let backward = samples * positions * patch + BLOCKS * g.filters * block;
        return forward + if is_training { backward } else { 0 };
    }
    let columns = g.together() * positions;
    let shares = g.batch.div_ceil(g.samples_of_a_share());
    debug_assert!(shares <= SHARES);
    let backward = shares * (g.filters * patch + g.channels) + g.filters * patch;
    let parted = if g.is_parted() { g.together() * g.parted() } else { 0 };
    threads * ((g.filters + patch) * columns + parted) + if is_training { backward } else { 0 }
}

fn transformed(g: &Geometry, is_training: bool) -> usize {
    let [rows, columns] = fourier::size(g);
    let inputs = g.inputs();
    let block = BLOCK.min(g.in_channels);
    let inputs_of_a_block = inputs / g.in_channels * block;
    let forward = inputs * g.batch + g.filters * inputs + g.filters * g.batch;
    let backward = g.batch * g.filters + inputs_of_a_block * (g.batch + g.filters);
    let handed_over = g.filters * block * g.kernel[0] * g.kernel[1];
    rows * columns * (forward + if is_training { backward } else { 0 }) + if is_training { handed_over } else { 0 }
}

//! A weight, on loan to whoever computes its gradient.

use std::ops::Range;

/// The weight of a layer while its gradient arrives, block by block: whoever takes a block may at once move the values under it.
pub trait Weight<T> {
    /// The values, not to be read after the first block.
    fn values(&self) -> &[T];
    /// The gradient of `rows × columns` of the weight seen as the matrix `[outputs, the rest]`, row by row. Each value comes once.
    fn gradient(&mut self, rows: Range<usize>, columns: Range<usize>, block: &[T]);
    /// The whole gradient at once.
    fn whole(&mut self, gradient: &[T]);
}

//! Fast operations as candle custom ops, each beside its plain version in [`mod@reference`].
//!
//! Every function here runs the fast op on the CPU and the reference elsewhere. The bits of a result
//! never depend on the number of threads: threads share outputs, never a sum. A NaN that enters an op
//! leaves it.

pub mod adam;
mod capsule_plan;
mod class_capsules;
mod conv2d;
mod lanes;
mod linear;
mod max_pool;
mod product;
pub mod reference;
mod relu;
mod routing;
mod sample_votes;
mod scratch;
mod squash;
mod storage;
mod votes;

use std::ops::Range;

pub use adam::Adam;
pub use capsule_plan::ClassCapsulesPlan;
pub use class_capsules::class_capsules;
pub use conv2d::{Algorithm, conv2d, conv2d_by, conv2d_relu};
pub use linear::linear;
pub use max_pool::max_pool_2x2;
pub use relu::relu;
pub use squash::{EPSILON, squash};
pub use storage::Real;

/// The weight of a layer while its gradient arrives, block by block: whoever takes a block may at once move the values under it.
pub trait Weight<T> {
    /// The values, not to be read after the first block.
    fn values(&self) -> &[T];
    /// The gradient of `rows × columns` of the weight seen as the matrix `[outputs, the rest]`, row by row. Each value comes once.
    fn gradient(&mut self, rows: Range<usize>, columns: Range<usize>, block: &[T]);
}

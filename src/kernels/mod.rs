//! Fast operations as candle custom ops, each beside its plain version in [`mod@reference`].
//!
//! Every function here runs the fast op on the CPU and the reference elsewhere. The bits of a result
//! never depend on the number of threads: threads share outputs, never a sum. A NaN that enters an op
//! leaves it.

pub mod adam;
mod conv2d;
mod lanes;
mod linear;
mod max_pool;
mod product;
pub mod reference;
mod relu;
mod routing;
mod scratch;
mod squash;
mod storage;
mod votes;

pub use adam::Adam;
pub use conv2d::{Algorithm, conv2d, conv2d_by};
pub use linear::linear;
pub use max_pool::max_pool_2x2;
pub use relu::relu;
pub use routing::routing;
pub use squash::{EPSILON, squash};
pub use votes::votes;

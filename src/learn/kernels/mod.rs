//! Fast operations: over slices, with buffers of their own where they need some (plans), and as candle custom ops, each beside its
//! plain version in [`mod@reference`].
//!
//! An op runs fast on the CPU, and as its reference elsewhere. The bits of a result
//! never depend on the number of threads: threads share outputs, never a sum. A NaN that enters an op
//! leaves it.

mod attention;
mod average;
mod batch_norm;
mod capsule_plan;
pub(crate) mod ceiling;
mod chosen;
pub mod chunks;
mod class_capsules;
mod conv2d;
#[cfg(feature = "cuda")]
pub mod cuda;
mod denormals;
mod exponential;
mod homogeneous;
mod lanes;
mod linear;
pub(crate) mod loss;
mod matrix;
mod max_pool;
mod memory;
pub mod open;
pub mod optimizer;
mod options;
mod pool;
mod real;
pub mod reference;
mod relu;
mod routing;
mod sample_votes;
mod scratch;
mod squash;
mod storage;
mod tiles;
mod vectors;
mod votes;
mod weight;
mod whole_map;

pub use attention::attention_routing;
pub use average::Average;
pub use batch_norm::{BatchStatistics, batch_norm, batch_norm_by};
pub use capsule_plan::ClassCapsulesPlan;
pub(crate) use chosen::DenseOfChosen;
pub use class_capsules::class_capsules;
pub use conv2d::{Activation, Algorithm, Conv2dPlan, ScratchSizes, UnfoldedConv2d, conv2d, conv2d_by, conv2d_relu};
pub use denormals::{flush_denormals, flush_denormals_in_pool};
pub use exponential::exponential_squash;
pub use homogeneous::HomogeneousPlan;
pub use lanes::vector_width;
pub(crate) use linear::Dense;
pub use linear::linear;
pub use max_pool::max_pool_2x2;
pub use open::{open_device, trouble};
pub use optimizer::{Optimizer, Rule, orthogonalise};
pub use options::{EPSILON, Precision, Squash, average_decay};
pub use real::Real;
pub use relu::relu;
pub(crate) use relu::{relu_backward, relu_forward};
pub(super) use scratch::Buffer;
pub(crate) use squash::InChannels;
pub use squash::squash;
pub use storage::{with_values, with_values_mut};
pub use weight::Weight;
pub use whole_map::whole_map_depthwise;

//! How a convolution is computed, and what follows it.

use crate::learn::kernels::real::Real;

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// A copy of the values under the kernel at each position, and one matrix product (im2col).
    Unfold,
    /// A matrix product for each frequency: fewer multiplications, but the kernel is transformed too, once for a whole batch.
    Fourier,
}

/// What becomes of the sums before they leave the op.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    None,
    /// `max(·, 0)`, which lets a NaN through.
    Relu,
}

impl Activation {
    #[inline(always)]
    pub(super) fn of<T: Real>(self, x: T) -> T {
        if self == Activation::Relu && x < T::zero() { T::zero() } else { x }
    }

    /// The gradient of what it was given, from that of what it gave, `y`. A NaN output passes its gradient on.
    #[inline(always)]
    pub(super) fn gradient<T: Real>(self, y: T, dy: T) -> T {
        if self == Activation::Relu && y <= T::zero() { T::zero() } else { dy }
    }
}

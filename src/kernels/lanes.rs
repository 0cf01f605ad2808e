//! Loops the compiler can vectorise, run with the widest instructions that the CPU has.
//!
//! The order of every sum is written out here, so that the bits do not depend on which instructions those are.

use super::storage::Real;

/// Runs `task` compiled for this CPU. What `task` calls profits if it is `#[inline(always)]`.
pub(super) fn vectorised<R>(task: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(task)
}

const LANES: usize = 8;

/// `Σ a·b`, in eight interleaved sums.
#[inline(always)]
pub(super) fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [T::zero(); LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let [a0, a1, a2, a3, a4, a5, a6, a7] = sums;
    let mut sum = ((a0 + a4) + (a2 + a6)) + ((a1 + a5) + (a3 + a7));
    for (&a, &b) in a_rest.iter().zip(b_rest) {
        sum += a * b;
    }
    sum
}

/// `out += factor · x`
#[inline(always)]
pub(super) fn add_scaled<T: Real>(out: &mut [T], factor: T, x: &[T]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out += factor * x;
    }
}

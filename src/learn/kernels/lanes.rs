//! Loops the compiler can vectorise, run with the widest instructions that the CPU has.
//!
//! The order of every sum is written out here, so that the bits do not depend on which instructions those are.

use super::real::Real;

/// Runs a closure compiled for this CPU, `vectorised!(|| …)`. What it calls has to be `#[inline(always)]`, as the closure itself
/// then is: a function of its own would be compiled for the oldest CPU.
macro_rules! vectorised {
    (|| $task:expr) => {
        $crate::learn::kernels::lanes::run(
            #[inline(always)]
            || $task,
        )
    };
}
pub(super) use vectorised;

/// The function behind [`vectorised`].
#[inline(always)]
pub(super) fn run<R>(task: impl FnMut() -> R) -> R {
    // `FnMut`, although it is called once: the call of a closure as `FnOnce` is a function that is not always inlined.
    struct Task<F>(F);
    impl<R, F: FnMut() -> R> pulp::WithSimd for Task<F> {
        type Output = R;
        #[inline(always)]
        fn with_simd<S: pulp::Simd>(mut self, _: S) -> R {
            (self.0)()
        }
    }
    pulp::Arch::new().dispatch(Task(task))
}

/// Floats in a vector of the instructions that `vectorised!` takes on this CPU; 1 where there are none.
pub fn vector_width() -> usize {
    struct Width;
    impl pulp::WithSimd for Width {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: pulp::Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    pulp::Arch::new().dispatch(Width)
}

const LANES: usize = 8;

/// Values computed with at a time: a vector of the widest instructions.
pub(super) const WIDTH: usize = 16;

/// Values as arrays of L lanes, of which they are a whole number.
#[inline(always)]
pub(super) fn lanes<T, const L: usize>(values: &[T]) -> &[[T; L]] {
    values.as_chunks().0
}

/// Values as arrays of L lanes to write, of which they are a whole number.
#[inline(always)]
pub(super) fn lanes_mut<T, const L: usize>(values: &mut [T]) -> &mut [[T; L]] {
    values.as_chunks_mut().0
}

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

/// `Σ x`, in eight interleaved sums.
#[inline(always)]
pub(super) fn sum<T: Real>(x: &[T]) -> T {
    let (x, rest) = x.as_chunks::<LANES>();
    let mut sums = [T::zero(); LANES];
    for x in x {
        for lane in 0..LANES {
            sums[lane] += x[lane];
        }
    }
    sums.iter().chain(rest).copied().sum()
}

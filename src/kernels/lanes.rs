//! Loops the compiler can vectorise, run with the widest instructions that the CPU has.
//!
//! The order of every sum is written out here, so that the bits do not depend on which instructions those are.

use super::storage::Real;

/// Runs a closure compiled for this CPU, `vectorised!(|| …)`. What it calls has to be `#[inline(always)]`, as the closure itself
/// then is: a function of its own would be compiled for the oldest CPU.
macro_rules! vectorised {
    (|| $task:expr) => {
        $crate::kernels::lanes::run(
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

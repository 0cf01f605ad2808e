//! Hints to the memory of the CPU. None changes a value; where there is no such hint, nothing happens.

use super::real::Real;

/// Values of type T in a cache line of 64 bytes.
pub(super) const fn line<T>() -> usize {
    64 / size_of::<T>()
}

/// Asks for the values' cache lines, to be read soon.
#[inline(always)]
pub(super) fn prefetch<T>(values: &[T]) {
    for line in values.chunks(line::<T>()) {
        prefetch_line(line);
    }
}

/// Asks for the cache line of the first value.
#[inline(always)]
pub(super) fn prefetch_line<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the hint reads nothing and cannot fault.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(values.as_ptr().cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}

/// Stores past the caches, for values that would only displace others there; all are done when it is dropped.
pub(super) struct Streaming(());

impl Streaming {
    pub(super) fn new() -> Self {
        Streaming(())
    }

    /// `to = values`
    ///
    /// # Safety
    /// Nobody reads or writes `to` before `self` is dropped.
    #[inline(always)]
    pub(super) unsafe fn store<T: Real, const N: usize>(&self, to: &mut [T; N], values: &[T; N]) {
        #[cfg(target_arch = "x86_64")]
        if size_of::<T>() == 4 && N.is_multiple_of(4) && to.as_ptr().addr().is_multiple_of(64) {
            use std::arch::x86_64::{_mm_loadu_ps, _mm_stream_ps};
            let (to, from) = (to.as_mut_ptr().cast::<f32>(), values.as_ptr().cast::<f32>());
            for i in (0..N).step_by(4) {
                // SAFETY: both hold N values of 4 bytes, which of the two floats are f32; i..i + 4 exist, and `to` is aligned. `drop`
                // makes the stores visible, before which the caller promises that nobody looks.
                unsafe { _mm_stream_ps(to.add(i), _mm_loadu_ps(from.add(i))) };
            }
            return;
        }
        *to = *values;
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: part of every x86-64 CPU.
        unsafe {
            std::arch::x86_64::_mm_sfence()
        }
    }
}

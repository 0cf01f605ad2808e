//! Denormal numbers are flushed to zero: a processor computes with them in microcode, tens of times as slowly.
//!
//! Adam makes them whenever a gradient stops: the moments decay, and get stuck at a denormal (0.9 times a small number of
//! units in the last place rounds back to that number). Every later step then pays for all of them.
//!
//! Rust and LLVM assume that a thread's floating-point environment is the default one. What departs from it here, that
//! denormals are zero, changes results below 1.2e-38 (in f64 2.2e-308) only; code that the compiler evaluates itself would
//! keep them.

/// Has this thread and those of the current rayon pool flush denormal operands and results to zero, from now on, whatever the
/// host's default is. On processors other than x86-64 and aarch64 nothing changes.
///
/// A training calls it on the thread and in the pool that it computes with; who calls kernels directly may do the same.
pub fn flush_denormals_in_pool() {
    flush_denormals();
    rayon::broadcast(|_| flush_denormals());
}

/// As [`flush_denormals_in_pool`], on this thread alone; takes some nanoseconds.
#[inline]
pub fn flush_denormals() {
    #[cfg(target_arch = "x86_64")]
    {
        /// The processor's default (all exceptions masked, rounding to nearest), with flush-to-zero (bit 15) and
        /// denormals-are-zero (bit 6).
        static CONTROL: u32 = 0x1f80 | 1 << 15 | 1 << 6;
        // SAFETY: the instruction reads the four bytes of CONTROL. Every x86-64 processor has it, and both bits.
        unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &CONTROL, options(nostack, readonly)) };
    }
    #[cfg(target_arch = "aarch64")]
    {
        /// FZ of the control register FPCR: operands and results, in f32 and f64.
        const FLUSH: u64 = 1 << 24;
        let mut control: u64;
        // SAFETY: a program may read and write this register at any time; no other bit is changed.
        unsafe {
            std::arch::asm!("mrs {}, fpcr", out(reg) control, options(nomem, nostack));
            std::arch::asm!("msr fpcr, {}", in(reg) control | FLUSH, options(nomem, nostack));
        }
    }
}

//! Adam over flat buffers.

use std::ops::Range;

use candle_core::Result;

use super::{Buffer, Gpu, arguments};
use crate::learn::kernels::optimizer::{Constants, Factors};

/// Values that a flat buffer's variables begin at multiples of: whole cache lines, and whole `float4`s.
pub const ALIGNMENT: usize = 64;

/// Factors of a step that differ from step to step.
pub const FACTORS: usize = 3;

/// Those of a step, as the device has them: the step size, the correction, and what a weight decay leaves.
pub fn step_factors(factors: Factors) -> [f32; FACTORS] {
    let Factors { beta1: _, beta2: _, epsilon: _, step_size, correction, keep } = factors;
    [step_size, correction, keep].map(|factor| factor as f32)
}

/// Values and their moments, flat and of one length, a multiple of [`ALIGNMENT`].
pub struct Flat {
    pub theta: Buffer<f32>,
    pub gradient: Buffer<f32>,
    pub m: Buffer<f32>,
    pub v: Buffer<f32>,
}

impl Flat {
    /// All 0.
    pub fn zeros(gpu: &Gpu, len: usize) -> Result<Flat> {
        assert!(len.is_multiple_of(ALIGNMENT), "{len} values are no multiple of {ALIGNMENT}");
        Ok(Flat { theta: gpu.zeros(len)?, gradient: gpu.zeros(len)?, m: gpu.zeros(len)?, v: gpu.zeros(len)? })
    }

    /// A step of Adam or AdamW of some of the values by their gradients: of `part`, whose ends are multiples of [`ALIGNMENT`]. factors
    /// `[steps, 3]`: those of each step, by [`step_factors`]; `cursor`: which one is taken (see batch.cu).
    ///
    /// # Safety
    /// The cursor's step, once the device comes to this, is one that there are factors of.
    pub unsafe fn step(
        &self,
        gpu: &Gpu,
        constants: Constants,
        factors: &Buffer<f32>,
        cursor: &Buffer<i32>,
        part: Range<usize>,
    ) -> Result<()> {
        // SAFETY: what the caller ensures.
        unsafe { self.launch(gpu, constants, factors, cursor, part) }
    }

    /// Loads the kernel and moves nothing.
    ///
    /// # Safety
    /// As [`Self::step`].
    pub unsafe fn rehearse(
        &self,
        gpu: &Gpu,
        constants: Constants,
        factors: &Buffer<f32>,
        cursor: &Buffer<i32>,
    ) -> Result<()> {
        // SAFETY: what the caller ensures.
        unsafe { self.launch(gpu, constants, factors, cursor, 0..0) }
    }

    /// A step of the values of `part`.
    ///
    /// # Safety
    /// As [`Self::step`].
    unsafe fn launch(
        &self,
        gpu: &Gpu,
        constants: Constants,
        factors: &Buffer<f32>,
        cursor: &Buffer<i32>,
        part: Range<usize>,
    ) -> Result<()> {
        /// Threads of a block, and blocks at most: enough to fill any device, few enough to keep some work each.
        const BLOCK: usize = 256;
        const BLOCKS: usize = 2048;
        let Constants { beta1, beta2, epsilon } = constants;
        let Range { start, end } = part;
        assert!(start <= end && start.is_multiple_of(ALIGNMENT) && end.is_multiple_of(ALIGNMENT), "{start}..{end}");
        for (what, buffer) in [("gradients", &self.gradient), ("m", &self.m), ("v", &self.v), ("weights", &self.theta)]
        {
            buffer.input().need(what, end)?;
        }
        let (len, quads) = (end - start, (end - start) / 4);
        cursor.input().need("cursor", 1)?;
        let arguments = arguments![
            self.theta.output().part(start, len),
            self.gradient.input().part(start, len),
            self.m.output().part(start, len),
            self.v.output().part(start, len),
            quads as i64,
            factors.input(),
            cursor.input(),
            beta1 as f32,
            (1. - beta1) as f32,
            beta2 as f32,
            (1. - beta2) as f32,
            epsilon as f32,
        ];
        // SAFETY: the four buffers have `len` values from `start` on, which is a whole number of cache lines; the caller keeps the cursor within the factors.
        unsafe { gpu.launch(("adam", "adam_step"), quads.div_ceil(BLOCK).clamp(1, BLOCKS), BLOCK, 0, arguments) }
    }
}

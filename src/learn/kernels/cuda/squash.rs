//! Squashing of capsules on the GPU; the kernels stand in `squash.cu`.

use candle_core::Result;

use super::{Argument, Gpu, Input, Output, arguments};
use crate::learn::kernels::Squash;

/// Threads of a block.
const THREADS: usize = 256;

/// The `int` by which kernels know it.
pub(super) fn kind_of(kind: Squash) -> usize {
    match kind {
        Squash::Exact => 0,
        Squash::Approximate => 1,
    }
}

/// `v = squash(s)` of `rows` capsules of `dim` values, one after the other.
pub fn squash_forward(gpu: &Gpu, kind: Squash, rows: usize, dim: usize, s: Input<f32>, v: Output<f32>) -> Result<()> {
    s.need("squash: s", rows * dim)?;
    v.need("squash: v", rows * dim)?;
    let (blocks, lanes) = grid(rows, dim);
    let arguments = arguments![kind_of(kind), Argument::Long(rows as i64), dim, lanes, s, v];
    // SAFETY: these are the kernel's arguments; it touches `rows × dim` values of s and of v, which they have.
    unsafe { gpu.launch(("squash", "squash_forward"), blocks, THREADS, 0, arguments) }
}

/// The gradient ds of `rows` capsules s of `dim` values, given that of `squash(s)`; ds may be dv.
pub fn squash_backward(
    gpu: &Gpu,
    kind: Squash,
    rows: usize,
    dim: usize,
    s: Input<f32>,
    dv: Input<f32>,
    ds: Output<f32>,
) -> Result<()> {
    s.need("squash: s", rows * dim)?;
    dv.need("squash: dv", rows * dim)?;
    ds.need("squash: ds", rows * dim)?;
    let (blocks, lanes) = grid(rows, dim);
    let arguments = arguments![kind_of(kind), Argument::Long(rows as i64), dim, lanes, s, dv, ds];
    // SAFETY: as above, and a value of dv is read before the one of ds at its place is written, by the same thread.
    unsafe { gpu.launch(("squash", "squash_backward"), blocks, THREADS, 0, arguments) }
}

/// Blocks, and the lanes that share a row, each with four values of it or some more fours.
fn grid(rows: usize, dim: usize) -> (usize, usize) {
    let lanes = dim.div_ceil(4).clamp(1, 32).next_power_of_two();
    ((rows * lanes).div_ceil(THREADS), lanes)
}

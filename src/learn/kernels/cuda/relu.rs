//! The rectifier on a GPU: relu.cu.

use candle_core::Result;

use super::{
    Argument, Gpu, Input, Output, arguments,
    grid::{flat, is_by_fours},
};

/// `y = max(x, 0)` of `count` values.
pub fn relu_forward(gpu: &Gpu, count: usize, x: Input<f32>, y: Output<f32>) -> Result<()> {
    x.need("relu: x", count)?;
    y.need("relu: y", count)?;
    let (name, count) =
        if is_by_fours(&[count], &[x, y.input()]) { ("relu_forward4", count / 4) } else { ("relu_forward", count) };
    let (grid, block) = flat(count);
    // SAFETY: relu.cu's arguments; it reads and writes `count` values, which both have.
    unsafe { gpu.launch(("relu", name), grid, block, 0, arguments![x, y, Argument::Long(count as i64)]) }
}

/// The gradient by x from that by y, dy, whose place dx may take.
pub fn relu_backward(gpu: &Gpu, count: usize, y: Input<f32>, dy: Input<f32>, dx: Output<f32>) -> Result<()> {
    y.need("relu: y", count)?;
    dy.need("relu: dy", count)?;
    dx.need("relu: dx", count)?;
    let by_fours = is_by_fours(&[count], &[y, dy, dx.input()]);
    let (name, count) = if by_fours { ("relu_backward4", count / 4) } else { ("relu_backward", count) };
    let (grid, block) = flat(count);
    // SAFETY: relu.cu's arguments; it reads and writes `count` values, which all three have.
    unsafe { gpu.launch(("relu", name), grid, block, 0, arguments![y, dy, dx, Argument::Long(count as i64)]) }
}

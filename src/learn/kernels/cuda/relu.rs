//! The rectifier on a GPU: relu.cu.

use candle_core::Result;

use super::{
    Address, Argument, Gpu, arguments,
    grid::{flat, is_by_fours},
};

/// `y = max(x, 0)` of `count` values.
pub fn relu_forward(gpu: &Gpu, count: usize, x: Address<f32>, y: Address<f32>) -> Result<()> {
    let (name, count) =
        if is_by_fours(&[count], &[x, y]) { ("relu_forward4", count / 4) } else { ("relu_forward", count) };
    let (grid, block) = flat(count);
    // SAFETY: relu.cu's arguments; it reads and writes `count` values.
    unsafe { gpu.launch(("relu", name), grid, block, 0, arguments![x, y, Argument::Long(count as i64)]) }
}

/// The gradient by x from that by y, dy, whose place dx may take.
pub fn relu_backward(gpu: &Gpu, count: usize, y: Address<f32>, dy: Address<f32>, dx: Address<f32>) -> Result<()> {
    let by_fours = is_by_fours(&[count], &[y, dy, dx]);
    let (name, count) = if by_fours { ("relu_backward4", count / 4) } else { ("relu_backward", count) };
    let (grid, block) = flat(count);
    // SAFETY: relu.cu's arguments; it reads and writes `count` values.
    unsafe { gpu.launch(("relu", name), grid, block, 0, arguments![y, dy, dx, Argument::Long(count as i64)]) }
}

//! Dimensions in another order on a GPU: permute.cu.

use candle_core::Result;

use super::{Address, Argument, Gpu, arguments, grid::flat};

/// y from x `[dims]`, such that dimension i of y is dimension `order[i]` of x.
pub fn permute_4d(gpu: &Gpu, dims: [usize; 4], order: [usize; 4], x: Address<f32>, y: Address<f32>) -> Result<()> {
    let stride = |dim: usize| Argument::Long(dims[dim + 1..].iter().product::<usize>() as i64);
    let [s0, s1, s2, s3] = order.map(stride);
    let [_, d1, d2, d3] = order.map(|dim| dims[dim]);
    let count: usize = dims.iter().product();
    let (grid, block) = flat(count);
    let arguments = arguments![x, y, Argument::Long(count as i64), d1, d2, d3, s0, s1, s2, s3];
    // SAFETY: permute.cu's arguments; it reads and writes as many values as `dims` have.
    unsafe { gpu.launch(("permute", "permute_4d"), grid, block, 0, arguments) }
}

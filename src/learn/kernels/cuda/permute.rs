//! Dimensions in another order on a GPU: permute.cu.

use candle_core::{Result, bail};

use super::{Argument, Gpu, Input, Output, arguments, grid::flat};

/// y from x `[dims]`, such that dimension i of y is dimension `order[i]` of x.
///
/// Errors: an order that has not each of the four dimensions; fewer values than `dims` have.
pub fn permute_4d(gpu: &Gpu, dims: [usize; 4], order: [usize; 4], x: Input<f32>, y: Output<f32>) -> Result<()> {
    if (0..4).any(|dim| !order.contains(&dim)) {
        bail!("permute: {order:?} is no order of four dimensions")
    }
    let stride = |dim: usize| Argument::Long(dims[dim + 1..].iter().product::<usize>() as i64);
    let [s0, s1, s2, s3] = order.map(stride);
    let [_, d1, d2, d3] = order.map(|dim| dims[dim]);
    let count: usize = dims.iter().product();
    x.need("permute: x", count)?;
    y.need("permute: y", count)?;
    let (grid, block) = flat(count);
    let arguments = arguments![x, y, Argument::Long(count as i64), d1, d2, d3, s0, s1, s2, s3];
    // SAFETY: permute.cu's arguments; it reads and writes as many values as `dims` have, which is no more than x and y have.
    unsafe { gpu.launch(("permute", "permute_4d"), grid, block, 0, arguments) }
}

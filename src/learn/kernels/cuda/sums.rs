//! Sums over rows on a GPU, and the rectifier's derivative on the way: sums.cu.

use candle_core::Result;

use super::{
    Address, Argument, Gpu,
    grid::{Columns, is_by_fours},
};
use crate::learn::kernels::chunks::rows_per_chunk;

/// What is left of the summed values.
#[derive(Clone, Copy)]
pub(super) enum Left {
    Nothing,
    F32(Address<f32>),
    /// At a place of 8 bytes.
    Bf16(Address<u16>),
}

/// `out[c] = Σ_rows x[row][c]`, x `[rows, columns]`, in an order that the shape alone gives.
///
/// `partial`, if there is one, takes [`most_chunks`](crate::learn::kernels::chunks::most_chunks)`(rows) · columns` values, so that many
/// rows are summed side by side; without, one block sums each 32 columns (or 32 fours), which is for up to some hundred rows.
pub fn column_sums(
    gpu: &Gpu,
    rows: usize,
    columns: usize,
    x: Address<f32>,
    partial: Option<Address<f32>>,
    out: Address<f32>,
) -> Result<()> {
    rectified_sums(gpu, rows, columns, x, None, Left::Nothing, partial, out)
}

/// [`column_sums`] of x, once it is 0 wherever `y`, the rectifier's output, is not above 0; what was summed goes to `left`, which
/// may be x.
#[expect(clippy::too_many_arguments, reason = "a launch, whose operands are as many")]
pub(super) fn rectified_sums(
    gpu: &Gpu,
    rows: usize,
    columns: usize,
    x: Address<f32>,
    y: Option<Address<f32>>,
    left: Left,
    partial: Option<Address<f32>>,
    out: Address<f32>,
) -> Result<()> {
    let per_chunk = rows_per_chunk(rows);
    match partial {
        Some(partial) if rows > per_chunk => {
            sum(gpu, rows, columns, x, y, left, per_chunk, partial)?;
            let chunks = rows.div_ceil(per_chunk);
            sum(gpu, chunks, columns, partial, None, Left::Nothing, chunks, out)
        }
        _ => sum(gpu, rows, columns, x, y, left, rows, out),
    }
}

/// Each chunk's sums.
#[expect(clippy::too_many_arguments, reason = "a launch, whose operands are as many")]
fn sum(
    gpu: &Gpu,
    rows: usize,
    columns: usize,
    x: Address<f32>,
    y: Option<Address<f32>>,
    left: Left,
    per_chunk: usize,
    out: Address<f32>,
) -> Result<()> {
    let y = y.unwrap_or(Address::null());
    let in_f32 = if let Left::F32(left) = left { left } else { Address::null() };
    let by_fours = is_by_fours(&[columns], &[x, y, in_f32, out]);
    let lanes = if by_fours { 4 } else { 1 };
    let (name, left) = match (left, by_fours) {
        (Left::Bf16(left), false) => ("sums_bf16", left.into()),
        (Left::Bf16(left), true) => ("sums_bf16x4", left.into()),
        (_, false) => ("sums_f32", in_f32.into()),
        (_, true) => ("sums_f32x4", in_f32.into()),
    };
    let over = Columns::new(columns / lanes, 32);
    let grid = [rows.div_ceil(per_chunk), over.blocks];
    let shared = over.threads() * lanes * size_of::<f32>();
    let arguments =
        [x.into(), y.into(), left, out.into(), Argument::Long(rows as i64), (columns / lanes).into(), per_chunk.into()];
    // SAFETY: sums.cu's arguments; it reads and writes [rows, columns] values, and a row for each chunk of `out`.
    unsafe { gpu.launch(("sums", name), grid, over.block, shared, &arguments) }
}

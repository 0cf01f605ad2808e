//! Sums over rows on a GPU, and the rectifier's derivative on the way: sums.cu.

use candle_core::{Result, bail};

use super::{
    Argument, Gpu, Input, Output,
    grid::{Columns, is_by_fours},
};
use crate::learn::kernels::chunks::rows_per_chunk;

/// What is left of the summed values.
#[derive(Clone, Copy)]
pub(super) enum Left<'a> {
    Nothing,
    F32(Output<'a, f32>),
    /// At a place of 16 bytes.
    Bf16(Output<'a, u16>),
}

/// `out[c] = Σ_rows x[row][c]`, x `[rows, columns]`, in an order that the shape alone gives.
///
/// `partial`, if there is one, takes [`most_chunks`](crate::learn::kernels::chunks::most_chunks)`(rows) · columns` values, so that many
/// rows are summed side by side; without, one block sums each 32 columns (or 32 fours), which is for up to some hundred rows.
pub fn column_sums(
    gpu: &Gpu,
    rows: usize,
    columns: usize,
    x: Input<f32>,
    partial: Option<Output<f32>>,
    out: Output<f32>,
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
    x: Input<f32>,
    y: Option<Input<f32>>,
    left: Left,
    partial: Option<Output<f32>>,
    out: Output<f32>,
) -> Result<()> {
    let per_chunk = rows_per_chunk(rows);
    match partial {
        Some(partial) if rows > per_chunk => {
            sum(gpu, rows, columns, x, y, left, per_chunk, partial)?;
            let chunks = rows.div_ceil(per_chunk);
            sum(gpu, chunks, columns, partial.input(), None, Left::Nothing, chunks, out)
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
    x: Input<f32>,
    y: Option<Input<f32>>,
    left: Left,
    per_chunk: usize,
    out: Output<f32>,
) -> Result<()> {
    let count = rows * columns;
    x.need("sums: x", count)?;
    y.map_or(Ok(()), |y| y.need("sums: y", count))?;
    out.need("sums: out", rows.div_ceil(per_chunk) * columns)?;
    match left {
        Left::Nothing => {}
        Left::F32(left) => left.need("sums: what is left", count)?,
        Left::Bf16(left) if left.input().is_aligned() => left.need("sums: what is left", count)?,
        Left::Bf16(_) => bail!("sums: what is left has to begin on a multiple of 16 bytes"),
    }
    let in_f32 = if let Left::F32(left) = left { Some(left) } else { None };
    let are_aligned = [y, in_f32.map(Output::input)].into_iter().flatten().all(|values| values.is_aligned());
    let by_fours = is_by_fours(&[columns], &[x, out.input()]) && are_aligned;
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
    // SAFETY: sums.cu's arguments; it reads and writes [rows, columns] values, and a row for each chunk of `out`, which there are.
    unsafe { gpu.launch(("sums", name), grid, over.block, shared, &arguments) }
}

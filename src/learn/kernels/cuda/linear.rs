//! The fully connected layer on a GPU: cuBLAS's products, and linear.cu after them.

use candle_core::Result;

use super::{
    Argument, Gpu, Input, Matrix, Output, Sizes, arguments,
    grid::{Columns, is_by_fours},
    sums::{Left, rectified_sums},
};
use crate::learn::kernels::{Activation, Precision};

/// `y = act(x · weightᵀ + bias)`: x `[batch, inputs]`, weight `[outputs, inputs]`, bias `[outputs]`, y `[batch, outputs]`. bf16 means
/// TF32 here.
#[expect(clippy::too_many_arguments, reason = "a layer's sizes and operands")]
pub fn linear_forward(
    gpu: &Gpu,
    precision: Precision,
    batch: usize,
    inputs: usize,
    outputs: usize,
    x: Input<f32>,
    weight: Input<f32>,
    bias: Input<f32>,
    activation: Activation,
    y: Output<f32>,
) -> Result<()> {
    let sizes = Sizes { rows: batch, columns: outputs, inner: inputs, count: 1 };
    let weight = Matrix::new(weight, inputs).transposed();
    gpu.multiply(precision, sizes, Matrix::new(x, inputs), weight, Matrix::new(y, outputs), false)?;
    let products = Products { z: y.input(), count: 1, filters: outputs };
    finish(gpu, batch, outputs, products, bias, activation, y)
}

/// The gradient `[batch, outputs]` by what a layer gave, y.
#[derive(Clone, Copy)]
pub enum OutputGradient<'a> {
    /// That by the sums themselves, where there is no activation.
    Plain(Input<'a, f32>),
    /// Of a rectified layer: it becomes that by the sums.
    Rectified { y: Input<'a, f32>, dy: Output<'a, f32> },
}

impl<'a> OutputGradient<'a> {
    pub fn new(activation: Activation, y: Input<'a, f32>, dy: Output<'a, f32>) -> OutputGradient<'a> {
        match activation {
            Activation::None => OutputGradient::Plain(dy.input()),
            Activation::Relu => OutputGradient::Rectified { y, dy },
        }
    }
}

/// From the gradient by [`linear_forward`]'s y: dx `[batch, inputs]` if asked for, dweight `[outputs, inputs]`, dbias `[outputs]`.
#[expect(clippy::too_many_arguments, reason = "a layer's sizes and operands")]
pub fn linear_backward(
    gpu: &Gpu,
    precision: Precision,
    batch: usize,
    inputs: usize,
    outputs: usize,
    x: Input<f32>,
    weight: Input<f32>,
    dy: OutputGradient,
    dx: Option<Output<f32>>,
    dweight: Output<f32>,
    dbias: Output<f32>,
) -> Result<()> {
    let (dz, y, left) = match dy {
        OutputGradient::Plain(dy) => (dy, None, Left::Nothing),
        OutputGradient::Rectified { y, dy } => (dy.input(), Some(y), Left::F32(dy)),
    };
    rectified_sums(gpu, batch, outputs, dz, y, left, None, dbias)?;
    let dz = Matrix::new(dz, outputs);
    let sizes = Sizes { rows: outputs, columns: inputs, inner: batch, count: 1 };
    let (x, out) = (Matrix::new(x, inputs), Matrix::new(dweight, inputs));
    gpu.multiply(precision, sizes, dz.transposed(), x, out, false)?;
    let Some(dx) = dx else { return Ok(()) };
    let sizes = Sizes { rows: batch, columns: inputs, inner: outputs, count: 1 };
    let (weight, out) = (Matrix::new(weight, inputs), Matrix::new(dx, inputs));
    gpu.multiply(precision, sizes, dz, weight, out, false)
}

/// What the products of a layer gave: `count` matrices `[rows, filters]`, one after another.
pub(super) struct Products<'a> {
    pub z: Input<'a, f32>,
    pub count: usize,
    pub filters: usize,
}

/// `y[row][c] = act(Σ z[..][row][c mod filters] + bias[c])`, y `[rows, channels]`, which may be z where nothing is summed or shared.
pub(super) fn finish(
    gpu: &Gpu,
    rows: usize,
    channels: usize,
    products: Products,
    bias: Input<f32>,
    activation: Activation,
    y: Output<f32>,
) -> Result<()> {
    /// Rows that each thread of a column takes.
    const ROWS: usize = 8;
    let Products { z, count, filters } = products;
    z.need("finish: z", count * rows * filters)?;
    bias.need("finish: bias", channels)?;
    y.need("finish: y", rows * channels)?;
    let by_fours = is_by_fours(&[channels, filters], &[z, bias, y.input()]);
    let (name, lanes) = if by_fours { ("linear_finish4", 4) } else { ("linear_finish", 1) };
    let over = Columns::new(channels / lanes, 64);
    let per_block = ROWS * over.block[1];
    let next = Argument::Long((rows * filters / lanes) as i64);
    let is_rectified = usize::from(activation == Activation::Relu);
    let (filters, channels) = (filters / lanes, channels / lanes);
    let arguments =
        arguments![z, next, count, bias, y, Argument::Long(rows as i64), filters, channels, per_block, is_rectified];
    // SAFETY: linear.cu's arguments; it reads and writes the matrices that are documented, which there are.
    unsafe { gpu.launch(("linear", name), [rows.div_ceil(per_block), over.blocks], over.block, 0, arguments) }
}

//! The convolution as a candle op on a GPU: the kernels' layouts on the inside, candle's on the outside.

use candle_core::{CudaStorage, Layout, Result, Shape, Tensor, backend::BackendStorage};

use super::options::Activation;
use crate::learn::kernels::{
    Precision,
    cuda::{Buffer, Conv2d, Gpu, Input, permute_4d, tensors},
};

/// `[batch, channels, height, width]` to `[height, width, batch, channels]`, and back: it is its own inverse.
const TO_PIXELS: [usize; 4] = [2, 3, 0, 1];
/// `[filters, in_channels, rows, columns]` to `[rows, columns, in_channels, filters]`.
const TO_TAPS: [usize; 4] = [2, 3, 1, 0];
/// And back.
const TO_FILTERS: [usize; 4] = [3, 2, 0, 1];

/// The sizes of an op.
struct Op {
    /// Of x `[batch, in_channels, height, width]`.
    image: [usize; 4],
    /// Of the weight `[filters, in_channels, kh, kw]`.
    weight: [usize; 4],
    channels: usize,
    conv: Conv2d,
}

impl Op {
    fn new(
        gpu: &Gpu,
        x: &Layout,
        weight: &Layout,
        bias: &Layout,
        stride: usize,
        activation: Activation,
    ) -> Result<Self> {
        let (image, weight): ([usize; 4], [usize; 4]) = (x.shape().dims4()?.into(), weight.shape().dims4()?.into());
        let channels = bias.shape().dims1()?;
        let ([batch, in_channels, height, width], [filters, _, kh, kw]) = (image, weight);
        let (size, precision) = ([in_channels, height, width], Precision::F32);
        let conv = Conv2d::new(gpu, batch, size, filters, channels, [kh, kw], stride, activation, precision, true)?;
        Ok(Op { image, weight, channels, conv })
    }

    /// Of y `[batch, channels, out height, out width]`.
    fn output(&self) -> [usize; 4] {
        let [rows, columns] = self.conv.out();
        [self.image[0], self.channels, rows, columns]
    }

    /// y, by pixels.
    fn forward(&self, gpu: &Gpu, x: Input<f32>, weight: Input<f32>, bias: Input<f32>) -> Result<Buffer<f32>> {
        let x = permuted(gpu, self.image, TO_PIXELS, x)?;
        let weight = permuted(gpu, self.weight, TO_TAPS, weight)?;
        let y = gpu.zeros(self.output().iter().product())?;
        self.conv.forward(gpu, self.image[0], x.input(), weight.input(), bias, y.output())?;
        Ok(y)
    }
}

/// x with its dimensions in another order.
fn permuted(gpu: &Gpu, dims: [usize; 4], order: [usize; 4], x: Input<f32>) -> Result<Buffer<f32>> {
    let y = gpu.zeros(dims.iter().product())?;
    permute_4d(gpu, dims, order, x, y.output())?;
    Ok(y)
}

/// The same back in candle's layout: `dims` are those of the result.
fn restored(gpu: &Gpu, dims: [usize; 4], [there, back]: [[usize; 4]; 2], x: &Buffer<f32>) -> Result<Buffer<f32>> {
    permuted(gpu, there.map(|dim| dims[dim]), back, x.input())
}

/// The result of the op, and the convolution that its backward pass needs.
pub(super) fn forward(
    operands: [(&CudaStorage, &Layout); 3],
    stride: usize,
    activation: Activation,
) -> Result<(CudaStorage, Shape, Conv2d)> {
    let gpu = Gpu::of_cuda(operands[0].0.device())?;
    let [(_, lx), (_, lw), (_, lb)] = operands;
    let op = Op::new(&gpu, lx, lw, lb, stride, activation)?;
    let [x, weight, bias] = operands.map(|(storage, layout)| tensors::input(storage, layout));
    let y = op.forward(&gpu, x?, weight?, bias?)?;
    let y = restored(&gpu, op.output(), [TO_PIXELS, TO_PIXELS], &y)?;
    Ok((tensors::wrap(&gpu, y), Shape::from(op.output().to_vec()), op.conv))
}

/// The gradients by x, weight and bias. `kept`: what the forward pass left, if no backward pass has taken it.
pub(super) fn backward(
    [x, weight, bias, y, dy]: [&Tensor; 5],
    stride: usize,
    activation: Activation,
    kept: Option<Conv2d>,
) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
    let gpu = Gpu::of(x.device())?;
    let mut op = Op::new(&gpu, x.layout(), weight.layout(), bias.layout(), stride, activation)?;
    let (held_x, held_weight, held_bias) =
        (x.storage_and_layout().0, weight.storage_and_layout().0, bias.storage_and_layout().0);
    let x_at = tensors::held_input(&held_x, x.layout())?;
    let weight_at = tensors::held_input(&held_weight, weight.layout())?;
    match kept {
        Some(conv) => op.conv = conv,
        // A second backward pass.
        None => {
            op.forward(&gpu, x_at, weight_at, tensors::held_input(&held_bias, bias.layout())?)?;
        }
    }
    let by_pixels = |tensor: &Tensor| {
        let (held, layout) = tensor.storage_and_layout();
        permuted(&gpu, op.output(), TO_PIXELS, tensors::held_input(&held, layout)?)
    };
    let (y, dy) = (by_pixels(y)?, by_pixels(dy)?);
    let by_taps = permuted(&gpu, op.weight, TO_TAPS, weight_at)?;
    let dx = if x.track_op() { Some(gpu.zeros(x.elem_count())?) } else { None };
    let (dweight, dbias) = (gpu.zeros(weight.elem_count())?, gpu.zeros(op.channels)?);
    let dx_at = dx.as_ref().map(Buffer::output);
    let (batch, y, dy) = (op.image[0], y.input(), dy.output());
    op.conv.backward(&gpu, batch, by_taps.input(), y, dy, dx_at, dweight.output(), dbias.output())?;
    let dx = dx.map(|dx| restored(&gpu, op.image, [TO_PIXELS, TO_PIXELS], &dx)).transpose()?;
    let dweight = restored(&gpu, op.weight, [TO_TAPS, TO_FILTERS], &dweight)?;
    Ok((
        dx.map(|dx| tensors::tensor(&gpu, dx, x.shape())),
        Some(tensors::tensor(&gpu, dweight, weight.shape())),
        Some(tensors::tensor(&gpu, dbias, bias.shape())),
    ))
}

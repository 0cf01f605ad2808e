//! Convolution with its full backward, by the algorithm that is the cheapest for its shape.

mod bias;
mod choice;
mod dft;
mod fourier;
mod geometry;
#[cfg(feature = "cuda")]
mod on_gpu;
mod options;
mod plan;
mod room;
mod spectrum;
mod unfold;
mod unfolded;

use std::{
    ops::Range,
    sync::{Mutex, PoisonError},
};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::{
    real::Real,
    reference,
    storage::{cpu_values, for_real, is_fast, values},
    weight::Weight,
};
use geometry::Geometry;
pub use options::{Activation, Algorithm};
pub use plan::Conv2dPlan;
pub use unfolded::{ScratchSizes, UnfoldedConv2d};

/// `y[b,c,i,j] = bias[c] + Σ_{d,p,q} weight[c mod filters, d, p, q] · x[b, d, i·stride+p, j·stride+q]`, without padding.
///
/// x `[batch, in_channels, height, width]`, weight `[filters, in_channels, kh, kw]`, bias `[channels]`; gives
/// `[batch, channels, (height−kh)/stride+1, (width−kw)/stride+1]`. Where `channels` is a multiple of `filters`, the
/// channels share filters: each filter is computed once and every channel adds its own bias.
///
/// Errors: shapes that do not fit, a kernel larger than the image, a zero stride.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: &Tensor, stride: usize) -> Result<Tensor> {
    let algorithm = Algorithm::choose(x.dims(), weight.dims(), bias.dims(), stride)?;
    conv2d_by(algorithm, x, weight, bias, stride)
}

/// `max(conv2d(x), 0)`; see [`super::relu()`].
pub fn conv2d_relu(x: &Tensor, weight: &Tensor, bias: &Tensor, stride: usize) -> Result<Tensor> {
    let algorithm = Algorithm::choose(x.dims(), weight.dims(), bias.dims(), stride)?;
    apply(algorithm, Activation::Relu, x, weight, bias, stride)
}

/// [`conv2d`] by an algorithm of one's own choice, on the CPU; a GPU has one of its own.
pub fn conv2d_by(algorithm: Algorithm, x: &Tensor, weight: &Tensor, bias: &Tensor, stride: usize) -> Result<Tensor> {
    Geometry::new(x.dims(), weight.dims(), bias.dims(), stride)?;
    apply(algorithm, Activation::None, x, weight, bias, stride)
}

fn apply(
    algorithm: Algorithm,
    activation: Activation,
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    stride: usize,
) -> Result<Tensor> {
    if !is_fast(x) {
        let y = reference::conv2d(x, weight, bias, stride)?;
        return match activation {
            Activation::None => Ok(y),
            Activation::Relu => reference::relu(&y),
        };
    }
    let tracked = [x, weight, bias].iter().any(|t| t.track_op());
    let (x, weight, bias) = (x.contiguous()?, weight.contiguous()?, bias.contiguous()?);
    for_real!(x.dtype(), T => {
        x.apply_op3(&weight, &bias, Conv2d::<T> {
            stride,
            algorithm,
            activation,
            tracked,
            plan: Mutex::new(None),
            #[cfg(feature = "cuda")]
            on_gpu: Mutex::new(None),
        })
    })
}

struct Conv2d<T: Real> {
    stride: usize,
    algorithm: Algorithm,
    activation: Activation,
    /// Whether a backward pass may follow.
    tracked: bool,
    /// What the forward pass leaves to the (first) backward pass.
    plan: Mutex<Option<Conv2dPlan<T>>>,
    /// The same on a GPU.
    #[cfg(feature = "cuda")]
    on_gpu: Mutex<Option<super::cuda::Conv2d>>,
}

impl<T: Real> CustomOp3 for Conv2d<T> {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        weight: &CpuStorage,
        lw: &Layout,
        bias: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let mut plan = self.plan(lx, lw, lb)?;
        let (x, weight, bias) = (values(x, lx)?, values(weight, lw)?, values(bias, lb)?);
        let shape = Shape::from((lx.dims()[0], lb.dims()[0], plan.out()[0], plan.out()[1]));
        let mut y = vec![T::zero(); shape.elem_count()];
        plan.forward(x, weight, bias, &mut y);
        if self.tracked {
            *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Some(plan);
        }
        Ok((T::to_cpu_storage_owned(y), shape))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &candle_core::CudaStorage,
        lx: &Layout,
        weight: &candle_core::CudaStorage,
        lw: &Layout,
        bias: &candle_core::CudaStorage,
        lb: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        let operands = [(x, lx), (weight, lw), (bias, lb)];
        let (y, shape, conv) = on_gpu::forward(operands, self.stride, self.activation)?;
        if self.tracked {
            *self.on_gpu.lock().unwrap_or_else(PoisonError::into_inner) = Some(conv);
        }
        Ok((y, shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            let kept = self.on_gpu.lock().unwrap_or_else(PoisonError::into_inner).take();
            return on_gpu::backward([x, weight, bias, y, &dy], self.stride, self.activation, kept);
        }
        let ((sx, lx), (sw, lw), (sy, ly), (sd, ld)) =
            (x.storage_and_layout(), weight.storage_and_layout(), y.storage_and_layout(), dy.storage_and_layout());
        let (x_values, weight_values) = (cpu_values::<T>(&sx, lx)?, cpu_values::<T>(&sw, lw)?);
        let (y, dy) = (cpu_values::<T>(&sy, ly)?, cpu_values::<T>(&sd, ld)?);
        let kept = self.plan.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut plan = match kept {
            Some(plan) => plan,
            // A second backward pass.
            None => {
                let mut plan = self.plan(lx, lw, bias.layout())?;
                let (sb, lb) = bias.storage_and_layout();
                plan.forward(x_values, weight_values, cpu_values(&sb, lb)?, &mut vec![T::zero(); y.len()]);
                plan
            }
        };
        let mut dx = x.track_op().then(|| vec![T::zero(); x_values.len()]);
        let mut dbias = vec![T::zero(); bias.elem_count()];
        let mut weight_gradient =
            Whole { values: weight_values, outputs: weight.dims()[0], gradient: vec![T::zero(); weight_values.len()] };
        plan.backward(x_values, &mut weight_gradient, y, dy, dx.as_deref_mut(), &mut dbias);
        let dx = dx.map(|dx| Tensor::from_vec(dx, x.shape(), x.device())).transpose()?;
        let dweight = Tensor::from_vec(weight_gradient.gradient, weight.shape(), x.device())?;
        let dbias = Tensor::from_vec(dbias, bias.shape(), x.device())?;
        Ok((dx, Some(dweight), Some(dbias)))
    }
}

impl<T: Real> Conv2d<T> {
    fn plan(&self, x: &Layout, weight: &Layout, bias: &Layout) -> Result<Conv2dPlan<T>> {
        let (x, weight) = (x.shape().dims4()?, weight.shape().dims4()?);
        Conv2dPlan::by(self.algorithm, x.into(), weight.into(), bias.shape().dims1()?, self.stride, self.activation)
    }
}

/// A weight whose gradient is put together.
struct Whole<'a, T> {
    values: &'a [T],
    outputs: usize,
    gradient: Vec<T>,
}

impl<T: Real> Weight<T> for Whole<'_, T> {
    fn values(&self) -> &[T] {
        self.values
    }

    fn whole(&mut self, gradient: &[T]) {
        self.gradient.copy_from_slice(gradient);
    }

    fn gradient(&mut self, rows: Range<usize>, columns: Range<usize>, block: &[T]) {
        let row_len = self.gradient.len() / self.outputs;
        let to = self.gradient.chunks_mut(row_len).skip(rows.start).zip(block.chunks(columns.len()));
        to.for_each(|(to, block)| to[columns.clone()].copy_from_slice(block));
    }
}

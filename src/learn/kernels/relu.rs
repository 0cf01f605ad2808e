//! The rectifier.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

#[cfg(feature = "cuda")]
use super::cuda::{self, tensors};
use super::{
    real::Real,
    reference,
    storage::{cpu_values, for_each_chunk, for_real, is_fast, values},
};

/// `max(x, 0)`, with gradient 0 at 0. Unlike candle's, it lets a NaN through instead of hiding it as 0.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    if is_fast(x) { x.contiguous()?.apply_op1(Relu) } else { reference::relu(x) }
}

const CHUNK: usize = 1 << 13;

/// [`relu`] of a slice, in place.
pub fn relu_forward<T: Real>(x: &mut [T]) {
    let work = x.len();
    for_each_chunk(x, CHUNK, work, |_, x| x.iter_mut().for_each(|x| *x = if *x < T::zero() { T::zero() } else { *x }));
}

/// The gradient by x in place of that by y: 0 where the output y is not above 0. A NaN output passes its gradient on (`y > 0`
/// would stop it).
pub fn relu_backward<T: Real>(y: &[T], d: &mut [T]) {
    for_each_chunk(d, CHUNK, y.len(), |chunk, d| {
        d.iter_mut().zip(&y[chunk * CHUNK..]).for_each(|(d, &y)| *d = if y <= T::zero() { T::zero() } else { *d });
    });
}

struct Relu;

impl CustomOp1 for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        for_real!(candle_core::backend::BackendStorage::dtype(x), T => {
            let mut y = values::<T>(x, layout)?.to_vec();
            relu_forward(&mut y);
            Ok((candle_core::WithDType::to_cpu_storage_owned(y), layout.shape().clone()))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &candle_core::CudaStorage, layout: &Layout) -> Result<(candle_core::CudaStorage, Shape)> {
        let gpu = cuda::Gpu::of_cuda(candle_core::backend::BackendStorage::device(x))?;
        let count = layout.shape().elem_count();
        let y = gpu.zeros(count)?;
        cuda::relu_forward(&gpu, count, tensors::input(x, layout)?, y.output())?;
        Ok((tensors::wrap(&gpu, y), layout.shape().clone()))
    }

    fn bwd(&self, _x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dy = dy.contiguous()?;
        let ((sy, ly), (sd, ld)) = (y.storage_and_layout(), dy.storage_and_layout());
        #[cfg(feature = "cuda")]
        if y.device().is_cuda() {
            let gpu = cuda::Gpu::of(y.device())?;
            let (y_at, dy_at) = (tensors::held_input(&sy, ly)?, tensors::held_input(&sd, ld)?);
            let dx = gpu.zeros(y.elem_count())?;
            cuda::relu_backward(&gpu, y.elem_count(), y_at, dy_at, dx.output())?;
            return Ok(Some(tensors::tensor(&gpu, dx, y.shape())));
        }
        for_real!(y.dtype(), T => {
            let mut dx = cpu_values::<T>(&sd, ld)?.to_vec();
            relu_backward(cpu_values(&sy, ly)?, &mut dx);
            Ok(Some(Tensor::from_vec(dx, y.shape(), y.device())?))
        })
    }
}

//! Max pooling.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, WithDType, bail};

#[cfg(feature = "cuda")]
use super::cuda::{self, tensors};
use super::{
    real::Real,
    reference,
    storage::{cpu_values, for_real, is_fast, values},
};

/// The largest of each 2×2 window, windows side by side: x `[batch, channels, h, w]`, gives `[batch, channels, h/2, w/2]`; an
/// odd last row or column is dropped. The gradient goes to the first largest value of a window; a NaN counts as largest.
///
/// Errors: not four dimensions, or less than 2×2 pixels.
pub fn max_pool_2x2(x: &Tensor) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    if h < 2 || w < 2 {
        bail!("max_pool_2x2: the image {:?} is smaller than 2×2", x.dims())
    }
    if is_fast(x) { x.contiguous()?.apply_op1(MaxPool) } else { reference::max_pool_2x2(x) }
}

struct MaxPool;

/// The index in `x` of each window's largest value, window after window.
fn largest<'a, T: Real>(x: &'a [T], h: usize, w: usize) -> impl Iterator<Item = usize> + 'a {
    let windows =
        move |plane: usize| (0..h / 2).flat_map(move |i| (0..w / 2).map(move |j| plane * h * w + 2 * i * w + 2 * j));
    (0..x.len() / (h * w)).flat_map(windows).map(move |start| {
        [start + 1, start + w, start + w + 1].into_iter().fold(start, |best, i| {
            let keep = x[best] >= x[i] || x[best].is_nan();
            if keep { best } else { i }
        })
    })
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max-pool-2x2"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, h, w) = layout.shape().dims4()?;
        for_real!(candle_core::backend::BackendStorage::dtype(x), T => {
            let x = values::<T>(x, layout)?;
            let y: Vec<T> = largest(x, h, w).map(|i| x[i]).collect();
            Ok((T::to_cpu_storage_owned(y), Shape::from((batch, channels, h / 2, w / 2))))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &candle_core::CudaStorage, layout: &Layout) -> Result<(candle_core::CudaStorage, Shape)> {
        let gpu = cuda::Gpu::of_cuda(candle_core::backend::BackendStorage::device(x))?;
        let (batch, channels, height, width) = layout.shape().dims4()?;
        let shape = Shape::from((batch, channels, height / 2, width / 2));
        let y = gpu.zeros(shape.elem_count())?;
        let images = cuda::Images { planes: batch * channels, height, width, inner: 1 };
        images.max_pool_forward(&gpu, tensors::input(x, layout)?, y.output())?;
        Ok((tensors::wrap(&gpu, y), shape))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (_, _, h, w) = x.dims4()?;
        let dy = dy.contiguous()?;
        let ((sx, lx), (sd, ld)) = (x.storage_and_layout(), dy.storage_and_layout());
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            let gpu = cuda::Gpu::of(x.device())?;
            let (x_at, dy_at) = (tensors::held_input(&sx, lx)?, tensors::held_input(&sd, ld)?);
            let dx = gpu.zeros(x.elem_count())?;
            let images = cuda::Images { planes: x.elem_count() / (h * w), height: h, width: w, inner: 1 };
            images.max_pool_backward(&gpu, x_at, dy_at, dx.output())?;
            return Ok(Some(tensors::tensor(&gpu, dx, x.shape())));
        }
        for_real!(x.dtype(), T => {
            let x_values = cpu_values::<T>(&sx, lx)?;
            let mut dx = vec![0 as T; x_values.len()];
            largest(x_values, h, w).zip(cpu_values::<T>(&sd, ld)?).for_each(|(i, &d)| dx[i] = d);
            Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
        })
    }
}

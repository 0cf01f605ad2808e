//! The rectifier.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::{
    reference,
    storage::{Real, cpu_values, for_each_chunk, for_real, is_fast, values},
};

/// `max(x, 0)`, with gradient 0 at 0. Unlike candle's, it lets a NaN through instead of hiding it as 0.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    if is_fast(x) { x.contiguous()?.apply_op1(Relu) } else { reference::relu(x) }
}

const CHUNK: usize = 1 << 13;

/// In place.
pub(super) fn forward<T: Real>(x: &mut [T]) {
    let work = x.len();
    for_each_chunk(x, CHUNK, work, |_, x| x.iter_mut().for_each(|x| *x = if *x < T::zero() { T::zero() } else { *x }));
}

/// `dy` where the output y is above 0, else 0. A NaN output passes its gradient on (`y > 0` would stop it).
pub(super) fn backward<T: Real>(y: &[T], dy: &[T], dx: &mut [T]) {
    for_each_chunk(dx, CHUNK, y.len(), |chunk, dx| {
        let from = y[chunk * CHUNK..].iter().zip(&dy[chunk * CHUNK..]);
        dx.iter_mut().zip(from).for_each(|(dx, (&y, &dy))| *dx = if y <= T::zero() { T::zero() } else { dy });
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
            forward(&mut y);
            Ok((candle_core::WithDType::to_cpu_storage_owned(y), layout.shape().clone()))
        })
    }

    fn bwd(&self, _x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dy = dy.contiguous()?;
        let ((sy, ly), (sd, ld)) = (y.storage_and_layout(), dy.storage_and_layout());
        for_real!(y.dtype(), T => {
            let mut dx = vec![0 as T; y.elem_count()];
            backward(cpu_values::<T>(&sy, ly)?, cpu_values(&sd, ld)?, &mut dx);
            Ok(Some(Tensor::from_vec(dx, y.shape(), y.device())?))
        })
    }
}

//! The rectifier.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::{
    reference,
    storage::{Real, for_real, is_fast, values},
};

/// `max(x, 0)`, with gradient 0 at 0. Unlike candle's, it lets a NaN through instead of hiding it as 0.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    if is_fast(x) { x.contiguous()?.apply_op1(Relu) } else { reference::relu(x) }
}

struct Relu;

/// `dy` where the output is above 0, else 0.
struct ReluGradient;

impl CustomOp1 for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        fn forward<T: Real>(x: &[T]) -> CpuStorage {
            T::to_cpu_storage_owned(x.iter().map(|&v| if v < T::zero() { T::zero() } else { v }).collect())
        }
        for_real!(candle_core::backend::BackendStorage::dtype(x), T => {
            Ok((forward::<T>(values(x, layout)?), layout.shape().clone()))
        })
    }

    fn bwd(&self, _x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(y.apply_op2_no_bwd(&dy.contiguous()?, &ReluGradient)?))
    }
}

impl CustomOp2 for ReluGradient {
    fn name(&self) -> &'static str {
        "relu-gradient"
    }

    fn cpu_fwd(&self, y: &CpuStorage, ly: &Layout, dy: &CpuStorage, ld: &Layout) -> Result<(CpuStorage, Shape)> {
        fn backward<T: Real>(y: &[T], dy: &[T]) -> CpuStorage {
            // A NaN output passes its gradient on (`y > 0` would stop it).
            let dx = y.iter().zip(dy).map(|(&y, &d)| if y <= T::zero() { T::zero() } else { d });
            T::to_cpu_storage_owned(dx.collect())
        }
        for_real!(candle_core::backend::BackendStorage::dtype(y), T => {
            Ok((backward::<T>(values(y, ly)?, values(dy, ld)?), ly.shape().clone()))
        })
    }
}

//! A depthwise convolution whose kernel is as large as the map.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, WithDType, bail};

use super::{
    lanes::{dot, vectorised},
    linear::sum_samples,
    real::Real,
    reference,
    storage::{cpu_values, for_each_chunk, for_real, is_fast_on_cpu, values},
};

/// `y[b,c] = bias[c] + Σ_{i,j} weight[c,i,j] · x[b,c,i,j]`: each channel by a filter of its own, which has one position.
///
/// x `[batch, channels, h, w]`, weight `[channels, h, w]`, bias `[channels]`; gives `[batch, channels]`.
///
/// Errors: shapes that do not fit, or without values.
pub fn whole_map_depthwise(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let fits = x.rank() == 4 && x.dims()[1..] == *weight.dims() && weight.dims()[..1] == *bias.dims();
    if !fits || x.elem_count() == 0 {
        let dims = [x, weight, bias].map(Tensor::dims);
        bail!("whole_map_depthwise: input, weight and bias {dims:?} do not fit")
    }
    if is_fast_on_cpu(x) {
        x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, WholeMap)
    } else {
        reference::whole_map_depthwise(x, weight, bias)
    }
}

struct WholeMap;

/// Gradients by x and weight; `plane` values a channel.
fn backward<T: Real>(plane: usize, x: &[T], weight: &[T], dy: &[T]) -> [Vec<T>; 2] {
    let channels = weight.len() / plane;
    let mut dx = vec![T::zero(); x.len()];
    for_each_chunk(&mut dx, weight.len(), x.len(), |b, dx| {
        let dy = &dy[b * channels..][..channels];
        for ((dx, w), &dy) in dx.chunks_exact_mut(plane).zip(weight.chunks_exact(plane)).zip(dy) {
            vectorised!(|| dx.iter_mut().zip(w).for_each(|(dx, &w)| *dx = dy * w));
        }
    });
    let mut dweight = vec![T::zero(); weight.len()];
    for_each_chunk(&mut dweight, plane, x.len(), |channel, dweight| {
        let planes = x.chunks_exact(plane).skip(channel).step_by(channels);
        for (x, &dy) in planes.zip(dy[channel..].iter().step_by(channels)) {
            vectorised!(|| dweight.iter_mut().zip(x).for_each(|(dw, &x)| *dw += dy * x));
        }
    });
    [dx, dweight]
}

impl CustomOp3 for WholeMap {
    fn name(&self) -> &'static str {
        "whole-map-depthwise"
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
        let (batch, channels, height, width) = lx.shape().dims4()?;
        let plane = height * width;
        for_real!(candle_core::backend::BackendStorage::dtype(x), T => {
            let (x, weight, bias) = (values::<T>(x, lx)?, values::<T>(weight, lw)?, values::<T>(bias, lb)?);
            let mut y = vec![0 as T; batch * channels];
            for_each_chunk(&mut y, channels, x.len(), |b, y| {
                let planes = x[b * channels * plane..].chunks_exact(plane).zip(weight.chunks_exact(plane));
                for ((y, (x, w)), bias) in y.iter_mut().zip(planes).zip(bias) {
                    *y = bias + vectorised!(|| dot(x, w));
                }
            });
            Ok((T::to_cpu_storage_owned(y), Shape::from((batch, channels))))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (_, _, height, width) = x.dims4()?;
        let dy = dy.contiguous()?;
        let ((sx, lx), (sw, lw), (sd, ld)) =
            (x.storage_and_layout(), weight.storage_and_layout(), dy.storage_and_layout());
        for_real!(x.dtype(), T => {
            let dy = cpu_values::<T>(&sd, ld)?;
            let mut dbias = vec![0 as T; bias.elem_count()];
            sum_samples(dy, &mut dbias);
            let [dx, dweight] = backward(height * width, cpu_values::<T>(&sx, lx)?, cpu_values::<T>(&sw, lw)?, dy);
            Ok((
                Some(Tensor::from_vec(dx, x.shape(), x.device())?),
                Some(Tensor::from_vec(dweight, weight.shape(), x.device())?),
                Some(Tensor::from_vec(dbias, bias.shape(), x.device())?),
            ))
        })
    }
}

//! The nonlinearity of capsules.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, WithDType};

#[cfg(feature = "cuda")]
use super::cuda::{self, Gpu, tensors};
use super::{
    lanes::{dot, vectorised},
    options::EPSILON,
    real::Real,
    reference,
    storage::{cpu_values, for_each_chunk, for_real, is_fast, values},
};
use crate::learn::kernels::Squash;

/// Squashes every capsule of s `[.., dim]` along the last dimension.
///
/// Exact: `|s|²/(1+|s|²) · s/√(|s|²+1e-9)`. Approximate: `s/2` where `|s| ≤ 2`, `s/|s|` above.
pub fn squash(s: &Tensor, kind: Squash) -> Result<Tensor> {
    if is_fast(s) { s.contiguous()?.apply_op1(SquashOp(kind)) } else { reference::squash(s, kind) }
}

struct SquashOp(Squash);

/// The factor f(|s|²) of `squash(s) = f(|s|²) · s`, and its derivative.
#[inline(always)]
pub(super) fn factor<T: Real>(kind: Squash, n2: T) -> (T, T) {
    let [half, one, four] = [0.5, 1., 4.].map(T::from_f64);
    match kind {
        Squash::Exact => {
            let (m, e) = (one + n2, n2 + T::from_f64(EPSILON));
            let root = e.sqrt();
            (n2 / (m * root), one / (m * m * root) - half * n2 / (m * e * root))
        }
        Squash::Approximate if n2 <= four => (half, T::zero()),
        Squash::Approximate => (one / n2.sqrt(), T::zero() - half / (n2 * n2.sqrt())),
    }
}

/// Squashes one capsule.
#[inline(always)]
pub(super) fn squash_capsule<T: Real>(kind: Squash, s: &[T], v: &mut [T]) {
    let (f, _) = factor(kind, dot(s, s));
    v.iter_mut().zip(s).for_each(|(v, &s)| *v = f * s);
}

/// The gradient of one capsule: `ds = f dv + 2 f' (s·dv) s`.
#[inline(always)]
pub(super) fn squash_capsule_backward<T: Real>(kind: Squash, s: &[T], dv: &[T], ds: &mut [T]) {
    let (f, slope) = factor(kind, dot(s, s));
    let along = T::from_f64(2.) * slope * dot(s, dv);
    ds.iter_mut().zip(s.iter().zip(dv)).for_each(|(ds, (&s, &dv))| *ds = f * dv + along * s);
}

/// Capsules that stand in the channels of a convolution: capsule `type × positions + position` is made of the channels
/// `type × dim ..` at one position.
#[derive(Clone, Copy)]
pub struct InChannels {
    pub types: usize,
    pub dim: usize,
    pub positions: usize,
    pub kind: Squash,
}

impl InChannels {
    /// Squashes channels `[batch, types × dim, positions]` to capsules `[batch, types × positions, dim]`.
    pub fn squash<T: Real>(self, channels: &[T], capsules: &mut [T]) {
        let InChannels { dim, positions, kind, .. } = self;
        let sample = self.sample();
        let work = channels.len();
        for_each_chunk(capsules, sample, work, |b, capsules| {
            vectorised!(|| {
                let types = channels[b * sample..][..sample].chunks_exact(dim * positions);
                for (s, v) in types.zip(capsules.chunks_exact_mut(dim * positions)) {
                    for (position, v) in v.chunks_exact_mut(dim).enumerate() {
                        let n2 = (0..dim)
                            .fold(T::zero(), |n2, d| n2 + s[d * positions + position] * s[d * positions + position]);
                        let (f, _) = factor(kind, n2);
                        v.iter_mut().enumerate().for_each(|(d, v)| *v = f * s[d * positions + position]);
                    }
                }
            });
        });
    }

    /// The gradient by the channels, from that by the capsules.
    pub fn backward<T: Real>(self, channels: &[T], dcapsules: &[T], dchannels: &mut [T]) {
        let InChannels { dim, positions, kind, .. } = self;
        let sample = self.sample();
        for_each_chunk(dchannels, sample, channels.len(), |b, dchannels| {
            vectorised!(|| {
                let types = channels[b * sample..][..sample].chunks_exact(dim * positions);
                let dtypes = dcapsules[b * sample..][..sample].chunks_exact(dim * positions);
                for ((s, dv), ds) in types.zip(dtypes).zip(dchannels.chunks_exact_mut(dim * positions)) {
                    for (position, dv) in dv.chunks_exact(dim).enumerate() {
                        let (mut n2, mut along) = (T::zero(), T::zero());
                        for (d, &dv) in dv.iter().enumerate() {
                            let s = s[d * positions + position];
                            n2 += s * s;
                            along += s * dv;
                        }
                        let (f, slope) = factor(kind, n2);
                        let along = T::from_f64(2.) * slope * along;
                        for (d, &dv) in dv.iter().enumerate() {
                            let at = d * positions + position;
                            ds[at] = f * dv + along * s[at];
                        }
                    }
                }
            });
        });
    }

    fn sample(self) -> usize {
        self.types * self.dim * self.positions
    }
}

/// Capsules in a tensor, and their dimension.
#[cfg(feature = "cuda")]
fn rows(dims: &[usize]) -> (usize, usize) {
    dims.split_last().map_or((1, 1), |(&dim, rest)| (rest.iter().product(), dim))
}

/// Capsules a task squashes.
const CHUNK: usize = 1024;

impl CustomOp1 for SquashOp {
    fn name(&self) -> &'static str {
        "squash"
    }

    fn cpu_fwd(&self, s: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let dim = layout.shape().dims().last().copied().unwrap_or(1);
        for_real!(candle_core::backend::BackendStorage::dtype(s), T => {
            let s = values::<T>(s, layout)?;
            let mut v = vec![0 as T; s.len()];
            for_each_chunk(&mut v, CHUNK * dim, s.len(), |chunk, v| {
                let s = s[chunk * CHUNK * dim..].chunks(dim);
                vectorised!(|| v.chunks_mut(dim).zip(s.clone()).for_each(|(v, s)| squash_capsule(self.0, s, v)));
            });
            Ok((T::to_cpu_storage_owned(v), layout.shape().clone()))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, s: &candle_core::CudaStorage, layout: &Layout) -> Result<(candle_core::CudaStorage, Shape)> {
        let gpu = Gpu::of_cuda(&s.device)?;
        let v = gpu.zeros(layout.shape().elem_count())?;
        let (rows, dim) = rows(layout.shape().dims());
        cuda::squash::squash_forward(&gpu, self.0, rows, dim, tensors::input(s, layout)?, v.output())?;
        Ok((tensors::wrap(&gpu, v), layout.shape().clone()))
    }

    fn bwd(&self, s: &Tensor, _v: &Tensor, dv: &Tensor) -> Result<Option<Tensor>> {
        let dim = s.dims().last().copied().unwrap_or(1);
        let dv = dv.contiguous()?;
        let ((ss, ls), (sd, ld)) = (s.storage_and_layout(), dv.storage_and_layout());
        #[cfg(feature = "cuda")]
        if s.device().is_cuda() {
            let gpu = Gpu::of(s.device())?;
            let ds = gpu.zeros(s.elem_count())?;
            let [s_values, dv] = [tensors::held_input(&ss, ls)?, tensors::held_input(&sd, ld)?];
            let (rows, dim) = rows(s.dims());
            cuda::squash::squash_backward(&gpu, self.0, rows, dim, s_values, dv, ds.output())?;
            return Ok(Some(tensors::tensor(&gpu, ds, s.shape())));
        }
        for_real!(s.dtype(), T => {
            let (s_values, dv) = (cpu_values::<T>(&ss, ls)?, cpu_values::<T>(&sd, ld)?);
            let mut ds = vec![0 as T; dv.len()];
            for_each_chunk(&mut ds, CHUNK * dim, dv.len(), |chunk, ds| {
                let start = chunk * CHUNK * dim;
                let (s, dv) = (s_values[start..].chunks(dim), dv[start..].chunks(dim));
                let mut capsules = ds.chunks_mut(dim).zip(s.zip(dv));
                vectorised!(|| capsules.by_ref().for_each(|(ds, (s, dv))| squash_capsule_backward(self.0, s, dv, ds)));
            });
            Ok(Some(Tensor::from_vec(ds, s.shape(), s.device())?))
        })
    }
}

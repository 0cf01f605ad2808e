//! The nonlinearity of the capsules of Efficient-CapsNet.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, WithDType};

use super::{
    lanes::{dot, vectorised},
    options::EPSILON,
    real::Real,
    reference,
    storage::{cpu_values, for_each_chunk, for_real, is_fast_on_cpu, values},
};

/// `(1 − e^−|s|) · s/|s|` of every capsule of s `[.., dim]`, |s| being `√(Σ s² + 1e-9)`.
pub fn exponential_squash(s: &Tensor) -> Result<Tensor> {
    if is_fast_on_cpu(s) { s.contiguous()?.apply_op1(ExponentialSquash) } else { reference::exponential_squash(s) }
}

struct ExponentialSquash;

/// Capsules a task squashes.
const CHUNK: usize = 1024;

/// Below this length the factor is a sum of powers: its formula would lose digits.
const SHORT: f64 = 0.25;
/// `1/(k+1)!` for k = 0, 1, …
const POWERS: [f64; 11] = [
    1.,
    1. / 2.,
    1. / 6.,
    1. / 24.,
    1. / 120.,
    1. / 720.,
    1. / 5040.,
    1. / 40_320.,
    1. / 362_880.,
    1. / 3_628_800.,
    1. / 39_916_800.,
];

/// The factor `f = (1 − e^−n)/n` of a capsule of squared length `n2`, n = √(n2 + 1e-9), and its derivative by n2.
#[inline(always)]
fn factor<T: Real>(n2: T) -> (T, T) {
    let [one, two] = [1., 2.].map(T::from_f64);
    let n = (n2 + T::from_f64(EPSILON)).sqrt();
    let (f, slope) = if n < T::from_f64(SHORT) {
        // Σ (−n)^k/(k+1)! and its derivative by n, from the last power on.
        let x = T::zero() - n;
        let (mut f, mut slope) = (T::zero(), T::zero());
        for power in POWERS.iter().rev() {
            slope = slope * x + f;
            f = f * x + T::from_f64(*power);
        }
        (f, T::zero() - slope)
    } else {
        let e = (T::zero() - n).exp();
        ((one - e) / n, (e * (n + one) - one) / (n * n))
    };
    (f, slope / (two * n))
}

impl CustomOp1 for ExponentialSquash {
    fn name(&self) -> &'static str {
        "exponential-squash"
    }

    fn cpu_fwd(&self, s: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let dim = layout.shape().dims().last().copied().unwrap_or(1);
        for_real!(candle_core::backend::BackendStorage::dtype(s), T => {
            let s = values::<T>(s, layout)?;
            let mut v = vec![0 as T; s.len()];
            for_each_chunk(&mut v, CHUNK * dim, s.len(), |chunk, v| {
                let s = &s[chunk * CHUNK * dim..];
                vectorised!(|| {
                    for (v, s) in v.chunks_mut(dim).zip(s.chunks(dim)) {
                        let (f, _) = factor(dot(s, s));
                        v.iter_mut().zip(s).for_each(|(v, &s)| *v = f * s);
                    }
                });
            });
            Ok((T::to_cpu_storage_owned(v), layout.shape().clone()))
        })
    }

    fn bwd(&self, s: &Tensor, _v: &Tensor, dv: &Tensor) -> Result<Option<Tensor>> {
        let dim = s.dims().last().copied().unwrap_or(1);
        let dv = dv.contiguous()?;
        let ((ss, ls), (sd, ld)) = (s.storage_and_layout(), dv.storage_and_layout());
        for_real!(s.dtype(), T => {
            let (s_values, dv) = (cpu_values::<T>(&ss, ls)?, cpu_values::<T>(&sd, ld)?);
            let mut ds = vec![0 as T; dv.len()];
            for_each_chunk(&mut ds, CHUNK * dim, dv.len(), |chunk, ds| {
                let start = chunk * CHUNK * dim;
                let (s, dv) = (&s_values[start..], &dv[start..]);
                vectorised!(|| {
                    for (ds, (s, dv)) in ds.chunks_mut(dim).zip(s.chunks(dim).zip(dv.chunks(dim))) {
                        // `ds = f dv + 2 f' (s·dv) s`
                        let (f, slope) = factor(dot(s, s));
                        let along = 2. * slope * dot(s, dv);
                        ds.iter_mut().zip(s.iter().zip(dv)).for_each(|(ds, (&s, &dv))| *ds = f * dv + along * s);
                    }
                });
            });
            Ok(Some(Tensor::from_vec(ds, s.shape(), s.device())?))
        })
    }
}

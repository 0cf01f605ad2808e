//! Dynamic routing by agreement, of one sample in each lane.

use pulp::Simd;

use super::{
    lanes::{Lanes, WIDTH},
    squash::factor,
    storage::Real,
};
use crate::model::config::Squash;

/// The couplings of a capsule: the softmax of its logits, one for each class.
#[inline(always)]
pub(super) fn softmax<S: Simd, T: Real>(simd: S, logits: &mut [Lanes<T>]) {
    let mut largest = logits[0];
    for logit in &logits[1..] {
        for lane in 0..WIDTH {
            largest[lane] = if logit[lane] > largest[lane] { logit[lane] } else { largest[lane] };
        }
    }
    let mut sum = [T::zero(); WIDTH];
    for logit in logits.iter_mut() {
        T::add_times(simd, logit, T::zero() - T::one(), &largest);
    }
    for logit in logits.as_flattened_mut() {
        *logit = logit.exp();
    }
    for logit in logits.iter() {
        T::add_times(simd, &mut sum, T::one(), logit);
    }
    let mut scale = [T::one(); WIDTH];
    for lane in 0..WIDTH {
        scale[lane] /= sum[lane];
    }
    for logit in logits {
        let exp = *logit;
        *logit = [T::zero(); WIDTH];
        T::add_product(simd, logit, &exp, &scale);
    }
}

/// The gradients of a capsule's couplings, overwritten with those of its logits.
#[inline(always)]
pub(super) fn softmax_backward<S: Simd, T: Real>(simd: S, coupling: &[Lanes<T>], gradient: &mut [Lanes<T>]) {
    let mut mean = [T::zero(); WIDTH];
    for (c, d) in coupling.iter().zip(&*gradient) {
        T::add_product(simd, &mut mean, c, d);
    }
    for (c, d) in coupling.iter().zip(gradient) {
        T::add_times(simd, d, T::zero() - T::one(), &mean);
        let difference = *d;
        *d = [T::zero(); WIDTH];
        T::add_product(simd, d, c, &difference);
    }
}

/// Squashes one capsule of each lane.
#[inline(always)]
pub(super) fn squash<S: Simd, T: Real>(simd: S, kind: Squash, s: &[Lanes<T>], v: &mut [Lanes<T>]) {
    let mut f = dot(simd, s, s);
    for f in &mut f {
        *f = factor(kind, *f).0;
    }
    for (v, s) in v.iter_mut().zip(s) {
        *v = [T::zero(); WIDTH];
        T::add_product(simd, v, &f, s);
    }
}

/// The gradient of [`squash`]: `ds = f dv + 2 f' (s·dv) s`.
#[inline(always)]
pub(super) fn squash_backward<S: Simd, T: Real>(
    simd: S,
    kind: Squash,
    s: &[Lanes<T>],
    dv: &[Lanes<T>],
    ds: &mut [Lanes<T>],
) {
    let (mut f, mut along) = (dot(simd, s, s), dot(simd, s, dv));
    for lane in 0..WIDTH {
        let slope;
        (f[lane], slope) = factor(kind, f[lane]);
        along[lane] *= T::from_f64(2.) * slope;
    }
    for (ds, (s, dv)) in ds.iter_mut().zip(s.iter().zip(dv)) {
        *ds = [T::zero(); WIDTH];
        T::add_product(simd, ds, &f, dv);
        T::add_product(simd, ds, &along, s);
    }
}

#[inline(always)]
fn dot<S: Simd, T: Real>(simd: S, a: &[Lanes<T>], b: &[Lanes<T>]) -> Lanes<T> {
    let mut sum = [T::zero(); WIDTH];
    for (a, b) in a.iter().zip(b) {
        T::add_product(simd, &mut sum, a, b);
    }
    sum
}

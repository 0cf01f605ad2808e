//! Dynamic routing by agreement, of one sample in each lane.

use pulp::Simd;

use super::{real::Real, squash::factor};
use crate::learn::kernels::Squash;

/// The couplings of a capsule: the softmax of its logits, one for each class.
#[inline(always)]
pub(super) fn softmax<S: Simd, T: Real, const L: usize>(simd: S, logits: &mut [[T; L]]) {
    let mut largest = logits[0];
    for logit in &logits[1..] {
        for lane in 0..L {
            largest[lane] = if logit[lane] > largest[lane] { logit[lane] } else { largest[lane] };
        }
    }
    let mut sum = [T::zero(); L];
    for logit in logits.iter_mut() {
        T::add_times(simd, logit, T::zero() - T::one(), &largest);
    }
    for logit in logits.as_flattened_mut() {
        *logit = logit.exp();
    }
    for logit in logits.iter() {
        T::add_times(simd, &mut sum, T::one(), logit);
    }
    let mut scale = [T::one(); L];
    for lane in 0..L {
        scale[lane] /= sum[lane];
    }
    for logit in logits {
        let exp = *logit;
        *logit = [T::zero(); L];
        T::add_product(simd, logit, &exp, &scale);
    }
}

/// The gradients of a capsule's couplings, overwritten with those of its logits.
#[inline(always)]
pub(super) fn softmax_backward<S: Simd, T: Real, const L: usize>(
    simd: S,
    coupling: &[[T; L]],
    gradient: &mut [[T; L]],
) {
    let mut mean = [T::zero(); L];
    for (c, d) in coupling.iter().zip(&*gradient) {
        T::add_product(simd, &mut mean, c, d);
    }
    for (c, d) in coupling.iter().zip(gradient) {
        T::add_times(simd, d, T::zero() - T::one(), &mean);
        let difference = *d;
        *d = [T::zero(); L];
        T::add_product(simd, d, c, &difference);
    }
}

/// Squashes one capsule of each lane.
#[inline(always)]
pub(super) fn squash<S: Simd, T: Real, const L: usize>(simd: S, kind: Squash, s: &[[T; L]], v: &mut [[T; L]]) {
    let mut f = dot(simd, s, s);
    for f in &mut f {
        *f = factor(kind, *f).0;
    }
    for (v, s) in v.iter_mut().zip(s) {
        *v = [T::zero(); L];
        T::add_product(simd, v, &f, s);
    }
}

/// The gradient of [`squash`]: `ds = f dv + 2 f' (s·dv) s`.
#[inline(always)]
pub(super) fn squash_backward<S: Simd, T: Real, const L: usize>(
    simd: S,
    kind: Squash,
    s: &[[T; L]],
    dv: &[[T; L]],
    ds: &mut [[T; L]],
) {
    let (mut f, mut along) = (dot(simd, s, s), dot(simd, s, dv));
    for lane in 0..L {
        let slope;
        (f[lane], slope) = factor(kind, f[lane]);
        along[lane] *= T::from_f64(2.) * slope;
    }
    for (ds, (s, dv)) in ds.iter_mut().zip(s.iter().zip(dv)) {
        *ds = [T::zero(); L];
        T::add_product(simd, ds, &f, dv);
        T::add_product(simd, ds, &along, s);
    }
}

#[inline(always)]
fn dot<S: Simd, T: Real, const L: usize>(simd: S, a: &[[T; L]], b: &[[T; L]]) -> [T; L] {
    let mut sum = [T::zero(); L];
    for (a, b) in a.iter().zip(b) {
        T::add_product(simd, &mut sum, a, b);
    }
    sum
}

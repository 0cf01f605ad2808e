//! What is done for one group of samples: their lanes and those of some capsules, in vectors.

use pulp::{Simd, WithSimd};

use crate::learn::kernels::{
    Squash,
    real::Real,
    routing::{softmax, softmax_backward, squash, squash_backward},
    votes::{Couple, Terms, Votes},
};

/// `out += x`
#[inline(always)]
pub(super) fn add<T: Real>(out: &mut [T], x: &[T]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out += x;
    }
}

/// Runs `$body` with `$votes`, in f32 compiled apart for the sizes of the published network: with constants, loops are unrolled.
macro_rules! for_sizes {
    ($t:ty, $from:expr, |$votes:ident| $body:expr) => {
        if size_of::<$t>() == size_of::<f32>() && $from.in_dim == 8 && $from.dim == 16 {
            let $votes = Votes { in_dim: 8, dim: 16, ..$from };
            $body
        } else {
            let $votes = $from;
            $body
        }
    };
}

/// The sum of a share's votes for a group.
pub(super) struct Sum<'a, T, const L: usize> {
    pub(super) votes: Votes,
    pub(super) u: &'a [[T; L]],
    pub(super) weight: &'a [T],
    pub(super) sum: &'a mut [[T; L]],
    pub(super) scratch: &'a mut [[T; L]],
    pub(super) kept: &'a mut [T],
}

impl<T: Real, const L: usize> WithSimd for Sum<'_, T, L> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { votes, u, weight, sum, scratch, kept } = self;
        sum.fill([T::zero(); L]);
        if L == 1 {
            let (u, sum) = (u.as_flattened(), sum.as_flattened_mut());
            for_sizes!(T, votes, |sized| sized.sum_of_sample(simd, u, weight, sum, kept));
        } else {
            for_sizes!(T, votes, |sized| sized.sum(simd, u, weight, sum, scratch));
        }
    }
}

/// A sweep over a share's votes for a group.
pub(super) struct VoteSweep<'a, T, C, const L: usize> {
    pub(super) votes: Votes,
    pub(super) u: &'a [[T; L]],
    pub(super) x: &'a [[T; L]],
    pub(super) weight: &'a [T],
    pub(super) kept: &'a [T],
    pub(super) sum: &'a mut [[T; L]],
    pub(super) scratch: &'a mut [[T; L]],
    pub(super) couple: C,
}

impl<T: Real, const L: usize, C: Couple<T, L>> WithSimd for VoteSweep<'_, T, C, L> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let Self { votes, u, x, weight, kept, sum, scratch, couple } = &mut self;
        sum.fill([T::zero(); L]);
        if L == 1 {
            let (capsules, x, sum) = (u.len() / votes.in_dim, x.as_flattened(), sum.as_flattened_mut());
            let kept = &kept[..capsules * votes.n()];
            for_sizes!(T, *votes, |sized| sized.sweep_of_sample(simd, [kept, x], sum, scratch, couple));
        } else {
            for_sizes!(T, *votes, |sized| sized.sweep(simd, [*u, *x], weight, sum, scratch, couple));
        }
    }
}

/// From logits to couplings, which are kept.
pub(super) struct Agree<'a, T, const L: usize> {
    pub(super) coupling: &'a mut [[T; L]],
}

impl<T: Real, const L: usize> Couple<T, L> for Agree<'_, T, L> {
    #[inline(always)]
    fn couple<S: Simd>(&mut self, simd: S, i: usize, logits: &mut [[T; L]]) {
        softmax(simd, logits);
        for (kept, coupling) in self.coupling[i * logits.len()..].iter_mut().zip(&*logits) {
            *kept = *coupling;
        }
    }
}

/// From the gradients of couplings to those of logits, which are kept.
pub(super) struct Disagree<'a, T, const L: usize> {
    pub(super) coupling: &'a [[T; L]],
    /// What the iteration after this one says about its logits, which are sums: nothing, if there is none.
    pub(super) later: &'a [[T; L]],
    pub(super) dlogits: &'a mut [[T; L]],
}

impl<T: Real, const L: usize> Couple<T, L> for Disagree<'_, T, L> {
    #[inline(always)]
    fn couple<S: Simd>(&mut self, simd: S, i: usize, gradients: &mut [[T; L]]) {
        let classes = gradients.len();
        let at = i * classes..(i + 1) * classes;
        softmax_backward(simd, &self.coupling[at.clone()], gradients);
        if let Some(later) = self.later.get(at.clone()) {
            for (gradient, later) in gradients.iter_mut().zip(later) {
                T::add_times(simd, gradient, T::one(), later);
            }
        }
        for (kept, gradient) in self.dlogits[at].iter_mut().zip(&*gradients) {
            *kept = *gradient;
        }
    }
}

/// From the sums of the shares for a group to its s, v, and the sum of v over the iterations.
pub(super) struct Activate<'a, T, I, const L: usize> {
    pub(super) kind: Squash,
    pub(super) dim: usize,
    pub(super) sums: I,
    pub(super) scale: T,
    pub(super) bias: &'a [T],
    pub(super) s: &'a mut [[T; L]],
    pub(super) v: &'a mut [[T; L]],
    pub(super) total: &'a mut [[T; L]],
}

impl<'a, T: Real, const L: usize, I: Iterator<Item = &'a [[T; L]]>> WithSimd for Activate<'_, T, I, L> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { kind, dim, sums, scale, bias, s, v, total } = self;
        s.fill([T::zero(); L]);
        for sum in sums {
            add(s.as_flattened_mut(), sum.as_flattened());
        }
        for (s, &bias) in s.iter_mut().zip(bias) {
            let sum = *s;
            *s = [bias; L];
            T::add_times(simd, s, scale, &sum);
        }
        for (s, v) in s.chunks_exact(dim).zip(v.chunks_exact_mut(dim)) {
            squash(simd, kind, s, v);
        }
        add(total.as_flattened_mut(), v.as_flattened());
    }
}

/// From the gradient of v to that of s, times `scale`, and of the bias.
pub(super) struct Deactivate<'a, T, const L: usize> {
    pub(super) kind: Squash,
    pub(super) dim: usize,
    pub(super) s: &'a [[T; L]],
    pub(super) dv: &'a [[T; L]],
    pub(super) ds: &'a mut [[T; L]],
    pub(super) dbias: &'a mut [T],
    pub(super) scale: T,
}

impl<T: Real, const L: usize> WithSimd for Deactivate<'_, T, L> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { kind, dim, s, dv, ds, dbias, scale } = self;
        for (s, (dv, ds)) in s.chunks_exact(dim).zip(dv.chunks_exact(dim).zip(ds.chunks_exact_mut(dim))) {
            squash_backward(simd, kind, s, dv, ds);
        }
        for (dbias, ds) in dbias.iter_mut().zip(&*ds) {
            *dbias += ds.iter().copied().sum::<T>();
        }
        for ds in ds.as_flattened_mut() {
            *ds *= scale;
        }
    }
}

/// The gradients of some capsules and their matrices, from one group.
pub(super) struct Weigh<'a, T, const L: usize> {
    pub(super) votes: Votes,
    pub(super) u: &'a [[T; L]],
    pub(super) weight: &'a [T],
    pub(super) terms: Terms<'a, T, L>,
    pub(super) du: &'a mut [[T; L]],
    pub(super) dweight: &'a mut [T],
    pub(super) scratch: &'a mut [[T; L]],
}

impl<T: Real, const L: usize> WithSimd for Weigh<'_, T, L> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { votes, u, weight, terms, du, dweight, scratch } = self;
        if L == 1 {
            let (u, du, scratch) = (u.as_flattened(), du.as_flattened_mut(), scratch.as_flattened_mut());
            for_sizes!(T, votes, |sized| sized.backward_of_sample(simd, [u, weight], &terms, du, dweight, scratch));
        } else {
            for_sizes!(T, votes, |sized| sized.backward(simd, (u, weight), &terms, (du, dweight), scratch));
        }
    }
}

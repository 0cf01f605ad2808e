//! Homogeneous class capsules over slices: a vote is the element-wise product of a capsule and a vector, and nothing is routed.
//!
//! A row of `vectors × dim` values is worked on in blocks of whole capsules that are long enough for the vectors of a CPU, whatever
//! `dim` is. Threads share samples, and the classes of the weight.

use candle_core::{Result, bail};

use super::{
    lanes::vectorised,
    linear::sum_samples,
    options::Squash,
    real::Real,
    scratch::Buffer,
    squash::{squash_capsule, squash_capsule_backward},
    storage::for_each_chunk,
};

/// Homogeneous class capsules: `s_j = Σ_i w_ij ⊙ u_i + bias_j`, `v_j = squash(s_j)`.
///
/// u `[batch, capsules, dim]`, weight `[classes, vectors, dim]`, bias and v `[.., classes, dim]`; gradients have the shapes of their
/// operands. Each vector of a class belongs to `capsules / vectors` capsules that follow one another. After its first passes a plan
/// allocates nothing.
pub struct HomogeneousPlan<T: Real> {
    capsules: usize,
    vectors: usize,
    classes: usize,
    dim: usize,
    kind: Squash,
    /// Sums of the capsules that share a vector, `[batch, vectors, dim]`, and their gradient; empty where none do.
    shared: [Buffer<T>; 2],
    /// s and its gradient.
    s: [Buffer<T>; 2],
}

/// Values of a capsule at most.
const MOST: usize = 256;
/// Values of a block, about.
const BLOCK: usize = 64;

impl<T: Real> HomogeneousPlan<T> {
    /// Errors: shapes that do not fit, or without values; capsules of more than 256 values.
    pub fn new(capsules: usize, weight: [usize; 3], kind: Squash) -> Result<Self> {
        let [classes, vectors, dim] = weight;
        if classes * vectors * dim == 0 || !capsules.is_multiple_of(vectors) || capsules == 0 || dim > MOST {
            bail!("homogeneous capsules: {capsules} capsules and a weight of shape {weight:?} do not fit");
        }
        let none = || [Buffer::empty(), Buffer::empty()];
        Ok(HomogeneousPlan { capsules, vectors, classes, dim, kind, shared: none(), s: none() })
    }

    /// Writes the class capsules v.
    pub fn forward(&mut self, u: &[T], weight: &[T], bias: &[T], v: &mut [T]) {
        let batch = self.check(u, weight, v);
        let &mut HomogeneousPlan { capsules, vectors, classes, dim, kind, ref mut shared, ref mut s } = self;
        let (row, n) = (vectors * dim, classes * dim);
        let [sums, _] = shared;
        if capsules > vectors {
            sums.resize(batch * row);
            for_each_chunk(sums, row, u.len(), |sample, sums| {
                let u = &u[sample * capsules * dim..][..capsules * dim];
                vectorised!(|| {
                    sums.fill(T::zero());
                    for (sum, u) in sums.chunks_exact_mut(dim).zip(u.chunks_exact(capsules / vectors * dim)) {
                        u.chunks_exact(dim).for_each(|u| sum.iter_mut().zip(u).for_each(|(sum, &u)| *sum += u));
                    }
                });
            });
        }
        let u = if capsules > vectors { &sums[..] } else { u };
        let [s, _] = s;
        s.resize(batch * n);
        for_each_chunk(s, n, batch * weight.len(), |sample, s| {
            let u = &u[sample * row..][..row];
            vectorised!(|| {
                s.copy_from_slice(bias);
                for (s, w) in s.chunks_exact_mut(dim).zip(weight.chunks_exact(row)) {
                    add_products(w, u, s);
                }
            });
        });
        let s = s.chunks_exact(dim);
        v.chunks_exact_mut(dim).zip(s).for_each(|(v, s)| squash_capsule(kind, s, v));
    }

    /// Overwrites the gradients of capsules, weight and bias, given that of v, after [`Self::forward`] of the same operands.
    pub fn backward(&mut self, u: &[T], weight: &[T], dv: &[T], du: &mut [T], dweight: &mut [T], dbias: &mut [T]) {
        let batch = self.check(u, weight, dv);
        let &mut HomogeneousPlan { capsules, vectors, classes, dim, kind, ref mut shared, ref mut s } = self;
        let (row, n, work) = (vectors * dim, classes * dim, batch * weight.len());
        let [s, ds] = s;
        assert_eq!(s.len(), batch * n, "a forward pass before");
        ds.resize(batch * n);
        let operands = s.chunks_exact(dim).zip(dv.chunks_exact(dim));
        ds.chunks_exact_mut(dim).zip(operands).for_each(|(ds, (s, dv))| squash_capsule_backward(kind, s, dv, ds));
        sum_samples(ds, dbias);
        let [sums, dsums] = shared;
        let is_shared = capsules > vectors;
        dsums.resize(if is_shared { batch * row } else { 0 });
        let (seen, dseen) = if is_shared { (&sums[..], &mut dsums[..]) } else { (u, &mut *du) };
        for_each_chunk(dseen, row, work, |sample, du| {
            let ds = &ds[sample * n..][..n];
            vectorised!(|| {
                du.fill(T::zero());
                ds.chunks_exact(dim).zip(weight.chunks_exact(row)).for_each(|(ds, w)| add_scaled(ds, w, du));
            });
        });
        for_each_chunk(dweight, row, work, |class, dw| {
            let ds = ds.chunks_exact(dim).skip(class).step_by(classes);
            vectorised!(|| {
                dw.fill(T::zero());
                ds.clone().zip(seen.chunks_exact(row)).for_each(|(ds, u)| add_scaled(ds, u, dw));
            });
        });
        if is_shared {
            let sharing = capsules / vectors * dim;
            for (du, dsum) in du.chunks_exact_mut(sharing).zip(dsums.chunks_exact(dim)) {
                du.chunks_exact_mut(dim).for_each(|du| du.copy_from_slice(dsum));
            }
        }
    }

    /// Samples, after a look at the shapes.
    fn check(&self, u: &[T], weight: &[T], v: &[T]) -> usize {
        let batch = u.len() / (self.capsules * self.dim);
        assert_eq!(weight.len(), self.classes * self.vectors * self.dim, "values of the weight");
        assert_eq!(u.len(), batch * self.capsules * self.dim, "values of the capsules");
        assert_eq!(v.len(), batch * self.classes * self.dim, "values of the class capsules");
        batch
    }

    /// Multiply-adds of the forward and of the backward pass over `batch` samples.
    pub fn work(&self, batch: usize) -> [u64; 2] {
        let forward = (batch * self.classes * self.vectors * self.dim) as u64;
        [forward, 2 * forward]
    }

    /// Values in the buffers after passes over `batch` samples, with a backward pass too where it `is_training`.
    pub fn room(&self, batch: usize, is_training: bool) -> usize {
        let shared = if self.capsules > self.vectors { self.vectors * self.dim } else { 0 };
        batch * (shared + self.classes * self.dim) * if is_training { 2 } else { 1 }
    }
}

/// Values of a block of whole capsules.
#[inline(always)]
fn block(dim: usize) -> usize {
    dim * BLOCK.div_ceil(dim)
}

/// `out += Σ_m a_m ⊙ b_m`, of vectors of as many values as `out` has.
#[inline(always)]
fn add_products<T: Real>(a: &[T], b: &[T], out: &mut [T]) {
    let block = block(out.len());
    let mut sums = [T::zero(); MOST];
    let sums = &mut sums[..block];
    for (a, b) in a.chunks(block).zip(b.chunks(block)) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    for sums in sums.chunks_exact(out.len()) {
        out.iter_mut().zip(sums).for_each(|(out, &sum)| *out += sum);
    }
}

/// `out_m += factor ⊙ x_m` for every vector of as many values as `factor` has.
#[inline(always)]
fn add_scaled<T: Real>(factor: &[T], x: &[T], out: &mut [T]) {
    let block = block(factor.len());
    let mut factors = [T::zero(); MOST];
    let factors = &mut factors[..block];
    factors.chunks_exact_mut(factor.len()).for_each(|factors| factors.copy_from_slice(factor));
    for (out, x) in out.chunks_mut(block).zip(x.chunks(block)) {
        for ((out, &x), &factor) in out.iter_mut().zip(x).zip(factors.iter()) {
            *out += factor * x;
        }
    }
}

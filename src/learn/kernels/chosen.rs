//! The fully connected layer behind a mask: of each sample's capsules one is chosen, and the zeros of the others are not multiplied.

use std::ops::Range;

use super::{
    lanes::{dot, vectorised},
    linear::sum_samples,
    real::Real,
    storage::for_each_chunk,
};

/// A fully connected layer over the chosen one of `classes` capsules of `dim` values; bias `[outputs]`.
///
/// Where each class has weights of its own, weight is `[outputs, classes × dim]`: a layer over all capsules, those that are not
/// chosen being 0. Otherwise it is `[outputs, dim]`. A NaN in a capsule that is not chosen stays there.
#[derive(Clone, Copy)]
pub struct DenseOfChosen {
    pub classes: usize,
    pub dim: usize,
    pub outputs: usize,
    pub is_per_class: bool,
}

/// Rows of the weight whose gradient one task computes.
const ROWS: usize = 64;

impl DenseOfChosen {
    /// Columns of the weight.
    pub fn inputs(self) -> usize {
        if self.is_per_class { self.classes * self.dim } else { self.dim }
    }

    /// Those of a class.
    #[inline(always)]
    fn columns(self, class: u32) -> Range<usize> {
        let first = if self.is_per_class { class as usize * self.dim } else { 0 };
        first..first + self.dim
    }

    /// Where the capsule of a class stands in a sample.
    #[inline(always)]
    fn capsule(self, class: u32) -> Range<usize> {
        class as usize * self.dim..(class as usize + 1) * self.dim
    }

    /// Values of all capsules of a sample.
    #[inline(always)]
    fn sample(self) -> usize {
        self.classes * self.dim
    }

    /// v `[batch, classes, dim]`, the class chosen in each sample; writes y `[batch, outputs]`.
    pub fn forward<T: Real>(self, v: &[T], chosen: &[u32], weight: &[T], bias: &[T], y: &mut [T]) {
        let work = y.len() * self.dim;
        for_each_chunk(y, self.outputs, work, |b, y| {
            let (v, columns) =
                (&v[b * self.sample()..][..self.sample()][self.capsule(chosen[b])], self.columns(chosen[b]));
            vectorised!(|| {
                for ((y, row), &bias) in y.iter_mut().zip(weight.chunks_exact(self.inputs())).zip(bias) {
                    *y = bias + dot(&row[columns.clone()], v);
                }
            });
        });
    }

    /// Writes dv `[batch, classes, dim]`: 0 in the capsules that were not chosen.
    pub fn input_gradient<T: Real>(self, chosen: &[u32], weight: &[T], dy: &[T], dv: &mut [T]) {
        let work = dy.len() * self.dim;
        for_each_chunk(dv, self.sample(), work, |b, dv| {
            let (dy, columns) = (&dy[b * self.outputs..][..self.outputs], self.columns(chosen[b]));
            dv.fill(T::zero());
            let dv = &mut dv[self.capsule(chosen[b])];
            vectorised!(|| {
                for (&dy, row) in dy.iter().zip(weight.chunks_exact(self.inputs())) {
                    add_scaled(dv, dy, &row[columns.clone()]);
                }
            });
        });
    }

    /// Writes dweight and dbias.
    pub fn weight_gradient<T: Real>(self, v: &[T], chosen: &[u32], dy: &[T], dweight: &mut [T], dbias: &mut [T]) {
        for_each_chunk(dweight, ROWS * self.inputs(), dy.len() * self.dim, |chunk, dweight| {
            dweight.fill(T::zero());
            vectorised!(|| {
                for (b, (dy, &class)) in dy.chunks_exact(self.outputs).zip(chosen).enumerate() {
                    let (v, columns) =
                        (&v[b * self.sample()..][..self.sample()][self.capsule(class)], self.columns(class));
                    let rows = dweight.chunks_exact_mut(self.inputs()).zip(&dy[chunk * ROWS..]);
                    rows.for_each(|(row, &dy)| add_scaled(&mut row[columns.clone()], dy, v));
                }
            });
        });
        sum_samples(dy, dbias);
    }
}

/// `out += factor · x`
#[inline(always)]
fn add_scaled<T: Real>(out: &mut [T], factor: T, x: &[T]) {
    out.iter_mut().zip(x).for_each(|(out, &x)| *out += factor * x);
}

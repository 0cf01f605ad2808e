//! The gradients of capsules and matrices, out of the terms of which those of the votes are sums.

use pulp::Simd;

use super::{Votes, contract, piece, pieces};
use crate::learn::kernels::real::Real;

/// The terms of which the gradient of every vote is a sum, `dû_ij = Σ_m factor_mij · x_mj`, of one group of samples. The first has
/// the factor 1.
pub(in crate::learn::kernels) struct Terms<'a, T, const L: usize> {
    /// The factors of two terms an iteration but the first: in each slice, `[capsules, classes]` every `stride`.
    pub(in crate::learn::kernels) factors: [&'a [[T; L]]; 2],
    pub(in crate::learn::kernels) stride: usize,
    /// `[terms, n]`
    pub(in crate::learn::kernels) x: &'a [[T; L]],
    /// The same, `[terms, samples, n]`.
    pub(in crate::learn::kernels) rows: &'a [T],
}

impl<T, const L: usize> Terms<'_, T, L> {
    /// Of term m, from 1 on, the factors from `at` on.
    #[inline(always)]
    pub(in crate::learn::kernels) fn factors(&self, m: usize, at: usize) -> &[[T; L]] {
        &self.factors[(m - 1) % 2][(m - 1) / 2 * self.stride + at..]
    }
}

impl Votes {
    /// Of one group of samples: writes the gradients of the capsules, adds those of the matrices.
    #[inline(always)]
    pub(in crate::learn::kernels) fn backward<S: Simd, T: Real, const L: usize>(
        &self,
        simd: S,
        (u, weight): (&[[T; L]], &[T]),
        terms: &Terms<T, L>,
        (du, dweight): (&mut [[T; L]], &mut [T]),
        scratch: &mut [[T; L]],
    ) {
        if self.is_factored() {
            self.backward_factored(simd, (u, weight), terms, (du, dweight), scratch)
        } else {
            self.backward_votes(simd, (u, weight), terms, (du, dweight))
        }
    }

    #[inline(always)]
    fn backward_votes<S: Simd, T: Real, const L: usize>(
        &self,
        simd: S,
        (u, weight): (&[[T; L]], &[T]),
        terms: &Terms<T, L>,
        (du, dweight): (&mut [[T; L]], &mut [T]),
    ) {
        let Votes { sharing, in_dim, classes, dim, .. } = *self;
        let columns = self.n();
        let count = terms.x.len() / columns;
        for (i, (u, du)) in u.chunks_exact(in_dim).zip(du.chunks_exact_mut(in_dim)).enumerate() {
            let at = i / sharing * self.matrix();
            let (weight, dweight) = (&weight[at..][..self.matrix()], &mut dweight[at..][..self.matrix()]);
            du.fill([T::zero(); L]);
            for j in 0..classes {
                pieces!(j * dim..(j + 1) * dim, [16, 8, 1], |n, W| {
                    // Twice: a sample in each lane for the capsule's gradient, a value of the vote in each lane for the matrix's.
                    let mut dvotes: [[T; L]; W] = *piece(terms.x, n);
                    for m in 1..count {
                        let (x, factor) =
                            (piece::<_, W>(terms.x, m * columns + n), &terms.factors(m, i * classes + j)[0]);
                        for t in 0..W {
                            T::add_product(simd, &mut dvotes[t], factor, &x[t]);
                        }
                    }
                    contract(simd, du, &dvotes, weight, [columns, n]);
                    let row = |m: usize, sample: usize| piece::<T, W>(terms.rows, (m * L + sample) * columns + n);
                    let mut rows = [[T::zero(); W]; L];
                    for (sample, sum) in rows.iter_mut().enumerate() {
                        *sum = *row(0, sample);
                    }
                    for m in 1..count {
                        let factor = &terms.factors(m, i * classes + j)[0];
                        for sample in 0..L {
                            T::add_times(simd, &mut rows[sample], factor[sample], row(m, sample));
                        }
                    }
                    for (u, dweight) in u.iter().zip(dweight.chunks_exact_mut(columns)) {
                        let dweight: &mut [T; W] = dweight[n..].first_chunk_mut().expect("a piece inside its row");
                        let mut sum = *dweight;
                        for (&u, row) in u.iter().zip(&rows) {
                            T::add_times(simd, &mut sum, u, row);
                        }
                        *dweight = sum;
                    }
                });
            }
        }
    }

    #[inline(always)]
    fn backward_factored<S: Simd, T: Real, const L: usize>(
        &self,
        simd: S,
        (u, weight): (&[[T; L]], &[T]),
        terms: &Terms<T, L>,
        (du, dweight): (&mut [[T; L]], &mut [T]),
        scratch: &mut [[T; L]],
    ) {
        let Votes { sharing, in_dim, classes, .. } = *self;
        let (columns, len) = (self.n(), classes * in_dim);
        let count = terms.x.len() / columns;
        let (total, scratch) = scratch.split_at_mut(in_dim);
        let (products, sums) = scratch.split_at_mut(count * len);
        let sums = &mut sums[..count * len];
        let matrices = u.chunks_exact(sharing * in_dim).zip(du.chunks_exact_mut(sharing * in_dim));
        let weights = weight.chunks_exact(self.matrix()).zip(dweight.chunks_exact_mut(self.matrix()));
        for (matrix, ((u, du), (weight, dweight))) in matrices.zip(weights).enumerate() {
            for (x, products) in terms.x.chunks_exact(columns).zip(products.chunks_exact_mut(len)) {
                self.products(simd, x, weight, products);
            }
            self.total(simd, u, total);
            sums[..len].chunks_exact_mut(in_dim).for_each(|sums| sums.copy_from_slice(total));
            sums[len..].fill([T::zero(); L]);
            self.total(simd, &products[..len], total);
            for m in 1..count {
                let factors = &terms.factors(m, matrix * sharing * classes)[..sharing * classes];
                self.add_outer(simd, factors, u, &mut sums[m * len..][..len]);
            }
            self.capsule_gradients(simd, matrix * sharing, total, products, terms, du);
            self.add_matrix_gradient(simd, sums, terms, dweight);
        }
    }

    /// Of the capsules of one matrix, from capsule `first` on: the first term's gradient, `total`, which is theirs together, and those
    /// of the other terms, by the products of their x and the matrix.
    #[inline(always)]
    fn capsule_gradients<S: Simd, T: Real, const L: usize>(
        &self,
        simd: S,
        first: usize,
        total: &[[T; L]],
        products: &[[T; L]],
        terms: &Terms<T, L>,
        du: &mut [[T; L]],
    ) {
        let Votes { in_dim, classes, .. } = *self;
        let len = classes * in_dim;
        let count = terms.x.len() / self.n();
        for (i, du) in du.chunks_exact_mut(in_dim).enumerate() {
            du.copy_from_slice(total);
            for m in 1..count {
                let factors = &terms.factors(m, (first + i) * classes)[..classes];
                for (k, du) in du.iter_mut().enumerate() {
                    let mut sum = *du;
                    for (factor, products) in factors.iter().zip(products[m * len..][..len].chunks_exact(in_dim)) {
                        T::add_product(simd, &mut sum, factor, &products[k]);
                    }
                    *du = sum;
                }
            }
        }
    }

    /// Of one matrix: `sums [terms, classes, in_dim]` times each term's x.
    #[inline(always)]
    fn add_matrix_gradient<S: Simd, T: Real, const L: usize>(
        &self,
        simd: S,
        sums: &[[T; L]],
        terms: &Terms<T, L>,
        dweight: &mut [T],
    ) {
        let Votes { in_dim, classes, dim, .. } = *self;
        let (columns, len) = (self.n(), classes * in_dim);
        let count = terms.x.len() / columns;
        for j in 0..classes {
            pieces!(0..in_dim, [8, 1], |k, K| {
                pieces!(j * dim..(j + 1) * dim, [16, 8, 1], |n, W| {
                    let mut block: [[T; W]; K] = std::array::from_fn(|row| *piece(dweight, (k + row) * columns + n));
                    for m in 0..count {
                        let factors = piece::<_, K>(sums, m * len + j * in_dim + k);
                        let rows = terms.rows[m * L * columns..].chunks_exact(columns).take(L);
                        for (sample, x) in rows.enumerate() {
                            let x = piece::<T, W>(x, n);
                            for row in 0..K {
                                T::add_times(simd, &mut block[row], factors[row][sample], x);
                            }
                        }
                    }
                    for row in 0..K {
                        dweight[(k + row) * columns + n..][..W].copy_from_slice(&block[row]);
                    }
                });
            });
        }
    }
}

//! Votes of the primary capsules for the class capsules, of one sample in each lane.
//!
//! Votes are never stored: a sweep over the capsules makes them anew, which costs less than moving them between cache and memory.
//! What a sweep needs of a vote is its product with a vector of its class, and its share of a sum over capsules. Where capsules
//! share a matrix, both can be had without the votes: `û·x = u·(W x)` and `Σ c û = (Σ c u) W`, so that the matrix is multiplied
//! once for all of them.

mod backward;

use candle_core::{Result, bail};
use pulp::Simd;

use super::real::Real;
pub(super) use backward::Terms;

/// `û_i = u_i · weight[i div sharing]`: u_i `[in_dim]`, weight `[matrices, in_dim, n]`, û_i `[n]`, `n = classes × dim`.
#[derive(Clone, Copy)]
pub(super) struct Votes {
    pub(super) matrices: usize,
    /// Capsules, one after the other, that share a matrix.
    pub(super) sharing: usize,
    pub(super) in_dim: usize,
    pub(super) classes: usize,
    pub(super) dim: usize,
}

/// Capsules whose factors are found before their share of the sums is added, which then are loaded and stored once for all.
const BLOCK: usize = 4;

/// Runs `$body` for pieces of `$range`, `$n` being where one starts and the constant `$W` its width: of the widths the first that
/// is left.
macro_rules! pieces {
    ($range:expr, $widths:tt, |$n:ident, $W:ident| $body:expr) => {{
        let range: std::ops::Range<usize> = $range;
        let mut $n = range.start;
        pieces!(@each range $widths $n $W $body);
    }};
    (@each $range:ident [$($width:literal),*] $n:ident $W:ident $body:expr) => {
        $({
            const $W: usize = $width;
            while $n + $W <= $range.end {
                $body;
                $n += $W;
            }
        })*
    };
}
pub(super) use pieces;

/// `W` values of a row.
#[inline(always)]
pub(super) fn piece<T, const W: usize>(row: &[T], start: usize) -> &[T; W] {
    row[start..].first_chunk().expect("a piece inside its row")
}

/// `out += y · weight[.., n..n + W]`, y `[in_dim]`, weight `[in_dim, columns]`.
#[inline(always)]
fn expand<S: Simd, T: Real, const L: usize, const W: usize>(
    simd: S,
    out: &mut [[T; L]; W],
    y: &[[T; L]],
    weight: &[T],
    [columns, n]: [usize; 2],
) {
    let mut sums = *out;
    for (k, y) in y.iter().enumerate() {
        let row = piece::<T, W>(weight, k * columns + n);
        for t in 0..W {
            T::add_times(simd, &mut sums[t], row[t], y);
        }
    }
    *out = sums;
}

/// `out += weight[.., n..n + W] · x`, out `[in_dim]`, weight `[in_dim, columns]`.
#[inline(always)]
fn contract<S: Simd, T: Real, const L: usize, const W: usize>(
    simd: S,
    out: &mut [[T; L]],
    x: &[[T; L]; W],
    weight: &[T],
    [columns, n]: [usize; 2],
) {
    for (k, out) in out.iter_mut().enumerate() {
        let row = piece::<T, W>(weight, k * columns + n);
        let mut sum = *out;
        for t in 0..W {
            T::add_times(simd, &mut sum, row[t], &x[t]);
        }
        *out = sum;
    }
}

/// What becomes of the products of a capsule's votes.
pub(super) trait Couple<T, const L: usize> {
    /// Turns the products of capsule i, one for each class, into the factors of its votes.
    fn couple<S: Simd>(&mut self, simd: S, i: usize, products: &mut [[T; L]]);
}

impl Votes {
    pub(super) fn new(u: &[usize], weight: &[usize], bias: &[usize]) -> Result<Self> {
        match (u, weight, bias) {
            (&[_, capsules, in_dim], &[matrices, weight_dim, n], &[classes, dim])
                if in_dim == weight_dim
                    && n == classes * dim
                    && matrices > 0
                    && capsules % matrices == 0
                    && capsules * in_dim * n > 0 =>
            {
                Ok(Votes { matrices, sharing: capsules / matrices, in_dim, classes, dim })
            }
            _ => bail!("class_capsules: capsules {u:?}, matrices {weight:?} and bias {bias:?} do not fit"),
        }
    }

    #[inline(always)]
    pub(super) fn n(&self) -> usize {
        self.classes * self.dim
    }

    /// Values of one matrix.
    #[inline(always)]
    pub(super) fn matrix(&self) -> usize {
        self.in_dim * self.n()
    }

    /// Whether capsules share their matrix often enough for a sweep to do without the votes.
    pub(super) fn is_factored(&self) -> bool {
        let Votes { sharing, in_dim, classes, .. } = *self;
        let (direct, factored) = (self.matrix() + 2 * self.n(), 2 * classes * in_dim);
        sharing * direct > sharing * factored + 2 * self.matrix()
    }

    /// Multiply-adds of a sweep over all capsules, a sample, with `L` samples in lanes; with one, votes are kept.
    pub(super) fn work<const L: usize>(&self) -> usize {
        let Votes { matrices, sharing, in_dim, classes, .. } = *self;
        if L == 1 {
            matrices * sharing * 2 * self.n()
        } else if self.is_factored() {
            matrices * (2 * self.matrix() + sharing * 2 * classes * in_dim)
        } else {
            matrices * sharing * (self.matrix() + 2 * self.n())
        }
    }

    /// Multiply-adds of the first iteration's sum, likewise.
    pub(super) fn sum_work<const L: usize>(&self) -> usize {
        if L == 1 { self.matrices * self.sharing * (self.matrix() + self.n()) } else { self.matrices * self.matrix() }
    }

    /// Multiply-adds of the gradients of capsules and matrices with this many terms, likewise.
    pub(super) fn backward_work<const L: usize>(&self, terms: usize) -> usize {
        let Votes { matrices, sharing, in_dim, classes, .. } = *self;
        if L == 1 {
            matrices * sharing * (2 * self.matrix() + (terms - 1) * self.n())
        } else if self.is_factored() {
            matrices * (2 * terms * self.matrix() + sharing * 2 * (terms - 1) * classes * in_dim)
        } else {
            matrices * sharing * (2 * self.matrix() + 2 * (terms - 1) * self.n())
        }
    }

    /// Lanes that a call needs to work with.
    pub(super) fn scratch(&self, terms: usize) -> usize {
        let products = self.classes * self.in_dim;
        BLOCK * self.classes + (2 * terms * products + self.in_dim).max(self.n())
    }

    /// `sum += Σ_i û_i`, of u `[capsules, in_dim]` and their matrices.
    #[inline(always)]
    pub(super) fn sum<S: Simd, T: Real, const L: usize>(
        &self,
        simd: S,
        u: &[[T; L]],
        weight: &[T],
        sum: &mut [[T; L]],
        scratch: &mut [[T; L]],
    ) {
        let total = &mut scratch[..self.in_dim];
        for (u, weight) in u.chunks_exact(self.sharing * self.in_dim).zip(weight.chunks_exact(self.matrix())) {
            let u = if self.sharing == 1 { u } else { self.total(simd, u, total) };
            pieces!(0..self.n(), [16, 8, 1], |n, W| expand::<_, T, L, W>(
                simd,
                sum[n..].first_chunk_mut().expect("a piece of the sum"),
                u,
                weight,
                [self.n(), n]
            ));
        }
    }

    /// `Σ_i u_i`
    #[inline(always)]
    fn total<'a, S: Simd, T: Real, const L: usize>(
        &self,
        simd: S,
        u: &[[T; L]],
        total: &'a mut [[T; L]],
    ) -> &'a [[T; L]] {
        total.fill([T::zero(); L]);
        for u in u.chunks_exact(self.in_dim) {
            for (total, u) in total.iter_mut().zip(u) {
                T::add_times(simd, total, T::one(), u);
            }
        }
        total
    }

    /// For each capsule i, in their order, the products `a_j = û_ij · x_j` become factors by `couple`, with which the votes are
    /// added: `sum_j += a_j û_ij`. u `[capsules, in_dim]`, x and sum `[n]`.
    #[inline(always)]
    pub(super) fn sweep<S: Simd, T: Real, const L: usize>(
        &self,
        simd: S,
        [u, x]: [&[[T; L]]; 2],
        weight: &[T],
        sum: &mut [[T; L]],
        scratch: &mut [[T; L]],
        couple: &mut impl Couple<T, L>,
    ) {
        if self.is_factored() {
            self.sweep_factored(simd, [u, x], weight, sum, scratch, couple)
        } else {
            self.sweep_votes(simd, [u, x], weight, sum, scratch, couple)
        }
    }

    #[inline(always)]
    fn sweep_votes<S: Simd, T: Real, const L: usize>(
        &self,
        simd: S,
        [u, x]: [&[[T; L]]; 2],
        weight: &[T],
        sum: &mut [[T; L]],
        scratch: &mut [[T; L]],
        couple: &mut impl Couple<T, L>,
    ) {
        let Votes { sharing, in_dim, classes, dim, .. } = *self;
        let (factors, votes) = scratch.split_at_mut(classes);
        let votes = &mut votes[..self.n()];
        for (i, u) in u.chunks_exact(in_dim).enumerate() {
            let weight = &weight[i / sharing * self.matrix()..][..self.matrix()];
            for (j, factor) in factors.iter_mut().enumerate() {
                let mut product = [T::zero(); L];
                pieces!(j * dim..(j + 1) * dim, [16, 8, 1], |n, W| {
                    let mut vote = [[T::zero(); L]; W];
                    expand(simd, &mut vote, u, weight, [self.n(), n]);
                    let x = piece::<_, W>(x, n);
                    for t in 0..W {
                        T::add_product(simd, &mut product, &vote[t], &x[t]);
                    }
                    votes[n..][..W].copy_from_slice(&vote);
                });
                *factor = product;
            }
            couple.couple(simd, i, factors);
            for (&factor, (sum, votes)) in factors.iter().zip(sum.chunks_exact_mut(dim).zip(votes.chunks_exact(dim))) {
                for (sum, vote) in sum.iter_mut().zip(votes) {
                    T::add_product(simd, sum, &factor, vote);
                }
            }
        }
    }

    #[inline(always)]
    fn sweep_factored<S: Simd, T: Real, const L: usize>(
        &self,
        simd: S,
        [u, x]: [&[[T; L]]; 2],
        weight: &[T],
        sum: &mut [[T; L]],
        scratch: &mut [[T; L]],
        couple: &mut impl Couple<T, L>,
    ) {
        let Votes { sharing, in_dim, classes, .. } = *self;
        let (factors, scratch) = scratch.split_at_mut(BLOCK * classes);
        let (products, scratch) = scratch.split_at_mut(classes * in_dim);
        let sums = &mut scratch[..classes * in_dim];
        let matrices = u.chunks_exact(sharing * in_dim).zip(weight.chunks_exact(self.matrix()));
        for (m, (u, weight)) in matrices.enumerate() {
            self.products(simd, x, weight, products);
            sums.fill([T::zero(); L]);
            for (block, u) in u.chunks(BLOCK * in_dim).enumerate() {
                for (i, (u, factors)) in u.chunks_exact(in_dim).zip(factors.chunks_exact_mut(classes)).enumerate() {
                    for (factor, products) in factors.iter_mut().zip(products.chunks_exact(in_dim)) {
                        let mut sum = [T::zero(); L];
                        for (u, product) in u.iter().zip(products) {
                            T::add_product(simd, &mut sum, u, product);
                        }
                        *factor = sum;
                    }
                    couple.couple(simd, m * sharing + block * BLOCK + i, factors);
                }
                self.add_outer(simd, factors, u, sums);
            }
            self.add_expanded(simd, sums, weight, sum);
        }
    }

    /// `products_j = weight_j · x_j`, products `[classes, in_dim]`.
    #[inline(always)]
    fn products<S: Simd, T: Real, const L: usize>(&self, simd: S, x: &[[T; L]], weight: &[T], products: &mut [[T; L]]) {
        products.fill([T::zero(); L]);
        for (j, products) in products.chunks_exact_mut(self.in_dim).enumerate() {
            pieces!(j * self.dim..(j + 1) * self.dim, [16, 8, 1], |n, W| contract::<_, T, L, W>(
                simd,
                products,
                piece(x, n),
                weight,
                [self.n(), n]
            ));
        }
    }

    /// `sums_j += Σ factor_j u` over some capsules: factors `[capsules, classes]`, u `[capsules, in_dim]`, sums `[classes, in_dim]`.
    #[inline(always)]
    fn add_outer<S: Simd, T: Real, const L: usize>(
        &self,
        simd: S,
        factors: &[[T; L]],
        u: &[[T; L]],
        sums: &mut [[T; L]],
    ) {
        for (j, sums) in sums.chunks_exact_mut(self.in_dim).enumerate() {
            for (k, sum) in sums.iter_mut().enumerate() {
                let mut total = *sum;
                for (factors, u) in factors.chunks_exact(self.classes).zip(u.chunks_exact(self.in_dim)) {
                    T::add_product(simd, &mut total, &factors[j], &u[k]);
                }
                *sum = total;
            }
        }
    }

    /// `sum_j += sums_j · weight_j`, sums `[classes, in_dim]`.
    #[inline(always)]
    fn add_expanded<S: Simd, T: Real, const L: usize>(
        &self,
        simd: S,
        sums: &[[T; L]],
        weight: &[T],
        sum: &mut [[T; L]],
    ) {
        for (j, sums) in sums.chunks_exact(self.in_dim).enumerate() {
            pieces!(j * self.dim..(j + 1) * self.dim, [16, 8, 1], |n, W| expand::<_, T, L, W>(
                simd,
                sum[n..].first_chunk_mut().expect("a piece of the sum"),
                sums,
                weight,
                [self.n(), n]
            ));
        }
    }
}

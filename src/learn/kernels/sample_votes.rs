//! Votes of few samples: of one sample at a time, with the values of a vote in the lanes, and kept once made. The matrices, which
//! are read for few samples, are what takes time.

use pulp::Simd;

use super::{
    real::Real,
    votes::{Couple, Terms, Votes, piece, pieces},
};

/// Values computed with at a time.
const WIDTH: usize = 16;

/// `W` values of a row, to write.
#[inline(always)]
fn piece_mut<T, const W: usize>(row: &mut [T], start: usize) -> &mut [T; W] {
    row[start..].first_chunk_mut().expect("a piece inside its row")
}

/// `sum += factor · x`
#[inline(always)]
fn add_times<S: Simd, T: Real>(simd: S, sum: &mut [T], factor: T, x: &[T]) {
    pieces!(0..x.len(), [16, 1], |n, W| T::add_times::<S, W>(simd, piece_mut(sum, n), factor, piece(x, n)));
}

/// `Σ a·b`, in interleaved sums.
#[inline(always)]
fn dot<S: Simd, T: Real>(simd: S, a: &[T], b: &[T]) -> T {
    let mut sums = [T::zero(); WIDTH];
    let mut rest = T::zero();
    pieces!(0..a.len(), [16, 1], |n, W| {
        let (a, b) = (piece::<T, W>(a, n), piece::<T, W>(b, n));
        match sums.first_chunk_mut::<W>() {
            Some(sums) if W == WIDTH => T::add_product(simd, sums, a, b),
            _ => rest += a[0] * b[0],
        }
    });
    let mut width = WIDTH / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0] + rest
}

impl Votes {
    /// Writes the votes, `sum += Σ_i û_i`, of u `[capsules, in_dim]` and their matrices.
    #[inline(always)]
    pub(super) fn sum_of_sample<S: Simd, T: Real>(
        &self,
        simd: S,
        u: &[T],
        weight: &[T],
        sum: &mut [T],
        votes: &mut [T],
    ) {
        let columns = self.n();
        for (i, (u, votes)) in u.chunks_exact(self.in_dim).zip(votes.chunks_exact_mut(columns)).enumerate() {
            let weight = &weight[i / self.sharing * self.matrix()..][..self.matrix()];
            pieces!(0..columns, [80, 16, 1], |n, W| {
                let mut vote = [T::zero(); W];
                for (k, &u) in u.iter().enumerate() {
                    T::add_times(simd, &mut vote, u, piece(weight, k * columns + n));
                }
                *piece_mut(votes, n) = vote;
                T::add_times(simd, piece_mut(sum, n), T::one(), &vote);
            });
        }
    }

    /// See [`Votes::sweep`]; of votes that were made.
    #[inline(always)]
    pub(super) fn sweep_of_sample<S: Simd, T: Real, const L: usize>(
        &self,
        simd: S,
        [votes, x]: [&[T]; 2],
        sum: &mut [T],
        scratch: &mut [[T; L]],
        couple: &mut impl Couple<T, L>,
    ) {
        let dim = self.dim;
        let factors = &mut scratch[..self.classes];
        for (i, votes) in votes.chunks_exact(self.n()).enumerate() {
            for (factor, (vote, x)) in factors.iter_mut().zip(votes.chunks_exact(dim).zip(x.chunks_exact(dim))) {
                *factor = [dot(simd, vote, x); L];
            }
            couple.couple(simd, i, factors);
            for (factor, (sum, vote)) in factors.iter().zip(sum.chunks_exact_mut(dim).zip(votes.chunks_exact(dim))) {
                add_times(simd, sum, factor[0], vote);
            }
        }
    }

    /// See [`Votes::backward`].
    #[inline(always)]
    pub(super) fn backward_of_sample<S: Simd, T: Real, const L: usize>(
        &self,
        simd: S,
        [u, weight]: [&[T]; 2],
        terms: &Terms<T, L>,
        du: &mut [T],
        dweight: &mut [T],
        scratch: &mut [T],
    ) {
        let Votes { in_dim, classes, dim, .. } = *self;
        let columns = self.n();
        let dvotes = &mut scratch[..columns];
        for (i, (u, du)) in u.chunks_exact(in_dim).zip(du.chunks_exact_mut(in_dim)).enumerate() {
            dvotes.copy_from_slice(&terms.rows[..columns]);
            for (m, x) in terms.rows.chunks_exact(columns).enumerate().skip(1) {
                let factors = &terms.factors(m, i * classes)[..classes];
                for (factor, (dvote, x)) in factors.iter().zip(dvotes.chunks_exact_mut(dim).zip(x.chunks_exact(dim))) {
                    add_times(simd, dvote, factor[0], x);
                }
            }
            let at = i / self.sharing * self.matrix();
            let rows = weight[at..].chunks_exact(columns).zip(dweight[at..].chunks_exact_mut(columns));
            for ((&u, du), (weight, dweight)) in u.iter().zip(du).zip(rows) {
                *du = dot(simd, dvotes, weight);
                add_times(simd, dweight, u, dvotes);
            }
        }
    }
}

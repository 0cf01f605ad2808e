//! Votes of the primary capsules for the class capsules, of a few samples at a time.

use std::ops::Range;

use candle_core::{Result, bail};

use super::{
    lanes::{add_scaled, combine, dot},
    storage::Real,
};

/// `û[b,i] = u[b,i] · weight[i div (capsules/matrices)]`: u `[samples, capsules, in_dim]`, weight `[matrices, in_dim, n]`, û
/// `[samples, capsules, n]`, `n = classes × class_dim`.
#[derive(Clone, Copy)]
pub(super) struct Votes {
    pub(super) capsules: usize,
    pub(super) in_dim: usize,
    pub(super) n: usize,
    /// Capsules, one after the other, that share a matrix.
    sharing: usize,
}

/// All capsules, block by block: the matrices of a block stay in cache for all samples.
fn blocks(capsules: usize) -> impl Iterator<Item = Range<usize>> {
    const BLOCK: usize = 32;
    (0..capsules).step_by(BLOCK).map(move |start| start..(start + BLOCK).min(capsules))
}

impl Votes {
    pub(super) fn new(u: &[usize], weight: &[usize]) -> Result<Self> {
        match (u, weight) {
            (&[_, capsules, in_dim], &[matrices, weight_dim, n])
                if in_dim == weight_dim && matrices > 0 && capsules % matrices == 0 && capsules * in_dim * n > 0 =>
            {
                Ok(Votes { capsules, in_dim, n, sharing: capsules / matrices })
            }
            _ => bail!("class_capsules: capsules {u:?} and matrices {weight:?} do not fit"),
        }
    }

    /// Values of one sample's votes.
    pub(super) fn len(&self) -> usize {
        self.capsules * self.n
    }

    /// Writes the votes.
    #[inline(always)]
    pub(super) fn forward<T: Real>(&self, u: &[T], weight: &[T], votes: &mut [T]) {
        let &Votes { capsules, in_dim, n, sharing } = self;
        for block in blocks(capsules) {
            for (votes, u) in votes.chunks_exact_mut(capsules * n).zip(u.chunks_exact(capsules * in_dim)) {
                for i in block.clone() {
                    let weight = &weight[i / sharing * in_dim * n..][..in_dim * n];
                    combine(&mut votes[i * n..][..n], &u[i * in_dim..][..in_dim], weight);
                }
            }
        }
    }

    /// Writes the gradients of the capsules, adds those of the matrices.
    #[inline(always)]
    pub(super) fn backward<T: Real>(&self, u: &[T], weight: &[T], dvotes: &[T], du: &mut [T], dweight: &mut [T]) {
        let &Votes { capsules, in_dim, n, sharing } = self;
        for block in blocks(capsules) {
            let samples = u.chunks_exact(capsules * in_dim).zip(du.chunks_exact_mut(capsules * in_dim));
            for ((u, du), dvotes) in samples.zip(dvotes.chunks_exact(capsules * n)) {
                for i in block.clone() {
                    let at = i / sharing * in_dim * n;
                    let (weight, dweight) = (&weight[at..][..in_dim * n], &mut dweight[at..][..in_dim * n]);
                    let (u, du) = (&u[i * in_dim..][..in_dim], &mut du[i * in_dim..][..in_dim]);
                    let dvotes = &dvotes[i * n..][..n];
                    let rows = weight.chunks_exact(n).zip(dweight.chunks_exact_mut(n));
                    for ((weight, dweight), (du, &u)) in rows.zip(du.iter_mut().zip(u)) {
                        *du = dot(dvotes, weight);
                        add_scaled(dweight, u, dvotes);
                    }
                }
            }
        }
    }
}

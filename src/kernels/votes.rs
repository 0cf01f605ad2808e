//! Votes of the primary capsules for the class capsules.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::{
    lanes::{add_scaled, dot, vectorised},
    reference,
    storage::{Real, cpu_values, for_each_chunk, for_real, is_fast, values},
};

/// `û[b,i] = u[b,i] · weight[i div (capsules/matrices)]`: u `[batch, capsules, in_dim]`, weight `[matrices, in_dim, n]`; gives
/// `[batch, capsules, n]` with `n = classes × class_dim`.
///
/// With one matrix per capsule nothing is shared; with one per capsule type, the capsules of a type follow one another
/// and share it.
///
/// Errors: shapes that do not fit, capsules that are no multiple of the matrices.
pub fn votes(u: &Tensor, weight: &Tensor) -> Result<Tensor> {
    Sizes::new(u.dims(), weight.dims())?;
    if is_fast(u) { u.contiguous()?.apply_op2(&weight.contiguous()?, Votes) } else { reference::votes(u, weight) }
}

struct Votes;

/// Samples one task computes: they reuse the matrices of a block while those are in cache.
const CHUNK: usize = 16;
/// Capsules, one after the other in memory, that are computed for all samples of a chunk before the next block's turn.
const BLOCK: usize = 32;

/// All capsules, block by block.
fn blocks(capsules: usize) -> impl Iterator<Item = Range<usize>> {
    (0..capsules).step_by(BLOCK).map(move |start| start..(start + BLOCK).min(capsules))
}

struct Sizes {
    capsules: usize,
    in_dim: usize,
    n: usize,
    /// Capsules that share a matrix.
    sharing: usize,
}

impl Sizes {
    fn new(u: &[usize], weight: &[usize]) -> Result<Self> {
        match (u, weight) {
            (&[_, capsules, in_dim], &[matrices, weight_dim, n])
                if in_dim == weight_dim && matrices > 0 && capsules % matrices == 0 && in_dim * n > 0 =>
            {
                Ok(Sizes { capsules, in_dim, n, sharing: capsules / matrices })
            }
            _ => bail!("votes: capsules {u:?} and matrices {weight:?} do not fit"),
        }
    }

    fn forward<T: Real>(&self, u: &[T], weight: &[T]) -> Vec<T> {
        let &Sizes { capsules, in_dim, n, sharing } = self;
        let mut votes = vec![T::zero(); u.len() / in_dim * n];
        for_each_chunk(&mut votes, CHUNK * capsules * n, u.len() * n, |chunk, votes| {
            let u = &u[chunk * CHUNK * capsules * in_dim..];
            vectorised!(|| {
                for block in blocks(capsules) {
                    for (votes, u) in votes.chunks_mut(capsules * n).zip(u.chunks(capsules * in_dim)) {
                        for i in block.clone() {
                            let weight = &weight[i / sharing * in_dim * n..][..in_dim * n];
                            let votes = &mut votes[i * n..][..n];
                            for (weight, &u) in weight.chunks_exact(n).zip(&u[i * in_dim..][..in_dim]) {
                                add_scaled(votes, u, weight);
                            }
                        }
                    }
                }
            });
        });
        votes
    }

    /// The gradients of capsules and matrices.
    fn backward<T: Real>(&self, u: &[T], weight: &[T], dvotes: &[T]) -> [Vec<T>; 2] {
        let &Sizes { capsules, in_dim, n, sharing } = self;
        let mut du = vec![T::zero(); u.len()];
        for_each_chunk(&mut du, CHUNK * capsules * in_dim, u.len() * n, |chunk, du| {
            let dvotes = &dvotes[chunk * CHUNK * capsules * n..];
            vectorised!(|| {
                for block in blocks(capsules) {
                    for (du, dvotes) in du.chunks_mut(capsules * in_dim).zip(dvotes.chunks(capsules * n)) {
                        for i in block.clone() {
                            let weight = &weight[i / sharing * in_dim * n..][..in_dim * n];
                            let dvotes = &dvotes[i * n..][..n];
                            for (weight, du) in weight.chunks_exact(n).zip(&mut du[i * in_dim..][..in_dim]) {
                                *du = dot(dvotes, weight);
                            }
                        }
                    }
                }
            });
        });
        let mut dweight = vec![T::zero(); weight.len()];
        // A task owns the matrices of a block of capsules, or one matrix if that serves more of them.
        let matrices = (BLOCK / sharing).max(1);
        for_each_chunk(&mut dweight, matrices * in_dim * n, u.len() * n, |chunk, dweight| {
            let first = chunk * matrices;
            let owned = first * sharing..(first * sharing + dweight.len() / (in_dim * n) * sharing);
            vectorised!(|| {
                for (u, dvotes) in u.chunks(capsules * in_dim).zip(dvotes.chunks(capsules * n)) {
                    for i in owned.clone() {
                        let dweight = &mut dweight[(i / sharing - first) * in_dim * n..][..in_dim * n];
                        let dvotes = &dvotes[i * n..][..n];
                        for (dweight, &u) in dweight.chunks_exact_mut(n).zip(&u[i * in_dim..][..in_dim]) {
                            add_scaled(dweight, u, dvotes);
                        }
                    }
                }
            });
        });
        [du, dweight]
    }
}

impl CustomOp2 for Votes {
    fn name(&self) -> &'static str {
        "votes"
    }

    fn cpu_fwd(&self, u: &CpuStorage, lu: &Layout, weight: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::new(lu.dims(), lw.dims())?;
        let shape = Shape::from((lu.dims()[0], sizes.capsules, sizes.n));
        for_real!(candle_core::backend::BackendStorage::dtype(u), T => {
            let votes = sizes.forward::<T>(values(u, lu)?, values(weight, lw)?);
            Ok((candle_core::WithDType::to_cpu_storage_owned(votes), shape))
        })
    }

    fn bwd(
        &self,
        u: &Tensor,
        weight: &Tensor,
        _votes: &Tensor,
        dvotes: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let sizes = Sizes::new(u.dims(), weight.dims())?;
        let dvotes = dvotes.contiguous()?;
        let ((su, lu), (sw, lw), (sd, ld)) =
            (u.storage_and_layout(), weight.storage_and_layout(), dvotes.storage_and_layout());
        for_real!(u.dtype(), T => {
            let [du, dweight] = sizes.backward::<T>(cpu_values(&su, lu)?, cpu_values(&sw, lw)?, cpu_values(&sd, ld)?);
            Ok((
                Some(Tensor::from_vec(du, u.shape(), u.device())?),
                Some(Tensor::from_vec(dweight, weight.shape(), u.device())?),
            ))
        })
    }
}

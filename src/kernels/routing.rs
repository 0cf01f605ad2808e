//! Dynamic routing by agreement, sample by sample, so that a sample's votes stay in cache through all iterations.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, WithDType, bail};

use super::{
    lanes::{add_scaled, dot, vectorised},
    reference,
    squash::{squash_capsule, squash_capsule_backward},
    storage::{Real, cpu_values, for_each_chunk, for_real, is_fast, values},
};
use crate::model::config::Squash;

/// Routes û `[batch, capsules, classes × dim]` to class capsules v `[batch, classes, dim]`; bias `[classes, dim]`.
///
/// Logits b = 0; `iterations` times: `c_i = softmax_j(b_i)`, `s_j = Σ_i c_ij û_ij + bias_j`, `v_j = squash(s_j)`, and, but for the
/// last time, `b_ij += û_ij · v_j`. Gradients flow through every iteration.
///
/// Errors: shapes that do not fit, no iterations.
pub fn routing(votes: &Tensor, bias: &Tensor, iterations: usize, kind: Squash) -> Result<Tensor> {
    let op = Routing { iterations, kind };
    op.sizes(votes.dims(), bias.dims())?;
    if is_fast(votes) {
        votes.contiguous()?.apply_op2(&bias.contiguous()?, op)
    } else {
        reference::routing(votes, bias, iterations, kind)
    }
}

#[derive(Clone, Copy)]
struct Routing {
    iterations: usize,
    kind: Squash,
}

#[derive(Clone, Copy)]
struct Sizes {
    capsules: usize,
    classes: usize,
    dim: usize,
}

/// What one iteration of one sample computed: c `[capsules, classes]`, s and v `[classes, dim]`.
#[derive(Clone)]
struct Iteration<T> {
    coupling: Vec<T>,
    s: Vec<T>,
    v: Vec<T>,
}

/// Samples whose bias gradient is summed together. Fixed: the order of a sum must not depend on threads.
const CHUNK: usize = 8;

#[inline(always)]
fn softmax<T: Real>(logits: &[T], coupling: &mut [T]) {
    let largest = logits.iter().fold(logits[0], |m, &l| if l > m { l } else { m });
    coupling.iter_mut().zip(logits).for_each(|(c, &l)| *c = (l - largest).exp());
    let sum: T = coupling.iter().copied().sum();
    coupling.iter_mut().for_each(|c| *c /= sum);
}

impl Sizes {
    fn votes(&self) -> usize {
        self.capsules * self.classes * self.dim
    }

    fn out(&self) -> usize {
        self.classes * self.dim
    }

    fn workspace<T: Real>(&self, iterations: usize) -> Vec<Iteration<T>> {
        let zeros = |n| vec![T::zero(); n];
        let one =
            Iteration { coupling: zeros(self.capsules * self.classes), s: zeros(self.out()), v: zeros(self.out()) };
        vec![one; iterations]
    }
}

impl Routing {
    fn sizes(&self, votes: &[usize], bias: &[usize]) -> Result<Sizes> {
        match (votes, bias) {
            (&[_, capsules, n], &[classes, dim]) if n == classes * dim && capsules * n > 0 && self.iterations > 0 => {
                Ok(Sizes { capsules, classes, dim })
            }
            _ => bail!("routing: votes {votes:?}, bias {bias:?} and {} iterations do not fit", self.iterations),
        }
    }

    /// Routes one sample, keeping every iteration.
    #[inline(always)]
    fn route<T: Real>(&self, sizes: Sizes, votes: &[T], bias: &[T], iterations: &mut [Iteration<T>]) {
        let Sizes { classes, dim, .. } = sizes;
        let mut logits = vec![T::zero(); sizes.capsules * classes];
        let last = iterations.len() - 1;
        for (r, Iteration { coupling, s, v }) in iterations.iter_mut().enumerate() {
            s.copy_from_slice(bias);
            let capsules = votes.chunks_exact(classes * dim).zip(logits.chunks(classes));
            for ((votes, logits), coupling) in capsules.zip(coupling.chunks_mut(classes)) {
                softmax(logits, coupling);
                for ((s, votes), &c) in s.chunks_exact_mut(dim).zip(votes.chunks_exact(dim)).zip(&*coupling) {
                    add_scaled(s, c, votes);
                }
            }
            s.chunks(dim).zip(v.chunks_mut(dim)).for_each(|(s, v)| squash_capsule(self.kind, s, v));
            if r < last {
                for (votes, logits) in votes.chunks_exact(classes * dim).zip(logits.chunks_mut(classes)) {
                    for ((l, votes), v) in logits.iter_mut().zip(votes.chunks_exact(dim)).zip(v.chunks_exact(dim)) {
                        *l += dot(votes, v);
                    }
                }
            }
        }
    }

    /// The gradients of one sample: adds to `dbias`, writes `dvotes`. `iterations` holds what [`Routing::route`] kept.
    #[inline(always)]
    fn route_backward<T: Real>(
        &self,
        sizes: Sizes,
        votes: &[T],
        iterations: &[Iteration<T>],
        dv: &[T],
        dvotes: &mut [T],
        dbias: &mut [T],
    ) {
        let Sizes { classes, dim, capsules } = sizes;
        let mut dv = dv.to_vec();
        let mut ds = vec![T::zero(); sizes.out()];
        let mut dcoupling = vec![T::zero(); classes];
        let mut dlogits = vec![T::zero(); capsules * classes];
        dvotes.fill(T::zero());
        for r in (0..iterations.len()).rev() {
            let Iteration { coupling, s, .. } = &iterations[r];
            for ((s, dv), ds) in s.chunks(dim).zip(dv.chunks(dim)).zip(ds.chunks_mut(dim)) {
                squash_capsule_backward(self.kind, s, dv, ds);
            }
            dbias.iter_mut().zip(&ds).for_each(|(b, &d)| *b += d);
            dv.fill(T::zero());
            for i in 0..capsules {
                let (votes, dvotes) =
                    (&votes[i * sizes.out()..][..sizes.out()], &mut dvotes[i * sizes.out()..][..sizes.out()]);
                let (coupling, dlogits) = (&coupling[i * classes..][..classes], &mut dlogits[i * classes..][..classes]);
                // s_j = Σ_i c_ij û_ij + bias_j
                for j in 0..classes {
                    let at = j * dim..(j + 1) * dim;
                    dcoupling[j] = dot(&votes[at.clone()], &ds[at.clone()]);
                    add_scaled(&mut dvotes[at.clone()], coupling[j], &ds[at]);
                }
                // The first iteration's logits are constant.
                let Some(before) = r.checked_sub(1) else { continue };
                // c_i = softmax(b_i); what later iterations say about b_i passes through.
                let mean = dot(coupling, &dcoupling);
                for ((dl, &c), &d) in dlogits.iter_mut().zip(coupling).zip(&dcoupling) {
                    *dl += c * (d - mean);
                }
                // b_ij = (b_ij before) + û_ij · (v_j before)
                let v = &iterations[before].v;
                for (j, &dl) in dlogits.iter().enumerate() {
                    let at = j * dim..(j + 1) * dim;
                    add_scaled(&mut dvotes[at.clone()], dl, &v[at.clone()]);
                    add_scaled(&mut dv[at.clone()], dl, &votes[at]);
                }
            }
        }
    }

    fn forward<T: Real>(&self, sizes: Sizes, votes: &[T], bias: &[T]) -> Vec<T> {
        let mut v = vec![T::zero(); votes.len() / sizes.capsules];
        for_each_chunk(&mut v, CHUNK * sizes.out(), votes.len() * self.iterations, |chunk, v| {
            let mut iterations = sizes.workspace(self.iterations);
            let votes = votes[chunk * CHUNK * sizes.votes()..].chunks(sizes.votes());
            for (v, votes) in v.chunks_mut(sizes.out()).zip(votes) {
                vectorised!(|| self.route(sizes, votes, bias, &mut iterations));
                v.copy_from_slice(&iterations[self.iterations - 1].v);
            }
        });
        v
    }

    /// The gradients of votes and bias; the iterations are computed again, which is cheaper than keeping them.
    fn backward<T: Real>(&self, sizes: Sizes, votes: &[T], bias: &[T], dv: &[T]) -> [Vec<T>; 2] {
        // Each task owns the gradients of the votes of its samples and, behind them, its share of the bias gradient.
        let batch = votes.len() / sizes.votes();
        let mut dvotes = vec![T::zero(); votes.len()];
        let shares = std::sync::Mutex::new(vec![vec![]; batch.div_ceil(CHUNK)]);
        for_each_chunk(&mut dvotes, CHUNK * sizes.votes(), votes.len() * self.iterations * 2, |chunk, dvotes| {
            let mut iterations = sizes.workspace(self.iterations);
            let mut dbias = vec![T::zero(); sizes.out()];
            let votes = votes[chunk * CHUNK * sizes.votes()..].chunks(sizes.votes());
            let dv = dv[chunk * CHUNK * sizes.out()..].chunks(sizes.out());
            for ((dvotes, votes), dv) in dvotes.chunks_mut(sizes.votes()).zip(votes).zip(dv) {
                vectorised!(|| {
                    self.route(sizes, votes, bias, &mut iterations);
                    self.route_backward(sizes, votes, &iterations, dv, dvotes, &mut dbias);
                });
            }
            // The lock is only ever held for this assignment, which cannot panic: it is never poisoned.
            shares.lock().unwrap()[chunk] = dbias;
        });
        let mut dbias = vec![T::zero(); sizes.out()];
        for share in shares.into_inner().unwrap() {
            dbias.iter_mut().zip(share).for_each(|(b, d)| *b += d);
        }
        [dvotes, dbias]
    }
}

impl CustomOp2 for Routing {
    fn name(&self) -> &'static str {
        "routing"
    }

    fn cpu_fwd(&self, votes: &CpuStorage, lv: &Layout, bias: &CpuStorage, lb: &Layout) -> Result<(CpuStorage, Shape)> {
        let sizes = self.sizes(lv.dims(), lb.dims())?;
        let shape = Shape::from((lv.dims()[0], sizes.classes, sizes.dim));
        for_real!(candle_core::backend::BackendStorage::dtype(votes), T => {
            let v = self.forward::<T>(sizes, values(votes, lv)?, values(bias, lb)?);
            Ok((T::to_cpu_storage_owned(v), shape))
        })
    }

    fn bwd(&self, votes: &Tensor, bias: &Tensor, _v: &Tensor, dv: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let sizes = self.sizes(votes.dims(), bias.dims())?;
        let dv = dv.contiguous()?;
        let ((sv, lv), (sb, lb), (sd, ld)) =
            (votes.storage_and_layout(), bias.storage_and_layout(), dv.storage_and_layout());
        for_real!(votes.dtype(), T => {
            let (vote_values, bias_values) = (cpu_values(&sv, lv)?, cpu_values(&sb, lb)?);
            let [dvotes, dbias] = self.backward::<T>(sizes, vote_values, bias_values, cpu_values(&sd, ld)?);
            Ok((
                Some(Tensor::from_vec(dvotes, votes.shape(), votes.device())?),
                Some(Tensor::from_vec(dbias, bias.shape(), bias.device())?),
            ))
        })
    }
}

//! Class capsules: votes and their routing in one operation, so that the votes, the largest values of a network, never leave it.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::{
    lanes::vectorised,
    reference,
    routing::{self, Routing},
    scratch::Buffer,
    storage::{Real, cpu_values, for_each_chunk, for_each_task, for_real, is_fast, values},
    votes::Votes,
};
use crate::model::config::Squash;

/// Primary capsules u `[batch, capsules, in_dim]` to class capsules v `[batch, classes, dim]`; weight
/// `[matrices, in_dim, classes × dim]`, bias `[classes, dim]`.
///
/// Votes `û_i = u_i · weight[i div (capsules/matrices)]`: with one matrix per capsule nothing is shared; with one per capsule type,
/// the capsules of a type follow one another and share it. Routing starts with logits b = 0; `iterations` times:
/// `c_i = softmax_j(b_i)`, `s_j = Σ_i c_ij û_ij + bias_j`, `v_j = squash(s_j)`, and, but for the last time, `b_ij += û_ij · v_j`.
/// Gradients flow through every iteration.
///
/// Errors: shapes that do not fit, capsules that are no multiple of the matrices, no iterations.
pub fn class_capsules(u: &Tensor, weight: &Tensor, bias: &Tensor, iterations: usize, kind: Squash) -> Result<Tensor> {
    let op = ClassCapsules { routing: Routing { iterations, kind } };
    op.sizes(u.dims(), weight.dims(), bias.dims())?;
    if is_fast(u) {
        u.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op)
    } else {
        reference::class_capsules(u, weight, bias, iterations, kind)
    }
}

struct ClassCapsules {
    routing: Routing,
}

/// Samples whose votes are held at a time, for which the matrices are read once. Fixed, as is the number of shares: the order of a
/// sum must not depend on threads.
const SAMPLES: usize = 4;
/// Shares at most in which the gradients of matrices and bias are summed.
const SHARES: usize = 16;

#[derive(Clone, Copy)]
struct Sizes {
    votes: Votes,
    routing: routing::Sizes,
}

impl ClassCapsules {
    fn sizes(&self, u: &[usize], weight: &[usize], bias: &[usize]) -> Result<Sizes> {
        let votes = Votes::new(u, weight)?;
        match bias {
            &[classes, dim] if votes.n == classes * dim && self.routing.iterations > 0 => {
                Ok(Sizes { votes, routing: routing::Sizes { capsules: votes.capsules, classes, dim } })
            }
            _ => bail!(
                "class_capsules: matrices {weight:?}, bias {bias:?} and {} iterations do not fit",
                self.routing.iterations
            ),
        }
    }

    fn forward<T: Real>(&self, Sizes { votes, routing }: Sizes, u: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
        let sample = votes.capsules * votes.in_dim;
        let mut v = vec![T::zero(); u.len() / sample * routing.out()];
        for_each_chunk(&mut v, SAMPLES * routing.out(), u.len() * votes.n, |chunk, v| {
            let samples = v.len() / routing.out();
            let u = &u[chunk * SAMPLES * sample..][..samples * sample];
            let mut held = Buffer::new(samples * votes.len());
            let mut workspace = routing.workspace(self.routing.iterations);
            vectorised!(|| {
                votes.forward(u, weight, &mut held);
                for (votes, v) in held.chunks_exact(votes.len()).zip(v.chunks_exact_mut(routing.out())) {
                    self.routing.route(routing, votes, bias, &mut workspace);
                    v.copy_from_slice(workspace.v());
                }
            });
        });
        v
    }

    /// The gradients of capsules, matrices and bias. The votes are computed again, which is cheaper than keeping them.
    fn backward<T: Real>(
        &self,
        Sizes { votes, routing }: Sizes,
        u: &[T],
        weight: &[T],
        bias: &[T],
        dv: &[T],
    ) -> [Vec<T>; 3] {
        let (sample, out) = (votes.capsules * votes.in_dim, routing.out());
        let batch = u.len() / sample;
        let samples = batch.div_ceil(SAMPLES * SHARES) * SAMPLES;
        let mut du = vec![T::zero(); u.len()];
        let mut dweights = Buffer::new(batch.div_ceil(samples) * weight.len());
        let mut dbiases = vec![T::zero(); batch.div_ceil(samples) * out];
        let shares =
            du.chunks_mut(samples * sample).zip(dweights.chunks_mut(weight.len())).zip(dbiases.chunks_mut(out));
        for_each_task(shares.collect(), u.len() * votes.n, |share, ((du, dweight), dbias)| {
            let (u, dv) = (&u[share * samples * sample..][..du.len()], &dv[share * samples * out..]);
            dweight.fill(T::zero());
            let [mut held, mut dheld] = [(); 2].map(|()| Buffer::new(SAMPLES * votes.len()));
            let mut workspace = routing.workspace(self.routing.iterations);
            vectorised!(|| {
                let chunks =
                    u.chunks(SAMPLES * sample).zip(du.chunks_mut(SAMPLES * sample)).zip(dv.chunks(SAMPLES * out));
                for ((u, du), dv) in chunks {
                    let len = u.len() / sample * votes.len();
                    let (held, dheld) = (&mut held[..len], &mut dheld[..len]);
                    votes.forward(u, weight, held);
                    let samples = held.chunks_exact(votes.len()).zip(dheld.chunks_exact_mut(votes.len()));
                    for ((held, dheld), dv) in samples.zip(dv.chunks_exact(out)) {
                        self.routing.route(routing, held, bias, &mut workspace);
                        self.routing.route_backward(routing, held, &mut workspace, dv, [dheld, dbias]);
                    }
                    votes.backward(u, weight, dheld, du, dweight);
                }
            });
        });
        [du, sum_rows(&dweights, weight.len()), sum_rows(&dbiases, out)]
    }
}

/// The sum of the rows, in their order.
fn sum_rows<T: Real>(rows: &[T], len: usize) -> Vec<T> {
    const CHUNK: usize = 1 << 12;
    let mut sum = vec![T::zero(); len];
    for_each_chunk(&mut sum, CHUNK, rows.len(), |chunk, sum| {
        vectorised!(|| {
            for row in rows.chunks_exact(len) {
                sum.iter_mut().zip(&row[chunk * CHUNK..]).for_each(|(sum, &v)| *sum += v);
            }
        });
    });
    sum
}

impl CustomOp3 for ClassCapsules {
    fn name(&self) -> &'static str {
        "class-capsules"
    }

    fn cpu_fwd(
        &self,
        u: &CpuStorage,
        lu: &Layout,
        weight: &CpuStorage,
        lw: &Layout,
        bias: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes = self.sizes(lu.dims(), lw.dims(), lb.dims())?;
        let shape = Shape::from((lu.dims()[0], sizes.routing.classes, sizes.routing.dim));
        for_real!(candle_core::backend::BackendStorage::dtype(u), T => {
            let v = self.forward::<T>(sizes, values(u, lu)?, values(weight, lw)?, values(bias, lb)?);
            Ok((candle_core::WithDType::to_cpu_storage_owned(v), shape))
        })
    }

    fn bwd(
        &self,
        u: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _v: &Tensor,
        dv: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let sizes = self.sizes(u.dims(), weight.dims(), bias.dims())?;
        let dv = dv.contiguous()?;
        let ((su, lu), (sw, lw), (sb, lb), (sd, ld)) =
            (u.storage_and_layout(), weight.storage_and_layout(), bias.storage_and_layout(), dv.storage_and_layout());
        for_real!(u.dtype(), T => {
            let (u_values, weight_values) = (cpu_values::<T>(&su, lu)?, cpu_values(&sw, lw)?);
            let [du, dweight, dbias] =
                self.backward(sizes, u_values, weight_values, cpu_values(&sb, lb)?, cpu_values(&sd, ld)?);
            Ok((
                Some(Tensor::from_vec(du, u.shape(), u.device())?),
                Some(Tensor::from_vec(dweight, weight.shape(), u.device())?),
                Some(Tensor::from_vec(dbias, bias.shape(), u.device())?),
            ))
        })
    }
}

//! Class capsules: votes and their routing in one operation, so that the votes, the largest values of a network, never leave it.

use std::marker::PhantomData;

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
    check(u.dims(), weight.dims(), bias.dims(), iterations)?;
    if is_fast(u) {
        u.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, ClassCapsules { iterations, kind })
    } else {
        reference::class_capsules(u, weight, bias, iterations, kind)
    }
}

/// Class capsules over slices: one plan for every pass of operands of one shape.
///
/// u `[batch, capsules, in_dim]`, weight `[matrices, in_dim, classes × dim]`, bias `[classes, dim]`, v `[batch, classes, dim]`;
/// gradients have the shapes of their operands.
pub struct ClassCapsulesPlan<T: Real> {
    batch: usize,
    votes: Votes,
    sizes: routing::Sizes,
    routing: Routing,
    float: PhantomData<T>,
}

/// Samples whose votes are held at a time, for which the matrices are read once. Fixed, as is the number of shares: the order of a
/// sum must not depend on threads.
const SAMPLES: usize = 4;
/// Shares at most in which the gradients of matrices and bias are summed.
const SHARES: usize = 16;

impl<T: Real> ClassCapsulesPlan<T> {
    /// A plan for these shapes. Errors as [`class_capsules`].
    pub fn new(u: [usize; 3], weight: [usize; 3], bias: [usize; 2], iterations: usize, kind: Squash) -> Result<Self> {
        check(&u, &weight, &bias, iterations)?;
        let votes = Votes::new(&u, &weight)?;
        let [classes, dim] = bias;
        let sizes = routing::Sizes { capsules: votes.capsules, classes, dim };
        Ok(Self { batch: u[0], votes, sizes, routing: Routing { iterations, kind }, float: PhantomData })
    }

    /// Takes another number of samples from now on. Buffers grow where they have to and never shrink.
    pub fn set_batch(&mut self, batch: usize) {
        self.batch = batch;
    }

    /// Writes the class capsules v.
    pub fn forward(&mut self, u: &[T], weight: &[T], bias: &[T], v: &mut [T]) {
        let Self { votes, sizes: routing, .. } = *self;
        let sample = votes.capsules * votes.in_dim;
        assert_eq!(u.len(), self.batch * sample, "values of the capsules");
        for_each_chunk(v, SAMPLES * routing.out(), u.len() * votes.n, |chunk, v| {
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
    }

    /// Overwrites the gradients of capsules, matrices and bias, given that of v, after [`Self::forward`] of the same operands.
    #[allow(clippy::too_many_arguments)]
    pub fn backward(
        &mut self,
        u: &[T],
        weight: &[T],
        bias: &[T],
        dv: &[T],
        du: &mut [T],
        dweight: &mut [T],
        dbias: &mut [T],
    ) {
        let Self { votes, sizes: routing, .. } = *self;
        let (sample, out) = (votes.capsules * votes.in_dim, routing.out());
        let batch = self.batch;
        let samples = batch.div_ceil(SAMPLES * SHARES) * SAMPLES;
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
        sum_rows(&dweights, dweight);
        sum_rows(&dbiases, dbias);
    }

    /// Multiply-adds of the forward and of the backward pass.
    pub fn work(&self) -> [u64; 2] {
        let votes = (self.batch * self.votes.len()) as u64;
        let [matrix, iterations] = [self.votes.in_dim, self.routing.iterations].map(|n| n as u64);
        [votes * (matrix + 2 * iterations - 1), votes * (2 * matrix + 4 * iterations - 2)]
    }
}

struct ClassCapsules {
    iterations: usize,
    kind: Squash,
}

/// Whether the shapes fit.
fn check(u: &[usize], weight: &[usize], bias: &[usize], iterations: usize) -> Result<()> {
    let votes = Votes::new(u, weight)?;
    match bias {
        &[classes, dim] if votes.n == classes * dim && iterations > 0 => Ok(()),
        _ => bail!("class_capsules: matrices {weight:?}, bias {bias:?} and {iterations} iterations do not fit"),
    }
}

impl ClassCapsules {
    fn plan<T: Real>(&self, u: &Shape, weight: &Shape, bias: &Shape) -> Result<ClassCapsulesPlan<T>> {
        ClassCapsulesPlan::new(
            u.dims3()?.into(),
            weight.dims3()?.into(),
            bias.dims2()?.into(),
            self.iterations,
            self.kind,
        )
    }
}

/// The sum of the rows, in their order.
fn sum_rows<T: Real>(rows: &[T], sum: &mut [T]) {
    const CHUNK: usize = 1 << 12;
    let len = sum.len();
    for_each_chunk(sum, CHUNK, rows.len(), |chunk, sum| {
        vectorised!(|| {
            sum.fill(T::zero());
            for row in rows.chunks_exact(len) {
                sum.iter_mut().zip(&row[chunk * CHUNK..]).for_each(|(sum, &v)| *sum += v);
            }
        });
    });
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
        let (batch, bias_shape) = (lu.dims()[0], lb.shape().dims2()?);
        let shape = Shape::from((batch, bias_shape.0, bias_shape.1));
        for_real!(candle_core::backend::BackendStorage::dtype(u), T => {
            let mut v = vec![0 as T; shape.elem_count()];
            let mut plan = self.plan::<T>(lu.shape(), lw.shape(), lb.shape())?;
            plan.forward(values(u, lu)?, values(weight, lw)?, values(bias, lb)?, &mut v);
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
        let dv = dv.contiguous()?;
        let ((su, lu), (sw, lw), (sb, lb), (sd, ld)) =
            (u.storage_and_layout(), weight.storage_and_layout(), bias.storage_and_layout(), dv.storage_and_layout());
        for_real!(u.dtype(), T => {
            let (u_values, weight_values) = (cpu_values::<T>(&su, lu)?, cpu_values(&sw, lw)?);
            let [mut du, mut dweight, mut dbias] = [u, weight, bias].map(|operand| vec![0 as T; operand.elem_count()]);
            let mut plan = self.plan::<T>(u.shape(), weight.shape(), bias.shape())?;
            let (bias, dv) = (cpu_values(&sb, lb)?, cpu_values(&sd, ld)?);
            plan.backward(u_values, weight_values, bias, dv, &mut du, &mut dweight, &mut dbias);
            Ok((
                Some(Tensor::from_vec(du, u.shape(), u.device())?),
                Some(Tensor::from_vec(dweight, weight.shape(), u.device())?),
                Some(Tensor::from_vec(dbias, lb.shape(), u.device())?),
            ))
        })
    }
}

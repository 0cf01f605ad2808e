//! Votes of capsules and their self-attention routing in one pass (Mazzia, Salvetti and Chiaberge 2021).

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, WithDType, bail};

use super::{
    lanes::{dot, vectorised},
    real::Real,
    reference,
    storage::{cpu_values, for_each_chunk, for_real, is_fast_on_cpu, values},
};

/// Sums of votes `û_ij = W_ij u_i` of n capsules i for classes j, weighed by how far the votes for a class agree:
/// `c_ij = softmax_j(û_ij · Σ_k û_kj / √dim)`, `s_j = Σ_i (c_ij + prior_ij) û_ij`.
///
/// u `[batch, n, in_dim]`, weight `[n, in_dim, classes × dim]`, prior `[n, classes]`; gives s `[batch, classes, dim]`.
///
/// Errors: shapes that do not fit, or without values.
pub fn attention_routing(u: &Tensor, weight: &Tensor, prior: &Tensor) -> Result<Tensor> {
    let sizes = match (u.dims(), weight.dims(), prior.dims()) {
        (&[_, n, in_dim], &[of_weight, rows, columns], &[of_prior, classes])
            if n == of_weight
                && n == of_prior
                && in_dim == rows
                && u.elem_count() > 0
                && classes > 0
                && columns > 0
                && columns % classes == 0 =>
        {
            Sizes { capsules: n, in_dim, classes, dim: columns / classes }
        }
        (u, w, p) => bail!("attention_routing: capsules {u:?}, weight {w:?} and prior {p:?} do not fit"),
    };
    if is_fast_on_cpu(u) {
        u.contiguous()?.apply_op3(&weight.contiguous()?, &prior.contiguous()?, Attention(sizes))
    } else {
        reference::attention_routing(u, weight, prior)
    }
}

#[derive(Clone, Copy)]
struct Sizes {
    capsules: usize,
    in_dim: usize,
    classes: usize,
    dim: usize,
}

struct Attention(Sizes);

/// What the routing of a sample works on: votes `[capsules, classes, dim]`, their sums over capsules `[classes, dim]`, and the
/// coupling coefficients `[capsules, classes]`.
struct Routing<T> {
    votes: Vec<T>,
    sums: Vec<T>,
    couplings: Vec<T>,
}

impl Sizes {
    /// Values of one capsule's votes.
    fn row(self) -> usize {
        self.classes * self.dim
    }

    /// Multiply-adds of the votes of `batch` samples.
    fn work(self, batch: usize) -> usize {
        batch * self.capsules * self.in_dim * self.row()
    }

    fn root<T: Real>(self) -> T {
        T::from_f64(1. / (self.dim as f64).sqrt())
    }

    /// The routing of the capsules u `[capsules, in_dim]` of a sample.
    #[inline(always)]
    fn route<T: Real>(self, u: &[T], weight: &[T]) -> Routing<T> {
        let Sizes { capsules, in_dim, classes, dim } = self;
        let row = self.row();
        let mut votes = vec![T::zero(); capsules * row];
        let mut sums = vec![T::zero(); row];
        let matrices = weight.chunks_exact(in_dim * row);
        for ((votes, u), matrix) in votes.chunks_exact_mut(row).zip(u.chunks_exact(in_dim)).zip(matrices) {
            for (&u, matrix) in u.iter().zip(matrix.chunks_exact(row)) {
                votes.iter_mut().zip(matrix).for_each(|(vote, &w)| *vote += u * w);
            }
            sums.iter_mut().zip(&*votes).for_each(|(sum, &vote)| *sum += vote);
        }
        let mut couplings = vec![T::zero(); capsules * classes];
        for (couplings, votes) in couplings.chunks_exact_mut(classes).zip(votes.chunks_exact(row)) {
            let agreements = votes.chunks_exact(dim).zip(sums.chunks_exact(dim));
            let root = self.root::<T>();
            couplings.iter_mut().zip(agreements).for_each(|(c, (vote, sum))| *c = dot(vote, sum) * root);
            softmax(couplings);
        }
        Routing { votes, sums, couplings }
    }

    /// The sums `[classes, dim]` of a sample.
    #[inline(always)]
    fn forward<T: Real>(self, u: &[T], weight: &[T], prior: &[T], s: &mut [T]) {
        let Routing { votes, couplings, .. } = self.route(u, weight);
        let coefficients = couplings.iter().zip(prior);
        for (index, (vote, (&coupling, &prior))) in votes.chunks_exact(self.dim).zip(coefficients).enumerate() {
            let s = &mut s[index % self.classes * self.dim..][..self.dim];
            s.iter_mut().zip(vote).for_each(|(s, &vote)| *s += (coupling + prior) * vote);
        }
    }

    /// Gradients by the votes and, behind them, by the prior, of a sample whose sums have the gradient `ds`.
    #[inline(always)]
    fn backward<T: Real>(self, u: &[T], weight: &[T], prior: &[T], ds: &[T], gradients: &mut [T]) {
        let Sizes { capsules, classes, dim, .. } = self;
        let row = self.row();
        let Routing { votes, sums, couplings } = self.route(u, weight);
        let (dvotes, dprior) = gradients.split_at_mut(capsules * row);
        let mut dsums = vec![T::zero(); row];
        let mut dagreements = vec![T::zero(); classes];
        for (i, (dvotes, votes)) in dvotes.chunks_exact_mut(row).zip(votes.chunks_exact(row)).enumerate() {
            let of = i * classes..(i + 1) * classes;
            let (couplings, prior, dprior) = (&couplings[of.clone()], &prior[of.clone()], &mut dprior[of]);
            let products = votes.chunks_exact(dim).zip(ds.chunks_exact(dim));
            dprior.iter_mut().zip(products).for_each(|(d, (vote, ds))| *d = dot(vote, ds));
            let mean = dot(couplings, dprior);
            let pairs = couplings.iter().zip(&*dprior);
            let root = self.root::<T>();
            dagreements.iter_mut().zip(pairs).for_each(|(da, (&c, &d))| *da = c * (d - mean) * root);
            for j in 0..classes {
                let (coefficient, da, at) = (couplings[j] + prior[j], dagreements[j], j * dim);
                for z in at..at + dim {
                    dvotes[z] = coefficient * ds[z] + da * sums[z];
                    dsums[z] += da * votes[z];
                }
            }
        }
        for dvotes in dvotes.chunks_exact_mut(row) {
            dvotes.iter_mut().zip(&dsums).for_each(|(dvote, &dsum)| *dvote += dsum);
        }
    }

    /// Gradients by u, weight and prior.
    fn gradients<T: Real>(self, u: &[T], weight: &[T], prior: &[T], ds: &[T]) -> [Vec<T>; 3] {
        let Sizes { capsules, in_dim, .. } = self;
        let (row, sample) = (self.row(), capsules * in_dim);
        let (batch, held) = (u.len() / sample, capsules * row + prior.len());
        let work = self.work(batch);
        let mut by_sample = vec![T::zero(); batch * held];
        for_each_chunk(&mut by_sample, held, work, |b, gradients| {
            let (u, ds) = (&u[b * sample..][..sample], &ds[b * row..][..row]);
            vectorised!(|| self.backward(u, weight, prior, ds, gradients));
        });
        let mut du = vec![T::zero(); u.len()];
        for_each_chunk(&mut du, sample, work, |b, du| {
            let dvotes = &by_sample[b * held..];
            vectorised!(|| {
                for (index, (du, w)) in du.iter_mut().zip(weight.chunks_exact(row)).enumerate() {
                    *du = dot(w, &dvotes[index / in_dim * row..][..row]);
                }
            });
        });
        let mut dweight = vec![T::zero(); weight.len()];
        for_each_chunk(&mut dweight, in_dim * row, work, |capsule, dweight| {
            vectorised!(|| {
                for b in 0..batch {
                    let dvotes = &by_sample[b * held + capsule * row..][..row];
                    let u = &u[b * sample + capsule * in_dim..][..in_dim];
                    for (dw, &u) in dweight.chunks_exact_mut(row).zip(u) {
                        dw.iter_mut().zip(dvotes).for_each(|(dw, &d)| *dw += u * d);
                    }
                }
            });
        });
        let mut dprior = vec![T::zero(); prior.len()];
        for gradients in by_sample.chunks_exact(held) {
            dprior.iter_mut().zip(&gradients[capsules * row..]).for_each(|(sum, &d)| *sum += d);
        }
        [du, dweight, dprior]
    }
}

/// Softmax in place; a NaN becomes all of them.
#[inline(always)]
fn softmax<T: Real>(logits: &mut [T]) {
    let largest = logits.iter().fold(logits[0], |a, &b| if b > a { b } else { a });
    logits.iter_mut().for_each(|x| *x = (*x - largest).exp());
    let sum = logits.iter().fold(T::zero(), |sum, &x| sum + x);
    logits.iter_mut().for_each(|x| *x /= sum);
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention-routing"
    }

    fn cpu_fwd(
        &self,
        u: &CpuStorage,
        lu: &Layout,
        weight: &CpuStorage,
        lw: &Layout,
        prior: &CpuStorage,
        lp: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes = self.0;
        let (sample, row) = (sizes.capsules * sizes.in_dim, sizes.row());
        for_real!(candle_core::backend::BackendStorage::dtype(u), T => {
            let (u, weight, prior) = (values::<T>(u, lu)?, values::<T>(weight, lw)?, values::<T>(prior, lp)?);
            let batch = u.len() / sample;
            let mut s = vec![0 as T; batch * row];
            for_each_chunk(&mut s, row, sizes.work(batch), |b, s| {
                let u = &u[b * sample..][..sample];
                vectorised!(|| sizes.forward(u, weight, prior, s));
            });
            Ok((T::to_cpu_storage_owned(s), Shape::from((batch, sizes.classes, sizes.dim))))
        })
    }

    fn bwd(
        &self,
        u: &Tensor,
        weight: &Tensor,
        prior: &Tensor,
        _s: &Tensor,
        ds: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let ds = ds.contiguous()?;
        let ((su, lu), (sw, lw), (sp, lp), (sd, ld)) =
            (u.storage_and_layout(), weight.storage_and_layout(), prior.storage_and_layout(), ds.storage_and_layout());
        for_real!(u.dtype(), T => {
            let (u_values, weight_values) = (cpu_values::<T>(&su, lu)?, cpu_values::<T>(&sw, lw)?);
            let (prior_values, ds) = (cpu_values::<T>(&sp, lp)?, cpu_values::<T>(&sd, ld)?);
            let [du, dweight, dprior] = self.0.gradients(u_values, weight_values, prior_values, ds);
            Ok((
                Some(Tensor::from_vec(du, u.shape(), u.device())?),
                Some(Tensor::from_vec(dweight, weight.shape(), u.device())?),
                Some(Tensor::from_vec(dprior, prior.shape(), u.device())?),
            ))
        })
    }
}

//! Dynamic routing by agreement of one sample.

use super::{
    lanes::{add_scaled, dot},
    squash::{squash_capsule, squash_capsule_backward},
    storage::Real,
};
use crate::model::config::Squash;

#[derive(Clone, Copy)]
pub(super) struct Routing {
    pub(super) iterations: usize,
    pub(super) kind: Squash,
}

#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) capsules: usize,
    pub(super) classes: usize,
    pub(super) dim: usize,
}

/// What one iteration computed: c `[capsules, classes]`, s and v `[classes, dim]`.
#[derive(Clone)]
struct Iteration<T> {
    coupling: Vec<T>,
    s: Vec<T>,
    v: Vec<T>,
}

/// Every iteration of a sample, and what its forward and backward pass need besides.
pub(super) struct Workspace<T> {
    iterations: Vec<Iteration<T>>,
    logits: Vec<T>,
    dv: Vec<T>,
    ds: Vec<T>,
    dcoupling: Vec<T>,
}

impl<T> Workspace<T> {
    /// The class capsules of the sample that was routed last.
    pub(super) fn v(&self) -> &[T] {
        self.iterations.last().map_or(&[], |iteration| &iteration.v)
    }
}

/// The softmax of each `classes` logits.
#[inline(always)]
fn softmax<T: Real>(logits: &[T], coupling: &mut [T], classes: usize) {
    for (coupling, logits) in coupling.chunks_exact_mut(classes).zip(logits.chunks_exact(classes)) {
        let largest = logits.iter().fold(logits[0], |m, &l| if l > m { l } else { m });
        coupling.iter_mut().zip(logits).for_each(|(c, &l)| *c = l - largest);
    }
    coupling.iter_mut().for_each(|c| *c = c.exp());
    for coupling in coupling.chunks_exact_mut(classes) {
        let sum: T = coupling.iter().copied().sum();
        coupling.iter_mut().for_each(|c| *c /= sum);
    }
}

impl Sizes {
    pub(super) fn out(&self) -> usize {
        self.classes * self.dim
    }

    pub(super) fn workspace<T: Real>(&self, iterations: usize) -> Workspace<T> {
        let zeros = |n| vec![T::zero(); n];
        let logits = self.capsules * self.classes;
        let one = Iteration { coupling: zeros(logits), s: zeros(self.out()), v: zeros(self.out()) };
        Workspace {
            iterations: vec![one; iterations],
            logits: zeros(logits),
            dv: zeros(self.out()),
            ds: zeros(self.out()),
            dcoupling: zeros(self.classes),
        }
    }
}

impl Routing {
    /// Routes the votes of a sample, keeping every iteration.
    #[inline(always)]
    pub(super) fn route<T: Real>(&self, sizes: Sizes, votes: &[T], bias: &[T], workspace: &mut Workspace<T>) {
        let Sizes { classes, dim, .. } = sizes;
        let Workspace { iterations, logits, .. } = workspace;
        logits.fill(T::zero());
        let last = self.iterations - 1;
        for (r, Iteration { coupling, s, v }) in iterations.iter_mut().enumerate() {
            softmax(logits, coupling, classes);
            s.copy_from_slice(bias);
            for (votes, coupling) in votes.chunks_exact(classes * dim).zip(coupling.chunks_exact(classes)) {
                for ((s, votes), &c) in s.chunks_exact_mut(dim).zip(votes.chunks_exact(dim)).zip(coupling) {
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

    /// The gradients of one sample: adds to `dbias`, writes `dvotes`. `workspace` holds what [`Routing::route`] kept.
    #[inline(always)]
    pub(super) fn route_backward<T: Real>(
        &self,
        sizes: Sizes,
        votes: &[T],
        workspace: &mut Workspace<T>,
        dv_last: &[T],
        [dvotes, dbias]: [&mut [T]; 2],
    ) {
        let Sizes { classes, dim, capsules } = sizes;
        let out = classes * dim;
        // The logits themselves are not needed any more.
        let Workspace { iterations, logits: dlogits, dv, ds, dcoupling } = workspace;
        dv.copy_from_slice(dv_last);
        dlogits.fill(T::zero());
        dvotes.fill(T::zero());
        for r in (0..iterations.len()).rev() {
            let Iteration { coupling, s, .. } = &iterations[r];
            for ((s, dv), ds) in s.chunks(dim).zip(dv.chunks(dim)).zip(ds.chunks_mut(dim)) {
                squash_capsule_backward(self.kind, s, dv, ds);
            }
            dbias.iter_mut().zip(&*ds).for_each(|(b, &d)| *b += d);
            dv.fill(T::zero());
            for i in 0..capsules {
                let (votes, dvotes) = (&votes[i * out..][..out], &mut dvotes[i * out..][..out]);
                let (coupling, dlogits) = (&coupling[i * classes..][..classes], &mut dlogits[i * classes..][..classes]);
                // s_j = Σ_i c_ij û_ij + bias_j
                let each = votes.chunks_exact(dim).zip(dvotes.chunks_exact_mut(dim)).zip(ds.chunks_exact(dim));
                for (((votes, dvotes), ds), (dc, &c)) in each.zip(dcoupling.iter_mut().zip(coupling)) {
                    *dc = dot(votes, ds);
                    add_scaled(dvotes, c, ds);
                }
                // The first iteration's logits are constant.
                let Some(before) = r.checked_sub(1) else { continue };
                // c_i = softmax(b_i); what later iterations say about b_i passes through.
                let mean = dot(coupling, dcoupling);
                for ((dl, &c), &d) in dlogits.iter_mut().zip(coupling).zip(&*dcoupling) {
                    *dl += c * (d - mean);
                }
                // b_ij = (b_ij before) + û_ij · (v_j before)
                let v = iterations[before].v.chunks_exact(dim).zip(dv.chunks_exact_mut(dim));
                let each = votes.chunks_exact(dim).zip(dvotes.chunks_exact_mut(dim)).zip(v);
                for (((votes, dvotes), (v, dv)), &dl) in each.zip(&*dlogits) {
                    add_scaled(dvotes, dl, v);
                    add_scaled(dv, dl, votes);
                }
            }
        }
    }
}

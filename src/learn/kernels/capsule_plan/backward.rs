//! The backward pass: through the iterations in reverse, a sweep over the capsules each; then the gradients of capsules and matrices.

use pulp::Arch;
use rayon::prelude::*;

use super::{
    Passes,
    group::{Deactivate, Disagree, VoteSweep, Weigh, add},
    grow, scatter, shares_of,
    sizes::{Chunk, Sizes},
};
use crate::learn::kernels::{
    lanes::{lanes, lanes_mut, vectorised},
    real::Real,
    storage::{for_each_chunk, least_tasks},
    votes::{Terms, Votes},
};

/// Capsules whose matrices and gradients are worked on for all groups at a time.
const BLOCK: usize = 4;

impl<T: Real, const L: usize> Passes<T, L> {
    /// Overwrites the gradients of capsules, matrices and bias, given that of v, after [`Self::forward`] of the same operands.
    pub(super) fn backward(&mut self, [u, weight, bias, dv]: [&[T]; 4], [du, dweight, dbias]: [&mut [T]; 3]) {
        let sizes = self.sizes;
        let Votes { in_dim, classes, .. } = sizes.votes;
        let (n, terms) = (sizes.votes.n(), sizes.terms());
        assert_eq!([u.len(), dv.len()], [du.len(), sizes.batch * n], "values of the gradients");
        assert_eq!([weight.len(), bias.len()], [dweight.len(), dbias.len()], "values of the gradients");
        let held = sizes.batch.div_ceil(L).min(Sizes::<L>::GROUPS);
        let placed = sizes.shares() * sizes.capsules_of_a_share();
        grow(&mut self.dv, L * (held * n));
        grow(&mut self.dlogits, L * (held * (sizes.iterations - 1) * placed * classes));
        grow(&mut self.du, L * (held * placed * in_dim));
        grow(&mut self.terms, L * (held * terms * n));
        grow(&mut self.rows, L * (held * terms * n));
        dbias.fill(T::zero());
        let sample = sizes.capsules * in_dim;
        for chunk in sizes.chunks() {
            let from = sizes.samples(dv, chunk, n);
            let to = &mut lanes_mut::<T, L>(&mut self.dv)[..chunk.groups * n];
            to.fill([T::zero(); L]);
            for (samples, group) in from.chunks(L * n).zip(to.chunks_exact_mut(n)) {
                for (lane, sample) in samples.chunks_exact(n).enumerate() {
                    group.iter_mut().zip(sample).for_each(|(group, &value)| group[lane] = value);
                }
            }
            for r in (0..sizes.iterations).rev() {
                self.route_backward(chunk, r, weight, dbias);
            }
            self.weigh(chunk, weight, dweight);
            let start = chunk.index * Sizes::<L>::GROUPS * L * sample;
            let end = du.len().min(start + chunk.groups * L * sample);
            self.give_back(chunk, &mut du[start..end]);
        }
    }

    /// The gradients that one iteration of a chunk passes on: of s as a term, of its logits, and of the v before.
    fn route_backward(&mut self, chunk: Chunk, r: usize, weight: &[T], dbias: &mut [T]) {
        let sizes = self.sizes;
        let Votes { in_dim, classes, dim, .. } = sizes.votes;
        let (n, full, votes, terms) = (sizes.votes.n(), sizes.capsules_of_a_share(), sizes.votes, sizes.terms());
        let (range, kind) = (sizes.of_iteration(chunk, r), sizes.kind);
        let s = lanes::<T, L>(&self.s)[range].chunks_exact(n);
        let ds = lanes_mut::<T, L>(&mut self.x)[..chunk.groups * n].chunks_exact_mut(n);
        let dv = lanes::<T, L>(&self.dv).chunks_exact(n);
        let held = lanes_mut::<T, L>(&mut self.terms)[..chunk.groups * terms * n].chunks_exact_mut(terms * n);
        let rows = self.rows[..chunk.groups * terms * n * L].chunks_exact_mut(terms * n * L);
        let v = (r > 0).then(|| sizes.of_iteration(chunk, r - 1));
        for (group, ((((s, dv), ds), held), rows)) in s.zip(dv).zip(ds).zip(held).zip(rows).enumerate() {
            let scale = if r == 0 { T::one() / T::from_f64(classes as f64) } else { T::one() };
            let mut place = |m: usize, lanes: &[[T; L]]| {
                held[m * n..][..n].copy_from_slice(lanes);
                scatter(lanes, &mut rows[m * n * L..][..n * L], n);
            };
            Arch::new().dispatch(Deactivate { kind, dim, s, dv, ds, dbias, scale });
            place(if r == 0 { 0 } else { 2 * r - 1 }, ds);
            if let Some(v) = &v {
                place(2 * r, &lanes::<T, L>(&self.v)[v.clone()][group * n..][..n]);
            }
        }
        if r == 0 {
            return;
        }
        let shares = sizes.shares();
        let (u_range, (of_coupling, len)) = (sizes.of_u(chunk), sizes.of_coupling(chunk));
        let x = &lanes::<T, L>(&self.x)[..chunk.groups * n];
        let coupling = lanes::<T, L>(&self.coupling)[of_coupling][(r - 1) * len..][..len].par_chunks(full * classes);
        // The iteration after this one passed its gradients of logits on; of the last iteration there is none.
        let last = r + 1 == sizes.iterations;
        let (dlogits_now, later) = lanes_mut::<T, L>(&mut self.dlogits)[(r - 1) * len..].split_at_mut(len);
        let later = &*later;
        let tasks = lanes_mut::<T, L>(&mut self.sums)[..shares * chunk.groups * n].par_chunks_mut(n);
        let tasks = tasks.zip(lanes_mut::<T, L>(&mut self.scratch).par_chunks_mut(votes.scratch(terms)));
        let tasks = tasks.zip(lanes::<T, L>(&self.u)[u_range].par_chunks(full * in_dim));
        let tasks = tasks.zip(coupling).zip(dlogits_now.par_chunks_mut(full * classes));
        let (work, kept) = (chunk.groups * L * votes.work::<L>(), &self.votes);
        tasks.with_min_len(least_tasks(work)).enumerate().for_each(
            |(task, ((((sum, scratch), u), coupling), dlogits))| {
                let (share, group) = (task / chunk.groups, task % chunk.groups);
                let u = &u[..sizes.capsules_of(share) * in_dim];
                let (weight, x) = (sizes.weights(weight, share), &x[group * n..][..n]);
                let later = if last { &[][..] } else { &later[task * full * classes..][..full * classes] };
                let couple = Disagree { coupling, later, dlogits };
                let kept = sizes.kept(kept, task);
                Arch::new().dispatch(VoteSweep { votes, u, x, weight, kept, sum, scratch, couple });
            },
        );
        for (group, dv) in lanes_mut::<T, L>(&mut self.dv)[..chunk.groups * n].chunks_exact_mut(n).enumerate() {
            dv.fill([T::zero(); L]);
            for sum in shares_of(lanes::<T, L>(&self.sums), [shares, chunk.groups, group], n) {
                vectorised!(|| add(dv.as_flattened_mut(), sum.as_flattened()));
            }
        }
    }

    /// From the terms, the gradients of capsules and matrices.
    fn weigh(&mut self, chunk: Chunk, weight: &[T], dweight: &mut [T]) {
        let sizes = self.sizes;
        let Votes { in_dim, classes, .. } = sizes.votes;
        let (n, full, votes, count) = (sizes.votes.n(), sizes.capsules_of_a_share(), sizes.votes, sizes.terms());
        let (u_range, (of_coupling, len)) = (sizes.of_u(chunk), sizes.of_coupling(chunk));
        let coupling = &lanes::<T, L>(&self.coupling)[of_coupling];
        let dlogits = lanes::<T, L>(&self.dlogits);
        let tasks = dweight.par_chunks_mut(sizes.matrices_of_a_share() * votes.matrix());
        let tasks = tasks.zip(lanes_mut::<T, L>(&mut self.du).par_chunks_mut(chunk.groups * full * in_dim));
        let tasks = tasks.zip(lanes_mut::<T, L>(&mut self.scratch).par_chunks_mut(votes.scratch(count)));
        let tasks = tasks.zip(lanes::<T, L>(&self.u)[u_range].par_chunks(chunk.groups * full * in_dim));
        let work = chunk.groups * L * votes.backward_work::<L>(count);
        tasks.with_min_len(least_tasks(work)).enumerate().for_each(|(share, (((dweight, du), scratch), u))| {
            let weight = sizes.weights(weight, share);
            let capsules = sizes.capsules_of(share);
            // A block of matrices and their gradients stays in cache for all groups.
            let block = BLOCK.div_ceil(votes.sharing);
            for start in (0..capsules / votes.sharing).step_by(block) {
                let end = (start + block).min(capsules / votes.sharing);
                let of = start * votes.matrix()..end * votes.matrix();
                let (first, end) = (start * votes.sharing, end * votes.sharing);
                if chunk.index == 0 {
                    dweight[of.clone()].fill(T::zero());
                }
                for group in 0..chunk.groups {
                    let at = (share * chunk.groups + group) * full * classes;
                    let skip = |values: &'_ [[T; L]]| (at + first * classes).min(values.len());
                    let terms = Terms {
                        factors: [&coupling[skip(coupling)..], &dlogits[skip(dlogits)..]],
                        stride: len,
                        x: &lanes::<T, L>(&self.terms)[group * count * n..][..count * n],
                        rows: &self.rows[group * count * n * L..][..count * n * L],
                    };
                    let of_u = group * full * in_dim + first * in_dim..group * full * in_dim + end * in_dim;
                    let (u, du) = (&u[of_u.clone()], &mut du[of_u]);
                    let (weight, dweight) = (&weight[of.clone()], &mut dweight[of.clone()]);
                    Arch::new().dispatch(Weigh { votes, u, weight, terms, du, dweight, scratch });
                }
            }
        });
    }

    /// Brings the gradients of u of a chunk out of lanes.
    fn give_back(&self, chunk: Chunk, du: &mut [T]) {
        let sizes = self.sizes;
        let (in_dim, full) = (sizes.votes.in_dim, sizes.capsules_of_a_share());
        let sample = sizes.capsules * in_dim;
        let held = lanes::<T, L>(&self.du);
        let work = du.len();
        for_each_chunk(du, sample, work, |index, du| {
            let (group, lane) = (index / L, index % L);
            for (share, du) in du.chunks_mut(full * in_dim).enumerate() {
                let held = &held[(share * chunk.groups + group) * full * in_dim..];
                du.iter_mut().zip(held).for_each(|(du, held)| *du = held[lane]);
            }
        });
    }
}

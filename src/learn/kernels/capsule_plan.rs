//! Class capsules over slices: votes and their routing, forward and backward.
//!
//! A vector lane is a sample: `L` samples are a group, and everything of a group is an array of lanes. With v the capsules of
//! the iterations before, an iteration's logits are `û_ij · Σ v_j`, so that a forward pass keeps u, couplings, s and v, and one
//! sweep over the capsules is all an iteration needs. The backward pass goes through the iterations in reverse, a sweep each; what
//! they found makes the gradient of a vote a sum of few terms, which its last part turns into those of capsules and matrices.
//!
//! Matrices are dealt to shares, whose sums over capsules are added in their order. Their number, and that of the groups worked on
//! at a time, do not depend on the threads.

mod backward;
mod group;
mod sizes;

use candle_core::{Result, bail};
use pulp::Arch;
use rayon::prelude::*;

use super::{
    lanes::{WIDTH, lanes, lanes_mut, vectorised},
    real::Real,
    scratch::Buffer,
    storage::least_tasks,
    votes::Votes,
};
use crate::learn::kernels::Squash;
use group::{Activate, Agree, Sum, VoteSweep};
use sizes::{Chunk, Sizes, is_few};

/// Class capsules over slices, for operands of one shape; see [`super::class_capsules()`].
///
/// u `[batch, capsules, in_dim]`, weight `[matrices, in_dim, classes × dim]`, bias `[classes, dim]`, v `[batch, classes, dim]`;
/// gradients have the shapes of their operands. After its first passes a plan allocates nothing.
pub struct ClassCapsulesPlan<T: Real> {
    batch: usize,
    /// Whether the passes hold what a backward pass needs.
    is_ready: bool,
    many: Passes<T, WIDTH>,
    few: Passes<T, 1>,
}

impl<T: Real> ClassCapsulesPlan<T> {
    /// A plan for these shapes. Errors as [`super::class_capsules()`].
    pub fn new(u: [usize; 3], weight: [usize; 3], bias: [usize; 2], iterations: usize, kind: Squash) -> Result<Self> {
        let votes = check(&u, &weight, &bias, iterations)?;
        let [batch, capsules, _] = u;
        let many = Passes::new(Sizes { batch, capsules, votes, iterations, kind });
        Ok(Self { batch, is_ready: false, many, few: Passes::new(Sizes { batch, capsules, votes, iterations, kind }) })
    }

    /// Takes another number of samples (at least 1) from now on. Buffers grow when they have to and never shrink.
    pub fn set_batch(&mut self, batch: usize) {
        assert!(batch > 0, "a batch of no samples");
        self.is_ready = false;
        self.batch = batch;
        self.many.sizes.batch = batch;
        self.few.sizes.batch = batch;
    }

    /// Takes another number of iterations (at least 1) from now on. Buffers grow when they have to and never shrink.
    pub fn set_iterations(&mut self, iterations: usize) {
        assert!(iterations > 0, "a routing of no iterations");
        if self.many.sizes.iterations != iterations {
            self.is_ready = false;
            self.many.sizes.iterations = iterations;
            self.few.sizes.iterations = iterations;
        }
    }

    fn is_few(&self) -> bool {
        is_few(&self.many.sizes)
    }

    /// Writes the class capsules v.
    pub fn forward(&mut self, u: &[T], weight: &[T], bias: &[T], v: &mut [T]) {
        if self.is_few() {
            self.few.forward(u, weight, bias, v)
        } else {
            self.many.forward(u, weight, bias, v)
        }
        self.is_ready = true;
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
        assert!(self.is_ready, "a forward pass before");
        if self.is_few() {
            self.few.backward([u, weight, bias, dv], [du, dweight, dbias])
        } else {
            self.many.backward([u, weight, bias, dv], [du, dweight, dbias])
        }
    }

    /// Values in the buffers after passes over `batch` samples, with a backward pass too where it `is_training`.
    pub fn room(&self, batch: usize, is_training: bool) -> usize {
        let (many, few) = (Sizes { batch, ..self.many.sizes }, Sizes { batch, ..self.few.sizes });
        if is_few(&many) { few.room(is_training) } else { many.room(is_training) }
    }

    /// Multiply-adds of the forward and of the backward pass.
    pub fn work(&self) -> [u64; 2] {
        if self.is_few() { self.few.work() } else { self.many.work() }
    }
}

/// The passes with `L` samples in lanes; with one sample, lanes are the values of a vote, and votes are kept.
struct Passes<T: Real, const L: usize> {
    sizes: Sizes<L>,
    /// u, `[chunks, shares, groups, capsules, in_dim]` lanes.
    u: Buffer<T>,
    /// Couplings of the iterations but the first, `[chunks, iterations − 1, shares, groups, capsules, classes]` lanes.
    coupling: Buffer<T>,
    /// s of every iteration, `[chunks, iterations, groups, n]` lanes.
    s: Buffer<T>,
    /// v of every iteration, likewise.
    v: Buffer<T>,
    /// A chunk's sums over the capsules of each share, `[shares, groups, n]` lanes.
    sums: Buffer<T>,
    /// `[shares, groups, scratch]` lanes.
    scratch: Buffer<T>,
    /// A chunk's Σ v of iterations, or gradient of s, as a sweep needs it, `[groups, n]` lanes.
    x: Buffer<T>,
    /// Of one sample in lanes, a chunk's votes, `[shares, groups, capsules, n]`.
    votes: Buffer<T>,
    /// Gradient of a chunk's v, `[groups, n]` lanes.
    dv: Buffer<T>,
    /// A chunk's gradients of logits, as the couplings.
    dlogits: Buffer<T>,
    /// A chunk's gradients of u.
    du: Buffer<T>,
    /// A chunk's terms of the gradients of votes, `[groups, terms, n]` lanes, and as rows, `[groups, terms, samples, n]`.
    terms: Buffer<T>,
    rows: Buffer<T>,
}

/// Whether the shapes fit.
pub(super) fn check(u: &[usize], weight: &[usize], bias: &[usize], iterations: usize) -> Result<Votes> {
    if iterations == 0 {
        bail!("class_capsules: 0 iterations");
    }
    Votes::new(u, weight, bias)
}

/// Makes room for `len` values.
fn grow<T: Real>(buffer: &mut Buffer<T>, len: usize) {
    if buffer.len() < len {
        buffer.resize(len);
    }
}

impl<T: Real, const L: usize> Passes<T, L> {
    fn new(sizes: Sizes<L>) -> Self {
        let none = Buffer::empty;
        Self {
            sizes,
            u: none(),
            coupling: none(),
            s: none(),
            v: none(),
            sums: none(),
            scratch: none(),
            x: none(),
            votes: none(),
            dv: none(),
            dlogits: none(),
            du: none(),
            terms: none(),
            rows: none(),
        }
    }

    /// Multiply-adds of the forward and of the backward pass.
    fn work(&self) -> [u64; 2] {
        let sizes = self.sizes;
        let sweeps = (sizes.iterations - 1) * sizes.votes.work::<L>();
        let forward = sizes.votes.sum_work::<L>() + sweeps;
        let backward = sweeps + sizes.votes.backward_work::<L>(sizes.terms());
        [forward, backward].map(|work| (sizes.batch * work) as u64)
    }

    /// Writes the class capsules v.
    fn forward(&mut self, u: &[T], weight: &[T], bias: &[T], v: &mut [T]) {
        let sizes = self.sizes;
        let Votes { in_dim, classes, .. } = sizes.votes;
        let n = sizes.votes.n();
        assert_eq!(u.len(), sizes.batch * sizes.capsules * in_dim, "values of the capsules");
        assert_eq!(weight.len(), sizes.votes.matrices * sizes.votes.matrix(), "values of the matrices");
        assert_eq!([bias.len(), v.len()], [n, sizes.batch * n], "values of the bias and of the class capsules");
        let (groups, chunks) = (sizes.batch.div_ceil(L), sizes.chunks().count());
        // A chunk that is not the only one has room for all its groups.
        let held = groups.min(Sizes::<L>::GROUPS);
        let placed = sizes.shares() * sizes.capsules_of_a_share();
        grow(&mut self.u, L * (chunks * held * placed * in_dim));
        grow(&mut self.coupling, L * (chunks * held * (sizes.iterations - 1) * placed * classes));
        grow(&mut self.s, L * (chunks * held * sizes.iterations * n));
        grow(&mut self.v, L * (chunks * held * sizes.iterations * n));
        grow(&mut self.sums, L * (held * sizes.shares() * n));
        grow(&mut self.scratch, L * (held * sizes.shares() * sizes.votes.scratch(sizes.terms())));
        grow(&mut self.x, L * (held * n));
        grow(&mut self.votes, held * sizes.shares() * sizes.votes_of_a_share());
        for chunk in sizes.chunks() {
            self.gather(chunk, u);
            for r in 0..sizes.iterations {
                self.route(chunk, r, weight, bias);
            }
            let last = lanes::<T, L>(&self.v)[sizes.of_iteration(chunk, sizes.iterations - 1)].chunks_exact(n);
            let samples = chunk.index * Sizes::<L>::GROUPS * L * n..;
            for (v, group) in v[samples].chunks_mut(L * n).zip(last) {
                scatter(group, v, n);
            }
        }
    }

    /// Brings u of a chunk into lanes.
    fn gather(&mut self, chunk: Chunk, u: &[T]) {
        let sizes = self.sizes;
        let (in_dim, full) = (sizes.votes.in_dim, sizes.capsules_of_a_share());
        let sample = sizes.capsules * in_dim;
        let u = sizes.samples(u, chunk, sample);
        let work = u.len();
        let range = sizes.of_u(chunk);
        let to = &mut lanes_mut::<T, L>(&mut self.u)[range];
        to.par_chunks_mut(full * in_dim).with_min_len(least_tasks(work)).enumerate().for_each(|(task, to)| {
            let (share, group) = (task / chunk.groups, task % chunk.groups);
            let to = &mut to[..sizes.capsules_of(share) * in_dim];
            let samples = &u[group * L * sample..];
            let start = share * full * in_dim;
            vectorised!(|| {
                for lane in 0..L {
                    match samples.get(lane * sample + start..) {
                        Some(u) if lane * sample < samples.len() => {
                            to.iter_mut().zip(u).for_each(|(to, &u)| to[lane] = u)
                        }
                        _ => to.iter_mut().for_each(|to| to[lane] = T::zero()),
                    }
                }
            });
        });
    }

    /// One iteration of a chunk.
    fn route(&mut self, chunk: Chunk, r: usize, weight: &[T], bias: &[T]) {
        let sizes = self.sizes;
        let Votes { in_dim, classes, dim, .. } = sizes.votes;
        let (n, full, votes) = (sizes.votes.n(), sizes.capsules_of_a_share(), sizes.votes);
        let of_x = chunk.groups * n;
        let (s_range, u_range) = (sizes.of_iteration(chunk, r), sizes.of_u(chunk));
        let (of_coupling, coupling_len) = sizes.of_coupling(chunk);
        let (shares, kind, scratch_len) = (sizes.shares(), sizes.kind, votes.scratch(sizes.terms()));
        let work = chunk.groups * L * if r == 0 { votes.sum_work::<L>() } else { votes.work::<L>() };
        let u = lanes::<T, L>(&self.u)[u_range].par_chunks(full * in_dim);
        let tasks = lanes_mut::<T, L>(&mut self.sums)[..shares * of_x].par_chunks_mut(n);
        let tasks = tasks.zip(lanes_mut::<T, L>(&mut self.scratch).par_chunks_mut(scratch_len)).zip(u);
        let tasks = tasks.with_min_len(least_tasks(work)).enumerate();
        if r == 0 {
            let kept = self.votes.par_chunks_mut(sizes.votes_of_a_share());
            tasks.zip(kept).for_each(|((task, ((sum, scratch), u)), kept)| {
                let share = task / chunk.groups;
                let u = &u[..sizes.capsules_of(share) * in_dim];
                let weight = sizes.weights(weight, share);
                Arch::new().dispatch(Sum { votes, u, weight, sum, scratch, kept });
            });
        } else {
            let x = &lanes::<T, L>(&self.x)[..of_x];
            let coupling =
                &mut lanes_mut::<T, L>(&mut self.coupling)[of_coupling][(r - 1) * coupling_len..][..coupling_len];
            let kept = &self.votes;
            tasks.zip(coupling.par_chunks_mut(full * classes)).for_each(|((task, ((sum, scratch), u)), coupling)| {
                let (share, group) = (task / chunk.groups, task % chunk.groups);
                let u = &u[..sizes.capsules_of(share) * in_dim];
                let (weight, x) = (sizes.weights(weight, share), &x[group * n..][..n]);
                let kept = sizes.kept(kept, task);
                Arch::new().dispatch(VoteSweep { votes, u, x, weight, kept, sum, scratch, couple: Agree { coupling } });
            });
        }
        // The couplings of the first iteration are all alike.
        let scale = if r == 0 { T::one() / T::from_f64(classes as f64) } else { T::one() };
        let (s, v) =
            (&mut lanes_mut::<T, L>(&mut self.s)[s_range.clone()], &mut lanes_mut::<T, L>(&mut self.v)[s_range]);
        let totals = lanes_mut::<T, L>(&mut self.x)[..of_x].chunks_exact_mut(n);
        for (group, ((s, v), total)) in s.chunks_exact_mut(n).zip(v.chunks_exact_mut(n)).zip(totals).enumerate() {
            if r == 0 {
                total.fill([T::zero(); L]);
            }
            let sums = shares_of(lanes::<T, L>(&self.sums), [shares, chunk.groups, group], n);
            Arch::new().dispatch(Activate { kind, dim, sums, scale, bias, s, v, total });
        }
    }
}

/// What the shares found for a group, in their order.
fn shares_of<T, const L: usize>(
    sums: &[[T; L]],
    [shares, groups, group]: [usize; 3],
    n: usize,
) -> impl Iterator<Item = &[[T; L]]> {
    (0..shares).map(move |share| &sums[(share * groups + group) * n..][..n])
}

/// Lanes as rows of `n`, one a sample, of as many samples as there are.
fn scatter<T: Real, const L: usize>(group: &[[T; L]], rows: &mut [T], n: usize) {
    for (lane, row) in rows.chunks_exact_mut(n).enumerate() {
        row.iter_mut().zip(group).for_each(|(value, group)| *value = group[lane]);
    }
}

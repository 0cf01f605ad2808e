//! Class capsules over slices: votes and their routing, forward and backward.
//!
//! A vector lane is a sample: `L` samples are a group, and everything of a group is an array of lanes. With v the capsules of
//! the iterations before, an iteration's logits are `û_ij · Σ v_j`, so that a forward pass keeps u, couplings, s and v, and one
//! sweep over the capsules is all an iteration needs. The backward pass goes through the iterations in reverse, a sweep each; what
//! they found makes the gradient of a vote a sum of few terms, which its last part turns into those of capsules and matrices.
//!
//! Matrices are dealt to shares, whose sums over capsules are added in their order. Their number, and that of the groups worked on
//! at a time, do not depend on the threads.

use std::ops::Range;

use candle_core::{Result, bail};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    lanes::{WIDTH, lanes, lanes_mut, vectorised},
    real::Real,
    routing::{softmax, softmax_backward, squash, squash_backward},
    scratch::Buffer,
    storage::{for_each_chunk, least_tasks},
    votes::{Couple, Terms, Votes},
};
use crate::learn::kernels::Squash;

/// Shares of the matrices, at most.
const SHARES: usize = 16;

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

/// Whether lanes of samples would be so empty that it is faster to do one sample after the other: as measured.
fn is_few<const L: usize>(sizes: &Sizes<L>) -> bool {
    sizes.batch <= if sizes.votes.is_factored() { 3 } else { 8 }
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

#[derive(Clone, Copy)]
struct Sizes<const L: usize> {
    batch: usize,
    capsules: usize,
    votes: Votes,
    iterations: usize,
    kind: Squash,
}

impl<const L: usize> Sizes<L> {
    /// Groups of samples worked on together, a chunk: what is held for them alone does not grow with the batch. What one group of
    /// many samples leaves behind is best used while it is in cache; of single samples, the matrices are best used for some.
    const GROUPS: usize = if L == 1 { 8 } else { 1 };

    /// Terms of a vote's gradient: of the first iteration one, of every other two.
    fn terms(&self) -> usize {
        2 * self.iterations - 1
    }

    /// Values in all buffers: what [`Passes::forward`] and, where it `is_training`, [`Passes::backward`] make room for.
    fn room(&self, is_training: bool) -> usize {
        let Votes { in_dim, classes, .. } = self.votes;
        let (n, terms, later) = (self.votes.n(), self.terms(), self.iterations - 1);
        let held = self.batch.div_ceil(L).min(Self::GROUPS);
        let (all, placed) = (self.chunks().count() * held, self.shares() * self.capsules_of_a_share());
        let kept = all * (placed * (in_dim + later * classes) + 2 * self.iterations * n);
        let working = held * (self.shares() * (n + self.votes.scratch(terms)) + n);
        let votes = held * self.shares() * self.votes_of_a_share();
        let backward = held * (n + placed * (later * classes + in_dim) + 2 * terms * n);
        L * (kept + working + if is_training { backward } else { 0 }) + votes
    }

    fn matrices_of_a_share(&self) -> usize {
        self.votes.matrices.div_ceil(SHARES)
    }

    fn capsules_of_a_share(&self) -> usize {
        self.matrices_of_a_share() * self.votes.sharing
    }

    /// Values kept of the votes of a share and group; a slice for each has to have one.
    fn votes_of_a_share(&self) -> usize {
        if L == 1 { self.capsules_of_a_share() * self.votes.n() } else { 1 }
    }

    /// The kept votes of a share and group.
    fn kept<'a, T>(&self, votes: &'a [T], task: usize) -> &'a [T] {
        let len = self.votes_of_a_share();
        &votes[task * len..][..len]
    }

    fn shares(&self) -> usize {
        self.votes.matrices.div_ceil(self.matrices_of_a_share())
    }

    /// Capsules of one share: the last may have fewer.
    fn capsules_of(&self, share: usize) -> usize {
        let full = self.capsules_of_a_share();
        full.min(self.capsules - share * full)
    }

    fn chunks(&self) -> impl Iterator<Item = Chunk> + use<L> {
        let groups = self.batch.div_ceil(L);
        (0..groups.div_ceil(Self::GROUPS))
            .map(move |index| Chunk { index, groups: Self::GROUPS.min(groups - index * Self::GROUPS) })
    }

    /// Values of the samples of a chunk, `len` a sample.
    fn samples<'a, T>(&self, values: &'a [T], chunk: Chunk, len: usize) -> &'a [T] {
        let start = chunk.index * Self::GROUPS * L;
        &values[start * len..(start + chunk.groups * L).min(self.batch) * len]
    }

    /// Where s and v of an iteration stand, `[groups, n]`.
    fn of_iteration(&self, chunk: Chunk, r: usize) -> Range<usize> {
        let n = self.votes.n();
        let start = (chunk.index * Self::GROUPS * self.iterations + r * chunk.groups) * n;
        start..start + chunk.groups * n
    }

    /// Where u of a chunk stands.
    fn of_u(&self, chunk: Chunk) -> Range<usize> {
        let len = self.shares() * self.capsules_of_a_share() * self.votes.in_dim;
        chunk.index * Self::GROUPS * len..(chunk.index * Self::GROUPS + chunk.groups) * len
    }

    /// Where the couplings of a chunk's iterations but the first stand, and how many an iteration has.
    fn of_coupling(&self, chunk: Chunk) -> (Range<usize>, usize) {
        let group = self.shares() * self.capsules_of_a_share() * self.votes.classes;
        let start = chunk.index * Self::GROUPS * group * (self.iterations - 1);
        (start..start + chunk.groups * group * (self.iterations - 1), chunk.groups * group)
    }

    /// The weights of a share.
    fn weights<'a, T>(&self, weight: &'a [T], share: usize) -> &'a [T] {
        let full = self.matrices_of_a_share();
        let matrices = full.min(self.votes.matrices - share * full);
        &weight[share * full * self.votes.matrix()..][..matrices * self.votes.matrix()]
    }
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

/// Where the values of a chunk of groups stand.
#[derive(Clone, Copy)]
struct Chunk {
    index: usize,
    groups: usize,
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

    /// Overwrites the gradients of capsules, matrices and bias, given that of v, after [`Self::forward`] of the same operands.
    fn backward(&mut self, [u, weight, bias, dv]: [&[T]; 4], [du, dweight, dbias]: [&mut [T]; 3]) {
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

/// Capsules whose matrices and gradients are worked on for all groups at a time.
const BLOCK: usize = 4;

/// What the shares found for a group, in their order.
fn shares_of<T, const L: usize>(
    sums: &[[T; L]],
    [shares, groups, group]: [usize; 3],
    n: usize,
) -> impl Iterator<Item = &[[T; L]]> {
    (0..shares).map(move |share| &sums[(share * groups + group) * n..][..n])
}

/// `out += x`
#[inline(always)]
fn add<T: Real>(out: &mut [T], x: &[T]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out += x;
    }
}

/// Runs `$body` with `$votes`, in f32 compiled apart for the sizes of the published network: with constants, loops are unrolled.
macro_rules! for_sizes {
    ($t:ty, $from:expr, |$votes:ident| $body:expr) => {
        if size_of::<$t>() == size_of::<f32>() && $from.in_dim == 8 && $from.dim == 16 {
            let $votes = Votes { in_dim: 8, dim: 16, ..$from };
            $body
        } else {
            let $votes = $from;
            $body
        }
    };
}

/// The sum of a share's votes for a group.
struct Sum<'a, T, const L: usize> {
    votes: Votes,
    u: &'a [[T; L]],
    weight: &'a [T],
    sum: &'a mut [[T; L]],
    scratch: &'a mut [[T; L]],
    kept: &'a mut [T],
}

impl<T: Real, const L: usize> WithSimd for Sum<'_, T, L> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { votes, u, weight, sum, scratch, kept } = self;
        sum.fill([T::zero(); L]);
        if L == 1 {
            let (u, sum) = (u.as_flattened(), sum.as_flattened_mut());
            for_sizes!(T, votes, |sized| sized.sum_of_sample(simd, u, weight, sum, kept));
        } else {
            for_sizes!(T, votes, |sized| sized.sum(simd, u, weight, sum, scratch));
        }
    }
}

/// A sweep over a share's votes for a group.
struct VoteSweep<'a, T, C, const L: usize> {
    votes: Votes,
    u: &'a [[T; L]],
    x: &'a [[T; L]],
    weight: &'a [T],
    kept: &'a [T],
    sum: &'a mut [[T; L]],
    scratch: &'a mut [[T; L]],
    couple: C,
}

impl<T: Real, const L: usize, C: Couple<T, L>> WithSimd for VoteSweep<'_, T, C, L> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let Self { votes, u, x, weight, kept, sum, scratch, couple } = &mut self;
        sum.fill([T::zero(); L]);
        if L == 1 {
            let (capsules, x, sum) = (u.len() / votes.in_dim, x.as_flattened(), sum.as_flattened_mut());
            let kept = &kept[..capsules * votes.n()];
            for_sizes!(T, *votes, |sized| sized.sweep_of_sample(simd, [kept, x], sum, scratch, couple));
        } else {
            for_sizes!(T, *votes, |sized| sized.sweep(simd, [*u, *x], weight, sum, scratch, couple));
        }
    }
}

/// From logits to couplings, which are kept.
struct Agree<'a, T, const L: usize> {
    coupling: &'a mut [[T; L]],
}

impl<T: Real, const L: usize> Couple<T, L> for Agree<'_, T, L> {
    #[inline(always)]
    fn couple<S: Simd>(&mut self, simd: S, i: usize, logits: &mut [[T; L]]) {
        softmax(simd, logits);
        for (kept, coupling) in self.coupling[i * logits.len()..].iter_mut().zip(&*logits) {
            *kept = *coupling;
        }
    }
}

/// From the gradients of couplings to those of logits, which are kept.
struct Disagree<'a, T, const L: usize> {
    coupling: &'a [[T; L]],
    /// What the iteration after this one says about its logits, which are sums: nothing, if there is none.
    later: &'a [[T; L]],
    dlogits: &'a mut [[T; L]],
}

impl<T: Real, const L: usize> Couple<T, L> for Disagree<'_, T, L> {
    #[inline(always)]
    fn couple<S: Simd>(&mut self, simd: S, i: usize, gradients: &mut [[T; L]]) {
        let classes = gradients.len();
        let at = i * classes..(i + 1) * classes;
        softmax_backward(simd, &self.coupling[at.clone()], gradients);
        if let Some(later) = self.later.get(at.clone()) {
            for (gradient, later) in gradients.iter_mut().zip(later) {
                T::add_times(simd, gradient, T::one(), later);
            }
        }
        for (kept, gradient) in self.dlogits[at].iter_mut().zip(&*gradients) {
            *kept = *gradient;
        }
    }
}

/// From the sums of the shares for a group to its s, v, and the sum of v over the iterations.
struct Activate<'a, T, I, const L: usize> {
    kind: Squash,
    dim: usize,
    sums: I,
    scale: T,
    bias: &'a [T],
    s: &'a mut [[T; L]],
    v: &'a mut [[T; L]],
    total: &'a mut [[T; L]],
}

impl<'a, T: Real, const L: usize, I: Iterator<Item = &'a [[T; L]]>> WithSimd for Activate<'_, T, I, L> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { kind, dim, sums, scale, bias, s, v, total } = self;
        s.fill([T::zero(); L]);
        for sum in sums {
            add(s.as_flattened_mut(), sum.as_flattened());
        }
        for (s, &bias) in s.iter_mut().zip(bias) {
            let sum = *s;
            *s = [bias; L];
            T::add_times(simd, s, scale, &sum);
        }
        for (s, v) in s.chunks_exact(dim).zip(v.chunks_exact_mut(dim)) {
            squash(simd, kind, s, v);
        }
        add(total.as_flattened_mut(), v.as_flattened());
    }
}

/// From the gradient of v to that of s, times `scale`, and of the bias.
struct Deactivate<'a, T, const L: usize> {
    kind: Squash,
    dim: usize,
    s: &'a [[T; L]],
    dv: &'a [[T; L]],
    ds: &'a mut [[T; L]],
    dbias: &'a mut [T],
    scale: T,
}

impl<T: Real, const L: usize> WithSimd for Deactivate<'_, T, L> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { kind, dim, s, dv, ds, dbias, scale } = self;
        for (s, (dv, ds)) in s.chunks_exact(dim).zip(dv.chunks_exact(dim).zip(ds.chunks_exact_mut(dim))) {
            squash_backward(simd, kind, s, dv, ds);
        }
        for (dbias, ds) in dbias.iter_mut().zip(&*ds) {
            *dbias += ds.iter().copied().sum::<T>();
        }
        for ds in ds.as_flattened_mut() {
            *ds *= scale;
        }
    }
}

/// The gradients of some capsules and their matrices, from one group.
struct Weigh<'a, T, const L: usize> {
    votes: Votes,
    u: &'a [[T; L]],
    weight: &'a [T],
    terms: Terms<'a, T, L>,
    du: &'a mut [[T; L]],
    dweight: &'a mut [T],
    scratch: &'a mut [[T; L]],
}

impl<T: Real, const L: usize> WithSimd for Weigh<'_, T, L> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { votes, u, weight, terms, du, dweight, scratch } = self;
        if L == 1 {
            let (u, du, scratch) = (u.as_flattened(), du.as_flattened_mut(), scratch.as_flattened_mut());
            for_sizes!(T, votes, |sized| sized.backward_of_sample(simd, [u, weight], &terms, du, dweight, scratch));
        } else {
            for_sizes!(T, votes, |sized| sized.backward(simd, (u, weight), &terms, (du, dweight), scratch));
        }
    }
}

/// Lanes as rows of `n`, one a sample, of as many samples as there are.
fn scatter<T: Real, const L: usize>(group: &[[T; L]], rows: &mut [T], n: usize) {
    for (lane, row) in rows.chunks_exact_mut(n).enumerate() {
        row.iter_mut().zip(group).for_each(|(value, group)| *value = group[lane]);
    }
}

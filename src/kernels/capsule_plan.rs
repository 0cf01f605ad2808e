//! Class capsules over slices: votes and their routing, forward and backward.
//!
//! A vector lane is a sample: [`WIDTH`] samples are a group, and everything of a group is an array of lanes. With v the capsules of
//! the iterations before, an iteration's logits are `û_ij · Σ v_j`, so that a forward pass keeps couplings, s and v alone, and one
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
    lanes::{Lanes, WIDTH, lanes, lanes_mut, vectorised},
    routing::{softmax, softmax_backward, squash, squash_backward},
    scratch::Buffer,
    storage::{Real, for_each_chunk, least_tasks},
    votes::{Couple, Terms, Votes},
};
use crate::model::config::Squash;

/// Groups of samples worked on together: what is held for them alone does not grow with the batch.
const GROUPS: usize = 8;
/// Shares of the matrices, at most.
const SHARES: usize = 16;

/// Class capsules over slices, for operands of one shape; see [`super::class_capsules()`].
///
/// u `[batch, capsules, in_dim]`, weight `[matrices, in_dim, classes × dim]`, bias `[classes, dim]`, v `[batch, classes, dim]`;
/// gradients have the shapes of their operands. After its first passes a plan allocates nothing.
pub struct ClassCapsulesPlan<T: Real> {
    sizes: Sizes,
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
    /// Gradient of a chunk's v, likewise.
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
struct Sizes {
    batch: usize,
    capsules: usize,
    votes: Votes,
    iterations: usize,
    kind: Squash,
}

impl Sizes {
    /// Terms of a vote's gradient: of the first iteration one, of every other two.
    fn terms(&self) -> usize {
        2 * self.iterations - 1
    }

    fn matrices_of_a_share(&self) -> usize {
        self.votes.matrices.div_ceil(SHARES)
    }

    fn capsules_of_a_share(&self) -> usize {
        self.matrices_of_a_share() * self.votes.sharing
    }

    fn shares(&self) -> usize {
        self.votes.matrices.div_ceil(self.matrices_of_a_share())
    }

    /// Capsules of one share: the last may have fewer.
    fn capsules_of(&self, share: usize) -> usize {
        let full = self.capsules_of_a_share();
        full.min(self.capsules - share * full)
    }

    fn chunks(&self) -> impl Iterator<Item = Chunk> + use<> {
        let groups = self.batch.div_ceil(WIDTH);
        (0..groups.div_ceil(GROUPS)).map(move |index| Chunk { index, groups: GROUPS.min(groups - index * GROUPS) })
    }

    /// Values of the samples of a chunk, `len` a sample.
    fn samples<'a, T>(&self, values: &'a [T], chunk: Chunk, len: usize) -> &'a [T] {
        let start = chunk.index * GROUPS * WIDTH;
        &values[start * len..(start + chunk.groups * WIDTH).min(self.batch) * len]
    }

    /// Where s and v of an iteration stand, `[groups, n]`.
    fn of_iteration(&self, chunk: Chunk, r: usize) -> Range<usize> {
        let n = self.votes.n();
        let start = (chunk.index * GROUPS * self.iterations + r * chunk.groups) * n;
        start..start + chunk.groups * n
    }

    /// Where u of a chunk stands.
    fn of_u(&self, chunk: Chunk) -> Range<usize> {
        let len = self.shares() * self.capsules_of_a_share() * self.votes.in_dim;
        chunk.index * GROUPS * len..(chunk.index * GROUPS + chunk.groups) * len
    }

    /// Where the couplings of a chunk's iterations but the first stand, and how many an iteration has.
    fn of_coupling(&self, chunk: Chunk) -> (Range<usize>, usize) {
        let group = self.shares() * self.capsules_of_a_share() * self.votes.classes;
        let start = chunk.index * GROUPS * group * (self.iterations - 1);
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

/// Makes room for `len` lanes.
fn grow<T: Real>(buffer: &mut Buffer<T>, len: usize) {
    if buffer.len() < len * WIDTH {
        *buffer = Buffer::new(len * WIDTH);
    }
}

/// Where the values of a chunk of groups stand.
#[derive(Clone, Copy)]
struct Chunk {
    index: usize,
    groups: usize,
}

impl<T: Real> ClassCapsulesPlan<T> {
    /// A plan for these shapes. Errors as [`super::class_capsules()`].
    pub fn new(u: [usize; 3], weight: [usize; 3], bias: [usize; 2], iterations: usize, kind: Squash) -> Result<Self> {
        let votes = check(&u, &weight, &bias, iterations)?;
        let none = || Buffer::new(0);
        Ok(Self {
            sizes: Sizes { batch: u[0], capsules: u[1], votes, iterations, kind },
            u: none(),
            coupling: none(),
            s: none(),
            v: none(),
            sums: none(),
            scratch: none(),
            x: none(),
            dv: none(),
            dlogits: none(),
            du: none(),
            terms: none(),
            rows: none(),
        })
    }

    /// Takes another number of samples from now on. Buffers grow when they have to and never shrink.
    pub fn set_batch(&mut self, batch: usize) {
        self.sizes.batch = batch;
    }

    /// Multiply-adds of the forward and of the backward pass.
    pub fn work(&self) -> [u64; 2] {
        let sizes = self.sizes;
        let sweeps = (sizes.iterations - 1) * sizes.votes.work();
        let forward = sizes.votes.sum_work() + sweeps;
        let backward = sweeps + sizes.votes.backward_work(sizes.terms());
        [forward, backward].map(|work| (sizes.batch * work) as u64)
    }

    /// Writes the class capsules v.
    pub fn forward(&mut self, u: &[T], weight: &[T], bias: &[T], v: &mut [T]) {
        let sizes = self.sizes;
        let Votes { in_dim, classes, .. } = sizes.votes;
        let n = sizes.votes.n();
        assert_eq!(u.len(), sizes.batch * sizes.capsules * in_dim, "values of the capsules");
        assert_eq!(weight.len(), sizes.votes.matrices * sizes.votes.matrix(), "values of the matrices");
        assert_eq!([bias.len(), v.len()], [n, sizes.batch * n], "values of the bias and of the class capsules");
        let (groups, chunks) = (sizes.batch.div_ceil(WIDTH), sizes.chunks().count());
        // A chunk that is not the only one has room for all its groups.
        let held = groups.min(GROUPS);
        let placed = sizes.shares() * sizes.capsules_of_a_share();
        grow(&mut self.u, chunks * held * placed * in_dim);
        grow(&mut self.coupling, chunks * held * (sizes.iterations - 1) * placed * classes);
        grow(&mut self.s, chunks * held * sizes.iterations * n);
        grow(&mut self.v, chunks * held * sizes.iterations * n);
        grow(&mut self.sums, held * sizes.shares() * n);
        grow(&mut self.scratch, held * sizes.shares() * sizes.votes.scratch(sizes.terms()));
        grow(&mut self.x, held * n);
        for chunk in sizes.chunks() {
            self.gather(chunk, u);
            for r in 0..sizes.iterations {
                self.route(chunk, r, weight, bias);
            }
            let last = lanes(&self.v)[sizes.of_iteration(chunk, sizes.iterations - 1)].chunks_exact(n);
            let samples = chunk.index * GROUPS * WIDTH * n..;
            for (v, group) in v[samples].chunks_mut(WIDTH * n).zip(last) {
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
        let to = &mut lanes_mut(&mut self.u)[range];
        to.par_chunks_mut(full * in_dim).with_min_len(least_tasks(work)).enumerate().for_each(|(task, to)| {
            let (share, group) = (task / chunk.groups, task % chunk.groups);
            let to = &mut to[..sizes.capsules_of(share) * in_dim];
            let samples = &u[group * WIDTH * sample..];
            let start = share * full * in_dim;
            vectorised!(|| {
                for lane in 0..WIDTH {
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
        let work = chunk.groups * WIDTH * if r == 0 { votes.sum_work() } else { votes.work() };
        let u = lanes(&self.u)[u_range].par_chunks(full * in_dim);
        let tasks = lanes_mut(&mut self.sums)[..shares * of_x].par_chunks_mut(n);
        let tasks = tasks.zip(lanes_mut(&mut self.scratch).par_chunks_mut(scratch_len)).zip(u);
        let tasks = tasks.with_min_len(least_tasks(work)).enumerate();
        if r == 0 {
            tasks.for_each(|(task, ((sum, scratch), u))| {
                let share = task / chunk.groups;
                let u = &u[..sizes.capsules_of(share) * in_dim];
                let weight = sizes.weights(weight, share);
                Arch::new().dispatch(Sum { votes, u, weight, sum, scratch });
            });
        } else {
            let x = &lanes(&self.x)[..of_x];
            let coupling = &mut lanes_mut(&mut self.coupling)[of_coupling][(r - 1) * coupling_len..][..coupling_len];
            tasks.zip(coupling.par_chunks_mut(full * classes)).for_each(|((task, ((sum, scratch), u)), coupling)| {
                let (share, group) = (task / chunk.groups, task % chunk.groups);
                let u = &u[..sizes.capsules_of(share) * in_dim];
                let (weight, x) = (sizes.weights(weight, share), &x[group * n..][..n]);
                Arch::new().dispatch(Sweep { votes, u, x, weight, sum, scratch, couple: Agree { coupling } });
            });
        }
        // The couplings of the first iteration are all alike.
        let scale = if r == 0 { T::one() / T::from_f64(classes as f64) } else { T::one() };
        let (s, v) = (&mut lanes_mut(&mut self.s)[s_range.clone()], &mut lanes_mut(&mut self.v)[s_range]);
        let totals = lanes_mut(&mut self.x)[..of_x].chunks_exact_mut(n);
        for (group, ((s, v), total)) in s.chunks_exact_mut(n).zip(v.chunks_exact_mut(n)).zip(totals).enumerate() {
            if r == 0 {
                total.fill([T::zero(); WIDTH]);
            }
            let sums = shares_of(lanes(&self.sums), [shares, chunk.groups, group], n);
            Arch::new().dispatch(Activate { kind, dim, sums, scale, bias, s, v, total });
        }
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
        let sizes = self.sizes;
        let Votes { in_dim, classes, .. } = sizes.votes;
        let (n, terms) = (sizes.votes.n(), sizes.terms());
        assert_eq!([u.len(), dv.len()], [du.len(), sizes.batch * n], "values of the gradients");
        assert_eq!([weight.len(), bias.len()], [dweight.len(), dbias.len()], "values of the gradients");
        let held = sizes.batch.div_ceil(WIDTH).min(GROUPS);
        let placed = sizes.shares() * sizes.capsules_of_a_share();
        grow(&mut self.dv, held * n);
        grow(&mut self.dlogits, held * (sizes.iterations - 1) * placed * classes);
        grow(&mut self.du, held * placed * in_dim);
        grow(&mut self.terms, held * terms * n);
        grow(&mut self.rows, held * terms * n);
        dweight.fill(T::zero());
        dbias.fill(T::zero());
        let sample = sizes.capsules * in_dim;
        for chunk in sizes.chunks() {
            let from = sizes.samples(dv, chunk, n);
            let to = &mut lanes_mut(&mut self.dv)[..chunk.groups * n];
            to.fill([T::zero(); WIDTH]);
            for (samples, group) in from.chunks(WIDTH * n).zip(to.chunks_exact_mut(n)) {
                for (lane, sample) in samples.chunks_exact(n).enumerate() {
                    group.iter_mut().zip(sample).for_each(|(group, &value)| group[lane] = value);
                }
            }
            for r in (0..sizes.iterations).rev() {
                self.route_backward(chunk, r, weight, dbias);
            }
            self.weigh(chunk, weight, dweight);
            let start = chunk.index * GROUPS * WIDTH * sample;
            let end = du.len().min(start + chunk.groups * WIDTH * sample);
            self.give_back(chunk, &mut du[start..end]);
        }
    }

    /// The gradients that one iteration of a chunk passes on: of s as a term, of its logits, and of the v before.
    fn route_backward(&mut self, chunk: Chunk, r: usize, weight: &[T], dbias: &mut [T]) {
        let sizes = self.sizes;
        let Votes { in_dim, classes, dim, .. } = sizes.votes;
        let (n, full, votes, terms) = (sizes.votes.n(), sizes.capsules_of_a_share(), sizes.votes, sizes.terms());
        let (range, kind) = (sizes.of_iteration(chunk, r), sizes.kind);
        let s = lanes(&self.s)[range].chunks_exact(n);
        let ds = lanes_mut(&mut self.x)[..chunk.groups * n].chunks_exact_mut(n);
        let dv = lanes(&self.dv).chunks_exact(n);
        let held = lanes_mut(&mut self.terms)[..chunk.groups * terms * n].chunks_exact_mut(terms * n);
        let rows = self.rows[..chunk.groups * terms * n * WIDTH].chunks_exact_mut(terms * n * WIDTH);
        let v = (r > 0).then(|| sizes.of_iteration(chunk, r - 1));
        for (group, ((((s, dv), ds), held), rows)) in s.zip(dv).zip(ds).zip(held).zip(rows).enumerate() {
            let scale = if r == 0 { T::one() / T::from_f64(classes as f64) } else { T::one() };
            let mut place = |m: usize, lanes: &[Lanes<T>]| {
                held[m * n..][..n].copy_from_slice(lanes);
                scatter(lanes, &mut rows[m * n * WIDTH..][..n * WIDTH], n);
            };
            Arch::new().dispatch(Deactivate { kind, dim, s, dv, ds, dbias, scale });
            place(if r == 0 { 0 } else { 2 * r - 1 }, ds);
            if let Some(v) = &v {
                place(2 * r, &lanes(&self.v)[v.clone()][group * n..][..n]);
            }
        }
        if r == 0 {
            return;
        }
        let shares = sizes.shares();
        let (u_range, (of_coupling, len)) = (sizes.of_u(chunk), sizes.of_coupling(chunk));
        let x = &lanes(&self.x)[..chunk.groups * n];
        let coupling = lanes(&self.coupling)[of_coupling][(r - 1) * len..][..len].par_chunks(full * classes);
        // The iteration after this one passed its gradients of logits on; of the last iteration there is none.
        let last = r + 1 == sizes.iterations;
        let (dlogits_now, later) = lanes_mut(&mut self.dlogits)[(r - 1) * len..].split_at_mut(len);
        let later = &*later;
        let tasks = lanes_mut(&mut self.sums)[..shares * chunk.groups * n].par_chunks_mut(n);
        let tasks = tasks.zip(lanes_mut(&mut self.scratch).par_chunks_mut(votes.scratch(terms)));
        let tasks = tasks.zip(lanes(&self.u)[u_range].par_chunks(full * in_dim));
        let tasks = tasks.zip(coupling).zip(dlogits_now.par_chunks_mut(full * classes));
        let work = chunk.groups * WIDTH * votes.work();
        tasks.with_min_len(least_tasks(work)).enumerate().for_each(
            |(task, ((((sum, scratch), u), coupling), dlogits))| {
                let (share, group) = (task / chunk.groups, task % chunk.groups);
                let u = &u[..sizes.capsules_of(share) * in_dim];
                let (weight, x) = (sizes.weights(weight, share), &x[group * n..][..n]);
                let later = if last { &[][..] } else { &later[task * full * classes..][..full * classes] };
                let couple = Disagree { coupling, later, dlogits };
                Arch::new().dispatch(Sweep { votes, u, x, weight, sum, scratch, couple });
            },
        );
        for (group, dv) in lanes_mut(&mut self.dv)[..chunk.groups * n].chunks_exact_mut(n).enumerate() {
            dv.fill([T::zero(); WIDTH]);
            for sum in shares_of(lanes(&self.sums), [shares, chunk.groups, group], n) {
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
        let coupling = &lanes(&self.coupling)[of_coupling];
        let dlogits = lanes(&self.dlogits);
        let tasks = dweight.par_chunks_mut(sizes.matrices_of_a_share() * votes.matrix());
        let tasks = tasks.zip(lanes_mut(&mut self.du).par_chunks_mut(chunk.groups * full * in_dim));
        let tasks = tasks.zip(lanes_mut(&mut self.scratch).par_chunks_mut(votes.scratch(count)));
        let tasks = tasks.zip(lanes(&self.u)[u_range].par_chunks(chunk.groups * full * in_dim));
        let work = chunk.groups * WIDTH * votes.backward_work(count);
        tasks.with_min_len(least_tasks(work)).enumerate().for_each(|(share, (((dweight, du), scratch), u))| {
            let weight = sizes.weights(weight, share);
            let capsules = sizes.capsules_of(share);
            // A block of matrices and their gradients stays in cache for all groups.
            let block = BLOCK.div_ceil(votes.sharing);
            for start in (0..capsules / votes.sharing).step_by(block) {
                let end = (start + block).min(capsules / votes.sharing);
                let of = start * votes.matrix()..end * votes.matrix();
                let (first, end) = (start * votes.sharing, end * votes.sharing);
                for group in 0..chunk.groups {
                    let at = (share * chunk.groups + group) * full * classes;
                    let skip = |values: &'_ [Lanes<T>]| (at + first * classes).min(values.len());
                    let terms = Terms {
                        factors: [&coupling[skip(coupling)..], &dlogits[skip(dlogits)..]],
                        stride: len,
                        x: &lanes(&self.terms)[group * count * n..][..count * n],
                        rows: &self.rows[group * count * n * WIDTH..][..count * n * WIDTH],
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
        let held = lanes(&self.du);
        let work = du.len();
        for_each_chunk(du, sample, work, |index, du| {
            let (group, lane) = (index / WIDTH, index % WIDTH);
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
fn shares_of<T>(sums: &[Lanes<T>], [shares, groups, group]: [usize; 3], n: usize) -> impl Iterator<Item = &[Lanes<T>]> {
    (0..shares).map(move |share| &sums[(share * groups + group) * n..][..n])
}

/// `out += x`
#[inline(always)]
fn add<T: Real>(out: &mut [T], x: &[T]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out += x;
    }
}

/// Runs `$body` with `$votes`, compiled apart for the sizes of the published network: with constants, loops are unrolled.
macro_rules! for_sizes {
    ($from:expr, |$votes:ident| $body:expr) => {
        if $from.in_dim == 8 && $from.dim == 16 {
            let $votes = Votes { in_dim: 8, dim: 16, ..$from };
            $body
        } else {
            let $votes = $from;
            $body
        }
    };
}

/// The sum of a share's votes for a group.
struct Sum<'a, T> {
    votes: Votes,
    u: &'a [Lanes<T>],
    weight: &'a [T],
    sum: &'a mut [Lanes<T>],
    scratch: &'a mut [Lanes<T>],
}

impl<T: Real> WithSimd for Sum<'_, T> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.sum.fill([T::zero(); WIDTH]);
        for_sizes!(self.votes, |votes| votes.sum(simd, self.u, self.weight, self.sum, self.scratch));
    }
}

/// A sweep over a share's votes for a group.
struct Sweep<'a, T, C> {
    votes: Votes,
    u: &'a [Lanes<T>],
    x: &'a [Lanes<T>],
    weight: &'a [T],
    sum: &'a mut [Lanes<T>],
    scratch: &'a mut [Lanes<T>],
    couple: C,
}

impl<T: Real, C: Couple<T>> WithSimd for Sweep<'_, T, C> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        self.sum.fill([T::zero(); WIDTH]);
        for_sizes!(self.votes, |votes| votes.sweep(
            simd,
            [self.u, self.x],
            self.weight,
            self.sum,
            self.scratch,
            &mut self.couple
        ));
    }
}

/// From logits to couplings, which are kept.
struct Agree<'a, T> {
    coupling: &'a mut [Lanes<T>],
}

impl<T: Real> Couple<T> for Agree<'_, T> {
    #[inline(always)]
    fn couple<S: Simd>(&mut self, simd: S, i: usize, logits: &mut [Lanes<T>]) {
        softmax(simd, logits);
        self.coupling[i * logits.len()..][..logits.len()].copy_from_slice(logits);
    }
}

/// From the gradients of couplings to those of logits, which are kept.
struct Disagree<'a, T> {
    coupling: &'a [Lanes<T>],
    /// What the iteration after this one says about its logits, which are sums: nothing, if there is none.
    later: &'a [Lanes<T>],
    dlogits: &'a mut [Lanes<T>],
}

impl<T: Real> Couple<T> for Disagree<'_, T> {
    #[inline(always)]
    fn couple<S: Simd>(&mut self, simd: S, i: usize, gradients: &mut [Lanes<T>]) {
        let classes = gradients.len();
        let at = i * classes..(i + 1) * classes;
        softmax_backward(simd, &self.coupling[at.clone()], gradients);
        if let Some(later) = self.later.get(at.clone()) {
            for (gradient, later) in gradients.iter_mut().zip(later) {
                T::add_times(simd, gradient, T::one(), later);
            }
        }
        self.dlogits[at].copy_from_slice(gradients);
    }
}

/// From the sums of the shares for a group to its s, v, and the sum of v over the iterations.
struct Activate<'a, T, I> {
    kind: Squash,
    dim: usize,
    sums: I,
    scale: T,
    bias: &'a [T],
    s: &'a mut [Lanes<T>],
    v: &'a mut [Lanes<T>],
    total: &'a mut [Lanes<T>],
}

impl<'a, T: Real, I: Iterator<Item = &'a [Lanes<T>]>> WithSimd for Activate<'_, T, I> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { kind, dim, sums, scale, bias, s, v, total } = self;
        s.fill([T::zero(); WIDTH]);
        for sum in sums {
            add(s.as_flattened_mut(), sum.as_flattened());
        }
        for (s, &bias) in s.iter_mut().zip(bias) {
            let sum = *s;
            *s = [bias; WIDTH];
            T::add_times(simd, s, scale, &sum);
        }
        for (s, v) in s.chunks_exact(dim).zip(v.chunks_exact_mut(dim)) {
            squash(simd, kind, s, v);
        }
        add(total.as_flattened_mut(), v.as_flattened());
    }
}

/// From the gradient of v to that of s, times `scale`, and of the bias.
struct Deactivate<'a, T> {
    kind: Squash,
    dim: usize,
    s: &'a [Lanes<T>],
    dv: &'a [Lanes<T>],
    ds: &'a mut [Lanes<T>],
    dbias: &'a mut [T],
    scale: T,
}

impl<T: Real> WithSimd for Deactivate<'_, T> {
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
struct Weigh<'a, T> {
    votes: Votes,
    u: &'a [Lanes<T>],
    weight: &'a [T],
    terms: Terms<'a, T>,
    du: &'a mut [Lanes<T>],
    dweight: &'a mut [T],
    scratch: &'a mut [Lanes<T>],
}

impl<T: Real> WithSimd for Weigh<'_, T> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for_sizes!(self.votes, |votes| votes.backward(
            simd,
            self.u,
            self.weight,
            &self.terms,
            self.du,
            self.dweight,
            self.scratch
        ));
    }
}

/// Lanes as rows of `n`, one a sample, of as many samples as there are.
fn scatter<T: Real>(group: &[Lanes<T>], rows: &mut [T], n: usize) {
    for (lane, row) in rows.chunks_exact_mut(n).enumerate() {
        row.iter_mut().zip(group).for_each(|(value, group)| *value = group[lane]);
    }
}

//! How class capsules are divided: samples into lanes, groups and chunks, matrices into shares; and where the values of each
//! stand in the buffers.

use std::ops::Range;

use crate::learn::kernels::{Squash, votes::Votes};

/// Shares of the matrices, at most.
const SHARES: usize = 16;

#[derive(Clone, Copy)]
pub(super) struct Sizes<const L: usize> {
    pub(super) batch: usize,
    pub(super) capsules: usize,
    pub(super) votes: Votes,
    pub(super) iterations: usize,
    pub(super) kind: Squash,
}

impl<const L: usize> Sizes<L> {
    /// Groups of samples worked on together, a chunk: what is held for them alone does not grow with the batch. What one group of
    /// many samples leaves behind is best used while it is in cache; of single samples, the matrices are best used for some.
    pub(super) const GROUPS: usize = if L == 1 { 8 } else { 1 };

    /// Terms of a vote's gradient: of the first iteration one, of every other two.
    pub(super) fn terms(&self) -> usize {
        2 * self.iterations - 1
    }

    /// Values in all buffers: what `Passes::forward` and, where it `is_training`, `Passes::backward` make room for.
    pub(super) fn room(&self, is_training: bool) -> usize {
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

    pub(super) fn matrices_of_a_share(&self) -> usize {
        self.votes.matrices.div_ceil(SHARES)
    }

    pub(super) fn capsules_of_a_share(&self) -> usize {
        self.matrices_of_a_share() * self.votes.sharing
    }

    /// Values kept of the votes of a share and group; a slice for each has to have one.
    pub(super) fn votes_of_a_share(&self) -> usize {
        if L == 1 { self.capsules_of_a_share() * self.votes.n() } else { 1 }
    }

    /// The kept votes of a share and group.
    pub(super) fn kept<'a, T>(&self, votes: &'a [T], task: usize) -> &'a [T] {
        let len = self.votes_of_a_share();
        &votes[task * len..][..len]
    }

    pub(super) fn shares(&self) -> usize {
        self.votes.matrices.div_ceil(self.matrices_of_a_share())
    }

    /// Capsules of one share: the last may have fewer.
    pub(super) fn capsules_of(&self, share: usize) -> usize {
        let full = self.capsules_of_a_share();
        full.min(self.capsules - share * full)
    }

    pub(super) fn chunks(&self) -> impl Iterator<Item = Chunk> + use<L> {
        let groups = self.batch.div_ceil(L);
        (0..groups.div_ceil(Self::GROUPS))
            .map(move |index| Chunk { index, groups: Self::GROUPS.min(groups - index * Self::GROUPS) })
    }

    /// Values of the samples of a chunk, `len` a sample.
    pub(super) fn samples<'a, T>(&self, values: &'a [T], chunk: Chunk, len: usize) -> &'a [T] {
        let start = chunk.index * Self::GROUPS * L;
        &values[start * len..(start + chunk.groups * L).min(self.batch) * len]
    }

    /// Where s and v of an iteration stand, `[groups, n]`.
    pub(super) fn of_iteration(&self, chunk: Chunk, r: usize) -> Range<usize> {
        let n = self.votes.n();
        let start = (chunk.index * Self::GROUPS * self.iterations + r * chunk.groups) * n;
        start..start + chunk.groups * n
    }

    /// Where u of a chunk stands.
    pub(super) fn of_u(&self, chunk: Chunk) -> Range<usize> {
        let len = self.shares() * self.capsules_of_a_share() * self.votes.in_dim;
        chunk.index * Self::GROUPS * len..(chunk.index * Self::GROUPS + chunk.groups) * len
    }

    /// Where the couplings of a chunk's iterations but the first stand, and how many an iteration has.
    pub(super) fn of_coupling(&self, chunk: Chunk) -> (Range<usize>, usize) {
        let group = self.shares() * self.capsules_of_a_share() * self.votes.classes;
        let start = chunk.index * Self::GROUPS * group * (self.iterations - 1);
        (start..start + chunk.groups * group * (self.iterations - 1), chunk.groups * group)
    }

    /// The weights of a share.
    pub(super) fn weights<'a, T>(&self, weight: &'a [T], share: usize) -> &'a [T] {
        let full = self.matrices_of_a_share();
        let matrices = full.min(self.votes.matrices - share * full);
        &weight[share * full * self.votes.matrix()..][..matrices * self.votes.matrix()]
    }
}

/// Where the values of a chunk of groups stand.
#[derive(Clone, Copy)]
pub(super) struct Chunk {
    pub(super) index: usize,
    pub(super) groups: usize,
}

/// Whether lanes of samples would be so empty that it is faster to do one sample after the other: as measured.
pub(super) fn is_few<const L: usize>(sizes: &Sizes<L>) -> bool {
    sizes.batch <= if sizes.votes.is_factored() { 3 } else { 8 }
}

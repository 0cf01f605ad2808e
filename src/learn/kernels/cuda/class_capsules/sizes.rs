//! The sizes of class capsules on the GPU: of their buffers, and of the grids of their kernels.

use candle_core::{Result, bail};

use crate::learn::kernels::capsule_plan;

/// Warps of a block that sweeps over capsules; samples × values of votes in a thread (`WARPS` and `TILE` of class_capsules.cu).
pub(super) const WARPS: usize = 8;
const TILE: usize = 32;
/// Rows of a matrix that the kernel of the gradients has at a time (`SLAB` of class_capsules_gradient.cu).
pub(super) const SLAB: usize = 8;
pub(super) const WARP: usize = 32;
/// Bytes of shared memory that a block of any device can have from compute capability 8.0 on.
pub(super) const SHARED: usize = 96 << 10;
/// Values of all classes that it has threads for, four a thread (its launch bounds).
const MOST_ROW: usize = 4 * 512;
/// Samples of a block of the kernels for more classes than a warp has lanes (`S` of class_capsules_wide.cu).
const WIDE_SAMPLES: usize = 4;
/// Samples whose values the kernel of the gradients has in shared memory at a time, where they fit.
pub(super) const SAMPLES: usize = 8;

/// In which order capsules come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapsuleOrder {
    /// `[batch, capsules, in_dim]`
    BySample,
    /// `[positions, batch, types, in_dim]`: capsule `type × positions + position`.
    ByPosition { types: usize },
}

#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) most: usize,
    pub(super) capsules: usize,
    pub(super) matrices: usize,
    pub(super) in_dim: usize,
    pub(super) classes: usize,
    pub(super) dim: usize,
    pub(super) iterations: usize,
    pub(super) positions: usize,
}

/// The kernels made for class capsules of `filled` dimensions, in their module.
pub(super) struct Kernels {
    pub(super) filled: usize,
    pub(super) module: &'static str,
    pub(super) first: &'static str,
    pub(super) sweep: &'static str,
    pub(super) back: &'static str,
}

const KERNELS: [Kernels; 4] = [
    Kernels {
        filled: 8,
        module: "class_capsules",
        first: "class_capsules_first_8",
        sweep: "class_capsules_sweep_8",
        back: "class_capsules_back_8",
    },
    Kernels {
        filled: 16,
        module: "class_capsules",
        first: "class_capsules_first_16",
        sweep: "class_capsules_sweep_16",
        back: "class_capsules_back_16",
    },
    Kernels {
        filled: 32,
        module: "class_capsules",
        first: "class_capsules_first_32",
        sweep: "class_capsules_sweep_32",
        back: "class_capsules_back_32",
    },
    Kernels {
        filled: 64,
        module: "class_capsules",
        first: "class_capsules_first_64",
        sweep: "class_capsules_sweep_64",
        back: "class_capsules_back_64",
    },
];

/// For more classes than a warp has lanes.
const WIDE: [Kernels; 4] = [wide(8), wide(16), wide(32), wide(64)];

const fn wide(filled: usize) -> Kernels {
    Kernels {
        filled,
        module: "class_capsules_wide",
        first: "class_capsules_wide_first",
        sweep: "class_capsules_wide_sweep",
        back: "class_capsules_wide_back",
    }
}

/// How the kernels that sweep over capsules are launched for a batch.
pub(super) struct Grid {
    pub(super) blocks: [usize; 2],
    pub(super) shared: usize,
    /// What the kernels are told of it, last.
    pub(super) told: Vec<usize>,
}

impl Sizes {
    pub(super) fn new(
        most: usize,
        capsules: usize,
        weight: [usize; 3],
        bias: [usize; 2],
        iterations: usize,
        order: CapsuleOrder,
    ) -> Result<Sizes> {
        let [matrices, in_dim, _] = weight;
        capsule_plan::check(&[most, capsules, in_dim], &weight, &bias, iterations)?;
        let [classes, dim] = bias;
        let positions = match order {
            CapsuleOrder::BySample => 1,
            CapsuleOrder::ByPosition { types } if types > 0 && capsules.is_multiple_of(types) => capsules / types,
            CapsuleOrder::ByPosition { types } => {
                bail!("class_capsules: {capsules} capsules of {types} types: they have to be a multiple of these")
            }
        };
        let sizes = Sizes { most, capsules, matrices, in_dim, classes, dim, iterations, positions };
        let most_dim = KERNELS[KERNELS.len() - 1].filled;
        if dim > most_dim || sizes.row() > MOST_ROW || sizes.wide_shared() > SHARED {
            bail!(
                "class_capsules: {classes} classes of {dim} dimensions, of capsules of {in_dim}: a GPU takes up to {most_dim} \
                 dimensions, up to {MOST_ROW} in all classes (each of 8, 16, 32 or 64 dimensions by then); the CPU takes more"
            );
        }
        if sizes.gradient_shared(1, sizes.held()) > SHARED {
            bail!(
                "class_capsules: {iterations} iterations for {classes} classes of {dim} dimensions: what the gradient of one \
                 sample needs at a time is more than a block of a GPU can hold; ask for fewer iterations, or for the CPU"
            );
        }
        Ok(sizes)
    }

    pub(super) fn kernels(&self) -> &'static Kernels {
        let kernels = if self.is_wide() { &WIDE } else { &KERNELS };
        kernels.iter().find(|kernels| kernels.filled >= self.dim).expect("a dimension that was checked")
    }

    /// Whether a warp's lanes are too few for the classes.
    fn is_wide(&self) -> bool {
        self.classes > WARP
    }

    /// Bytes of shared memory of the kernels for so many classes: votes, sums, products, factors and capsules of their samples.
    fn wide_shared(&self) -> usize {
        if self.is_wide() { 4 * WIDE_SAMPLES * (2 * self.row() + 2 * self.classes + self.wide()) } else { 0 }
    }

    /// in_dim, filled up to a multiple of 4.
    pub(super) fn wide(&self) -> usize {
        self.in_dim.next_multiple_of(4)
    }

    /// Values of all classes in this module's own arrays.
    pub(super) fn row(&self) -> usize {
        self.classes * self.kernels().filled
    }

    pub(super) fn sharing(&self) -> usize {
        self.capsules / self.matrices
    }

    /// Capsules of a block. A small batch makes few blocks, so that they are of fewer capsules; many capsules make no more blocks
    /// than full size's, as all hand on sums.
    pub(super) fn chunk(&self, batch: usize) -> usize {
        let least = if batch <= 64 { 8 } else { 16 };
        least.max(self.capsules.div_ceil(144))
    }

    /// Values that the blocks of any batch hand on, at most.
    pub(super) fn most_sums(&self) -> usize {
        let sums = |batch: usize| self.capsules.div_ceil(self.chunk(batch)) * batch * self.row();
        sums(self.most).max(sums(self.most.min(64)))
    }

    pub(super) fn grid(&self, batch: usize) -> Grid {
        let chunk = self.chunk(batch);
        if self.is_wide() {
            return Grid {
                blocks: [batch.div_ceil(WIDE_SAMPLES), self.capsules.div_ceil(chunk)],
                shared: self.wide_shared(),
                told: vec![chunk, self.kernels().filled],
            };
        }
        let (filled, slots) = (self.kernels().filled, WARP / self.classes);
        let in_thread = (TILE / filled).max(1);
        let of_warp = slots * in_thread;
        let shared = |groups: usize, rows: usize| {
            let ways = WARPS / groups;
            let staged = rows * self.classes * (filled / 4 + 1) + groups * of_warp * (rows / 4);
            let handed = (ways - 1) * groups * in_thread * (filled / 4) * WARP;
            let kept = if filled <= TILE { WARPS * WARP * in_thread * (filled / 4) } else { 0 };
            16 * (2 * ways * staged + kept).max(handed)
        };
        let mut groups = batch.div_ceil(of_warp).clamp(1, WARPS).next_power_of_two();
        let mut rows = self.wide().min(8);
        if shared(groups, rows) > SHARED {
            rows = 4;
        }
        while shared(groups, rows) > SHARED && groups < WARPS {
            groups *= 2;
        }
        Grid {
            blocks: [batch.div_ceil(groups * of_warp), self.capsules.div_ceil(chunk)],
            shared: shared(groups, rows),
            told: vec![chunk, groups, rows],
        }
    }

    /// Threads for a capsule in the kernel of the gradients.
    pub(super) fn lanes(&self) -> usize {
        (self.row() / 4).next_multiple_of(8)
    }

    /// Capsules of one of its blocks.
    pub(super) fn held(&self) -> usize {
        (384 / self.lanes()).clamp(1, self.capsules)
    }

    pub(super) fn gradient_threads(&self, held: usize) -> usize {
        (held * self.lanes()).next_multiple_of(WARP)
    }

    /// Bytes of shared memory that it needs with so many samples at a time.
    pub(super) fn gradient_shared(&self, samples: usize, held: usize) -> usize {
        let later = self.iterations - 1;
        let values =
            (2 * later + 1) * self.row() + held * SLAB + self.gradient_threads(held) + 2 * later * held * self.classes;
        4 * samples * values
    }

    /// Values in each of the buffers, in the order of the fields.
    pub(super) fn lengths(&self) -> [usize; 10] {
        let Sizes { most, capsules, matrices, in_dim, classes, dim, iterations, .. } = *self;
        let (rows, later) = (most * self.row(), iterations - 1);
        let is_filled = dim == self.kernels().filled && in_dim == self.wide();
        [
            if is_filled { 0 } else { matrices * self.wide() * self.row() },
            if in_dim == self.wide() { 0 } else { most * capsules * self.wide() },
            later * capsules * most * classes,
            later * capsules * most * classes,
            self.most_sums(),
            iterations * rows,
            iterations * rows,
            later * rows,
            rows,
            if self.sharing() == 1 { 0 } else { capsules * in_dim * classes * dim },
        ]
    }
}

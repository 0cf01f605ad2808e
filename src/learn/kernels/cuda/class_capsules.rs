//! Class capsules on the GPU: votes and their routing, forward and backward. The kernels, and how they divide the work, stand in
//! `class_capsules.cu` and `class_capsules_gradient.cu`; here are the sizes of their grids and what lies between them.

use candle_core::{Result, bail};

use super::{Address, Argument, Buffer, Gpu, arguments, squash::kind_of};
use crate::learn::kernels::{Squash, capsule_plan};

/// Warps of a block that sweeps over capsules; samples × values of votes in a thread (`WARPS` and `TILE` of class_capsules.cu).
const WARPS: usize = 8;
const TILE: usize = 32;
/// Rows of a matrix that the kernel of the gradients has at a time (`SLAB` of class_capsules_gradient.cu).
const SLAB: usize = 8;
/// The module with it.
const GRADIENT: &str = "class_capsules_gradient";
const WARP: usize = 32;
/// Bytes of shared memory that a block of any device can have from compute capability 8.0 on.
const SHARED: usize = 96 << 10;
/// Samples whose values the kernel of the gradients has in shared memory at a time, where they fit.
const SAMPLES: usize = 8;

/// In which order capsules come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapsuleOrder {
    /// `[batch, capsules, in_dim]`
    BySample,
    /// `[positions, batch, types, in_dim]`: capsule `type × positions + position`.
    ByPosition { types: usize },
}

/// Class capsules of up to `most` samples, for operands of one shape; see [`crate::learn::kernels::class_capsules()`].
///
/// Its buffers stay where they are for its life, and its passes allocate nothing, so that a graph of them can be replayed.
pub struct ClassCapsules {
    sizes: Sizes,
    kind: Squash,
    /// Matrices whose rows are filled up, `[matrices, wide, classes, filled]`, and capsules, `[.., wide]`: where they are not so
    /// by themselves.
    weight: Option<Buffer<f32>>,
    u: Option<Buffer<f32>>,
    /// Of the iterations but the first, couplings and gradients of logits, `[iterations − 1, capsules, batch, classes]`.
    coupling: Buffer<f32>,
    dlogits: Buffer<f32>,
    /// What blocks hand to the next kernel, `[chunks, batch, row]`.
    sums: Buffer<f32>,
    /// Of every iteration, `[iterations, batch, row]`: s and its gradient. Of all but the last, the sum of the v so far.
    s: Buffer<f32>,
    ds: Buffer<f32>,
    totals: Buffer<f32>,
    /// The gradient of the sum of the v so far, `[batch, row]`.
    later: Buffer<f32>,
    /// Where capsules share matrices, the gradients they would have alone.
    of_capsules: Option<Buffer<f32>>,
}

#[derive(Clone, Copy)]
struct Sizes {
    most: usize,
    capsules: usize,
    matrices: usize,
    in_dim: usize,
    classes: usize,
    dim: usize,
    iterations: usize,
    positions: usize,
}

/// The kernels made for class capsules of `filled` dimensions.
struct Kernels {
    filled: usize,
    first: &'static str,
    sweep: &'static str,
    back: &'static str,
}

const KERNELS: [Kernels; 4] = [
    Kernels {
        filled: 8,
        first: "class_capsules_first_8",
        sweep: "class_capsules_sweep_8",
        back: "class_capsules_back_8",
    },
    Kernels {
        filled: 16,
        first: "class_capsules_first_16",
        sweep: "class_capsules_sweep_16",
        back: "class_capsules_back_16",
    },
    Kernels {
        filled: 32,
        first: "class_capsules_first_32",
        sweep: "class_capsules_sweep_32",
        back: "class_capsules_back_32",
    },
    Kernels {
        filled: 64,
        first: "class_capsules_first_64",
        sweep: "class_capsules_sweep_64",
        back: "class_capsules_back_64",
    },
];

/// How the kernels that sweep over capsules are launched for a batch.
struct Grid {
    blocks: [usize; 2],
    shared: usize,
    chunk: usize,
    groups: usize,
    rows: usize,
}

impl Sizes {
    fn new(
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
        if classes > WARP || dim > most_dim {
            bail!(
                "class_capsules: {classes} classes of {dim} dimensions: a GPU takes up to {WARP} of up to {most_dim}; the CPU \
                 takes more"
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

    fn kernels(&self) -> &'static Kernels {
        KERNELS.iter().find(|kernels| kernels.filled >= self.dim).expect("a dimension that was checked")
    }

    /// in_dim, filled up to a multiple of 4.
    fn wide(&self) -> usize {
        self.in_dim.next_multiple_of(4)
    }

    /// Values of all classes in this module's own arrays.
    fn row(&self) -> usize {
        self.classes * self.kernels().filled
    }

    fn sharing(&self) -> usize {
        self.capsules / self.matrices
    }

    /// Capsules of a block. A small batch makes few blocks, so that they are of fewer capsules; many capsules make no more blocks
    /// than full size's, as all hand on sums.
    fn chunk(&self, batch: usize) -> usize {
        let least = if batch <= 64 { 8 } else { 16 };
        least.max(self.capsules.div_ceil(144))
    }

    /// Values that the blocks of any batch hand on, at most.
    fn most_sums(&self) -> usize {
        let sums = |batch: usize| self.capsules.div_ceil(self.chunk(batch)) * batch * self.row();
        sums(self.most).max(sums(self.most.min(64)))
    }

    fn grid(&self, batch: usize) -> Grid {
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
        let chunk = self.chunk(batch);
        Grid {
            blocks: [batch.div_ceil(groups * of_warp), self.capsules.div_ceil(chunk)],
            shared: shared(groups, rows),
            chunk,
            groups,
            rows,
        }
    }

    /// Threads for a capsule in the kernel of the gradients.
    fn lanes(&self) -> usize {
        (self.row() / 4).next_multiple_of(8)
    }

    /// Capsules of one of its blocks.
    fn held(&self) -> usize {
        (384 / self.lanes()).clamp(1, self.capsules)
    }

    fn gradient_threads(&self, held: usize) -> usize {
        (held * self.lanes()).next_multiple_of(WARP)
    }

    /// Bytes of shared memory that it needs with so many samples at a time.
    fn gradient_shared(&self, samples: usize, held: usize) -> usize {
        let later = self.iterations - 1;
        let values =
            (2 * later + 1) * self.row() + held * SLAB + self.gradient_threads(held) + 2 * later * held * self.classes;
        4 * samples * values
    }

    /// Values in each of the buffers, in the order of the fields.
    fn lengths(&self) -> [usize; 10] {
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

impl ClassCapsules {
    /// For up to `most` samples of `capsules` capsules; weight `[matrices, in_dim, classes × dim]`, bias `[classes, dim]`.
    ///
    /// Errors: shapes that do not fit, more than 32 classes or 64 dimensions, no memory.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        gpu: &Gpu,
        most: usize,
        capsules: usize,
        weight: [usize; 3],
        bias: [usize; 2],
        iterations: usize,
        kind: Squash,
        order: CapsuleOrder,
    ) -> Result<Self> {
        let sizes = Sizes::new(most, capsules, weight, bias, iterations, order)?;
        let [weight, u, coupling, dlogits, sums, s, ds, totals, later, of_capsules] = sizes.lengths();
        let wanted = |len: usize| if len == 0 { Ok(None) } else { gpu.zeros(len).map(Some) };
        Ok(ClassCapsules {
            sizes,
            kind,
            weight: wanted(weight)?,
            u: wanted(u)?,
            coupling: gpu.zeros(coupling)?,
            dlogits: gpu.zeros(dlogits)?,
            sums: gpu.zeros(sums)?,
            s: gpu.zeros(s)?,
            ds: gpu.zeros(ds)?,
            totals: gpu.zeros(totals)?,
            later: gpu.zeros(later)?,
            of_capsules: wanted(of_capsules)?,
        })
    }

    /// Bytes of its buffers. Errors as [`Self::new`].
    pub fn bytes(
        most: usize,
        capsules: usize,
        weight: [usize; 3],
        bias: [usize; 2],
        iterations: usize,
    ) -> Result<usize> {
        let sizes = Sizes::new(most, capsules, weight, bias, iterations, CapsuleOrder::BySample)?;
        Ok(sizes.lengths().iter().sum::<usize>() * size_of::<f32>())
    }

    /// Writes the class capsules v `[batch, classes, dim]` of the capsules u.
    ///
    /// Errors: more samples than this was made for; u or weight not on a multiple of 16 bytes.
    pub fn forward(
        &self,
        gpu: &Gpu,
        batch: usize,
        u: Address<f32>,
        weight: Address<f32>,
        bias: Address<f32>,
        v: Address<f32>,
    ) -> Result<()> {
        let sizes = self.sizes;
        let Sizes { classes, dim, iterations, .. } = sizes;
        self.fill(gpu, batch, u, weight)?;
        let (u, weight) = self.operands(u, weight)?;
        let (rows, couplings) = (batch * sizes.row(), sizes.capsules * batch * classes);
        let kernels = sizes.kernels();
        for k in 0..iterations {
            let sums = self.sums.start();
            if k == 0 {
                self.sweep(gpu, kernels.first, batch, arguments![u, weight, sums])?;
            } else {
                let (total, coupling) = (self.totals.at((k - 1) * rows), self.coupling.at((k - 1) * couplings));
                self.sweep(gpu, kernels.sweep, batch, arguments![u, weight, total, coupling, sums])?;
            }
            let is_last = k + 1 == iterations;
            let before = if k == 0 || is_last { Address::null() } else { self.totals.at((k - 1) * rows) };
            let total = if is_last { Address::null() } else { self.totals.at(k * rows) };
            let scale = if k == 0 { 1. / classes as f32 } else { 1. };
            let (chunks, s) = (sizes.capsules.div_ceil(sizes.chunk(batch)), self.s.at(k * rows));
            let v = if is_last { v } else { Address::null() };
            let kind = kind_of(self.kind);
            let filled = kernels.filled;
            self.finish(
                gpu,
                "class_capsules_finish",
                batch,
                arguments![batch, classes, dim, filled, chunks, sums, bias, scale, kind, s, before, total, v],
            )?;
        }
        Ok(())
    }

    /// Overwrites the gradients of capsules (in the order of u), matrices and bias, given that of v, after [`Self::forward`] of the
    /// same operands.
    #[allow(clippy::too_many_arguments)]
    pub fn backward(
        &self,
        gpu: &Gpu,
        batch: usize,
        u: Address<f32>,
        weight: Address<f32>,
        dv: Address<f32>,
        du: Address<f32>,
        dweight: Address<f32>,
        dbias: Address<f32>,
    ) -> Result<()> {
        let sizes = self.sizes;
        let Sizes { capsules, in_dim, classes, dim, iterations, .. } = sizes;
        let (u, weight) = self.operands(u, weight)?;
        let (rows, couplings) = (batch * sizes.row(), capsules * batch * classes);
        let (kernels, chunks) = (sizes.kernels(), capsules.div_ceil(sizes.chunk(batch)));
        let filled = kernels.filled;
        let (sums, later) = (self.sums.start(), self.later.start());
        for k in (0..iterations).rev() {
            let is_last = k + 1 == iterations;
            let is_first_time = usize::from(k + 2 == iterations);
            let given = if is_last { dv } else { Address::null() };
            let (kind, s, ds) = (kind_of(self.kind), self.s.at(k * rows), self.ds.at(k * rows));
            self.finish(
                gpu,
                "class_capsules_finish_back",
                batch,
                arguments![batch, classes, dim, filled, chunks, sums, given, later, is_first_time, kind, s, ds],
            )?;
            if k > 0 {
                let (coupling, dlogits) = (self.coupling.at((k - 1) * couplings), self.dlogits.at((k - 1) * couplings));
                self.sweep(gpu, kernels.back, batch, arguments![u, weight, ds, coupling, dlogits, sums])?;
            }
        }
        let of_capsules = self.of_capsules.as_ref().map_or(dweight, Buffer::start);
        self.gradients(gpu, batch, u, weight, du, of_capsules)?;
        if self.of_capsules.is_some() {
            let values = in_dim * classes * dim;
            let count = sizes.matrices * values;
            let arguments = arguments![of_capsules, dweight, sizes.sharing(), values, Argument::Long(count as i64)];
            // SAFETY: the kernel's arguments; it reads `capsules × values` and writes `count`, for which there is room.
            unsafe {
                gpu.launch((GRADIENT, "class_capsules_share"), count.div_ceil(256), 256, 0, arguments)?;
            }
        }
        let arguments = arguments![classes, dim, filled, iterations * batch, self.ds.start(), dbias];
        // SAFETY: the kernel's arguments; it reads `iterations × batch` rows of ds and writes as many values as the bias has.
        unsafe { gpu.launch((GRADIENT, "class_capsules_bias"), sizes.row().div_ceil(WARP), 256, 0, arguments) }
    }

    /// Fills up the operands that need it, after a look at the batch.
    fn fill(&self, gpu: &Gpu, batch: usize, u: Address<f32>, weight: Address<f32>) -> Result<()> {
        let Sizes { most, capsules, matrices, in_dim, classes, dim, .. } = self.sizes;
        if batch > most {
            bail!("class_capsules: {batch} samples, made for up to {most}");
        }
        let (filled, wide) = (self.sizes.kernels().filled, self.sizes.wide());
        let pack = |from: Address<f32>,
                    to: &Buffer<f32>,
                    [values, filled]: [usize; 2],
                    [rows, filled_rows]: [usize; 2],
                    count: usize| {
            let arguments =
                arguments![from, to.start(), values, filled, rows, filled_rows, Argument::Long(count as i64)];
            // SAFETY: the kernel's arguments; it writes `count` values, for which `to` was made, and reads those of the operand.
            unsafe { gpu.launch(("class_capsules", "class_capsules_pack"), count.div_ceil(256), 256, 0, arguments) }
        };
        if let Some(to) = &self.weight {
            let count = matrices * wide * classes * filled;
            pack(weight, to, [dim, filled], [in_dim * classes, wide * classes], count)?;
        }
        if let Some(to) = &self.u {
            pack(u, to, [in_dim, wide], [1, 1], batch * capsules * wide)?;
        }
        Ok(())
    }

    /// u and weight as kernels take them.
    fn operands(&self, u: Address<f32>, weight: Address<f32>) -> Result<(Address<f32>, Address<f32>)> {
        let of = |filled: &Option<Buffer<f32>>, operand: Address<f32>, name: &str| match filled {
            Some(filled) => Ok(filled.start()),
            None if operand.at.is_multiple_of(16) => Ok(operand),
            None => bail!("class_capsules: {name} has to begin on a multiple of 16 bytes"),
        };
        Ok((of(&self.u, u, "u")?, of(&self.weight, weight, "weight")?))
    }

    /// What every kernel over capsules is told first.
    fn shape(&self, batch: usize) -> [Argument; 6] {
        let Sizes { capsules, classes, positions, .. } = self.sizes;
        [batch, capsules, self.sizes.wide(), classes, self.sizes.sharing(), positions].map(Argument::from)
    }

    fn sweep(&self, gpu: &Gpu, name: &'static str, batch: usize, own: &[Argument]) -> Result<()> {
        let grid = self.sizes.grid(batch);
        let all = [&self.shape(batch), own, arguments![grid.chunk, grid.groups, grid.rows]].concat();
        // SAFETY: the arguments of these kernels in their order; operands are of the shapes this was made for, and the buffers
        // were made for `most` samples, no fewer than the batch, which was checked.
        unsafe { gpu.launch(("class_capsules", name), grid.blocks, WARPS * WARP, grid.shared, &all) }
    }

    fn finish(&self, gpu: &Gpu, name: &'static str, batch: usize, arguments: &[Argument]) -> Result<()> {
        let row = self.sizes.row();
        // Some parts of the chunks are summed side by side.
        let threads = (row * (1024 / row).clamp(1, 8)).next_multiple_of(WARP).min(1024);
        let shared = 4 * (row.max(threads) + row + 2 * self.sizes.classes);
        // SAFETY: as above.
        unsafe { gpu.launch(("class_capsules", name), batch, threads, shared, arguments) }
    }

    fn gradients(
        &self,
        gpu: &Gpu,
        batch: usize,
        u: Address<f32>,
        weight: Address<f32>,
        du: Address<f32>,
        dweight: Address<f32>,
    ) -> Result<()> {
        let sizes = self.sizes;
        let (held, filled) = (sizes.held(), sizes.kernels().filled);
        let mut samples = SAMPLES;
        while sizes.gradient_shared(samples, held) > SHARED {
            samples /= 2;
        }
        let own = arguments![
            sizes.in_dim,
            sizes.dim,
            filled,
            sizes.iterations,
            u,
            weight,
            self.ds.start(),
            self.totals.start(),
            self.coupling.start(),
            self.dlogits.start(),
            du,
            dweight,
            held,
            sizes.lanes(),
            samples,
        ];
        let all = [&self.shape(batch), &own[..]].concat();
        let blocks = [sizes.capsules.div_ceil(held), sizes.in_dim.div_ceil(SLAB)];
        let shared = sizes.gradient_shared(samples, held);
        // SAFETY: as above; shared memory is what the kernel divides.
        unsafe { gpu.launch((GRADIENT, "class_capsules_gradient"), blocks, sizes.gradient_threads(held), shared, &all) }
    }
}

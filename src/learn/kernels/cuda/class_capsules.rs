//! Class capsules on the GPU: votes and their routing, forward and backward. The kernels, and how they divide the work, stand in
//! `class_capsules.cu`, `class_capsules_wide.cu` and `class_capsules_gradient.cu`; here are the sizes of their grids and what lies between them.

mod sizes;

use candle_core::{Result, bail};

use super::{Argument, Buffer, Gpu, Input, Output, arguments, squash::kind_of};
use crate::learn::kernels::Squash;
pub use sizes::CapsuleOrder;
use sizes::{SAMPLES, SHARED, SLAB, Sizes, WARP, WARPS};

/// The module with the kernel of the gradients.
const GRADIENT: &str = "class_capsules_gradient";

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

impl ClassCapsules {
    /// For up to `most` samples of `capsules` capsules and up to `iterations` iterations; weight `[matrices, in_dim, classes × dim]`,
    /// bias `[classes, dim]`.
    ///
    /// Errors: shapes that do not fit, more than 64 dimensions or 2048 in all classes, no memory.
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

    /// Writes the class capsules v `[batch, classes, dim]` of the capsules u, after as many iterations as this was made for, or as are
    /// given.
    ///
    /// Errors: more samples or iterations than this was made for; u or weight not on a multiple of 16 bytes.
    #[expect(clippy::too_many_arguments, reason = "operands and results")]
    pub fn forward(
        &self,
        gpu: &Gpu,
        batch: usize,
        iterations: Option<usize>,
        u: Input<f32>,
        weight: Input<f32>,
        bias: Input<f32>,
        v: Output<f32>,
    ) -> Result<()> {
        let sizes = self.routing(iterations)?;
        let Sizes { classes, dim, iterations, .. } = sizes;
        self.check(batch, u, weight)?;
        bias.need("class_capsules: bias", classes * dim)?;
        v.need("class_capsules: v", batch * classes * dim)?;
        self.fill(gpu, batch, u, weight)?;
        let (u, weight) = self.operands(u, weight)?;
        let (rows, couplings) = (batch * sizes.row(), sizes.capsules * batch * classes);
        let kernels = sizes.kernels();
        for k in 0..iterations {
            let sums = self.sums.output();
            if k == 0 {
                self.sweep(gpu, kernels.first, batch, arguments![u, weight, sums])?;
            } else {
                let total = self.totals.input().part((k - 1) * rows, rows);
                let coupling = self.coupling.output().part((k - 1) * couplings, couplings);
                self.sweep(gpu, kernels.sweep, batch, arguments![u, weight, total, coupling, sums])?;
            }
            let is_last = k + 1 == iterations;
            let before = (k > 0 && !is_last).then(|| self.totals.input().part((k - 1) * rows, rows));
            let total = (!is_last).then(|| self.totals.output().part(k * rows, rows));
            let scale = if k == 0 { 1. / classes as f32 } else { 1. };
            let (chunks, s) = (sizes.capsules.div_ceil(sizes.chunk(batch)), self.s.output().part(k * rows, rows));
            let v = is_last.then_some(v);
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
    /// same operands and iterations.
    #[allow(clippy::too_many_arguments)]
    pub fn backward(
        &self,
        gpu: &Gpu,
        batch: usize,
        iterations: Option<usize>,
        u: Input<f32>,
        weight: Input<f32>,
        dv: Input<f32>,
        du: Output<f32>,
        dweight: Output<f32>,
        dbias: Output<f32>,
    ) -> Result<()> {
        let sizes = self.routing(iterations)?;
        let Sizes { capsules, matrices, in_dim, classes, dim, iterations, .. } = sizes;
        self.check(batch, u, weight)?;
        dv.need("class_capsules: dv", batch * classes * dim)?;
        du.need("class_capsules: du", batch * capsules * in_dim)?;
        dweight.need("class_capsules: dweight", matrices * in_dim * classes * dim)?;
        dbias.need("class_capsules: dbias", classes * dim)?;
        let (u, weight) = self.operands(u, weight)?;
        let (rows, couplings) = (batch * sizes.row(), capsules * batch * classes);
        let (kernels, chunks) = (sizes.kernels(), capsules.div_ceil(sizes.chunk(batch)));
        let filled = kernels.filled;
        let (sums, later) = (self.sums.output(), self.later.output());
        for k in (0..iterations).rev() {
            let is_last = k + 1 == iterations;
            let is_first_time = usize::from(k + 2 == iterations);
            let given = is_last.then_some(dv);
            let (s, ds) = (self.s.input().part(k * rows, rows), self.ds.output().part(k * rows, rows));
            let kind = kind_of(self.kind);
            self.finish(
                gpu,
                "class_capsules_finish_back",
                batch,
                arguments![batch, classes, dim, filled, chunks, sums, given, later, is_first_time, kind, s, ds],
            )?;
            if k > 0 {
                let coupling = self.coupling.input().part((k - 1) * couplings, couplings);
                let dlogits = self.dlogits.output().part((k - 1) * couplings, couplings);
                self.sweep(gpu, kernels.back, batch, arguments![u, weight, ds, coupling, dlogits, sums])?;
            }
        }
        let of_capsules = self.of_capsules.as_ref().map_or(dweight, Buffer::output);
        self.gradients(gpu, sizes, batch, u, weight, du, of_capsules)?;
        if self.of_capsules.is_some() {
            let values = in_dim * classes * dim;
            let count = sizes.matrices * values;
            let arguments = arguments![of_capsules, dweight, sizes.sharing(), values, Argument::Long(count as i64)];
            // SAFETY: the kernel's arguments; it reads `capsules × values` and writes `count`, for which there is room.
            unsafe {
                gpu.launch((GRADIENT, "class_capsules_share"), count.div_ceil(256), 256, 0, arguments)?;
            }
        }
        let arguments = arguments![classes, dim, filled, iterations * batch, self.ds.input(), dbias];
        // SAFETY: the kernel's arguments; it reads `iterations × batch` rows of ds and writes as many values as the bias has.
        unsafe { gpu.launch((GRADIENT, "class_capsules_bias"), sizes.row().div_ceil(WARP), 256, 0, arguments) }
    }

    /// The sizes with another number of iterations, where one is given.
    fn routing(&self, iterations: Option<usize>) -> Result<Sizes> {
        let most = self.sizes.iterations;
        match iterations.unwrap_or(most) {
            iterations if (1..=most).contains(&iterations) => Ok(Sizes { iterations, ..self.sizes }),
            iterations => bail!("class_capsules: {iterations} iterations, made for 1 to {most}"),
        }
    }

    /// Whether there is room for the batch, and whether its operands are whole.
    fn check(&self, batch: usize, u: Input<f32>, weight: Input<f32>) -> Result<()> {
        let Sizes { most, capsules, matrices, in_dim, classes, dim, .. } = self.sizes;
        if batch > most {
            bail!("class_capsules: {batch} samples, made for up to {most}");
        }
        u.need("class_capsules: u", batch * capsules * in_dim)?;
        weight.need("class_capsules: weight", matrices * in_dim * classes * dim)
    }

    /// Fills up the operands that need it.
    fn fill(&self, gpu: &Gpu, batch: usize, u: Input<f32>, weight: Input<f32>) -> Result<()> {
        let Sizes { capsules, matrices, in_dim, classes, dim, .. } = self.sizes;
        let (filled, wide) = (self.sizes.kernels().filled, self.sizes.wide());
        let pack = |from: Input<f32>,
                    to: &Buffer<f32>,
                    [values, filled]: [usize; 2],
                    [rows, filled_rows]: [usize; 2],
                    count: usize| {
            let arguments =
                arguments![from, to.output(), values, filled, rows, filled_rows, Argument::Long(count as i64)];
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
    fn operands<'a>(&'a self, u: Input<'a, f32>, weight: Input<'a, f32>) -> Result<(Input<'a, f32>, Input<'a, f32>)> {
        Ok((operand(&self.u, u, "u")?, operand(&self.weight, weight, "weight")?))
    }

    /// What every kernel over capsules is told first.
    fn shape(&self, batch: usize) -> [Argument<'static>; 6] {
        let Sizes { capsules, classes, positions, .. } = self.sizes;
        [batch, capsules, self.sizes.wide(), classes, self.sizes.sharing(), positions].map(Argument::from)
    }

    fn sweep(&self, gpu: &Gpu, name: &'static str, batch: usize, own: &[Argument]) -> Result<()> {
        let grid = self.sizes.grid(batch);
        let told: Vec<Argument> = grid.told.into_iter().map(Argument::from).collect();
        let all = [&self.shape(batch)[..], own, &told].concat();
        // SAFETY: the arguments of these kernels in their order; operands are of the shapes this was made for, and the buffers
        // were made for `most` samples, no fewer than the batch, which was checked.
        unsafe { gpu.launch((self.sizes.kernels().module, name), grid.blocks, WARPS * WARP, grid.shared, &all) }
    }

    fn finish(&self, gpu: &Gpu, name: &'static str, batch: usize, arguments: &[Argument]) -> Result<()> {
        let row = self.sizes.row();
        // Some parts of the chunks are summed side by side.
        let threads = (row * (1024 / row).clamp(1, 8)).next_multiple_of(WARP).min(1024);
        let shared = 4 * (row.max(threads) + row + 2 * self.sizes.classes);
        // SAFETY: as above.
        unsafe { gpu.launch(("class_capsules", name), batch, threads, shared, arguments) }
    }

    #[expect(clippy::too_many_arguments, reason = "operands and results")]
    fn gradients(
        &self,
        gpu: &Gpu,
        sizes: Sizes,
        batch: usize,
        u: Input<f32>,
        weight: Input<f32>,
        du: Output<f32>,
        dweight: Output<f32>,
    ) -> Result<()> {
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
            self.ds.input(),
            self.totals.input(),
            self.coupling.input(),
            self.dlogits.input(),
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

/// An operand as kernels take it: filled up, or as it is.
fn operand<'a>(filled: &'a Option<Buffer<f32>>, given: Input<'a, f32>, name: &str) -> Result<Input<'a, f32>> {
    match filled {
        Some(filled) => Ok(filled.input()),
        None if given.is_aligned() => Ok(given),
        None => bail!("class_capsules: {name} has to begin on a multiple of 16 bytes"),
    }
}

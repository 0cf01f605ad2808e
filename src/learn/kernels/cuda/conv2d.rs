//! The convolution on a GPU: cuBLAS's products over what unfolded.cu unfolds.

use candle_core::{Result, bail};

use super::{
    Argument, Buffer, Element, Gpu, Input, Matrix, Output, Sizes, arguments,
    grid::{Columns, flat, is_by_fours},
    linear::{Products, finish},
    sums::{Left, rectified_sums},
};
use crate::learn::kernels::{Activation, Precision, UnfoldedConv2d};

/// A convolution of one shape with its scratch memory. Its passes allocate nothing and wait for nothing, and what they read and
/// write stays in its place, so that they can be captured in a graph.
///
/// x `[height, width, batch, in_channels]`, weight `[kernel rows, kernel columns, in_channels, filters]`, bias `[channels]`, y `[out
/// height, out width, batch, channels]`; formulas stand at [`crate::learn::kernels::conv2d()`].
pub struct Conv2d {
    shape: UnfoldedConv2d,
    /// Samples that there is scratch memory for.
    most: usize,
    activation: Activation,
    precision: Precision,
    copies: Copies,
    /// The products that are yet to be summed; and the gradient of what is unfolded in bf16.
    wide: Buffer<f32>,
    /// Partial sums of the bias' gradient.
    sums: Buffer<f32>,
}

/// The factors of the products that are copied: what is unfolded, the gradient of the filters' output, and the weight. Those in f32
/// that need no copy are empty.
enum Copies {
    F32 { unfolded: Buffer<f32>, dz: Buffer<f32> },
    Bf16 { unfolded: Buffer<u16>, dz: Buffer<u16>, weight: Buffer<u16> },
}

impl Conv2d {
    /// One of up to `most` images `[channels, height, width]`.
    ///
    /// Errors: a shape that does not fit; no memory, of which it takes [`UnfoldedConv2d::bytes`].
    #[expect(clippy::too_many_arguments, reason = "what makes a convolution")]
    pub fn new(
        gpu: &Gpu,
        most: usize,
        image: [usize; 3],
        filters: usize,
        channels: usize,
        kernel: [usize; 2],
        stride: usize,
        activation: Activation,
        precision: Precision,
        needs_input_gradient: bool,
    ) -> Result<Self> {
        let shape = UnfoldedConv2d::new(image, filters, channels, kernel, stride)?;
        let lens = shape.scratch(most, precision, needs_input_gradient);
        let copies = match precision {
            Precision::Bf16 => Copies::Bf16 {
                unfolded: gpu.zeros(lens.unfolded)?,
                dz: gpu.zeros(lens.dz)?,
                weight: gpu.zeros(lens.weight)?,
            },
            Precision::F32 | Precision::Tf32 => {
                Copies::F32 { unfolded: gpu.zeros(lens.unfolded)?, dz: gpu.zeros(lens.dz)? }
            }
        };
        let (wide, sums) = (gpu.zeros(lens.wide)?, gpu.zeros(lens.sums)?);
        Ok(Conv2d { shape, most, activation, precision, copies, wide, sums })
    }

    /// Rows and columns of y.
    pub fn out(&self) -> [usize; 2] {
        self.shape.out
    }

    /// Writes y.
    ///
    /// Errors: more samples than there is scratch memory for.
    pub fn forward(
        &self,
        gpu: &Gpu,
        batch: usize,
        x: Input<f32>,
        weight: Input<f32>,
        bias: Input<f32>,
        y: Output<f32>,
    ) -> Result<()> {
        self.check(batch)?;
        let shape = &self.shape;
        x.need("conv2d: x", self.inputs(batch))?;
        weight.need("conv2d: weight", shape.weights())?;
        y.need("conv2d: y", self.outputs_of(batch))?;
        let z = if shape.is_in_place() { y } else { self.wide.output() };
        match &self.copies {
            Copies::F32 { unfolded, .. } => {
                let names = ["unfolded_unfold_f32", "unfolded_unfold_f32x4"];
                self.unfold(gpu, batch, names, x, unfolded.output())?;
                self.outputs(gpu, batch, unfolded.input(), weight, z)?;
            }
            Copies::Bf16 { unfolded, weight: copy, .. } => {
                let names = ["unfolded_unfold_bf16", "unfolded_unfold_bf16x4"];
                self.unfold(gpu, batch, names, x, unfolded.output())?;
                convert(gpu, shape.weights(), weight, copy.output())?;
                self.outputs(gpu, batch, unfolded.input(), copy.input(), z)?;
            }
        }
        let products = Products { z: z.input(), count: shape.products(), filters: shape.filters };
        finish(gpu, shape.positions(batch), shape.channels, products, bias, self.activation, y)
    }

    /// After the [`forward`](Self::forward) of the same batch and weight, once: from y as that wrote it and its gradient dy, which is
    /// overwritten, writes the gradients dx, dweight and dbias, each in the layout of what it is the gradient of.
    ///
    /// Errors: more samples than there is scratch memory for; a gradient of x where none was said to be needed, if it needs scratch
    /// memory.
    #[expect(clippy::too_many_arguments, reason = "operands and their gradients")]
    pub fn backward(
        &self,
        gpu: &Gpu,
        batch: usize,
        weight: Input<f32>,
        y: Input<f32>,
        dy: Output<f32>,
        dx: Option<Output<f32>>,
        dweight: Output<f32>,
        dbias: Output<f32>,
    ) -> Result<()> {
        self.check(batch)?;
        let shape = &self.shape;
        weight.need("conv2d: weight", shape.weights())?;
        y.need("conv2d: y", self.outputs_of(batch))?;
        dy.need("conv2d: dy", self.outputs_of(batch))?;
        dx.map_or(Ok(()), |dx| dx.need("conv2d: dx", self.inputs(batch)))?;
        match &self.copies {
            Copies::F32 { unfolded, dz } => {
                let dz = if shape.is_shared() { dz.output() } else { dy };
                self.output_gradient(gpu, batch, y, dy, Left::F32(dz), dbias)?;
                self.weight_gradient(gpu, batch, unfolded.input(), dz.input(), dweight)?;
                let Some(dx) = dx else { return Ok(()) };
                // What is unfolded has been multiplied: its gradient takes its place.
                self.image_gradient(gpu, batch, dz.input(), weight, unfolded.output(), dx)
            }
            Copies::Bf16 { unfolded, dz, weight: copy } => {
                self.output_gradient(gpu, batch, y, dy, Left::Bf16(dz.output()), dbias)?;
                self.weight_gradient(gpu, batch, unfolded.input(), dz.input(), dweight)?;
                let Some(dx) = dx else { return Ok(()) };
                if self.wide.len() < shape.values(batch) {
                    bail!("conv2d: the gradient of the image is wanted, but was said not to be when memory was taken")
                }
                self.image_gradient(gpu, batch, dz.input(), copy.input(), self.wide.output(), dx)
            }
        }
    }

    /// Values of x.
    fn inputs(&self, batch: usize) -> usize {
        let UnfoldedConv2d { in_channels, height, width, .. } = self.shape;
        batch * height * width * in_channels
    }

    /// Values of y.
    fn outputs_of(&self, batch: usize) -> usize {
        self.shape.positions(batch) * self.shape.channels
    }

    fn check(&self, batch: usize) -> Result<()> {
        if batch > self.most {
            bail!("conv2d: {batch} samples, but scratch memory for {} was taken", self.most)
        }
        Ok(())
    }

    /// Unfolds x by the first kernel, or by the second, four channels at a time.
    fn unfold<T: Element>(
        &self,
        gpu: &Gpu,
        batch: usize,
        [one, four]: [&'static str; 2],
        x: Input<f32>,
        to: Output<T>,
    ) -> Result<()> {
        /// Samples that a thread walks along.
        const SAMPLES: usize = 16;
        let shape = &self.shape;
        let (name, lanes) = if is_by_fours(&[shape.in_channels], &[x]) { (four, 4) } else { (one, 1) };
        let columns = shape.columns() / lanes;
        let over = Columns::new(columns, 128);
        let rows = shape.phases() * shape.phase_rows() * shape.out[1];
        let grid = [rows, over.blocks, batch.div_ceil(SAMPLES * over.block[1])];
        let arguments = arguments![
            x,
            to,
            batch,
            shape.height,
            shape.width,
            shape.in_channels / lanes,
            shape.kernel[1],
            shape.stride,
            shape.phase_rows(),
            shape.out[1],
            columns,
            shape.pitch() / lanes,
            SAMPLES
        ];
        // SAFETY: unfolded.cu's arguments; it reads images and writes at most `values(batch)` values, which are no more than those of
        // `most` samples.
        unsafe { gpu.launch(("unfolded", name), grid, over.block, 0, arguments) }
    }

    /// The products of what is unfolded and the weight: a matrix `[positions, filters]` for each kernel row that has its own.
    fn outputs<T: Element>(
        &self,
        gpu: &Gpu,
        batch: usize,
        u: Input<T>,
        weight: Input<T>,
        z: Output<f32>,
    ) -> Result<()> {
        let (shape, [columns, filters]) = (&self.shape, [self.shape.columns(), self.shape.filters]);
        let positions = shape.positions(batch);
        let mut first = 0;
        for p in 0..shape.phases() {
            let count = shape.rows_of_phase(p);
            let sizes = Sizes { rows: positions, columns: filters, inner: columns, count };
            let u = self.kernel_rows(batch, u, p);
            let weight =
                Matrix::new(weight.after(p * columns * filters), filters).every(shape.stride * columns * filters);
            let out = Matrix::new(z.after(first * positions * filters), filters).every(positions * filters);
            gpu.multiply(self.precision, sizes, u, weight, out, false)?;
            first += count;
        }
        Ok(())
    }

    /// What the outputs see by the kernel rows of phase p: a batch of matrices, each a row of the image further down.
    fn kernel_rows<'a, T>(&self, batch: usize, u: Input<'a, T>, p: usize) -> Matrix<Input<'a, T>> {
        let row = self.row(batch);
        Matrix::new(u.after(p * self.shape.phase_rows() * row), self.shape.pitch()).every(row)
    }

    /// Unfolded values of an image row.
    fn row(&self, batch: usize) -> usize {
        self.shape.out[1] * batch * self.shape.pitch()
    }

    /// From the gradient of y that of the filters' output, dz, and of the bias.
    fn output_gradient(
        &self,
        gpu: &Gpu,
        batch: usize,
        y: Input<f32>,
        dy: Output<f32>,
        dz: Left,
        dbias: Output<f32>,
    ) -> Result<()> {
        let (shape, positions) = (&self.shape, self.shape.positions(batch));
        let is_rectified = self.activation == Activation::Relu;
        let left = match dz {
            Left::Bf16(_) if !shape.is_shared() => dz,
            _ if is_rectified => Left::F32(dy),
            _ => Left::Nothing,
        };
        let y = is_rectified.then_some(y);
        rectified_sums(gpu, positions, shape.channels, dy.input(), y, left, Some(self.sums.output()), dbias)?;
        if !shape.is_shared() {
            return Ok(());
        }
        let count = positions * shape.filters;
        let (name, dz) = match dz {
            Left::F32(dz) => ("unfolded_shared_gradient_f32", Argument::from(dz)),
            Left::Bf16(dz) => ("unfolded_shared_gradient_bf16", Argument::from(dz)),
            Left::Nothing => return Ok(()),
        };
        let (grid, block) = flat(count);
        let arguments = arguments![dy, dz, Argument::Long(count as i64), shape.filters, shape.channels];
        // SAFETY: unfolded.cu's arguments; it reads [positions, channels] and writes [positions, filters] values.
        unsafe { gpu.launch(("unfolded", name), grid, block, 0, arguments) }
    }

    /// `dweight = uᵀ · dz`, for each kernel row.
    fn weight_gradient<T: Element>(
        &self,
        gpu: &Gpu,
        batch: usize,
        u: Input<T>,
        dz: Input<T>,
        dweight: Output<f32>,
    ) -> Result<()> {
        let (shape, [columns, filters]) = (&self.shape, [self.shape.columns(), self.shape.filters]);
        for p in 0..shape.phases() {
            let sizes =
                Sizes { rows: columns, columns: filters, inner: shape.positions(batch), count: shape.rows_of_phase(p) };
            let u = self.kernel_rows(batch, u, p).transposed();
            let out =
                Matrix::new(dweight.after(p * columns * filters), filters).every(shape.stride * columns * filters);
            gpu.multiply(self.precision, sizes, u, Matrix::new(dz, filters), out, false)?;
        }
        Ok(())
    }

    /// dx by way of the gradient of what was unfolded, `du += dz · weightᵀ` for each kernel row.
    fn image_gradient<T: Element>(
        &self,
        gpu: &Gpu,
        batch: usize,
        dz: Input<T>,
        weight: Input<T>,
        du: Output<f32>,
        dx: Output<f32>,
    ) -> Result<()> {
        let (shape, [columns, filters]) = (&self.shape, [self.shape.columns(), self.shape.filters]);
        let (row, phase) = (self.row(batch), shape.phase_rows() * self.row(batch));
        let written = shape.out[0] * row;
        // No first kernel row of a phase reaches these.
        let (grid, block) = flat(phase - written);
        let arguments =
            arguments![du.after(written), Argument::Long((phase - written) as i64), Argument::Long(phase as i64)];
        // SAFETY: unfolded.cu's arguments; it writes within the `phases()` phases of du.
        unsafe { gpu.launch(("unfolded", "unfolded_clear"), [grid, shape.phases()], block, 0, arguments)? };
        for (t, ky) in (0..shape.products()).step_by(shape.stride).enumerate() {
            let count = (shape.products() - ky).min(shape.stride);
            let sizes = Sizes { rows: shape.positions(batch), columns, inner: filters, count };
            let weight =
                Matrix::new(weight.after(ky * columns * filters), filters).transposed().every(columns * filters);
            let out = Matrix::new(du.after(t * row), shape.pitch()).every(phase);
            // Kernel rows of several phases, each with a matrix of its own in du.
            gpu.multiply(self.precision, sizes, Matrix::new(dz, filters), weight, out, t > 0)?;
        }
        self.fold(gpu, batch, du.input(), dx)
    }

    fn fold(&self, gpu: &Gpu, batch: usize, du: Input<f32>, dx: Output<f32>) -> Result<()> {
        /// Samples of a thread: IN_FLIGHT of unfolded.cu.
        const SAMPLES: usize = 4;
        let shape = &self.shape;
        let by_fours = is_by_fours(&[shape.in_channels], &[du, dx.input()]);
        let (name, lanes) = if by_fours { ("unfolded_fold4", 4) } else { ("unfolded_fold", 1) };
        let channels = shape.in_channels / lanes;
        let over = Columns::new(channels, 64);
        let grid = [shape.height * shape.width, over.blocks, batch.div_ceil(SAMPLES * over.block[1])];
        let arguments = arguments![
            du,
            dx,
            batch,
            shape.width,
            channels,
            shape.taps_down(),
            shape.kernel[1],
            shape.stride,
            shape.phases(),
            shape.phase_rows(),
            shape.out[1],
            shape.pitch() / lanes
        ];
        // SAFETY: unfolded.cu's arguments; it reads `values(batch)` values and writes images.
        unsafe { gpu.launch(("unfolded", name), grid, over.block, 0, arguments) }
    }
}

/// A copy in bf16.
fn convert(gpu: &Gpu, count: usize, x: Input<f32>, to: Output<u16>) -> Result<()> {
    let by_fours = is_by_fours(&[count], &[x]);
    let (name, count) =
        if by_fours { ("unfolded_convert_bf16x4", count / 4) } else { ("unfolded_convert_bf16", count) };
    let (grid, block) = flat(count);
    // SAFETY: unfolded.cu's arguments; it reads and writes `count` values.
    unsafe { gpu.launch(("unfolded", name), grid, block, 0, arguments![x, to, Argument::Long(count as i64)]) }
}

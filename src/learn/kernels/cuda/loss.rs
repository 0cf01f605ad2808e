//! The losses of networks, what the decoder sees, and the end of a step: loss.cu.

use candle_core::Result;

use super::{Buffer, Gpu, Input, Output, arguments, batch::Labels};

/// What the loss kernels keep of a batch.
pub struct Losses {
    /// `[batch, classes]`: lengths of the class capsules.
    pub scores: Buffer<f32>,
    samples: Buffer<f32>,
    correct: Buffer<i32>,
    chosen: Buffer<i32>,
    classes: usize,
    dim: usize,
}

/// Which capsule of a sample the decoder sees, and how.
#[derive(Clone, Copy)]
pub struct Masked<V> {
    /// An [`Input`] or an [`Output`].
    pub values: V,
    /// Only its values, `[batch][dim]`; else all capsules, the others being 0.
    pub is_small: bool,
}

impl Losses {
    /// For `most` samples of `classes` capsules of `dim` values.
    pub fn new(gpu: &Gpu, most: usize, classes: usize, dim: usize) -> Result<Losses> {
        Ok(Losses {
            scores: gpu.zeros(most * classes)?,
            samples: gpu.zeros(most)?,
            correct: gpu.zeros(most)?,
            chosen: gpu.zeros(most)?,
            classes,
            dim,
        })
    }

    /// Whether there is room for so many samples.
    fn need(&self, batch: usize) -> Result<()> {
        self.scores.input().need("scores of the samples", batch * self.classes)?;
        self.samples.input().need("losses of the samples", batch)
    }

    /// Values of a sample that the decoder sees.
    fn masked_values(&self, is_small: bool) -> usize {
        if is_small { self.dim } else { self.classes * self.dim }
    }

    /// The margin loss of class capsules v `[batch, classes, dim]`, which of them is chosen (the true one, or the longest), and
    /// what the decoder sees of it. Writes the gradient of the margin loss to `dv`, if that is given.
    #[allow(clippy::too_many_arguments)]
    pub fn margin(
        &self,
        gpu: &Gpu,
        batch: usize,
        v: Input<f32>,
        labels: &Labels,
        is_longest: bool,
        dv: Option<Output<f32>>,
        masked: Option<Masked<Output<f32>>>,
    ) -> Result<()> {
        let Losses { classes, dim, .. } = *self;
        self.need(batch)?;
        let labels = labels.of(batch, classes)?;
        v.need("margin: v", batch * classes * dim)?;
        dv.map_or(Ok(()), |dv| dv.need("margin: dv", batch * classes * dim))?;
        masked.map_or(Ok(()), |masked| {
            masked.values.need("margin: masked", batch * self.masked_values(masked.is_small))
        })?;
        let arguments = arguments![
            v,
            labels,
            classes,
            dim,
            usize::from(is_longest),
            usize::from(masked.is_some_and(|masked| masked.is_small)),
            self.scores.output(),
            self.samples.output(),
            self.correct.output(),
            self.chosen.output(),
            dv,
            masked.map(|masked| masked.values),
        ];
        let block = (classes * dim).next_multiple_of(32).min(256);
        // SAFETY: the buffers hold `batch` samples, the operands have the values that are said, and labels are classes.
        unsafe { gpu.launch(("loss", "loss_margin"), batch, block, classes * size_of::<f32>(), arguments) }
    }

    /// Adds the gradient by what the decoder saw to `dv`.
    pub fn unmask(&self, gpu: &Gpu, batch: usize, dmasked: Masked<Input<f32>>, dv: Output<f32>) -> Result<()> {
        const BLOCK: usize = 256;
        let Losses { classes, dim, .. } = *self;
        self.need(batch)?;
        dmasked.values.need("unmask: dmasked", batch * self.masked_values(dmasked.is_small))?;
        dv.need("unmask: dv", batch * classes * dim)?;
        let is_small = usize::from(dmasked.is_small);
        let arguments = arguments![dmasked.values, self.chosen.input(), batch, classes, dim, is_small, dv];
        // SAFETY: as in `margin`.
        unsafe { gpu.launch(("loss", "loss_unmask"), (batch * dim).div_ceil(BLOCK), BLOCK, 0, arguments) }
    }

    /// Adds `weight ·` the reconstruction loss: z `[batch, pixels]` is what enters the decoder's sigmoid, and becomes the loss's
    /// gradient by it if `is_trained`.
    #[allow(clippy::too_many_arguments)]
    pub fn reconstruction(
        &self,
        gpu: &Gpu,
        batch: usize,
        z: Output<f32>,
        images: Input<f32>,
        pixels: usize,
        weight: f64,
        is_trained: bool,
    ) -> Result<()> {
        self.need(batch)?;
        z.need("reconstruction: z", batch * pixels)?;
        images.need("reconstruction: images", batch * pixels)?;
        let arguments = arguments![z, images, pixels, weight as f32, usize::from(is_trained), self.samples.output()];
        // SAFETY: as in `margin`.
        unsafe { gpu.launch(("loss", "loss_reconstruction"), batch, 256, 0, arguments) }
    }

    /// The cross entropy of logits `[batch, classes]`, which become its gradient by them if `is_trained`.
    pub fn cross_entropy(
        &self,
        gpu: &Gpu,
        batch: usize,
        logits: Output<f32>,
        labels: &Labels,
        is_trained: bool,
    ) -> Result<()> {
        const BLOCK: usize = 64;
        self.need(batch)?;
        logits.need("cross_entropy: logits", batch * self.classes)?;
        let arguments = arguments![
            logits,
            labels.of(batch, self.classes)?,
            batch,
            self.classes,
            usize::from(is_trained),
            self.scores.output(),
            self.samples.output(),
            self.correct.output(),
        ];
        // SAFETY: as in `margin`.
        unsafe { gpu.launch(("loss", "loss_cross_entropy"), batch.div_ceil(BLOCK), BLOCK, 0, arguments) }
    }

    /// Writes mean loss and right samples of the batch to `metrics[step]`, and moves the cursor to the next step.
    ///
    /// # Safety
    /// The cursor's step, once the device comes to this, is one that there are metrics of.
    pub unsafe fn end_of_step(
        &self,
        gpu: &Gpu,
        batch: usize,
        metrics: &Buffer<f64>,
        cursor: &Buffer<i32>,
    ) -> Result<()> {
        self.need(batch)?;
        cursor.input().need("cursor", 2)?;
        let arguments =
            arguments![self.samples.input(), self.correct.input(), batch, metrics.output(), cursor.output()];
        // SAFETY: as in `margin`; the caller keeps the cursor within the metrics.
        unsafe { gpu.launch(("loss", "loss_end_of_step"), 1, 32, 0, arguments) }
    }
}

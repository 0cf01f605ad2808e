//! The losses of networks, what the decoder sees, and the end of a step: loss.cu.

use candle_core::Result;

use super::{Address, Buffer, Gpu, arguments};

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
pub struct Masked {
    pub at: Address<f32>,
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

    /// The margin loss of class capsules v `[batch, classes, dim]`, which of them is chosen (the true one, or the longest), and
    /// what the decoder sees of it. Writes the gradient of the margin loss to `dv`, if that is given.
    #[allow(clippy::too_many_arguments)]
    pub fn margin(
        &self,
        gpu: &Gpu,
        batch: usize,
        v: Address<f32>,
        labels: &Buffer<i32>,
        is_longest: bool,
        dv: Option<Address<f32>>,
        masked: Option<Masked>,
    ) -> Result<()> {
        let Losses { classes, dim, .. } = *self;
        let arguments = arguments![
            v,
            labels.start(),
            classes,
            dim,
            usize::from(is_longest),
            usize::from(masked.is_some_and(|masked| masked.is_small)),
            self.scores.start(),
            self.samples.start(),
            self.correct.start(),
            self.chosen.start(),
            dv.unwrap_or(Address::null()),
            masked.map_or(Address::null(), |masked| masked.at),
        ];
        let block = (classes * dim).next_multiple_of(32).min(256);
        // SAFETY: the buffers hold `batch` samples, and the callers' operands have the shapes that are said.
        unsafe { gpu.launch(("loss", "loss_margin"), batch, block, classes * size_of::<f32>(), arguments) }
    }

    /// Adds the gradient by what the decoder saw to `dv`.
    pub fn unmask(&self, gpu: &Gpu, batch: usize, dmasked: Masked, dv: Address<f32>) -> Result<()> {
        const BLOCK: usize = 256;
        let Losses { classes, dim, .. } = *self;
        let is_small = usize::from(dmasked.is_small);
        let arguments = arguments![dmasked.at, self.chosen.start(), batch, classes, dim, is_small, dv];
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
        z: Address<f32>,
        images: Address<f32>,
        pixels: usize,
        weight: f64,
        is_trained: bool,
    ) -> Result<()> {
        let arguments = arguments![z, images, pixels, weight as f32, usize::from(is_trained), self.samples.start()];
        // SAFETY: as in `margin`.
        unsafe { gpu.launch(("loss", "loss_reconstruction"), batch, 256, 0, arguments) }
    }

    /// The cross entropy of logits `[batch, classes]`, which become its gradient by them if `is_trained`.
    pub fn cross_entropy(
        &self,
        gpu: &Gpu,
        batch: usize,
        logits: Address<f32>,
        labels: &Buffer<i32>,
        is_trained: bool,
    ) -> Result<()> {
        const BLOCK: usize = 64;
        let arguments = arguments![
            logits,
            labels.start(),
            batch,
            self.classes,
            usize::from(is_trained),
            self.scores.start(),
            self.samples.start(),
            self.correct.start(),
        ];
        // SAFETY: as in `margin`.
        unsafe { gpu.launch(("loss", "loss_cross_entropy"), batch.div_ceil(BLOCK), BLOCK, 0, arguments) }
    }

    /// Writes mean loss and right samples of the batch to `metrics[step]`, and moves the cursor to the next step.
    pub fn end_of_step(&self, gpu: &Gpu, batch: usize, metrics: &Buffer<f64>, cursor: &Buffer<i32>) -> Result<()> {
        let arguments = arguments![self.samples.start(), self.correct.start(), batch, metrics.start(), cursor.start()];
        // SAFETY: as in `margin`; the owner of the cursor keeps it within the metrics.
        unsafe { gpu.launch(("loss", "loss_end_of_step"), 1, 32, 0, arguments) }
    }
}

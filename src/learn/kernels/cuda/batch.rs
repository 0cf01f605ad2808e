//! Batches out of images that lie on the device.

use candle_core::Result;

use super::{Buffer, Gpu, arguments};
/// Images and their classes on the device.
pub struct Resident {
    pixels: Buffer<u8>,
    classes: Buffer<u8>,
}

/// Where a batch comes from.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub images: &'a Resident,
    /// Indices of images in their order; none for the images' own.
    pub order: Option<&'a Buffer<u32>>,
    /// `[2]`: the step, and the first sample of the batch in the order.
    pub cursor: &'a Buffer<i32>,
    /// `[2]`: the seed and the epoch that shifts depend on.
    pub shift: &'a Buffer<u64>,
    /// The largest shift, in pixels; 0 for none.
    pub largest_shift: usize,
}

/// Where a batch goes.
pub struct Batch {
    /// `[height][width][batch][channels]`
    pub map: Buffer<f32>,
    /// `[batch][channels][height][width]`
    pub flat: Buffer<f32>,
    pub labels: Buffer<i32>,
    shape: [usize; 3],
}

impl Resident {
    /// pixels `[n, channels, height, width]`, classes `[n]`.
    pub fn new(gpu: &Gpu, pixels: &[u8], classes: &[u8]) -> Result<Resident> {
        Ok(Resident { pixels: gpu.upload(pixels)?, classes: gpu.upload(classes)? })
    }
}

impl Batch {
    /// Room for `most` images of `shape`: channels, height, width.
    pub fn new(gpu: &Gpu, shape: [usize; 3], most: usize) -> Result<Batch> {
        let pixels = most * shape.iter().product::<usize>();
        Ok(Batch { shape, map: gpu.zeros(pixels)?, flat: gpu.zeros(pixels)?, labels: gpu.zeros(most)? })
    }

    /// Fills it with `count` images, at most as many as it has room for: as `data::batch::gather` does.
    pub fn gather(&self, gpu: &Gpu, count: usize, source: Source) -> Result<()> {
        const BLOCK: usize = 256;
        assert!(count <= self.labels.len(), "{count} images into a batch of {}", self.labels.len());
        let [channels, height, width] = self.shape;
        let pixels: usize = self.shape.iter().product();
        let Source { images, order, cursor, shift, largest_shift } = source;
        let arguments = arguments![
            images.pixels.start(),
            images.classes.start(),
            order.map_or(super::Address::null(), |order| order.start()),
            cursor.start(),
            shift.start(),
            largest_shift,
            channels,
            height,
            width,
            self.map.start(),
            self.flat.start(),
            self.labels.start(),
        ];
        // SAFETY: the buffers hold `count` images; the owner of the cursor keeps it and the order within the images.
        unsafe { gpu.launch(("batch", "batch_gather"), [pixels.div_ceil(BLOCK), count], BLOCK, 0, arguments) }
    }
}

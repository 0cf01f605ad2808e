//! Batches out of images that lie on the device.

use candle_core::{Result, bail};

use super::{Buffer, Gpu, Input, arguments};

/// Images and their classes on the device.
pub struct Resident {
    pixels: Buffer<u8>,
    labels: Buffer<u8>,
    /// All labels are below it.
    classes: usize,
}

/// The classes of a batch's images, each below `classes`.
pub struct Labels {
    values: Buffer<i32>,
    classes: usize,
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
    pub labels: Labels,
    shape: [usize; 3],
}

impl Labels {
    /// Those of `count` samples, to index arrays of `classes` values with.
    ///
    /// Errors: fewer samples; labels that may be above.
    pub(super) fn of(&self, count: usize, classes: usize) -> Result<Input<'_, i32>> {
        if self.classes > classes {
            bail!("labels of {} classes, where there are {classes}", self.classes)
        }
        let labels = self.values.input();
        labels.need("labels", count)?;
        Ok(labels)
    }
}

impl Resident {
    /// pixels `[n, channels, height, width]`, labels `[n]`.
    pub fn new(gpu: &Gpu, pixels: &[u8], labels: &[u8]) -> Result<Resident> {
        let classes = labels.iter().max().map_or(0, |label| usize::from(*label) + 1);
        Ok(Resident { pixels: gpu.upload(pixels)?, labels: gpu.upload(labels)?, classes })
    }

    /// Images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Batch {
    /// Room for `most` images of `shape`: channels, height, width; of one of `classes` each.
    pub fn new(gpu: &Gpu, shape: [usize; 3], classes: usize, most: usize) -> Result<Batch> {
        let pixels = most * shape.iter().product::<usize>();
        let labels = Labels { values: gpu.zeros(most)?, classes };
        Ok(Batch { shape, map: gpu.zeros(pixels)?, flat: gpu.zeros(pixels)?, labels })
    }

    /// Fills it with `count` images, at most as many as it has room for: as `data::batch::gather` does.
    ///
    /// Errors: more images; images of another shape, or of more classes.
    ///
    /// # Safety
    /// Once the device comes to this, `count` images stand in the order from the cursor's place on, or among the images where there
    /// is no order; and what stands in the order there are indices of images.
    pub unsafe fn gather(&self, gpu: &Gpu, count: usize, source: Source) -> Result<()> {
        const BLOCK: usize = 256;
        let [channels, height, width] = self.shape;
        let pixels: usize = self.shape.iter().product();
        let Source { images, order, cursor, shift, largest_shift } = source;
        let Labels { values: labels, classes } = &self.labels;
        if images.classes > *classes {
            bail!("an image of class {}, where there are {classes}", images.classes - 1)
        }
        images.pixels.input().need("pixels of all images", images.len() * pixels)?;
        labels.input().need("batch: labels", count)?;
        self.map.input().need("batch: map", count * pixels)?;
        self.flat.input().need("batch: flat", count * pixels)?;
        cursor.input().need("batch: cursor", 2)?;
        shift.input().need("batch: shift", 2)?;
        let arguments = arguments![
            images.pixels.input(),
            images.labels.input(),
            order.map(Buffer::input),
            cursor.input(),
            shift.input(),
            largest_shift,
            channels,
            height,
            width,
            self.map.output(),
            self.flat.output(),
            labels.output(),
        ];
        // SAFETY: the buffers hold `count` images; the caller keeps the cursor and the order within the images.
        unsafe { gpu.launch(("batch", "batch_gather"), [pixels.div_ceil(BLOCK), count], BLOCK, 0, arguments) }
    }
}

//! Max pooling on a GPU: max_pool.cu.

use candle_core::Result;

use super::{Gpu, Input, Output, arguments, grid::Columns};

/// Images `[planes, height, width, inner]`: with their pixels side by side (inner = 1, planes = batch · channels) or the channels of
/// all samples in each pixel (planes = 1, inner = batch · channels).
#[derive(Clone, Copy, Debug)]
pub struct Images {
    pub planes: usize,
    pub height: usize,
    pub width: usize,
    pub inner: usize,
}

impl Images {
    fn values(&self) -> usize {
        self.planes * self.height * self.width * self.inner
    }

    fn pooled_values(&self) -> usize {
        self.planes * (self.height / 2) * (self.width / 2) * self.inner
    }

    /// x as described; writes y `[planes, height/2, width/2, inner]`.
    pub fn max_pool_forward(self, gpu: &Gpu, x: Input<f32>, y: Output<f32>) -> Result<()> {
        x.need("max_pool: x", self.values())?;
        y.need("max_pool: y", self.pooled_values())?;
        let Images { planes, height, width, inner } = self;
        let rows = planes * (height / 2);
        let over = Columns::new(width / 2 * inner, 64);
        let grid = [rows.div_ceil(over.block[1]), over.blocks];
        let arguments = arguments![x, y, rows, height, width, inner];
        // SAFETY: max_pool.cu's arguments; it reads images and writes what is pooled of them.
        unsafe { gpu.launch(("max_pool", "max_pool_forward"), grid, over.block, 0, arguments) }
    }

    /// Writes dx, shaped as x, from the gradient `dy` of what was pooled.
    pub fn max_pool_backward(self, gpu: &Gpu, x: Input<f32>, dy: Input<f32>, dx: Output<f32>) -> Result<()> {
        x.need("max_pool: x", self.values())?;
        dy.need("max_pool: dy", self.pooled_values())?;
        dx.need("max_pool: dx", self.values())?;
        let Images { planes, height, width, inner } = self;
        let rows = planes * height.div_ceil(2);
        let over = Columns::new(width.div_ceil(2) * inner, 64);
        let grid = [rows.div_ceil(over.block[1]), over.blocks];
        let arguments = arguments![x, dy, dx, rows, height, width, inner];
        // SAFETY: max_pool.cu's arguments; it reads images and what is pooled of them, and writes images.
        unsafe { gpu.launch(("max_pool", "max_pool_backward"), grid, over.block, 0, arguments) }
    }
}

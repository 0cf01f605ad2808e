//! Which algorithm is the cheapest for the sizes of a convolution.

use candle_core::Result;

use super::{fourier, geometry::Geometry, options::Algorithm};

impl Algorithm {
    /// The cheaper one for these dimensions, as [`super::conv2d()`] takes them: a rule, so that a shape always gets the same bits.
    pub fn choose(x: &[usize], weight: &[usize], bias: &[usize], stride: usize) -> Result<Algorithm> {
        Ok(Geometry::new(x, weight, bias, stride)?.cheapest())
    }
}

impl Geometry {
    /// The costs count in multiply-adds of a large product, and are fitted to measurement: all three passes of some twenty shapes,
    /// at batches of 1 to 256.
    pub(super) fn cheapest(&self) -> Algorithm {
        /// What it costs to gather a value under the kernel, there and back.
        const GATHER: usize = 60;
        /// What it costs to pass over a value of the weight.
        const PASS: usize = 9;
        let values = self.batch * self.positions() * self.patch();
        let unfolded = values * (self.filters + GATHER) + self.filters * self.patch() * PASS;

        let [rows, columns] = fourier::size(self);
        let inputs = self.inputs();
        // Half a spectrum, three products for a complex one; a product's operands are smaller, so that it is faster.
        let products = self.batch * inputs * self.filters * rows * columns * 2 / 3;
        // Images and outputs are transformed forth and back, the kernel forth and its gradient back.
        let planes = inputs * self.filters + 2 * self.batch * (inputs + self.filters);
        let transforms = planes * rows * columns * (20 + rows + columns) * 5 / 3;
        if products + transforms < unfolded { Algorithm::Fourier } else { Algorithm::Unfold }
    }
}

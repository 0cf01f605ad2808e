//! The sizes of a convolution as unfolded.cu computes it on a GPU: what is unfolded, and the scratch memory that it takes. A
//! computation of its own, so that what a convolution will take is known without a GPU.

use candle_core::Result;

use super::geometry::Geometry;
use crate::learn::kernels::{Precision, chunks::most_chunks};

/// Values in a kernel row (columns × input channels) up to which all rows of the kernel are unfolded, for one product: products of
/// single kernel rows would spend their time on the output that each of them moves.
const FEW: usize = 64;

/// One convolution by one-sided unfolding (see unfolded.cu), of any number of samples.
#[derive(Clone, Debug)]
pub struct UnfoldedConv2d {
    pub in_channels: usize,
    pub height: usize,
    pub width: usize,
    pub filters: usize,
    pub channels: usize,
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    pub stride: usize,
    /// Rows and columns of the output.
    pub out: [usize; 2],
}

/// Values of the scratch memory of a convolution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScratchSizes {
    /// What is unfolded, and its gradient if it is in f32: f32, or bf16 where the precision is that.
    pub unfolded: usize,
    /// Products that are yet to be summed, and the gradient of what is unfolded in bf16: f32.
    pub wide: usize,
    /// The gradient of what the filters gave, where it cannot stand in that of the channels: as `unfolded`.
    pub dz: usize,
    /// The weight in bf16.
    pub weight: usize,
    /// Partial sums of the bias' gradient: f32.
    pub sums: usize,
}

impl UnfoldedConv2d {
    /// Of images `[channels, height, width]`.
    ///
    /// Errors: as [`super::conv2d()`].
    pub fn new(image: [usize; 3], filters: usize, channels: usize, kernel: [usize; 2], stride: usize) -> Result<Self> {
        let [in_channels, height, width] = image;
        let weight = [filters, in_channels, kernel[0], kernel[1]];
        let g = Geometry::new(&[1, in_channels, height, width], &weight, &[channels], stride)?;
        Ok(UnfoldedConv2d { in_channels, height, width, filters, channels, kernel, stride, out: g.out })
    }

    /// Whether the kernel's rows are unfolded as well as its columns.
    pub fn is_whole(&self) -> bool {
        self.kernel[1] * self.in_channels < FEW
    }

    /// Kernel rows that are unfolded.
    pub fn taps_down(&self) -> usize {
        if self.is_whole() { self.kernel[0] } else { 1 }
    }

    /// Kernel rows that have a product of their own.
    pub fn products(&self) -> usize {
        if self.is_whole() { 1 } else { self.kernel[0] }
    }

    /// Remainders of image rows by the stride that kernel rows meet.
    pub fn phases(&self) -> usize {
        self.products().min(self.stride)
    }

    /// Kernel rows with a product of their own that belong to phase `p`: p, p + stride, ...
    pub fn rows_of_phase(&self, p: usize) -> usize {
        (self.products() - p).div_ceil(self.stride)
    }

    /// Rows that are unfolded in each phase.
    pub fn phase_rows(&self) -> usize {
        self.out[0] + self.rows_of_phase(0) - 1
    }

    /// Values in a row of what is unfolded.
    pub fn columns(&self) -> usize {
        self.taps_down() * self.kernel[1] * self.in_channels
    }

    /// Values from the beginning of such a row to that of the next: whole groups of 16 bytes, also in bf16, as tensor cores take
    /// them. What is between is neither written nor read.
    pub fn pitch(&self) -> usize {
        self.columns().next_multiple_of(8)
    }

    /// Values that are unfolded of so many samples, with what is between their rows.
    pub fn values(&self, batch: usize) -> usize {
        self.phases() * self.phase_rows() * self.out[1] * batch * self.pitch()
    }

    /// Positions of the kernel in so many samples.
    pub fn positions(&self, batch: usize) -> usize {
        self.out[0] * self.out[1] * batch
    }

    /// Values of the weight.
    pub fn weights(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.in_channels * self.filters
    }

    /// Whether several channels share a filter.
    pub fn is_shared(&self) -> bool {
        self.channels != self.filters
    }

    /// Whether the product's place is the output itself.
    pub fn is_in_place(&self) -> bool {
        self.products() == 1 && !self.is_shared()
    }

    /// Scratch memory for up to `most` samples.
    pub fn scratch(&self, most: usize, precision: Precision, needs_input_gradient: bool) -> ScratchSizes {
        let is_bf16 = precision == Precision::Bf16;
        let (unfolded, z) = (self.values(most), self.positions(most) * self.filters);
        let products = if self.is_in_place() { 0 } else { self.products() * z };
        ScratchSizes {
            unfolded,
            wide: if is_bf16 && needs_input_gradient { products.max(unfolded) } else { products },
            dz: if is_bf16 || self.is_shared() { z } else { 0 },
            weight: if is_bf16 { self.weights() } else { 0 },
            sums: most_chunks(self.positions(most)) * self.channels,
        }
    }

    /// Bytes of that scratch memory.
    pub fn bytes(&self, most: usize, precision: Precision, needs_input_gradient: bool) -> usize {
        let ScratchSizes { unfolded, wide, dz, weight, sums } = self.scratch(most, precision, needs_input_gradient);
        let bytes = if precision == Precision::Bf16 { 2 } else { 4 };
        (unfolded + dz) * bytes + weight * 2 + (wide + sums) * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The primary convolution of the paper's network.
    fn primary() -> UnfoldedConv2d {
        UnfoldedConv2d::new([256, 20, 20], 256, 256, [9, 9], 2).unwrap()
    }

    #[test]
    fn the_primary_convolution_unfolds_what_its_header_says() {
        let primary = primary();
        assert_eq!([primary.phases(), primary.phase_rows(), primary.columns()], [2, 10, 9 * 256]);
        assert_eq!(4 * primary.values(128), 141_557_760);
        // And the nine products of 4.7 MB.
        assert_eq!(primary.bytes(128, Precision::F32, true), 141_557_760 + 42_467_328 + 4 * 144 * 256);
    }

    #[test]
    fn an_image_of_one_channel_is_unfolded_whole() {
        let first = UnfoldedConv2d::new([1, 28, 28], 256, 256, [9, 9], 1).unwrap();
        assert_eq!([first.phases(), first.phase_rows(), first.columns(), first.products()], [1, 20, 81, 1]);
        assert_eq!((first.pitch(), first.values(1)), (88, 400 * 88));
        assert_eq!(first.scratch(128, Precision::F32, false).wide, 0);
    }
}

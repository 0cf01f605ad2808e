//! Convolution as im2col and one matrix product per chunk of samples.

use super::{Geometry, ImageGradient};
use crate::kernels::{
    product::{Into, Matrix, product},
    storage::{Real, for_each_chunk},
};

impl Geometry {
    /// Samples taken together: enough columns for an efficient product, few enough to bound the unfolded copy.
    fn chunk(&self) -> usize {
        const ENOUGH_COLUMNS: usize = 384;
        const CACHED_VALUES: usize = 1 << 18;
        let cached = CACHED_VALUES / (self.patch() * self.positions());
        cached.max(ENOUGH_COLUMNS.div_ceil(self.positions())).min(self.batch)
    }

    /// The offset in an image plane of the first value of row `i` of the values under kernel element (p, q).
    fn row_start(&self, i: usize, p: usize, q: usize) -> usize {
        (i * self.stride + p) * self.width + q
    }

    /// Copies the values under the kernel: `columns [patch, samples × positions]` of `x [samples, in_channels, h, w]`.
    fn unfold<T: Real>(&self, x: &[T], columns: &mut [T]) {
        let ([kh, kw], [_, out_w], positions) = (self.kernel, self.out, self.positions());
        let row_len = x.len() / self.image() * positions;
        for_each_chunk(columns, row_len, self.patch() * row_len, |row, columns| {
            let (channel, p, q) = (row / (kh * kw), row / kw % kh, row % kw);
            for (image, columns) in x.chunks(self.image()).zip(columns.chunks_mut(positions)) {
                let plane = &image[channel * self.height * self.width..][..self.height * self.width];
                for (i, columns) in columns.chunks_mut(out_w).enumerate() {
                    let source = &plane[self.row_start(i, p, q)..];
                    match self.stride {
                        1 => columns.copy_from_slice(&source[..out_w]),
                        stride => columns.iter_mut().zip(source.iter().step_by(stride)).for_each(|(c, &v)| *c = v),
                    }
                }
            }
        });
    }

    /// The adjoint of [`Geometry::unfold`]: adds every column's value to the image value it was copied from.
    fn fold<T: Real>(&self, columns: &[T], x: &mut [T]) {
        let ([kh, kw], [_, out_w], positions) = (self.kernel, self.out, self.positions());
        let plane_len = self.height * self.width;
        let row_len = x.len() / self.image() * positions;
        for_each_chunk(x, plane_len, columns.len(), |plane_index, plane| {
            let (sample, channel) = (plane_index / self.in_channels, plane_index % self.in_channels);
            for (p, q) in (0..kh).flat_map(|p| (0..kw).map(move |q| (p, q))) {
                let row = (channel * kh + p) * kw + q;
                let columns = &columns[row * row_len + sample * positions..][..positions];
                for (i, columns) in columns.chunks(out_w).enumerate() {
                    let target = plane[self.row_start(i, p, q)..].iter_mut().step_by(self.stride);
                    target.zip(columns).for_each(|(t, &v)| *t += v);
                }
            }
        });
    }

    pub(super) fn forward_unfolded<T: Real>(&self, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
        let (positions, patch, chunk) = (self.positions(), self.patch(), self.chunk());
        let mut y = vec![T::zero(); self.batch * self.channels * positions];
        let mut columns = vec![T::zero(); patch * chunk * positions];
        let mut filtered = vec![T::zero(); self.filters * chunk * positions];
        for (x, y) in x.chunks(chunk * self.image()).zip(y.chunks_mut(chunk * self.channels * positions)) {
            let n = x.len() / self.image() * positions;
            let (columns, filtered) = (&mut columns[..patch * n], &mut filtered[..self.filters * n]);
            self.unfold(x, columns);
            let (left, right) = (Matrix::new(weight, self.filters, patch), Matrix::new(columns, patch, n));
            product(filtered, left, right, Into::Overwrite);
            for (row, y) in y.chunks_mut(positions).enumerate() {
                let (sample, channel) = (row / self.channels, row % self.channels);
                let from = &filtered[channel % self.filters * n + sample * positions..][..positions];
                y.iter_mut().zip(from).for_each(|(y, &f)| *y = f + bias[channel]);
            }
        }
        y
    }

    /// The gradients of image (if `wanted`), weight and bias.
    pub(super) fn backward_unfolded<T: Real>(
        &self,
        x: &[T],
        weight: &[T],
        dy: &[T],
        wanted: ImageGradient,
    ) -> [Vec<T>; 3] {
        let (positions, patch, chunk) = (self.positions(), self.patch(), self.chunk());
        let mut dx = match wanted {
            ImageGradient::Wanted => vec![T::zero(); x.len()],
            ImageGradient::Unused => vec![],
        };
        let mut dweight = vec![T::zero(); weight.len()];
        let mut dbias = vec![T::zero(); self.channels];
        let mut columns = vec![T::zero(); patch * chunk * positions];
        let mut dfiltered = vec![T::zero(); self.filters * chunk * positions];
        for (c, (x, dy)) in x.chunks(chunk * self.image()).zip(dy.chunks(chunk * self.channels * positions)).enumerate()
        {
            let n = x.len() / self.image() * positions;
            let (columns, dfiltered) = (&mut columns[..patch * n], &mut dfiltered[..self.filters * n]);
            dfiltered.fill(T::zero());
            for (row, dy) in dy.chunks(positions).enumerate() {
                let (sample, channel) = (row / self.channels, row % self.channels);
                let to = &mut dfiltered[channel % self.filters * n + sample * positions..][..positions];
                to.iter_mut().zip(dy).for_each(|(t, &d)| *t += d);
                dbias[channel] += dy.iter().copied().sum::<T>();
            }
            self.unfold(x, columns);
            let (left, right) = (Matrix::new(dfiltered, self.filters, n), Matrix::new(columns, patch, n));
            product(&mut dweight, left, right.transposed(), Into::Add);
            if wanted == ImageGradient::Wanted {
                let (left, right) = (Matrix::new(weight, self.filters, patch), Matrix::new(dfiltered, self.filters, n));
                product(columns, left.transposed(), right, Into::Overwrite);
                let start = c * chunk * self.image();
                self.fold(columns, &mut dx[start..start + x.len()]);
            }
        }
        [dx, dweight, dbias]
    }
}

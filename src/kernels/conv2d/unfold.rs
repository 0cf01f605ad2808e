//! Convolution as im2col and one matrix product per chunk of samples.

use super::{Activation, Geometry};
use crate::kernels::{
    Weight,
    product::{Into, Matrix, product},
    scratch::Buffer,
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
}

/// A convolution as matrix products.
pub(super) struct Unfold<T: Real> {
    /// `[patch, samples × positions]`
    columns: Buffer<T>,
    /// `[filters, samples × positions]`
    filtered: Buffer<T>,
    dweight: Buffer<T>,
}

impl<T: Real> Unfold<T> {
    pub(super) fn new() -> Self {
        Unfold { columns: Buffer::empty(), filtered: Buffer::empty(), dweight: Buffer::empty() }
    }

    fn prepare(&mut self, g: &Geometry) {
        let n = g.chunk() * g.positions();
        self.columns.resize(g.patch() * n);
        self.filtered.resize(g.filters * n);
    }

    pub(super) fn forward(
        &mut self,
        g: &Geometry,
        x: &[T],
        weight: &[T],
        bias: &[T],
        activation: Activation,
        y: &mut [T],
    ) {
        let &Geometry { filters, channels, .. } = g;
        let (positions, patch, chunk) = (g.positions(), g.patch(), g.chunk());
        self.prepare(g);
        for (x, y) in x.chunks(chunk * g.image()).zip(y.chunks_mut(chunk * channels * positions)) {
            let n = x.len() / g.image() * positions;
            let (columns, filtered) = (&mut self.columns[..patch * n], &mut self.filtered[..filters * n]);
            g.unfold(x, columns);
            let (left, right) = (Matrix::new(weight, filters, patch), Matrix::new(columns, patch, n));
            product(filtered, left, right, Into::Overwrite);
            let work = y.len();
            for_each_chunk(y, positions, work, |row, y| {
                let (sample, channel) = (row / channels, row % channels);
                let from = &filtered[channel % filters * n + sample * positions..][..positions];
                y.iter_mut().zip(from).for_each(|(y, &f)| *y = activation.of(f + bias[channel]));
            });
        }
    }

    /// `dy` is masked where there is a `mask`, the output of a rectifier.
    pub(super) fn backward(
        &mut self,
        g: &Geometry,
        x: &[T],
        weight: &mut dyn Weight<T>,
        mask: Option<&[T]>,
        dy: &[T],
        mut dx: Option<&mut [T]>,
    ) {
        let &Geometry { filters, channels, .. } = g;
        let (positions, patch, chunk) = (g.positions(), g.patch(), g.chunk());
        self.prepare(g);
        self.dweight.resize(filters * patch);
        if let Some(dx) = &mut dx {
            dx.fill(T::zero());
        }
        let samples = chunk * channels * positions;
        for (c, (x, dy)) in x.chunks(chunk * g.image()).zip(dy.chunks(samples)).enumerate() {
            let n = x.len() / g.image() * positions;
            let (columns, dfiltered) = (&mut self.columns[..patch * n], &mut self.filtered[..filters * n]);
            let mask = mask.map(|y| &y[c * samples..][..dy.len()]);
            for_each_chunk(dfiltered, n, dy.len(), |filter, row| {
                row.fill(T::zero());
                for (sample, row) in row.chunks_mut(positions).enumerate() {
                    for channel in (filter..channels).step_by(filters) {
                        let at = (sample * channels + channel) * positions;
                        let dy = &dy[at..][..positions];
                        match mask {
                            None => row.iter_mut().zip(dy).for_each(|(t, &d)| *t += d),
                            Some(y) => {
                                let dy = dy.iter().zip(&y[at..]).map(|(&dy, &y)| Activation::Relu.gradient(y, dy));
                                row.iter_mut().zip(dy).for_each(|(t, d)| *t += d);
                            }
                        }
                    }
                }
            });
            g.unfold(x, columns);
            let (left, right) = (Matrix::new(dfiltered, filters, n), Matrix::new(columns, patch, n));
            product(&mut self.dweight, left, right.transposed(), if c == 0 { Into::Overwrite } else { Into::Add });
            if let Some(dx) = &mut dx {
                let (left, right) = (Matrix::new(weight.values(), filters, patch), Matrix::new(dfiltered, filters, n));
                product(columns, left.transposed(), right, Into::Overwrite);
                let start = c * chunk * g.image();
                g.fold(columns, &mut dx[start..start + x.len()]);
            }
        }
        weight.gradient(0..filters, 0..patch, &self.dweight);
    }
}

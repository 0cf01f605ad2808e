//! The gradients of image and weight, each of a small weight and of a large one.

use super::{
    BLOCKS, Scratch, Unfold, VALUES_AT_ONCE,
    sides::{ByColumn, Filtered, Image, OutputGradient, Rows},
};
use crate::learn::kernels::{
    conv2d::geometry::Geometry,
    matrix::Matrix,
    real::Real,
    storage::for_each_chunk,
    tiles::{Destination, Start, multiply},
    weight::Weight,
};

impl<T: Real> Unfold<T> {
    /// A task takes some samples.
    pub(super) fn image_gradient(&mut self, weight: &[T], gradient: OutputGradient<T>, dx: &mut [T]) {
        let (g, patch) = (gradient.g, gradient.g.patch());
        let samples = g.together();
        let work = g.batch * g.positions() * weight.len();
        let right = Matrix::new(weight, g.filters, patch);
        for_each_chunk(dx, samples * g.image(), work, |i, dx| {
            let count = dx.len() / g.image();
            let left = ByColumn(gradient.samples(i * samples..i * samples + count));
            let columns = count * g.positions();
            self.tasks.with(|Scratch { panels, dcolumns, .. }| {
                let dcolumns = &mut dcolumns[..columns * patch];
                let destination = Destination { values: &mut *dcolumns, stride: patch };
                multiply([columns, g.filters, patch], left, right, destination, Start::Zero, |v| v, panels);
                dx.fill(T::zero());
                for (dx, dcolumns) in dx.chunks_mut(g.image()).zip(dcolumns.chunks(g.positions() * patch)) {
                    fold(g, dcolumns, dx);
                }
            });
        });
    }

    /// A task takes some channels: the weight is read once.
    pub(super) fn image_gradient_at_once(&mut self, weight: &[T], gradient: OutputGradient<T>, dx: &mut [T]) {
        let g = gradient.g;
        let (positions, patch, kernel, plane) =
            (g.positions(), g.patch(), g.kernel[0] * g.kernel[1], g.height * g.width);
        let weight = Matrix::new(weight, g.filters, patch);
        let block = g.channels_at_once();
        let samples = (VALUES_AT_ONCE / (positions * patch)).clamp(1, g.batch);
        for (i, dx) in dx.chunks_mut(samples * g.image()).enumerate() {
            let count = dx.len() / g.image();
            let gradient = gradient.samples(i * samples..i * samples + count);
            let columns = count * positions;
            self.dcolumns.resize(columns * patch);
            let tasks = &self.tasks;
            for_each_chunk(&mut self.dcolumns, columns * block * kernel, columns * patch * g.filters, |i, dcolumns| {
                let n = dcolumns.len() / columns;
                let right = weight.columns(i * block * kernel..i * block * kernel + n);
                tasks.with(|Scratch { panels, .. }| {
                    let destination = Destination { values: dcolumns, stride: n };
                    multiply(
                        [columns, g.filters, n],
                        ByColumn(gradient),
                        right,
                        destination,
                        Start::Zero,
                        |v| v,
                        panels,
                    );
                });
            });
            let dcolumns = &self.dcolumns;
            // In every sample the same channels, of one block.
            let shared = if g.in_channels.is_multiple_of(block) { block } else { g.in_channels };
            for_each_chunk(dx, shared * plane, columns * patch, |i, dx| {
                dx.fill(T::zero());
                let (sample, first) = (i * shared / g.in_channels, i * shared % g.in_channels);
                for (b, dx) in dx.chunks_mut(block * plane).enumerate() {
                    let n = dx.len() / plane * kernel;
                    let start = columns * (first + b * block) * kernel + sample * positions * n;
                    fold(g, &dcolumns[start..][..positions * n], dx);
                }
            });
        }
    }

    /// Leaves the gradient in `dweight`.
    pub(super) fn weight_gradient(&mut self, image: Image<T>, gradient: OutputGradient<T>, dbias: &mut [T]) {
        let (g, patch) = (gradient.g, gradient.g.patch());
        let (len, together) = (g.filters * patch, g.together());
        let samples = g.samples_of_a_share();
        let stride = len + g.channels;
        self.shares.resize(g.batch.div_ceil(samples) * stride);
        let tasks = &self.tasks;
        for_each_chunk(&mut self.shares, stride, g.batch * g.positions() * len, |share, sums| {
            let (dweight, dbias) = sums.split_at_mut(len);
            dbias.fill(T::zero());
            let first = share * samples;
            let end = g.batch.min(first + samples);
            tasks.with(|Scratch { panels, .. }| {
                for start in (first..end).step_by(together) {
                    let samples = start..end.min(start + together);
                    let x = &image.x[samples.start * g.image()..samples.end * g.image()];
                    let columns = samples.len() * g.positions();
                    let left = g.filters * columns;
                    let left = Filtered { gradient: gradient.samples(samples), left, dbias };
                    let right = Rows { image: Image { x, ..image }, first: 0 };
                    let sums = if start == first { Start::Zero } else { Start::Destination };
                    let destination = Destination { values: &mut *dweight, stride: patch };
                    multiply([g.filters, columns, patch], left, right, destination, sums, |v| v, panels);
                }
            });
        });
        self.dweight.resize(len);
        const CHUNK: usize = 1 << 13;
        let shares = &self.shares;
        for_each_chunk(&mut self.dweight, CHUNK, shares.len(), |chunk, dweight| {
            dweight.copy_from_slice(&shares[chunk * CHUNK..][..dweight.len()]);
            for share in shares.chunks(stride).skip(1) {
                dweight.iter_mut().zip(&share[chunk * CHUNK..]).for_each(|(sum, &v)| *sum += v);
            }
        });
        dbias.fill(T::zero());
        for share in shares.chunks(stride) {
            dbias.iter_mut().zip(&share[len..]).for_each(|(sum, &v)| *sum += v);
        }
    }

    /// A task takes some channels, which are a block that is handed over.
    pub(super) fn weight_gradient_by_blocks(
        &mut self,
        image: Image<T>,
        gradient: OutputGradient<T>,
        weight: &mut dyn Weight<T>,
    ) {
        let g = gradient.g;
        let (kernel, columns) = (g.kernel[0] * g.kernel[1], image.columns());
        let block = g.channels_at_once();
        let len = g.filters * block * kernel;
        self.dweight.resize(BLOCKS * len);
        for first in (0..g.in_channels).step_by(BLOCKS * block) {
            let channels = (BLOCKS * block).min(g.in_channels - first);
            let dweight = &mut self.dweight[..g.filters * channels * kernel];
            let tasks = &self.tasks;
            for_each_chunk(dweight, len, columns * g.filters * channels * kernel, |i, dweight| {
                let n = dweight.len() / g.filters;
                let left = Filtered { gradient, left: 0, dbias: &mut [] };
                let right = Rows { image, first: (first + i * block) * kernel };
                tasks.with(|Scratch { panels, .. }| {
                    let destination = Destination { values: dweight, stride: n };
                    multiply([g.filters, columns, n], left, right, destination, Start::Zero, |v| v, panels);
                });
            });
            for (i, block_values) in dweight.chunks(len).enumerate() {
                let start = (first + i * block) * kernel;
                weight.gradient(0..g.filters, start..start + block_values.len() / g.filters, block_values);
            }
        }
    }
}

/// Adds to some channels of a sample's image what fell to the values under the kernel: `dcolumns [positions, channels × kernel]`.
#[inline(always)]
fn fold<T: Real>(g: &Geometry, dcolumns: &[T], dx: &mut [T]) {
    let ([kh, kw], plane) = (g.kernel, g.height * g.width);
    let row_len = dx.len() / plane * kh * kw;
    for (position, row) in dcolumns.chunks_exact(row_len).enumerate() {
        let start = position / g.out[1] * g.stride * g.width + position % g.out[1] * g.stride;
        for (dx, row) in dx.chunks_exact_mut(plane).zip(row.chunks_exact(kh * kw)) {
            for (p, row) in row.chunks_exact(kw).enumerate() {
                let to = &mut dx[start + p * g.width..][..kw];
                to.iter_mut().zip(row).for_each(|(to, &v)| *to += v);
            }
        }
    }
}

//! Convolution as products with the values under the kernel (im2col). Where samples are taken one by one, those exist only in the
//! panels of a product; a large weight, which is read once for all samples, meets a copy of them.
//!
//! In all of them a column stands for a sample and a position of the kernel in it.

use std::ops::Range;

use super::{bias::bias_gradient, geometry::Geometry, options::Activation};
use crate::learn::kernels::{
    lanes::sum,
    matrix::Matrix,
    memory::prefetch,
    real::Real,
    scratch::{Buffer, Slots},
    storage::for_each_chunk,
    tiles::{DEPTH, Destination, Left, Right, Start, WIDTH, grow, grow_scratch, multiply},
    weight::Weight,
};

/// Values of a cache line of f32.
const LINE: usize = 16;
/// Weights of more values are passed over once for all samples, smaller ones once for a few.
const LARGE_WEIGHT: usize = 1 << 18;
/// Of a large weight: bounds the buffer of what falls to the values under the kernel.
pub(super) const VALUES_AT_ONCE: usize = 1 << 23;
/// Of a small weight: the samples' shares, whatever the threads, as the sums of shares are summed in turn.
pub(super) const SHARES: usize = 16;
/// Of a large weight: blocks computed between two times that they are handed over, whatever the threads.
pub(super) const BLOCKS: usize = 8;

/// A convolution as matrix products.
pub(super) struct Unfold<T: Real> {
    offsets: Offsets,
    /// `[patch, columns]`
    columns: Buffer<T>,
    tasks: Slots<Scratch<T>>,
    /// `[filters, columns]`
    filtered: Buffer<T>,
    /// What falls to each value under the kernel: blocks of channels, each `[columns, channels × kernel]`.
    dcolumns: Buffer<T>,
    /// Gradients of weight and bias, of each share of the samples.
    shares: Buffer<T>,
    dweight: Buffer<T>,
}

struct Scratch<T> {
    panels: Vec<T>,
    filtered: Vec<T>,
    dcolumns: Vec<T>,
}

/// Some samples: the values under the kernel.
#[derive(Clone, Copy)]
struct Image<'a, T> {
    g: &'a Geometry,
    offsets: &'a Offsets,
    x: &'a [T],
}

/// Of some samples: the gradient of each filter's output, `[filters, columns]`. Channels that share a filter are summed.
#[derive(Clone, Copy)]
struct OutputGradient<'a, T> {
    g: &'a Geometry,
    dy: &'a [T],
    /// The output of a rectifier.
    mask: Option<&'a [T]>,
}

/// Its columns, cut where a sample ends: each piece with its sample and the position it starts at.
#[inline(always)]
fn by_sample(positions: usize, columns: Range<usize>) -> impl Iterator<Item = (usize, usize, Range<usize>)> {
    let mut next = columns.start;
    std::iter::from_fn(move || {
        let (start, sample) = (next, next / positions);
        next = columns.end.min((sample + 1) * positions);
        (start < next).then(|| (sample, start % positions, start - columns.start..next - columns.start))
    })
}

/// Where the values under the kernel stand in an image: at the sum of two offsets.
#[derive(Default)]
struct Offsets {
    /// Of the kernel's positions in a sample.
    positions: Vec<u32>,
    /// Of the values under the kernel, from the first.
    taps: Vec<u32>,
}

impl Offsets {
    fn new(g: &Geometry) -> Self {
        let ([kh, kw], [out_h, out_w]) = (g.kernel, g.out);
        let positions = (0..out_h).flat_map(|i| (0..out_w).map(move |j| (i * g.width + j) * g.stride));
        let rows = (0..g.in_channels).flat_map(|channel| (0..kh).map(move |p| (channel * g.height + p) * g.width));
        let taps = rows.flat_map(|row| (0..kw).map(move |q| row + q));
        let narrow = |offset: usize| u32::try_from(offset).expect("an image of less than 2³² values");
        Offsets { positions: positions.map(narrow).collect(), taps: taps.map(narrow).collect() }
    }

    /// Of a column, in all samples.
    #[inline(always)]
    fn column(&self, g: &Geometry, column: usize) -> usize {
        let (sample, position) = (column / self.positions.len(), column % self.positions.len());
        sample * g.image() + self.positions[position] as usize
    }
}

/// As the right side: `[patch, columns]`.
struct Columns<'a, T>(Image<'a, T>);

impl<T: Real> Right<T> for Columns<'_, T> {
    #[inline(always)]
    fn pack(&self, depth: Range<usize>, columns: Range<usize>, width: usize, panel: &mut [T]) {
        let Image { g, offsets, x } = self.0;
        let mut starts = [0; WIDTH];
        let starts = &mut starts[..columns.len()];
        starts.iter_mut().zip(columns).for_each(|(start, column)| *start = offsets.column(g, column));
        for (&tap, row) in offsets.taps[depth].iter().zip(panel.chunks_exact_mut(width)) {
            let x = &x[tap as usize..];
            row.iter_mut().zip(&*starts).for_each(|(to, &start)| *to = x[start]);
        }
    }
}

/// As the right side, transposed: `[columns, channels × kernel]` from some value of the kernel on.
struct Rows<'a, T> {
    image: Image<'a, T>,
    first: usize,
}

impl<T: Real> Right<T> for Rows<'_, T> {
    #[inline(always)]
    fn pack(&self, depth: Range<usize>, columns: Range<usize>, width: usize, panel: &mut [T]) {
        let Image { g, offsets, x } = self.image;
        let taps = &offsets.taps[self.first + columns.start..self.first + columns.end];
        for (column, row) in depth.zip(panel.chunks_exact_mut(width)) {
            let x = &x[offsets.column(g, column)..];
            row.iter_mut().zip(taps).for_each(|(to, &tap)| *to = x[tap as usize]);
        }
    }
}

impl<T: Real> OutputGradient<'_, T> {
    /// Of one channel, from a position on: `put(to, dy)` for each value of `to`.
    #[inline(always)]
    fn channel(&self, sample: usize, channel: usize, position: usize, to: &mut [T], mut put: impl FnMut(&mut T, T)) {
        let start = (sample * self.g.channels + channel) * self.g.positions() + position;
        let dy = &self.dy[start..][..to.len()];
        match self.mask {
            None => to.iter_mut().zip(dy).for_each(|(to, &dy)| put(to, dy)),
            Some(y) => {
                let y = &y[start..][..to.len()];
                to.iter_mut().zip(dy).zip(y).for_each(|((to, &dy), &y)| put(to, Activation::Relu.gradient(y, dy)));
            }
        }
    }
}

/// As the left side, `[filters, columns]`; each value that is asked for first also counts to the bias.
struct Filtered<'a, T> {
    gradient: OutputGradient<'a, T>,
    /// Values that have not yet counted.
    left: usize,
    dbias: &'a mut [T],
}

impl<T: Real> Left<T> for Filtered<'_, T> {
    #[inline(always)]
    fn pack(&mut self, rows: Range<usize>, depth: Range<usize>, panel: &mut [[T; DEPTH]]) {
        let g = self.gradient.g;
        let counts = self.left > 0 && !self.dbias.is_empty();
        self.left = self.left.saturating_sub(rows.len() * depth.len());
        for (filter, to) in rows.zip(panel) {
            for (sample, position, at) in by_sample(g.positions(), depth.clone()) {
                let to = &mut to[at];
                self.gradient.channel(sample, filter, position, to, |to, dy| *to = dy);
                if counts {
                    self.dbias[filter] += sum(to);
                }
                for channel in (filter + g.filters..g.channels).step_by(g.filters) {
                    if counts {
                        let mut own = T::zero();
                        self.gradient.channel(sample, channel, position, to, |to, dy| {
                            *to += dy;
                            own += dy;
                        });
                        self.dbias[channel] += own;
                    } else {
                        self.gradient.channel(sample, channel, position, to, |to, dy| *to += dy);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn prefetch(&self, rows: Range<usize>, depth: Range<usize>) {
        let (g, OutputGradient { dy, mask, .. }) = (self.gradient.g, self.gradient);
        for filter in rows {
            for (sample, position, at) in by_sample(g.positions(), depth.clone()) {
                let start = (sample * g.channels + filter) * g.positions() + position;
                prefetch(&dy[start..][..at.len()]);
                if let Some(y) = mask {
                    prefetch(&y[start..][..at.len()]);
                }
            }
        }
    }
}

/// As the left side, transposed: `[columns, filters]`.
struct ByColumn<'a, T>(OutputGradient<'a, T>);

impl<T: Real> Left<T> for ByColumn<'_, T> {
    #[inline(always)]
    fn pack(&mut self, rows: Range<usize>, depth: Range<usize>, panel: &mut [[T; DEPTH]]) {
        let g = self.0.g;
        for (sample, position, at) in by_sample(g.positions(), rows) {
            let panel = &mut panel[at];
            for (k, filter) in depth.clone().enumerate() {
                for channel in (filter..g.channels).step_by(g.filters) {
                    let start = (sample * g.channels + channel) * g.positions() + position;
                    for (r, to) in panel.iter_mut().enumerate() {
                        let dy = self.0.dy[start + r];
                        let dy = self.0.mask.map_or(dy, |y| Activation::Relu.gradient(y[start + r], dy));
                        to[k] = if channel == filter { dy } else { to[k] + dy };
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn prefetch(&self, _: Range<usize>, _: Range<usize>) {}
}

impl<'a, T> Image<'a, T> {
    fn columns(&self) -> usize {
        self.x.len() / self.g.image() * self.g.positions()
    }
}

impl<'a, T> OutputGradient<'a, T> {
    fn samples(&self, samples: Range<usize>) -> Self {
        let len = self.g.channels * self.g.positions();
        let of = |values: &'a [T]| &values[samples.start * len..samples.end * len];
        OutputGradient { g: self.g, dy: of(self.dy), mask: self.mask.map(of) }
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

/// Spreads `[filters, columns]`, from a column on, over the channels of the output.
fn spread<T: Real>(g: &Geometry, filtered: &[T], first: usize, bias: &[T], activation: Activation, y: &mut [T]) {
    let all = filtered.len() / g.filters;
    for (sample, y) in y.chunks_exact_mut(g.channels * g.positions()).enumerate() {
        for (channel, y) in y.chunks_exact_mut(g.positions()).enumerate() {
            let from = &filtered[channel % g.filters * all + first + sample * g.positions()..];
            y.iter_mut().zip(from).for_each(|(y, &f)| *y = activation.of(f + bias[channel]));
        }
    }
}

impl<T: Real> Unfold<T> {
    pub(super) fn new(g: &Geometry) -> Self {
        Unfold {
            offsets: Offsets::new(g),
            columns: Buffer::empty(),
            tasks: Slots::new(),
            filtered: Buffer::empty(),
            dcolumns: Buffer::empty(),
            shares: Buffer::empty(),
            dweight: Buffer::empty(),
        }
    }

    fn prepare(&mut self, g: &Geometry) {
        let (large, columns) = (g.is_large(), g.together() * g.positions());
        let new = || Scratch { panels: Vec::new(), filtered: Vec::new(), dcolumns: Vec::new() };
        self.tasks.prepare(new, |Scratch { panels, filtered, dcolumns }| {
            grow_scratch(panels, g.patch().max(g.batch * g.positions()), 1);
            if !large {
                grow(filtered, g.filters * columns);
                grow(dcolumns, g.patch() * columns);
            }
        });
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
        self.prepare(g);
        let (positions, patch) = (g.positions(), g.patch());
        let work = y.len() / g.channels * g.filters * patch;
        if g.is_large() {
            // A task passes over some filters.
            const FILTERS: usize = 64;
            let n = (g.batch * positions).next_multiple_of(LINE);
            self.columns.resize(patch * n);
            let offsets = &self.offsets;
            let kernel = g.kernel[0] * g.kernel[1];
            for_each_chunk(&mut self.columns, kernel * n, patch * n, |channel, columns| {
                for (tap, row) in columns.chunks_exact_mut(n).enumerate() {
                    let from = offsets.taps[channel * kernel + tap] as usize;
                    for (row, x) in row.chunks_mut(positions).zip(x.chunks(g.image())) {
                        row.iter_mut()
                            .zip(&offsets.positions)
                            .for_each(|(to, &position)| *to = x[from + position as usize]);
                    }
                    row[g.batch * positions..].fill(T::zero());
                }
            });
            self.filtered.resize(g.filters * n);
            let (tasks, columns) = (&self.tasks, Matrix::new(&self.columns, patch, n));
            for_each_chunk(&mut self.filtered, FILTERS * n, work, |i, filtered| {
                let filters = filtered.len() / n;
                let left = Matrix::new(&weight[i * FILTERS * patch..][..filters * patch], filters, patch);
                tasks.with(|Scratch { panels, .. }| {
                    let destination = Destination { values: filtered, stride: n };
                    multiply([filters, patch, n], left, columns, destination, Start::Zero, |v| v, panels);
                });
            });
            let filtered = &self.filtered;
            let copies = y.len();
            for_each_chunk(y, g.channels * positions, copies, |sample, y| {
                spread(g, filtered, sample * positions, bias, activation, y);
            });
            return;
        }
        let left = Matrix::new(weight, g.filters, patch);
        let samples = g.together();
        for_each_chunk(y, samples * g.channels * positions, work, |i, y| {
            let first = i * samples;
            let count = y.len() / (g.channels * positions);
            let image = Image { g, offsets: &self.offsets, x: &x[first * g.image()..][..count * g.image()] };
            self.tasks.with(|Scratch { panels, filtered, .. }| {
                let size = [g.filters, patch, count * positions];
                if count == 1 && g.channels == g.filters {
                    let destination = Destination { values: y, stride: positions };
                    multiply(size, left, Columns(image), destination, Start::Rows(bias), |v| activation.of(v), panels);
                } else {
                    let filtered = &mut filtered[..g.filters * count * positions];
                    let destination = Destination { values: &mut *filtered, stride: count * positions };
                    multiply(size, left, Columns(image), destination, Start::Zero, |v| v, panels);
                    spread(g, filtered, 0, bias, activation, y);
                }
            });
        });
    }

    /// `dy` is masked where there is a `mask`, the output of a rectifier.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn backward(
        &mut self,
        g: &Geometry,
        x: &[T],
        weight: &mut dyn Weight<T>,
        mask: Option<&[T]>,
        dy: &[T],
        dx: Option<&mut [T]>,
        dbias: &mut [T],
    ) {
        self.prepare(g);
        let gradient = OutputGradient { g, dy, mask };
        let large = g.is_large();
        if let Some(dx) = dx {
            if large {
                self.image_gradient_at_once(weight.values(), gradient, dx)
            } else {
                self.image_gradient(weight.values(), gradient, dx)
            }
        }
        // Out of `self`, which the gradients write.
        let offsets = std::mem::take(&mut self.offsets);
        if large {
            bias_gradient(g, mask, dy, dbias);
            self.weight_gradient_by_blocks(Image { g, offsets: &offsets, x }, gradient, weight);
        } else {
            self.weight_gradient(Image { g, offsets: &offsets, x }, gradient, dbias);
            weight.gradient(0..g.filters, 0..g.patch(), &self.dweight);
        }
        self.offsets = offsets;
    }

    /// A task takes some samples.
    fn image_gradient(&mut self, weight: &[T], gradient: OutputGradient<T>, dx: &mut [T]) {
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
    fn image_gradient_at_once(&mut self, weight: &[T], gradient: OutputGradient<T>, dx: &mut [T]) {
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
    fn weight_gradient(&mut self, image: Image<T>, gradient: OutputGradient<T>, dbias: &mut [T]) {
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
    fn weight_gradient_by_blocks(&mut self, image: Image<T>, gradient: OutputGradient<T>, weight: &mut dyn Weight<T>) {
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

impl Geometry {
    pub(super) fn is_large(&self) -> bool {
        self.filters * self.patch() > LARGE_WEIGHT
    }

    /// Samples that a task takes: enough columns for an efficient product.
    pub(super) fn together(&self) -> usize {
        const ENOUGH_COLUMNS: usize = 96;
        ENOUGH_COLUMNS.div_ceil(self.positions()).min(self.batch)
    }

    /// Samples whose gradients of a small weight are summed together.
    pub(super) fn samples_of_a_share(&self) -> usize {
        self.batch.div_ceil(SHARES).next_multiple_of(self.together())
    }

    /// Channels of a block of a large weight: so many that a cache holds the block.
    pub(super) fn channels_at_once(&self) -> usize {
        const VALUES: usize = 1 << 17;
        (VALUES / (self.filters * self.kernel[0] * self.kernel[1])).clamp(1, self.in_channels)
    }
}

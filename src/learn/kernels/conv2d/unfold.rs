//! Convolution as products with the values under the kernel (im2col). Where samples are taken one by one, those exist only in the
//! panels of a product; a large weight, which is read once for all samples, meets a copy of them.
//!
//! In all of them a column stands for a sample and a position of the kernel in it.

mod gradients;
mod offsets;
mod runs;
mod sides;

use super::{bias::bias_gradient, geometry::Geometry, options::Activation};
use crate::learn::kernels::{
    matrix::Matrix,
    real::Real,
    scratch::{Buffer, Slots},
    storage::for_each_chunk,
    tiles::{Destination, Start, grow, grow_scratch, multiply},
    weight::Weight,
};
use offsets::{Offsets, part};
use sides::{Columns, Image, OutputGradient};

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
    /// Of images parted by the stride, where that pays.
    parted: Option<Offsets>,
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
    parted: Vec<T>,
    filtered: Vec<T>,
    dcolumns: Vec<T>,
}

impl<T: Real> Unfold<T> {
    pub(super) fn new(g: &Geometry) -> Self {
        Unfold {
            offsets: Offsets::new(g),
            parted: Offsets::of_parted(g),
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
        let parts = self.parted.is_some();
        let new = || Scratch { panels: Vec::new(), parted: Vec::new(), filtered: Vec::new(), dcolumns: Vec::new() };
        self.tasks.prepare(new, |Scratch { panels, parted: images, filtered, dcolumns }| {
            grow_scratch(panels, g.patch().max(g.batch * g.positions()), 1);
            if !large {
                if parts {
                    grow(images, g.together() * g.parted());
                }
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
        if g.is_large() {
            self.unfold(g, x);
            self.filter(g, weight);
            let (filtered, positions, copies) = (&self.filtered, g.positions(), y.len());
            for_each_chunk(y, g.channels * positions, copies, |sample, y| {
                spread(g, filtered, sample * positions, bias, activation, y);
            });
        } else {
            self.forward_by_samples(g, x, weight, bias, activation, y);
        }
    }

    /// Copies the values under the kernel, of all samples.
    fn unfold(&mut self, g: &Geometry, x: &[T]) {
        let (positions, patch, n) = (g.positions(), g.patch(), row_of_all(g));
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
    }

    /// The filters' output of what was copied: a large weight is read once.
    fn filter(&mut self, g: &Geometry, weight: &[T]) {
        // A task passes over some filters.
        const FILTERS: usize = 64;
        let (patch, n) = (g.patch(), row_of_all(g));
        self.filtered.resize(g.filters * n);
        let (tasks, columns) = (&self.tasks, Matrix::new(&self.columns, patch, n));
        let work = g.batch * g.positions() * g.filters * patch;
        for_each_chunk(&mut self.filtered, FILTERS * n, work, |i, filtered| {
            let filters = filtered.len() / n;
            let left = Matrix::new(&weight[i * FILTERS * patch..][..filters * patch], filters, patch);
            tasks.with(|Scratch { panels, .. }| {
                let destination = Destination { values: filtered, stride: n };
                multiply([filters, patch, n], left, columns, destination, Start::Zero, |v| v, panels);
            });
        });
    }

    /// A task takes some samples.
    fn forward_by_samples(&self, g: &Geometry, x: &[T], weight: &[T], bias: &[T], activation: Activation, y: &mut [T]) {
        let (positions, patch) = (g.positions(), g.patch());
        let work = y.len() / g.channels * g.filters * patch;
        let left = Matrix::new(weight, g.filters, patch);
        let samples = g.together();
        for_each_chunk(y, samples * g.channels * positions, work, |i, y| {
            let first = i * samples;
            let count = y.len() / (g.channels * positions);
            let x = &x[first * g.image()..][..count * g.image()];
            self.tasks.with(|Scratch { panels, filtered, parted: images, .. }| {
                let image = match &self.parted {
                    None => Image { g, offsets: &self.offsets, x },
                    Some(offsets) => {
                        part(g, x, images);
                        Image { g, offsets, x: images }
                    }
                };
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
}

/// Positions of the kernel in all samples: a row of what is copied under a large weight, in whole cache lines.
fn row_of_all(g: &Geometry) -> usize {
    (g.batch * g.positions()).next_multiple_of(LINE)
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

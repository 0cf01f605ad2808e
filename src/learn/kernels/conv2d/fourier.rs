//! Convolution in the frequency domain: a stride of s is s² convolutions of stride 1, of every s-th row and column, whose products
//! are summed before they are transformed back.
//!
//! The phases of an image are no longer than a cyclic transform of the size that the output needs, so that nothing is tiled or
//! thrown away. Image, kernel and output then meet in one matrix product per bin: `Y = W̃·X`, `dX = dY·W̃*`, `dW̃ = X*·dY`.
//! Gradients come by blocks of input channels, so that theirs are spectra that a cache holds.
//! A NaN in an image spreads over the outputs of its sample.

use super::{
    dft::{Analysis, Dft, LANES, Lanes, Sign, Synthesis, Workspace},
    geometry::Geometry,
    options::Activation,
    spectrum::Spectrum,
};
use crate::learn::kernels::{
    lanes::vectorised,
    memory::Streaming,
    real::Real,
    scratch::{Buffer, Slots},
    storage::for_each_chunk,
    tiles::Conjugate,
    weight::Weight,
};

/// Every `stride`-th row and column from `start` on.
struct Phase<T> {
    start: [usize; 2],
    image: Analysis<T>,
    kernel: Analysis<T>,
    image_gradient: Synthesis<T>,
    kernel_gradient: Synthesis<T>,
}

/// A convolution in the frequency domain.
pub(super) struct Fourier<T: Real> {
    dft: Dft,
    phases: Vec<Phase<T>>,
    output: Synthesis<T>,
    output_gradient: Analysis<T>,
    /// `[inputs, batch]`, where an input is a phase of a channel: of the last forward pass.
    x: Spectrum<T>,
    /// `[filters, inputs]`, conjugate: of the last forward pass.
    weight: Spectrum<T>,
    /// `[filters, batch]`
    y: Spectrum<T>,
    /// `[batch, filters]`
    dy: Spectrum<T>,
    /// `[batch, inputs]`, of a block of channels.
    dx: Spectrum<T>,
    /// `[inputs, filters]`, conjugate, of a block of channels.
    dweight: Spectrum<T>,
    /// `[filters, channels × kernel]` of a block of channels.
    block: Buffer<T>,
    tiles: Slots<Tiles<T>>,
    sums: Slots<Vec<T>>,
}

/// What a task needs to transform.
struct Tiles<T> {
    tile: Vec<Lanes<T>>,
    work: Workspace<T>,
}

/// The sizes of the cyclic transform: the longest phase of an image.
pub(super) fn size(g: &Geometry) -> [usize; 2] {
    [0, 1].map(|axis| g.out[axis] + g.kernel[axis].div_ceil(g.stride) - 1)
}

/// `LANES` channels, or what is left of them: the first and their number.
fn blocks(channels: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..channels).step_by(LANES).map(move |start| (start, LANES.min(channels - start)))
}

/// The values of `lanes` planes, which start `stride` apart: `tile [value][lane]`, 0 in the other lanes.
#[inline(always)]
fn load<T: Real>(planes: &[T], stride: usize, lanes: usize, tile: &mut [Lanes<T>]) {
    if lanes < LANES {
        tile.fill([T::zero(); LANES]);
    }
    for lane in 0..lanes {
        let plane = &planes[lane * stride..][..tile.len()];
        tile.iter_mut().zip(plane).for_each(|(tile, &v)| tile[lane] = v);
    }
}

/// 0 where `y`, planes as those of [`load`], is not above 0.
#[inline(always)]
fn mask<T: Real>(y: &[T], stride: usize, lanes: usize, tile: &mut [Lanes<T>]) {
    for lane in 0..lanes {
        let y = &y[lane * stride..][..tile.len()];
        tile.iter_mut().zip(y).for_each(|(tile, &y)| tile[lane] = Activation::Relu.gradient(y, tile[lane]));
    }
}

/// The opposite of [`load`].
#[inline(always)]
fn store<T: Real>(tile: &[Lanes<T>], planes: &mut [T], stride: usize, lanes: usize) {
    for lane in 0..lanes {
        let plane = &mut planes[lane * stride..][..tile.len()];
        plane.iter_mut().zip(tile).for_each(|(v, tile)| *v = tile[lane]);
    }
}

/// Writes the first `lanes` values.
#[inline(always)]
fn put<T: Real>(to: &mut [T], value: &Lanes<T>, lanes: usize, streaming: &Streaming) {
    match to.first_chunk_mut() {
        // SAFETY: a task writes every value of its rows once, drops `streaming` at its end, and only then others read them.
        Some(to) if lanes == LANES => unsafe { streaming.store(to, value) },
        _ => to[..lanes].copy_from_slice(&value[..lanes]),
    }
}

/// Channels of a block of gradients.
pub(super) const BLOCK: usize = 2 * LANES;
/// Values of the weight's gradient that are handed over together: so many that a cache holds them.
const HANDED_OVER: usize = 1 << 18;

impl<T: Real> Fourier<T> {
    pub(super) fn new(g: &Geometry) -> Self {
        let dft = Dft::new(size(g));
        let starts = |axis: usize| 0..g.stride.min(g.kernel[axis]);
        let phase = |start: [usize; 2]| {
            let taps = [0, 1].map(|axis| (g.kernel[axis] - start[axis]).div_ceil(g.stride));
            // As far as the kernel reaches.
            let image_taps = [0, 1].map(|axis| g.out[axis] + taps[axis] - 1);
            Phase {
                start,
                image: dft.analysis(image_taps, Sign::Plain),
                kernel: dft.analysis(taps, Sign::Conjugate),
                image_gradient: dft.synthesis(image_taps, Sign::Plain),
                kernel_gradient: dft.synthesis(taps, Sign::Conjugate),
            }
        };
        let phases = starts(0).flat_map(|row| starts(1).map(move |column| [row, column])).map(phase).collect();
        let spectrum = || Spectrum::new(&dft);
        Fourier {
            phases,
            output: dft.synthesis(g.out, Sign::Plain),
            output_gradient: dft.analysis(g.out, Sign::Plain),
            x: spectrum(),
            weight: spectrum(),
            y: spectrum(),
            dy: spectrum(),
            dx: spectrum(),
            dweight: spectrum(),
            block: Buffer::empty(),
            tiles: Slots::new(),
            sums: Slots::new(),
            dft,
        }
    }

    /// Before anything that transforms.
    fn prepare(&mut self, g: &Geometry) {
        let plane = (g.height * g.width).max(g.positions());
        let dft = &self.dft;
        self.tiles.prepare(|| Tiles { tile: vec![[T::zero(); LANES]; 2 * plane], work: Workspace::new(dft) }, |_| {});
    }

    /// Rows (or columns) of a matrix that stand for an input channel's phases. They come in blocks of channels, [`blocks`];
    /// within a block, phase by phase.
    fn inputs(&self, channels: usize) -> usize {
        self.phases.len() * channels
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
        self.image_spectrum(g, x);
        self.weight_spectrum(g, weight);
        self.y.product(self.weight.whole(), self.x.whole(), Conjugate::Neither, &mut self.sums);
        self.output(g, bias, activation, y);
    }

    /// `dy` is masked where there is a `mask`, the output of a rectifier.
    pub(super) fn backward(
        &mut self,
        g: &Geometry,
        weight: &mut dyn Weight<T>,
        mask: Option<&[T]>,
        dy: &[T],
        mut dx: Option<&mut [T]>,
    ) {
        self.prepare(g);
        self.output_spectrum(g, mask, dy);
        for first in (0..g.in_channels).step_by(BLOCK) {
            let channels = BLOCK.min(g.in_channels - first);
            let inputs = self.inputs(first)..self.inputs(first + channels);
            if let Some(dx) = dx.as_deref_mut() {
                let weight = self.weight.part(0..g.filters, inputs.clone());
                self.dx.product(self.dy.whole(), weight, Conjugate::Right, &mut self.sums);
                self.image_gradient(g, first, channels, dx);
            }
            let x = self.x.part(inputs, 0..g.batch);
            self.dweight.product(x, self.dy.whole(), Conjugate::Left, &mut self.sums);
            self.weight_gradient(g, first, channels, weight);
        }
    }

    fn image_spectrum(&mut self, g: &Geometry, x: &[T]) {
        let &Geometry { batch, in_channels, width, stride, .. } = g;
        let plane = g.height * width;
        self.x.resize(self.phases.len() * in_channels, batch);
        let Fourier { dft, phases, tiles, x: spectrum, .. } = self;
        let tiles = &*tiles;
        spectrum.for_each_rows(LANES * phases.len(), x.len(), |block, mut rows| {
            let first = block * LANES;
            let channels = LANES.min(in_channels - first);
            tiles.with(|Tiles { tile, work }| {
                let (tile, streaming) = (&mut tile[..plane], Streaming::new());
                vectorised!(|| {
                    for channel in 0..channels {
                        for (sample, lanes) in blocks(batch) {
                            let planes = &x[(sample * in_channels + first + channel) * plane..];
                            load(planes, in_channels * plane, lanes, tile);
                            for (p, phase) in phases.iter().enumerate() {
                                let [row, column] = phase.start;
                                let start = (p * channels + channel) * batch + sample;
                                phase.image.run(
                                    dft,
                                    #[inline(always)]
                                    |i, j| &tile[(i * stride + row) * width + j * stride + column],
                                    work,
                                    #[inline(always)]
                                    |index, value| put(&mut rows.of(index)[start..], value, lanes, &streaming),
                                );
                            }
                        }
                    }
                });
            });
        });
    }

    fn weight_spectrum(&mut self, g: &Geometry, weight: &[T]) {
        let &Geometry { in_channels, filters, kernel: [kh, kw], stride, .. } = g;
        self.weight.resize(filters, self.phases.len() * in_channels);
        let Fourier { dft, phases, tiles, weight: spectrum, .. } = self;
        let tiles = &*tiles;
        spectrum.for_each_rows(1, weight.len(), |filter, mut rows| {
            tiles.with(|Tiles { tile, work }| {
                let (tile, streaming) = (&mut tile[..kh * kw], Streaming::new());
                vectorised!(|| {
                    for (channel, lanes) in blocks(in_channels) {
                        load(&weight[(filter * in_channels + channel) * kh * kw..], kh * kw, lanes, tile);
                        for (p, phase) in phases.iter().enumerate() {
                            let [row, column] = phase.start;
                            let start = channel * phases.len() + p * lanes;
                            phase.kernel.run(
                                dft,
                                #[inline(always)]
                                |i, j| &tile[(i * stride + row) * kw + j * stride + column],
                                work,
                                #[inline(always)]
                                |index, value| put(&mut rows.of(index)[start..], value, lanes, &streaming),
                            );
                        }
                    }
                });
            });
        });
    }

    /// Channels that share a filter are summed.
    fn output_spectrum(&mut self, g: &Geometry, mask: Option<&[T]>, dy: &[T]) {
        let &Geometry { batch, filters, channels, out, .. } = g;
        let plane = g.positions();
        self.dy.resize(batch, filters);
        let Fourier { dft, output_gradient, tiles, dy: spectrum, .. } = self;
        let tiles = &*tiles;
        spectrum.for_each_rows(1, dy.len(), |sample, mut rows| {
            tiles.with(|Tiles { tile, work }| {
                let (sum, rest) = tile.split_at_mut(plane);
                let (tile, streaming) = (&mut rest[..plane], Streaming::new());
                vectorised!(|| {
                    for (filter, lanes) in blocks(filters) {
                        for channel in (filter..channels).step_by(filters) {
                            let planes = (sample * channels + channel) * plane..;
                            let to = if channel == filter { &mut *sum } else { &mut *tile };
                            load(&dy[planes.clone()], plane, lanes, to);
                            if let Some(y) = mask {
                                self::mask(&y[planes], plane, lanes, to);
                            }
                            if channel > filter {
                                let values = sum.as_flattened_mut().iter_mut().zip(tile.as_flattened());
                                values.for_each(|(sum, &v)| *sum += v);
                            }
                        }
                        output_gradient.run(
                            dft,
                            #[inline(always)]
                            |i, j| &sum[i * out[1] + j],
                            work,
                            #[inline(always)]
                            |index, value| put(&mut rows.of(index)[filter..], value, lanes, &streaming),
                        );
                    }
                });
            });
        });
    }

    fn output(&self, g: &Geometry, bias: &[T], activation: Activation, y: &mut [T]) {
        let &Geometry { filters, channels, out, .. } = g;
        let plane = g.positions();
        let work = y.len();
        for_each_chunk(y, LANES * channels * plane, work, |block, y| {
            let (sample, lanes) = (block * LANES, y.len() / (channels * plane));
            self.tiles.with(|Tiles { tile, work }| {
                let tile = &mut tile[..plane];
                vectorised!(|| {
                    for filter in 0..filters {
                        let from = self.y.lanes(filter, sample, lanes);
                        self.output.run(
                            &self.dft,
                            from,
                            work,
                            #[inline(always)]
                            |i, j, value| tile[i * out[1] + j] = value,
                        );
                        for channel in (filter..channels).step_by(filters) {
                            store(tile, &mut y[channel * plane..], channels * plane, lanes);
                            for lane in 0..lanes {
                                let y = &mut y[(lane * channels + channel) * plane..][..plane];
                                y.iter_mut().for_each(|y| *y = activation.of(*y + bias[channel]));
                            }
                        }
                    }
                });
            });
        });
    }

    /// Writes `channels` channels from `first` on.
    fn image_gradient(&self, g: &Geometry, first: usize, channels: usize, dx: &mut [T]) {
        let &Geometry { batch, in_channels, height, width, stride, .. } = g;
        let plane = height * width;
        let work = batch * channels * plane;
        for_each_chunk(dx, in_channels * plane, work, |sample, dx| {
            let dx = &mut dx[first * plane..][..channels * plane];
            self.tiles.with(|Tiles { tile, work }| {
                let tile = &mut tile[..plane];
                // Values that no kernel position reaches stay 0.
                tile.fill([T::zero(); LANES]);
                vectorised!(|| {
                    for (channel, lanes) in blocks(channels) {
                        for (p, phase) in self.phases.iter().enumerate() {
                            let [row, column] = phase.start;
                            let input = channel * self.phases.len() + p * lanes;
                            self.dx.prefetch(sample, input + lanes);
                            let from = self.dx.lanes(sample, input, lanes);
                            phase.image_gradient.run(
                                &self.dft,
                                from,
                                work,
                                #[inline(always)]
                                |i, j, value| {
                                    tile[(i * stride + row) * width + j * stride + column] = value;
                                },
                            );
                        }
                        store(tile, &mut dx[channel * plane..], plane, lanes);
                    }
                });
            });
        });
    }

    /// Hands over the gradient of `channels` channels from `first` on.
    fn weight_gradient(&mut self, g: &Geometry, first: usize, channels: usize, weight: &mut dyn Weight<T>) {
        let &Geometry { filters, kernel: [kh, kw], stride, .. } = g;
        let kernel = kh * kw;
        let filter_len = channels * kernel;
        self.block.resize(filters * filter_len);
        let Fourier { dft, phases, tiles, dweight, block, .. } = self;
        let (tiles, dweight) = (&*tiles, &*dweight);
        for_each_chunk(block, LANES * filter_len, filters * filter_len, |share, block| {
            let (filter, lanes) = (share * LANES, block.len() / filter_len);
            tiles.with(|Tiles { tile, work }| {
                let tile = &mut tile[..kernel];
                vectorised!(|| {
                    for (first, within) in blocks(channels) {
                        for channel in 0..within {
                            for (p, phase) in phases.iter().enumerate() {
                                let [row, column] = phase.start;
                                let input = first * phases.len() + p * within + channel;
                                dweight.prefetch(input + 1, filter);
                                let from = dweight.lanes(input, filter, lanes);
                                phase.kernel_gradient.run(
                                    dft,
                                    from,
                                    work,
                                    #[inline(always)]
                                    |i, j, value| {
                                        tile[(i * stride + row) * kw + j * stride + column] = value;
                                    },
                                );
                            }
                            store(tile, &mut block[(first + channel) * kernel..], filter_len, lanes);
                        }
                    }
                });
            });
        });
        let rows = (HANDED_OVER / filter_len).max(1);
        for (i, block) in self.block.chunks(rows * filter_len).enumerate() {
            let rows = i * rows..i * rows + block.len() / filter_len;
            weight.gradient(rows, first * kernel..(first + channels) * kernel, block);
        }
    }
}

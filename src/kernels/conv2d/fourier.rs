//! Convolution in the frequency domain: a stride of s is s² convolutions of stride 1, of every s-th row and column, whose products
//! are summed before they are transformed back.
//!
//! The phases of an image are no longer than a cyclic transform of the size that the output needs, so that nothing is tiled or
//! thrown away. Image, kernel and output then meet in one matrix product per bin: `Y = W̃·X`, `dX = dY·W̃*`, `dW̃ = X*·dY`.
//! A NaN in an image spreads over the outputs of its sample.

use super::{
    Geometry, ImageGradient,
    dft::{Dft, LANES, Lanes, Sign, Workspace},
    spectrum::{Conjugate, Spectrum},
};
use crate::kernels::{
    lanes::vectorised,
    storage::{Real, for_each_chunk, for_each_task},
};

/// What the forward pass leaves to the backward pass.
pub(super) struct Spectra<T: Real> {
    x: Spectrum<T>,
    weight: Spectrum<T>,
}

/// Every `stride`-th row and column from `start` on.
struct Phase {
    start: [usize; 2],
    /// Of the kernel.
    taps: [usize; 2],
    /// Of the image, as far as the kernel reaches.
    image_taps: [usize; 2],
}

/// A convolution in the frequency domain.
pub(super) struct Fourier<'a> {
    g: &'a Geometry,
    dft: Dft,
    phases: Vec<Phase>,
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
fn put<T: Real>(to: &mut [T], value: &Lanes<T>, lanes: usize) {
    match to.first_chunk_mut() {
        Some(to) if lanes == LANES => *to = *value,
        _ => to[..lanes].copy_from_slice(&value[..lanes]),
    }
}

impl<'a> Fourier<'a> {
    pub(super) fn new(g: &'a Geometry) -> Self {
        let starts = |axis: usize| 0..g.stride.min(g.kernel[axis]);
        let phase = |start: [usize; 2]| {
            let taps = [0, 1].map(|axis| (g.kernel[axis] - start[axis]).div_ceil(g.stride));
            Phase { start, taps, image_taps: [0, 1].map(|axis| g.out[axis] + taps[axis] - 1) }
        };
        let phases = starts(0).flat_map(|row| starts(1).map(move |column| phase([row, column]))).collect();
        Fourier { g, dft: Dft::new(size(g)), phases }
    }

    /// Rows (or columns) of a matrix that stand for an input channel's phases. They come in blocks of channels, [`blocks`];
    /// within a block, phase by phase.
    fn inputs(&self) -> usize {
        self.phases.len() * self.g.in_channels
    }

    pub(super) fn forward<T: Real>(&self, x: &[T], weight: &[T], bias: &[T]) -> (Vec<T>, Spectra<T>) {
        let spectra = self.spectra(x, weight);
        let mut y = Spectrum::new(&self.dft, self.g.filters, self.g.batch);
        y.product(&spectra.weight, &spectra.x, Conjugate::Neither);
        (self.output(&y, bias), spectra)
    }

    pub(super) fn spectra<T: Real>(&self, x: &[T], weight: &[T]) -> Spectra<T> {
        Spectra { x: self.image_spectrum(x), weight: self.weight_spectrum(weight) }
    }

    /// The gradients of image (if `wanted`), weight and bias.
    pub(super) fn backward<T: Real>(&self, spectra: Spectra<T>, dy: &[T], wanted: ImageGradient) -> [Vec<T>; 3] {
        let Spectra { x, weight } = spectra;
        let dy_spectrum = self.output_spectrum(dy);
        let mut dweight = Spectrum::new(&self.dft, self.inputs(), self.g.filters);
        dweight.product(&x, &dy_spectrum, Conjugate::Left);
        drop(x);
        let dweight = self.weight_gradient(dweight);
        let dx = match wanted {
            ImageGradient::Wanted => {
                let mut dx = Spectrum::new(&self.dft, self.g.batch, self.inputs());
                dx.product(&dy_spectrum, &weight, Conjugate::Right);
                self.image_gradient(dx)
            }
            ImageGradient::Unused => vec![],
        };
        [dx, dweight, self.g.bias_gradient(dy)]
    }

    /// `[inputs, batch]`
    fn image_spectrum<T: Real>(&self, x: &[T]) -> Spectrum<T> {
        let &Geometry { batch, in_channels, width, stride, .. } = self.g;
        let plane = self.g.height * width;
        let analyses: Vec<_> = self.phases.iter().map(|p| self.dft.analysis(p.image_taps, Sign::Plain)).collect();
        let mut spectrum = Spectrum::new(&self.dft, self.inputs(), batch);
        for_each_task(spectrum.pieces(LANES * self.phases.len()), x.len(), |block, mut piece| {
            let first = block * LANES;
            let channels = LANES.min(in_channels - first);
            let (mut tile, mut work) = (vec![[T::zero(); LANES]; plane], Workspace::new(&self.dft));
            vectorised!(|| {
                for channel in 0..channels {
                    for (sample, lanes) in blocks(batch) {
                        load(
                            &x[(sample * in_channels + first + channel) * plane..],
                            in_channels * plane,
                            lanes,
                            &mut tile,
                        );
                        for (p, (phase, analysis)) in self.phases.iter().zip(&analyses).enumerate() {
                            let [row, column] = phase.start;
                            let start = (p * channels + channel) * batch + sample;
                            analysis.run(
                                |i, j| &tile[(i * stride + row) * width + j * stride + column],
                                &mut work,
                                |index, value| put(&mut piece[index][start..], value, lanes),
                            );
                        }
                    }
                }
            });
        });
        spectrum
    }

    /// `[filters, inputs]`, conjugate.
    fn weight_spectrum<T: Real>(&self, weight: &[T]) -> Spectrum<T> {
        let &Geometry { in_channels, filters, kernel: [kh, kw], stride, .. } = self.g;
        let analyses: Vec<_> = self.phases.iter().map(|p| self.dft.analysis(p.taps, Sign::Conjugate)).collect();
        let mut spectrum = Spectrum::new(&self.dft, filters, self.inputs());
        for_each_task(spectrum.pieces(1), weight.len(), |filter, mut piece| {
            let (mut tile, mut work) = (vec![[T::zero(); LANES]; kh * kw], Workspace::new(&self.dft));
            vectorised!(|| {
                for (channel, lanes) in blocks(in_channels) {
                    load(&weight[(filter * in_channels + channel) * kh * kw..], kh * kw, lanes, &mut tile);
                    for (p, (phase, analysis)) in self.phases.iter().zip(&analyses).enumerate() {
                        let [row, column] = phase.start;
                        let start = channel * self.phases.len() + p * lanes;
                        analysis.run(
                            |i, j| &tile[(i * stride + row) * kw + j * stride + column],
                            &mut work,
                            |index, value| put(&mut piece[index][start..], value, lanes),
                        );
                    }
                }
            });
        });
        spectrum
    }

    /// `[batch, filters]`; channels that share a filter are summed.
    fn output_spectrum<T: Real>(&self, dy: &[T]) -> Spectrum<T> {
        let &Geometry { batch, filters, channels, out, .. } = self.g;
        let plane = out[0] * out[1];
        let analysis = self.dft.analysis(out, Sign::Plain);
        let mut spectrum = Spectrum::new(&self.dft, batch, filters);
        for_each_task(spectrum.pieces(1), dy.len(), |sample, mut piece| {
            let tile = || vec![[T::zero(); LANES]; plane];
            let (mut sum, mut tile, mut work) = (tile(), tile(), Workspace::new(&self.dft));
            vectorised!(|| {
                for (filter, lanes) in blocks(filters) {
                    let dy = &dy[(sample * channels + filter) * plane..];
                    load(dy, plane, lanes, &mut sum);
                    for channel in (filters..channels).step_by(filters) {
                        load(&dy[channel * plane..], plane, lanes, &mut tile);
                        let values = sum.as_flattened_mut().iter_mut().zip(tile.as_flattened());
                        values.for_each(|(sum, &v)| *sum += v);
                    }
                    analysis.run(
                        |i, j| &sum[i * out[1] + j],
                        &mut work,
                        |index, value| put(&mut piece[index][filter..], value, lanes),
                    );
                }
            });
        });
        spectrum
    }

    /// The output with its bias, from its spectrum `[filters, batch]`.
    fn output<T: Real>(&self, spectrum: &Spectrum<T>, bias: &[T]) -> Vec<T> {
        let &Geometry { batch, filters, channels, out, .. } = self.g;
        let plane = out[0] * out[1];
        let synthesis = self.dft.synthesis(out, Sign::Plain);
        let mut y = vec![T::zero(); batch * channels * plane];
        let work = y.len();
        for_each_chunk(&mut y, LANES * channels * plane, work, |block, y| {
            let (sample, lanes) = (block * LANES, y.len() / (channels * plane));
            let (mut tile, mut work) = (vec![[T::zero(); LANES]; plane], Workspace::new(&self.dft));
            vectorised!(|| {
                for filter in 0..filters {
                    let from = spectrum.lanes(filter, sample, lanes);
                    synthesis.run(from, &mut work, |i, j, value| tile[i * out[1] + j] = value);
                    for channel in (filter..channels).step_by(filters) {
                        store(&tile, &mut y[channel * plane..], channels * plane, lanes);
                        for lane in 0..lanes {
                            let y = &mut y[(lane * channels + channel) * plane..][..plane];
                            y.iter_mut().for_each(|y| *y += bias[channel]);
                        }
                    }
                }
            });
        });
        y
    }

    /// From the spectrum `[batch, inputs]` of the image's gradient.
    fn image_gradient<T: Real>(&self, spectrum: Spectrum<T>) -> Vec<T> {
        let &Geometry { batch, in_channels, height, width, stride, .. } = self.g;
        let plane = height * width;
        let syntheses: Vec<_> = self.phases.iter().map(|p| self.dft.synthesis(p.image_taps, Sign::Plain)).collect();
        let mut dx = vec![T::zero(); batch * in_channels * plane];
        let work = dx.len();
        for_each_chunk(&mut dx, in_channels * plane, work, |sample, dx| {
            // Values that no kernel position reaches stay 0.
            let (mut tile, mut work) = (vec![[T::zero(); LANES]; plane], Workspace::new(&self.dft));
            vectorised!(|| {
                for (channel, lanes) in blocks(in_channels) {
                    for (p, (phase, synthesis)) in self.phases.iter().zip(&syntheses).enumerate() {
                        let [row, column] = phase.start;
                        let from = spectrum.lanes(sample, channel * self.phases.len() + p * lanes, lanes);
                        synthesis.run(from, &mut work, |i, j, value| {
                            tile[(i * stride + row) * width + j * stride + column] = value;
                        });
                    }
                    store(&tile, &mut dx[channel * plane..], plane, lanes);
                }
            });
        });
        dx
    }

    /// From the conjugate spectrum `[inputs, filters]` of the weight's gradient.
    fn weight_gradient<T: Real>(&self, spectrum: Spectrum<T>) -> Vec<T> {
        let &Geometry { in_channels, filters, kernel: [kh, kw], stride, .. } = self.g;
        let syntheses: Vec<_> = self.phases.iter().map(|p| self.dft.synthesis(p.taps, Sign::Conjugate)).collect();
        let filter_len = in_channels * kh * kw;
        let mut dweight = vec![T::zero(); filters * filter_len];
        let work = dweight.len();
        for_each_chunk(&mut dweight, LANES * filter_len, work, |block, dweight| {
            let (filter, lanes) = (block * LANES, dweight.len() / filter_len);
            let (mut tile, mut work) = (vec![[T::zero(); LANES]; kh * kw], Workspace::new(&self.dft));
            vectorised!(|| {
                for (first, channels) in blocks(in_channels) {
                    for channel in 0..channels {
                        for (p, (phase, synthesis)) in self.phases.iter().zip(&syntheses).enumerate() {
                            let [row, column] = phase.start;
                            let input = first * self.phases.len() + p * channels + channel;
                            let from = spectrum.lanes(input, filter, lanes);
                            synthesis.run(from, &mut work, |i, j, value| {
                                tile[(i * stride + row) * kw + j * stride + column] = value;
                            });
                        }
                        store(&tile, &mut dweight[(first + channel) * kh * kw..], filter_len, lanes);
                    }
                }
            });
        });
        dweight
    }
}

//! The sides of the products: the values under the kernel, and the gradient of the filters' output. They exist in panels alone.

use std::ops::Range;

use crate::learn::kernels::{
    conv2d::{geometry::Geometry, options::Activation},
    lanes::sum,
    memory::prefetch,
    real::Real,
    tiles::{DEPTH, Left, Right},
};

use super::{offsets::Offsets, runs::copy_values};

/// Some samples: the values under the kernel.
#[derive(Clone, Copy)]
pub(super) struct Image<'a, T> {
    pub(super) g: &'a Geometry,
    pub(super) offsets: &'a Offsets,
    pub(super) x: &'a [T],
}

/// Of some samples: the gradient of each filter's output, `[filters, columns]`. Channels that share a filter are summed.
#[derive(Clone, Copy)]
pub(super) struct OutputGradient<'a, T> {
    pub(super) g: &'a Geometry,
    pub(super) dy: &'a [T],
    /// The output of a rectifier.
    pub(super) mask: Option<&'a [T]>,
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

/// As the right side: `[patch, columns]`.
pub(super) struct Columns<'a, T>(pub(super) Image<'a, T>);

impl<T: Real> Right<T> for Columns<'_, T> {
    #[inline(always)]
    fn pack(&self, depth: Range<usize>, columns: Range<usize>, width: usize, panel: &mut [T]) {
        let Image { offsets, x, .. } = self.0;
        let images = offsets.taps[depth].iter().map(|&tap| &x[tap as usize..]);
        let rows = images.zip(panel.chunks_exact_mut(width));
        copy_values(offsets.run, columns, |column| offsets.column(column), rows);
    }
}

/// As the right side, transposed: `[columns, channels × kernel]` from some value of the kernel on.
pub(super) struct Rows<'a, T> {
    pub(super) image: Image<'a, T>,
    pub(super) first: usize,
}

impl<T: Real> Right<T> for Rows<'_, T> {
    #[inline(always)]
    fn pack(&self, depth: Range<usize>, columns: Range<usize>, width: usize, panel: &mut [T]) {
        let Image { g, offsets, x } = self.image;
        let taps = self.first + columns.start..self.first + columns.end;
        let images = depth.map(|column| &x[offsets.column(column)..]);
        let rows = images.zip(panel.chunks_exact_mut(width));
        copy_values(g.kernel[1], taps, |tap| offsets.taps[tap] as usize, rows);
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
pub(super) struct Filtered<'a, T> {
    pub(super) gradient: OutputGradient<'a, T>,
    /// Values that have not yet counted.
    pub(super) left: usize,
    pub(super) dbias: &'a mut [T],
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
pub(super) struct ByColumn<'a, T>(pub(super) OutputGradient<'a, T>);

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
    pub(super) fn columns(&self) -> usize {
        self.x.len() / self.g.image() * self.g.positions()
    }
}

impl<'a, T> OutputGradient<'a, T> {
    pub(super) fn samples(&self, samples: Range<usize>) -> Self {
        let len = self.g.channels * self.g.positions();
        let of = |values: &'a [T]| &values[samples.start * len..samples.end * len];
        OutputGradient { g: self.g, dy: of(self.dy), mask: self.mask.map(of) }
    }
}

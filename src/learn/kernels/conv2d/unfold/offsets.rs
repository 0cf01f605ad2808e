//! Where the values under a kernel stand in an image, and an image in an order that suits it: parted, by the remainders of its rows
//! and columns by the stride.

use super::runs::are_together;
use crate::learn::kernels::{conv2d::geometry::Geometry, real::Real};

/// Where the values under the kernel stand in some samples: at the sum of two offsets.
#[derive(Default)]
pub(super) struct Offsets {
    /// Of the kernel's positions in a sample.
    pub(super) positions: Vec<u32>,
    /// Of the values under the kernel, from the first.
    pub(super) taps: Vec<u32>,
    /// Neighbouring positions that are neighbours in memory.
    pub(super) run: usize,
    /// Values of a sample.
    sample: usize,
}

impl Offsets {
    /// In `[in_channels, height, width]`.
    pub(super) fn new(g: &Geometry) -> Self {
        let ([kh, kw], [out_h, out_w]) = (g.kernel, g.out);
        let positions = (0..out_h).flat_map(|i| (0..out_w).map(move |j| (i * g.width + j) * g.stride));
        let rows = (0..g.in_channels).flat_map(|channel| (0..kh).map(move |p| (channel * g.height + p) * g.width));
        let taps = rows.flat_map(|row| (0..kw).map(move |q| row + q));
        let run = if g.stride == 1 { out_w } else { 1 };
        Offsets { positions: narrow(positions), taps: narrow(taps), run, sample: g.image() }
    }

    /// In what [`part`] writes; none, where neighbouring positions are neighbours already, or too few.
    pub(super) fn of_parted(g: &Geometry) -> Option<Self> {
        g.is_parted().then(|| Self::parted(g))
    }

    /// In what [`part`] writes: neighbouring positions of a row are neighbours in memory.
    fn parted(g: &Geometry) -> Self {
        let ([kh, kw], [out_h, out_w], stride, [rows, columns]) = (g.kernel, g.out, g.stride, plane(g));
        let positions = (0..out_h).flat_map(|i| (0..out_w).map(move |j| i * columns + j));
        let start = move |channel: usize, p: usize, q: usize| {
            let plane = (channel * stride + p % stride) * stride + q % stride;
            (plane * rows + p / stride) * columns + q / stride
        };
        let taps = (0..g.in_channels)
            .flat_map(|channel| (0..kh).flat_map(move |p| (0..kw).map(move |q| start(channel, p, q))));
        Offsets { positions: narrow(positions), taps: narrow(taps), run: out_w, sample: g.parted() }
    }

    /// Of a column, in all samples.
    #[inline(always)]
    pub(super) fn column(&self, column: usize) -> usize {
        let (sample, position) = (column / self.positions.len(), column % self.positions.len());
        sample * self.sample + self.positions[position] as usize
    }
}

fn narrow(offsets: impl Iterator<Item = usize>) -> Vec<u32> {
    offsets.map(|offset| u32::try_from(offset).expect("an image of less than 2³² values")).collect()
}

/// Rows and columns of an image with the same remainders by the stride, at most.
fn plane(g: &Geometry) -> [usize; 2] {
    [g.height.div_ceil(g.stride), g.width.div_ceil(g.stride)]
}

impl Geometry {
    /// Whether images are parted: positions are no neighbours in them as they stand, and enough of them are in the parts.
    pub(crate) fn is_parted(&self) -> bool {
        self.stride > 1 && are_together(self.out[1])
    }

    /// Values of a sample as [`part`] writes it.
    pub(crate) fn parted(&self) -> usize {
        self.in_channels * self.stride * self.stride * plane(self).iter().product::<usize>()
    }
}

/// Writes samples `[in_channels, height, width]` as `[in_channels, stride, stride, rows, columns]`: value (y, x) of a channel goes to
/// (y mod stride, x mod stride, y / stride, x / stride). Where no value goes, what stands there is left.
pub(super) fn part<T: Real>(g: &Geometry, x: &[T], to: &mut [T]) {
    let (stride, [rows, columns]) = (g.stride, plane(g));
    let channels = x.chunks_exact(g.height * g.width).zip(to.chunks_exact_mut(stride * stride * rows * columns));
    for (x, to) in channels {
        for (y, x) in x.chunks_exact(g.width).enumerate() {
            for q in 0..stride.min(g.width) {
                let start = (((y % stride) * stride + q) * rows + y / stride) * columns;
                to[start..][..columns].iter_mut().zip(x[q..].iter().step_by(stride)).for_each(|(to, &x)| *to = x);
            }
        }
    }
}

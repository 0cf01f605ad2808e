//! Small discrete Fourier transforms of real planes, many planes at a time, one in each vector lane.
//!
//! A real sequence of length N has N independent reals as its spectrum: `re₀, re₁, im₁, re₂, im₂, …` and, for even N, `re_{N/2}`
//! at the end. Both directions are dense products with a small matrix; at the lengths of capsule networks (about 10) memory, not
//! arithmetic, bounds them.

use std::f64::consts::TAU;

use crate::learn::kernels::real::Real;

/// Planes transformed together.
pub(super) const LANES: usize = 16;
/// The values of [`LANES`] planes at one place.
pub(super) type Lanes<T> = [T; LANES];

/// Which exponent a transform has: `Conjugate` gives the conjugate spectrum, which turns a convolution into a correlation.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Sign {
    Plain,
    Conjugate,
}

/// A dense matrix `[rows, columns]`, stored in bands of [`BAND`] rows so that a value read serves a whole band.
struct Dense<T> {
    rows: usize,
    columns: usize,
    bands: Vec<[T; BAND]>,
}

const BAND: usize = 5;

impl<T: Real> Dense<T> {
    fn new(rows: usize, columns: usize, at: impl Fn(usize, usize) -> f64) -> Self {
        let value = |row, column| T::from_f64(if row < rows { at(row, column) } else { 0. });
        let band = |start, column| std::array::from_fn(|row| value(start + row, column));
        let bands = (0..rows).step_by(BAND).flat_map(|start| (0..columns).map(move |column| band(start, column)));
        Dense { rows, columns, bands: bands.collect() }
    }

    /// Hands each value of the product with the vector `x` to `y`.
    #[inline(always)]
    fn apply<'a>(&self, x: impl Fn(usize) -> &'a Lanes<T>, mut y: impl FnMut(usize, Lanes<T>)) {
        for (band, factors) in self.bands.chunks_exact(self.columns).enumerate() {
            let mut sums = [[T::zero(); LANES]; BAND];
            for (column, factors) in factors.iter().enumerate() {
                let x = x(column);
                for (sum, &factor) in sums.iter_mut().zip(factors) {
                    for lane in 0..LANES {
                        sum[lane] += factor * x[lane];
                    }
                }
            }
            for (row, sum) in (band * BAND..self.rows).zip(sums) {
                y(row, sum);
            }
        }
    }
}

/// The spectrum from the first `taps` values of a sequence of `length`, the others being 0.
fn analysis<T: Real>(length: usize, taps: usize, sign: Sign) -> Dense<T> {
    let sign = if sign == Sign::Plain { -1. } else { 1. };
    Dense::new(length, taps, |row, tap| match wave(length, row, tap) {
        Wave::Real(cos) | Wave::Cos(cos) => cos,
        Wave::Sin(sin) => sign * sin,
    })
}

/// The first `taps` values of a sequence of `length` from its spectrum.
fn synthesis<T: Real>(length: usize, taps: usize, sign: Sign) -> Dense<T> {
    let sign = if sign == Sign::Plain { -1. } else { 1. };
    Dense::new(taps, length, |tap, column| match wave(length, column, tap) {
        Wave::Real(cos) => cos / length as f64,
        Wave::Cos(cos) => 2. * cos / length as f64,
        Wave::Sin(sin) => sign * 2. * sin / length as f64,
    })
}

enum Wave {
    Real(f64),
    Cos(f64),
    Sin(f64),
}

/// The wave that value `index` of a spectrum stands for, at `tap`.
fn wave(length: usize, index: usize, tap: usize) -> Wave {
    let frequency = index.div_ceil(2);
    let angle = TAU * (frequency * tap % length) as f64 / length as f64;
    if index == 0 || index + 1 == length && length.is_multiple_of(2) {
        Wave::Real(angle.cos())
    } else if index % 2 == 1 {
        Wave::Cos(angle.cos())
    } else {
        Wave::Sin(angle.sin())
    }
}

/// Where the frequencies of one axis stand in its spectrum.
#[derive(Clone, Copy)]
enum Frequency {
    Real(usize),
    Complex { re: usize, im: usize },
}

fn frequencies(length: usize) -> impl Iterator<Item = Frequency> + Clone {
    (0..=length / 2).map(move |k| match (k, 2 * k) {
        (0, _) => Frequency::Real(0),
        (_, double) if double == length => Frequency::Real(length - 1),
        (_, double) => Frequency::Complex { re: double - 1, im: double },
    })
}

/// One bin of the spectrum of a plane: the values of the two axes' spectra that it is made of, by their place in `[rows, columns]`.
#[derive(Clone, Copy)]
enum Bin {
    Real(usize),
    Complex {
        re: usize,
        im: usize,
    },
    /// Two complex bins, at frequencies (r, c) and (−r, c), from `re re`, `im re`, `re im`, `im im` of rows and columns.
    Pair([usize; 4]),
}

/// The transform of planes of `size` values; its spectrum is a list of complex bins (re, im) with the real bins behind.
pub(super) struct Dft {
    size: [usize; 2],
    bins: Vec<Bin>,
}

impl Dft {
    pub(super) fn new(size: [usize; 2]) -> Self {
        let at = |row: usize, column: usize| row * size[1] + column;
        let pairs = frequencies(size[0]).flat_map(|row| frequencies(size[1]).map(move |column| (row, column)));
        let mut bins: Vec<Bin> = pairs
            .map(|pair| match pair {
                (Frequency::Real(r), Frequency::Real(c)) => Bin::Real(at(r, c)),
                (Frequency::Real(r), Frequency::Complex { re, im }) => Bin::Complex { re: at(r, re), im: at(r, im) },
                (Frequency::Complex { re, im }, Frequency::Real(c)) => Bin::Complex { re: at(re, c), im: at(im, c) },
                (Frequency::Complex { re, im }, Frequency::Complex { re: c_re, im: c_im }) => {
                    Bin::Pair([at(re, c_re), at(im, c_re), at(re, c_im), at(im, c_im)])
                }
            })
            .collect();
        bins.sort_by_key(|bin| matches!(bin, Bin::Real(_)));
        Dft { size, bins }
    }

    /// Reals of a spectrum.
    pub(super) fn len(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Bins that are real.
    pub(super) fn real_bins(&self) -> usize {
        self.bins.iter().filter(|bin| matches!(bin, Bin::Real(_))).count()
    }

    /// Real multiplications of two spectra, three for a complex one.
    pub(super) fn multiplications(&self) -> usize {
        self.real_bins() + 3 * (self.len() - self.real_bins()) / 2
    }

    pub(super) fn analysis<T: Real>(&self, taps: [usize; 2], sign: Sign) -> Analysis<T> {
        let [rows, columns] = [0, 1].map(|axis| analysis(self.size[axis], taps[axis], sign));
        Analysis { rows, columns }
    }

    pub(super) fn synthesis<T: Real>(&self, taps: [usize; 2], sign: Sign) -> Synthesis<T> {
        let [rows, columns] = [0, 1].map(|axis| synthesis(self.size[axis], taps[axis], sign));
        Synthesis { rows, columns }
    }
}

/// From planes of some `taps` (the rest being 0) to their spectra.
pub(super) struct Analysis<T> {
    rows: Dense<T>,
    columns: Dense<T>,
}

/// What a transform holds between its two axes: two planes.
pub(super) struct Workspace<T>([Vec<Lanes<T>>; 2]);

impl<T: Real> Workspace<T> {
    pub(super) fn new(dft: &Dft) -> Self {
        let plane = || vec![[T::zero(); LANES]; dft.len()];
        Workspace([plane(), plane()])
    }
}

impl<T: Real> Analysis<T> {
    /// Reads value (i, j) of the planes as `x(i, j)`, hands value i of their spectra to `spectrum`.
    #[inline(always)]
    pub(super) fn run<'a>(
        &self,
        dft: &Dft,
        x: impl Fn(usize, usize) -> &'a Lanes<T>,
        Workspace([half, whole]): &mut Workspace<T>,
        mut spectrum: impl FnMut(usize, &Lanes<T>),
    ) {
        let width = dft.size[1];
        for i in 0..self.rows.columns {
            self.columns.apply(
                #[inline(always)]
                |j| x(i, j),
                #[inline(always)]
                |k, value| half[i * width + k] = value,
            );
        }
        for k in 0..width {
            self.rows.apply(
                #[inline(always)]
                |i| &half[i * width + k],
                #[inline(always)]
                |row, value| whole[row * width + k] = value,
            );
        }
        let mut at = 0;
        let mut put = |value: &Lanes<T>| {
            spectrum(at, value);
            at += 1;
        };
        for bin in &dft.bins {
            match *bin {
                Bin::Real(at) => put(&whole[at]),
                Bin::Complex { re, im } => {
                    put(&whole[re]);
                    put(&whole[im]);
                }
                Bin::Pair(at) => {
                    let [a_re, a_im, b_re, b_im] = at.map(|at| &whole[at]);
                    put(&std::array::from_fn(|l| a_re[l] - b_im[l]));
                    put(&std::array::from_fn(|l| a_im[l] + b_re[l]));
                    put(&std::array::from_fn(|l| a_re[l] + b_im[l]));
                    put(&std::array::from_fn(|l| b_re[l] - a_im[l]));
                }
            }
        }
    }
}

/// From spectra to the first `taps` of their planes.
pub(super) struct Synthesis<T> {
    rows: Dense<T>,
    columns: Dense<T>,
}

impl<T: Real> Synthesis<T> {
    /// Reads value i of the spectra as `spectrum(i)`, hands value (i, j) of the planes to `y`.
    #[inline(always)]
    pub(super) fn run(
        &self,
        dft: &Dft,
        spectrum: impl Fn(usize) -> Lanes<T>,
        Workspace([half, whole]): &mut Workspace<T>,
        mut y: impl FnMut(usize, usize, Lanes<T>),
    ) {
        let width = dft.size[1];
        let mut next = 0;
        let mut take = || {
            next += 1;
            spectrum(next - 1)
        };
        let one_half = T::from_f64(0.5);
        let mean = |a: &Lanes<T>, b: &Lanes<T>| std::array::from_fn(|l| (a[l] + b[l]) * one_half);
        let half_difference = |a: &Lanes<T>, b: &Lanes<T>| std::array::from_fn(|l| (a[l] - b[l]) * one_half);
        for bin in &dft.bins {
            match *bin {
                Bin::Real(at) => whole[at] = take(),
                Bin::Complex { re, im } => {
                    whole[re] = take();
                    whole[im] = take();
                }
                Bin::Pair([a_re, a_im, b_re, b_im]) => {
                    let [p_re, p_im, m_re, m_im] = [take(), take(), take(), take()];
                    whole[a_re] = mean(&p_re, &m_re);
                    whole[a_im] = half_difference(&p_im, &m_im);
                    whole[b_re] = mean(&p_im, &m_im);
                    whole[b_im] = half_difference(&m_re, &p_re);
                }
            }
        }
        for k in 0..width {
            self.rows.apply(
                #[inline(always)]
                |row| &whole[row * width + k],
                #[inline(always)]
                |i, value| half[i * width + k] = value,
            );
        }
        for i in 0..self.rows.rows {
            self.columns.apply(
                #[inline(always)]
                |k| &half[i * width + k],
                #[inline(always)]
                |j, value| y(i, j, value),
            );
        }
    }
}

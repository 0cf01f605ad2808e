//! The spectra of many planes, and their product bin by bin.

use super::dft::{Dft, LANES, Lanes};
use crate::kernels::{
    product::{Into, Matrix, product_alone},
    scratch::Buffer,
    storage::{Real, for_each_task},
};

/// One matrix `[rows, columns]` for each real of a spectrum: first the pairs (re, im) of the complex bins, then the real bins.
pub(super) struct Spectrum<T: Real> {
    values: Buffer<T>,
    rows: usize,
    columns: usize,
    /// From one matrix to the next: more than its length, so that the same element of all of them does not fall in one cache set.
    stride: usize,
    complex_bins: usize,
}

/// Which matrix of a product is taken as its complex conjugate.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Conjugate {
    Neither,
    Left,
    Right,
}

impl<T: Real> Spectrum<T> {
    /// A spectrum of whatever values: write before you read.
    pub(super) fn new(dft: &Dft, rows: usize, columns: usize) -> Self {
        const LINES: usize = 5;
        let stride = (rows * columns).next_multiple_of(LANES) + LINES * LANES;
        let values = Buffer::new(dft.len() * stride);
        Spectrum { values, rows, columns, stride, complex_bins: (dft.len() - dft.real_bins()) / 2 }
    }

    /// `count` values of each matrix from (row, column) on, as lanes; the others are 0.
    #[inline(always)]
    pub(super) fn lanes(&self, row: usize, column: usize, count: usize) -> impl Fn(usize) -> Lanes<T> {
        let start = row * self.columns + column;
        #[inline(always)]
        move |index| {
            let from = &self.values[index * self.stride + start..];
            match from.first_chunk() {
                Some(lanes) if count == LANES => *lanes,
                _ => std::array::from_fn(|lane| if lane < count { from[lane] } else { T::zero() }),
            }
        }
    }

    /// All matrices cut into pieces of `rows` rows, piece by piece: what a task can own.
    pub(super) fn pieces(&mut self, rows: usize) -> Vec<Vec<&mut [T]>> {
        let len = self.rows * self.columns;
        let mut pieces: Vec<Vec<&mut [T]>> = (0..self.rows.div_ceil(rows)).map(|_| Vec::new()).collect();
        for matrix in self.values.chunks_mut(self.stride) {
            for (piece, part) in pieces.iter_mut().zip(matrix[..len].chunks_mut(rows * self.columns)) {
                piece.push(part);
            }
        }
        pieces
    }

    fn matrix(&self, index: usize) -> Matrix<'_, T> {
        Matrix::new(&self.values[index * self.stride..][..self.rows * self.columns], self.rows, self.columns)
    }

    /// Each bin's product of the matrices of `left` and `right`. A bin is one task, alone on its thread.
    pub(super) fn product(&mut self, left: &Spectrum<T>, right: &Spectrum<T>, conjugate: Conjugate) {
        let (complex_bins, stride, len) = (self.complex_bins, self.stride, self.rows * self.columns);
        let (complex, real) = self.values.split_at_mut(2 * complex_bins * stride);
        let mut tasks: Vec<&mut [T]> = complex.chunks_mut(2 * stride).collect();
        tasks.extend(real.chunks_mut(stride));
        let work = len * left.columns * complex_bins;
        for_each_task(tasks, work, |bin, destination| match bin.checked_sub(complex_bins) {
            None => {
                let (re, im) = destination.split_at_mut(stride);
                let [left, right] = [left, right].map(|side| [side.matrix(2 * bin), side.matrix(2 * bin + 1)]);
                complex_product([&mut re[..len], &mut im[..len]], left, right, conjugate);
            }
            Some(real) => {
                let [left, right] = [left, right].map(|side| side.matrix(2 * complex_bins + real));
                product_alone(&mut destination[..len], left, right, Into::Overwrite);
            }
        });
    }
}

/// A complex product as three real ones. With (a + ib)(c + id) and k = (a + b)c: re = k − b(c + d), im = k + a(d − c).
///
/// The conjugate of a matrix times another is the conjugate of the matrix times the other's: d and im change signs.
fn complex_product<T: Real>(
    [re, im]: [&mut [T]; 2],
    left: [Matrix<T>; 2],
    right: [Matrix<T>; 2],
    conjugate: Conjugate,
) {
    // The conjugated matrix is a + ib; if there is none, the larger, of which one sum is needed instead of two.
    let left_first = match conjugate {
        Conjugate::Left => true,
        Conjugate::Right => false,
        Conjugate::Neither => left[0].values().len() >= right[0].values().len(),
    };
    let ([a, b], [c, d]) = if left_first { (left, right) } else { (right, left) };
    let conjugated = conjugate != Conjugate::Neither;
    let combined = |x: Matrix<T>, y: Matrix<T>, combine: fn(T, T) -> T| {
        let mut values = Buffer::new(x.values().len());
        values.iter_mut().zip(x.values()).zip(y.values()).for_each(|((v, &x), &y)| *v = combine(x, y));
        values
    };
    let multiply = |destination: &mut [T], ab: Matrix<T>, cd: Matrix<T>, into| {
        let (left, right) = if left_first { (ab, cd) } else { (cd, ab) };
        product_alone(destination, left, right, into);
    };
    let a_plus_b = combined(a, b, |a, b| a + b);
    let minus_c_plus_d = combined(c, d, if conjugated { |c, d| d - c } else { |c, d| T::zero() - c - d });
    let d_minus_c = combined(c, d, if conjugated { |c, d| c + d } else { |c, d| d - c });
    multiply(re, a.with(&a_plus_b), c, Into::Overwrite);
    if conjugated {
        im.iter_mut().zip(&*re).for_each(|(im, &k)| *im = T::zero() - k);
    } else {
        im.copy_from_slice(re);
    }
    multiply(re, b, c.with(&minus_c_plus_d), Into::Add);
    multiply(im, a, c.with(&d_minus_c), Into::Add);
}

//! The spectra of many planes, and their product bin by bin.

use std::{marker::PhantomData, ops::Range, slice};

use super::dft::{Dft, LANES, Lanes};
use crate::learn::kernels::{
    matrix::Matrix,
    memory::prefetch_line,
    real::Real,
    scratch::{Buffer, Slots},
    storage::for_each_index,
    tiles::{Conjugate, Destination, Start, grow_scratch, multiply, multiply_complex},
};

/// One matrix `[rows, columns]` for each real of a spectrum: first the pairs (re, im) of the complex bins, then the real bins.
pub(super) struct Spectrum<T: Real> {
    values: Buffer<T>,
    matrices: usize,
    complex_bins: usize,
    rows: usize,
    columns: usize,
    /// From one matrix to the next: more than its length, so that the same element of all of them does not fall in one cache set.
    stride: usize,
}

/// What a product of spectra takes part in: some rows of the left, some columns of the right.
pub(super) struct Operand<'a, T: Real> {
    pub(super) spectrum: &'a Spectrum<T>,
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
}

/// Some rows of every matrix of a spectrum, to write.
pub(super) struct Rows<'a, T> {
    /// Of the first matrix.
    first: *mut T,
    len: usize,
    stride: usize,
    matrices: usize,
    spectrum: PhantomData<&'a mut [T]>,
}

impl<T> Rows<'_, T> {
    /// The rows of one matrix.
    #[inline(always)]
    pub(super) fn of(&mut self, matrix: usize) -> &mut [T] {
        assert!(matrix < self.matrices, "a spectrum has {} matrices", self.matrices);
        // SAFETY: `Spectrum::for_each_rows` makes `first` so that these values of every matrix lie in its buffer and are no other
        // task's; the exclusive borrow of `self` keeps them to one slice at a time.
        unsafe { slice::from_raw_parts_mut(self.first.add(matrix * self.stride), self.len) }
    }
}

/// A pointer that tasks share, each to write elsewhere.
struct Shared<T>(*mut T);
// SAFETY: who uses the pointer says why the tasks' writes are disjoint; values of type T may be written from any thread.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

impl<T: Real> Spectrum<T> {
    pub(super) fn new(dft: &Dft) -> Self {
        let complex_bins = (dft.len() - dft.real_bins()) / 2;
        Spectrum { values: Buffer::empty(), matrices: dft.len(), complex_bins, rows: 0, columns: 0, stride: 0 }
    }

    /// Makes room for matrices of that shape, of whatever values: write before you read.
    pub(super) fn resize(&mut self, rows: usize, columns: usize) {
        const LINES: usize = 5;
        (self.rows, self.columns) = (rows, columns);
        self.stride = (rows * columns).next_multiple_of(LANES) + LINES * LANES;
        self.values.resize(self.matrices * self.stride);
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

    /// Asks for the values of each matrix at (row, column), where there are some.
    #[inline(always)]
    pub(super) fn prefetch(&self, row: usize, column: usize) {
        for matrix in self.values.chunks(self.stride) {
            if let Some(values) = matrix.get(row * self.columns + column..) {
                prefetch_line(values);
            }
        }
    }

    /// Calls `task(i, …)` for every i-th piece of `rows` rows of all matrices.
    pub(super) fn for_each_rows(&mut self, rows: usize, work: usize, task: impl Fn(usize, Rows<T>) + Send + Sync) {
        let (stride, matrices, len) = (self.stride, self.matrices, self.rows * self.columns);
        assert!(matrices * stride <= self.values.len() && len <= stride);
        let piece = rows * self.columns;
        let first = Shared(self.values.as_mut_ptr());
        for_each_index(self.rows.div_ceil(rows), work, |i| {
            let start = i * piece;
            let len = piece.min(len - start);
            // SAFETY: start < len ≤ stride lies in the first matrix; pieces of other i do not overlap, and each i comes once.
            let first = unsafe { first.get().add(start) };
            task(i, Rows { first, len, stride, matrices, spectrum: PhantomData });
        });
    }

    /// All of it.
    pub(super) fn whole(&self) -> Operand<'_, T> {
        self.part(0..self.rows, 0..self.columns)
    }

    pub(super) fn part(&self, rows: Range<usize>, columns: Range<usize>) -> Operand<'_, T> {
        Operand { spectrum: self, rows, columns }
    }

    /// Each bin's product of the matrices of `left` and `right`. A bin is one task, alone on its thread.
    pub(super) fn product(
        &mut self,
        left: Operand<T>,
        right: Operand<T>,
        conjugate: Conjugate,
        slots: &mut Slots<Vec<T>>,
    ) {
        self.resize(left.rows.len(), right.columns.len());
        let (complex_bins, stride, columns, len) =
            (self.complex_bins, self.stride, self.columns, self.rows * self.columns);
        assert!(self.matrices * stride <= self.values.len() && len <= stride);
        let work = len * left.columns.len() * complex_bins;
        let values = Shared(self.values.as_mut_ptr());
        slots.prepare(Vec::new, |scratch| [1, 3].into_iter().for_each(|panels| grow_scratch(scratch, columns, panels)));
        let slots = &*slots;
        // SAFETY: the bounds are asserted above; every index goes to one task alone, once.
        let matrix = |index: usize| unsafe { slice::from_raw_parts_mut(values.get().add(index * stride), len) };
        for_each_index(self.matrices - complex_bins, work, |bin| match bin.checked_sub(complex_bins) {
            None => {
                let destination =
                    [2 * bin, 2 * bin + 1].map(|index| Destination { values: matrix(index), stride: columns });
                let [left, right] = [&left, &right].map(|side| [side.matrix(2 * bin), side.matrix(2 * bin + 1)]);
                slots.with(|scratch| multiply_complex(left, right, destination, conjugate, scratch));
            }
            Some(real) => {
                let index = 2 * complex_bins + real;
                let (left, right) = (left.matrix(index), right.matrix(index));
                let size = [left.size()[0], left.size()[1], right.size()[1]];
                let destination = Destination { values: matrix(index), stride: columns };
                slots.with(|scratch| multiply(size, left, right, destination, Start::Zero, |v| v, scratch));
            }
        });
    }
}

impl<T: Real> Operand<'_, T> {
    fn matrix(&self, index: usize) -> Matrix<'_, T> {
        let &Spectrum { rows, columns, stride, .. } = self.spectrum;
        let values = &self.spectrum.values[index * stride..][..rows * columns];
        Matrix::new(values, rows, columns).rows(self.rows.clone()).columns(self.columns.clone())
    }
}

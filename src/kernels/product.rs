//! The matrix product, as a safe door to the `gemm` crate.

use std::ops::Range;

use gemm::Parallelism;

use super::lanes::vectorised;
use super::storage::{Real, threads};

/// A matrix in a slice: element (r, c) stands at `r × row_stride + c × column_stride`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a, T> {
    values: &'a [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// A matrix whose rows follow one another. Panics if `values` holds another number of them.
    pub(super) fn new(values: &'a [T], rows: usize, columns: usize) -> Self {
        assert_eq!(values.len(), rows * columns, "values of a {rows}×{columns} matrix");
        Matrix { values, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// Its number of elements.
    pub(super) fn len(&self) -> usize {
        self.rows * self.columns
    }

    /// The matrix of `combine` of the elements of both, whose rows have to be contiguous, in `values`.
    pub(super) fn combined<'b>(self, other: Self, values: &'b mut [T], combine: impl Fn(T, T) -> T) -> Matrix<'b, T>
    where
        T: Real,
    {
        let rows = |m: Self| m.values.chunks(m.row_stride).map(move |row| &row[..m.columns]);
        vectorised!(|| {
            for (values, (a, b)) in values.chunks_exact_mut(self.columns).zip(rows(self).zip(rows(other))) {
                values.iter_mut().zip(a.iter().zip(b)).for_each(|(v, (&a, &b))| *v = combine(a, b));
            }
        });
        Matrix::new(values, self.rows, self.columns)
    }

    /// Some of the rows.
    pub(super) fn rows(self, rows: Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "rows of a matrix");
        let values = &self.values[(rows.start * self.row_stride).min(self.values.len())..];
        Matrix { values, rows: rows.len(), ..self }
    }

    /// Some of the columns.
    pub(super) fn columns(self, columns: Range<usize>) -> Self {
        self.transposed().rows(columns).transposed()
    }

    /// Some of the rows.
    pub(super) fn some_rows(self, rows: Range<usize>) -> Self {
        assert!(rows.start < rows.end && rows.end <= self.rows, "rows {rows:?} of {}", self.rows);
        Matrix { values: &self.values[rows.start * self.row_stride..], rows: rows.len(), ..self }
    }

    pub(super) fn transposed(self) -> Self {
        Matrix {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// What becomes of the values that the destination holds.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Into {
    Overwrite,
    Add,
}

/// `destination (+)= left × right`, on the threads of the rayon pool; the destination's rows follow one another.
///
/// `gemm` divides the destination among threads, never a sum, so that the bits do not depend on their number.
///
/// Panics if the shapes do not fit.
pub(super) fn product<T: Real>(destination: &mut [T], left: Matrix<T>, right: Matrix<T>, into: Into) {
    let parallelism = match threads() {
        1 => Parallelism::None,
        threads => Parallelism::Rayon(threads),
    };
    product_on(parallelism, destination, left, right, into);
}

/// [`product`] on the calling thread alone, for tasks that run beside others.
pub(super) fn product_alone<T: Real>(destination: &mut [T], left: Matrix<T>, right: Matrix<T>, into: Into) {
    product_on(Parallelism::None, destination, left, right, into);
}

fn product_on<T: Real>(parallelism: Parallelism, destination: &mut [T], left: Matrix<T>, right: Matrix<T>, into: Into) {
    let (m, k, n) = (left.rows, left.columns, right.columns);
    assert_eq!(k, right.rows, "inner sizes of a product");
    assert_eq!(destination.len(), m * n, "size of a product");
    // SAFETY: `Matrix` and the assertions above keep every element of the three matrices inside its slice, and no two
    // elements of the destination coincide; the slices are initialised, and the exclusive borrow of the destination keeps
    // it apart from the others.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            destination.as_mut_ptr(),
            1,
            n as isize,
            into == Into::Add,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            T::one(),
            T::one(),
            false,
            false,
            false,
            parallelism,
        )
    }
}

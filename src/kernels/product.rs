//! The matrix product, as a safe door to the `gemm` crate.

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
    /// Rows that follow one another.
    pub(super) fn new(values: &'a [T], rows: usize, columns: usize) -> Self {
        Self::strided(values, rows, columns, columns)
    }

    /// Rows that start `row_stride` values apart.
    pub(super) fn strided(values: &'a [T], rows: usize, columns: usize, row_stride: usize) -> Self {
        Matrix { values, rows, columns, row_stride, column_stride: 1 }
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

    fn last(&self) -> usize {
        (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride
    }
}

/// What becomes of the values that the destination holds.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Into {
    Overwrite,
    Add,
}

/// Who works on one product.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Threads {
    /// The caller alone: for products inside a parallel task.
    #[allow(dead_code)]
    One,
    /// The rayon pool. `gemm` divides the destination among threads, never a sum, so that the bits are those of `One`.
    Pool,
}

/// `destination (+)= left × right`, where row r of the destination starts at `r × row_stride`.
///
/// Panics if the shapes do not fit or a matrix reaches beyond its slice.
pub(super) fn product<T: Real>(
    destination: &mut [T],
    row_stride: usize,
    left: Matrix<T>,
    right: Matrix<T>,
    into: Into,
    who: Threads,
) {
    let (m, k, n) = (left.rows, left.columns, right.columns);
    assert_eq!(k, right.rows, "inner sizes of a product");
    if m == 0 || n == 0 || k == 0 {
        assert!(m == 0 || n == 0, "a product without terms");
        return;
    }
    assert!(row_stride >= n && (m - 1) * row_stride + n <= destination.len(), "destination too short");
    assert!(left.last() < left.values.len() && right.last() < right.values.len(), "operand too short");
    let parallelism = match (who, threads()) {
        (Threads::One, _) | (_, 1) => gemm::Parallelism::None,
        (Threads::Pool, threads) => gemm::Parallelism::Rayon(threads),
    };
    // SAFETY: by the assertions above every element of the three matrices lies inside its slice, and no two elements of
    // the destination coincide; the slices are initialised, and the exclusive borrow of the destination keeps them apart.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            destination.as_mut_ptr(),
            1,
            row_stride as isize,
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

//! Matrices in slices.

use std::ops::Range;

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

    /// Rows and columns.
    pub(super) fn size(self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// Some values of a row, which have to follow one another.
    #[inline(always)]
    pub(super) fn row(&self, row: usize, columns: Range<usize>) -> &'a [T] {
        assert!(self.column_stride == 1 && columns.end <= self.columns);
        &self.values[row * self.row_stride..][columns]
    }

    /// Number of values.
    pub(super) fn values(self) -> usize {
        self.rows * self.columns
    }

    /// Whether the values of a row follow one another.
    #[inline(always)]
    pub(super) fn rows_are_contiguous(&self) -> bool {
        self.column_stride == 1
    }

    /// Calls `task` with the place (from 0) and the value of some values of a row.
    #[inline(always)]
    pub(super) fn for_each_of_row(&self, row: usize, columns: Range<usize>, mut task: impl FnMut(usize, T))
    where
        T: Copy,
    {
        let start = row * self.row_stride + columns.start * self.column_stride;
        let values = self.values[start..].iter().step_by(self.column_stride);
        values.take(columns.len()).enumerate().for_each(|(place, &value)| task(place, value));
    }

    /// Copies some values of a row.
    #[inline(always)]
    pub(super) fn copy_row(&self, row: usize, columns: Range<usize>, to: &mut [T])
    where
        T: Copy,
    {
        if self.rows_are_contiguous() {
            to[..columns.len()].copy_from_slice(self.row(row, columns));
        } else {
            self.for_each_of_row(row, columns, |place, value| to[place] = value);
        }
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

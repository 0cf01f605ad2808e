//! Matrix products on the calling thread, tile by tile in registers (tile.rs); a complex product as three real ones (complex.rs).
//!
//! Both sides are copied into panels that a cache holds. Whoever calls says how ([`Left`], [`Right`]), so that a sum, a mask or the
//! values under a kernel never exist but in a panel. Nothing is allocated once the scratch has its size.

mod complex;
mod tile;

use std::ops::Range;

use pulp::Simd;

use super::{
    matrix::Matrix,
    memory::{line, prefetch},
    real::Real,
    scratch::Slots,
};
use complex::COMPLEX_COLUMNS;
pub(super) use complex::{Conjugate, multiply_complex};
use tile::{Tile, TileArea, accumulate, copy, lanes, panels, with_vectors};

/// Products summed before a tile goes back to its destination.
pub(super) const DEPTH: usize = 256;
/// Values of a vector of 64 bytes, at least.
const LANES: usize = 16;
/// Rows of a panel of the left side at most.
const ROWS: usize = 8;
/// Values of a row of a tile at most: three vectors of 64 bytes.
pub(super) const WIDTH: usize = 48;

/// The left side `[m, k]` of a product.
pub(super) trait Left<T> {
    /// Writes value (r, k) of some rows and columns to `panel[r − rows.start][k − depth.start]`. Each is asked for once, in order of
    /// depth, if the right side has no more columns than [`columns_at_once`].
    fn pack(&mut self, rows: Range<usize>, depth: Range<usize>, panel: &mut [[T; DEPTH]]);
    /// Asks the memory for what is packed next.
    fn prefetch(&self, rows: Range<usize>, depth: Range<usize>);
}

/// The right side `[k, n]` of a product.
pub(super) trait Right<T> {
    /// Writes value (k, c) of some rows and columns to `panel[(k − depth.start) × width + c − columns.start]`.
    fn pack(&self, depth: Range<usize>, columns: Range<usize>, width: usize, panel: &mut [T]);
}

impl<T: Real> Left<T> for Matrix<'_, T> {
    #[inline(always)]
    fn pack(&mut self, rows: Range<usize>, depth: Range<usize>, panel: &mut [[T; DEPTH]]) {
        for (row, to) in rows.zip(panel) {
            self.copy_row(row, depth.clone(), to);
        }
    }

    #[inline(always)]
    fn prefetch(&self, rows: Range<usize>, depth: Range<usize>) {
        if self.rows_are_contiguous() {
            rows.for_each(|row| prefetch(self.row(row, depth.clone())));
        }
    }
}

impl<T: Real> Right<T> for Matrix<'_, T> {
    #[inline(always)]
    fn pack(&self, depth: Range<usize>, columns: Range<usize>, width: usize, panel: &mut [T]) {
        if !self.rows_are_contiguous() {
            // Of a transposed matrix the columns are: read along them, a whole column before it is scattered, so that the memory brings
            // its lines at once.
            let columns_as_rows = self.transposed();
            let mut read = [T::zero(); DEPTH];
            let read = &mut read[..depth.len()];
            for (c, column) in columns.enumerate() {
                columns_as_rows.copy_row(column, depth.clone(), read);
                panel[c..].iter_mut().step_by(width).zip(&*read).for_each(|(to, &value)| *to = value);
            }
            return;
        }
        for (k, to) in depth.zip(panel.chunks_exact_mut(width)) {
            let from = self.row(k, columns.clone());
            let ((to, to_rest), (from, from_rest)) = (to.as_chunks_mut::<LANES>(), from.as_chunks::<LANES>());
            copy(to, from);
            if !from_rest.is_empty() {
                copy(to.get_mut(from.len()).map_or(to_rest, |to| &mut to[..]), from_rest);
            }
        }
    }
}

/// What the sums of a product start from.
#[derive(Clone, Copy)]
pub(super) enum Start<'a, T> {
    Zero,
    /// What the destination holds.
    Destination,
    /// A value for each row.
    Rows(&'a [T]),
}

/// A matrix to write, whose rows start `stride` apart.
pub(super) struct Destination<'a, T> {
    pub(super) values: &'a mut [T],
    pub(super) stride: usize,
}

/// `len` values of `scratch`, from the start of a cache line on.
#[inline(always)]
fn aligned<T: Real>(scratch: &mut Vec<T>, len: usize) -> &mut [T] {
    grow(scratch, len + line::<T>());
    let start = scratch.as_ptr().align_offset(64);
    &mut scratch[start..][..len]
}

/// Makes `values` at least as long.
pub(super) fn grow<T: Real>(values: &mut Vec<T>, len: usize) {
    if values.len() < len {
        values.resize(len, T::zero());
    }
}

/// Scratch of a product with a right side of up to `columns` columns: of [`multiply`] with one panel, of [`multiply_complex`] with
/// three.
pub(super) fn grow_scratch<T: Real>(scratch: &mut Vec<T>, columns: usize, panels: usize) {
    let together = if panels == 1 { columns_at_once() } else { COMPLEX_COLUMNS };
    grow(scratch, panels * DEPTH * (columns.min(together).next_multiple_of(LANES) + ROWS) + line::<T>());
}

/// Columns of the right side that are packed together in a product of real matrices.
pub(super) const fn columns_at_once() -> usize {
    512
}

struct RealProduct<'a, T, L, R, F> {
    size: [usize; 3],
    left: L,
    right: R,
    destination: Destination<'a, T>,
    start: Start<'a, T>,
    finish: F,
    scratch: &'a mut Vec<T>,
}

/// `destination = finish(start + left·right)`, of `[m, k]` and `[k, n]`.
pub(super) fn multiply<T: Real>(
    size: [usize; 3],
    left: impl Left<T>,
    right: impl Right<T>,
    destination: Destination<T>,
    start: Start<T>,
    finish: impl Fn(T) -> T,
    scratch: &mut Vec<T>,
) {
    let [m, k, n] = size;
    assert!(m * k * n > 0, "a product of nothing");
    pulp::Arch::new().dispatch(RealProduct { size, left, right, destination, start, finish, scratch });
}

/// Packs the right side of some columns, panel by panel.
#[inline(always)]
fn pack_right<T: Real, S: Simd>(
    right: &impl Right<T>,
    depth: Range<usize>,
    columns: Range<usize>,
    right_panels: &mut [T],
) {
    let lanes = lanes::<T, S>();
    for (first, count) in panels(columns.len().div_ceil(lanes)) {
        let width = count * lanes;
        let panel = &mut right_panels[first * lanes * depth.len()..][..width * depth.len()];
        let from = columns.start + first * lanes;
        let wanted = from..columns.end.min(from + width);
        if wanted.len() < width {
            panel.fill(T::zero());
        }
        right.pack(depth.clone(), wanted, width, panel);
    }
}

impl<T: Real> Start<'_, T> {
    /// What a tile of these rows starts from; none, if that stands in the destination.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const V: usize>(&self, simd: S, rows: Range<usize>) -> Option<Tile<T, S, R, V>> {
        let mut tile = [[T::splat(simd, T::zero()); V]; R];
        match self {
            Start::Zero => {}
            Start::Destination => return None,
            Start::Rows(values) => {
                let mut of_row = [T::zero(); R];
                of_row[..rows.len()].copy_from_slice(&values[rows]);
                for r in 0..R {
                    tile[r] = [T::splat(simd, of_row[r]); V];
                }
            }
        }
        Some(tile)
    }
}

impl<T: Real, L: Left<T>, R: Right<T>, F: Fn(T) -> T> pulp::WithSimd for RealProduct<'_, T, L, R, F> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::REGISTER_COUNT >= 32 { self.run::<S, ROWS>(simd) } else { self.run::<S, { ROWS / 2 }>(simd) }
    }
}

impl<T: Real, L: Left<T>, R: Right<T>, F: Fn(T) -> T> RealProduct<'_, T, L, R, F> {
    #[inline(always)]
    fn run<S: Simd, const ROWS: usize>(self, simd: S) {
        let RealProduct { size: [m, k, n], mut left, right, mut destination, start, finish, scratch } = self;
        let lanes = lanes::<T, S>();
        let stride = n.min(columns_at_once()).next_multiple_of(lanes);
        let scratch = aligned(scratch, DEPTH * (stride + ROWS));
        let (left_panel, right_panels) = scratch.split_at_mut(DEPTH * ROWS);
        for columns in blocks(n, columns_at_once()) {
            for depth in blocks(k, DEPTH) {
                pack_right::<T, S>(&right, depth.clone(), columns.clone(), right_panels);
                for rows in blocks(m, ROWS) {
                    let (left_panel, _) = left_panel.as_chunks_mut::<DEPTH>();
                    left.pack(rows.clone(), depth.clone(), &mut left_panel[..rows.len()]);
                    if rows.end < m {
                        left.prefetch(rows.end..m.min(rows.end + ROWS), depth.clone());
                    } else if depth.end < k {
                        left.prefetch(0..ROWS.min(m), depth.end..k.min(depth.end + DEPTH));
                    }
                    let Some(left_panel) = left_panel.first_chunk::<ROWS>() else {
                        unreachable!("a panel of ROWS rows")
                    };
                    for (first, count) in panels(columns.len().div_ceil(lanes)) {
                        let panel = &right_panels[first * lanes * depth.len()..][..count * lanes * depth.len()];
                        let column = columns.start + first * lanes;
                        let place = TileArea {
                            start: rows.start * destination.stride + column,
                            rows: rows.len(),
                            columns: (columns.end - column).min(count * lanes),
                        };
                        with_vectors!(count, V => {
                            let begun = if depth.start == 0 { start.tile(simd, rows.clone()) } else { None };
                            let tile: Tile<T, S, ROWS, V> = match begun {
                                Some(tile) => tile,
                                None => destination.load(simd, &place),
                            };
                            destination.store(simd, accumulate(simd, tile, left_panel, panel), &place);
                        });
                        if depth.end == k {
                            destination.for_each(&place, |v| *v = finish(*v));
                        }
                    }
                }
            }
        }
    }
}

/// Products of whole matrices by any number of tasks at a time, each of which packs into panels of its own.
pub(super) struct Products<T>(Slots<Vec<T>>);

impl<T: Real> Products<T> {
    pub(super) const fn new() -> Self {
        Products(Slots::new())
    }

    /// Before the threads of the current rayon pool multiply.
    pub(super) fn prepare(&mut self) {
        let room = |scratch: &mut Vec<T>| {
            aligned(scratch, DEPTH * (columns_at_once() + ROWS));
        };
        self.0.prepare(Vec::new, room);
    }

    /// `destination = start + left·right` on the calling thread; the destination's rows follow one another.
    ///
    /// Panics if the shapes do not fit.
    pub(super) fn multiply(&self, destination: &mut [T], left: Matrix<T>, right: Matrix<T>, start: Start<T>) {
        let ([m, k], [right_rows, n]) = (left.size(), right.size());
        assert_eq!(k, right_rows, "inner sizes of a product");
        assert_eq!(destination.len(), m * n, "size of a product");
        let destination = Destination { values: destination, stride: n };
        self.0.with(|scratch| multiply([m, k, n], left, right, destination, start, |sum| sum, scratch));
    }
}

#[inline(always)]
fn blocks(n: usize, len: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n).step_by(len).map(move |start| start..n.min(start + len))
}

//! Matrix products on the calling thread, tile by tile in registers; a complex product as three real ones.
//!
//! Both sides are copied into panels that a cache holds. Whoever calls says how ([`Left`], [`Right`]), so that a sum, a mask or the
//! values under a kernel never exist but in a panel. Nothing is allocated once the scratch has its size.

use std::ops::Range;

use pulp::Simd;

use super::{
    matrix::Matrix,
    memory::{line, prefetch},
    real::Real,
    scratch::Slots,
    vectors::Vectors,
};

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
            // Of a transposed matrix the columns are: read along them.
            let columns_as_rows = self.transposed();
            for (c, column) in columns.enumerate() {
                columns_as_rows.for_each_of_row(column, depth.clone(), |k, value| panel[k * width + c] = value);
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

type Tile<T, S, const R: usize, const V: usize> = [[<T as Vectors>::Vector<S>; V]; R];

const fn lanes<T: Vectors, S: Simd>() -> usize {
    size_of::<T::Vector<S>>() / size_of::<T>()
}

/// `tile + left·right`, as a function of its own: what else lives around it must not take a tile's registers.
struct Accumulate<'a, T: Vectors, S: Simd, const R: usize, const V: usize> {
    simd: S,
    tile: &'a mut Tile<T, S, R, V>,
    left: &'a [[T; DEPTH]; R],
    right: &'a [T],
}

impl<T: Vectors, S: Simd, const R: usize, const V: usize> pulp::WithSimd for Accumulate<'_, T, S, R, V> {
    type Output = ();
    #[inline(always)]
    fn with_simd<Same: Simd>(self, _: Same) {
        let Accumulate { simd, tile, left, right } = self;
        let right = T::of::<S>(right).as_chunks::<V>().0;
        assert!(right.len() <= DEPTH);
        let mut sums = *tile;
        for (k, right) in right.iter().enumerate() {
            for r in 0..R {
                let x = T::splat(simd, left[r][k]);
                for v in 0..V {
                    sums[r][v] = T::multiply_add(simd, x, right[v], sums[r][v]);
                }
            }
        }
        *tile = sums;
    }
}

#[inline(always)]
fn accumulate<T: Vectors, S: Simd, const R: usize, const V: usize>(
    simd: S,
    mut tile: Tile<T, S, R, V>,
    left: &[[T; DEPTH]; R],
    right: &[T],
) -> Tile<T, S, R, V> {
    apart(Accumulate { simd, tile: &mut tile, left, right });
    tile
}

#[inline(never)]
fn apart<T: Vectors, S: Simd, const R: usize, const V: usize>(task: Accumulate<T, S, R, V>) {
    task.simd.vectorize(task);
}

#[inline(always)]
fn negated<T: Vectors, S: Simd, const R: usize, const V: usize>(
    simd: S,
    mut tile: Tile<T, S, R, V>,
) -> Tile<T, S, R, V> {
    for v in tile.as_flattened_mut() {
        *v = T::negate(simd, *v);
    }
    tile
}

/// Of few values: a call would take longer.
#[inline(always)]
fn copy<V: Copy>(to: &mut [V], from: &[V]) {
    to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
}

/// The part of a destination that a tile covers.
struct TileArea {
    start: usize,
    rows: usize,
    columns: usize,
}

impl<T: Real> Destination<'_, T> {
    #[inline(always)]
    fn load<S: Simd, const R: usize, const V: usize>(&self, simd: S, place: &TileArea) -> Tile<T, S, R, V> {
        let width = V * lanes::<T, S>();
        let mut tile = [[T::splat(simd, T::zero()); V]; R];
        for (r, tile) in tile.iter_mut().enumerate().take(place.rows) {
            let row = &self.values[place.start + r * self.stride..][..place.columns];
            if place.columns == width {
                copy(tile, T::of::<S>(row));
            } else {
                let mut whole = [T::zero(); WIDTH];
                whole[..row.len()].copy_from_slice(row);
                tile.copy_from_slice(&T::of::<S>(&whole)[..V]);
            }
        }
        tile
    }

    #[inline(always)]
    fn store<S: Simd, const R: usize, const V: usize>(&mut self, _: S, tile: Tile<T, S, R, V>, place: &TileArea) {
        let width = V * lanes::<T, S>();
        for (r, tile) in tile.iter().enumerate().take(place.rows) {
            let row = &mut self.values[place.start + r * self.stride..][..place.columns];
            if place.columns == width {
                copy(T::of_mut::<S>(row), tile);
            } else {
                let mut whole = [T::zero(); WIDTH];
                T::of_mut::<S>(&mut whole)[..V].copy_from_slice(tile);
                row.copy_from_slice(&whole[..row.len()]);
            }
        }
    }

    #[inline(always)]
    fn add<S: Simd, const R: usize, const V: usize>(&mut self, simd: S, tile: Tile<T, S, R, V>, place: &TileArea) {
        let mut sum: Tile<T, S, R, V> = self.load(simd, place);
        for (sum, &v) in sum.as_flattened_mut().iter_mut().zip(tile.as_flattened()) {
            *sum = T::plus(simd, *sum, v);
        }
        self.store(simd, sum, place);
    }

    #[inline(always)]
    fn for_each(&mut self, place: &TileArea, mut task: impl FnMut(&mut T)) {
        for r in 0..place.rows {
            self.values[place.start + r * self.stride..][..place.columns].iter_mut().for_each(&mut task);
        }
    }
}

/// The first vector and the number of vectors of every panel of `vectors`: three, unless that left a single one behind.
#[inline(always)]
fn panels(vectors: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut next = 0;
    std::iter::from_fn(move || {
        let (first, left) = (next, vectors - next);
        let count = if left == 4 { 2 } else { left.min(3) };
        next += count;
        (count > 0).then_some((first, count))
    })
}

/// Calls `$task` with the constant `$v` = `$count`.
macro_rules! with_vectors {
    ($count:expr, $v:ident => $task:expr) => {
        match $count {
            1 => {
                const $v: usize = 1;
                $task
            }
            2 => {
                const $v: usize = 2;
                $task
            }
            _ => {
                const $v: usize = 3;
                $task
            }
        }
    };
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

/// Columns of the right side that are packed together in a product of complex matrices.
const COMPLEX_COLUMNS: usize = 128;
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
                let vectors = columns.len().div_ceil(lanes);
                for (first, count) in panels(vectors) {
                    let width = count * lanes;
                    let panel = &mut right_panels[first * lanes * depth.len()..][..width * depth.len()];
                    let from = columns.start + first * lanes;
                    let wanted = from..columns.end.min(from + width);
                    if wanted.len() < width {
                        panel.fill(T::zero());
                    }
                    right.pack(depth.clone(), wanted, width, panel);
                }
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
                    for (first, count) in panels(vectors) {
                        let panel = &right_panels[first * lanes * depth.len()..][..count * lanes * depth.len()];
                        let column = columns.start + first * lanes;
                        let place = TileArea {
                            start: rows.start * destination.stride + column,
                            rows: rows.len(),
                            columns: (columns.end - column).min(count * lanes),
                        };
                        with_vectors!(count, V => {
                            let tile: Tile<T, S, ROWS, V> = match start {
                                Start::Rows(values) if depth.start == 0 => {
                                    let mut of_row = [T::zero(); ROWS];
                                    of_row[..rows.len()].copy_from_slice(&values[rows.clone()]);
                                    let mut tile = [[T::splat(simd, T::zero()); V]; ROWS];
                                    for r in 0..ROWS {
                                        tile[r] = [T::splat(simd, of_row[r]); V];
                                    }
                                    tile
                                }
                                Start::Zero if depth.start == 0 => [[T::splat(simd, T::zero()); V]; ROWS],
                                _ => destination.load(simd, &place),
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

/// Which matrix of a product is taken as its complex conjugate.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Conjugate {
    Neither,
    Left,
    Right,
}

/// Of values c and d: c, and what is multiplied for the real and for the imaginary part; 0 in what is left of a row.
#[inline(always)]
fn right_sums<T: Real, S: Simd>(simd: S, [c, d]: [&[T]; 2], [both, re, im]: [&mut [T]; 3], conjugate: Conjugate) {
    let n = c.len();
    if n == both.len() {
        let (c, d) = (T::of::<S>(c), T::of::<S>(d));
        let (both, re, im) = (T::of_mut::<S>(both), T::of_mut::<S>(re), T::of_mut::<S>(im));
        for ((((&c, &d), both), re), im) in c.iter().zip(d).zip(both).zip(re).zip(im) {
            *both = c;
            match conjugate {
                Conjugate::Neither => (*re, *im) = (T::minus(simd, T::negate(simd, c), d), T::minus(simd, d, c)),
                Conjugate::Left => (*re, *im) = (T::minus(simd, d, c), T::plus(simd, c, d)),
                Conjugate::Right => (*re, *im) = (T::minus(simd, d, c), T::minus(simd, T::negate(simd, c), d)),
            }
        }
        return;
    }
    for ((((&c, &d), both), re), im) in c.iter().zip(d).zip(&mut *both).zip(&mut *re).zip(&mut *im) {
        *both = c;
        match conjugate {
            Conjugate::Neither => (*re, *im) = (T::zero() - c - d, d - c),
            Conjugate::Left => (*re, *im) = (d - c, c + d),
            Conjugate::Right => (*re, *im) = (d - c, T::zero() - c - d),
        }
    }
    for row in [both, re, im] {
        row[n..].fill(T::zero());
    }
}

/// a + b, b and a, to three rows of a panel.
#[inline(always)]
fn left_sums<T: Real, S: Simd>(simd: S, [a, b]: [&[T]; 2], panel: &mut [[T; DEPTH]], rows: [usize; 3]) {
    let n = a.len();
    let whole = n / lanes::<T, S>();
    let (va, vb) = (&T::of::<S>(a)[..whole], &T::of::<S>(b)[..whole]);
    let sums = T::of_mut::<S>(&mut panel[rows[0]]);
    for ((sum, &a), &b) in sums.iter_mut().zip(va).zip(vb) {
        *sum = T::plus(simd, a, b);
    }
    copy(T::of_mut::<S>(&mut panel[rows[1]]), vb);
    copy(T::of_mut::<S>(&mut panel[rows[2]]), va);
    for k in whole * lanes::<T, S>()..n {
        panel[rows[0]][k] = a[k] + b[k];
        panel[rows[1]][k] = b[k];
        panel[rows[2]][k] = a[k];
    }
}

struct ComplexProduct<'a, T> {
    size: [usize; 3],
    left: [Matrix<'a, T>; 2],
    right: [Matrix<'a, T>; 2],
    destination: [Destination<'a, T>; 2],
    conjugate: Conjugate,
    scratch: &'a mut Vec<T>,
}

/// `destination = left·right` of complex matrices (re, im).
///
/// With (a + ib)(c + id) and k = (a + b)c: re = k − b(c + d), im = k + a(d − c): three products instead of four. With (a − ib) it is
/// re = k + b(d − c), im = a(c + d) − k; with (c − id), re = k + b(d − c), im = k − a(c + d).
pub(super) fn multiply_complex<T: Real>(
    left: [Matrix<T>; 2],
    right: [Matrix<T>; 2],
    destination: [Destination<T>; 2],
    conjugate: Conjugate,
    scratch: &mut Vec<T>,
) {
    let ([m, k], [inner, n]) = (left[0].size(), right[0].size());
    assert_eq!(k, inner, "inner sizes of a product");
    pulp::Arch::new().dispatch(ComplexProduct { size: [m, k, n], left, right, destination, conjugate, scratch });
}

impl<T: Real> pulp::WithSimd for ComplexProduct<'_, T> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::REGISTER_COUNT >= 32 { self.run::<S, ROWS>(simd) } else { self.run::<S, { ROWS / 2 }>(simd) }
    }
}

impl<T: Real> ComplexProduct<'_, T> {
    #[inline(always)]
    fn run<S: Simd, const ROWS: usize>(self, simd: S) {
        let ComplexProduct {
            size: [m, k, n],
            left: [a, b],
            right: [c, d],
            destination: [mut re, mut im],
            conjugate,
            scratch,
        } = self;
        let lanes = lanes::<T, S>();
        let stride = n.min(COMPLEX_COLUMNS).next_multiple_of(lanes);
        let scratch = aligned(scratch, 3 * DEPTH * (stride + ROWS));
        let (left_panels, right_panels) = scratch.split_at_mut(3 * DEPTH * ROWS);
        for columns in blocks(n, COMPLEX_COLUMNS) {
            let vectors = columns.len().div_ceil(lanes);
            for depth in blocks(k, DEPTH) {
                // Panel by panel: c, then what it is multiplied with for the real and for the imaginary part.
                for (i, k) in depth.clone().enumerate() {
                    const AHEAD: usize = 4;
                    if k + AHEAD < depth.end {
                        prefetch(c.row(k + AHEAD, columns.clone()));
                        prefetch(d.row(k + AHEAD, columns.clone()));
                    }
                    let (c, d) = (c.row(k, columns.clone()), d.row(k, columns.clone()));
                    for (first, count) in panels(vectors) {
                        let len = count * lanes * depth.len();
                        let panel = &mut right_panels[3 * first * lanes * depth.len()..][..3 * len];
                        let (for_both, rest) = panel.split_at_mut(len);
                        let (for_re, for_im) = rest.split_at_mut(len);
                        let at = i * count * lanes..(i + 1) * count * lanes;
                        let to = [&mut for_both[at.clone()], &mut for_re[at.clone()], &mut for_im[at]];
                        let from = first * lanes..columns.len().min((first + count) * lanes);
                        right_sums(simd, [&c[from.clone()], &d[from]], to, conjugate);
                    }
                }
                for rows in blocks(m, ROWS) {
                    let (panel, _) = left_panels.as_chunks_mut::<DEPTH>();
                    for row in rows.end..m.min(rows.end + ROWS) {
                        prefetch(a.row(row, depth.clone()));
                        prefetch(b.row(row, depth.clone()));
                    }
                    for (i, row) in rows.clone().enumerate() {
                        let (a, b) = (a.row(row, depth.clone()), b.row(row, depth.clone()));
                        left_sums(simd, [a, b], panel, [i, ROWS + i, 2 * ROWS + i]);
                    }
                    let (panel, _) = panel.as_chunks::<ROWS>();
                    for (first, count) in panels(vectors) {
                        let len = count * lanes * depth.len();
                        let right = &right_panels[3 * first * lanes * depth.len()..][..3 * len];
                        let (for_both, rest) = right.split_at(len);
                        let (for_re, for_im) = rest.split_at(len);
                        let column = columns.start + first * lanes;
                        let place = |stride| TileArea {
                            start: rows.start * stride + column,
                            rows: rows.len(),
                            columns: (columns.end - column).min(count * lanes),
                        };
                        let (at_re, at_im) = (place(re.stride), place(im.stride));
                        with_vectors!(count, V => {
                            let zero = [[T::splat(simd, T::zero()); V]; ROWS];
                            let both: Tile<T, S, ROWS, V> = accumulate(simd, zero, &panel[0], for_both);
                            let tile = accumulate(simd, both, &panel[1], for_re);
                            if depth.start == 0 { re.store(simd, tile, &at_re) } else { re.add(simd, tile, &at_re) }
                            let both = if conjugate == Conjugate::Left { negated::<T, S, ROWS, V>(simd, both) } else { both };
                            let tile = accumulate(simd, both, &panel[2], for_im);
                            if depth.start == 0 { im.store(simd, tile, &at_im) } else { im.add(simd, tile, &at_im) }
                        });
                    }
                }
            }
        }
    }
}

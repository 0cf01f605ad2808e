//! A complex product as three real ones.

use std::ops::Range;

use pulp::Simd;

use super::{
    DEPTH, Destination, ROWS, aligned, blocks,
    tile::{Tile, TileArea, accumulate, copy, lanes, negated, panels, with_vectors},
};
use crate::learn::kernels::{matrix::Matrix, memory::prefetch, real::Real};

/// Columns of the right side that are packed together in a product of complex matrices.
pub(super) const COMPLEX_COLUMNS: usize = 128;

/// Which matrix of a product is taken as its complex conjugate.
#[derive(Clone, Copy, PartialEq)]
pub(in crate::learn::kernels) enum Conjugate {
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

/// Packs the right side of some columns, panel by panel: c, then what it is multiplied with for the real and for the imaginary part.
#[inline(always)]
fn pack_right<T: Real, S: Simd>(
    simd: S,
    [c, d]: [Matrix<T>; 2],
    depth: Range<usize>,
    columns: Range<usize>,
    right_panels: &mut [T],
    conjugate: Conjugate,
) {
    let lanes = lanes::<T, S>();
    let vectors = columns.len().div_ceil(lanes);
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
pub(in crate::learn::kernels) fn multiply_complex<T: Real>(
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
                pack_right(simd, [c, d], depth.clone(), columns.clone(), right_panels, conjugate);
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

//! A tile: some rows and vectors of a product, held in registers while its sums grow.

use pulp::Simd;

use super::{DEPTH, Destination, WIDTH};
use crate::learn::kernels::{real::Real, vectors::Vectors};

pub(super) type Tile<T, S, const R: usize, const V: usize> = [[<T as Vectors>::Vector<S>; V]; R];

pub(super) const fn lanes<T: Vectors, S: Simd>() -> usize {
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
pub(super) fn accumulate<T: Vectors, S: Simd, const R: usize, const V: usize>(
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
pub(super) fn negated<T: Vectors, S: Simd, const R: usize, const V: usize>(
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
pub(super) fn copy<V: Copy>(to: &mut [V], from: &[V]) {
    to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
}

/// The part of a destination that a tile covers.
pub(super) struct TileArea {
    pub(super) start: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl<T: Real> Destination<'_, T> {
    #[inline(always)]
    pub(super) fn load<S: Simd, const R: usize, const V: usize>(&self, simd: S, place: &TileArea) -> Tile<T, S, R, V> {
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
    pub(super) fn store<S: Simd, const R: usize, const V: usize>(
        &mut self,
        _: S,
        tile: Tile<T, S, R, V>,
        place: &TileArea,
    ) {
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
    pub(super) fn add<S: Simd, const R: usize, const V: usize>(
        &mut self,
        simd: S,
        tile: Tile<T, S, R, V>,
        place: &TileArea,
    ) {
        let mut sum: Tile<T, S, R, V> = self.load(simd, place);
        for (sum, &v) in sum.as_flattened_mut().iter_mut().zip(tile.as_flattened()) {
            *sum = T::plus(simd, *sum, v);
        }
        self.store(simd, sum, place);
    }

    #[inline(always)]
    pub(super) fn for_each(&mut self, place: &TileArea, mut task: impl FnMut(&mut T)) {
        for r in 0..place.rows {
            self.values[place.start + r * self.stride..][..place.columns].iter_mut().for_each(&mut task);
        }
    }
}

/// The first vector and the number of vectors of every panel of `vectors`: three, unless that left a single one behind.
#[inline(always)]
pub(super) fn panels(vectors: usize) -> impl Iterator<Item = (usize, usize)> {
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
pub(super) use with_vectors;

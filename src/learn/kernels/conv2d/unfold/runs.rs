//! Values under a kernel, copied from an image into the rows of a panel: together, where they follow one another.

use std::ops::Range;

use crate::learn::kernels::{real::Real, tiles::WIDTH};

/// Values copied at once.
const LANES: usize = 16;
/// Fewer that follow one another are copied one by one: it takes less time.
const FEW: usize = 8;

/// Whether so many values that follow one another are copied together.
pub(super) fn are_together(row: usize) -> bool {
    row >= FEW
}

/// Copies the values `wanted` into each row of a panel, from the image that stands beside it; `start` is where in the image a value
/// stands. `row` values follow one another there, and then those of the next row begin.
#[inline(always)]
pub(super) fn copy_values<'a, T: Real>(
    row: usize,
    wanted: Range<usize>,
    start: impl Fn(usize) -> usize,
    rows: impl Iterator<Item = (&'a [T], &'a mut [T])>,
) {
    let count = wanted.len();
    if are_together(row) {
        let mut room = [Run::default(); WIDTH];
        let runs = collect(&mut room, runs_of(row, wanted, start));
        rows.for_each(|(image, panel)| copy_runs(runs, image, &mut panel[..count]));
    } else {
        let mut starts = [0; WIDTH];
        let starts = &mut starts[..count];
        starts.iter_mut().zip(wanted).for_each(|(to, value)| *to = start(value));
        rows.for_each(|(image, panel)| panel.iter_mut().zip(&*starts).for_each(|(to, &start)| *to = image[start]));
    }
}

/// Values that follow one another in an image and in a row of a panel.
#[derive(Clone, Copy, Default)]
struct Run {
    /// In the row of the panel.
    to: usize,
    /// In the image.
    from: usize,
    len: usize,
}

/// The values `wanted`, cut at each multiple of `row`.
#[inline(always)]
fn runs_of(row: usize, wanted: Range<usize>, start: impl Fn(usize) -> usize) -> impl Iterator<Item = Run> {
    let mut next = wanted.start;
    std::iter::from_fn(move || {
        let first = next;
        next = wanted.end.min((first / row + 1) * row);
        (first < next).then(|| Run { to: first - wanted.start, from: start(first), len: next - first })
    })
}

/// The runs, in some of `room`. Panics if they are more.
#[inline(always)]
fn collect(room: &mut [Run], runs: impl Iterator<Item = Run>) -> &[Run] {
    let mut count = 0;
    for run in runs {
        room[count] = run;
        count += 1;
    }
    &room[..count]
}

/// Copies the runs, which follow one another in `to` and fill it.
#[inline(always)]
fn copy_runs<T: Real>(runs: &[Run], from: &[T], to: &mut [T]) {
    for run in runs {
        let (mut from, mut to, mut left) = (&from[run.from..], &mut to[run.to..], run.len);
        while left > 0 {
            let count = left.min(LANES);
            // A whole vector, where there is one: what is too much of it, the next run overwrites.
            match (to.first_chunk_mut::<LANES>(), from.first_chunk::<LANES>()) {
                (Some(to), Some(from)) => *to = *from,
                _ => to.iter_mut().zip(from).take(count).for_each(|(to, &from)| *to = from),
            }
            (from, to, left) = (&from[count..], &mut to[count..], left - count);
        }
    }
}

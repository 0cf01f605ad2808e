//! How threads are laid over values: what the kernels over rows and columns, and those over flat values, have in common.

use super::Input;

/// Threads of a block.
const THREADS: usize = 256;
/// The most blocks of a kernel whose threads walk on to the next value: enough to fill any device, whatever its size.
const MOST_BLOCKS: usize = 1 << 13;

/// Threads over the columns of a matrix and some of its rows.
pub(super) struct Columns {
    /// Threads along the columns, and rows beside each other.
    pub block: [usize; 2],
    /// Blocks along the columns.
    pub blocks: usize,
}

impl Columns {
    /// Over `columns` values or fours, at most `across` of them (a power of two) in a block.
    pub fn new(columns: usize, across: usize) -> Columns {
        let x = columns.next_power_of_two().min(across);
        Columns { block: [x, THREADS / x], blocks: columns.div_ceil(x) }
    }

    /// Threads of a block.
    pub fn threads(&self) -> usize {
        THREADS
    }
}

/// Grid and block of a kernel that walks over `count` values in steps of the whole grid.
pub(super) fn flat(count: usize) -> (usize, usize) {
    (count.div_ceil(THREADS).min(MOST_BLOCKS), THREADS)
}

/// Whether a kernel may take four values at once: these sizes divide by four, and these places begin where 16 bytes may be read.
/// (Those in bf16 lie in buffers of their own, which begin so.)
pub(super) fn is_by_fours(sizes: &[usize], places: &[Input<f32>]) -> bool {
    sizes.iter().all(|size| size % 4 == 0) && places.iter().all(Input::is_aligned)
}

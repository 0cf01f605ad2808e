//! Chunks of rows that a GPU sums side by side (sums.cu): a rule over the shape, so that it has the same sums on every device.

/// The fewest rows of a chunk, unless there are fewer in all.
const LEAST: usize = 32;
/// The most chunks.
const MOST: usize = 256;

/// Rows of each chunk but the last, of a matrix of `rows`.
pub fn rows_per_chunk(rows: usize) -> usize {
    rows.div_ceil(MOST).max(LEAST)
}

/// Chunks of any matrix of up to `rows` rows, at most.
pub fn most_chunks(rows: usize) -> usize {
    rows.div_ceil(LEAST).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_of_fewer_rows_fit_where_those_of_more_do() {
        for rows in 1..40_000usize {
            let chunks = rows.div_ceil(rows_per_chunk(rows));
            assert!(chunks <= most_chunks(rows), "{chunks} chunks of {rows} rows");
            assert!(most_chunks(rows) <= most_chunks(rows + 1), "fewer chunks of more than {rows} rows");
        }
    }
}

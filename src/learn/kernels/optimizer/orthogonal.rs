//! Muon's direction: a matrix brought near to an orthogonal one by Newton-Schulz iterations (Jordan et al. 2024,
//! <https://kellerjordan.github.io/posts/muon/>).

use crate::learn::kernels::{
    lanes::{dot, vectorised},
    matrix::Matrix,
    options::{COEFFICIENTS, ITERATIONS, LEAST_NORM},
    real::Real,
    scratch::Buffer,
    storage::for_each_chunk,
    tiles::{DEPTH, Destination, Start, WIDTH, columns_at_once, multiply},
};

/// Rows of a product that one task computes.
const ROWS: usize = 64;

/// Makes `x [rows, columns]` nearly orthogonal, in place: `x/|x|`, and then five times `x = ax + (bA + cA²)x` with `A = xxᵀ`. Of a
/// matrix with more rows than columns the columns are made orthogonal. |x| is the Frobenius norm.
///
/// Panics if `x` holds another number of values.
pub fn orthogonalise<T: Real>(x: &mut [T], [rows, columns]: [usize; 2]) {
    assert_eq!(x.len(), rows * columns, "values of a {rows}×{columns} matrix");
    if x.is_empty() {
        return;
    }
    let is_tall = rows > columns;
    let side = rows.min(columns);
    let [a, b, c] = COEFFICIENTS.map(T::from_f64);
    // Row by row, so that the sum does not depend on threads.
    let squares: f64 = vectorised!(|| x.chunks_exact(columns).map(|row| dot(row, row).to_f64()).sum());
    scale(x, T::from_f64(1. / (squares.sqrt() + LEAST_NORM)));
    let (mut next, mut gram, mut square) = (Buffer::new(x.len()), Buffer::new(side * side), Buffer::new(side * side));
    for _ in 0..ITERATIONS {
        let of_x = Matrix::new(&*x, rows, columns);
        let (left, right) = if is_tall { (of_x.transposed(), of_x) } else { (of_x, of_x.transposed()) };
        product(&mut gram, left, right, Start::Zero);
        let of_gram = Matrix::new(&gram, side, side);
        product(&mut square, of_gram, of_gram, Start::Zero);
        vectorised!(|| {
            for (square, &gram) in square.iter_mut().zip(gram.iter()) {
                *square = b * gram + c * *square;
            }
        });
        vectorised!(|| {
            for (next, &x) in next.iter_mut().zip(&*x) {
                *next = a * x;
            }
        });
        let polynomial = Matrix::new(&square, side, side);
        let (left, right) = if is_tall { (of_x, polynomial) } else { (polynomial, of_x) };
        product(&mut next, left, right, Start::Destination);
        x.copy_from_slice(&next);
    }
}

fn scale<T: Real>(values: &mut [T], factor: T) {
    vectorised!(|| {
        for value in values.iter_mut() {
            *value *= factor;
        }
    });
}

/// `destination = start + left·right`, some rows a task.
fn product<T: Real>(destination: &mut [T], left: Matrix<T>, right: Matrix<T>, start: Start<T>) {
    let ([m, k], [_, n]) = (left.size(), right.size());
    for_each_chunk(destination, ROWS * n, m * k * n, |chunk, values| {
        let rows = chunk * ROWS..chunk * ROWS + values.len() / n;
        // Room for any product: another length would be another buffer of the pool.
        let mut panel = Buffer::new(DEPTH * (columns_at_once() + WIDTH));
        let size = [rows.len(), k, n];
        multiply(size, left.rows(rows), right, Destination { values, stride: n }, start, |sum| sum, panel.room());
    });
}

/// Multiply-adds of the products for a matrix of these sides, and values that they read or write at least.
pub(super) fn work([rows, columns]: [usize; 2]) -> [usize; 2] {
    let (side, long) = (rows.min(columns), rows.max(columns));
    let multiply_adds = 2 * side * side * long + side * side * side;
    // x is read by both products with it and written by the second; A is written, read, and becomes the polynomial, which is read.
    let values = 3 * side * long + 4 * side * side;
    [ITERATIONS * multiply_adds, ITERATIONS * values]
}

/// Values of the buffers that a matrix of these sides is made orthogonal in: the direction and the next one, A and A².
pub fn scratch_values([rows, columns]: [usize; 2]) -> usize {
    2 * rows * columns + 2 * rows.min(columns).pow(2)
}

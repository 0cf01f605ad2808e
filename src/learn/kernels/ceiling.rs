//! Work that a machine does as fast as it can do any: what the speed of the other operations is held against.

use candle_core::{Device, Result};

use super::{
    lanes::vectorised,
    matrix::Matrix,
    storage::{for_each_chunk, threads},
    tiles::{self, Start},
};
use crate::learn::kernels::Precision;

/// What a GPU does best: floating-point operations a second of a large product in `precision`, and bytes a second of a large copy;
/// none where `device` is none.
#[cfg_attr(not(feature = "cuda"), expect(unused_variables))]
pub fn of_gpu(device: &Device, precision: Precision) -> Result<Option<(f64, f64)>> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = device {
        let gpu = super::cuda::Gpu::of_cuda(device)?;
        return Ok(Some((super::cuda::ceiling::flops(&gpu, precision)?, super::cuda::ceiling::bandwidth(&gpu)?)));
    }
    Ok(None)
}

/// Large products of f32, one on each thread of the pool, made as the tasks of the other ops make theirs.
pub struct Products {
    left: Vec<f32>,
    right: Vec<f32>,
    destinations: Vec<f32>,
    products: tiles::Products<f32>,
}

/// Rows and columns of the matrices: a product long enough to hide how it begins and ends, and packed many times over.
const SIDE: usize = 1024;

impl Products {
    /// As many products as the pool has threads.
    pub fn on_all_threads() -> Self {
        // Ordinary numbers, of either sign: sums neither overflow nor vanish.
        let matrix = |step: usize| (0..SIDE * SIDE).map(|at| (at * step % 251) as f32 / 125. - 1.).collect();
        Products {
            left: matrix(97),
            right: matrix(89),
            destinations: vec![0.; threads() * SIDE * SIDE],
            products: tiles::Products::new(),
        }
    }

    /// Multiply-adds of a run.
    pub fn multiply_adds(&self) -> u64 {
        (self.destinations.len() * SIDE) as u64
    }

    pub fn run(&mut self) {
        let Products { left, right, destinations, products } = self;
        let (left, right) = (Matrix::new(left, SIDE, SIDE), Matrix::new(right, SIDE, SIDE));
        products.prepare();
        for_each_chunk(destinations, SIDE * SIDE, usize::MAX, |_, destination| {
            products.multiply(destination, left, right, Start::Zero);
        });
    }
}

/// `a ← factor · a + b` over long arrays: two values read and one written for every sum.
///
/// What is written has been read: no line is fetched from memory only to be overwritten, which nothing would count.
pub struct Stream {
    a: Vec<f32>,
    b: Vec<f32>,
}

/// Values that one task takes.
const CHUNK: usize = 1 << 18;

impl Stream {
    /// Arrays of `bytes` bytes each.
    pub fn new(bytes: usize) -> Self {
        let array = |value: f32| vec![value; bytes / size_of::<f32>()];
        Stream { a: array(1.), b: array(0.5) }
    }

    /// Bytes read and written by a run.
    pub fn bytes(&self) -> u64 {
        (3 * size_of_val(&self.a[..])) as u64
    }

    pub fn run(&mut self) {
        let b = &self.b;
        // a stays 1, however often this runs.
        for_each_chunk(&mut self.a, CHUNK, b.len(), |chunk, a| {
            let b = &b[chunk * CHUNK..];
            vectorised!(|| a.iter_mut().zip(b).for_each(|(a, &b)| *a = 0.5 * *a + b));
        });
    }
}

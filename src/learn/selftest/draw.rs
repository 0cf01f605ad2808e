//! Shapes and values of a case.

use std::ops::RangeInclusive;

use candle_core::{Device, Result, Tensor};
use rand::RngCore;
use rand_chacha::ChaCha8Rng;

use crate::base::rng;

/// A random stream for one case.
pub struct Draw {
    stream: ChaCha8Rng,
    /// The number of the case in its test.
    pub case: usize,
}

impl Draw {
    /// That of case `case` of the test `name`.
    pub fn new(seed: u64, name: &str, case: usize) -> Draw {
        Draw { stream: rng::stream(seed, &format!("selftest/{name}"), case as u64), case }
    }

    /// A whole number out of the range, all as likely.
    pub fn size(&mut self, range: RangeInclusive<usize>) -> usize {
        let choices = (range.end() - range.start() + 1) as u64;
        // The remainder favours some by one in 2^50 and less.
        range.start() + (self.stream.next_u64() % choices) as usize
    }

    /// One of these.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.size(0..=from.len() - 1)].clone()
    }

    /// A number from 0 to 1.
    pub fn share(&mut self) -> f64 {
        f64::from(self.stream.next_u32()) / f64::from(u32::MAX)
    }

    /// Values in −1..1, in f32 on the CPU.
    pub fn values(&mut self, shape: &[usize]) -> Result<Tensor> {
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| (2.0 * self.share() - 1.0) as f32).collect();
        Tensor::from_vec(values, shape, &Device::Cpu)
    }
}

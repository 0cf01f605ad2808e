//! What this machine can do at most, measured.

use std::time::{Duration, Instant};

use anyhow::Result;
use candle_core::Device;

use super::Bound;
use crate::{
    base::machine,
    learn::{
        kernels::ceiling::{Products, Stream, of_gpu},
        model::{config::Precision, pass::Work},
    },
};

/// What this machine reached with nothing else to do: the best of several runs, on the threads of the pool or on a GPU.
#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    /// Floating-point operations a second: a large product of f32, or of a GPU's precision, where a multiply-add is two.
    pub flops: f64,
    /// Bytes a second, read and written: a sum over arrays too long for any cache, or a copy of one on a GPU.
    pub bandwidth: f64,
}

impl Ceilings {
    /// Measures those of `device`, whose products are computed in `precision`: about a second.
    ///
    /// Errors: a GPU that fails, or has no room for large products.
    pub fn measure(device: &Device, precision: Precision) -> Result<Ceilings> {
        Ok(match of_gpu(device, precision)? {
            Some((flops, bandwidth)) => Ceilings { flops, bandwidth },
            None => Ceilings::of_cores(),
        })
    }

    fn of_cores() -> Ceilings {
        // Bytes of an array: several times the largest cache, within what a small machine has.
        const LEAST: usize = 128 << 20;
        const MOST: usize = 256 << 20;
        const CACHES: usize = 4;
        let mut products = Products::on_all_threads();
        let flops = 2.0 * products.multiply_adds() as f64 / best(|| products.run());
        drop(products);
        let array = machine::largest_cache_bytes().map_or(LEAST, |bytes| (CACHES * bytes).clamp(LEAST, MOST));
        let mut stream = Stream::new(array);
        Ceilings { flops, bandwidth: stream.bytes() as f64 / best(|| stream.run()) }
    }

    /// Seconds that work takes at least, and what it waits for then; none where there is no work.
    pub(super) fn least_seconds(&self, work: Work) -> Option<(f64, Bound)> {
        let compute = 2.0 * work.multiply_adds as f64 / self.flops;
        let memory = work.bytes as f64 / self.bandwidth;
        let bound = if compute > memory { Bound::Compute } else { Bound::Memory };
        Some((compute.max(memory), bound)).filter(|(least, _)| *least > 0.0)
    }
}

/// The shortest of several runs, in seconds, after one that is not counted.
fn best(mut run: impl FnMut()) -> f64 {
    const LEAST: usize = 7;
    const PATIENCE: Duration = Duration::from_millis(400);
    run();
    let (begun, mut best, mut runs) = (Instant::now(), f64::INFINITY, 0);
    while runs < LEAST || begun.elapsed() < PATIENCE {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_secs_f64());
        runs += 1;
    }
    best
}

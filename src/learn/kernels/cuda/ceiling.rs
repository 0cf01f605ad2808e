//! What a GPU does best: a large product and a large copy, timed by events of the device, so that neither launches nor the host
//! count. The CPU's are in `ceiling.rs`.

use candle_core::{
    Result,
    cuda_backend::{WrapErr, cudarc::driver::sys::CUevent_flags},
};

use super::{Buffer, Element, Gpu, Matrix, Sizes};
use crate::learn::kernels::Precision;

/// Runs that are timed, after one that is not.
const RUNS: usize = 7;
/// Seconds of a run that are enough for a device to show what it can.
const ENOUGH: f64 = 1e-3;

/// Floating-point operations a second of the largest square product that is tried, a multiply-add being two: `precision` as a
/// training has it for its convolutions. Sides double until a product takes long enough.
pub fn flops(gpu: &Gpu, precision: Precision) -> Result<f64> {
    match precision {
        Precision::F32 | Precision::Tf32 => flops_of::<f32>(gpu, precision, pattern),
        Precision::Bf16 => flops_of::<u16>(gpu, precision, |index| (pattern(index).to_bits() >> 16) as u16),
    }
}

fn flops_of<T: Element>(gpu: &Gpu, precision: Precision, value: impl Fn(usize) -> T) -> Result<f64> {
    const SMALLEST: usize = 256;
    const LARGEST: usize = 8192;
    let mut side = SMALLEST;
    loop {
        // Zeros would be multiplied faster: they take less power.
        let factor: Vec<T> = (0..side * side).map(&value).collect();
        let (a, b, out) = (gpu.upload(&factor)?, gpu.upload(&factor)?, gpu.zeros::<f32>(side * side)?);
        let sizes = Sizes { rows: side, columns: side, inner: side, count: 1 };
        let seconds = best(gpu, || {
            let [a, b] = [&a, &b].map(|factor| Matrix::new(factor.input(), side));
            gpu.multiply(precision, sizes, a, b, Matrix::new(out.output(), side), false)
        })?;
        if seconds >= ENOUGH || side == LARGEST {
            return Ok(2.0 * (side as f64).powi(3) / seconds);
        }
        side *= 2;
    }
}

/// Bytes a second, read and written, of the largest copy that is tried. Sizes double until a copy takes long enough, and are by
/// then beyond any cache.
pub fn bandwidth(gpu: &Gpu) -> Result<f64> {
    const SMALLEST: usize = 16 << 20;
    const LARGEST: usize = 2 << 30;
    let mut bytes = SMALLEST;
    loop {
        let (from, mut to): (Buffer<f32>, Buffer<f32>) = (gpu.zeros(bytes / 4)?, gpu.zeros(bytes / 4)?);
        let seconds = best(gpu, || gpu.stream.memcpy_dtod(&from.0, &mut to.0).w())?;
        if seconds >= ENOUGH || bytes == LARGEST {
            return Ok(2.0 * bytes as f64 / seconds);
        }
        bytes *= 2;
    }
}

/// A value in −1..1 that looks like no other.
fn pattern(index: usize) -> f32 {
    let bits = (index as u32).wrapping_mul(0x9e37_79b9) >> 8;
    bits as f32 / (1u32 << 23) as f32 - 1.0
}

/// The least seconds that the device took for `work`.
fn best(gpu: &Gpu, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let now = || gpu.stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).w();
    work()?;
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let begun = now()?;
        work()?;
        // Waits for both.
        best = best.min(f64::from(begun.elapsed_ms(&now()?).w()?) / 1e3);
    }
    // An event counts in half microseconds.
    Ok(best.max(5e-7))
}

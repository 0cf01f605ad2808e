//! Devices by their names.

use candle_core::{Device, Result};

use crate::device::Place;

/// The device at `place`.
///
/// Errors, each with its mend: a program without CUDA; no driver, too old a driver, no such GPU, no memory on it.
pub fn open_device(place: Place) -> Result<Device> {
    match place {
        Place::Cpu => Ok(Device::Cpu),
        Place::Cuda(number) => open_cuda(number),
    }
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(number: usize) -> Result<Device> {
    candle_core::bail!(
        "cuda:{number}: this program was built without CUDA; build it with `cargo build --release --locked --features cuda`, \
         which needs the CUDA toolkit"
    )
}

#[cfg(feature = "cuda")]
fn open_cuda(number: usize) -> Result<Device> {
    // A stream of its own: the default one cannot be captured.
    let device = Device::new_cuda_with_stream(number)?;
    super::cuda::Gpu::of(&device)?;
    Ok(device)
}

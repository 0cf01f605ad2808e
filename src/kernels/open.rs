//! Devices by their names, and what they are.

use candle_core::{Device, Result};
use serde::Serialize;

use crate::{device::Place, machine};

/// The device at `place`.
///
/// Errors, each with its mend: a program without CUDA; no driver, too old a driver, no such GPU, no memory on it.
pub fn open_device(place: Place) -> Result<Device> {
    match place {
        Place::Cpu => Ok(Device::Cpu),
        Place::Cuda(number) => open_cuda(number),
    }
}

/// What a device is, for whoever reads figures that were measured on it. What cannot be found out is absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Description {
    pub name: String,
    /// Of a GPU, as in `9.0`.
    pub compute_capability: Option<String>,
    /// Version of a GPU's driver, as in `580.65.06`.
    pub driver: Option<String>,
    /// The latest CUDA that the driver is for, as in `13.0`.
    pub cuda: Option<String>,
}

/// What `device` is.
pub fn describe(device: &Device) -> Description {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = device {
        return super::cuda::describe(device);
    }
    let name = if device.is_cpu() { machine::processor() } else { None };
    let name = name.unwrap_or_else(|| format!("{:?}", device.location()).to_lowercase());
    Description { name, compute_capability: None, driver: None, cuda: None }
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

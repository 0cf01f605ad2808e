//! Where a command computes, and in which precision.

use anyhow::Result;
use candle_core::Device;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use fastrcaps::{device::Place, kernels::open_device, model::config::Precision};

/// `--device`, for commands that compute in their own process.
#[derive(clap::Args)]
pub struct DeviceArg {
    /// Where to compute: cpu, or cuda:N, the GPUs as nvidia-smi numbers them
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: Place,
}

impl DeviceArg {
    /// Errors: no such device, a driver or a program that cannot use it.
    pub fn open(&self) -> Result<Device> {
        Ok(open_device(self.device)?)
    }
}

/// Takes the name of a precision, as configurations have it.
pub fn precisions() -> impl TypedValueParser<Value = Precision> {
    let all = [Precision::F32, Precision::Tf32, Precision::Bf16];
    let named = move |name: String| all.into_iter().find(|of| of.as_str() == name).ok_or("no precision");
    PossibleValuesParser::new(all.map(Precision::as_str)).try_map(named)
}

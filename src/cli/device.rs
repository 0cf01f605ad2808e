//! On which device a command computes, and in which precision.

use anyhow::Result;
use candle_core::Device;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use fastrcaps::{
    base::{
        device::{Gpu, Place},
        machine,
    },
    learn::{config::TrialConfig, kernels::open_device, model::config::Precision},
};
use serde_json::json;

/// `--device D`, for commands that train or time.
#[derive(Clone, Copy, clap::Args)]
pub struct DeviceArg {
    /// Device to compute on: cpu, or a GPU, as in cuda:0 for the first that nvidia-smi lists
    #[arg(long, value_name = "DEVICE", default_value_t = Place::Cpu)]
    device: Place,
}

impl DeviceArg {
    pub fn place(self) -> Place {
        self.device
    }

    /// Opens it for `config`.
    ///
    /// Errors: it cannot be opened, or cannot train this.
    pub fn open(self, config: &TrialConfig) -> Result<Device> {
        check(self.device, config)?;
        Ok(open_device(self.device)?)
    }
}

/// Whether the device can train this.
pub fn check(place: Place, config: &TrialConfig) -> Result<()> {
    if place.is_cpu() { Ok(config.check_for_cpu()?) } else { Ok(()) }
}

/// Takes the name of a precision, as configurations have it.
pub fn precisions() -> impl TypedValueParser<Value = Precision> {
    let all = [Precision::F32, Precision::Tf32, Precision::Bf16];
    let named = move |name: String| all.into_iter().find(|of| of.as_str() == name).ok_or("no precision");
    PossibleValuesParser::new(all.map(Precision::as_str)).try_map(named)
}

/// What a GPU is, in words.
pub fn words(gpu: &Gpu) -> String {
    let [major, minor] = gpu.capability;
    let driver = machine::gpu::driver().or_else(|| gpu.driver.clone()).unwrap_or_else(|| "of unknown version".into());
    format!("{}, compute capability {major}.{minor}, driver {driver}", gpu.name)
}

/// What figures were measured on, for JSON.
pub fn device_object(place: Place, gpu: Option<&Gpu>) -> serde_json::Value {
    json!({
        "place": place.to_string(),
        "name": gpu.map(|gpu| gpu.name.clone()).or_else(machine::processor),
        "driver": gpu.and_then(|gpu| machine::gpu::driver().or_else(|| gpu.driver.clone())),
        "compute_capability": gpu.map(|gpu| gpu.capability.map(|number| number.to_string()).join(".")),
        "memory_bytes": gpu.map(|gpu| gpu.memory_bytes),
    })
}

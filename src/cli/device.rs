//! On which device a command computes.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use candle_core::Device;
use fastrcaps::{
    config::TrialConfig,
    device::{Gpu, Place},
    executor::probe,
    kernels::open_device,
    machine,
};

/// `--device D`, for commands that train or time.
#[derive(Clone, Copy, clap::Args)]
pub struct DeviceArg {
    /// Where to compute: cpu, or a GPU, cuda:0 for the first that nvidia-smi lists
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

/// The GPUs among `places`, each opened once by a process of its own.
///
/// Errors: one that cannot be used, with the reason and the mend.
pub fn look_at(places: impl IntoIterator<Item = Place>) -> Result<BTreeMap<Place, Gpu>> {
    let program = machine::this_program().context("cannot find this program's own file")?;
    let gpus = places.into_iter().filter(|place| !place.is_cpu());
    gpus.map(|place| {
        // What hides it is told in the words that were used.
        place.environment()?;
        Ok((place, probe(&program, place)?))
    })
    .collect()
}

/// Whether the device can train this.
pub fn check(place: Place, config: &TrialConfig) -> Result<()> {
    if place.is_cpu() { Ok(config.check_for_cpu()?) } else { Ok(()) }
}

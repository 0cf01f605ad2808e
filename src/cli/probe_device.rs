//! `fastrcaps probe-device`: opens a device as a training does and says what it is. Started by who needs to know and holds no
//! GPU itself.

use std::process::ExitCode;

use anyhow::Result;
use fastrcaps::{
    base::{device::Gpu, machine},
    learn::kernels::open::{describe, open_device},
};

use super::{device::DeviceArg, input::outln};

/// Open a GPU, and print what it is as JSON.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    device: DeviceArg,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let device = open_device(args.device.place())?;
    if let Some(gpu) = describe(&device)? {
        let driver = machine::gpu::driver().or(gpu.driver);
        outln!("{}", serde_json::to_string(&Gpu { driver, ..gpu })?);
    }
    Ok(ExitCode::SUCCESS)
}

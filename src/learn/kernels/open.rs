//! Devices by their names, what they are, and what their errors mean.
//!
//! A program with CUDA links libcuda.so.1, which comes with the driver: where that is missing, the system's loader ends the
//! program before it can say anything of its own (`error while loading shared libraries: libcuda.so.1`).

use candle_core::{Device, Result};

use crate::base::device::{BUS_ORDER, Gpu, ORDER, Place};

/// Has the CUDA driver number GPUs as `nvidia-smi` does, unless the environment says otherwise. To be called first of all in a
/// program: before any thread is started, and before the driver is.
pub fn number_gpus_by_bus() {
    if std::env::var_os(ORDER).is_none() {
        // SAFETY: nothing else reads or writes the environment meanwhile, as the caller ensures that there is no other thread.
        unsafe { std::env::set_var(ORDER, BUS_ORDER) };
    }
}

/// The device at `place`.
///
/// Errors, each with its mend: a program without CUDA; no driver, too old a driver, no such GPU, one that cannot run the
/// kernels, no memory on it.
pub fn open_device(place: Place) -> Result<Device> {
    match place {
        Place::Cpu => Ok(Device::Cpu),
        Place::Cuda(number) => open_cuda(number),
    }
}

/// What a GPU is, and what is free of it; nothing of CPU cores.
///
/// Errors: the driver does not say.
pub fn describe(device: &Device) -> Result<Option<Gpu>> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => gpu::describe(device).map(Some),
        _ => Ok(None),
    }
}

/// The name of a GPU, where it says one; nothing of CPU cores.
pub fn gpu_name(device: &Device) -> Option<String> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => device.cuda_stream().context().name().ok(),
        _ => None,
    }
}

/// What an error of the CUDA driver says of a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The GPU has too little memory left.
    Memory,
    /// The driver or the GPU cannot be used as they are: the same training may go well another time, or elsewhere.
    Machine,
}

/// Errors of the driver that say more than that a kernel or its call is wrong: what they mean, and the mend.
const TROUBLES: &[(&str, Trouble, &str)] = &[
    (
        "CUDA_ERROR_OUT_OF_MEMORY",
        Trouble::Memory,
        "the GPU has too little memory free: let fewer trials share it, as in --slots cuda:0 instead of cuda:0x2, take a smaller \
         batch, or end what else computes there (nvidia-smi lists it)",
    ),
    (
        "CUBLAS_STATUS_ALLOC_FAILED",
        Trouble::Memory,
        "the GPU has too little memory free for cuBLAS: let fewer trials share it, or end what else computes there (nvidia-smi \
         lists it)",
    ),
    (
        "CUDA_ERROR_NO_DEVICE",
        Trouble::Machine,
        "the driver shows this program no GPU: `nvidia-smi -L` lists those that it has, CUDA_VISIBLE_DEVICES hides some, and a \
         container has to be given them (docker run --gpus all)",
    ),
    (
        "CUDA_ERROR_STUB_LIBRARY",
        Trouble::Machine,
        "the toolkit's stub of libcuda.so.1 was loaded instead of the driver's: take its folder out of LD_LIBRARY_PATH",
    ),
    (
        "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
        Trouble::Machine,
        "the driver is too old for the CUDA toolkit that this program was built with: update it (series 580 or later for CUDA \
         13.0), or build with the toolkit of the CUDA version that `nvidia-smi` names",
    ),
    (
        "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
        Trouble::Machine,
        "libcuda and the driver's module in the kernel are of two versions, as after an update: restart the machine",
    ),
    (
        "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE",
        Trouble::Machine,
        "CUDA's compatibility library does not serve this GPU: take it out of LD_LIBRARY_PATH, and update the driver",
    ),
    (
        "CUDA_ERROR_SYSTEM_NOT_READY",
        Trouble::Machine,
        "a service of the driver does not run: on machines with NVSwitch that is nvidia-fabricmanager",
    ),
    (
        "CUDA_ERROR_DEVICE_UNAVAILABLE",
        Trouble::Machine,
        "the GPU is busy or in exclusive mode: end what computes there, or set it free with `nvidia-smi -c DEFAULT`",
    ),
    (
        "CUDA_ERROR_ECC_UNCORRECTABLE",
        Trouble::Machine,
        "the GPU's memory has an error that cannot be corrected: `nvidia-smi -q -d ECC`",
    ),
    ("CUDA_ERROR_DEVICE_NOT_LICENSED", Trouble::Machine, "this virtual GPU has no licence to compute"),
    ("CUDA_ERROR_NVLINK_UNCORRECTABLE", Trouble::Machine, "the GPU's NVLink has an error: restart the machine"),
    ("CUDA_ERROR_HARDWARE_STACK_ERROR", Trouble::Machine, "the GPU has an error: see the system's log for its Xid"),
    ("CUDA_ERROR_CONTAINED", Trouble::Machine, "the GPU has an error: see the system's log for its Xid"),
    (
        "CUDA_ERROR_LAUNCH_TIMEOUT",
        Trouble::Machine,
        "the GPU serves a screen, whose watchdog ended a kernel: use another",
    ),
    ("CUDA_ERROR_MPS_", Trouble::Machine, "the multi-process service does not answer: restart nvidia-cuda-mps-control"),
    ("CUDA_ERROR_OPERATING_SYSTEM", Trouble::Machine, "the system refused the driver something: see the system's log"),
    (
        "CUDA_ERROR_UNKNOWN",
        Trouble::Machine,
        "the driver does not say why: see the system's log for an Xid; after a suspend or an update, restart the machine",
    ),
];

/// What the error of this text says, if it is one of the driver's that says something.
pub fn trouble(text: &str) -> Option<Trouble> {
    TROUBLES.iter().find(|(code, ..)| text.contains(code)).map(|(_, trouble, _)| *trouble)
}

/// What to do about the error of this text, if that is known.
pub fn mend(text: &str) -> Option<&'static str> {
    TROUBLES.iter().find(|(code, ..)| text.contains(code)).map(|(.., mend)| *mend)
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(number: usize) -> Result<Device> {
    candle_core::bail!(
        "cuda:{number}: this program was built without CUDA; build it with `cargo build --release --locked --features cuda`, \
         which needs the CUDA toolkit"
    )
}

#[cfg(feature = "cuda")]
use gpu::open as open_cuda;

#[cfg(feature = "cuda")]
mod gpu {
    use candle_core::{
        CudaDevice, Device, Error, Result, bail,
        cuda_backend::{
            WrapErr,
            cudarc::driver::{CudaContext, result, sys},
        },
    };

    use super::mend;
    use crate::base::device::{Gpu, VISIBLE};

    /// The least compute capability whose devices run the kernels.
    const LEAST: (i32, i32) = (8, 0);

    pub fn open(number: usize) -> Result<Device> {
        let place = format!("cuda:{number}");
        let explained = |doing: &str, error: &dyn std::fmt::Display| {
            let text = error.to_string();
            let mend = mend(&text).map_or(String::new(), |mend| format!("; {mend}"));
            Error::msg(format!("{place}: {doing}: {text}{mend}"))
        };
        result::init().map_err(|error| explained("the CUDA driver does not start", &error))?;
        let count = result::device::get_count().map_err(|error| explained("the GPUs cannot be counted", &error))?;
        if number >= count as usize {
            let there = match count {
                0 => "no GPU".to_string(),
                1 => "one GPU, cuda:0".to_string(),
                count => format!("{count} GPUs, cuda:0 to cuda:{}", count - 1),
            };
            let shown = std::env::var(VISIBLE).map_or(String::new(), |shown| format!(" with {VISIBLE}={shown}"));
            bail!("there is no {place}: the driver shows this program {there}{shown}; `nvidia-smi -L` lists all");
        }
        let context = CudaContext::new(number).map_err(|error| explained("it cannot be opened", &error))?;
        let capability =
            context.compute_capability().map_err(|error| explained("it does not say what it can", &error))?;
        if capability < LEAST {
            bail!(
                "{place} is {}, of compute capability {}.{}: the kernels need {}.{} or later (Ampere, from 2020 on); name another \
                 GPU, or train on CPU cores with --device cpu",
                context.name().unwrap_or_else(|_| "of no name".into()),
                capability.0,
                capability.1,
                LEAST.0,
                LEAST.1
            );
        }
        // A stream of its own: the default one cannot be captured.
        let device = Device::new_cuda_with_stream(number).map_err(|error| explained("it cannot be opened", &error))?;
        super::super::cuda::Gpu::of(&device).map_err(|error| explained("it cannot be opened", &error))?;
        Ok(device)
    }

    pub fn describe(device: &CudaDevice) -> Result<Gpu> {
        let stream = device.cuda_stream();
        let context = stream.context();
        let (major, minor) = context.compute_capability().w()?;
        let (free, total) = context.mem_get_info().w()?;
        Ok(Gpu {
            name: context.name().w()?,
            uuid: uuid(context.uuid().w()?.bytes.map(|byte| byte as u8)),
            capability: [major, minor].map(|number| number as u32),
            memory_bytes: total as u64,
            free_bytes: free as u64,
            driver: cuda_of_driver().map(|cuda| format!("for CUDA {}.{}", cuda / 1000, cuda % 1000 / 10)),
        })
    }

    /// As `nvidia-smi -L` has it.
    fn uuid(bytes: [u8; 16]) -> String {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("GPU-{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }

    /// The CUDA version that the driver is for, as in 13000 for 13.0.
    fn cuda_of_driver() -> Option<i32> {
        let mut version = 0;
        // SAFETY: writes the version into the one integer that it is given.
        unsafe { sys::cuDriverGetVersion(&mut version) }.result().ok().map(|()| version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_driver_says_whose_fault_it_is_and_what_to_do() {
        let full = "no 300 MiB of GPU memory: 12 of 80994 MiB are free (DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\"))";
        assert_eq!(trouble(full), Some(Trouble::Memory));
        assert!(mend(full).unwrap().contains("--slots cuda:0"));
        let none = "DriverError(CUDA_ERROR_NO_DEVICE, \"no CUDA-capable device is detected\")";
        assert_eq!(trouble(none), Some(Trouble::Machine));
        assert_eq!(trouble("DriverError(CUDA_ERROR_MPS_CONNECTION_FAILED, \"x\")"), Some(Trouble::Machine));
        // A wrong kernel is wrong the next time, too.
        for text in ["DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, \"an illegal memory access\")", "no such file", ""] {
            assert_eq!((trouble(text), mend(text)), (None, None), "{text}");
        }
    }

    #[test]
    fn cpu_cores_are_there_and_no_gpu() {
        let device = open_device(Place::Cpu).unwrap();
        assert_eq!((describe(&device).unwrap(), gpu_name(&device)), (None, None));
    }

    #[test]
    #[cfg(not(feature = "cuda"))]
    fn a_program_without_cuda_says_how_to_build_one_that_has_it() {
        let error = open_device(Place::Cuda(1)).unwrap_err().to_string();
        assert!(
            error.contains("cuda:1: this program was built without CUDA") && error.contains("--features cuda"),
            "{error}"
        );
    }
}

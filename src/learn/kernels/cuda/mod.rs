//! The device layer: buffers on a CUDA GPU, and launches of the kernels that stand as `.cu` beside their references; in
//! `product.rs`, products by cuBLAS. Everything of a [`Gpu`] happens on one stream, in the order of the calls.
//!
//! What a kernel reads and writes are views ([`Input`], [`Output`]): values on the device with their number, that are held while
//! the kernel is enqueued. [`Gpu::launch`] is unsafe, as only the kernel's source says what it touches. The functions around the
//! kernels ask each view for as many values as theirs will touch, and so are safe. Unsafe are those whose kernels take a place from
//! the device itself, by a cursor that moves with every step.

pub mod adam;
pub mod batch;
mod buffer;
pub mod ceiling;
pub mod class_capsules;
pub mod conv2d;
pub(super) mod grid;
mod launch;
pub mod linear;
pub mod loss;
pub mod max_pool;
pub mod permute;
pub mod product;
pub mod relu;
pub mod squash;
pub mod sums;
pub(super) mod tensors;
mod view;

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use candle_core::{
    CudaDevice, Device, Error, Result, bail,
    cuda_backend::{
        DeviceId, WrapErr,
        cudarc::{
            cublas::{CudaBlas, sys as blas_sys},
            driver::{
                CudaFunction, CudaModule, CudaSlice, CudaStream, DevicePtr, LaunchConfig, PushKernelArg,
                result as driver, sys,
            },
        },
    },
};

pub use buffer::Buffer;
pub use conv2d::Conv2d;
pub(crate) use launch::arguments;
pub use launch::{Argument, Dim, Pointer};
pub use linear::{OutputGradient, linear_backward, linear_forward};
pub use max_pool::Images;
pub use permute::permute_4d;
pub use product::{Element, Matrix, Sizes};
pub use relu::{relu_backward, relu_forward};
pub use sums::column_sums;
pub use view::{Input, Output, StreamId};

/// Every `.cu` and its PTX.
static PTX: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/ptx.rs"));

/// Bytes that cuBLAS may use beside its operands. Of its own it would allocate as it goes, which a captured step must not do.
const WORKSPACE: usize = 32 << 20;
/// Bytes of shared memory that a block has without being asked for.
const SHARED_BY_DEFAULT: u32 = 48 << 10;

/// A CUDA device, its stream, and the kernels of this program on it.
pub struct Gpu {
    device: CudaDevice,
    stream: Arc<CudaStream>,
    blas: Arc<CudaBlas>,
    modules: Mutex<HashMap<&'static str, Arc<CudaModule>>>,
    /// By module and name.
    functions: Mutex<HashMap<(&'static str, &'static str), Loaded>>,
    /// Of the products.
    workspace: CudaSlice<u8>,
}

/// A kernel on the device.
struct Loaded {
    function: CudaFunction,
    /// Bytes of shared memory that its blocks may have.
    shared: u32,
}

/// What is known of every device that was used.
static GPUS: Mutex<Vec<(DeviceId, Arc<Gpu>)>> = Mutex::new(Vec::new());

impl Gpu {
    /// That of a tensor's device.
    ///
    /// Errors: not a CUDA device; no memory for the workspace.
    pub fn of(device: &Device) -> Result<Arc<Gpu>> {
        match device {
            Device::Cuda(device) => Gpu::of_cuda(device),
            _ => bail!("expected a CUDA device, got {device:?}"),
        }
    }

    /// The same.
    pub fn of_cuda(device: &CudaDevice) -> Result<Arc<Gpu>> {
        let mut gpus = lock(&GPUS);
        if let Some((_, gpu)) = gpus.iter().find(|(id, _)| *id == device.id()) {
            return Ok(gpu.clone());
        }
        let gpu = Arc::new(Gpu::new(device.clone())?);
        gpus.push((device.id(), gpu.clone()));
        Ok(gpu)
    }

    fn new(device: CudaDevice) -> Result<Gpu> {
        // SAFETY: candle's tensors of this device and this layer's buffers are used on the device's one stream alone, so that its
        // order is all that events would ensure.
        unsafe { device.disable_event_tracking() };
        let (stream, blas) = (device.cuda_stream(), device.cublas_handle());
        // Who waits for the device sleeps: cores are for trials.
        stream.context().set_blocking_synchronize().w()?;
        // SAFETY: written by cuBLAS before it reads it.
        let workspace = unsafe { stream.alloc::<u8>(WORKSPACE) }.w()?;
        let at = workspace.device_ptr(&stream).0;
        // SAFETY: the workspace lives as long as this value, which holds the handle; it is set for the handle's stream.
        unsafe { blas_sys::cublasSetWorkspace_v2(*blas.handle(), at as *mut _, WORKSPACE) }.result().w()?;
        Ok(Gpu { device, stream, blas, modules: Mutex::default(), functions: Mutex::default(), workspace })
    }

    pub fn device(&self) -> &CudaDevice {
        &self.device
    }

    /// As the driver calls it.
    pub fn name(&self) -> Result<String> {
        self.stream.context().name().w()
    }

    pub fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// Waits until the device has done everything it was asked for.
    pub fn synchronize(&self) -> Result<()> {
        self.stream.synchronize().w()
    }

    /// Keeps the device occupied for some tenths of a millisecond, in which the host can enqueue what is to be done without a pause.
    pub fn occupy(&self) -> Result<()> {
        /// Each takes about ten microseconds of a fast GPU's memory bandwidth.
        const TIMES: usize = 40;
        let at = self.workspace.device_ptr(&self.stream).0;
        for _ in 0..TIMES {
            // SAFETY: the workspace is this value's own; products that use it are on the same stream, before or after.
            unsafe { driver::memset_d8_async(at, 0, WORKSPACE, self.stream.cu_stream()) }.w()?;
        }
        Ok(())
    }

    /// Calls kernel `name` of `module`.cu.
    ///
    /// Errors: an operand of another stream; a grid or a block that the device does not take.
    ///
    /// # Safety
    /// The arguments are those that the kernel declares, in number, order and type, and what it reads and writes by them for
    /// this grid lies within the values of the views they come from.
    pub unsafe fn launch(
        &self,
        (module, name): (&'static str, &'static str),
        grid: impl Into<Dim>,
        block: impl Into<Dim>,
        shared_bytes: usize,
        arguments: &[Argument<'_>],
    ) -> Result<()> {
        let (Dim(grid), Dim(block)) = (grid.into(), block.into());
        if grid.contains(&0) {
            return Ok(());
        }
        let shared = shared_bytes as u32;
        let function = self.function(module, name, shared)?;
        let mut builder = self.stream.launch_builder(&function);
        for argument in arguments {
            match argument {
                Argument::Pointer(pointer) => {
                    self.check_stream(name, pointer.stream)?;
                    builder.arg(&pointer.at)
                }
                Argument::Int(value) => builder.arg(value),
                Argument::Long(value) => builder.arg(value),
                Argument::Float(value) => builder.arg(value),
            };
        }
        let config = LaunchConfig { grid_dim: grid.into(), block_dim: block.into(), shared_mem_bytes: shared };
        // SAFETY: what the caller ensures.
        let launched = unsafe { builder.launch(config) };
        launched.map_err(|error| Error::msg(format!("kernel {name} with grid {grid:?}, block {block:?}: {error}")))?;
        Ok(())
    }

    /// Whether an operand is of this stream: in another's order it may not be written yet, or given back already.
    fn check_stream(&self, what: &str, stream: Option<StreamId>) -> Result<()> {
        match stream {
            Some(stream) if stream != StreamId::of(&self.stream) => bail!("{what}: an operand of another stream"),
            _ => Ok(()),
        }
    }

    /// The kernel, whose blocks may have `shared` bytes. What it was once allowed stays: a launch that was captured may need it.
    fn function(&self, module: &'static str, name: &'static str, shared: u32) -> Result<CudaFunction> {
        let mut functions = lock(&self.functions);
        let Loaded { function, shared: allowed } = match functions.entry((module, name)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let function = self
                    .module(module)?
                    .load_function(name)
                    .map_err(|error| Error::msg(format!("the kernels of {module}.cu have no {name}: {error}")))?;
                place.insert(Loaded { function, shared: SHARED_BY_DEFAULT })
            }
        };
        if shared > *allowed {
            let most = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function.set_attribute(most, shared as i32).w()?;
            *allowed = shared;
        }
        Ok(function.clone())
    }

    fn module(&self, name: &'static str) -> Result<Arc<CudaModule>> {
        let mut modules = lock(&self.modules);
        if let Some(module) = modules.get(name) {
            return Ok(module.clone());
        }
        let Some((_, ptx)) = PTX.iter().find(|(known, _)| *known == name) else {
            bail!("there is no {name}.cu in this program")
        };
        let module = self.stream.context().load_module((*ptx).into()).map_err(|error| {
            let major_minor = self.stream.context().compute_capability().unwrap_or((0, 0));
            Error::msg(format!(
                "the kernels of {name}.cu cannot be loaded: {error}. They need a GPU of compute capability 8.0 or later (this one \
                 has {}.{}) and a driver for CUDA 13.0 or later (series 580); a program built without nvcc holds none",
                major_minor.0, major_minor.1
            ))
        })?;
        modules.insert(name, module.clone());
        Ok(module)
    }

    /// The error of an allocation of `bytes`, with what is free.
    fn explain(&self, error: candle_core::cuda_backend::CudaError, bytes: usize) -> Error {
        let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
        match self.stream.context().mem_get_info() {
            Ok((free, total)) => Error::msg(format!(
                "no {:.0} MiB of GPU memory: {:.0} of {:.0} MiB are free ({error})",
                mib(bytes),
                mib(free),
                mib(total)
            )),
            Err(_) => Error::msg(format!("no {:.0} MiB of GPU memory: {error}", mib(bytes))),
        }
    }
}

/// A panic under a lock here leaves whole values.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

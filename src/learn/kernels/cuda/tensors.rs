//! From candle's tensors to views that kernels take, and from buffers to tensors.

use candle_core::{CudaStorage, Layout, Result, Shape, Storage, Tensor, bail, op::BackpropOp};

use super::{Buffer, Gpu, Input};

/// The values of a contiguous f32 operand.
///
/// Errors: values that are not contiguous, or of another type.
pub fn input<'a>(storage: &'a CudaStorage, layout: &Layout) -> Result<Input<'a, f32>> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(Input::of(storage.as_cuda_slice::<f32>()?, start..end)),
        None => bail!("operand of shape {:?} has to be contiguous", layout.shape()),
    }
}

/// The same of a tensor whose storage is held.
///
/// Errors: one on another device, besides those of [`input`].
pub fn held_input<'a>(storage: &'a Storage, layout: &Layout) -> Result<Input<'a, f32>> {
    match storage {
        Storage::Cuda(storage) => input(storage, layout),
        _ => bail!("operand of shape {:?} has to be on the GPU", layout.shape()),
    }
}

/// A buffer as the storage that an op gives back.
pub fn wrap(gpu: &Gpu, buffer: Buffer<f32>) -> CudaStorage {
    CudaStorage::wrap_cuda_slice(buffer.into_slice(), gpu.device().clone())
}

/// A buffer as a tensor of its own, as a gradient is given back.
///
/// # Panics
/// When the shape has another number of values than the buffer.
pub fn tensor(gpu: &Gpu, buffer: Buffer<f32>, shape: impl Into<Shape>) -> Tensor {
    let shape = shape.into();
    assert_eq!(buffer.len(), shape.elem_count(), "values of a tensor of shape {shape:?}");
    Tensor::from_storage(Storage::Cuda(wrap(gpu, buffer)), shape, BackpropOp::none(), false)
}

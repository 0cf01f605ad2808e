//! Memory on a device.

use candle_core::{
    Result,
    cuda_backend::{
        WrapErr,
        cudarc::driver::{CudaSlice, DeviceRepr, ValidAsZeroBits},
    },
};

use super::{
    Gpu,
    view::{Input, Output},
};

/// Values on the device.
pub struct Buffer<T>(pub(super) CudaSlice<T>, usize);

impl Gpu {
    /// A buffer of `len` values of 0.
    pub fn zeros<T: DeviceRepr + ValidAsZeroBits>(&self, len: usize) -> Result<Buffer<T>> {
        // An allocation of nothing is an error to CUDA.
        Ok(Buffer(
            self.stream.alloc_zeros(len.max(1)).map_err(|error| self.explain(error.into(), len * size_of::<T>()))?,
            len,
        ))
    }

    /// A copy of `values` on the device.
    pub fn upload<T: DeviceRepr + ValidAsZeroBits>(&self, values: &[T]) -> Result<Buffer<T>> {
        let mut buffer = self.zeros(values.len())?;
        buffer.fill_from(self, values)?;
        Ok(buffer)
    }
}

impl<T: DeviceRepr> Buffer<T> {
    pub fn len(&self) -> usize {
        self.1
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its values, for a kernel that reads them.
    pub fn input(&self) -> Input<'_, T> {
        Input::of(&self.0, 0..self.len())
    }

    /// Its values, for a kernel that writes them.
    pub fn output(&self) -> Output<'_, T> {
        Output::new(self.input())
    }

    /// Copies `values` to its beginning.
    pub fn fill_from(&mut self, gpu: &Gpu, values: &[T]) -> Result<()> {
        if values.is_empty() { Ok(()) } else { gpu.stream.memcpy_htod(values, &mut self.0).w() }
    }

    /// A copy of all values, once the device has come to them.
    pub fn download(&self, gpu: &Gpu) -> Result<Vec<T>> {
        let mut values = gpu.stream.clone_dtoh(&self.0).w()?;
        values.truncate(self.len());
        Ok(values)
    }

    /// Sets all values to 0.
    pub fn clear(&mut self, gpu: &Gpu) -> Result<()>
    where
        T: ValidAsZeroBits,
    {
        gpu.stream.memset_zeros(&mut self.0).w()
    }

    /// Its values, as candle's storage takes them.
    pub fn into_slice(self) -> CudaSlice<T> {
        self.0
    }
}

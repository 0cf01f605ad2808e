//! From tensors to slices of floats, and from slices to tasks for threads.

use std::{cell::RefCell, marker::PhantomData, ops::Range};

use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Result, Storage, Tensor, bail};
use rayon::prelude::*;

use super::real::Real;

/// Whether a fast op can run here; elsewhere its reference does.
pub(super) fn is_fast(tensor: &Tensor) -> bool {
    is_fast_on_cpu(tensor) || cfg!(feature = "cuda") && tensor.device().is_cuda() && tensor.dtype() == DType::F32
}

/// Whether an op that has no kernel for a GPU can run here.
pub(super) fn is_fast_on_cpu(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && matches!(tensor.dtype(), DType::F32 | DType::F64)
}

/// The values of a contiguous operand.
pub(super) fn values<'a, T: Real>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&T::cpu_storage_as_slice(storage)?[start..end]),
        None => bail!("operand of shape {:?} has to be contiguous", layout.shape()),
    }
}

/// The values of a contiguous CPU tensor whose storage is held.
pub(super) fn cpu_values<'a, T: Real>(storage: &'a Storage, layout: &Layout) -> Result<&'a [T]> {
    match storage {
        Storage::Cpu(storage) => values(storage, layout),
        _ => bail!("operand of shape {:?} has to be on the CPU", layout.shape()),
    }
}

/// Calls `task` with the values of a contiguous tensor on the CPU.
pub fn with_values<T: Real, R>(tensor: &Tensor, task: impl FnOnce(&[T]) -> R) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    Ok(task(cpu_values(&storage, layout)?))
}

/// [`with_values`], to be changed: of every tensor that shares them.
pub fn with_values_mut<T: Real, R>(tensor: &Tensor, task: impl FnOnce(&mut [T]) -> R) -> Result<R> {
    InPlace::of(tensor)?.with(task)
}

/// The values of a contiguous tensor on the CPU, to be changed in place.
pub(super) struct InPlace {
    /// The tensor's first value. candle's door to a storage is an op in place, before which it looks whether values overlap: of a
    /// single one it sees that without allocating.
    first: Tensor,
    range: Range<usize>,
}

impl InPlace {
    pub(super) fn of(tensor: &Tensor) -> Result<Self> {
        let Some((start, end)) = tensor.layout().contiguous_offsets() else {
            bail!("tensor of shape {:?} has to be contiguous", tensor.dims())
        };
        Ok(InPlace { first: tensor.detach().flatten_all()?.narrow(0, 0, 1)?, range: start..end })
    }

    /// Calls `task` with the values. Errors: another type, or another device.
    pub(super) fn with<T: Real, R>(&self, task: impl FnOnce(&mut [T]) -> R) -> Result<R> {
        struct Lend<'a, T, F, R> {
            range: &'a Range<usize>,
            task: RefCell<Option<F>>,
            result: RefCell<Option<R>>,
            float: PhantomData<T>,
        }
        impl<T: Real, R, F: FnOnce(&mut [T]) -> R> InplaceOp1 for Lend<'_, T, F, R> {
            fn name(&self) -> &'static str {
                "lend"
            }
            fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
                let values = &mut T::values_mut(storage)?[self.range.clone()];
                *self.result.borrow_mut() = self.task.take().map(|task| task(values));
                Ok(())
            }
        }
        let lend =
            Lend { range: &self.range, task: RefCell::new(Some(task)), result: RefCell::new(None), float: PhantomData };
        self.first.inplace_op1(&lend)?;
        Ok(lend.result.into_inner().expect("an op in place on the CPU calls cpu_fwd once, or fails"))
    }
}

/// Runs `$body` with `$t` bound to the float type of `$dtype`.
macro_rules! for_real {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $t = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $t = f64;
                $body
            }
            other => candle_core::bail!("expected f32 or f64, got {other:?}"),
        }
    };
}
pub(super) use for_real;

/// Threads a task may use: those of the rayon pool it runs in.
pub(super) fn threads() -> usize {
    rayon::current_num_threads()
}

/// Calls `task(i, chunk)` for every chunk of `chunk_len` values, on several threads where `work` (multiply-adds or
/// copies in all) is worth waking them. Chunks are disjoint, so that the result does not depend on who computes it.
pub(super) fn for_each_chunk<T: Send>(
    values: &mut [T],
    chunk_len: usize,
    work: usize,
    task: impl Fn(usize, &mut [T]) + Send + Sync,
) {
    if values.is_empty() {
    } else if is_worth_waking(work) {
        values.par_chunks_mut(chunk_len).enumerate().for_each(|(i, chunk)| task(i, chunk));
    } else {
        values.chunks_mut(chunk_len).enumerate().for_each(|(i, chunk)| task(i, chunk));
    }
}

/// Calls `task(i)` for every i below `count`, on several threads where `work` is worth waking them.
pub(super) fn for_each_index(count: usize, work: usize, task: impl Fn(usize) + Send + Sync) {
    if is_worth_waking(work) {
        (0..count).into_par_iter().with_max_len(1).for_each(task);
    } else {
        (0..count).for_each(task);
    }
}

/// Tasks that a thread takes at least, of a parallel iterator over `work`: all, where it is not worth waking another.
pub(super) fn least_tasks(work: usize) -> usize {
    if is_worth_waking(work) { 1 } else { usize::MAX }
}

/// Whether `work` (multiply-adds or copies) should be divided among threads.
pub(super) fn is_worth_waking(work: usize) -> bool {
    const WORTH_WAKING: usize = 1 << 16;
    threads() > 1 && work >= WORTH_WAKING
}

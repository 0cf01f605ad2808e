//! What kernels read and write: values on a device, with their number and how long they stay.
//!
//! A launch takes addresses, and the compiler sees none of them. These two types are the only way to one: they are made from
//! memory that is held, live no longer than that, and know how many values stand there and on whose stream. What enqueues a kernel
//! asks them for as many values as the kernel will touch ([`Input::need`]), and [`Gpu::launch`](super::Gpu::launch) refuses those of
//! another stream.
//!
//! Memory is given back in the order of its stream. So it is enough that it is held until a kernel is enqueued; who replays a
//! captured graph holds all that the graph was captured with.

use std::{marker::PhantomData, ops::Range, sync::Arc};

use candle_core::{
    Result, bail,
    cuda_backend::cudarc::driver::{CudaSlice, CudaStream, DevicePtr},
};

/// Values that a kernel reads.
pub struct Input<'a, T> {
    at: u64,
    len: usize,
    stream: StreamId,
    kind: PhantomData<&'a [T]>,
}

/// Values that a kernel writes, or reads and writes.
///
/// Several may stand for the same values, as [`Cell`](std::cell::Cell)s may: kernels of a stream run one after another, and what
/// they leave is a value of its type whatever its bits.
pub struct Output<'a, T>(Input<'a, T>);

/// Which stream memory belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamId(usize);

impl StreamId {
    pub(super) fn of(stream: &Arc<CudaStream>) -> StreamId {
        StreamId(Arc::as_ptr(stream) as usize)
    }
}

impl<T> Clone for Input<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Input<'_, T> {}

impl<T> Clone for Output<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Output<'_, T> {}

impl<'a, T> Input<'a, T> {
    /// Values of a slice that somebody holds.
    ///
    /// # Panics
    /// When they are not all in it.
    pub fn of(slice: &'a CudaSlice<T>, values: Range<usize>) -> Input<'a, T> {
        assert!(values.start <= values.end && values.end <= slice.len(), "{values:?} of {} values", slice.len());
        let stream = slice.stream();
        let start = slice.device_ptr(stream).0;
        Input {
            at: start + (values.start * size_of::<T>()) as u64,
            len: values.len(),
            stream: StreamId::of(stream),
            kind: PhantomData,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Those from the one at `index` on.
    ///
    /// # Panics
    /// When that lies behind their end.
    pub fn after(self, index: usize) -> Input<'a, T> {
        assert!(index <= self.len, "value {index} of {}", self.len);
        Input { at: self.at + (index * size_of::<T>()) as u64, len: self.len - index, ..self }
    }

    /// `len` of them, from the one at `start` on.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn part(self, start: usize, len: usize) -> Input<'a, T> {
        let rest = self.after(start);
        assert!(len <= rest.len, "{len} values from {start} on, of {}", self.len);
        Input { len, ..rest }
    }

    /// An error if they are fewer than a kernel will touch.
    pub fn need(&self, what: &str, values: usize) -> Result<()> {
        if self.len < values {
            bail!("{what}: {} values on the device, where {values} are needed", self.len)
        }
        Ok(())
    }

    pub(super) fn address(&self) -> u64 {
        self.at
    }

    pub(super) fn stream(&self) -> StreamId {
        self.stream
    }

    /// Whether they begin on a multiple of 16 bytes.
    pub(super) fn is_aligned(&self) -> bool {
        self.at.is_multiple_of(16)
    }
}

impl<'a, T> Output<'a, T> {
    /// Values that are to be written, or that are the caller's alone.
    pub(super) fn new(values: Input<'a, T>) -> Output<'a, T> {
        Output(values)
    }

    /// The same, to be read.
    pub fn input(self) -> Input<'a, T> {
        self.0
    }

    /// As [`Input::after`].
    pub fn after(self, index: usize) -> Output<'a, T> {
        Output(self.0.after(index))
    }

    /// As [`Input::part`].
    pub fn part(self, start: usize, len: usize) -> Output<'a, T> {
        Output(self.0.part(start, len))
    }

    /// As [`Input::need`].
    pub fn need(&self, what: &str, values: usize) -> Result<()> {
        self.0.need(what, values)
    }
}

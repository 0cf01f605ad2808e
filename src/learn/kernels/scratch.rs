//! Large buffers that outlive the call that used them: fresh ones cost a page fault every 4 KB, step after step.

use std::{
    ops::{Deref, DerefMut},
    sync::{Mutex, PoisonError, TryLockError},
};

use super::{memory::line, real::Real, storage::threads};

/// Buffers kept at most; of more, the smallest are freed.
const KEPT: usize = 16;

/// A buffer of the pool, which gets it back; it starts with a cache line.
pub(crate) struct Buffer<T: Real> {
    values: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Real> Buffer<T> {
    /// `len` values, whatever they are: write before you read.
    pub(super) fn new(len: usize) -> Self {
        let room = len + line::<T>();
        let mut idle = T::pool().idle();
        let fits = |values: &Vec<T>| (room..=room.saturating_mul(2)).contains(&values.len());
        let smallest = (0..idle.len()).filter(|&i| fits(&idle[i])).min_by_key(|&i| idle[i].len());
        let values = smallest.map(|i| idle.swap_remove(i));
        drop(idle);
        let values = values.unwrap_or_else(|| zeroed(room));
        Buffer { start: values.as_ptr().align_offset(64), values, len }
    }

    pub(crate) const fn empty() -> Self {
        Buffer { values: Vec::new(), start: 0, len: 0 }
    }

    /// All of its room, for whoever grows and aligns it himself.
    pub(super) fn room(&mut self) -> &mut Vec<T> {
        &mut self.values
    }

    /// Another length, with whatever values: memory is only taken where no earlier length was as large.
    pub(crate) fn resize(&mut self, len: usize) {
        if self.start + len > self.values.len() {
            self.values = Vec::new();
            *self = Buffer::new(len);
        }
        self.len = len;
    }
}

/// `len` zeros, in huge pages where they are many: passes that write a hundred matrices at a time would miss the page table's
/// cache with every line.
fn zeroed<T: Real>(len: usize) -> Vec<T> {
    let values = vec![T::zero(); len];
    advise_huge_pages(&values);
    values
}

/// Asks for huge pages, best before the values are first written. Without them all works too, so that errors do not matter.
#[cfg(target_os = "linux")]
fn advise_huge_pages<T>(values: &[T]) {
    use rustix::mm::{Advice, madvise};
    const HUGE: usize = 2 << 20;
    let (start, len) = (values.as_ptr() as usize, size_of_val(values));
    // Only whole huge pages: the rest may hold what belongs to others.
    let (first, end) = (start.next_multiple_of(HUGE), (start + len) / HUGE * HUGE);
    if first + HUGE < end {
        // SAFETY: the range lies within the values, and the advice changes no value.
        let _ = unsafe { madvise(first as *mut std::ffi::c_void, end - first, Advice::LinuxHugepage) };
    }
}

#[cfg(not(target_os = "linux"))]
fn advise_huge_pages<T>(_: &[T]) {}

impl<T: Real> Drop for Buffer<T> {
    fn drop(&mut self) {
        if self.values.is_empty() {
            return;
        }
        let mut idle = T::pool().idle();
        idle.push(std::mem::take(&mut self.values));
        if idle.len() > KEPT {
            let smallest = (0..idle.len()).min_by_key(|&i| idle[i].len());
            smallest.map(|i| idle.swap_remove(i));
        }
    }
}

impl<T: Real> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.values[self.start..][..self.len]
    }
}

impl<T: Real> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[self.start..][..self.len]
    }
}

/// One workspace for each thread.
pub(super) struct Slots<W>(Vec<Mutex<W>>);

impl<W> Slots<W> {
    pub(super) const fn new() -> Self {
        Slots(Vec::new())
    }

    /// Before the threads of the current rayon pool ask for workspaces: as many as they are, each made to `fit` here, as which task
    /// gets which is chance.
    pub(super) fn prepare(&mut self, new: impl Fn() -> W, fit: impl Fn(&mut W)) {
        let missing = threads().saturating_sub(self.0.len());
        self.0.extend((0..missing).map(|_| Mutex::new(new())));
        for slot in &mut self.0 {
            fit(slot.get_mut().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Calls `task` with a workspace that no other task has at the time. It must not use rayon: what its thread took up meanwhile
    /// could wait for the workspace that it holds.
    ///
    /// Panics if there are none.
    pub(super) fn with<R>(&self, task: impl FnOnce(&mut W) -> R) -> R {
        assert!(!self.0.is_empty(), "workspaces have to be prepared");
        loop {
            for slot in &self.0 {
                match slot.try_lock() {
                    Ok(mut workspace) => return task(&mut workspace),
                    // A panic elsewhere leaves a workspace that is as good as any: it is written before it is read.
                    Err(TryLockError::Poisoned(workspace)) => return task(&mut workspace.into_inner()),
                    Err(TryLockError::WouldBlock) => {}
                }
            }
            std::thread::yield_now();
        }
    }
}

//! Large buffers that outlive the call that used them: fresh ones cost a page fault every 4 KB, step after step.

use std::{
    ops::{Deref, DerefMut},
    sync::{Mutex, PoisonError, TryLockError},
};

use super::storage::{Real, threads};

/// Buffers kept at most; of more, the smallest are freed.
const KEPT: usize = 16;

/// The buffers nobody uses at the moment, of one float type.
pub struct Pool<T>(Mutex<Vec<Vec<T>>>);

impl<T> Pool<T> {
    pub(super) const fn new() -> Self {
        Pool(Mutex::new(Vec::new()))
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Vec<T>>> {
        // A panic elsewhere leaves whole buffers behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer of the pool, which gets it back.
pub(super) struct Buffer<T: Real> {
    values: Vec<T>,
    len: usize,
}

impl<T: Real> Buffer<T> {
    /// `len` values, whatever they are: write before you read.
    pub(super) fn new(len: usize) -> Self {
        let mut idle = T::pool().idle();
        let fits = |values: &Vec<T>| (len..=len.saturating_mul(2)).contains(&values.len());
        let smallest = (0..idle.len()).filter(|&i| fits(&idle[i])).min_by_key(|&i| idle[i].len());
        let values = smallest.map(|i| idle.swap_remove(i));
        drop(idle);
        Buffer { values: values.unwrap_or_else(|| vec![T::zero(); len]), len }
    }

    pub(super) const fn empty() -> Self {
        Buffer { values: Vec::new(), len: 0 }
    }

    /// Another length, with whatever values: memory is only taken where no earlier length was as large.
    pub(super) fn resize(&mut self, len: usize) {
        if len > self.values.len() {
            self.values = Vec::new();
            *self = Buffer::new(len);
        }
        self.len = len;
    }
}

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
        &self.values[..self.len]
    }
}

impl<T: Real> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[..self.len]
    }
}

/// One workspace for each thread.
pub(super) struct Slots<W>(Vec<Mutex<W>>);

impl<W> Slots<W> {
    pub(super) const fn new() -> Self {
        Slots(Vec::new())
    }

    /// Before the threads of the current rayon pool ask for workspaces.
    pub(super) fn prepare(&mut self, new: impl Fn() -> W) {
        let missing = threads().saturating_sub(self.0.len());
        self.0.extend((0..missing).map(|_| Mutex::new(new())));
    }

    /// Calls `task` with a workspace that no other task has at the time.
    pub(super) fn with<R>(&self, task: impl FnOnce(&mut W) -> R) -> R {
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

//! Large buffers that outlive the call that used them: fresh ones cost a page fault every 4 KB, step after step.

use std::{
    ops::{Deref, DerefMut},
    sync::{Mutex, PoisonError},
};

use super::storage::Real;

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
}

impl<T: Real> Drop for Buffer<T> {
    fn drop(&mut self) {
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

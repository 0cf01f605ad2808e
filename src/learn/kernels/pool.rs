//! Where buffers wait that nobody uses at the moment.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The buffers nobody uses at the moment, of one float type.
pub struct Pool<T>(Mutex<Vec<Vec<T>>>);

impl<T> Pool<T> {
    pub(super) const fn new() -> Self {
        Pool(Mutex::new(Vec::new()))
    }

    pub(super) fn idle(&self) -> MutexGuard<'_, Vec<Vec<T>>> {
        // A panic elsewhere leaves whole buffers behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Locks whose holder may have panicked.

use std::sync::{LockResult, Mutex, MutexGuard, PoisonError};

/// Returns what was asked of a lock. It is poisoned only by a panic that its own thread has
/// reported; another one here would hide that.
pub(crate) fn recover<G>(locked: LockResult<G>) -> G {
    locked.unwrap_or_else(PoisonError::into_inner)
}

/// Locks a mutex.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    recover(mutex.lock())
}

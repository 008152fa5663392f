//! Whether another process may have written guest memory that it was given.
//!
//! Nobody tells what it writes. But a guest knows of a write only by the used ring, where the
//! buffer is that was written.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::rings::index;
use super::{Shared, VhostUserHandle};

/// What is known of the used rings of a device.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// Their addresses, and the indices that were seen last.
    rings: Mutex<Vec<(u64, Option<u16>)>>,
    /// Counts when the device got other rings.
    changes: AtomicU64,
}

impl Shared {
    /// Has the used rings at these addresses looked at from now on.
    pub(super) fn watch(&self, rings: impl IntoIterator<Item = u64>) {
        let rings = rings.into_iter().map(|ring| (ring, None)).collect();
        let watched = &self.watched;
        *watched.rings.lock().unwrap_or_else(PoisonError::into_inner) = rings;
        watched.changes.fetch_add(1, Ordering::Release);
    }
}

/// Tells whether a device may have written memory.
pub struct Writes {
    /// Weak: memory has this, and the device has memory.
    shared: Weak<Shared>,
    seen: AtomicU64,
}

impl Writes {
    /// Creates what looks at the device that `handle` is of.
    pub fn new(handle: &VhostUserHandle) -> Self {
        Self {
            shared: Arc::downgrade(&handle.0),
            seen: AtomicU64::new(0),
        }
    }

    /// Returns whether it may have written anything that the guest knows of and that it had not
    /// written at the last call.
    pub fn any(&self) -> bool {
        // A device that is gone writes nothing.
        let Some(shared) = self.shared.upgrade() else {
            return false;
        };
        let watched = &shared.watched;
        let changes = watched.changes.load(Ordering::Acquire);
        // Whatever was in the rings that it had before.
        let mut any = self.seen.swap(changes, Ordering::AcqRel) != changes;
        let mut rings = watched.rings.lock().unwrap_or_else(PoisonError::into_inner);
        for (ring, seen) in &mut *rings {
            let now = index(&shared, *ring);
            // Of a ring that cannot be read nothing is known.
            any |= now.is_none() || now != *seen;
            *seen = now;
        }
        any
    }
}

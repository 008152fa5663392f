//! Flushes under way: nobody can tell how long the host takes to have its disk keep something.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmm_base::thread::{self, ThreadError};

use crate::virtio::waits::Waiting;

/// A flush under way, on a thread of its own. Whoever drops it does not wait: the request was not
/// answered, so its driver relies on nothing.
pub(crate) struct Flight(Arc<Mutex<Option<io::Result<()>>>>);

fn lock(result: &Mutex<Option<io::Result<()>>>) -> MutexGuard<'_, Option<io::Result<()>>> {
    // The result is stored whole, so it is good even if the lock is poisoned.
    result.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Flight {
    /// Begins to have the host keep what was written to `file`; `waiting` is told that queue
    /// `index` waits, and when it can go on.
    pub fn begin(file: Arc<File>, waiting: &Waiting, index: usize) -> Result<Self, ThreadError> {
        let result = Arc::<Mutex<_>>::default();
        let theirs = Arc::clone(&result);
        // Before the thread exists: the wait may be over as soon as it does.
        let end = waiting.begin(index);
        let sync = move || {
            *lock(&theirs) = Some(file.sync_data());
            // Only now, with the result in place: this is what has the queue looked at again.
            drop(end);
        };
        // A failure drops the closure, and with it the wait that it holds.
        thread::spawn("flush", sync)?;
        Ok(Self(result))
    }

    /// Takes the result, if it is over.
    pub fn result(&self) -> Option<io::Result<()>> {
        lock(&self.0).take()
    }
}

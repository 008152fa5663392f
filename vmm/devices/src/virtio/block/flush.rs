//! Flushes: nobody can tell how long the host takes to have its disk keep something.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmm_base::thread::{self, ThreadError};

use super::super::budget::Budget;
use super::super::waits::Waiting;
use super::Block;
use super::failure::Failure;

/// The cost of a flush, in bytes, beside the time for which its queue waits.
const FLUSH_COST: u64 = 1 << 20;

/// A flush under way, on a thread of its own. Whoever drops it does not wait: the request was not
/// answered, so its driver relies on nothing.
pub(super) struct Flight(Arc<Mutex<Option<io::Result<()>>>>);

fn lock(result: &Mutex<Option<io::Result<()>>>) -> MutexGuard<'_, Option<io::Result<()>>> {
    // The result is stored whole, so it is good even if the lock is poisoned.
    result.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Flight {
    /// Begins to have the host keep what was written to `file`; `waiting` is told that queue
    /// `index` waits, and when it can go on.
    fn begin(file: Arc<File>, waiting: &Waiting, index: usize) -> Result<Self, ThreadError> {
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
}

impl Block {
    /// Has what was written survive, for the request of queue `index`, and returns whether that is
    /// over. In a machine it never is at once, however fast the host is, so that a run does not
    /// depend on the host's speed.
    pub(super) fn flush(&mut self, index: usize, budget: &mut Budget) -> Result<bool, Failure> {
        let result = match (&self.flights[index], self.disk.storage.to_sync()) {
            // Still under way: the queue is served again when the thread drops its `Wait`.
            (Some(Flight(result)), _) => match lock(result).take() {
                Some(result) => result,
                None => return Ok(false),
            },
            (None, _) if budget.is_spent() => return Ok(false),
            // An overlay keeps nothing beyond the run, so there is nothing to flush.
            (None, None) => Ok(()),
            (None, Some(file)) => {
                let begin = |waiting| Flight::begin(Arc::clone(file), waiting, index);
                match self.waiting.as_ref().map(begin) {
                    Some(Ok(flight)) => {
                        self.flights[index] = Some(flight);
                        return Ok(false);
                    }
                    // A host that has no thread to give: then the flush is waited for here, as it
                    // is outside of a machine.
                    Some(Err(_)) | None => file.sync_data(),
                }
            }
        };
        // Before the error is returned: a flush that failed is over as well.
        self.flights[index] = None;
        result?;
        budget.spend(FLUSH_COST);
        Ok(true)
    }
}

//! Flushes: how long the host takes to have its disk keep something, nobody can tell.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmm_base::thread::{self, ThreadError};

use super::super::budget::Budget;
use super::super::waits::Waiting;
use super::Block;
use super::failure::Failure;

/// What a flush costs, in bytes, beside the time for which its queue waits.
const FLUSH_COST: u64 = 1 << 20;

/// A flush under way, on a thread of its own. Whoever drops it does not wait: nothing was promised to anybody.
pub(super) struct Flight(Arc<Mutex<Option<io::Result<()>>>>);

fn lock(result: &Mutex<Option<io::Result<()>>>) -> MutexGuard<'_, Option<io::Result<()>>> {
    result.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Flight {
    /// Begins to have the host keep what was written to `file`; `waiting` is told when queue `index` can go on.
    fn begin(file: Arc<File>, waiting: &Waiting, index: usize) -> Result<Self, ThreadError> {
        let result = Arc::<Mutex<_>>::default();
        let theirs = Arc::clone(&result);
        let end = waiting.begin(index);
        let sync = move || {
            *lock(&theirs) = Some(file.sync_data());
            drop(end);
        };
        thread::spawn("flush", sync)?;
        Ok(Self(result))
    }
}

impl Block {
    /// Has what was written survive, for the request of queue `index`; whether that is over. In a
    /// machine it never is at once, however fast the host is, so that a run does not depend on
    /// that.
    pub(super) fn flush(&mut self, index: usize, budget: &mut Budget) -> Result<bool, Failure> {
        let result = match (&self.flights[index], self.disk.storage.to_sync()) {
            (Some(Flight(result)), _) => match lock(result).take() {
                Some(result) => result,
                None => return Ok(false),
            },
            (None, _) if budget.is_spent() => return Ok(false),
            (None, None) => Ok(()),
            (None, Some(file)) => {
                let begin = |waiting| Flight::begin(Arc::clone(file), waiting, index);
                match self.waiting.as_ref().map(begin) {
                    Some(Ok(flight)) => {
                        self.flights[index] = Some(flight);
                        return Ok(false);
                    }
                    // A host that has no thread to give: then it takes what it takes.
                    Some(Err(_)) | None => file.sync_data(),
                }
            }
        };
        self.flights[index] = None;
        result?;
        budget.spend(FLUSH_COST);
        Ok(true)
    }
}

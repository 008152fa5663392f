//! Flushes: nobody can tell how long the host takes to have its disk keep something.

use std::sync::Arc;

use super::super::budget::Budget;
use super::Block;
use super::failure::Failure;
use crate::disk::Flight;

/// The cost of a flush, in bytes, beside the time for which its queue waits.
const FLUSH_COST: u64 = 1 << 20;

impl Block {
    /// Has what was written survive, for the request of queue `index`, and returns whether that is
    /// over. In a machine it never is at once, however fast the host is, so that a run does not
    /// depend on the host's speed.
    pub(super) fn flush(&mut self, index: usize, budget: &mut Budget) -> Result<bool, Failure> {
        let result = match (&self.flights[index], self.disk.storage.to_sync()) {
            // Still under way: the queue is served again when the thread drops its `Wait`.
            (Some(flight), _) => match flight.result() {
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

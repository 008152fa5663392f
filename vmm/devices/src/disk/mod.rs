//! Disks apart from how a guest reaches them: their files, what is kept on top of those, and what
//! was done with them.

mod file;
mod flight;
pub mod overlay;
pub mod storage;

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

pub use file::{Access, Disk, DiskError};
pub(crate) use flight::Flight;

/// Bytes of a sector, always.
pub const SECTOR: u64 = 512;

/// The activity of one disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSummary {
    /// Requests of any kind.
    pub requests: u64,
    /// Requests that ended with an error status.
    pub errors: u64,
    /// Bytes that the guest read.
    pub bytes_read: u64,
    /// Bytes that the guest wrote.
    pub bytes_written: u64,
    /// Flushes.
    pub flushes: u64,
}

/// The activity of a disk, readable from outside.
#[derive(Debug, Default)]
pub struct Counters {
    pub(crate) requests: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) bytes_read: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
    pub(crate) flushes: AtomicU64,
}

impl Counters {
    /// Returns the numbers now.
    pub fn summary(&self) -> DiskSummary {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DiskSummary {
            requests: get(&self.requests),
            errors: get(&self.errors),
            bytes_read: get(&self.bytes_read),
            bytes_written: get(&self.bytes_written),
            flushes: get(&self.flushes),
        }
    }

    /// Sets the numbers, from which counting goes on.
    pub fn restore(&self, summary: DiskSummary) {
        let DiskSummary {
            requests,
            errors,
            bytes_read,
            bytes_written,
            flushes,
        } = summary;
        let set = |counter: &AtomicU64, value| counter.store(value, Ordering::Relaxed);
        set(&self.requests, requests);
        set(&self.errors, errors);
        set(&self.bytes_read, bytes_read);
        set(&self.bytes_written, bytes_written);
        set(&self.flushes, flushes);
    }
}

/// Adds to a count.
pub(crate) fn count(counter: &AtomicU64, more: u64) {
    // Relaxed: the counters are for display, and order no other access.
    counter.fetch_add(more, Ordering::Relaxed);
}

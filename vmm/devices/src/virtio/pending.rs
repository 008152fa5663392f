//! How many notifications of devices are still to be served.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Notifications that were sent and not yet served, of all devices.
pub type Pending = Arc<AtomicU64>;

/// Counts `times` notifications as served. Those that came from the host's kernel were never counted as sent.
pub(super) fn served(pending: &Pending, times: u64) {
    // Cannot fail, as the closure always has a value.
    let _ = pending.fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
        Some(count.saturating_sub(times))
    });
}

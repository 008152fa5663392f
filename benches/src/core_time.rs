//! Time of a core: what others do on the host does not count, but for what they do to its caches.

use rustix::time::{ClockId, clock_gettime};

/// Returns the time of a core that this thread has had, in seconds.
pub fn core_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

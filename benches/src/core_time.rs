//! Time of a core: what others do on the host does not count, but for what they do to its caches.

pub use rustix::time::ClockId;
use rustix::time::clock_gettime;

/// Returns the time of cores that this thread (`ThreadCPUTime`) or this process (`ProcessCPUTime`)
/// has had, in seconds.
pub fn core_seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

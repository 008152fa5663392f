//! The two clocks a machine can have.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::Clock;

/// Time that passes with retired instructions, one nanosecond each, and jumps over idle time.
///
/// One nanosecond an instruction makes the guest believe in a processor of about 1 GHz, which suits
/// its calibration loops and timeouts, and makes every conversion exact.
#[derive(Debug, Default)]
pub struct VirtualClock {
    now: AtomicU64,
    skipped: AtomicU64,
}

impl VirtualClock {
    /// Advances to `to_ns` if that is in the future. Only the machine's run loop does this, between
    /// slices.
    pub fn skip_to(&self, to_ns: u64) {
        // Relaxed, and a load with a store after it: only the run loop's thread writes the time,
        // others only look at it.
        let now = self.now.load(Ordering::Relaxed);
        if to_ns > now {
            self.now.store(to_ns, Ordering::Relaxed);
            let skipped = self.skipped_ns().saturating_add(to_ns - now);
            self.skipped.store(skipped, Ordering::Relaxed);
        }
    }

    /// Creates a clock that goes on from `now_ns`, of which `skipped_ns` were skipped.
    pub fn starting_at(now_ns: u64, skipped_ns: u64) -> Self {
        Self {
            now: AtomicU64::new(now_ns),
            skipped: AtomicU64::new(skipped_ns),
        }
    }

    /// Advances to `to_ns` if that is in the future, without counting it as skipped: so much time
    /// has passed. Only the machine's run loop does this, between slices.
    pub fn advance_to(&self, to_ns: u64) {
        // Never backwards: retired instructions may have taken this clock further than the host's.
        self.now.fetch_max(to_ns, Ordering::Relaxed);
    }

    /// Makes it show what it showed before, or will: `now_ns`, of which `skipped_ns` were skipped.
    /// Only for a machine that goes back to a state that it was in.
    pub fn set(&self, now_ns: u64, skipped_ns: u64) {
        self.now.store(now_ns, Ordering::Relaxed);
        self.skipped.store(skipped_ns, Ordering::Relaxed);
    }

    /// Returns the nanoseconds skipped so far.
    pub fn skipped_ns(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }
}

impl Clock for VirtualClock {
    fn now_ns(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    fn retire(&self, instructions: u64) {
        // The addition saturates, as the guest may set a timer for the end of time, 584 years on:
        // time stands still there, and never goes back. Only the run loop's thread changes it.
        let now = self.now.load(Ordering::Relaxed);
        self.now
            .store(now.saturating_add(instructions), Ordering::Relaxed);
    }

    fn instructions_until(&self, deadline_ns: u64) -> Option<u64> {
        // One instruction is one nanosecond. A deadline in the past gives 0, of which callers
        // make one instruction at least.
        Some(deadline_ns.saturating_sub(self.now.load(Ordering::Relaxed)))
    }
}

/// The host's monotonic clock, counted from the creation of this value.
#[derive(Debug)]
pub struct HostClock {
    start: Instant,
    /// The time that the clock showed at `start`.
    first_ns: u64,
}

impl HostClock {
    /// Creates a clock that shows zero now.
    pub fn new() -> Self {
        Self::starting_at(0)
    }

    /// Creates a clock that shows `now_ns` now.
    pub fn starting_at(now_ns: u64) -> Self {
        Self {
            start: Instant::now(),
            first_ns: now_ns,
        }
    }
}

impl Default for HostClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for HostClock {
    fn now_ns(&self) -> u64 {
        // `Instant` is monotonic: setting the host's date moves no timer of the guest.
        let passed = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.first_ns.saturating_add(passed)
    }

    fn retire(&self, _instructions: u64) {}

    fn instructions_until(&self, _deadline_ns: u64) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_time_follows_instructions_and_skips() {
        let clock = VirtualClock::default();
        clock.retire(100);
        assert_eq!(clock.now_ns(), 100);
        assert_eq!(clock.instructions_until(150), Some(50));
        assert_eq!(clock.instructions_until(50), Some(0));
        clock.skip_to(50);
        assert_eq!((clock.now_ns(), clock.skipped_ns()), (100, 0));
        clock.skip_to(1000);
        assert_eq!((clock.now_ns(), clock.skipped_ns()), (1000, 900));
        clock.set(40, 7);
        assert_eq!((clock.now_ns(), clock.skipped_ns()), (40, 7));
    }

    #[test]
    fn time_ends_and_does_not_begin_anew() {
        let clock = VirtualClock::starting_at(10, u64::MAX - 100);
        clock.skip_to(u64::MAX - 50);
        clock.retire(100);
        assert_eq!((clock.now_ns(), clock.skipped_ns()), (u64::MAX, u64::MAX));
        assert_eq!(clock.instructions_until(u64::MAX), Some(0));
    }

    #[test]
    fn host_time_does_not_follow_instructions() {
        let clock = HostClock::new();
        assert_eq!(clock.instructions_until(1), None);
        let before = clock.now_ns();
        clock.retire(u64::MAX);
        assert!(clock.now_ns() - before < 3_600_000_000_000);
    }
}

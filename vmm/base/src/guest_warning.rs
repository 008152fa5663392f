//! Warnings about what a guest does wrong: useful once, harmful a million times.

use std::sync::atomic::{AtomicU64, Ordering};

/// Number of times that one place warns each time, before only powers of two are reported.
const LOUD: u64 = 8;

/// Counts how often one place wanted to warn.
#[derive(Debug, Default)]
pub struct Limiter(AtomicU64);

impl Limiter {
    /// Creates a limiter that has seen nothing.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Counts one more, and returns the number so far if it is to be reported: the first few times,
    /// then at powers of two.
    pub fn admit(&self) -> Option<u64> {
        // By count and not by time: which lines appear must not depend on how fast the host is.
        let times = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        (times <= LOUD || times.is_power_of_two()).then_some(times)
    }
}

/// Warns about a guest with `tracing::warn!`, limited by place and without a clock.
#[macro_export]
macro_rules! warn_guest {
    ($($message:tt)*) => {{
        // One for each place in the code, so that a flood at one does not silence another.
        static LIMITER: $crate::Limiter = $crate::Limiter::new();
        if let Some(times) = LIMITER.admit() {
            $crate::tracing::warn!(target: "guest", times, $($message)*);
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_said_a_few_times_only() {
        let limiter = Limiter::new();
        let said: Vec<u64> = (0..1000).filter_map(|_| limiter.admit()).collect();
        assert_eq!(said, [1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64, 128, 256, 512]);
    }
}

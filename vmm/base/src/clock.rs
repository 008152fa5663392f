//! The core's view of time: one trait.

/// The machine's clock.
///
/// All times are nanoseconds since the machine was powered on and never go backwards. A clock for
/// virtual time advances only by [`Clock::retire`] and by the machine skipping idle time; one for
/// host time ignores `retire`.
pub trait Clock: Send + Sync {
    /// Returns the nanoseconds since power-on.
    fn now_ns(&self) -> u64;

    /// Tells the clock that `instructions` more were retired, by whichever core.
    ///
    /// Cores call this before anything that may look at the clock (a device access, a counter read)
    /// and when they stop running.
    fn retire(&self, instructions: u64);

    /// Returns how many instructions may be retired before the clock reaches `deadline_ns`; `None`
    /// when the clock does not follow instructions (host time).
    fn instructions_until(&self, deadline_ns: u64) -> Option<u64>;
}

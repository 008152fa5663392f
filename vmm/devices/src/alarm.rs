//! Devices that do something at a time of their own, when nobody accesses them.

/// A device whose interrupt line rises at a time of the machine's clock.
pub trait Alarm: Send + Sync {
    /// Returns when that is, in nanoseconds of the machine's clock, if it is to be.
    fn next_alarm(&self) -> Option<u64>;

    /// Has it happen if the time has come. To be called when the time of
    /// [`next_alarm`](Self::next_alarm) is over.
    fn tick(&self);
}

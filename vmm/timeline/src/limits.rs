//! How much a recorder keeps: what a guest can grow has a bound.

/// The bounds of a [`Recorder`](super::Recorder).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Events kept in all, and at most half as many of one kind; further ones are only counted.
    pub events: usize,
    /// The number of these that may be events of the kinds that come in floods: see
    /// [`Category::is_bulk`](super::Category::is_bulk).
    pub bulk: usize,
    /// Lanes; events of further ones are only counted.
    pub lanes: usize,
    /// The longest pause within a burst, in nanoseconds of virtual time.
    pub burst_gap_ns: u64,
    /// The longest burst, in nanoseconds of virtual time.
    pub burst_ns: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A page with as many still scrolls smoothly and is some ten megabytes large.
            events: 50_000,
            // The rest is kept free for what explains them.
            bulk: 40_000,
            // Far more than any machine here has devices, ports of IOMMUs and address spaces.
            lanes: 1_024,
            // A page takes some hundred nanoseconds to a few microseconds of virtual time, one
            // request of a driver seldom more than this.
            burst_gap_ns: 100_000,
            // So that a long one can still be looked at more closely.
            burst_ns: 5_000_000,
        }
    }
}

//! How much a recorder keeps: what a guest can grow has a bound.

/// Events kept of one run. A page with as many still scrolls smoothly and is some ten megabytes large.
const MAX_EVENTS: usize = 50_000;
/// The number of these that may be events of the kinds that come in floods: DMA, translations, faults, bus errors,
/// interrupts, console lines. The rest is kept free for what explains them.
const MAX_BULK_EVENTS: usize = 40_000;
/// Lanes of one run: far more than any machine here has devices, micro-TLBs and contexts.
const MAX_LANES: usize = 1_024;
/// Accesses of one bus master that follow each other faster than this are one burst. A page takes some hundred
/// nanoseconds to a few microseconds of virtual time, one request of a driver seldom more than this.
const BURST_GAP_NS: u64 = 100_000;
/// A burst does not last longer than this, so that a long one can still be looked at more closely.
const MAX_BURST_NS: u64 = 5_000_000;

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
            events: MAX_EVENTS,
            bulk: MAX_BULK_EVENTS,
            lanes: MAX_LANES,
            burst_gap_ns: BURST_GAP_NS,
            burst_ns: MAX_BURST_NS,
        }
    }
}

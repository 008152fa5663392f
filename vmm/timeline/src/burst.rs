//! Like events that follow each other closely become one: a transfer of 64 MiB is not a million
//! events.

use super::limits::Limits;
use super::spec::{Address, Burst, Direction, Kind, Route};

/// The properties that events of one lane have in common if they may share a burst.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum BurstKey {
    Invalidated(Option<(Address, Address)>),
    Filled,
    Mapped,
    Unmapped,
    Fault(Direction, String),
    BusError(Direction),
    Dma(Direction, Route),
}

impl BurstKey {
    /// Returns the key of `kind`; none if each event of that kind stands for itself.
    pub(super) fn of(kind: &Kind) -> Option<Self> {
        Some(match kind {
            // An event has room for one range, so that only invalidations of the same one are
            // alike.
            Kind::Invalidated { range, .. } => Self::Invalidated(*range),
            Kind::Filled { .. } => Self::Filled,
            Kind::Mapped { .. } => Self::Mapped,
            Kind::Unmapped { .. } => Self::Unmapped,
            Kind::Fault {
                direction, reason, ..
            } => Self::Fault(*direction, reason.clone()),
            Kind::BusError { direction, .. } => Self::BusError(*direction),
            Kind::Dma {
                direction, route, ..
            } => Self::Dma(*direction, *route),
            _ => return None,
        })
    }
}

impl Burst {
    /// Creates a burst of one access of `bytes` bytes from `first`, at `at` nanoseconds. One of no
    /// bytes counts as an access of its first address.
    pub fn one(at: u64, first: u64, bytes: u64) -> Self {
        Self {
            until: at,
            count: 1,
            bytes,
            first: Address(first),
            lowest: Address(first),
            highest: Address(first.saturating_add(bytes.saturating_sub(1))),
        }
    }

    /// Returns whether `next` may join a burst that began at `at`.
    pub(super) fn accepts(&self, at: u64, next: &Self, limits: &Limits) -> bool {
        // An event may be reported late: one that is earlier than the burst's last stands for
        // itself.
        next.until >= self.until
            && next.until - self.until <= limits.burst_gap_ns
            && next.until.saturating_sub(at) <= limits.burst_ns
    }

    /// Adds `next`.
    pub(super) fn join(&mut self, next: &Self) {
        self.until = self.until.max(next.until);
        self.count = self.count.saturating_add(next.count);
        self.bytes = self.bytes.saturating_add(next.bytes);
        self.lowest = self.lowest.min(next.lowest);
        self.highest = self.highest.max(next.highest);
    }
}

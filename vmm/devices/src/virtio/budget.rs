//! How much a device does at a time.
//!
//! A ring of a disk can hold requests for 64 GiB of data, and one register write has them served.
//! So work is done in turns of a bounded size, and between turns whoever runs the machine looks at
//! requests to stop and at limits. In virtual time a turn is measured in bytes and never in time of
//! the host: where it ends depends on nothing but what the guest did.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Most bytes of a turn: some tens of milliseconds where each block is read and translated by
/// itself, and more than a driver such as Linux's sends at once (32 requests of 1 MiB at most, and
/// rarely that).
pub const TURN_BYTES: u64 = 32 << 20;
/// The rate at which a turn of all devices becomes available again in virtual time, in bytes a
/// nanosecond (16 GB/s): faster than any guest that looks at its data, so that only a guest that
/// does not is held up.
const REFILL: u64 = 16;
/// Nanoseconds of virtual time after which a device goes on with what exceeded its turn. With
/// [`TURN_BYTES`] that is 2 GB/s, about what a host moves: the time that a guest waits so is about
/// the time that the work takes.
pub const PAUSE_NS: u64 = 16_000_000;
/// The least that a piece of work costs, in bytes: looking up a buffer takes about as long as
/// copying a page.
pub const MIN_COST: u64 = 4096;
/// The longest turn in host time, where other devices wait for the same thread.
const HOST_TURN: Duration = Duration::from_millis(20);

/// What is left of a turn.
#[derive(Debug)]
pub struct Budget {
    left: u64,
    spent: u64,
    host: Option<(Arc<Halts>, Instant)>,
}

/// The reasons for which work in host time is to pause.
#[derive(Debug, Default)]
pub struct Halts {
    /// The thread that does it ends.
    pub stop: AtomicBool,
    /// The machine is about to be saved.
    pub settle: AtomicBool,
}

impl Halts {
    /// Returns whether there is a reason now.
    pub fn any(&self) -> bool {
        self.stop.load(Ordering::Acquire) || self.settle.load(Ordering::Acquire)
    }
}

impl Budget {
    /// Creates a turn of `bytes` bytes.
    pub const fn of(bytes: u64) -> Self {
        Self {
            left: bytes,
            spent: 0,
            host: None,
        }
    }

    /// Creates a turn in host time, which also ends when `halts` says so, or it takes long.
    pub fn host(halts: &Arc<Halts>) -> Self {
        Self {
            host: Some((Arc::clone(halts), Instant::now() + HOST_TURN)),
            ..Self::of(TURN_BYTES)
        }
    }

    /// Counts a piece of work on `bytes` bytes as done. It may be more than what was left.
    pub fn spend(&mut self, bytes: u64) {
        // Many small pieces must end a turn, too.
        let cost = bytes.max(MIN_COST);
        self.left = self.left.saturating_sub(cost);
        self.spent = self.spent.saturating_add(cost);
    }

    /// Returns whether no other piece of work may begin.
    pub fn is_spent(&self) -> bool {
        let over = |(halts, until): &(Arc<Halts>, Instant)| halts.any() || Instant::now() >= *until;
        // In virtual time only the bytes decide: the host's clock is not even read.
        self.left == 0 || self.host.as_ref().is_some_and(over)
    }

    /// Returns what is left, in bytes.
    pub const fn left(&self) -> u64 {
        self.left
    }

    /// Returns what has been spent, in bytes.
    pub const fn spent(&self) -> u64 {
        self.spent
    }
}

/// The work that all devices together may do at once in virtual time: it is used up by work, and
/// fills again as time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    bytes: u64,
    at_ns: u64,
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            bytes: TURN_BYTES,
            at_ns: 0,
        }
    }
}

impl Allowance {
    /// Returns how many bytes may be worked on at `now_ns`: a turn at most.
    pub fn at(&mut self, now_ns: u64) -> u64 {
        // Saturating: however long nothing was done, what is available is a turn at most.
        let fresh = now_ns.saturating_sub(self.at_ns).saturating_mul(REFILL);
        self.bytes = self.bytes.saturating_add(fresh).min(TURN_BYTES);
        self.at_ns = now_ns;
        self.bytes
    }

    /// Takes `bytes` of it away, which were used.
    pub const fn take(&mut self, bytes: u64) {
        // Saturating: the last piece of a turn may have been larger than what was left.
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_cost_something_and_the_last_may_be_too_big() {
        let mut budget = Budget::of(3 * MIN_COST);
        budget.spend(1);
        budget.spend(MIN_COST);
        assert!(!budget.is_spent());
        budget.spend(10 * MIN_COST);
        assert!(budget.is_spent());
        assert_eq!(budget.spent(), 12 * MIN_COST);
    }

    #[test]
    fn a_turn_in_host_time_ends_when_it_is_asked_to() {
        let halts = Arc::new(Halts::default());
        let budget = Budget::host(&halts);
        halts.settle.store(true, Ordering::Release);
        assert!(budget.is_spent());
    }

    #[test]
    fn an_allowance_fills_with_time_up_to_a_turn() {
        let mut allowance = Allowance::default();
        allowance.take(u64::MAX);
        assert_eq!(allowance.at(0), 0);
        assert_eq!(allowance.at(1000), 1000 * REFILL);
        assert_eq!(allowance.at(u64::MAX), TURN_BYTES);
        assert_eq!(allowance.at(0), TURN_BYTES, "time does not go back");
    }
}

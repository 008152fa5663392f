//! What a batch of requests leaves to be done at its end.

use std::collections::BTreeMap;

use super::chain::{Chain, ScatteredWord};
use super::spec::Status;
use crate::fault::DomainId;
use crate::grace::GracePeriod;
use crate::inject::Injected;
use crate::unit::TranslationUnit;

/// An answer that is still to be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The chain's first descriptor.
    pub head: u16,
    /// The used length, if the tail can be written.
    pub written: u32,
    /// The tail; none if nothing is to be written.
    pub tail: Option<(ScatteredWord, Status)>,
}

/// Requests that were executed and not yet answered. Allocations are kept for the next batch.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// In the order of the requests.
    pub answers: Vec<Answer>,
    /// Translations that no longer hold: for each slot the first and the last IOVA.
    stale: BTreeMap<u32, (u64, u64)>,
    /// Slots that were given up.
    pub freed: Vec<u32>,
    /// Whether accesses that are under way may be using what is gone.
    pub changed: bool,
    /// The end of such accesses.
    pub grace: Option<GracePeriod>,
    /// Whether the queue is left as it is until the grace period is over.
    pub pending: bool,
    /// The chain at hand.
    pub chain: Chain,
    /// Mappings that its request removed.
    pub removed: usize,
}

impl Batch {
    /// Notes that translations of a slot no longer hold.
    pub fn invalidate(&mut self, slot: u32, first: u64, last: u64) {
        self.changed = true;
        // One range for each slot: what lies between is forgotten needlessly, which costs time and
        // nothing else.
        let hull = self.stale.entry(slot).or_insert((first, last));
        *hull = (hull.0.min(first), hull.1.max(last));
    }

    /// Invalidates all that no longer holds, once for each domain, and begins a grace period, if
    /// either is needed.
    // The mappings themselves changed when the requests were executed: what is looked up from now
    // on is new.
    pub fn seal<M>(&mut self, unit: &TranslationUnit<M>, injected: Option<&Injected>) {
        while let Some((slot, (first, last))) = self.stale.pop_first() {
            let domain = DomainId(slot);
            if let Some(injected) = injected {
                injected.forget(domain, first, last);
            }
            // A domain that is gone as a whole needs no search by range.
            if (first, last) == (0, u64::MAX) {
                unit.invalidate_domain(domain);
            } else {
                unit.invalidate_range(domain, first, last);
            }
        }
        // After the invalidations: accesses that begin later cannot meet what they removed.
        if std::mem::take(&mut self.changed) {
            self.grace = Some(unit.begin_grace_period());
        }
    }

    /// Returns whether no access uses any more what the batch removed. Polls at most `rounds`
    /// times.
    pub fn is_over(&mut self, rounds: u32) -> bool {
        let Some(grace) = &mut self.grace else {
            return true;
        };
        let mut left = rounds;
        let over = grace.wait_until(|| {
            left = left.saturating_sub(1);
            left == 0
        });
        if over {
            self.grace = None;
        }
        over
    }
}

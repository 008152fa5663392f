//! Pins and grace periods: how an invalidation learns that nobody uses what it has invalidated.
//!
//! Each handle of a bus master has words of its own, its *slots*. A slot counts: even while it is
//! free, odd while it is pinned, one up at each change, so that no two pins of a slot look alike.
//! To pin is to make a slot odd and then fence; only then are translations looked up. To begin a
//! grace period is to fence, after translations were invalidated, and to note every slot that is
//! odd. It is over when each of those has changed.
//!
//! Why that is enough: of the two fences, one comes first. If it is the pin's, the grace period
//! sees the odd slot, and waits. If it is the grace period's, whatever the pin looks up comes after
//! the invalidation. The slot is made even with release order and looked at with acquire order: all
//! accesses of an ended pin are done before the grace period is over.
//!
//! A pin that finds no slot free is put into a list of the handle, in the order of pins, under the
//! handle's lock. A grace period notes how far the list reaches, and waits until all before that
//! have gone: which looks at the oldest alone, however many there are.
//!
//! A grace period looks only at handles on the registry's *list*. A pin looks after its fence
//! whether its handle is on it, and puts it there if not, before anything is looked up. A handle
//! that was not pinned from one grace period to the next is taken off: it is marked as not listed,
//! then comes a fence, then a last look at its slots; if one is pinned, the handle stays. So idle
//! handles cost nothing. `DESIGN.md` has the proof.
//!
//! Readers write nothing but their own handle. Nobody waits with a lock held.

mod order;
mod pins;
mod registry;

use crate::sync::relax;

pub(crate) use pins::{Claim, Held, Pin};
pub(crate) use registry::{Handle, Registry};

use pins::Mark;
use registry::Place;

/// Pins that a grace period waits for.
#[derive(Debug)]
struct Waiting {
    /// The handle may be dropped while its pin is waited for.
    handle: Place,
    mark: Mark,
}

impl Waiting {
    fn is_pinned(&self) -> bool {
        self.handle.is_pinned_since(&self.mark)
    }
}

/// The time until every access that was under way has ended.
///
/// Begun by [`TranslationUnit::begin_grace_period`](crate::TranslationUnit::begin_grace_period). It
/// holds no lock and stops nobody: a thread that polls it may at any time do other work, such as
/// running the vCPU that a device waits for.
#[derive(Debug)]
#[must_use = "an invalidation is complete only when its grace period is over"]
pub struct GracePeriod {
    /// Pins not yet seen to have ended.
    waiting: Vec<Waiting>,
}

impl GracePeriod {
    /// Returns whether it is over; never waits. Once over, it stays so.
    #[inline]
    pub fn is_over(&mut self) -> bool {
        // Most often nobody was pinned.
        self.waiting.is_empty() || self.poll()
    }

    fn poll(&mut self) -> bool {
        // From the end on, up to the first that is still pinned: no poll looks at all of them, and
        // none is looked at again once it has ended.
        while let Some(last) = self.waiting.last() {
            if last.is_pinned() {
                return false;
            }
            self.waiting.pop();
        }
        true
    }

    /// Waits until it is over, or until `give_up`, which is asked again and again, says so; whether
    /// it is over.
    ///
    /// Not to be called by a thread that is itself pinned: its own pin is waited for too. Spins for
    /// a moment, then gives the processor away between polls.
    pub fn wait_until(&mut self, give_up: impl FnMut() -> bool) -> bool {
        wait_until(|| self.is_over(), give_up)
    }
}

/// Waits until `is_over` says so, or `give_up` does: see [`GracePeriod::wait_until`].
pub(crate) fn wait_until(
    mut is_over: impl FnMut() -> bool,
    mut give_up: impl FnMut() -> bool,
) -> bool {
    let mut round = 0u32;
    loop {
        if is_over() {
            return true;
        }
        // Asked after the look: a period that is over is reported as over.
        if give_up() {
            return false;
        }
        relax(round);
        round = round.saturating_add(1);
    }
}

#[cfg(all(test, not(loom)))]
mod tests;

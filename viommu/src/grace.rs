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
//! Readers write nothing but their own slot. Nobody waits with a lock held.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock, PoisonError};

use crate::counters::{Counters, HandleCounters};
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering, fence_after_rmw, relax};

/// Slots in one line: pins that a handle can have at the same time without a further allocation.
const SLOTS: usize = 4;

/// Slots of one handle. It grows when all are taken, and never shrinks.
#[repr(align(128))]
#[derive(Default)]
pub(crate) struct Pins {
    slots: [AtomicU64; SLOTS],
    more: OnceLock<Box<Pins>>,
}

/// A slot that is pinned, by number: what an owned guard keeps.
#[derive(Debug)]
pub(crate) struct Claim {
    slot: usize,
    /// The odd count.
    count: u64,
}

/// A pinned slot; ends when dropped.
#[derive(Debug)]
pub(crate) struct Pin<'a> {
    slot: &'a AtomicU64,
    count: u64,
}

/// Shows that a pin is held for as long as `'a`.
#[derive(Clone, Copy)]
pub(crate) struct Held<'a>(PhantomData<&'a ()>);

impl Pin<'_> {
    /// Returns what shows that it is held.
    #[inline]
    pub const fn held(&self) -> Held<'_> {
        Held(PhantomData)
    }
}

impl Claim {
    /// Returns what shows that it is held. It is not to be given back meanwhile.
    #[inline]
    pub const fn held(&self) -> Held<'_> {
        Held(PhantomData)
    }
}

impl Drop for Pin<'_> {
    // Only the holder changes a pinned slot, so a store is enough. Release: all accesses under the
    // pin come before it.
    #[inline]
    fn drop(&mut self) {
        self.slot.store(self.count + 1, Ordering::Release);
    }
}

/// Pins `slot` if it is free; returns the odd count.
#[inline]
fn try_pin(slot: &AtomicU64) -> Option<u64> {
    // A value that is out of date only makes the exchange below fail.
    let free = slot.load(Ordering::Relaxed);
    if free & 1 == 1 {
        return None;
    }
    // Sequentially consistent, with the fence: lookups under this pin must not move before it (see
    // the module).
    slot.compare_exchange(free, free + 1, Ordering::SeqCst, Ordering::Relaxed)
        .ok()?;
    fence_after_rmw();
    Some(free + 1)
}

impl Pins {
    /// Pins the handle. Lookups of translations that come after are covered until the guard is
    /// dropped.
    #[inline]
    pub fn pin(&self) -> Pin<'_> {
        // Most handles have one pin at a time: no search, and always the same cache line.
        let slot = &self.slots[0];
        match try_pin(slot) {
            Some(count) => Pin { slot, count },
            // Another thread uses this handle, or this one pins it twice.
            None => self.pin_another(),
        }
    }

    #[cold]
    fn pin_another(&self) -> Pin<'_> {
        let Claim { slot, count } = self.claim();
        Pin {
            slot: self.slot(slot),
            count,
        }
    }

    /// Pins, for a guard that cannot borrow. Must be given back with [`Pins::release`].
    pub fn claim(&self) -> Claim {
        let mut line = self;
        let mut base = 0;
        loop {
            for (index, slot) in line.slots.iter().enumerate() {
                if let Some(count) = try_pin(slot) {
                    return Claim {
                        slot: base + index,
                        count,
                    };
                }
            }
            // All are taken: the handle has more pins at once than ever before. Lines are added and
            // never removed.
            line = line.more.get_or_init(Box::default);
            base += SLOTS;
        }
    }

    /// Ends a claimed pin.
    pub fn release(&self, claim: &Claim) {
        self.slot(claim.slot)
            .store(claim.count + 1, Ordering::Release);
    }

    fn slot(&self, number: usize) -> &AtomicU64 {
        let mut line = self;
        // A claim has this number, so the line is there: nothing is allocated.
        for _ in 0..number / SLOTS {
            line = line.more.get_or_init(Box::default);
        }
        &line.slots[number % SLOTS]
    }

    // Acquire: what was done under a pin that has ended since is seen as done.
    /// Calls `each` with the number and count of every pinned slot.
    fn for_each_pinned(&self, mut each: impl FnMut(usize, u64)) {
        let mut line = Some(self);
        let mut base = 0;
        while let Some(Self { slots, more }) = line {
            for (index, slot) in slots.iter().enumerate() {
                let count = slot.load(Ordering::Acquire);
                if count & 1 == 1 {
                    each(base + index, count);
                }
            }
            // A line that is not seen yet has only pins whose fence comes after the caller's: their
            // lookups come after the invalidation.
            line = more.get().map(Box::as_ref);
            base += SLOTS;
        }
    }
}

/// What one handle writes: its pins and its counters.
#[derive(Default)]
pub(crate) struct HandleState {
    pub pins: Pins,
    pub counters: HandleCounters,
}

impl fmt::Debug for HandleState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandleState").finish_non_exhaustive()
    }
}

/// Keeps a handle known to its unit, until it is dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    handle: Arc<HandleState>,
    registry: Arc<Registry>,
}

impl Registration {
    /// Returns the state that the handle writes to.
    pub fn state(&self) -> &Arc<HandleState> {
        &self.handle
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut known = self.registry.lock();
        // What was done under pins of this handle comes before what anyone does who finds it gone:
        // both lock.
        known
            .handles
            .retain(|other| !Arc::ptr_eq(other, &self.handle));
        self.handle.counters.add_to(&mut known.retired);
    }
}

/// All handles of a unit.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    known: Mutex<Known>,
    /// Grace periods that were begun.
    begun: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    handles: Vec<Arc<HandleState>>,
    /// What handles that are gone have counted.
    retired: Counters,
}

impl Registry {
    // Poisoned only by a panic that its own thread has reported; another one here would hide it.
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates a handle and registers it.
    pub fn register(self: &Arc<Self>) -> Registration {
        let handle = Arc::new(HandleState::default());
        self.lock().handles.push(Arc::clone(&handle));
        Registration {
            handle,
            registry: Arc::clone(self),
        }
    }

    /// Returns what all handles have counted, those that are gone included.
    // Under one lock with `retired`: a handle that is dropped meanwhile is counted once.
    pub fn counters(&self) -> Counters {
        let known = self.lock();
        let mut total = known.retired;
        for handle in &known.handles {
            handle.counters.add_to(&mut total);
        }
        total
    }

    /// Goes on from what another unit's handles have counted.
    pub fn restore_counters(&self, counters: Counters) {
        let mut known = self.lock();
        // Which handle counted what is not saved: the saved sum takes the place of all of them.
        known
            .handles
            .iter()
            .for_each(|handle| handle.counters.clear());
        known.retired = Counters {
            // These two are counted by the cache, which restores its own.
            flushes: 0,
            range_invalidations: 0,
            ..counters
        };
    }

    /// Begins a grace period.
    pub fn begin(&self) -> GracePeriod {
        // Nobody reads the number: after this read-modify-write the fence is free on x86-64.
        self.begun.fetch_add(1, Ordering::SeqCst);
        fence_after_rmw();
        // Allocates nothing if nobody is pinned, as most often.
        let mut waiting = Vec::new();
        for handle in &self.lock().handles {
            handle.pins.for_each_pinned(|slot, count| {
                waiting.push(Waiting {
                    // The handle may be dropped while its pin is waited for.
                    handle: Arc::clone(handle),
                    slot,
                    count,
                });
            });
        }
        GracePeriod { waiting }
    }
}

/// A pin that a grace period waits for.
#[derive(Debug)]
struct Waiting {
    handle: Arc<HandleState>,
    slot: usize,
    count: u64,
}

impl Waiting {
    fn is_pinned(&self) -> bool {
        // Any other count, odd or even, says that the pin which was noted has ended.
        self.handle.pins.slot(self.slot).load(Ordering::Acquire) == self.count
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
    pub fn is_over(&mut self) -> bool {
        self.waiting.retain(Waiting::is_pinned);
        self.waiting.is_empty()
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
mod tests {
    use super::*;

    fn registry() -> (Arc<Registry>, Registration, Registration) {
        let registry = Arc::new(Registry::default());
        let (a, b) = (registry.register(), registry.register());
        (registry, a, b)
    }

    #[test]
    fn is_over_at_once_when_nobody_is_pinned() {
        let (registry, ..) = registry();
        assert!(registry.begin().is_over());
    }

    #[test]
    fn waits_for_pins_taken_before_and_only_for_those() {
        let (registry, a, b) = registry();
        let early = a.state().pins.pin();
        let mut grace = registry.begin();
        let late = b.state().pins.pin();
        assert!(!grace.is_over());
        drop(early);
        assert!(grace.is_over());
        let again = a.state().pins.pin();
        assert!(grace.is_over(), "once over, it stays so");
        drop((late, again));
    }

    #[test]
    fn a_slot_pinned_anew_is_another_pin() {
        let (registry, a, _b) = registry();
        let first = a.state().pins.pin();
        let mut grace = registry.begin();
        drop(first);
        let _second = a.state().pins.pin();
        assert!(grace.is_over());
    }

    #[test]
    fn many_pins_of_one_handle_are_each_waited_for() {
        let (registry, a, _b) = registry();
        let mut pins: Vec<_> = (0..3 * SLOTS).map(|_| a.state().pins.pin()).collect();
        let claim = a.state().pins.claim();
        let mut grace = registry.begin();
        while let Some(pin) = pins.pop() {
            assert!(!grace.is_over());
            drop(pin);
        }
        assert!(!grace.is_over());
        a.state().pins.release(&claim);
        assert!(grace.is_over());
    }

    #[test]
    fn a_dropped_handle_is_forgotten_but_not_its_counts() {
        let (registry, a, b) = registry();
        a.state().counters.hits.add_one();
        b.state().counters.hits.add_one();
        drop(a);
        drop(registry.register());
        assert_eq!(registry.lock().handles.len(), 1);
        assert_eq!(registry.counters().hits, 2);
        drop(b);
    }

    #[test]
    fn gives_up_when_told() {
        let (registry, a, _b) = registry();
        let pin = a.state().pins.pin();
        let mut grace = registry.begin();
        let mut asked = 0;
        assert!(!grace.wait_until(|| {
            asked += 1;
            asked == 100
        }));
        drop(pin);
        assert!(grace.wait_until(|| false));
    }
}

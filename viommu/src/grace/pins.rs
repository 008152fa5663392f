//! The pins of one handle.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{OnceLock, PoisonError};

use super::order::Order;
use super::registry::Registry;
use crate::counters::HandleCounters;
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering, fence, fence_after_rmw};

/// Pins that a handle can have at the same time without a lock.
// As few as can be for loom, which then comes to the others soon.
pub(super) const SLOTS: usize = if cfg!(loom) { 1 } else { 4 };

/// What one handle writes: its pins and its counters.
// Two cache lines, which processors like to fetch together; no other handle has words in them.
#[repr(align(128))]
pub(crate) struct HandleState {
    slots: [AtomicU64; SLOTS],
    /// Not 0 while the registry's list has the handle.
    pub(super) listed: AtomicU64,
    pub counters: HandleCounters,
    /// Pins that found no slot free.
    more: OnceLock<Box<Mutex<Order>>>,
    /// How many share the handle.
    pub(super) users: AtomicU64,
    /// Which one of its unit's it is.
    pub(super) number: u32,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<HandleState>() == 128);

impl fmt::Debug for HandleState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandleState").finish_non_exhaustive()
    }
}

/// Which pin it is: what an owned guard keeps.
#[derive(Debug)]
pub(crate) struct Claim {
    /// The slot; from [`SLOTS`] on the place among the pins without one.
    place: usize,
    /// The odd count of the slot; without one, nothing that is needed.
    count: u64,
}

/// A pin; ends when dropped.
#[derive(Debug)]
pub(crate) struct Pin<'a> {
    handle: &'a HandleState,
    claim: Claim,
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
    #[inline]
    fn drop(&mut self) {
        self.handle.release(&self.claim);
    }
}

/// What a grace period has seen of a handle.
#[derive(Debug)]
pub(super) enum Mark {
    /// This slot had this odd count.
    Slot(usize, u64),
    /// There were pins without a slot, all with lower numbers than this.
    Before(u64),
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

// Poisoned only by a panic that its own thread has reported; another one here would hide it.
fn lock(more: &Mutex<Order>) -> MutexGuard<'_, Order> {
    more.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HandleState {
    pub(super) fn new(number: u32) -> Self {
        Self {
            slots: Default::default(),
            listed: AtomicU64::new(0),
            counters: HandleCounters::default(),
            more: OnceLock::new(),
            users: AtomicU64::new(0),
            number,
        }
    }

    /// Pins the handle, which is one of `registry`. Lookups of translations that come after are
    /// covered until the guard is dropped.
    #[inline]
    pub fn pin(&self, registry: &Registry) -> Pin<'_> {
        // Most handles have one pin at a time: no search, and always the same cache line.
        let claim = match try_pin(&self.slots[0]) {
            Some(count) => Claim { place: 0, count },
            // Another thread uses this handle, or this one pins it twice.
            None => self.claim_another(),
        };
        self.make_listed(registry);
        Pin {
            handle: self,
            claim,
        }
    }

    /// Pins as [`HandleState::pin`] does, for a guard that cannot borrow. Must be given back with
    /// [`HandleState::release`].
    pub fn claim(&self, registry: &Registry) -> Claim {
        let claim = self.claim_another();
        self.make_listed(registry);
        claim
    }

    #[cold]
    fn claim_another(&self) -> Claim {
        let mut slots = self.slots.iter().enumerate();
        let free = slots.find_map(|(place, slot)| Some((place, try_pin(slot)?)));
        let (place, count) = free.unwrap_or_else(|| {
            let (place, serial) = lock(self.more.get_or_init(Box::default)).add();
            // As after a slot was made odd. The lock is not enough: a grace period that does not
            // see the list yet does not take it.
            fence(Ordering::SeqCst);
            (SLOTS + place, serial)
        });
        Claim { place, count }
    }

    /// Has `registry` list the handle, unless it does already. After the pin, see the module.
    #[inline]
    fn make_listed(&self, registry: &Registry) {
        // Acquire: whoever sees that another pin has listed it comes after the grace periods which
        // were begun before that.
        if self.listed.load(Ordering::Acquire) == 0 {
            registry.list(self);
        }
    }

    /// Ends a claimed pin.
    // Release, or the lock: all accesses under the pin come before its end.
    #[inline]
    pub fn release(&self, claim: &Claim) {
        match self.slots.get(claim.place) {
            // Only the holder changes a pinned slot, so a store is enough.
            Some(slot) => slot.store(claim.count + 1, Ordering::Release),
            None => self.release_another(claim.place - SLOTS),
        }
    }

    #[cold]
    fn release_another(&self, place: usize) {
        if let Some(more) = self.more.get() {
            lock(more).remove(place);
        }
    }

    /// Ends all pins. Nobody may use the handle any more: these are of guards that were leaked.
    pub(super) fn end_all(&self) {
        for slot in &self.slots {
            let count = slot.load(Ordering::Relaxed);
            slot.store(count.next_multiple_of(2), Ordering::Release);
        }
        if let Some(more) = self.more.get() {
            lock(more).clear();
        }
    }

    // Acquire, or the lock: what was done under a pin that has ended since is seen as done.
    /// Calls `each` for what is pinned; returns a number that is another one after each pin.
    pub(super) fn marks(&self, mut each: impl FnMut(Mark)) -> u64 {
        let mut pins = 0_u64;
        for (place, slot) in self.slots.iter().enumerate() {
            let count = slot.load(Ordering::Acquire);
            if count & 1 == 1 {
                each(Mark::Slot(place, count));
            }
            pins = pins.wrapping_add(count);
        }
        // A list that is not seen yet has only pins whose fence comes after the caller's: their
        // lookups come after the invalidation.
        if let Some(more) = self.more.get() {
            let more = lock(more);
            if more.oldest().is_some() {
                each(Mark::Before(more.next()));
            }
            pins = pins.wrapping_add(more.next());
        }
        pins
    }

    /// Returns whether something of what `mark` stands for is still pinned.
    pub(super) fn is_pinned_since(&self, mark: &Mark) -> bool {
        match *mark {
            // Any other count, odd or even, says that the pin which was noted has ended.
            Mark::Slot(place, count) => self.slots[place].load(Ordering::Acquire) == count,
            Mark::Before(serial) => {
                let oldest = self.more.get().and_then(|more| lock(more).oldest());
                oldest.is_some_and(|oldest| oldest < serial)
            }
        }
    }

    /// Takes the handle from the list of the registry, whose lock the caller holds, unless it is
    /// pinned. Returns whether it did.
    pub(super) fn unlist(&self) -> bool {
        // The counterpart of a pin, which fences and looks at `listed` then: one of the two sees
        // the other.
        self.listed.swap(0, Ordering::SeqCst);
        fence_after_rmw();
        let mut pinned = false;
        self.marks(|_| pinned = true);
        if pinned {
            // Release: see `make_listed`.
            self.listed.store(1, Ordering::Release);
            return false;
        }
        // It is idle: it need not keep the memory of as many pins as it once had.
        if let Some(more) = self.more.get() {
            let mut more = lock(more);
            if more.oldest().is_none() {
                more.clear();
            }
        }
        true
    }
}

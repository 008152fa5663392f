//! The handles of a unit, and the list of those that were pinned of late.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, PoisonError, Weak};

use super::pins::HandleState;
use super::{GracePeriod, Waiting};
use crate::counters::Counters;
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering, fence_after_rmw};

/// Handles of a chunk: what they share for being allocated together is little for each.
const CHUNK: usize = if cfg!(loom) { 1 } else { 16 };

/// Places of the list that are kept however few handles are on it.
const LISTED_LEAST: usize = 16;

/// Handles that are allocated together.
pub(super) struct Chunk {
    handles: [HandleState; CHUNK],
    registry: Weak<Registry>,
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk").finish_non_exhaustive()
    }
}

/// One of the handles of a chunk.
#[derive(Clone, Debug)]
pub(super) struct Place {
    chunk: Arc<Chunk>,
    /// Below [`CHUNK`].
    index: u32,
}

impl Deref for Place {
    type Target = HandleState;

    #[inline(always)]
    fn deref(&self) -> &HandleState {
        // The remainder spares the check.
        &self.chunk.handles[self.index as usize % CHUNK]
    }
}

/// A handle of a unit. Clones are the same handle, which the unit forgets with the last of them.
#[derive(Debug)]
pub(crate) struct Handle(Place);

impl Deref for Handle {
    type Target = HandleState;

    #[inline(always)]
    fn deref(&self) -> &HandleState {
        &self.0
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        // Nothing is ordered by one more, as by clones of an `Arc`.
        self.users.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // What the others have done comes before what the last one does.
        if self.users.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        // Without its registry there is nobody to wait for it or to count.
        if let Some(registry) = self.0.chunk.registry.upgrade() {
            registry.forget(&self.0);
        }
    }
}

/// All handles of a unit.
// What a grace period needs comes first, in one cache line: after much other work, each further one
// is waited for.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// Grace periods that were begun.
    begun: AtomicU64,
    known: Mutex<Known>,
}

#[repr(C)]
#[derive(Debug, Default)]
struct Known {
    /// Handles that were pinned since the grace period before the last, and maybe others.
    listed: Vec<Listed>,
    /// All handles by number, those that are free included.
    chunks: Vec<Arc<Chunk>>,
    /// Handles that nobody has.
    free: Vec<u32>,
    /// What handles that are gone have counted.
    retired: Counters,
}

/// A handle on the list.
#[derive(Debug)]
struct Listed {
    handle: Place,
    /// What [`HandleState::marks`] has returned last.
    pins: u64,
}

impl Known {
    #[expect(clippy::cast_possible_truncation, reason = "a remainder is small")]
    fn place(&self, number: u32) -> Option<Place> {
        let chunk = self.chunks.get(number as usize / CHUNK)?;
        Some(Place {
            chunk: Arc::clone(chunk),
            index: number % CHUNK as u32,
        })
    }

    fn handles(&self) -> impl Iterator<Item = &HandleState> {
        self.chunks.iter().flat_map(|chunk| &chunk.handles)
    }
}

impl Registry {
    // Poisoned only by a panic that its own thread has reported; another one here would hide it.
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates a handle.
    ///
    /// # Panics
    /// If there are 2^32 handles already.
    pub fn register(self: &Arc<Self>) -> Handle {
        let mut known = self.lock();
        let Known { chunks, free, .. } = &mut *known;
        let number = free.pop().unwrap_or_else(|| {
            let first = chunks.len() * CHUNK;
            let number = |index| u32::try_from(first + index).expect("handles fit in memory");
            chunks.push(Arc::new(Chunk {
                handles: std::array::from_fn(|index| HandleState::new(number(index))),
                registry: Arc::downgrade(self),
            }));
            // The last first: they are given out in the order of their numbers.
            free.extend((1..CHUNK).rev().map(number));
            number(0)
        });
        let place = known.place(number).expect("its chunk is there");
        place.users.store(1, Ordering::Relaxed);
        Handle(place)
    }

    /// Takes back a handle whose last user is gone.
    fn forget(&self, handle: &HandleState) {
        let mut known = self.lock();
        // Guards of it that were leaked are reached by nobody, but would be waited for.
        handle.end_all();
        handle.counters.add_to(&mut known.retired);
        handle.counters.clear();
        known.free.push(handle.number);
    }

    /// Puts `handle`, which is pinned, on the list.
    #[cold]
    pub(super) fn list(&self, handle: &HandleState) {
        let mut known = self.lock();
        // Another pin of it may have come first.
        if handle.listed.load(Ordering::Relaxed) != 0 {
            return;
        }
        if let Some(place) = known.place(handle.number) {
            known.listed.push(Listed {
                handle: place,
                // Whatever it is: the handle is pinned, so that the next look makes it right.
                pins: 0,
            });
            // Release: see `HandleState::make_listed`.
            handle.listed.store(1, Ordering::Release);
        }
    }

    /// Returns what all handles have counted, those that are gone included.
    // Under one lock with `retired`: a handle that is dropped meanwhile is counted once.
    pub fn counters(&self) -> Counters {
        let known = self.lock();
        let mut total = known.retired;
        for handle in known.handles() {
            handle.counters.add_to(&mut total);
        }
        total
    }

    /// Goes on from what another unit's handles have counted.
    pub fn restore_counters(&self, counters: Counters) {
        let mut known = self.lock();
        // Which handle counted what is not saved: the saved sum takes the place of all of them.
        known.handles().for_each(|handle| handle.counters.clear());
        known.retired = Counters {
            // These two are counted by the cache, which restores its own.
            flushes: 0,
            range_invalidations: 0,
            ..counters
        };
    }

    /// Begins a grace period.
    // Inlined, as the flush before it: what it needs besides its own line, the address of a
    // function included, is waited for after much other work.
    #[inline]
    pub fn begin(&self) -> GracePeriod {
        // Nobody reads the number: after this read-modify-write the fence is free on x86-64.
        self.begun.fetch_add(1, Ordering::SeqCst);
        fence_after_rmw();
        // Allocates nothing if nobody is pinned, as most often.
        let mut waiting = Vec::new();
        let mut known = self.lock();
        let listed = &mut known.listed;
        listed.retain_mut(|Listed { handle, pins }| {
            let before = waiting.len();
            let now = handle.marks(|mark| {
                waiting.push(Waiting {
                    handle: handle.clone(),
                    mark,
                });
            });
            // One that was pinned since the last grace period will soon be again: it stays.
            let active = waiting.len() > before || now != *pins;
            *pins = now;
            active || !handle.unlist()
        });
        // Handles that are idle need no place on it either.
        if listed.len() < listed.capacity() / 4 {
            listed.shrink_to((2 * listed.len()).max(LISTED_LEAST));
        }
        GracePeriod { waiting }
    }

    /// Returns how many handles are on the list, and for how many it has places.
    #[cfg(all(test, not(loom)))]
    pub(super) fn listed(&self) -> (usize, usize) {
        let known = self.lock();
        (known.listed.len(), known.listed.capacity())
    }

    /// Returns how many handles there are.
    #[cfg(all(test, not(loom)))]
    pub(super) fn handles(&self) -> usize {
        let known = self.lock();
        known.handles().count() - known.free.len()
    }

    /// Returns the bytes that all handles take.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn bytes(&self) -> usize {
        let known = self.lock();
        known.chunks.len() * (size_of::<Chunk>() + size_of::<Arc<Chunk>>())
            + known.free.capacity() * size_of::<u32>()
            + known.listed.capacity() * size_of::<Listed>()
    }
}

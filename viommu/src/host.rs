//! Guest memory by host address: the only module with unsafe code.
//!
//! A [`Map`] keeps where each region of guest memory lies in the host, so that a cached translation
//! leads to a slice without a search. Its [`slice`](Map::slice) checks every request against the
//! region's length: whatever the cache above holds, right, stale or forged, no slice can reach
//! outside guest memory.
//!
//! Regions come and go: a [`HostMemory`] has the map of the moment, which whoever is pinned may use
//! until the pin ends. A map that was replaced is dropped when the grace period that began then is
//! over.
//!
//! The safety of this module rests on that check, on the promise of [`StableHostMemory`], and on
//! grace periods ([`Held`] and [`Registry`](crate::grace::Registry)), on nothing else in the crate.

#![expect(
    unsafe_code,
    reason = "slices are made from host addresses here, and only here"
)]

use std::mem::size_of;
use std::ptr::NonNull;
use std::sync::{Arc, PoisonError};

use vm_memory::bitmap::{Bitmap, MS};
#[cfg(unix)]
use vm_memory::mmap::MmapRegionBuilder as _NotXen;
use vm_memory::{
    GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, MemoryRegionAddress, VolatileSlice,
};

use crate::grace::{GracePeriod, Held};
use crate::sync::{AtomicPtr, AtomicU64, Mutex, MutexGuard, Ordering};

#[cfg(not(target_pointer_width = "64"))]
compile_error!("viommu needs a 64-bit host");

/// With its `xen` feature, vm-memory maps guest memory at each access and no address is stable.
/// `MmapRegionBuilder` exists only without: this makes the combination fail to compile.
#[cfg(unix)]
type _OnlyWithoutXen = _NotXen<()>;

/// Guest memory whose regions stay where they are in the host.
///
/// Implement it for a memory of your own to put it behind a
/// [`TranslationUnit`](crate::TranslationUnit). Regions are added and removed by another value (see
/// [`set_memory`](crate::TranslationUnit::set_memory)): the unit keeps the old one as long as
/// anyone who is pinned may be using it.
///
/// # Safety
/// For as long as a value exists (behind an [`Arc`], so that nobody has it mutably):
/// - [`GuestMemoryBackend::iter`] yields the same regions in the same order;
/// - for each region that has a host address, `get_host_address(MemoryRegionAddress(0))` names
///   `len()` bytes that are valid for volatile reads and writes, that belong to one allocation, and
///   that are never moved or unmapped;
/// - nobody makes Rust references to them, except volatile or atomic access as `VolatileSlice` does
///   it.
pub unsafe trait StableHostMemory: GuestMemoryBackend {}

// SAFETY: a `GuestMemoryMmap` is a vector of reference-counted regions without interior mutability;
// a `GuestRegionMmap` owns one `mmap`ed range of its `len()` until it is dropped, and gives out
// only volatile access to it.
unsafe impl<B: Bitmap> StableHostMemory for GuestMemoryMmap<B> {}

/// Where one region lies.
#[derive(Clone, Copy, Debug)]
struct Region {
    /// First guest physical address.
    start: u64,
    /// Where that is in the host.
    host: *mut u8,
    /// Bytes.
    len: u64,
    /// Its position in the memory's own order.
    nth: usize,
    /// Its number, which it keeps when others are added or removed.
    number: usize,
}

impl Region {
    /// What a number has that is free.
    const NONE: Self = Self {
        start: 0,
        host: NonNull::dangling().as_ptr(),
        len: 0,
        nth: 0,
        number: 0,
    };
}

// SAFETY: a `Region` is plain numbers; `host` is used only by `Map::slice`, through which nothing
// is reachable that the memory itself, which the `Map` holds, would not give out to the same
// thread.
unsafe impl Send for Region {}
// SAFETY: as above; nothing in it changes.
unsafe impl Sync for Region {}

/// A place in guest memory and how far it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RegionExtent {
    /// Which region; a full word, as a smaller one would be written and read by different widths on
    /// the way.
    pub region: u64,
    /// Bytes from its start.
    pub offset: u64,
    /// Bytes from there on that are known to belong together; not 0.
    pub room: u64,
}

/// One state of guest memory, and where its regions lie in the host. It never changes.
#[derive(Debug)]
pub(crate) struct Map<M> {
    memory: Arc<M>,
    /// By number; one without bytes is none.
    numbered: Box<[Region]>,
    /// Those that there are, by `start`.
    sorted: Box<[Region]>,
}

impl<M> Map<M> {
    /// Returns the place of the guest physical `address`; its `room` goes to the end of its region.
    pub fn find(&self, address: u64) -> Option<RegionExtent> {
        // Regions do not overlap: only the last one that begins by `address` can contain it.
        let after = self.sorted.partition_point(|r| r.start <= address);
        let region = &self.sorted[after.checked_sub(1)?];
        let offset = address - region.start;
        // None in a hole behind the region; a region that adjoins would have been found instead.
        let room = region.len.checked_sub(offset).filter(|room| *room > 0)?;
        Some(RegionExtent {
            region: region.number as u64,
            offset,
            room,
        })
    }

    /// Returns how many bytes from the guest physical `address` on there is no memory, if there is
    /// none at it; never 0. To the end of the address space it is one byte less.
    pub fn gap(&self, address: u64) -> u64 {
        let after = self.sorted.partition_point(|r| r.start <= address);
        match self.sorted.get(after) {
            Some(next) => next.start - address,
            None => (u64::MAX - address).max(1),
        }
    }

    /// Returns the guest physical address of `place`, if there is such a region.
    #[expect(clippy::cast_possible_truncation, reason = "hosts have 64 bits")]
    pub fn address(&self, place: &RegionExtent) -> Option<u64> {
        let region = self.numbered.get(place.region as usize)?;
        // May wrap: the place may be from a saved cache, which can hold any offset.
        (region.len > 0).then(|| region.start.wrapping_add(place.offset))
    }

    /// Returns the first address and the length of each region, by number; a length of 0 is none.
    pub fn regions(&self) -> impl ExactSizeIterator<Item = (u64, u64)> + '_ {
        self.numbered
            .iter()
            .map(|region| (region.start, region.len))
    }
}

impl<M: StableHostMemory> Map<M> {
    /// Creates a table of where `memory` lies in the host. Regions without a host address are left
    /// out, as if nothing were there. Those that `before` has too keep their numbers; others get
    /// numbers for which `taken` is false.
    fn new(memory: Arc<M>, before: &[Region], taken: impl Fn(usize) -> bool) -> Self {
        let mut sorted: Vec<_> = memory
            .iter()
            .enumerate()
            .filter_map(|(nth, region)| {
                Some(Region {
                    start: region.start_addr().0,
                    host: region.get_host_address(MemoryRegionAddress(0)).ok()?,
                    len: region.len(),
                    nth,
                    number: 0,
                })
            })
            // One without bytes could hide another that begins at the same address.
            .filter(|region| region.len > 0)
            .collect();
        // For the search in `find`; the order of the memory itself is kept in `nth`.
        sorted.sort_by_key(|region| region.start);
        let mut free = (0..).filter(|number| !taken(*number));
        for region in &mut sorted {
            let same = before.iter().find(|other| {
                (other.start, other.host, other.len) == (region.start, region.host, region.len)
            });
            region.number = match same {
                Some(same) => same.number,
                // Never none: the numbers do not end.
                None => free.next().unwrap_or(usize::MAX),
            };
        }
        let count = sorted.iter().map(|region| region.number + 1).max();
        let mut numbered = vec![Region::NONE; count.unwrap_or(0)];
        for region in &sorted {
            numbered[region.number] = *region;
        }
        Self {
            memory,
            numbered: numbered.into(),
            sorted: sorted.into(),
        }
    }

    /// Returns `len` bytes from `place` on; `None` if they are not all in its region.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "hosts have 64 bits")]
    pub fn slice(&self, place: &RegionExtent, len: usize) -> Option<VolatileSlice<'_, MS<'_, M>>> {
        let region = self.numbered.get(place.region as usize)?;
        // Checked: the sum could overflow for a place from a saved cache.
        if place.offset.checked_add(len as u64)? > region.len {
            return None;
        }
        let offset = place.offset as usize;
        let bitmap = self.bitmap(region, offset)?;
        // SAFETY: `offset + len` was just found to be at most the region's length, so by the
        // promise of `StableHostMemory` the address is in bounds of the region's allocation and
        // `len` bytes there are valid for volatile access as long as the memory exists: `self`,
        // which the slice borrows, holds it. A number that is free has no bytes: its address
        // is aligned and not null, which is all that a slice of none needs.
        Some(unsafe { VolatileSlice::with_bitmap(region.host.add(offset), len, bitmap, None) })
    }

    /// Returns the part of a region's dirty bitmap that begins at `offset`.
    #[inline(always)]
    fn bitmap(&self, region: &Region, offset: usize) -> Option<MS<'_, M>> {
        // Without a bitmap (`B = ()`) all values are the same; then any region will do and nothing
        // is searched.
        let nth = if size_of::<MS<'_, M>>() == 0 {
            0
        } else {
            region.nth
        };
        let region = self.memory.iter().nth(nth)?;
        Some(region.bitmap().slice_at(offset))
    }
}

/// The memory that a model reads tables from, which is that of its unit at the moment.
pub(crate) struct CurrentMemory<M>(Arc<Mutex<Arc<M>>>);

impl<M> Clone for CurrentMemory<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> CurrentMemory<M> {
    pub fn new(memory: Arc<M>) -> Self {
        Self(Arc::new(Mutex::new(memory)))
    }

    /// Returns it. Not to be kept: what was removed from it is given back to the host only when
    /// nobody has it any more.
    pub fn get(&self) -> Arc<M> {
        Arc::clone(&lock(&self.0))
    }
}

// Poisoned only by a panic that its own thread has reported; another one here would hide it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Guest memory, which may be replaced.
pub(crate) struct HostMemory<M> {
    /// [`Maps::current`].
    current: AtomicPtr<Map<M>>,
    maps: Mutex<Maps<M>>,
    memory: CurrentMemory<M>,
}

/// The maps that someone may be using.
struct Maps<M> {
    current: Arc<Map<M>>,
    /// Those before it, by number, each with the grace period that began when it was replaced.
    retired: Vec<(u64, GracePeriod, Arc<Map<M>>)>,
    /// How often memory was replaced.
    changes: u64,
}

impl<M> HostMemory<M> {
    /// Returns the map of the moment, for who is pinned.
    #[inline(always)]
    pub fn map<'a>(&'a self, _held: Held<'a>) -> &'a Map<M> {
        // Acquire: what `replace` wrote into the map is seen.
        let map = self.current.load(Ordering::Acquire);
        // SAFETY: `map` is from an `Arc` that `maps` has, as `current` or in `retired`. It leaves
        // `retired` only when the grace period is over that began after `current` was replaced.
        // That waits for the pin that `_held` shows, which is of this memory's unit and is held for
        // as long as `'a`, or else the pin began after the grace period: then the load above sees
        // the replacement. Nobody has it mutably.
        unsafe { &*map }
    }

    /// Returns whether `map`, which someone pinned has, is still that of the moment.
    pub fn is_current(&self, map: &Map<M>) -> bool {
        // No other map can be at this address as long as someone has this one.
        std::ptr::eq(self.current.load(Ordering::Acquire), map)
    }

    /// Returns the map of the moment, for who is not pinned.
    pub fn snapshot(&self) -> Arc<Map<M>> {
        Arc::clone(&lock(&self.maps).current)
    }

    /// Returns the memory that models read tables from.
    pub fn memory(&self) -> &CurrentMemory<M> {
        &self.memory
    }

    /// Gives back to the host what nobody can be using any more; returns whether that is all that
    /// was replaced by change number `change` and before.
    pub fn reclaim(&self, change: u64) -> bool {
        let mut maps = lock(&self.maps);
        let (mut gone, mut at) = (Vec::new(), 0);
        while let Some((_, grace, _)) = maps.retired.get_mut(at) {
            if grace.is_over() {
                gone.push(maps.retired.remove(at));
            } else {
                at += 1;
            }
        }
        let done = maps.retired.iter().all(|(number, ..)| *number > change);
        drop(maps);
        // Unmapping takes time: without the lock.
        drop(gone);
        done
    }
}

impl<M: StableHostMemory> HostMemory<M> {
    /// Creates it of the memory that there is at first.
    pub fn new(memory: CurrentMemory<M>) -> Self {
        let current = Arc::new(Map::new(memory.get(), &[], |_| false));
        Self {
            current: AtomicPtr::new(Arc::as_ptr(&current).cast_mut()),
            maps: Mutex::new(Maps {
                current,
                retired: Vec::new(),
                changes: 0,
            }),
            memory,
        }
    }

    /// Replaces the memory. What pins have begun with they may go on with until the grace period is
    /// over that `begin` begins; before it, `forget` is called if a region is gone. Returns the
    /// number of the change, and whether one is gone.
    pub fn replace(
        &self,
        memory: Arc<M>,
        forget: impl FnOnce(),
        begin: impl FnOnce() -> GracePeriod,
    ) -> (u64, bool) {
        // A number that a retired map has may be in a place that a pin still holds.
        self.reclaim(0);
        let mut maps = lock(&self.maps);
        let taken = |number: usize| {
            let all = maps.retired.iter().map(|(_, _, map)| map);
            let mut all = all.chain([&maps.current]);
            all.any(|map| map.numbered.get(number).is_some_and(|r| r.len > 0))
        };
        let next = Arc::new(Map::new(Arc::clone(&memory), &maps.current.numbered, taken));
        let kept = |region: &Region| next.sorted.iter().any(|r| r.number == region.number);
        let removed = !maps.current.sorted.iter().all(kept);
        *lock(&self.memory.0) = memory;
        // Release: whoever loads it sees the map.
        let pointer = Arc::as_ptr(&next).cast_mut();
        self.current.store(pointer, Ordering::Release);
        // After the new map: what is cached from here on is of it.
        if removed {
            forget();
        }
        // Last, as it covers both.
        let grace = begin();
        maps.changes += 1;
        let number = maps.changes;
        let before = std::mem::replace(&mut maps.current, next);
        maps.retired.push((number, grace, before));
        (number, removed)
    }
}

/// Words of a cache line.
pub(crate) const LINE: usize = 8;

/// Cache lines of words that are 0 at first, taken from the system only when they are first used.
pub(crate) struct ZeroedLines {
    /// What was allocated: the lines, and what is before the first and after the last.
    words: NonNull<[AtomicU64]>,
    lines: NonNull<[[AtomicU64; LINE]]>,
}

// SAFETY: it owns its words like a `Box<[AtomicU64]>`, which is `Send`.
unsafe impl Send for ZeroedLines {}
// SAFETY: it shares its words like a `Box<[AtomicU64]>`, which is `Sync`.
unsafe impl Sync for ZeroedLines {}

impl ZeroedLines {
    /// Allocates `count` lines.
    pub fn new(count: usize) -> Self {
        let bytes = LINE * size_of::<AtomicU64>();
        // One line more than asked for: the box may begin in the middle of a cache line.
        let words = NonNull::from(Box::leak(zeroed_words((count + 1) * LINE)));
        // SAFETY: they were just leaked, and are atomics, so that sharing them is fine. From here
        // on they are reached through `words` and what comes from it only: a unique reference that
        // comes between would end `lines`.
        let shared = unsafe { words.as_ref() };
        let before = (bytes - shared.as_ptr().addr() % bytes) % bytes / size_of::<AtomicU64>();
        // Of the slice, not of its first word: all of it may be reached through the lines.
        let lines = NonNull::from(&shared[before..][..count * LINE]);
        let lines = NonNull::slice_from_raw_parts(lines.cast(), count);
        Self { words, lines }
    }

    /// Returns the lines.
    #[inline(always)]
    pub fn get(&self) -> &[[AtomicU64; LINE]] {
        // SAFETY: the lines are part of `words`, which lives until `self` is dropped, and are
        // atomics, so that sharing them is fine.
        unsafe { self.lines.as_ref() }
    }
}

impl Drop for ZeroedLines {
    fn drop(&mut self) {
        // SAFETY: `words` is from a box that was leaked in `new`, and nothing borrows from `self`
        // any more.
        drop(unsafe { Box::from_raw(self.words.as_ptr()) });
    }
}

/// Allocates `count` zeros, which are taken from the system only when they are first used.
fn zeroed_words(count: usize) -> Box<[AtomicU64]> {
    #[cfg(loom)]
    {
        (0..count).map(|_| AtomicU64::new(0)).collect()
    }
    #[cfg(not(loom))]
    {
        const {
            assert!(size_of::<AtomicU64>() == size_of::<u64>());
            assert!(align_of::<AtomicU64>() == align_of::<u64>());
        }
        // A vector of zeros is allocated as zeroed memory; one of atomics would be written word by
        // word.
        let words = Box::into_raw(vec![0u64; count].into_boxed_slice());
        // SAFETY: `AtomicU64` has the same representation as `u64` (its documentation says so) and,
        // as checked above, the same alignment here, so the allocation has the layout that the new
        // box will free it with.
        unsafe { Box::from_raw(words as *mut [AtomicU64]) }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;

//! Guest memory by host address: the only module with unsafe code.
//!
//! A [`HostMemory`] keeps where each region of guest memory lies in the host, so that a cached
//! translation leads to a slice without a search. Its [`slice`](HostMemory::slice) checks every
//! request against the region's length: whatever the cache above holds, right, stale or forged, no
//! slice can reach outside guest memory. The safety of this module rests on that check and on the
//! promise of [`StableHostMemory`], on nothing else in the crate.

#![expect(
    unsafe_code,
    reason = "slices are made from host addresses here, and only here"
)]

use std::mem::size_of;
use std::ptr::NonNull;
use std::sync::Arc;

use vm_memory::bitmap::{Bitmap, MS};
#[cfg(unix)]
use vm_memory::mmap::MmapRegionBuilder as _NotXen;
use vm_memory::{
    GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, MemoryRegionAddress, VolatileSlice,
};

use crate::sync::AtomicU64;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("viommu needs a 64-bit host");

/// With its `xen` feature, vm-memory maps guest memory at each access and no address is stable.
/// `MmapRegionBuilder` exists only without: this makes the combination fail to compile.
#[cfg(unix)]
type _OnlyWithoutXen = _NotXen<()>;

/// Guest memory whose regions stay where they are in the host.
///
/// Implement it for a memory of your own to put it behind a
/// [`TranslationUnit`](crate::TranslationUnit).
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
#[derive(Debug)]
struct Region {
    /// First guest physical address.
    start: u64,
    /// Where that is in the host.
    host: *mut u8,
    /// Bytes; not 0.
    len: u64,
    /// Its position in the memory's own order.
    nth: usize,
}

// SAFETY: a `Region` is plain numbers; `host` is used only by `HostMemory::slice`, through which
// nothing is reachable that the memory itself, which `HostMemory` holds, would not give out to the
// same thread.
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

/// Guest memory and where it lies in the host.
#[derive(Debug)]
pub(crate) struct HostMemory<M> {
    memory: Arc<M>,
    /// Sorted by `start`.
    regions: Box<[Region]>,
}

impl<M> HostMemory<M> {
    /// Returns the guest memory itself.
    pub fn memory(&self) -> &Arc<M> {
        &self.memory
    }

    /// Returns the place of the guest physical `address`; its `room` goes to the end of its region.
    pub fn find(&self, address: u64) -> Option<RegionExtent> {
        // Regions do not overlap: only the last one that begins by `address` can contain it.
        let after = self.regions.partition_point(|r| r.start <= address);
        let region = after.checked_sub(1)?;
        let Region { start, len, .. } = self.regions[region];
        let offset = address - start;
        // None in a hole behind the region; a region that adjoins would have been found instead.
        let room = len.checked_sub(offset).filter(|room| *room > 0)?;
        Some(RegionExtent {
            region: region as u64,
            offset,
            room,
        })
    }

    /// Returns how many bytes from the guest physical `address` on there is no memory, if there is
    /// none at it; never 0. To the end of the address space it is one byte less.
    pub fn gap(&self, address: u64) -> u64 {
        let after = self.regions.partition_point(|r| r.start <= address);
        match self.regions.get(after) {
            Some(next) => next.start - address,
            None => (u64::MAX - address).max(1),
        }
    }

    /// Returns the guest physical address of `place`, if there is such a region.
    #[expect(clippy::cast_possible_truncation, reason = "hosts have 64 bits")]
    pub fn address(&self, place: &RegionExtent) -> Option<u64> {
        let region = self.regions.get(place.region as usize)?;
        // May wrap: the place may be from a saved cache, which can hold any offset.
        Some(region.start.wrapping_add(place.offset))
    }
}

impl<M: StableHostMemory> HostMemory<M> {
    /// Creates a table of where `memory` lies in the host. Regions without a host address are left
    /// out, as if nothing were there.
    pub fn new(memory: Arc<M>) -> Self {
        let mut regions: Vec<_> = memory
            .iter()
            .enumerate()
            .filter_map(|(nth, region)| {
                Some(Region {
                    start: region.start_addr().0,
                    host: region.get_host_address(MemoryRegionAddress(0)).ok()?,
                    len: region.len(),
                    nth,
                })
            })
            // One without bytes could hide another that begins at the same address.
            .filter(|region| region.len > 0)
            .collect();
        // For the search in `find`; the order of the memory itself is kept in `nth`.
        regions.sort_by_key(|region| region.start);
        Self {
            memory,
            regions: regions.into(),
        }
    }

    /// Returns `len` bytes from `place` on; `None` if they are not all in its region.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "hosts have 64 bits")]
    pub fn slice(&self, place: &RegionExtent, len: usize) -> Option<VolatileSlice<'_, MS<'_, M>>> {
        let region = self.regions.get(place.region as usize)?;
        // Checked: the sum could overflow for a place from a saved cache.
        if place.offset.checked_add(len as u64)? > region.len {
            return None;
        }
        let offset = place.offset as usize;
        let bitmap = self.bitmap(region, offset)?;
        // SAFETY: `offset + len` was just found to be at most the region's length, so by the
        // promise of `StableHostMemory` the address is in bounds of the region's allocation and
        // `len` bytes there are valid for volatile access as long as the memory exists: `self`,
        // which the slice borrows, holds it.
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
        let lines = NonNull::from(&shared[before..].as_chunks().0[..count]);
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
mod tests {
    use vm_memory::bitmap::AtomicBitmap;
    use vm_memory::{Bytes, GuestAddress};

    use super::*;

    fn memory() -> HostMemory<GuestMemoryMmap<AtomicBitmap>> {
        let ranges = [
            (GuestAddress(0x1000), 0x3000),
            (GuestAddress(0x8000), 0x1000),
        ];
        HostMemory::new(Arc::new(GuestMemoryMmap::from_ranges(&ranges).unwrap()))
    }

    #[test]
    fn finds_places_up_to_the_last_byte() {
        let host = memory();
        let at = |region: u64, offset, room| {
            Some(RegionExtent {
                region,
                offset,
                room,
            })
        };
        assert_eq!(host.find(0xfff), None);
        assert_eq!(host.find(0x1000), at(0, 0, 0x3000));
        assert_eq!(host.find(0x3fff), at(0, 0x2fff, 1));
        assert_eq!(host.find(0x4000), None);
        assert_eq!(host.find(0x8001), at(1, 1, 0xfff));
        assert_eq!(host.find(0x9000), None);
        assert_eq!(host.find(u64::MAX), None);
        assert_eq!(host.address(&host.find(0x8001).unwrap()), Some(0x8001));
    }

    #[test]
    fn gives_no_slice_beyond_a_region() {
        let host = memory();
        let place = |region: u64, offset| RegionExtent {
            region,
            offset,
            room: u64::MAX,
        };
        assert_eq!(host.slice(&place(0, 0x2fff), 1).unwrap().len(), 1);
        assert_eq!(host.slice(&place(0, 0x3000), 0).unwrap().len(), 0);
        for (region, offset, len) in [
            (0, 0x3000, 1),
            (0, 0, 0x3001),
            (0, u64::MAX, 1),
            (0, 1, usize::MAX),
            (2, 0, 0),
            (u64::from(u32::MAX), 0, 1),
        ] {
            assert!(host.slice(&place(region, offset), len).is_none());
        }
    }

    #[test]
    fn writes_mark_the_dirty_bitmap_of_the_right_region() {
        let host = memory();
        let place = host.find(0x8800).unwrap();
        let slice = host.slice(&place, 16).unwrap();
        slice.write_obj(7u32, 0).unwrap();
        let mut regions = host.memory().iter();
        assert!(!regions.next().unwrap().bitmap().dirty_at(0x800));
        assert!(regions.next().unwrap().bitmap().dirty_at(0x800));
        let value: u32 = host.memory().read_obj(GuestAddress(0x8800)).unwrap();
        assert_eq!(value, 7);
    }
}

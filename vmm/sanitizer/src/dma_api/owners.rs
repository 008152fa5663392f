//! Which bytes of memory belong to devices at the moment, and not to the CPU: pure data.
//!
//! Memory that is mapped for a device that is not coherent belongs to it until it is unmapped, or
//! synchronised for the CPU (Documentation/core-api/dma-api.rst of Linux, "Part Id"). Until then
//! the CPU must not write to it, nor read what the device writes. Caches work by lines: what the
//! CPU writes beside the bytes of a device in one line may be written back over what the device
//! has written, or be lost.
//!
//! What a device only reads may also be written to and be synchronised for the device afterwards
//! (the same document: "after the last modification of the memory region by the software"), as
//! drivers of IOMMUs do with page tables. So such a write is a mistake only if no synchronisation
//! comes until the memory is unmapped.
//!
//! Memory is bounded: see [`MAX_PAGES`] and [`MAX_OWNERS`].

use std::collections::{BTreeMap, BTreeSet};

use vmm_machine::vcpu::{RamWatch, WatchKind};

use super::shadow::{Direction, GuestDevice, Mapping};
use super::spec::To;
use crate::{Kind, Options, PAGE_BITS};

/// The most pages of which bytes are watched at a time: 64 MiB.
pub const MAX_PAGES: usize = 1 << 14;
/// The most mappings that are watched in one page.
pub const MAX_OWNERS: usize = 64;
/// The most pieces that one mapping falls into as parts of it are synchronised.
const MAX_PIECES: usize = 2048;
/// The most writes to one mapping for which a synchronisation is waited for; others are left out.
const MAX_WRITES: usize = 8;
/// Bytes of a cache line. `ARCH_DMA_MINALIGN` of 32-bit ARM is as many
/// (arch/arm/include/asm/cache.h, with `CONFIG_ARM_L1_CACHE_SHIFT` 6 as for all of ARMv7).
pub const LINE: u64 = 64;

/// Bytes of memory, by their numbers, which are physical addresses if these are known; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first byte.
    pub first: u64,
    /// The last byte.
    pub last: u64,
}

impl Range {
    /// Returns the bytes that are in both.
    pub fn and(self, other: Self) -> Option<Self> {
        let (first, last) = (self.first.max(other.first), self.last.min(other.last));
        (first <= last).then_some(Self { first, last })
    }

    /// Returns it with the bytes of `other`, if it meets or touches that.
    pub fn with(self, other: Self) -> Self {
        let touches = self.first <= other.last.saturating_add(1)
            && other.first <= self.last.saturating_add(1);
        if !touches {
            return self;
        }
        Self {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }

    /// Returns what is left without the bytes of `other`.
    fn without(self, other: Self) -> impl Iterator<Item = Self> {
        let before = Self {
            last: self.last.min(other.first.wrapping_sub(1)),
            ..self
        };
        let after = Self {
            first: self.first.max(other.last.wrapping_add(1)),
            ..self
        };
        let is_before = other.first > self.first;
        let is_after = other.last < self.last;
        [(is_before, before), (is_after, after)]
            .into_iter()
            .filter_map(|(is, part)| is.then_some(part))
    }

    /// Returns it with the whole of its first and last cache line.
    const fn lines(self) -> Self {
        Self {
            first: self.first & !(LINE - 1),
            last: self.last | (LINE - 1),
        }
    }

    const fn pages(self) -> std::ops::RangeInclusive<u64> {
        self.first >> PAGE_BITS..=self.last >> PAGE_BITS
    }
}

/// A mapping, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnedId(u64);

/// Memory that is mapped for a device.
#[derive(Clone, Debug)]
pub struct Owned<C> {
    /// The device.
    pub device: GuestDevice,
    /// Its mapping; of a scatter list the first.
    pub mapping: Mapping<C>,
    /// All of the memory.
    all: Vec<Range>,
    /// What of it belongs to the device at the moment.
    ranges: Vec<Range>,
    /// The CPU's writes to what the device only reads, since it was synchronised: where, and who
    /// made them.
    pub written: Vec<(Range, C)>,
}

impl<C> Owned<C> {
    fn device_writes(&self) -> bool {
        self.mapping.direction.allows(true)
    }
}

/// What an access of the CPU meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Bytes that a device only reads, and which may be synchronised yet.
    Unsynchronised,
    /// Bytes of a device.
    Bytes,
    /// A cache line that the device writes to.
    Line,
}

/// The memory that belongs to devices.
#[derive(Clone, Debug)]
pub struct Owners<C> {
    owned: BTreeMap<OwnedId, Owned<C>>,
    /// The mappings that have bytes in a page, by its number.
    pages: BTreeMap<u64, Vec<OwnedId>>,
    /// The pages of which other bytes are to be watched than before.
    changed: BTreeSet<u64>,
    /// The number of the next mapping.
    next: u64,
    /// Whether cache lines are looked at.
    lines: bool,
    /// How many mappings are not watched.
    beyond: u64,
}

impl<C> Owners<C> {
    /// Returns what these options need; `None` if nothing is to be watched.
    pub fn wanted(options: &Options) -> Option<Self> {
        let lines = options.wants(Kind::SharedLine);
        (lines || options.wants(Kind::Ownership)).then(|| Self::new(lines))
    }

    /// Creates one without any memory; `lines`: whether cache lines are looked at.
    pub const fn new(lines: bool) -> Self {
        Self {
            owned: BTreeMap::new(),
            pages: BTreeMap::new(),
            changed: BTreeSet::new(),
            next: 0,
            lines,
            beyond: 0,
        }
    }

    /// Returns the same for another machine, in which nothing is watched yet.
    pub fn fork(&self) -> Self
    where
        C: Clone,
    {
        Self {
            changed: self.pages.keys().copied().collect(),
            ..self.clone()
        }
    }

    /// Returns a number for a mapping that may be taken.
    pub const fn number(&mut self) -> OwnedId {
        self.next += 1;
        OwnedId(self.next)
    }

    /// Returns how many mappings were not watched, as there were too many.
    pub const fn beyond(&self) -> u64 {
        self.beyond
    }

    /// Takes note of a mapping that has a number. `owned`: whether its memory belongs to the device
    /// at once.
    pub fn take(&mut self, device: GuestDevice, mapping: Mapping<C>, all: Vec<Range>, owned: bool) {
        let (Some(id), false) = (mapping.owned, all.is_empty()) else {
            return;
        };
        // Before the numbers of pages are collected: a mapping may be of any size.
        let count = |range: &Range| (range.last >> PAGE_BITS) - (range.first >> PAGE_BITS) + 1;
        let most = all.iter().map(count).fold(0, u64::saturating_add);
        let room = MAX_PAGES - self.pages.len().min(MAX_PAGES);
        if all.len() > MAX_PIECES || most > MAX_PAGES as u64 {
            self.beyond += 1;
            return;
        }
        let pages: BTreeSet<u64> = all.iter().flat_map(|range| range.pages()).collect();
        let is_full = |page| {
            self.pages
                .get(page)
                .is_some_and(|ids| ids.len() >= MAX_OWNERS)
        };
        let new = pages.iter().filter(|page| !self.pages.contains_key(page));
        if new.count() > room || pages.iter().any(is_full) {
            self.beyond += 1;
            return;
        }
        for page in pages {
            self.pages.entry(page).or_default().push(id);
            self.changed.insert(page);
        }
        let ranges = if owned { all.clone() } else { Vec::new() };
        let owned = Owned {
            device,
            mapping,
            all,
            ranges,
            written: Vec::new(),
        };
        self.owned.insert(id, owned);
    }

    /// Forgets a mapping, and returns it; it need not be one that was taken.
    pub fn release(&mut self, id: OwnedId) -> Option<Owned<C>> {
        let owned = self.owned.remove(&id)?;
        for page in owned.all.iter().flat_map(|range| range.pages()) {
            self.changed.insert(page);
            if let Some(ids) = self.pages.get_mut(&page) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    self.pages.remove(&page);
                }
            }
        }
        Some(owned)
    }

    /// Takes note that the CPU has written to bytes that may be synchronised yet.
    pub fn wrote(&mut self, id: OwnedId, access: Range, made: C) {
        if let Some(owned) = self.owned.get_mut(&id)
            && owned.written.len() < MAX_WRITES
        {
            owned.written.push((access, made));
        }
    }

    /// Forgets all mappings of a device.
    pub fn release_all(&mut self, device: GuestDevice) {
        let of_device = self
            .owned
            .iter()
            .filter(|(_, owned)| owned.device == device);
        let ids: Vec<OwnedId> = of_device.map(|(&id, _)| id).collect();
        ids.into_iter().for_each(|id| drop(self.release(id)));
    }

    /// Gives a part of a mapping, or all of it, to the CPU or to the device.
    pub fn give(&mut self, id: OwnedId, part: Option<Range>, to: To) {
        let Some(owned) = self.owned.get_mut(&id) else {
            return;
        };
        let parts: Vec<Range> = match part {
            Some(part) => owned.all.iter().filter_map(|all| all.and(part)).collect(),
            None => owned.all.clone(),
        };
        // Whoever writes first and synchronises then does so again: watching that would cost much.
        let synchronised = |(written, _): &(Range, C)| {
            to == To::Device && parts.iter().any(|part| part.and(*written).is_some())
        };
        if owned.written.iter().any(synchronised) {
            self.release(id);
            return;
        }
        for part in parts {
            let rest = owned.ranges.iter().flat_map(|range| range.without(part));
            owned.ranges = rest.collect();
            if to == To::Device {
                owned.ranges.push(part);
            }
            self.changed.extend(part.pages());
        }
        // Better none of it than what would have to be searched at each access.
        if owned.ranges.len() > MAX_PIECES {
            self.changed
                .extend(owned.ranges.iter().flat_map(|range| range.pages()));
            owned.ranges.clear();
        }
    }

    /// Returns the pages of which other bytes are to be watched than before, by physical address,
    /// and all bytes that are to be watched now.
    pub fn changes(&mut self) -> Vec<(u64, Vec<RamWatch>)> {
        let changed = std::mem::take(&mut self.changed);
        let watches = |page| (page << PAGE_BITS, self.watches(page));
        changed.into_iter().map(watches).collect()
    }

    fn watches(&self, number: u64) -> Vec<RamWatch> {
        let first = number << PAGE_BITS;
        let page = Range {
            first,
            last: first | ((1 << PAGE_BITS) - 1),
        };
        let mut watches = Vec::new();
        let mut watch = |range: Range, kind| {
            // Offsets in a page fit.
            let offset = |at: u64| u16::try_from(at - first).unwrap_or(u16::MAX);
            if let Some(part) = range.and(page) {
                let (first, last) = (offset(part.first), offset(part.last));
                watches.push(RamWatch { first, last, kind });
            }
        };
        for owned in self.pages.get(&number).into_iter().flatten() {
            let Some(owned) = self.owned.get(owned) else {
                continue;
            };
            for &range in &owned.ranges {
                match owned.mapping.direction {
                    Direction::ToDevice => watch(range, WatchKind::Write),
                    _ => watch(range, WatchKind::Access),
                }
                let lines = range.lines();
                if self.lines && owned.device_writes() && lines != range {
                    watch(lines, WatchKind::Write);
                }
            }
        }
        watches
    }

    /// Returns what an access of the CPU must not do, and the memory that it is about.
    pub fn conflict(&self, access: Range, write: bool) -> Option<(Conflict, &Owned<C>)> {
        let owned = || {
            let ids = access.pages().filter_map(|page| self.pages.get(&page));
            ids.flatten().filter_map(|id| self.owned.get(id))
        };
        let bytes = |owned: &&Owned<C>| {
            let meets = |range: &Range| range.and(access).is_some();
            (write || owned.device_writes()) && owned.ranges.iter().any(meets)
        };
        let line = |owned: &&Owned<C>| {
            let meets = |range: &Range| range.lines().and(access).is_some();
            write && owned.device_writes() && owned.ranges.iter().any(meets)
        };
        let is_written = |owned: &&Owned<C>| bytes(owned) && owned.device_writes();
        if let Some(owned) = owned().find(is_written) {
            return Some((Conflict::Bytes, owned));
        }
        if let Some(owned) = owned().find(bytes) {
            return Some((Conflict::Unsynchronised, owned));
        }
        let shared = owned().filter(|_| self.lines).find(line)?;
        Some((Conflict::Line, shared))
    }
}

#[cfg(test)]
mod tests;

//! Watched ranges of RAM.

use super::{WatchKind, Watches};
use crate::bus::RamPage;
use crate::cpu::Cpu;
use crate::mmu::{self, Access};

/// A range of bytes of one page of RAM to watch, by whatever virtual address they are accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RamWatch {
    /// The first byte, from the beginning of the page.
    pub first: u16,
    /// The last byte; the range is empty when it is less than `first`.
    pub last: u16,
    /// Which accesses.
    pub kind: WatchKind,
}

/// An access to watched RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RamHit {
    /// The first byte that is accessed in the page that is watched: its virtual address.
    pub va: u32,
    /// Its physical address.
    pub pa: u64,
    /// How many bytes of the page are accessed from there on; at least one of them is watched.
    pub size: u32,
    /// Whether it is a store.
    pub write: bool,
    /// As [`WatchHit::done`](super::WatchHit::done).
    pub done: bool,
}

impl Watches {
    /// Makes observers watch exactly these ranges of a page of RAM.
    pub fn set_ram(&mut self, number: u32, ranges: &[RamWatch]) {
        if ranges.is_empty() {
            self.ram.remove(&number);
        } else {
            self.ram.insert(number, ranges.into());
        }
        self.count();
    }

    /// Returns whether some byte of `first..=last` of a page of RAM is watched for `access`.
    pub(super) fn ram_watched(
        &self,
        number: u32,
        (first, last): (u32, u32),
        access: Access,
    ) -> bool {
        let ranges = self.ram.get(&number);
        ranges.into_iter().flatten().any(|range| {
            let (from, to) = (u32::from(range.first), u32::from(range.last));
            range.kind.covers(access) && from <= to && from <= last && first <= to
        })
    }
}

impl Cpu {
    /// Returns the part of an access to `va..=last` that is in a watched page of RAM, if the
    /// access is watched there; `done` as the hit has it.
    pub(super) fn watched_ram(
        &self,
        va: u32,
        last: u32,
        access: Access,
        done: bool,
    ) -> Option<RamHit> {
        let watches = self.tlb.watches();
        if watches.ram.is_empty() {
            return None;
        }
        // An access has at most 8 bytes, in at most two pages.
        let second = (last & !0xfff).max(va);
        let parts = [(va, last.min(va | 0xfff)), (second, last)];
        parts.into_iter().find_map(|(first, last)| {
            let (pa, page) = self.ram_at(first, access)?;
            let place = (first & 0xfff, last & 0xfff);
            watches.ram_watched(page, place, access).then_some(RamHit {
                va: first,
                pa,
                size: last - first + 1,
                write: access == Access::Write,
                done,
            })
        })
    }

    /// Returns the physical address of `va`, and the number of its page, if RAM is there.
    fn ram_at(&self, va: u32, access: Access) -> Option<(u64, u32)> {
        let cached = self.tlb.find(va, access == Access::Write);
        if let Some(hit) = cached
            && let Some(pa) = self.physical(hit.host.addr().get())
        {
            return Some((pa, hit.number));
        }
        let pa = mmu::look(&self.s.cp15, &*self.bus, va)?;
        let RamPage { number, .. } = self.bus.ram(pa)?;
        Some((pa, number))
    }
}

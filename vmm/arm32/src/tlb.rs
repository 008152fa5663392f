//! The software TLB: from virtual address to host pointer in a few instructions.
//!
//! A *set* is a direct-mapped array of 4 KiB entries for one pair of (privilege level, DACR): Linux
//! with `CPU_SW_DOMAIN_PAN` writes DACR at every entry to and exit from the kernel, so the sets of
//! the values it alternates between stay warm side by side. Larger mappings are entered 4 KiB at a
//! time.
//!
//! Entries may be dropped at any time (the architecture allows it); they are kept no longer than
//! the guest's own TLB maintenance allows.

mod alignment;
mod code;
mod fetched;
mod partner;
mod saved;
mod watched;

use std::mem::offset_of;
use std::ptr::NonNull;

use serde::{Deserialize, Serialize};

pub use alignment::FREE_BIT;
use alignment::PageNumber;
use fetched::Fetched;
pub use fetched::{FetchedPage, tag as fetch_tag};
pub use partner::Partner;
pub use saved::{CachedPage, TlbState};

use crate::bus::RamPage;
use crate::mmu::Translation;
use crate::watch::Watches;

/// Entries of one set.
const ENTRIES: usize = 1024;
/// Sets: two privilege levels times the DACR values a kernel alternates between, with room.
const SETS: usize = 8;
/// A tag that no address has: bit 11 is masked away whatever the size of the access. (The lowest
/// bits are not: they are what tells a misaligned address.)
const INVALID: u32 = 1 << 11;
/// Added to the tag of a page that is watched, and masked away like it.
const WATCHED: u32 = 1 << 10;
/// Added to the write tag of a page of which stores are told to
/// [`CodePages`](crate::CodePages::want_writes), and masked away like it.
const TOLD: u32 = 1 << 9;
/// As many entries are dropped one by one; a guest that invalidates often has few, and all are 128
/// KiB.
const FEW: usize = 512;

/// How generated code finds the entry of an address: shifted right by so much, and masked.
#[expect(clippy::cast_possible_truncation, reason = "a table of some kilobytes")]
pub const BYTES: (u8, u32) = (8, (ENTRIES as u32 - 1) << 4);
/// How generated code finds the tag of a page that it wants to fetch from: shifted right by so
/// much, and masked.
#[expect(clippy::cast_possible_truncation, reason = "a table of some kilobytes")]
pub const TAG_BYTES: (u8, u32) = (9, (fetched::TAGS as u32 - 1) << 3);
/// Where an entry has its tag for reads.
pub const READ_AT: i8 = in_entry(offset_of!(Entry, read));
/// Its tag for writes.
pub const WRITE_AT: i8 = in_entry(offset_of!(Entry, write));
/// And the host address of guest address 0.
pub const HOST_AT: i8 = in_entry(offset_of!(Entry, host));

/// Returns an offset in an entry as instructions have it.
#[expect(clippy::cast_possible_truncation, reason = "an entry of some bytes")]
const fn in_entry(offset: usize) -> i8 {
    assert!(size_of::<Entry>() == 16);
    offset as i8
}

/// One page as seen from one set.
#[derive(Clone, Copy)]
#[repr(C)]
struct Entry {
    /// Page address when reads may go straight to host memory.
    read: u32,
    /// Page address when writes may.
    write: u32,
    /// Host address of guest virtual address 0 of this page's mapping (wrapping).
    host: usize,
}

const EMPTY: Entry = Entry {
    read: INVALID,
    write: INVALID,
    host: 0,
};

/// What a set is valid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// At PL1.
    pub privileged: bool,
    /// DACR.
    pub dacr: u32,
}

/// Names a span between two invalidations, and the set in it: what was found executable in another
/// span is stale, and in another set it may not be executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spans {
    /// See [`Tlb::set`].
    pub set: u32,
    /// Counts invalidations.
    pub local: u32,
}

/// A cached page, tagged or not.
#[derive(Clone, Copy, Debug)]
pub struct Hit {
    /// Host address of the byte.
    pub host: NonNull<u8>,
    /// Number of the page in RAM.
    pub number: u32,
    /// The page is watched.
    pub watched: bool,
    /// Stores to the page are told.
    pub told: bool,
    /// Accesses may be misaligned.
    pub free: bool,
}

/// The software TLB of one core.
pub struct Tlb {
    entries: Box<[Entry]>,
    /// The page of each entry that holds one.
    numbers: Box<[PageNumber]>,
    keys: [Option<Key>; SETS],
    /// Offset into `entries` of the current set.
    pub(crate) base: usize,
    /// The set that generated code may change to.
    pub(crate) partner: Partner,
    /// The next set to recycle.
    next: usize,
    /// Indices of entries that hold non-global pages, each once, to drop on a change of address
    /// space.
    local: Vec<u16>,
    /// A bit for each entry that is in `local`.
    is_local: Box<[u64]>,
    /// Indices of the others that were filled since everything was dropped, up to [`FEW`] and one
    /// that says that there are more.
    filled: Vec<u16>,
    /// Lowest and highest address covered by mappings larger than a page, of which the TLB holds
    /// pieces.
    large: Option<(u32, u32)>,
    /// The pages that instructions were fetched from.
    fetched: Fetched,
    /// Counts invalidations of these.
    span: u32,
    /// What is watched.
    watches: Watches,
}

impl Default for Tlb {
    fn default() -> Self {
        Self {
            entries: vec![EMPTY; ENTRIES * SETS].into_boxed_slice(),
            numbers: vec![PageNumber::default(); ENTRIES * SETS].into_boxed_slice(),
            keys: [None; SETS],
            base: 0,
            partner: Partner::default(),
            next: 0,
            local: Vec::new(),
            is_local: vec![0; ENTRIES * SETS / 64].into_boxed_slice(),
            filled: Vec::new(),
            large: None,
            fetched: Fetched::default(),
            span: 0,
            watches: Watches::default(),
        }
    }
}

impl Tlb {
    /// Returns the host address for a read of `SIZE` bytes at `va`, if the page is cached and the
    /// access aligned.
    #[inline(always)]
    pub fn read<const SIZE: u32>(&self, va: u32) -> Option<NonNull<u8>> {
        let entry = &self.entries[self.slot(va)];
        // One comparison: a misaligned address differs in its low bits, a watched or empty entry by
        // its tag.
        if entry.read == va & (0xffff_f000 | (SIZE - 1)) {
            pointer(entry, va)
        } else {
            None
        }
    }

    /// Returns the host address for a write, as [`Tlb::read`] does for a read.
    #[inline(always)]
    pub fn write<const SIZE: u32>(&self, va: u32) -> Option<NonNull<u8>> {
        let entry = &self.entries[self.slot(va)];
        if entry.write == va & (0xffff_f000 | (SIZE - 1)) {
            pointer(entry, va)
        } else {
            None
        }
    }

    #[inline(always)]
    fn slot(&self, va: u32) -> usize {
        (self.base + ((va >> 12) as usize & (ENTRIES - 1))) & (ENTRIES * SETS - 1)
    }

    /// Makes the set of (`privileged`, `dacr`) current.
    #[inline]
    pub fn select(&mut self, privileged: bool, dacr: u32) {
        let key = Key { privileged, dacr };
        if self.keys[self.base / ENTRIES] == Some(key) {
            return;
        }
        self.switch(key);
    }

    fn switch(&mut self, key: Key) {
        let left = (self.keys[self.base / ENTRIES], self.base);
        match self.keys.iter().position(|k| *k == Some(key)) {
            Some(set) => self.base = set * ENTRIES,
            None => self.recycle(key),
        }
        self.note_partner(left);
    }

    /// Makes a set current that is one of `key` from now on.
    fn recycle(&mut self, key: Key) {
        let set = self.next;
        self.next = (self.next + 1) % SETS;
        if self.keys[set].is_some() {
            self.entries[set * ENTRIES..(set + 1) * ENTRIES].fill(EMPTY);
            self.forget_local(set * ENTRIES..(set + 1) * ENTRIES);
            // What was found executable in the old meaning of the set is stale.
            #[expect(clippy::cast_possible_truncation, reason = "there are few sets")]
            let dropped = self.fetched.drop_set(set as u32);
            self.new_span_if(dropped);
        }
        self.keys[set] = Some(key);
        self.base = set * ENTRIES;
    }

    /// Returns the address of the entries of the current set, for generated code.
    pub fn set_address(&self) -> usize {
        self.entries[self.base..].as_ptr().expose_provenance()
    }

    /// Returns a small number that names the current set, for the keys of other caches.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "there are few sets")]
    pub fn set(&self) -> u32 {
        (self.base / ENTRIES) as u32
    }

    /// Returns the current spans.
    #[inline(always)]
    pub fn spans(&self) -> Spans {
        Spans {
            set: self.set(),
            local: self.span,
        }
    }

    /// Enters the page of `va`, translated by `t` to RAM page `page`, for the privilege level of
    /// the current set. `told`: stores to the page are told to those who want to know, and so take
    /// the slow path. `strict`: SCTLR.A is set, so that no address may be misaligned.
    pub fn fill(
        &mut self,
        va: u32,
        (privileged, strict): (bool, bool),
        t: &Translation,
        page: RamPage,
        told: bool,
    ) {
        self.large = wider(self.large, va, t);
        let slot = self.slot(va);
        let perms = if privileged { t.privileged } else { t.user };
        let vpage = va & 0xffff_f000;
        let mut entry = Entry {
            read: if perms.read { vpage } else { INVALID },
            write: if perms.write && page.writable {
                vpage | if told { TOLD } else { 0 }
            } else {
                INVALID
            },
            host: (page.host.as_ptr().expose_provenance()).wrapping_sub(vpage as usize),
        };
        if !self.watches.is_empty() {
            entry.mark(page.number, &self.watches);
        }
        self.entries[slot] = entry;
        self.numbers[slot] = PageNumber::new(page.number, t.unaligned_ok() && !strict);
        if t.global {
            self.note_filled(slot);
        } else {
            self.note_local(slot);
        }
    }

    /// Returns the page that instructions at `va` are fetched from, if the current set has it.
    #[inline]
    pub fn fetched(&self, va: u32) -> Option<(u64, RamPage)> {
        self.fetched.find(va, self.set())
    }

    /// Returns the address of the tags of the pages that the current set may fetch from, for
    /// generated code.
    pub fn tags_address(&self) -> usize {
        self.fetched.tags_address(self.set())
    }

    /// Returns whether instructions in the page of `va` are fetched from the same page as they were
    /// in `spans`, as far as that is known without a look at page tables.
    #[inline]
    pub fn is_fetched_alike(&self, va: u32, spans: Spans) -> bool {
        let now = self.spans();
        now == spans
            || now.local == spans.local && self.fetched.has_same_tag(va, (now.set, spans.set))
    }

    /// Returns whether generated code knows that instructions at `va` are fetched from the page of
    /// `tag`.
    #[inline]
    pub fn has_fetch_tag(&self, va: u32, tag: u64) -> bool {
        self.fetched.tag(va, self.set()) == tag
    }

    /// Has generated code know that instructions at `va` are fetched from RAM page `number`, as
    /// [`fetched`](Self::fetched) has it.
    #[inline]
    pub fn note_fetch_tag(&mut self, va: u32, number: u32) {
        self.fetched.note_tag(va, self.set(), number);
    }

    /// Notes that instructions at `va` are fetched from `page`, by the translation `t`.
    pub fn note_fetch(&mut self, va: u32, t: &Translation, page: RamPage) {
        let dropped = self.fetched.insert(va, self.set(), t, page);
        self.new_span_if(dropped);
    }

    /// Returns the page of `va` if it is cached for the access.
    pub fn find(&self, va: u32, write: bool) -> Option<Hit> {
        let slot = self.slot(va);
        let entry = &self.entries[slot];
        let tag = if write { entry.write } else { entry.read };
        let tags = tag & (WATCHED | TOLD);
        (tag & !tags == va & 0xffff_f000).then_some(Hit {
            host: pointer(entry, va)?,
            number: self.numbers[slot].in_ram(),
            watched: tags & WATCHED != 0,
            told: tags & TOLD != 0,
            free: self.numbers[slot].is_free(),
        })
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "there are ENTRIES * SETS slots, fewer than 2^16"
    )]
    fn note_filled(&mut self, slot: usize) {
        if self.filled.len() <= FEW {
            self.filled.push(slot as u16);
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "there are ENTRIES * SETS slots, fewer than 2^16"
    )]
    fn note_local(&mut self, slot: usize) {
        if self.is_local[slot / 64] & 1 << (slot % 64) == 0 {
            self.is_local[slot / 64] |= 1 << (slot % 64);
            self.local.push(slot as u16);
        }
    }

    /// Forgets which of these entries hold non-global pages.
    fn forget_local(&mut self, slots: std::ops::Range<usize>) {
        self.local
            .retain(|slot| !slots.contains(&usize::from(*slot)));
        for slot in slots {
            self.is_local[slot / 64] &= !(1 << (slot % 64));
        }
    }

    /// Drops everything.
    pub fn flush_all(&mut self) {
        if self.filled.len() + self.local.len() <= FEW {
            for slot in self.filled.iter().chain(&self.local) {
                self.entries[usize::from(*slot)] = EMPTY;
            }
        } else {
            for set in 0..SETS {
                if self.keys[set].is_some() {
                    self.entries[set * ENTRIES..(set + 1) * ENTRIES].fill(EMPTY);
                }
            }
        }
        self.filled.clear();
        self.local.clear();
        self.is_local.fill(0);
        self.large = None;
        let dropped = self.fetched.drop_all();
        self.new_span_if(dropped);
    }

    /// Begins a new span if a page that instructions were fetched from was `dropped`: until it is
    /// translated again, nothing may lead to its code.
    fn new_span_if(&mut self, dropped: bool) {
        if dropped {
            self.span = self.span.wrapping_add(1);
        }
    }

    /// Makes spans go on behind `span`, so that none of those up to it is the present one.
    pub fn begin_after(&mut self, span: u32) {
        self.span = span.wrapping_add(1);
    }

    /// Drops the pages that belong to one address space (all of them: spaces are not told apart).
    pub fn flush_local(&mut self) {
        for slot in self.local.drain(..) {
            self.entries[usize::from(slot)] = EMPTY;
        }
        self.is_local.fill(0);
        let dropped = self.fetched.drop_local();
        self.new_span_if(dropped);
    }

    /// Drops the translation of the page of `va`, and everything if it may be part of a larger
    /// mapping.
    pub fn flush_page(&mut self, va: u32) {
        // The TLB holds a larger mapping in pieces, and any address in it names them all.
        if covers(self.large, va) {
            return self.flush_all();
        }
        for set in 0..SETS {
            let slot = set * ENTRIES + ((va >> 12) as usize & (ENTRIES - 1));
            self.entries[slot] = EMPTY;
        }
        let dropped = self.fetched.drop_page(va);
        self.new_span_if(dropped);
    }
}

/// Returns whether `va` is in the range that larger mappings cover.
fn covers(large: Option<(u32, u32)>, va: u32) -> bool {
    large.is_some_and(|(low, high)| (low..=high).contains(&va))
}

/// Returns the range of addresses that larger mappings cover, with that of `va` by `t`.
fn wider(large: Option<(u32, u32)>, va: u32, t: &Translation) -> Option<(u32, u32)> {
    if t.size_log2 <= 12 {
        return large;
    }
    let mask = 1u32
        .checked_shl(t.size_log2.into())
        .map_or(u32::MAX, |size| size - 1);
    let (low, high) = (va & !mask, va | mask);
    Some(large.map_or((low, high), |(l, h)| (l.min(low), h.max(high))))
}

#[inline(always)]
fn pointer(entry: &Entry, va: u32) -> Option<NonNull<u8>> {
    NonNull::new(std::ptr::with_exposed_provenance_mut(
        entry.host.wrapping_add(va as usize),
    ))
}

#[cfg(test)]
mod tests;

//! What a software TLB holds, as plain data.

use serde::{Deserialize, Serialize};

use super::{
    ENTRIES, Entry, FEW, FetchedPage, INVALID, Key, PageNumber, Partner, SETS, TOLD, Tlb, fetched,
};
use crate::bus::Bus;

/// The translations that a core has cached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlbState {
    /// What each set is valid for.
    keys: [Option<Key>; SETS],
    /// The current set.
    set: usize,
    /// The next set to recycle.
    next: usize,
    /// The pages.
    pages: Vec<CachedPage>,
    /// Entries that hold pages of one address space.
    local: Vec<u16>,
    /// Lowest and highest address covered by mappings larger than a page.
    large: Option<(u32, u32)>,
    /// The pages that instructions were fetched from.
    fetched: Vec<FetchedPage>,
    /// As `large`, of these.
    fetched_large: Option<(u32, u32)>,
}

/// A cached page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedPage {
    /// Its entry.
    slot: u16,
    /// Its virtual address.
    va: u32,
    /// Its physical address.
    pa: u64,
    /// Whether reads may go straight to it.
    read: bool,
    /// Whether writes may.
    write: bool,
    /// Whether addresses may be misaligned.
    free: bool,
}

impl TlbState {
    /// Returns whether a TLB could have come to hold this.
    pub(crate) fn is_possible(&self) -> bool {
        let size = ENTRIES * SETS;
        self.set < SETS
            && self.next < SETS
            && self.local.len() <= size
            && fetched::are_possible(&self.fetched)
            && self.local.iter().all(|slot| usize::from(*slot) < size)
            && self.pages.iter().all(|page| {
                let entry = (page.va >> 12) as usize & (ENTRIES - 1);
                usize::from(page.slot) < size
                    && usize::from(page.slot) % ENTRIES == entry
                    && page.va & 0xfff == 0
                    && page.pa & 0xfff == 0
            })
    }
}

impl Tlb {
    /// Returns what it holds, to be saved.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "there are ENTRIES * SETS slots, fewer than 2^16"
    )]
    pub(crate) fn save(&self, bus: &dyn Bus) -> TlbState {
        let Self {
            entries,
            keys,
            base,
            next,
            local,
            large,
            fetched,
            filled,
            numbers,
            // This follows from the pages, and what comes after it is about predecoded code, of
            // which a restored core has none, and observers'.
            is_local: _,
            span: _,
            watches: _,
            partner: _,
        } = self;
        let (fetched, fetched_large) = fetched.save();
        let page = |slot: u16| {
            let entry = &entries[usize::from(slot)];
            let (read, write) = (entry.read != INVALID, entry.write != INVALID);
            if !read && !write {
                return None;
            }
            let va = if read { entry.read } else { entry.write } & 0xffff_f000;
            let pa = bus.physical(entry.host.wrapping_add(va as usize))?;
            Some(CachedPage {
                slot,
                va,
                pa,
                read,
                write,
                free: numbers[usize::from(slot)].is_free(),
            })
        };
        let pages = if filled.len() + local.len() <= FEW {
            // No other entry holds a page.
            let mut slots = [filled.as_slice(), local].concat();
            slots.sort_unstable();
            slots.dedup();
            slots.into_iter().filter_map(page).collect()
        } else {
            // There are ENTRIES * SETS of them.
            let slots = 0..entries.len() as u16;
            slots.filter_map(page).collect()
        };
        TlbState {
            keys: *keys,
            set: base / ENTRIES,
            next: *next,
            pages,
            local: local.clone(),
            large: *large,
            fetched,
            fetched_large,
        }
    }

    /// Restores what another one held, as far as `bus` has RAM there.
    pub(crate) fn restore(&mut self, saved: &TlbState, bus: &dyn Bus) {
        let TlbState {
            keys,
            set,
            next,
            pages,
            local,
            large,
            fetched,
            fetched_large,
        } = saved;
        self.flush_all();
        self.keys = *keys;
        self.base = set * ENTRIES;
        self.partner = Partner::default();
        self.next = *next;
        for slot in local {
            self.note_local((*slot).into());
        }
        self.large = *large;
        self.fetched.restore(fetched, *fetched_large, bus);
        for page in pages {
            // A TLB may lose an entry at any time.
            let Some(ram) = bus.ram(page.pa) else {
                continue;
            };
            self.note_filled(page.slot.into());
            self.numbers[usize::from(page.slot)] = PageNumber::new(ram.number, page.free);
            let tag = |allowed, tags| if allowed { page.va | tags } else { INVALID };
            let told = bus.code_pages().want_writes(ram.number);
            self.entries[usize::from(page.slot)] = Entry {
                read: tag(page.read, 0),
                write: tag(page.write && ram.writable, if told { TOLD } else { 0 }),
                host: (ram.host.as_ptr().expose_provenance()).wrapping_sub(page.va as usize),
            };
        }
        if !self.watches.is_empty() {
            self.mark();
        }
    }
}

//! The pages that instructions were fetched from: which physical page each virtual one led to.
//!
//! The core asks it for every block that it looks up, and blocks lead to one another only while
//! nothing has been dropped from it. So what is in it follows from the instructions that were
//! executed and from the guest's TLB maintenance, not from how much code is predecoded; and it is
//! saved with the rest.

use serde::{Deserialize, Serialize};

use super::{covers, wider};
use crate::bus::{Bus, RamPage};
use crate::hash::AddressMap;
use crate::mmu::Translation;
use crate::sparse::SparseTable;

/// Pages held at most; when they are used up, all are dropped.
const MAX_PAGES: usize = 1 << 13;

/// Tags of one set.
pub const TAGS: usize = 2048;
/// The tag of no page.
const NO_TAG: u64 = 0;

/// A virtual page and the set it was executed in.
type Key = (u32, u32);

#[derive(Clone, Copy, Debug)]
struct Page {
    pa: u64,
    ram: RamPage,
    global: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Fetched {
    pages: AddressMap<Key, Page>,
    /// Of some of these, for generated code: their tags, each at the lowest bits of its virtual
    /// page's number.
    tags: SparseTable<u64>,
    /// Those that belong to one address space, and others that have been dropped since.
    local: Vec<Key>,
    /// Lowest and highest address covered by mappings larger than a page, of which there are pieces
    /// here.
    large: Option<(u32, u32)>,
}

impl Default for Fetched {
    fn default() -> Self {
        Self {
            pages: AddressMap::default(),
            tags: SparseTable::new(TAGS * super::SETS, NO_TAG),
            local: Vec::new(),
            large: None,
        }
    }
}

// SAFETY: as for blocks: the pointers are to pages of the bus, which keeps them valid on every
// thread while a core holds the bus, and `Core` owns both.
#[expect(unsafe_code, reason = "it moves between threads with its core")]
unsafe impl Send for Fetched {}

/// A page that instructions were fetched from, as plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FetchedPage {
    /// Its virtual address.
    va: u32,
    /// The set it was executed in.
    set: u32,
    /// Its physical address.
    pa: u64,
    /// Whether it belongs to all address spaces.
    global: bool,
}

/// Returns what generated code knows RAM page `number` at `va` by.
pub fn tag(va: u32, number: u32) -> u64 {
    // Bit 0 is what no tag has that is none.
    u64::from(number) << 32 | u64::from(va & 0xffff_f000) | 1
}

/// Returns the address of the page of a tag.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the lower half is the address"
)]
const fn address(tag: u64) -> u32 {
    tag as u32 & 0xffff_f000
}

/// Returns where the tag of a page is.
fn slot((va, set): Key) -> usize {
    set as usize * TAGS + ((va >> 12) as usize & (TAGS - 1))
}

/// Has generated code not know a page any more.
fn untag(tags: &mut SparseTable<u64>, key: Key) {
    if address(tags.entries()[slot(key)]) == key.0 {
        tags.empty(slot(key));
    }
}

/// Returns whether a core can have fetched from these.
pub(super) fn are_possible(pages: &[FetchedPage]) -> bool {
    let possible = |page: &FetchedPage| {
        (page.set as usize) < super::SETS && page.va & 0xfff == 0 && page.pa & 0xfff == 0
    };
    pages.len() <= MAX_PAGES && pages.iter().all(possible)
}

impl Fetched {
    /// Returns the physical address of `va` and its page.
    #[inline]
    pub fn find(&self, va: u32, set: u32) -> Option<(u64, RamPage)> {
        let page = self.pages.get(&(va & 0xffff_f000, set))?;
        Some((page.pa | u64::from(va & 0xfff), page.ram))
    }

    /// Returns the address of the tags of `set`, for generated code.
    pub fn tags_address(&self, set: u32) -> usize {
        let first = set as usize * TAGS;
        self.tags.entries()[first..first + TAGS]
            .as_ptr()
            .expose_provenance()
    }

    /// Returns all tags, by sets.
    #[cfg(test)]
    pub fn tags(&self) -> &[u64] {
        self.tags.entries()
    }

    /// Has generated code know that `va` is in RAM page `number`, which is one of the pages.
    #[inline]
    pub fn note_tag(&mut self, va: u32, set: u32, number: u32) {
        self.tags.set(slot((va, set)), tag(va, number));
    }

    /// Returns the tag that is where that of `va` would be.
    #[inline]
    pub fn tag(&self, va: u32, set: u32) -> u64 {
        self.tags.entries()[slot((va, set))]
    }

    /// Returns whether the page of `va` has the same tag in both sets.
    #[inline]
    pub fn has_same_tag(&self, va: u32, sets: (u32, u32)) -> bool {
        let tag = self.tag(va, sets.0);
        tag == self.tag(va, sets.1) && address(tag) == va & 0xffff_f000 && tag != NO_TAG
    }

    /// Adds a page. Returns whether others were dropped for it.
    pub fn insert(&mut self, va: u32, set: u32, t: &Translation, ram: RamPage) -> bool {
        let full = self.pages.len() >= MAX_PAGES;
        if full {
            self.drop_all();
        }
        self.large = wider(self.large, va, t);
        let page = Page {
            pa: t.pa & !0xfff,
            ram,
            global: t.global,
        };
        self.add((va & 0xffff_f000, set), page);
        full
    }

    fn add(&mut self, key: Key, page: Page) {
        // One at the same place may have been another.
        untag(&mut self.tags, key);
        self.pages.insert(key, page);
        if !page.global {
            if self.local.len() >= 2 * MAX_PAGES {
                let pages = &self.pages;
                self.local.retain(|key| pages.contains_key(key));
            }
            self.local.push(key);
        }
    }

    /// Drops all pages. Returns whether there were any, as the following do of theirs.
    pub fn drop_all(&mut self) -> bool {
        let any = !self.pages.is_empty();
        if any {
            self.tags.clear();
        }
        self.pages.clear();
        self.local.clear();
        self.large = None;
        any
    }

    /// Drops those that belong to one address space.
    pub fn drop_local(&mut self) -> bool {
        let before = self.pages.len();
        for key in self.local.drain(..) {
            // A global page may have come in its place.
            if self.pages.get(&key).is_some_and(|page| !page.global) {
                self.pages.remove(&key);
                untag(&mut self.tags, key);
            }
        }
        self.pages.len() != before
    }

    /// Drops those of one set.
    pub fn drop_set(&mut self, set: u32) -> bool {
        let before = self.pages.len();
        self.pages.retain(|key, _| key.1 != set);
        let first = set as usize * TAGS;
        (first..first + TAGS).for_each(|slot| self.tags.empty(slot));
        self.pages.len() != before
    }

    /// Drops the page of `va` in all sets, and all pages if it may be part of a larger mapping.
    pub fn drop_page(&mut self, va: u32) -> bool {
        if covers(self.large, va) {
            return self.drop_all();
        }
        #[expect(clippy::cast_possible_truncation, reason = "there are few sets")]
        let sets = 0..super::SETS as u32;
        sets.fold(false, |any, set| {
            let key = (va & 0xffff_f000, set);
            untag(&mut self.tags, key);
            self.pages.remove(&key).is_some() | any
        })
    }

    /// Returns what it holds, in a fixed order, and the range that larger mappings cover.
    pub fn save(&self) -> (Vec<FetchedPage>, Option<(u32, u32)>) {
        let pages = self.pages.iter();
        let mut pages: Vec<_> = pages
            .map(|((va, set), page)| FetchedPage {
                va: *va,
                set: *set,
                pa: page.pa,
                global: page.global,
            })
            .collect();
        pages.sort_unstable();
        (pages, self.large)
    }

    /// Takes over what was saved, as far as `bus` has RAM there.
    pub fn restore(&mut self, pages: &[FetchedPage], large: Option<(u32, u32)>, bus: &dyn Bus) {
        self.drop_all();
        self.large = large;
        for page in pages {
            // As for data, an entry may be lost at any time.
            if let Some(ram) = bus.ram(page.pa) {
                let FetchedPage {
                    va,
                    set,
                    pa,
                    global,
                } = *page;
                self.add((va, set), Page { pa, ram, global });
                // Most will be fetched from again, and code would come back for each to learn it.
                self.note_tag(va, set, ram.number);
            }
        }
    }
}

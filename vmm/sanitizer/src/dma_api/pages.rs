//! The kernel's own records of its pages: whether one is in use.
//!
//! Each page has a `struct page` (include/linux/mm_types.h), all of which lie in one table, by
//! number (`CONFIG_FLATMEM`, as on nearly all 32-bit ARM machines). Its `_refcount` is 0 while the
//! page is free, and also while it is a part, but not the first, of some larger allocation: those
//! are told by having been 0 when the page was mapped.

use std::iter::successors;

use vm_memory::{Bytes, GuestAddress};
use vmm_introspect::memory::Memory;
use vmm_introspect::probe::Moment;
use vmm_introspect::types::Types;
use vmm_machine::GuestRam;

use super::exports::Exports;
use super::spec::MAX_FREED_ENTRIES;
use crate::PAGE_BITS;

/// Most pages of a mapping that are looked at.
const MAX_PAGES: u64 = 1024;

/// Where `lru` is in a `struct page`: behind `flags`.
const LINK_AT: u64 = 4;

/// Bit 0 of `compound_head`: this page belongs to the one whose `struct page` the other bits lead
/// to.
const TAIL: u32 = 1;

/// Where things are in a `struct page`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    size: u64,
    count: u64,
    /// `compound_head`. Its successor of Linux 7.0, `compound_info`, is not followed.
    head: u64,
    is_pointer: bool,
    /// `lru`, by which pages are linked in lists.
    link: u64,
    /// `nr` and `folios` of a `struct folio_batch` (include/linux/pagevec.h).
    batch: Option<(u64, u64)>,
}

impl Layout {
    /// Returns that of a kernel with these types; `None` if they do not tell.
    pub fn of(types: &Types) -> Option<Self> {
        let member = |structure, member| {
            let path = types.resolve(structure, member).ok()?;
            path.offset().map(u64::from)
        };
        let offset = |name| member("page", name);
        let size: u64 = types.size(types.structure("page")?)?.into();
        let (head, is_pointer) = match offset("compound_head") {
            Some(head) => (head, true),
            None => (offset("compound_info")?, false),
        };
        Some(Self {
            size: (size > 0).then_some(size)?,
            count: offset("_refcount")?,
            head,
            is_pointer,
            link: offset("lru").unwrap_or(LINK_AT),
            batch: member("folio_batch", "nr").zip(member("folio_batch", "folios")),
        })
    }

    /// Returns the `struct page`s of the list whose head is at `head`; as many as can be read.
    pub fn list(self, memory: &dyn Memory, head: u64) -> Vec<u64> {
        let next = |at: &u64| memory.word(*at).ok().map(u64::from);
        let links = successors(next(&head), next);
        let links = links.take_while(|&at| at != head).take(MAX_FREED_ENTRIES);
        links.map(|at| at.wrapping_sub(self.link)).collect()
    }

    /// Returns the `struct folio`s, which are those of pages, of the batch at `at`.
    pub fn batch(self, memory: &dyn Memory, at: u64) -> Vec<u64> {
        let Some((count, first)) = self.batch else {
            return Vec::new();
        };
        // A byte, in the word that it is the first of.
        let count = memory
            .word(at.wrapping_add(count))
            .map_or(0, |word| word & 0xff);
        let folio = |n: u32| memory.word(at.wrapping_add(first + 4 * u64::from(n))).ok();
        (0..count).map_while(folio).map(u64::from).collect()
    }
}

/// How it is told whether a page belongs to a file or to a process: by `mapping` of its `struct
/// page`, which is at so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Users(u64);

/// Where `mapping` is in 32-bit kernels from 4.18 on: behind `flags` and a list.
const MAPPING_AT: u64 = 12;
/// `PAGE_MAPPING_ANON` of include/linux/page-flags.h: the page belongs to a process. No other
/// pointer is odd at this place.
const ANONYMOUS: u32 = 1;
/// More bytes than a `struct inode` has with all options. A page of a file leads to its
/// `struct address_space`, which begins with a pointer to the inode that it is a part of
/// (include/linux/fs.h).
const INODE_BYTES: u32 = 2048;

impl Users {
    /// Returns that of a kernel with these types.
    pub fn of(types: &Types) -> Self {
        let offset = |structure| {
            let path = types.resolve(structure, "mapping").ok()?;
            path.offset().map(u64::from)
        };
        let known = offset("page").or_else(|| offset("folio"));
        Self(known.unwrap_or(MAPPING_AT))
    }
}

/// Numbers for bytes of memory, by where the `struct page` of each page is.
///
/// They are equal for equal bytes, and consecutive for consecutive ones: physical addresses where
/// the kernel tells these, else numbers that count from another beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    layout: Layout,
    /// Virtual address of the `struct page` of page number 0, which need not exist. Wraps.
    first: u64,
    /// What is added to the virtual address of a `struct page` to have its physical one. Wraps.
    to_physical: u64,
}

impl Numbers {
    /// Returns numbers by which the page with number `number` has its `struct page` at `page`, and
    /// that at physical address `physical`.
    pub const fn new(layout: Layout, (page, number): (u64, u64), physical: u64) -> Self {
        Self {
            layout,
            first: page.wrapping_sub(number.wrapping_mul(layout.size)),
            to_physical: physical.wrapping_sub(page),
        }
    }

    /// Returns a number for a page whose `struct page` is at `page`, where nothing tells what its
    /// real number is.
    pub const fn any_number(layout: Layout, page: u64) -> u64 {
        page / layout.size
    }

    /// Returns numbers that are physical addresses, by the kernel's own variables: the table's
    /// first `struct page` is that of the first page of memory (`__page_to_pfn` of
    /// include/asm-generic/memory_model.h with `CONFIG_FLATMEM`, `PHYS_PFN_OFFSET` of
    /// arch/arm/include/asm/memory.h). `None` if it has others.
    pub fn of_kernel(layout: Layout, moment: &Moment<'_, '_>) -> Option<Self> {
        let mut exports = None;
        let mut word = |name| {
            let symbols = &moment.kernel.symbols;
            let address = symbols.address(name).or_else(|| {
                let read = || Exports::read(moment, symbols);
                let exports = exports.get_or_insert_with(read).as_ref()?;
                Some(exports.address(name)?.into())
            });
            Some(u64::from(moment.word(address?).ok()?))
        };
        let (page, number) = (word("mem_map")?, word("__pv_phys_pfn_offset")?);
        let physical = moment.core.translate(page)?;
        Some(Self::new(layout, (page, number), physical))
    }

    /// Returns whether the page of byte number `number` belongs to a file or to a process.
    pub fn is_users(
        &self,
        Users(at): Users,
        (ram, memory): (&GuestRam, &dyn Memory),
        number: u64,
    ) -> bool {
        let page = self.record(number >> PAGE_BITS);
        let word = |page: u64, offset: u64| self.word(ram, page, offset);
        let head = word(page, self.layout.head).unwrap_or(0);
        let page = match (head & TAIL, self.layout.is_pointer) {
            (0, _) => page,
            (_, true) => u64::from(head & !TAIL),
            (_, false) => return true,
        };
        let Some(mapping) = word(page, at) else {
            return true;
        };
        if mapping == 0 || mapping & ANONYMOUS != 0 {
            return mapping != 0;
        }
        // In a page of another kind the word has another meaning, and leads to no such thing.
        let host = memory.word(mapping.into());
        host.is_ok_and(|host| (1..INODE_BYTES).contains(&mapping.wrapping_sub(host)))
    }

    /// Returns where the `struct page` of a page is.
    const fn record(&self, number: u64) -> u64 {
        self.first
            .wrapping_add(number.wrapping_mul(self.layout.size))
    }

    /// Returns a word of the `struct page` at `page`.
    fn word(&self, ram: &GuestRam, page: u64, offset: u64) -> Option<u32> {
        let at = page.wrapping_add(offset).wrapping_add(self.to_physical);
        ram.read_obj::<u32>(GuestAddress(at)).ok()
    }

    /// Returns the number of the byte at `offset` from the beginning of the page whose `struct
    /// page` is at `page`; `None` if there can be no such there.
    pub const fn number(&self, page: u64, offset: u64) -> Option<u64> {
        let distance = page.wrapping_sub(self.first);
        if !distance.is_multiple_of(self.layout.size) {
            return None;
        }
        let pages = distance / self.layout.size;
        match pages.checked_mul(1 << PAGE_BITS) {
            Some(number) => number.checked_add(offset),
            None => None,
        }
    }

    /// Returns whether the pages are in use that hold `bytes` bytes from byte number `first` on;
    /// their records are in `ram`.
    pub fn unused(&self, ram: &GuestRam, first: u64, bytes: u64) -> PageState {
        let last = first.saturating_add(bytes.saturating_sub(1)) >> PAGE_BITS;
        let mut pages = first >> PAGE_BITS..last.saturating_add(1);
        if pages.end - pages.start > MAX_PAGES {
            return PageState::Unknown;
        }
        let users = |page| self.users(ram, page);
        match pages.find_map(|page| match users(page) {
            Some(0) => Some(PageState::Free(page << PAGE_BITS)),
            Some(_) => None,
            None => Some(PageState::Unknown),
        }) {
            Some(found) => found,
            None => PageState::Used,
        }
    }

    /// Returns the reference count of the page with this number, or of the allocation that it is
    /// part of.
    fn users(&self, ram: &GuestRam, number: u64) -> Option<u32> {
        let page = self.record(number);
        let word = |page: u64, offset: u64| self.word(ram, page, offset);
        let head = word(page, self.layout.head)?;
        let page = match (head & TAIL, self.layout.is_pointer) {
            (0, _) => page,
            (_, true) => u64::from(head & !TAIL),
            (_, false) => return None,
        };
        word(page, self.layout.count)
    }
}

/// Whether pages are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageState {
    /// All are.
    Used,
    /// The one whose first byte has this number is not.
    Free(u64),
    /// It cannot be said.
    Unknown,
}

#[cfg(test)]
mod tests {
    use vmm_introspect::memory::MemoryError;

    use super::*;

    const LAYOUT: Layout = Layout {
        size: 32,
        count: 28,
        head: 4,
        is_pointer: true,
        link: 4,
        batch: Some((0, 4)),
    };
    /// Where the table of pages is: by virtual and by physical address.
    const TABLE: u64 = 0xc100_0000;
    const PHYSICAL: u64 = 0x4000_0000;
    /// The number of the first page of the table.
    const FIRST: u64 = 0x40000;

    fn ram() -> GuestRam {
        GuestRam::from_ranges(&[(GuestAddress(PHYSICAL), 0x1000)]).unwrap()
    }

    fn set(ram: &GuestRam, page: u64, offset: u64, value: u32) {
        ram.write_obj(value, GuestAddress(PHYSICAL + 32 * page + offset))
            .unwrap();
    }

    fn numbers() -> Numbers {
        Numbers::new(LAYOUT, (TABLE + 64, FIRST + 2), PHYSICAL + 64)
    }

    #[test]
    fn bytes_are_numbered_by_the_table() {
        let numbers = numbers();
        assert_eq!(numbers.number(TABLE, 0), Some(FIRST << 12));
        assert_eq!(
            numbers.number(TABLE + 96, 0x123),
            Some((FIRST + 3) << 12 | 0x123)
        );
        assert_eq!(numbers.number(TABLE + 7, 0), None);
        // Behind no physical address: consecutive all the same.
        let any = Numbers::any_number(LAYOUT, TABLE + 8);
        let any = Numbers::new(LAYOUT, (TABLE + 8, any), PHYSICAL);
        let number = |n: u64| any.number(TABLE + 8 + 32 * n, 0).unwrap();
        assert_eq!(number(1) - number(0), 0x1000);
    }

    #[test]
    fn a_page_without_users_is_free() {
        let (ram, numbers) = (ram(), numbers());
        for page in 0..4 {
            set(&ram, page, 28, 1);
        }
        let look = |page: u64, bytes| numbers.unused(&ram, (FIRST + page) << 12 | 0xff0, bytes);
        assert_eq!(look(0, 16), PageState::Used);
        assert_eq!(look(0, 3 * 0x1000), PageState::Used);
        assert_eq!(look(0, 0), PageState::Used);
        set(&ram, 2, 28, 0);
        assert_eq!(look(0, 0x1010), PageState::Used);
        assert_eq!(look(0, 0x1011), PageState::Free((FIRST + 2) << 12));
    }

    #[test]
    fn a_part_of_a_larger_page_is_used_by_users_of_the_first() {
        let (ram, numbers) = (ram(), numbers());
        let head = u32::try_from(TABLE + 32).unwrap();
        set(&ram, 1, 28, 2);
        set(&ram, 2, 4, head | 1);
        let look = || numbers.unused(&ram, (FIRST + 2) << 12, 1);
        assert_eq!(look(), PageState::Used);
        set(&ram, 1, 28, 0);
        assert_eq!(look(), PageState::Free((FIRST + 2) << 12));
        // Kernels that no longer keep a pointer are not followed.
        let layout = Layout {
            is_pointer: false,
            ..LAYOUT
        };
        let numbers = Numbers { layout, ..numbers };
        assert_eq!(
            numbers.unused(&ram, (FIRST + 2) << 12, 1),
            PageState::Unknown
        );
    }

    #[test]
    fn hostile_numbers_lead_nowhere() {
        let (ram, numbers) = (ram(), numbers());
        for (first, bytes) in [
            (0, 1),
            (u64::MAX, 1),
            (u64::MAX - 5, u64::MAX),
            (0, u64::MAX),
        ] {
            assert_eq!(numbers.unused(&ram, first, bytes), PageState::Unknown);
        }
        set(&ram, 0, 4, u32::MAX);
        assert_eq!(numbers.unused(&ram, FIRST << 12, 1), PageState::Unknown);
        assert_eq!(numbers.number(u64::MAX, u64::MAX), None);
    }

    /// Words of a kernel, by virtual address.
    struct Words(Vec<(u64, u32)>);

    impl Memory for Words {
        fn read(&self, va: u64, into: &mut [u8]) -> Result<(), MemoryError> {
            let Self(words) = self;
            let found = words.iter().find(|&&(at, _)| at == va);
            let &(_, word) = found.ok_or(MemoryError::Unmapped(va))?;
            into.copy_from_slice(&word.to_le_bytes());
            Ok(())
        }
    }

    #[test]
    fn lists_and_batches_of_pages_are_followed() {
        let head = 0xc000;
        // Behind the first word of a `struct page`.
        let list = Words(vec![(head, 0x1004), (0x1004, 0x2004), (0x2004, 0xc000)]);
        assert_eq!(LAYOUT.list(&list, head), [0x1000, 0x2000]);
        assert!(LAYOUT.list(&Words(vec![(head, 0xc000)]), head).is_empty());
        // One that leads nowhere, and one that leads around, but not back.
        assert_eq!(LAYOUT.list(&Words(vec![(head, 0x1004)]), head), [0x1000]);
        let circle = Words(vec![(head, 0x1004), (0x1004, 0x1004)]);
        assert_eq!(LAYOUT.list(&circle, head).len(), MAX_FREED_ENTRIES);
        let batch = Words(vec![
            (0x100, 0xffff_ff02),
            (0x104, 7),
            (0x108, 8),
            (0x10c, 9),
        ]);
        assert_eq!(LAYOUT.batch(&batch, 0x100), [7, 8]);
        let more = Words(vec![(0x100, 0xff), (0x104, 7)]);
        assert_eq!(LAYOUT.batch(&more, 0x100), [7]);
        let none = Layout {
            batch: None,
            ..LAYOUT
        };
        assert!(none.batch(&batch, 0x100).is_empty());
    }
}

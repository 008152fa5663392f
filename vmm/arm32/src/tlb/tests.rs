//! Invalidations leave nothing, and an empty entry answers for nothing.

use super::*;
use crate::mmu::{Attributes, MemoryType, Perms, Shareability};

/// Returns what `va` is translated to: itself, for everyone.
fn page_of(va: u32, global: bool) -> Translation {
    Translation {
        pa: va.into(),
        size_log2: 12,
        domain: None,
        global,
        attributes: Attributes {
            memory: MemoryType::StronglyOrdered,
            mair: 0,
            shareability: Shareability::Outer,
        },
        user: Perms::ALL,
        privileged: Perms::ALL,
    }
}

/// Returns the page of RAM that `memory` is.
fn ram_page(memory: &mut [u8; 4096]) -> RamPage {
    RamPage {
        host: NonNull::from(&mut memory[0]),
        writable: true,
        number: 0,
    }
}

#[test]
#[expect(clippy::cast_possible_truncation, reason = "a few pages")]
fn an_invalidation_of_everything_leaves_nothing_however_much_there_was() {
    let mut memory = [0_u8; 4096];
    let page = ram_page(&mut memory);
    let mut tlb = Tlb::default();
    for pages in [1, FEW / 2, FEW, FEW + 1, ENTRIES, 3 * ENTRIES] {
        for dacr in 0..3 {
            tlb.select(true, dacr);
            for n in 0..pages as u32 {
                let va = n << 12;
                tlb.fill(va, (true, false), &page_of(va, n % 3 != 0), page, false);
                assert!(tlb.read::<1>(va).is_some());
            }
        }
        // A set that is recycled is empty already.
        tlb.select(false, pages as u32);
        tlb.flush_all();
        let empty = |entry: &Entry| entry.read == INVALID && entry.write == INVALID;
        assert!(tlb.entries.iter().all(empty), "{pages} pages");
    }
}

#[test]
fn an_empty_entry_answers_for_no_address_aligned_or_not() {
    let tlb = Tlb::default();
    for va in (0..0x2000).chain(0xffff_f000..=0xffff_ffff) {
        assert_eq!(
            (tlb.read::<1>(va), tlb.write::<1>(va)),
            (None, None),
            "{va:#x}"
        );
        assert_eq!(
            (tlb.read::<2>(va), tlb.write::<2>(va)),
            (None, None),
            "{va:#x}"
        );
        assert_eq!(
            (tlb.read::<4>(va), tlb.write::<4>(va)),
            (None, None),
            "{va:#x}"
        );
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a table of some kilobytes")]
const TAGS: u32 = fetched::TAGS as u32;

/// Generated code knows no page that the TLB does not have.
#[test]
fn tags_are_of_pages_that_are_there() {
    let mut tlb = Tlb::default();
    let mut random = 1u32;
    let mut next = |below: u32| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) % below
    };
    // Pages that share a tag's place, and some that do not.
    let pages = [0x1000, 0x40_1000, 0x80_1000, 0x2000, 0x40_2000, 0xffff_f000];
    let mut tagged = 0;
    for _ in 0..20_000 {
        let va = pages[next(6) as usize];
        match next(12) {
            0 => tlb.flush_all(),
            1 => tlb.flush_local(),
            2 | 3 => tlb.flush_page(va),
            // More sets than there is room for.
            4 | 5 => tlb.select(next(2) == 0, next(6)),
            _ => {
                if tlb.fetched(va).is_none() {
                    let page = RamPage {
                        host: NonNull::dangling(),
                        writable: true,
                        number: next(4),
                    };
                    tlb.note_fetch(va, &page_of(va, next(2) == 0), page);
                }
                let (_, page) = tlb.fetched(va).unwrap();
                tlb.note_fetch_tag(va, page.number);
            }
        }
        for (slot, tag) in (0..).zip(tlb.fetched.tags()).filter(|(_, tag)| **tag != 0) {
            let va = pages.iter().find(|va| {
                let page = tlb.fetched.find(**va, slot / TAGS);
                page.is_some_and(|(_, page)| fetch_tag(**va, page.number) == *tag)
            });
            assert!(va.is_some(), "{tag:#x} at {slot}");
            tagged += 1;
        }
    }
    assert!(tagged > 10_000, "{tagged}");
}

/// While they are few, all entries that hold a page are listed: what is saved depends on it.
#[test]
fn entries_that_hold_pages_are_listed_while_they_are_few() {
    let mut memory = [0_u8; 4096];
    let page = ram_page(&mut memory);
    let mut tlb = Tlb::default();
    let mut random = 1u32;
    let mut next = |below: u32| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) % below
    };
    let (mut few, mut many) = (0, 0);
    for turn in 0..40_000 {
        let va = next(900) << 12;
        match next(3000) {
            0 => tlb.flush_all(),
            1 => tlb.flush_local(),
            2..150 => tlb.flush_page(va),
            // More sets than there is room for.
            150..170 => tlb.select(next(2) == 0, next(6)),
            _ => tlb.fill(va, (true, false), &page_of(va, next(2) == 0), page, false),
        }
        if tlb.filled.len() + tlb.local.len() > FEW {
            many += 1;
            continue;
        }
        few += 1;
        if turn % 16 != 0 {
            continue;
        }
        let held = (0..).zip(&tlb.entries).filter(|(_, entry)| {
            let Entry { read, write, .. } = entry;
            *read != INVALID || *write != INVALID
        });
        for (slot, _) in held {
            let listed = tlb.filled.contains(&slot) || tlb.local.contains(&slot);
            assert!(listed, "entry {slot}, turn {turn}");
        }
    }
    assert!(few > 5000 && many > 5000, "{few} few, {many} many");
}

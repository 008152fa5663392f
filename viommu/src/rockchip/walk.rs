//! The walk of the two tables, as a pure function.

use vm_memory::Permissions;

use super::spec::{
    DIRECTORY_LEVEL, DIRECTORY_SHIFT, ENTRIES, Entry, Format, PAGE_BITS, PAGE_TABLE_LEVEL,
};
use crate::fault::FaultReason;
use crate::model::Miss;
use crate::walk::{ExternalAbort, TableReader};

/// Entries that one walk reads at most: one of the directory table and one of a page table.
pub const MAX_READS: u32 = 2;

/// What a walk found: where the page of an IOVA is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkedPage {
    /// The physical address of the page.
    pub page: u64,
    /// All that is allowed there.
    pub permissions: Permissions,
}

/// Translates `iova` for an access that wants `wanted`, by the directory table at physical address
/// `directory`, which is a multiple of 4096.
///
/// # Errors
/// The first fault: of the directory's entry (level 1), then of the page table's (level 2); of an
/// entry that nothing is at, before that it does not allow the access.
pub fn walk<T: TableReader + ?Sized>(
    tables: &T,
    format: Format,
    directory: u64,
    iova: u32,
    wanted: Permissions,
) -> Result<WalkedPage, Miss> {
    let table = entry(tables, directory, iova >> DIRECTORY_SHIFT, DIRECTORY_LEVEL)?;
    let table = format.address(table.into_bits());
    let leaf = entry(tables, table, iova >> PAGE_BITS, PAGE_TABLE_LEVEL)?;
    // The driver sets each by itself, so that a page may be written and not read (6.1,
    // `rk_mk_pte`).
    let permissions = match (leaf.readable(), leaf.writable()) {
        (true, true) => Permissions::ReadWrite,
        (true, false) => Permissions::Read,
        (false, true) => Permissions::Write,
        // Refused whatever is wanted, so that no mapping without a use is cached.
        (false, false) => return Err(miss(FaultReason::Permission, PAGE_TABLE_LEVEL)),
    };
    if permissions as u8 & wanted as u8 != wanted as u8 {
        return Err(miss(FaultReason::Permission, PAGE_TABLE_LEVEL));
    }
    Ok(WalkedPage {
        page: format.address(leaf.into_bits()),
        permissions,
    })
}

/// Reads the entry of `index` (of which the low ten bits count) in a table, if it is valid.
fn entry<T: TableReader + ?Sized>(
    tables: &T,
    table: u64,
    index: u32,
    level: u8,
) -> Result<Entry, Miss> {
    // Tables are aligned to their size, so the index cannot carry into the address.
    let address = table | u64::from(index % ENTRIES) << 2;
    let read = tables.read_short_descriptor(address);
    let entry = read.map_err(|ExternalAbort| miss(FaultReason::WalkAbort, level))?;
    let entry = Entry::from_bits(entry);
    if !entry.valid() {
        return Err(miss(FaultReason::Translation, level));
    }
    Ok(entry)
}

const fn miss(reason: FaultReason, level: u8) -> Miss {
    Miss {
        reason,
        level: Some(level),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Tables as a list of words; elsewhere in the first 64 KiB there are zeros, and beyond no
    /// memory.
    struct Words(BTreeMap<u64, u32>);

    impl TableReader for Words {
        fn read_descriptor(&self, address: u64) -> Result<u64, ExternalAbort> {
            let word = |at| self.0.get(&at).copied().unwrap_or(0);
            let listed = self.0.range(address..address + 8).next().is_some();
            if address >= 0x1_0000 && !listed {
                return Err(ExternalAbort);
            }
            Ok(u64::from(word(address)) | u64::from(word(address + 4)) << 32)
        }
    }

    const IOVA: u32 = 0x1040_3abc;

    fn walked(
        words: &[(u64, u32)],
        format: Format,
        wanted: Permissions,
    ) -> Result<WalkedPage, Miss> {
        let words = Words(words.iter().copied().collect());
        walk(&words, format, 0x1000, IOVA, wanted)
    }

    /// Returns tables with this entry of the directory (at index 0x41) and of the page table (at
    /// index 3).
    fn tables(directory: u32, leaf: u32) -> [(u64, u32); 2] {
        [(0x1104, directory), (0x200c, leaf)]
    }

    fn v1(directory: u32, leaf: u32, wanted: Permissions) -> Result<WalkedPage, Miss> {
        walked(&tables(directory, leaf), Format::Bits32, wanted)
    }

    const NOT_MAPPED: FaultReason = FaultReason::Translation;

    #[test]
    fn a_page_is_found_by_two_indices() {
        let expected = WalkedPage {
            page: 0x8765_4000,
            permissions: Permissions::ReadWrite,
        };
        assert_eq!(v1(0x2001, 0x8765_4007, Permissions::Read), Ok(expected));
        // What is reserved or an attribute changes nothing.
        assert_eq!(v1(0x2fff, 0x8765_4fff, Permissions::Write), Ok(expected));
    }

    #[test]
    fn a_directory_entry_that_is_not_valid_is_a_translation_fault_of_level_1() {
        let fault = v1(0x2ffe, 0x8765_4007, Permissions::Read);
        assert_eq!(fault, Err(miss(NOT_MAPPED, 1)));
    }

    #[test]
    fn a_page_table_entry_that_is_not_valid_is_a_translation_fault_of_level_2() {
        let fault = v1(0x2001, 0x8765_4006, Permissions::Read);
        assert_eq!(fault, Err(miss(NOT_MAPPED, 2)));
    }

    #[test]
    fn a_page_allows_what_its_two_bits_say() {
        let all = [
            Permissions::Read,
            Permissions::Write,
            Permissions::ReadWrite,
        ];
        let refused = Err(miss(FaultReason::Permission, 2));
        for (bits, allowed) in [
            (1, [false, false, false]),
            (3, [true, false, false]),
            (5, [false, true, false]),
            (7, [true, true, true]),
        ] {
            let results = all.map(|wanted| v1(0x2001, 0x8765_4000 | bits, wanted));
            assert_eq!(results.map(|result| result.is_ok()), allowed, "{bits}");
            let refusals = results.into_iter().filter(Result::is_err);
            refusals.for_each(|refusal| assert_eq!(refusal, refused));
        }
    }

    #[test]
    fn no_memory_at_an_entry_aborts_the_walk() {
        let words = Words(BTreeMap::new());
        let abort = walk(&words, Format::Bits32, 0x1_0000, IOVA, Permissions::Read);
        assert_eq!(abort, Err(miss(FaultReason::WalkAbort, 1)));
        let abort = v1(0x8000_0001, 0, Permissions::Read);
        assert_eq!(abort, Err(miss(FaultReason::WalkAbort, 2)));
    }

    #[test]
    fn the_40_bit_format_has_the_high_bits_at_the_bottom() {
        assert_eq!(Format::Bits40.address(0x1234_5ab7), 0xba_1234_5000);
        assert_eq!(Format::Bits32.address(0x1234_5ab7), 0x1234_5000);
        // A page table at 0xf2_0000_0000, and a page at 0x21_8765_4000 that may only be read.
        let words = [(0x1104, 0x2f1), (0xf2_0000_000c, 0x8765_4123)];
        let found = walked(&words, Format::Bits40, Permissions::Read).unwrap();
        assert_eq!(found.page, 0x21_8765_4000);
        assert_eq!(found.permissions, Permissions::Read);
        assert!(walked(&words, Format::Bits40, Permissions::Write).is_err());
    }
}

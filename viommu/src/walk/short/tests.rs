//! Each kind of leaf, each fault, and random mappings against a plain map of them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Memory from 0 on, of words.
#[derive(Default)]
struct Tables(BTreeMap<u64, u32>);

/// Where the tables of both levels are.
const MEMORY: u64 = 0x10_0000;
/// The table of level 1.
const FIRST: u32 = 0x4000;
/// The tables of level 2, one after another.
const SECOND: u32 = 0x8000;

impl TableReader for Tables {
    fn read_descriptor(&self, _: u64) -> Result<u64, ExternalAbort> {
        panic!("descriptors have 32 bits");
    }

    fn read_short_descriptor(&self, address: u64) -> Result<u32, ExternalAbort> {
        assert!(address % 4 == 0);
        match address {
            0..MEMORY => Ok(self.0.get(&address).copied().unwrap_or(0)),
            _ => Err(ExternalAbort),
        }
    }
}

impl Tables {
    fn put(&mut self, table: u32, index: u32, descriptor: u32) {
        self.0.insert(u64::from(table + 4 * index), descriptor);
    }
}

/// As the driver's page-table code asks for it (6.12, `arm_v7s_alloc_pgtable`;
/// `arm_smmu_write_context_bank`).
const REGIME: ShortRegime = ShortRegime {
    ttbr0: FIRST | 2,
    ttbr1: 0,
    n: 0,
    lower_disabled: false,
    upper_disabled: false,
    access_flag: true,
    privileged: false,
};

fn of(tables: &Tables, iova: u64, access: Access) -> Result<(u64, u8, bool), (FaultReason, u8)> {
    walk_short(tables, &REGIME, iova, access)
        .map(|walked| (walked.output, walked.size_log2, walked.write))
        .map_err(|fault| (fault.reason, fault.level))
}

#[test]
fn each_leaf_leads_where_it_says() {
    let mut tables = Tables::default();
    // A section; a supersection at 0x12_3400_0000 of which every entry says the same; a table.
    tables.put(FIRST, 1, 0x8010_0c0e | 0x402);
    for index in 16..32 {
        tables.put(FIRST, index, 0x3420_0000 | 0x4_0000 | 1 << 5 | 0xc02);
    }
    tables.put(FIRST, 32, SECOND | 1);
    // A small page that may only be read, and a large one.
    tables.put(SECOND, 3, 0x9000_0000 | 0x200 | 0x32);
    for index in 16..32 {
        tables.put(SECOND, index, 0xa001_0000 | 0x31);
    }
    let read = |iova| of(&tables, iova, Access::Read);
    assert_eq!(read(0x10_1234), Ok((0x8010_1234, 20, true)));
    assert_eq!(read(0x1ab_cdef), Ok((0x12_34ab_cdef, 24, true)));
    assert_eq!(read(0x200_3456), Ok((0x9000_0456, 12, false)));
    assert_eq!(read(0x201_fedc), Ok((0xa001_fedc, 16, true)));
    assert_eq!(count_short(&tables, &REGIME), 4);
    let write = of(&tables, 0x200_3456, Access::Write);
    assert_eq!(write, Err((FaultReason::Permission, 2)));
}

#[test]
fn each_fault_is_told_with_its_level() {
    let mut tables = Tables::default();
    tables.put(FIRST, 1, 0x8010_0002 | 1 << 11);
    tables.put(FIRST, 2, 0x8010_0002 | 1 << 10);
    tables.put(FIRST, 3, SECOND | 1);
    tables.put(FIRST, 4, 0x7fff_fc01);
    tables.put(SECOND, 1, 0x9000_0022);
    tables.put(SECOND, 2, 0x9000_0012);
    for (iova, fault) in [
        (0, (FaultReason::Translation, 1)),
        (0x10_0000, (FaultReason::AccessFlag, 1)),
        (0x20_0000, (FaultReason::Permission, 1)),
        (0x30_0000, (FaultReason::Translation, 2)),
        (0x30_1000, (FaultReason::AccessFlag, 2)),
        (0x30_2000, (FaultReason::Permission, 2)),
        (0x40_0000, (FaultReason::WalkAbort, 2)),
        (1 << 32, (FaultReason::Translation, 1)),
    ] {
        assert_eq!(of(&tables, iova, Access::Read), Err(fault), "{iova:#x}");
    }
    let abort = ShortRegime {
        ttbr0: u32::MAX,
        ..REGIME
    };
    let fault = walk_short(&tables, &abort, 0, Access::Read).unwrap_err();
    assert_eq!((fault.reason, fault.level), (FaultReason::WalkAbort, 1));
}

/// B3.7.1, table B3-8: AP, then what is permitted with privilege and without.
#[test]
fn permissions_without_the_access_flag() {
    let both = |read, write| (read, write);
    let none = both(false, false);
    for (ap, privileged, user) in [
        (0, none, none),
        (1, both(true, true), none),
        (2, both(true, true), both(true, false)),
        (3, both(true, true), both(true, true)),
        (4, none, none),
        (5, both(true, false), none),
        (6, both(true, false), both(true, false)),
        (7, both(true, false), both(true, false)),
    ] {
        for (is_privileged, expected) in [(true, privileged), (false, user)] {
            let regime = ShortRegime {
                access_flag: false,
                privileged: is_privileged,
                ..REGIME
            };
            assert_eq!(Ap(ap).permissions(&regime), expected, "AP {ap:#05b}");
        }
    }
}

#[test]
fn the_upper_region_has_a_table_of_its_own() {
    let mut tables = Tables::default();
    // With N of 3 the lower region is 512 MiB, and its table 2 KiB.
    tables.put(0x800, 0x1ff, 0x8010_0c02);
    tables.put(FIRST, 0x200, 0x8020_0c02);
    let regime = ShortRegime {
        ttbr0: 0xfff,
        ttbr1: FIRST,
        n: 3,
        ..REGIME
    };
    let leads = |regime: &ShortRegime, iova| {
        let walked = walk_short(&tables, regime, iova, Access::Read);
        walked.map(|walked| walked.output).ok()
    };
    assert_eq!(leads(&regime, 0x1ff0_0000), Some(0x8010_0000));
    assert_eq!(leads(&regime, 0x2000_0000), Some(0x8020_0000));
    for (lower_disabled, upper_disabled) in [(true, false), (false, true)] {
        let regime = ShortRegime {
            lower_disabled,
            upper_disabled,
            ..regime
        };
        assert_eq!(leads(&regime, 0x1ff0_0000).is_none(), lower_disabled);
        assert_eq!(leads(&regime, 0x2000_0000).is_none(), upper_disabled);
    }
}

proptest! {
    /// Mappings of each size within 64 MiB, none of which overlap, against a map of their pages.
    #[test]
    fn random_mappings_are_what_was_mapped(
        mappings in prop::collection::vec((0..4_usize, any::<u32>(), any::<u32>(), any::<bool>()), 1..40),
        looks in prop::collection::vec(0..0x400_0000_u32, 64),
    ) {
        let mut tables = Tables::default();
        let mut plain = BTreeMap::new();
        for (size, iova, output, write) in mappings {
            let size_log2 = [12, 16, 20, 24][size];
            let within = (1_u32 << size_log2) - 1;
            let (iova, output) = (iova & 0x3ff_ffff & !within, output & !within);
            let pages = iova >> 12..=(iova | within) >> 12;
            if plain.range(pages.clone()).next().is_some() {
                continue;
            }
            let ap_high = u32::from(!write);
            match size {
                0 | 1 => {
                    let index = iova >> 20;
                    let table = SECOND + index * 0x400;
                    tables.put(FIRST, index, table | 1);
                    let first = iova >> 12 & 0xff;
                    for entry in first..first + (1 << (size_log2 - 12)) {
                        let kind = if size == 0 { 2 } else { 1 };
                        tables.put(table, entry, output | ap_high << 9 | 0x30 | kind);
                    }
                }
                _ => for entry in 0..1 << (size_log2 - 20) {
                    let is_super = u32::from(size == 3) << 18;
                    let descriptor = output | is_super | ap_high << 15 | 0xc02;
                    tables.put(FIRST, (iova >> 20) + entry, descriptor);
                },
            }
            plain.extend(pages.zip((output..).step_by(0x1000)).map(|(page, output)| (page, (output, write))));
        }
        for look in looks {
            let expected = plain.get(&(look >> 12));
            let look = u64::from(look);
            let found = walk_short(&tables, &REGIME, look, Access::Read);
            prop_assert_eq!(
                found.map(|walked| (walked.output, walked.write)).ok(),
                expected.map(|(output, write)| (u64::from(*output) | look & 0xfff, *write))
            );
            if let Ok(walked) = found {
                // The same answer holds for both ends of its range.
                let within = (1_u64 << walked.size_log2) - 1;
                for end in [look & !within, look | within] {
                    let other = walk_short(&tables, &REGIME, end, Access::Read).unwrap();
                    prop_assert_eq!(other.output - (end & within), walked.output - (look & within));
                }
            }
        }
    }
}

//! What a translation says: addresses, sizes, attributes, and how many reads it took.

use super::builder::{BASE, BLOCK, PAGE, TABLE, Tables, driver_regime, leaf, leaf_at};
use crate::fault::Access;
use crate::walk::{Level, MAX_READS, Regime, Region, Security, Shareability, Walked, walk};

const LEVELS: [Level; 3] = [Level::First, Level::Second, Level::Third];
const CONTIGUOUS: u64 = 1 << 52;

fn read(tables: &Tables, regime: &Regime, iova: u64) -> Walked {
    walk(tables, regime, iova, Access::Read).expect("it is mapped")
}

#[test]
fn each_level_maps_its_size_with_one_read_a_level() {
    for (level, output, size_log2) in [
        (Level::First, 0xf_4000_0000, 30),
        (Level::Second, 0xf_4060_0000, 21),
        (Level::Third, 0xf_4060_5000, 12),
    ] {
        let mut tables = Tables::new(4);
        let iova = 0xffff_ffff;
        tables.map(level, iova, output | leaf_at(level));
        let walked = read(&tables, &driver_regime(), iova);
        let offset = (1 << size_log2) - 1;
        assert_eq!(walked.output, output | offset);
        assert_eq!((walked.size_log2, walked.level), (size_log2, level));
        assert_eq!(tables.take_reads(), u32::from(level.number()));
        assert!(tables.take_reads() <= MAX_READS);
    }
}

#[test]
fn what_the_driver_writes_means_what_it_means() {
    let mut tables = Tables::new(4);
    tables.map(Level::Third, 0x4000_0000, 0x8765_4000 | 0xe63);
    tables.map(Level::Third, 0x4000_1000, 0x8765_5000 | 0xee3);
    let expected = Walked {
        output: 0x8765_4123,
        size_log2: 12,
        level: Level::Third,
        read: true,
        write: true,
        xn: false,
        pxn: false,
        attr_index: 0,
        shareability: Shareability::Outer,
        ns: true,
        global: false,
        contiguous: false,
    };
    assert_eq!(read(&tables, &driver_regime(), 0x4000_0123), expected);
    let read_only = Walked {
        output: 0x8765_5000,
        write: false,
        ..expected
    };
    assert_eq!(read(&tables, &driver_regime(), 0x4000_1000), read_only);
}

#[test]
fn low_bits_of_a_block_address_are_ignored() {
    let mut tables = Tables::new(4);
    tables.map(Level::Second, 0, 0x8000_0000 | 0x1f_f000 | BLOCK);
    assert_eq!(read(&tables, &driver_regime(), 0x1000).output, 0x8000_1000);
}

#[test]
fn attributes_are_those_of_the_leaf() {
    for level in LEVELS {
        for bits in 0..8u8 {
            let mut tables = Tables::new(4);
            let descriptor = leaf(leaf_at(level), |d| {
                d.set_attr_index(bits);
                d.set_shareability(Shareability::from_bits(bits & 3));
                d.set_not_global(bits & 1 == 0);
                d.set_xn(bits & 2 != 0);
                d.set_pxn(bits & 4 != 0);
            });
            tables.map(level, 0, descriptor);
            let walked = read(&tables, &driver_regime(), 0);
            assert_eq!(walked.attr_index, bits);
            assert_eq!(walked.shareability.into_bits(), bits & 3);
            assert_eq!(walked.global, bits & 1 != 0);
            assert_eq!((walked.xn, walked.pxn), (bits & 2 != 0, bits & 4 != 0));
        }
    }
}

#[test]
fn xntable_pxntable_and_nstable_hold_for_everything_below() {
    let secure = Regime::new(Region::new(BASE, 0, Level::First));
    let plain = PAGE & !(1 << 5);
    for level in [Level::First, Level::Second] {
        let mut tables = Tables::new(4);
        tables.map(Level::Third, 0, plain);
        let entry = tables.entry(Level::First, level, 0, 3).expect("no block");
        let table = tables.get(entry).expect("a table") & !(1 << 63);
        // The builder sets NSTable at both levels: cleared here, so that only `entry` can set it.
        let upper = tables.entry(Level::First, Level::First, 0, 3).expect("");
        let upper_table = tables.get(upper).expect("a table") & !(1 << 63);
        tables.set(upper, upper_table);
        let second = tables.entry(Level::First, Level::Second, 0, 3).expect("");
        let second_table = tables.get(second).expect("a table") & !(1 << 63);
        tables.set(second, second_table);
        let clear = read(&tables, &secure, 0);
        assert!(!clear.xn && !clear.pxn && !clear.ns);
        tables.set(entry, table | 1 << 60);
        assert!(read(&tables, &secure, 0).xn);
        tables.set(entry, table | 1 << 59);
        assert!(read(&tables, &secure, 0).pxn);
        tables.set(entry, table | 1 << 63);
        assert!(read(&tables, &secure, 0).ns);
    }
    let mut tables = Tables::new(4);
    tables.map(Level::First, 0, BLOCK);
    assert!(read(&tables, &secure, 0).ns, "by its own NS bit");
}

#[test]
fn sixteen_contiguous_entries_are_one_larger_mapping() {
    for (level, size_log2) in [(Level::Second, 25), (Level::Third, 16)] {
        let mut tables = Tables::new(4);
        let size = 1 << level.shift();
        let first = 5 * 16 * size;
        for n in 0..16 {
            let output = 0x1_8000_0000 + n * size;
            let iova = first + n * size;
            tables.map(level, iova, output | leaf_at(level) | CONTIGUOUS);
        }
        for n in 0..16 {
            let walked = read(&tables, &driver_regime(), first + n * size + 0x123);
            assert_eq!(walked.output, 0x1_8000_0123 + n * size);
            assert_eq!((walked.size_log2, walked.contiguous), (size_log2, true));
        }
    }
}

#[test]
fn sixteen_contiguous_first_level_blocks_are_16_gib_where_a_table_has_them() {
    let mut tables = Tables::new(1024);
    for n in 0..16u64 {
        tables.set(
            BASE + (32 + n) * 8,
            (0x80_0000_0000 + (n << 30)) | BLOCK | CONTIGUOUS,
        );
    }
    let regime = Regime {
        input_bits: 40,
        ..driver_regime()
    };
    let walked = read(&tables, &regime, (32 << 30) + 0x3_1234_5678);
    assert_eq!(walked.output, 0x83_1234_5678);
    assert_eq!((walked.size_log2, walked.contiguous), (34, true));
}

#[test]
fn a_contiguous_hint_that_cannot_be_true_is_ignored() {
    // A first table of four entries has no sixteen.
    let mut tables = Tables::new(4);
    tables.map(Level::First, 0, BLOCK | CONTIGUOUS);
    let walked = read(&tables, &driver_regime(), 0);
    assert_eq!((walked.size_log2, walked.contiguous), (30, false));
    // The output is not as far into 64 KiB as the IOVA is.
    tables.map(Level::Third, 0x4000_0000, 0x8000_1000 | PAGE | CONTIGUOUS);
    let walked = read(&tables, &driver_regime(), 0x4000_0000);
    assert_eq!((walked.size_log2, walked.contiguous), (12, false));
    assert_eq!(walked.output, 0x8000_1000);
}

#[test]
fn a_walk_may_start_at_any_level() {
    let mut tables = Tables::new(512);
    let second = Regime {
        ttbr0: Region::new(BASE, 2, Level::Second),
        ..driver_regime()
    };
    tables.set(BASE + 3 * 8, 0x8020_0000 | BLOCK);
    let walked = read(&tables, &second, 3 << 21 | 0x1234);
    assert_eq!((walked.output, walked.size_log2), (0x8020_1234, 21));
    let third = Regime {
        ttbr0: Region::new(BASE, 11, Level::Third),
        ..driver_regime()
    };
    tables.set(BASE + 511 * 8, 0x8020_3000 | PAGE);
    let walked = read(&tables, &third, 0x1f_ffff);
    assert_eq!((walked.output, walked.size_log2), (0x8020_3fff, 12));
    assert_eq!(tables.take_reads(), 2);
}

#[test]
fn bits_of_the_base_below_the_tables_size_are_ignored() {
    let mut tables = Tables::new(4);
    tables.map(Level::First, 0xc000_0000, BLOCK);
    let mut regime = driver_regime();
    regime.ttbr0.base |= 0x1f;
    assert!(walk(&tables, &regime, 0xc000_0000, Access::Read).is_ok());
    regime.ttbr0.base |= 0x20;
    assert!(walk(&tables, &regime, 0xc000_0000, Access::Read).is_err());
}

#[test]
fn each_iova_belongs_to_one_of_two_regions() {
    let mut tables = Tables::new(1024);
    for entry in 0..8 {
        tables.set(BASE + entry * 8, entry << 30 | BLOCK);
        tables.set(BASE + 0x1000 + entry * 8, (0x10 + entry) << 30 | BLOCK);
    }
    let upper = BASE + 0x1000;
    // T0SZ, T1SZ, IOVA, whether the upper region has it.
    for (t0sz, t1sz, iova, in_upper) in [
        (0, 0, 0, Some(false)),
        (0, 0, 0xffff_ffff, Some(false)),
        (1, 0, 0x7fff_ffff, Some(false)),
        (1, 0, 0x8000_0000, Some(true)),
        (2, 0, 0x4000_0000, Some(true)),
        (0, 1, 0x7fff_ffff, Some(false)),
        (0, 1, 0x8000_0000, Some(true)),
        (1, 2, 0xbfff_ffff, None),
        (1, 2, 0xc000_0000, Some(true)),
    ] {
        let regime = Regime {
            ttbr0: Region::new(BASE, t0sz, Level::First),
            ttbr1: Some(Region::new(upper, t1sz, Level::First)),
            ..driver_regime()
        };
        let walked = walk(&tables, &regime, iova, Access::Read).ok();
        let region = walked.map(|walked| walked.output >= 0x10 << 30);
        assert_eq!(region, in_upper, "{t0sz} {t1sz} {iova:#x}");
    }
}

#[test]
fn a_block_that_reaches_into_the_other_region_is_told_smaller() {
    let mut tables = Tables::new(1024);
    tables.set(BASE + 3 * 8, 0x1_c000_0000 | BLOCK);
    tables.set(BASE + 0x1000 + 15 * 8, 0x2_0000_0000 | BLOCK);
    // The upper region is the last 32 MiB; the lower one is all the rest.
    let regime = Regime {
        ttbr0: Region::new(BASE, 0, Level::First),
        ttbr1: Some(Region::new(BASE + 0x1000, 7, Level::Second)),
        ..driver_regime()
    };
    for (iova, size_log2) in [(0xc000_0000, 25), (0xfdff_ffff, 25), (0xfe00_0000, 21)] {
        let answer = walk(&tables, &regime, iova, Access::Read);
        if iova < 0xfe00_0000 {
            let walked = answer.unwrap();
            assert_eq!(
                (walked.output, walked.size_log2),
                (0x1_0000_0000 + iova, size_log2)
            );
        } else {
            assert!(answer.is_err(), "entry 0 of the upper table is invalid");
        }
    }
    let top = read(&tables, &regime, 0xffff_ffff);
    assert_eq!((top.output, top.size_log2), (0x2_001f_ffff, 21));
}

#[test]
fn a_secure_regime_may_map_either_memory() {
    let secure = Regime {
        security: Security::Secure,
        ..driver_regime()
    };
    let mut tables = Tables::new(4);
    let entry = tables.map(Level::Second, 0, BLOCK & !(1 << 5));
    assert!(read(&tables, &secure, 0).ns, "by NSTable");
    let first = tables
        .entry(Level::First, Level::First, 0, TABLE)
        .expect("");
    let table = tables.get(first).expect("a table");
    tables.set(first, table & !(1 << 63));
    assert!(!read(&tables, &secure, 0).ns);
    tables.set(entry, BLOCK);
    assert!(read(&tables, &secure, 0).ns);
}

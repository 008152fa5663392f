//! Every cause of a fault, at every level it can come from, and which of several comes first.

use super::builder::{BASE, BLOCK, PAGE, TABLE, Tables, driver_regime, leaf, leaf_at};
use crate::fault::{Access, FaultReason};
use crate::walk::{Level, Regime, Region, Security, WalkFault, Walked, walk};

const IOVA: u64 = 0x4020_3456;
const OUTPUT: u64 = 0x8000_0000;
const LEVELS: [Level; 3] = [Level::First, Level::Second, Level::Third];

type Answer = Result<Walked, WalkFault>;

fn faults(answer: Answer, reason: FaultReason, level: u8) {
    assert_eq!(answer.unwrap_err(), WalkFault { reason, level });
}

/// Walks for `access` to [`IOVA`], whose leaf of `level` is `descriptor`.
fn with_leaf(regime: &Regime, level: Level, descriptor: u64, access: Access) -> Answer {
    let mut tables = Tables::new(4);
    tables.map(level, IOVA, descriptor);
    walk(&tables, regime, IOVA, access)
}

/// Walks for a read of [`IOVA`], where the descriptor of `level` on the way to a page is a table
/// descriptor that is changed by `change`.
fn with_table(
    regime: &Regime,
    level: Level,
    access: Access,
    change: impl Fn(u64) -> u64,
) -> Answer {
    let mut tables = Tables::new(4);
    tables.map(Level::Third, IOVA, OUTPUT | PAGE);
    let entry = tables
        .entry(Level::First, level, IOVA, TABLE)
        .expect("tables are there");
    let table = tables.get(entry).expect("the entry is there");
    tables.set(entry, change(table));
    walk(&tables, regime, IOVA, access)
}

#[test]
fn an_invalid_descriptor_is_a_translation_fault_of_its_level() {
    for level in LEVELS {
        // Bit 1 and all others belong to software if bit 0 is clear.
        for garbage in [0, 2, !1, !3] {
            let answer = with_leaf(&driver_regime(), level, garbage, Access::Read);
            faults(answer, FaultReason::Translation, level.number());
        }
    }
}

#[test]
fn the_reserved_type_at_the_third_level_is_a_format_fault() {
    let answer = with_leaf(&driver_regime(), Level::Third, OUTPUT | BLOCK, Access::Read);
    faults(answer, FaultReason::Format, 3);
}

#[test]
fn an_output_address_beyond_the_output_size_is_an_address_size_fault() {
    for level in LEVELS {
        for bit in 40..48 {
            let descriptor = OUTPUT | 1 << bit | leaf_at(level);
            let answer = with_leaf(&driver_regime(), level, descriptor, Access::Read);
            faults(answer, FaultReason::AddressSize, level.number());
        }
        let top = 0xff_c000_0000 | leaf_at(level);
        assert!(with_leaf(&driver_regime(), level, top, Access::Read).is_ok());
    }
}

#[test]
fn a_next_table_beyond_the_output_size_is_an_address_size_fault() {
    for level in [Level::First, Level::Second] {
        let answer = with_table(&driver_regime(), level, Access::Read, |t| t | 1 << 40);
        faults(answer, FaultReason::AddressSize, level.number());
    }
}

#[test]
fn a_table_base_beyond_the_output_size_is_an_address_size_fault_of_level_0() {
    let tables = Tables::new(4);
    for base in [1 << 40, u64::MAX, BASE | 1 << 63] {
        let regime = Regime {
            ttbr0: Region::new(base, 0, Level::First),
            ..driver_regime()
        };
        let answer = walk(&tables, &regime, IOVA, Access::Read);
        faults(answer, FaultReason::AddressSize, 0);
    }
    assert_eq!(tables.take_reads(), 0);
}

#[test]
fn a_descriptor_that_cannot_be_read_is_a_walk_abort_of_its_level() {
    let regime = Regime {
        ttbr0: Region::new(0x9000_0000, 0, Level::First),
        ..driver_regime()
    };
    let answer = walk(&Tables::new(4), &regime, IOVA, Access::Read);
    faults(answer, FaultReason::WalkAbort, 1);
    for (level, of) in [(Level::First, 2), (Level::Second, 3)] {
        let answer = with_table(&driver_regime(), level, Access::Read, |_| {
            0x9000_0000 | TABLE
        });
        faults(answer, FaultReason::WalkAbort, of);
    }
}

#[test]
fn a_leaf_without_ns_is_a_secure_fault_where_ns_is_required() {
    for level in LEVELS {
        let descriptor = leaf(OUTPUT | leaf_at(level), |d| d.set_ns(false));
        let answer = with_leaf(&driver_regime(), level, descriptor, Access::Read);
        faults(answer, FaultReason::Secure, level.number());
        let lenient = Regime {
            security: Security::NonSecure,
            ..driver_regime()
        };
        let walked = with_leaf(&lenient, level, descriptor, Access::Read).unwrap();
        assert!(walked.ns);
    }
}

#[test]
fn a_table_without_nstable_is_a_secure_fault_where_it_is_required() {
    for level in [Level::First, Level::Second] {
        let clear = |table| table & !(1 << 63);
        let answer = with_table(&driver_regime(), level, Access::Read, clear);
        faults(answer, FaultReason::Secure, level.number());
        let lenient = Regime {
            security: Security::NonSecure,
            ..driver_regime()
        };
        assert!(with_table(&lenient, level, Access::Read, clear).unwrap().ns);
    }
}

#[test]
fn a_clear_access_flag_faults_where_it_is_enabled() {
    for level in LEVELS {
        let descriptor = leaf(OUTPUT | leaf_at(level), |d| d.set_access_flag(false));
        let enabled = Regime {
            access_flag_faults: true,
            ..driver_regime()
        };
        let answer = with_leaf(&enabled, level, descriptor, Access::Read);
        faults(answer, FaultReason::AccessFlag, level.number());
        assert!(with_leaf(&driver_regime(), level, descriptor, Access::Read).is_ok());
    }
}

#[test]
fn a_write_to_a_read_only_leaf_is_a_permission_fault() {
    for level in LEVELS {
        let descriptor = leaf(OUTPUT | leaf_at(level), |d| d.set_ap_read_only(true));
        let answer = with_leaf(&driver_regime(), level, descriptor, Access::Write);
        faults(answer, FaultReason::Permission, level.number());
        let read = with_leaf(&driver_regime(), level, descriptor, Access::Read).unwrap();
        assert!(read.read && !read.write);
    }
}

#[test]
fn an_unprivileged_access_to_a_privileged_leaf_is_a_permission_fault() {
    for level in LEVELS {
        let descriptor = leaf(OUTPUT | leaf_at(level), |d| d.set_ap_user(false));
        for access in [Access::Read, Access::Write] {
            let answer = with_leaf(&driver_regime(), level, descriptor, access);
            faults(answer, FaultReason::Permission, level.number());
            let privileged = Regime {
                privileged: true,
                ..driver_regime()
            };
            let walked = with_leaf(&privileged, level, descriptor, access).unwrap();
            assert!(walked.read && walked.write);
        }
    }
}

#[test]
fn aptable_takes_permissions_from_everything_below() {
    for level in [Level::First, Level::Second] {
        let read_only = |table| table | 1 << 62;
        let answer = with_table(&driver_regime(), level, Access::Write, read_only);
        faults(answer, FaultReason::Permission, 3);
        let read = with_table(&driver_regime(), level, Access::Read, read_only).unwrap();
        assert!(read.read && !read.write);
        let no_user = |table| table | 1 << 61;
        let answer = with_table(&driver_regime(), level, Access::Read, no_user);
        faults(answer, FaultReason::Permission, 3);
        let privileged = Regime {
            privileged: true,
            ..driver_regime()
        };
        let walked = with_table(&privileged, level, Access::Write, no_user).unwrap();
        assert!(walked.read && walked.write);
    }
}

#[test]
fn an_iova_outside_every_region_is_a_translation_fault_of_level_1() {
    let mut tables = Tables::new(4);
    tables.map(Level::First, 0, OUTPUT | BLOCK);
    let mut regime = driver_regime();
    faults(
        walk(&tables, &regime, 1 << 32, Access::Read),
        FaultReason::Translation,
        1,
    );
    faults(
        walk(&tables, &regime, u64::MAX, Access::Read),
        FaultReason::Translation,
        1,
    );
    regime.ttbr0.size_offset = 2;
    assert!(walk(&tables, &regime, 0x3fff_ffff, Access::Read).is_ok());
    faults(
        walk(&tables, &regime, 0x4000_0000, Access::Read),
        FaultReason::Translation,
        1,
    );
    // Between the two regions.
    regime.ttbr1 = Some(Region::new(BASE, 2, Level::First));
    faults(
        walk(&tables, &regime, 0xbfff_ffff, Access::Read),
        FaultReason::Translation,
        1,
    );
    assert!(walk(&tables, &regime, 0xc000_0000, Access::Read).is_ok());
}

#[test]
fn a_region_whose_walks_are_disabled_is_a_translation_fault_of_level_1() {
    let mut tables = Tables::new(4);
    tables.map(Level::First, 0, OUTPUT | BLOCK);
    let mut regime = driver_regime();
    regime.ttbr0.disabled = true;
    faults(
        walk(&tables, &regime, 0, Access::Read),
        FaultReason::Translation,
        1,
    );
    regime.ttbr0.size_offset = 1;
    regime.ttbr1 = Some(Region::new(BASE, 1, Level::First));
    assert!(walk(&tables, &regime, 0x8000_0000, Access::Read).is_ok());
    regime.ttbr1.as_mut().unwrap().disabled = true;
    faults(
        walk(&tables, &regime, 0x8000_0000, Access::Read),
        FaultReason::Translation,
        1,
    );
}

#[test]
fn a_first_table_of_an_impossible_size_is_a_translation_fault_of_its_level() {
    let tables = Tables::new(4);
    for (size_offset, start) in [(3, Level::First), (12, Level::Second), (0, Level::Third)] {
        let regime = Regime {
            ttbr0: Region::new(BASE, size_offset, start),
            ..driver_regime()
        };
        faults(
            walk(&tables, &regime, 0, Access::Read),
            FaultReason::Translation,
            start.number(),
        );
    }
    assert_eq!(tables.take_reads(), 0);
}

#[test]
fn nonsensical_sizes_are_translation_faults_too() {
    let tables = Tables::new(4);
    for (input_bits, size_offset) in [(0, 0), (0, 1), (64, 0), (255, 0), (32, 255), (255, 200)] {
        let region = Region::new(BASE, size_offset, Level::First);
        for ttbr1 in [None, Some(region)] {
            let regime = Regime {
                input_bits,
                ttbr0: region,
                ttbr1,
                ..driver_regime()
            };
            for iova in [0, 1, u64::MAX] {
                let fault = walk(&tables, &regime, iova, Access::Read).unwrap_err();
                assert_eq!(
                    fault.reason,
                    FaultReason::Translation,
                    "{regime:?} {iova:#x}"
                );
            }
        }
    }
}

#[test]
fn of_several_faults_of_one_descriptor_the_first_in_order_is_told() {
    let strict = Regime {
        access_flag_faults: true,
        ..driver_regime()
    };
    let order = [
        (FaultReason::Translation, 0u64, 1u64),
        (FaultReason::AddressSize, 1 << 40, 0),
        (FaultReason::Secure, 0, 1 << 5),
        (FaultReason::AccessFlag, 0, 1 << 10),
        (FaultReason::Permission, 1 << 7, 0),
    ];
    for level in LEVELS {
        for first in 0..order.len() {
            let descriptor = order[first..]
                .iter()
                .fold(OUTPUT | leaf_at(level), |d, (_, set, clear)| {
                    (d | set) & !clear
                });
            let answer = with_leaf(&strict, level, descriptor, Access::Write);
            faults(answer, order[first].0, level.number());
        }
    }
}

//! Each cause of a fault, at each level where it can be.

use super::builder::{
    BASE, BLOCK, GRANULES, PAGE, TABLE, Tables, half, leaf_at, regime, start, translate,
};
use crate::fault::FaultReason;
use crate::model::Miss;
use crate::walk::vmsa64::{
    AddressSize, Granule, Half, MAX_VMSA64_READS, Vmsa64Fault, Vmsa64Regime,
};

/// Every granule with its largest half, 52 bits where `large`.
fn all(large: bool) -> impl Iterator<Item = (Half, Vmsa64Regime)> {
    GRANULES.into_iter().map(move |granule| {
        let half = half(granule, if large { 12 } else { 16 });
        let size = if large {
            AddressSize::Bits52
        } else {
            AddressSize::Bits48
        };
        let builder = Vmsa64Regime::builder()
            .lower(half)
            .ds(large)
            .large_va(large);
        let regime = builder.output(size).physical(size).build();
        (half, regime.expect("the size is possible"))
    })
}

/// An address with other bits at each level.
const IOVA: u64 = 0x1234_5678_9000;

#[test]
fn invalid_descriptors_fault_at_each_level() {
    for large in [false, true] {
        for (half, regime) in all(large) {
            for level in start(half)..=3 {
                for kind in [0, 2] {
                    let mut tables = Tables::new();
                    tables.map(half, level, IOVA, kind | BASE);
                    let fault = translate(&tables, &regime, IOVA, 'r');
                    assert_eq!(fault, Err((FaultReason::Translation, level)));
                    let reads = u32::from(level.abs_diff(start(half))) + 1;
                    assert_eq!(tables.take_reads(), reads);
                    assert!(reads <= MAX_VMSA64_READS);
                }
            }
        }
    }
}

#[test]
fn blocks_are_where_the_granule_has_them() {
    for large in [false, true] {
        for (half, regime) in all(large) {
            let first = match (half.granule, large) {
                (Granule::Size4K, true) => 0,
                (Granule::Size4K, false) | (_, true) => 1,
                (_, false) => 2,
            };
            for level in start(half)..=3 {
                let mut tables = Tables::new();
                tables.map(half, level, IOVA, BLOCK & !0x300);
                let answer = translate(&tables, &regime, IOVA, 'r');
                // At level 3 the encoding of a block is reserved.
                let expected = if (first..3).contains(&level) {
                    Ok(IOVA % (1 << half.granule.shift(level)))
                } else {
                    Err((FaultReason::Translation, level))
                };
                assert_eq!(answer, expected, "{half:?} at level {level}");
            }
        }
    }
}

#[test]
fn absent_memory_aborts_at_each_level() {
    for large in [false, true] {
        for (half, regime) in all(large) {
            for level in start(half)..3 {
                let mut tables = Tables::new();
                tables.map(half, level, IOVA, 0x1_0000_0000 | TABLE);
                let fault = translate(&tables, &regime, IOVA, 'r');
                assert_eq!(fault, Err((FaultReason::WalkAbort, level + 1)));
            }
        }
    }
    let nowhere = regime(Half::new(0x8000_0000, 25, Granule::Size4K));
    let fault = translate(&Tables::new(), &nowhere, 0, 'r');
    assert_eq!(fault, Err((FaultReason::WalkAbort, 1)));
}

#[test]
fn addresses_beyond_the_output_size_fault_at_each_level() {
    for granule in GRANULES {
        let half = half(granule, 16);
        let builder = Vmsa64Regime::builder().lower(half);
        let regime = builder.output(AddressSize::Bits40).build().unwrap();
        for level in start(half)..=3 {
            let mut tables = Tables::new();
            let kind = if level == 3 { PAGE } else { TABLE };
            tables.map(half, level, IOVA, 1 << 40 | kind);
            let fault = translate(&tables, &regime, IOVA, 'r');
            assert_eq!(fault, Err((FaultReason::AddressSize, level)));
        }
    }
    // The register comes before all descriptors, and has no level: 0.
    for base in [1 << 40, 1 << 47] {
        let half = Half::new(base, 16, Granule::Size4K);
        let builder = Vmsa64Regime::builder().lower(half);
        let regime = builder.output(AddressSize::Bits40).build().unwrap();
        let tables = Tables::new();
        let fault = translate(&tables, &regime, 0, 'r');
        assert_eq!(fault, Err((FaultReason::AddressSize, 0)));
        assert_eq!(tables.take_reads(), 0);
    }
}

#[test]
fn the_implementation_limits_the_output_size_too() {
    let half = half(Granule::Size4K, 25);
    let builder = Vmsa64Regime::builder()
        .lower(half)
        .output(AddressSize::Bits48);
    let regime = builder.physical(AddressSize::Bits36).build().unwrap();
    let mut tables = Tables::new();
    tables.map(half, 1, 0, 1 << 36 | BLOCK);
    assert_eq!(
        translate(&tables, &regime, 0, 'r'),
        Err((FaultReason::AddressSize, 1))
    );
}

#[test]
fn a_clear_access_flag_faults_unless_it_is_not_to() {
    for (half, regime) in all(false) {
        for level in [2, 3] {
            let mut tables = Tables::new();
            // Nor may it be written, which is looked at later.
            tables.map(half, level, 0, leaf_at(level) & !0x400 | 0x80);
            let fault = translate(&tables, &regime, 0, 'w');
            assert_eq!(fault, Err((FaultReason::AccessFlag, level)));
            let builder = Vmsa64Regime::builder().lower(half);
            let lenient = builder.access_flag_faults(false).build().unwrap();
            let fault = translate(&tables, &lenient, 0, 'w');
            assert_eq!(fault, Err((FaultReason::Permission, level)));
            assert!(translate(&tables, &lenient, 0, 'r').is_ok());
        }
    }
}

#[test]
fn an_address_size_fault_comes_before_that_of_the_access_flag() {
    let half = half(Granule::Size4K, 25);
    let builder = Vmsa64Regime::builder().lower(half);
    let regime = builder.output(AddressSize::Bits32).build().unwrap();
    let mut tables = Tables::new();
    tables.map(half, 2, 0, 1 << 32 | BLOCK & !0x400);
    assert_eq!(
        translate(&tables, &regime, 0, 'r'),
        Err((FaultReason::AddressSize, 2))
    );
}

#[test]
fn a_miss_has_the_level_if_it_has_a_number_there() {
    let reason = FaultReason::Translation;
    for (level, told) in [(-1, None), (0, Some(0)), (3, Some(3))] {
        let miss = Miss::from(Vmsa64Fault { reason, level });
        assert_eq!((miss.reason, miss.level), (reason, told));
    }
}

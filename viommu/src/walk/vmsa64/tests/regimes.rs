//! Halves, their sizes and first tables, and the registers that say them.

use super::builder::{
    BASE, BLOCK, GRANULES, PAGE, Tables, half, leaf_at, regime, start, translate,
};
use crate::fault::FaultReason;
use crate::walk::vmsa64::{AddressSize, Granule, Half, RegimeError, TcrEl1, Vmsa64Regime};

#[test]
fn bit_55_chooses_the_half_and_all_above_its_size_must_agree() {
    let lower = half(Granule::Size4K, 25);
    let upper = Half::new(BASE + 0x1000, 28, Granule::Size64K);
    let builder = Vmsa64Regime::builder().lower(lower).upper(upper);
    let regime = builder.build().unwrap();
    let mut tables = Tables::new();
    tables.set(BASE, BLOCK);
    tables.set(BASE + 0x1000, 0x2_0000_0000 | BLOCK);
    tables.set(BASE + 0x1000 + 127 * 8, 0x4_0000_0000 | BLOCK);
    let none = Err((FaultReason::Translation, 0));
    for (iova, expected) in [
        (0, Ok(0)),
        (0x3fff_ffff, Ok(0x3fff_ffff)),
        (1 << 39, none),
        (1 << 54, none),
        (1 << 63, none),
        (u64::MAX << 36, Ok(0x2_0000_0000)),
        (u64::MAX, Ok(0x4_1fff_ffff)),
        ((u64::MAX << 36) - 1, none),
        (u64::MAX >> 1, none),
    ] {
        assert_eq!(
            translate(&tables, &regime, iova, 'r'),
            expected,
            "{iova:#x}"
        );
    }
}

#[test]
fn there_is_no_walk_where_a_half_is_disabled() {
    let tcr = TcrEl1::new()
        .with_t0sz(25)
        .with_t1sz(25)
        .with_tg1(2)
        .with_ips(5);
    let tables = Tables::new();
    for (tcr, levels) in [
        (tcr, [1, 1]),
        (tcr.with_epd0(true), [0, 1]),
        (tcr.with_epd1(true), [1, 0]),
    ] {
        let builder = Vmsa64Regime::builder().registers(tcr, BASE, BASE);
        let regime = builder.build().unwrap();
        for (iova, level) in [0, u64::MAX].into_iter().zip(levels) {
            let fault = translate(&tables, &regime, iova, 'r');
            assert_eq!(fault, Err((FaultReason::Translation, level)));
        }
    }
    // The size of a half without walks may be anything.
    let odd = tcr.with_t0sz(1).with_epd0(true);
    assert!(Vmsa64Regime::builder().registers(odd, 0, 0).build().is_ok());
}

#[test]
fn the_first_level_follows_from_the_size() {
    for (granule, sizes) in [
        (
            Granule::Size4K,
            &[
                (12, -1),
                (15, -1),
                (16, 0),
                (24, 0),
                (25, 1),
                (33, 1),
                (34, 2),
                (42, 2),
                (43, 3),
                (48, 3),
            ][..],
        ),
        (
            Granule::Size16K,
            &[
                (12, 0),
                (16, 0),
                (17, 1),
                (27, 1),
                (28, 2),
                (38, 2),
                (39, 3),
                (48, 3),
            ][..],
        ),
        (
            Granule::Size64K,
            &[(12, 1), (21, 1), (22, 2), (34, 2), (35, 3), (47, 3)][..],
        ),
    ] {
        for &(size_offset, level) in sizes {
            let half = half(granule, size_offset);
            let builder = Vmsa64Regime::builder().lower(half).small_tables(true);
            let regime = builder.ds(true).large_va(true).build().unwrap();
            assert_eq!(start(half), level, "the tests' own rule");
            // Nothing is mapped, which is found out in the first table.
            let tables = Tables::new();
            let fault = translate(&tables, &regime, 0, 'r');
            assert_eq!(fault, Err((FaultReason::Translation, level)));
            // Its last entry is where the top of the half leads.
            let mut tables = Tables::new();
            let last = (1 << (64 - size_offset)) - 1;
            tables.map(half, 3, last, PAGE & !0x300);
            assert_eq!(
                translate(&tables, &regime, last, 'r'),
                Ok(last & ((1 << granule.bits()) - 1))
            );
        }
    }
}

#[test]
fn sizes_out_of_range_are_told() {
    let build = |granule, size_offset, [ds, large_va, small]: [bool; 3]| {
        let builder = Vmsa64Regime::builder().upper(Half::new(0, size_offset, granule));
        let builder = builder.ds(ds).large_va(large_va).small_tables(small);
        builder.build().map(|_| ())
    };
    for (granule, features, least, most) in [
        (Granule::Size4K, [false; 3], 16, 39),
        (Granule::Size16K, [false, true, false], 16, 39),
        (Granule::Size4K, [true, false, true], 12, 48),
        (Granule::Size16K, [true, false, true], 12, 48),
        // DS is not for it.
        (Granule::Size64K, [true, false, false], 16, 39),
        (Granule::Size64K, [false, true, true], 12, 47),
    ] {
        for size_offset in 0..=255 {
            let expected = if (least..=most).contains(&size_offset) {
                Ok(())
            } else {
                Err(RegimeError::Size {
                    size_offset,
                    least,
                    most,
                })
            };
            assert_eq!(build(granule, size_offset, features), expected);
        }
    }
    let error = build(Granule::Size4K, 3, [false; 3]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "TnSZ is 3; with this granule it can be 16 to 39"
    );
}

#[test]
fn one_privilege_level_has_no_upper_half() {
    let half = half(Granule::Size4K, 16);
    let builder = Vmsa64Regime::builder().one_privilege_level();
    assert_eq!(
        builder.clone().upper(half).build(),
        Err(RegimeError::UpperHalf)
    );
    let regime = builder.lower(half).build().unwrap();
    let mut tables = Tables::new();
    tables.map(half, 1, 0, BLOCK);
    assert!(translate(&tables, &regime, 0, 'r').is_ok());
    for iova in [u64::MAX, 1 << 55] {
        let fault = translate(&tables, &regime, iova, 'r');
        assert_eq!(fault, Err((FaultReason::Translation, 0)));
    }
}

#[test]
fn bits_of_the_register_below_the_tables_size_are_ignored() {
    // Two entries with 38 bits; 512 with 39; ASID and CnP.
    let mut tables = Tables::new();
    tables.set(BASE + 8, BLOCK);
    for (ttbr, size_offset, found) in [
        (BASE | 0xf, 33, true),
        (BASE | 0x10, 33, false),
        (BASE | 0xff0, 25, true),
        (BASE | 0xabcd << 48 | 1, 33, true),
    ] {
        let regime = regime(Half::new(ttbr, size_offset, Granule::Size4K));
        assert_eq!(
            translate(&tables, &regime, 1 << 30, 'r').is_ok(),
            found,
            "{ttbr:#x}"
        );
    }
}

#[test]
fn with_52_bits_the_register_has_its_top_bits_below() {
    let size = AddressSize::Bits52;
    for (granule, ds) in [
        (Granule::Size4K, true),
        (Granule::Size16K, true),
        (Granule::Size64K, false),
    ] {
        let build = |ttbr, output| {
            let builder = Vmsa64Regime::builder().lower(Half::new(ttbr, 16, granule));
            builder
                .ds(ds)
                .output(output)
                .physical(size)
                .build()
                .unwrap()
        };
        let tables = Tables::new();
        // Bit 5 is bit 51 of the address, where nothing is.
        let fault = translate(&tables, &build(BASE | 1 << 5, size), 0, 'r');
        assert_eq!(
            fault.map_err(|(reason, _)| reason),
            Err(FaultReason::WalkAbort)
        );
        // With fewer bits it is out of range with DS, and means nothing without it.
        let fault = translate(&tables, &build(BASE | 1 << 5, AddressSize::Bits48), 0, 'r');
        let expected = if ds {
            FaultReason::AddressSize
        } else {
            FaultReason::Translation
        };
        assert_eq!(fault.map_err(|(reason, _)| reason), Err(expected));
    }
}

#[test]
fn descriptors_of_64_kib_granules_have_52_bits_if_the_implementation_has() {
    let half = half(Granule::Size64K, 22);
    let build = |output, physical| {
        let builder = Vmsa64Regime::builder().lower(half);
        builder.output(output).physical(physical).build().unwrap()
    };
    let (small, large) = (AddressSize::Bits48, AddressSize::Bits52);
    let mut tables = Tables::new();
    tables.map(half, 2, 0, BLOCK | 0xc000);
    assert_eq!(
        translate(&tables, &build(large, large), 0, 'r'),
        Ok(0xc << 48)
    );
    // The bits are there, and too large.
    let fault = translate(&tables, &build(small, large), 0, 'r');
    assert_eq!(fault, Err((FaultReason::AddressSize, 2)));
    // The bits are not there.
    assert_eq!(translate(&tables, &build(large, small), 0, 'r'), Ok(0));
}

#[test]
fn registers_say_what_the_builder_is_told() {
    let tcr = TcrEl1::new()
        .with_t0sz(17)
        .with_tg0(2)
        .with_tbi0(true)
        .with_t1sz(16)
        .with_tg1(3)
        .with_hpd1(true)
        .with_ips(2);
    let by_registers = Vmsa64Regime::builder()
        .registers(tcr, BASE, 2 * BASE)
        .build();
    let by_hand = Vmsa64Regime::builder()
        .lower(half(Granule::Size16K, 17).with_top_byte_ignored(true))
        .upper(Half::new(2 * BASE, 16, Granule::Size64K).with_hierarchical_disabled(true))
        .output(AddressSize::Bits40)
        .build();
    assert_eq!(by_registers, by_hand);
    assert!(by_hand.is_ok());
}

#[test]
fn every_granule_maps_pages_in_small_and_large_halves() {
    for granule in GRANULES {
        for size_offset in 16..=47 {
            let half = half(granule, size_offset);
            let mut tables = Tables::new();
            let iova = (1 << (63 - size_offset)) + 0x123;
            tables.map(half, 3, iova, 0x5000_0000 | leaf_at(3));
            let offset = iova & ((1 << granule.bits()) - 1);
            assert_eq!(
                translate(&tables, &regime(half), iova, 'w'),
                Ok(0x5000_0000 + offset)
            );
        }
    }
}

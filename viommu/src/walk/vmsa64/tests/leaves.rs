//! What blocks, pages and the tables above them say.

use vm_memory::Permissions;

use super::builder::{BASE, BLOCK, PAGE, TABLE, Tables, access, half, regime, translate};
use crate::walk::Shareability;
use crate::walk::vmsa64::{AddressSize, Granule, Half, Vmsa64Regime, Vmsa64Walked, walk_vmsa64};

const AP_USER: u64 = 1 << 6;
const AP_READ_ONLY: u64 = 1 << 7;
const PXN: u64 = 1 << 53;
const UXN: u64 = 1 << 54;
const PXN_TABLE: u64 = 1 << 59;
const UXN_TABLE: u64 = 1 << 60;
const AP_TABLE_NO_USER: u64 = 1 << 61;
const AP_TABLE_READ_ONLY: u64 = 1 << 62;
const NS_TABLE: u64 = 1 << 63;

/// Which accesses a leaf with `bits` below a table with `above` permits, in the form of `ls -l`:
/// privileged, then unprivileged.
fn rights(regime: &Vmsa64Regime, half: Half, bits: u64, above: u64) -> String {
    let mut tables = Tables::new();
    let entry = tables
        .entry(half, 3, 0, TABLE | above)
        .expect("it is empty");
    tables.set(entry, PAGE & !(AP_USER | AP_READ_ONLY) | bits);
    [true, false]
        .into_iter()
        .flat_map(|privileged| "rwx".chars().map(move |operation| (operation, privileged)))
        .map(|(operation, privileged)| {
            match walk_vmsa64(&tables, regime, 0, access(operation, privileged)) {
                Ok(_) => operation,
                Err(_) => '-',
            }
        })
        .collect()
}

#[test]
fn ap_uxn_and_pxn_say_who_may_do_what() {
    let half = half(Granule::Size4K, 25);
    let regime = regime(half);
    for (bits, expected) in [
        (0, "rwx--x"),
        // What unprivileged software can write is never privileged code.
        (AP_USER, "rw-rwx"),
        (AP_READ_ONLY, "r-x--x"),
        (AP_READ_ONLY | AP_USER, "r-xr-x"),
        (AP_READ_ONLY | AP_USER | PXN, "r--r-x"),
        (AP_READ_ONLY | AP_USER | UXN, "r-xr--"),
        (PXN | UXN, "rw----"),
    ] {
        assert_eq!(rights(&regime, half, bits, 0), expected, "{bits:#x}");
    }
}

#[test]
fn tables_take_rights_from_what_is_below_unless_that_is_disabled() {
    let half = half(Granule::Size4K, 25);
    let regime_of = |half| Vmsa64Regime::builder().lower(half).build().unwrap();
    let read_only = AP_READ_ONLY | AP_USER;
    for (bits, above, expected) in [
        (AP_USER, AP_TABLE_NO_USER, "rwx--x"),
        (AP_USER, AP_TABLE_READ_ONLY, "r-xr-x"),
        (AP_USER, AP_TABLE_NO_USER | AP_TABLE_READ_ONLY, "r-x--x"),
        (read_only, PXN_TABLE, "r--r-x"),
        (read_only, UXN_TABLE, "r-xr--"),
    ] {
        assert_eq!(
            rights(&regime_of(half), half, bits, above),
            expected,
            "{above:#x}"
        );
        let flat = half.with_hierarchical_disabled(true);
        let without = rights(&regime_of(flat), flat, bits, 0);
        assert_eq!(rights(&regime_of(flat), flat, bits, above), without);
        assert_ne!(without, expected);
    }
}

#[test]
fn one_privilege_level_has_one_set_of_rights() {
    let half = half(Granule::Size4K, 25);
    let builder = Vmsa64Regime::builder().lower(half).one_privilege_level();
    let regime = builder.build().unwrap();
    for (bits, above, expected) in [
        (0, 0, "rwxrwx"),
        (AP_READ_ONLY, 0, "r-xr-x"),
        // PXN and APTable[0] mean nothing; UXN is XN.
        (PXN, AP_TABLE_NO_USER | PXN_TABLE, "rwxrwx"),
        (UXN, 0, "rw-rw-"),
        (0, UXN_TABLE | AP_TABLE_READ_ONLY, "r--r--"),
    ] {
        assert_eq!(
            rights(&regime, half, bits, above),
            expected,
            "{bits:#x} {above:#x}"
        );
    }
    let wxn = builder.wxn(true).build().unwrap();
    assert_eq!(rights(&wxn, half, 0, 0), "rw-rw-");
}

#[test]
fn wxn_and_pan_take_more() {
    let half = half(Granule::Size4K, 25);
    let builder = Vmsa64Regime::builder().lower(half);
    let wxn = builder.clone().wxn(true).build().unwrap();
    assert_eq!(rights(&wxn, half, 0, 0), "rw---x");
    assert_eq!(rights(&wxn, half, AP_USER, 0), "rw-rw-");
    assert_eq!(rights(&wxn, half, AP_USER | AP_READ_ONLY, 0), "r-xr-x");
    let pan = builder.pan(true).build().unwrap();
    assert_eq!(rights(&pan, half, 0, 0), "rwx--x");
    assert_eq!(rights(&pan, half, AP_USER, 0), "---rwx");
    // It is not the tables' doing that unprivileged accesses may not either.
    assert_eq!(rights(&pan, half, AP_USER, AP_TABLE_NO_USER), "rwx--x");
}

fn read(tables: &Tables, regime: &Vmsa64Regime, iova: u64) -> Vmsa64Walked {
    walk_vmsa64(tables, regime, iova, access('r', false)).expect("it is mapped")
}

#[test]
fn attributes_are_those_of_the_descriptor() {
    let half = half(Granule::Size16K, 17);
    let mut tables = Tables::new();
    // AttrIndx 5, outer shareable, not global, GP, DBM, contiguous.
    let bits = PAGE & !0x300 | 5 << 2 | 2 << 8 | 1 << 11 | 7 << 50;
    tables.map(half, 3, 0x4000, 0x8000_0000 | bits);
    let walked = read(&tables, &regime(half), 0x5000);
    assert_eq!(
        (walked.output, walked.size_log2, walked.level),
        (0x8000_1000, 14, 3)
    );
    assert_eq!(walked.attr_index, 5);
    assert_eq!(walked.shareability, Shareability::Outer);
    assert!(walked.guarded && walked.dirty_bit_modifier && walked.contiguous);
    assert!(walked.ns && !walked.global);
    let mapping = walked.mapping(0x5000);
    assert_eq!(
        (mapping.first, mapping.last, mapping.address),
        (0x4000, 0x7fff, 0x8000_0000)
    );
    assert_eq!(mapping.permissions, Permissions::ReadWrite);
}

#[test]
fn with_ds_shareability_is_that_of_the_half() {
    let half = half(Granule::Size4K, 12).with_shareability(Shareability::Inner);
    let builder = Vmsa64Regime::builder().lower(half).ds(true);
    let size = AddressSize::Bits52;
    let regime = builder.output(size).physical(size).build().unwrap();
    let mut tables = Tables::new();
    // Bits 9:8 and 49:48 are address bits 51:48.
    tables.map(half, 1, 0, BLOCK & !0x300 | 2 << 8 | 1 << 48);
    let walked = read(&tables, &regime, 0x1234);
    assert_eq!(walked.output, 9 << 48 | 0x1234);
    assert_eq!(walked.shareability, Shareability::Inner);
}

#[test]
fn what_is_executable_alone_maps_nothing_for_devices() {
    let half = half(Granule::Size4K, 25);
    let mut tables = Tables::new();
    tables.map(half, 3, 0, PAGE & !AP_USER);
    let walked = walk_vmsa64(&tables, &regime(half), 0, access('x', false)).unwrap();
    assert_eq!(walked.mapping(0).permissions, Permissions::No);
}

#[test]
fn a_secure_regime_may_map_either_memory() {
    let half = half(Granule::Size4K, 25).with_hierarchical_disabled(true);
    let regime = Vmsa64Regime::builder()
        .lower(half)
        .secure()
        .build()
        .unwrap();
    for (bits, above, ns) in [
        (0, 0, false),
        (1 << 5, 0, true),
        // It is no permission, so disabling those does not disable it.
        (0, NS_TABLE, true),
    ] {
        let mut tables = Tables::new();
        let entry = tables
            .entry(half, 2, 0, TABLE | above)
            .expect("it is empty");
        tables.set(entry, BLOCK | bits);
        assert_eq!(read(&tables, &regime, 0).ns, ns);
    }
}

/// One entry is read, and believed for itself only.
#[test]
fn the_contiguous_hint_changes_no_translation() {
    let half = half(Granule::Size4K, 25);
    let mut tables = Tables::new();
    for page in 0..16 {
        tables.map(
            half,
            3,
            page << 12,
            (BASE + (15 - page) * 0x1000) | PAGE | 1 << 52,
        );
    }
    for page in 0..16 {
        let walked = read(&tables, &regime(half), page << 12);
        assert_eq!(
            (walked.output, walked.size_log2),
            (BASE + (15 - page) * 0x1000, 12)
        );
        assert!(walked.contiguous);
    }
}

#[test]
fn a_tag_is_no_part_of_an_address_where_the_top_byte_is_ignored() {
    let plain = half(Granule::Size4K, 25);
    let tagged = plain.with_top_byte_ignored(true);
    let mut tables = Tables::new();
    tables.map(plain, 3, 0x1000, PAGE);
    let iova = 0xab00_0000_0000_1234;
    assert!(translate(&tables, &regime(plain), iova, 'r').is_err());
    let walked = read(&tables, &regime(tagged), iova);
    assert_eq!(walked.output, 0x234);
    assert_eq!(walked.mapping(iova).first, iova & !0xfff);
    // The bits between tag and address still count.
    assert!(translate(&tables, &regime(tagged), iova | 1 << 54, 'r').is_err());
}

//! MAP (5.13.6.5).

use super::*;

#[test]
fn misaligned_ranges_should_be_rejected_with_range() {
    let mut machine = mapped();
    for (first, last, address) in [
        (1, 0xfff, RAM),
        (0, 0xffe, RAM),
        (0, 0x1000, RAM),
        (0, 0xfff, RAM + 1),
        (0x800, 0x17ff, RAM),
        (0, 0, RAM),
        (u64::MAX - 0xffe, u64::MAX, RAM),
    ] {
        machine.refused(map_rw(1, first, last, address), Status::Range);
    }
}

#[test]
fn one_byte_can_be_mapped_if_the_granule_is_one() {
    let mut machine = Machine::active_with(|config| config.page_size_mask = u64::MAX);
    machine.ok(attach(1, EP));
    machine.ok(map_rw(1, 5, 5, RAM + 3));
    machine.ok(map(1, 6, 6, RAM + 9, map_flag::READ));
    assert!(machine.writes(EP, 5) && machine.reads(EP, 6));
    assert!(!machine.writes(EP, 6) && !machine.reads(EP, 4) && !machine.reads(EP, 7));
    machine.ok(map_rw(1, u64::MAX, u64::MAX, RAM));
    machine.ok(unmap(1, 5, 6));
    assert!(!machine.reads(EP, 5));
}

#[test]
fn existing_mappings_should_be_rejected_with_inval() {
    let mut machine = mapped();
    let end = MAPPED + 0xfff;
    for (first, last) in [
        (MAPPED, end),
        (MAPPED - 0x1000, end),
        (MAPPED, end + 0x1000),
        (0, u64::MAX >> 1),
    ] {
        machine.refused(map_rw(1, first, last, 0), Status::Inval);
    }
    machine.ok(map_rw(1, MAPPED - 0x1000, MAPPED - 1, RAM));
    machine.ok(map_rw(1, end + 1, end + 0x1000, RAM));
}

#[test]
fn unknown_flags_must_be_rejected_with_inval() {
    let mut machine = mapped();
    for bit in 3..32 {
        machine.refused(map(1, 0, 0xfff, RAM, 3 | 1 << bit), Status::Inval);
    }
}

#[test]
fn an_unknown_domain_should_be_rejected_with_noent() {
    let mut machine = mapped();
    machine.refused(map_rw(2, 0, 0xfff, RAM), Status::NoEnt);
    machine.ok(detach(1, EP));
    machine.refused(map_rw(1, 0, 0xfff, RAM), Status::NoEnt);
}

#[test]
fn a_bypass_domain_should_be_rejected_with_inval() {
    let mut machine = Machine::usual();
    machine.ok(attach_with(1, EP, attach_flag::BYPASS, 0));
    machine.refused(map_rw(1, 0, 0xfff, RAM), Status::Inval);
}

#[test]
fn writes_must_not_be_allowed_without_the_write_flag() {
    let mut machine = Machine::usual();
    machine.ok(attach(1, EP));
    let flags = [
        0,
        map_flag::READ,
        map_flag::WRITE,
        map_flag::READ | map_flag::WRITE,
    ];
    for (n, flags) in (0u64..).zip(flags) {
        let iova = n << 12;
        machine.ok(map(1, iova, iova + 0xfff, RAM, flags));
        for _ in 0..2 {
            assert_eq!(machine.writes(EP, iova), flags & map_flag::WRITE != 0);
            assert_eq!(machine.reads(EP, iova), flags & map_flag::READ != 0);
        }
    }
}

#[test]
fn ranges_outside_of_input_range_are_rejected_with_range() {
    let mut machine =
        Machine::active_with(|config| config.input_range = Some((0x1000, 0xffff_ffff)));
    machine.ok(attach(1, EP));
    machine.refused(map_rw(1, 0, 0xfff, RAM), Status::Range);
    machine.refused(map_rw(1, 0, 0x1fff, RAM), Status::Range);
    machine.refused(map_rw(1, 0xffff_f000, 0x1_0000_0fff, RAM), Status::Range);
    machine.refused(map_rw(1, 1 << 32, (1 << 32) + 0xfff, RAM), Status::Range);
    machine.ok(map_rw(1, 0x1000, 0x1fff, RAM));
    machine.ok(map_rw(1, 0xffff_f000, 0xffff_ffff, RAM));
    machine.ok(unmap(1, 0, u64::MAX));
    assert_eq!(machine.iommu.mappings(), 0);
}

#[test]
fn the_edges_of_64_bits_are_exact() {
    let mut machine = Machine::usual();
    machine.ok(attach(1, EP));
    machine.ok(map_rw(1, u64::MAX - 0xfff, u64::MAX, RAM));
    machine.ok(map_rw(
        1,
        u64::MAX - 0x1fff,
        u64::MAX - 0x1000,
        RAM + 0x2000,
    ));
    assert!(machine.reads(EP, u64::MAX - 0x1000) && machine.reads(EP, u64::MAX - 0xfff));
    machine.refused(unmap(1, u64::MAX, u64::MAX), Status::Range);
    machine.ok(unmap(1, u64::MAX - 0xfff, u64::MAX));
    machine.ok(unmap(1, 0, u64::MAX));
    machine.ok(map_rw(1, 0, u64::MAX, 0));
    assert!(machine.reads(EP, RAM) && !machine.reads(EP, RAM - 1));
    machine.ok(unmap(1, 0, u64::MAX));
    // Physical addresses that go on beyond 2^64.
    machine.refused(map_rw(1, 0, 0x1fff, u64::MAX - 0xfff), Status::Range);
    machine.refused(map_rw(1, 0, u64::MAX, 0x1000), Status::Range);
    machine.ok(map_rw(1, 0, 0xfff, u64::MAX - 0xfff));
    machine.refused(map_rw(1, 0x2000, 0x1fff, RAM), Status::Inval);
}

#[test]
fn too_many_mappings_are_rejected_with_nomem() {
    let mut machine = Machine::active_with(|config| config.max_mappings = 3);
    machine.ok(attach(1, EP));
    machine.ok(attach(2, OTHER));
    for page in 0..3 {
        machine.ok(map_rw(
            1 + page / 2,
            u64::from(page) << 12,
            (u64::from(page) << 12) + 0xfff,
            RAM,
        ));
    }
    machine.refused(map_rw(1, 0x10_0000, 0x10_0fff, RAM), Status::NoMem);
    machine.ok(detach(1, EP));
    machine.ok(map_rw(2, 0, 0x1fff, RAM));
    machine.ok(map_rw(2, 0x10_0000, 0x10_0fff, RAM));
    machine.refused(map_rw(2, 0x20_0000, 0x20_0fff, RAM), Status::NoMem);
}

use super::*;
use crate::cp15::sctlr;
use crate::mmu::Access;
use crate::mmu::testing::{END, TestBus, state};
use crate::mmu::{MemoryType, Perms, Shareability, translate};
use crate::state::CpuState;

const L1: u64 = 0x4000;
const L2: u64 = 0x5000;
const L3: u64 = 0x6000;

const AF: u64 = 1 << 10;
/// AP[2:1] for PL1 and PL0 read/write.
const USER: u64 = 1 << 6;
const READ_ONLY: u64 = 2 << 6;
const TABLE: u64 = 0b11;
const PAGE: u64 = 0b11;
const BLOCK: u64 = 0b01;

/// Creates a state with the MMU on, long descriptors, TTBR0 at [`L1`], attribute 0 normal
/// write-back.
fn setup() -> (CpuState, TestBus) {
    let mut s = state();
    s.cp15.ttbcr = ttbcr::EAE;
    s.cp15.ttbr0 = L1;
    s.cp15.prrr_mair0 = 0x0004_00ff;
    (s, TestBus::default())
}

/// Creates a state with three levels for the first 4 KiB of each table.
fn setup_page(leaf: u64) -> (CpuState, TestBus) {
    let (s, bus) = setup();
    bus.double(L1, L2 | TABLE);
    bus.double(L2, L3 | TABLE);
    bus.double(L3, leaf);
    (s, bus)
}

fn read(s: &CpuState, bus: &TestBus, va: u32) -> Result<Translation, Fault> {
    translate(s, bus, va, Access::Read, true)
}

fn fault(s: &CpuState, bus: &TestBus, va: u32) -> (FaultKind, u8) {
    let f = read(s, bus, va).expect_err("the access must fault");
    assert_eq!((f.va, f.access, f.domain), (va, Access::Read, 0));
    (f.kind, f.level)
}

#[test]
fn first_level_block_maps_a_gibibyte() {
    let (s, bus) = setup();
    bus.double(L1 + 16, 0xab_4000_0000 | AF | USER | 3 << 8 | BLOCK);
    let t = read(&s, &bus, 0x9234_5678).unwrap();
    assert_eq!((t.pa, t.size_log2), (0xab_5234_5678, 30));
    assert_eq!((t.domain, t.global), (None, true));
    assert_eq!((t.user, t.privileged), (Perms::ALL, Perms::ALL));
    assert_eq!(t.attributes.shareability, Shareability::Inner);
    assert!(t.unaligned_ok());
}

#[test]
fn second_level_block_maps_2_mib() {
    let (s, bus) = setup();
    bus.double(L1 + 24, L2 | TABLE);
    let device = 2 << 2;
    bus.double(
        L2 + 8 * 0x1ff,
        0x1_2340_0000 | AF | 1 << 11 | device | BLOCK,
    );
    let t = read(&s, &bus, 0xffe1_2345).unwrap();
    assert_eq!((t.pa, t.size_log2), (0x1_2341_2345, 21));
    assert!(!t.global);
    assert_eq!(t.attributes.memory, MemoryType::Device);
    assert_eq!((t.user.read, t.privileged.write), (false, true));
}

#[test]
fn third_level_page_maps_4_kib_with_or_without_the_contiguous_hint() {
    for hint in [0, 1 << 52] {
        let (s, bus) = setup_page(0);
        bus.double(L3 + 8 * 0x1ff, 0xf_1234_5000 | AF | READ_ONLY | hint | PAGE);
        let t = read(&s, &bus, 0x001f_fabc).unwrap();
        assert_eq!((t.pa, t.size_log2), (0xf_1234_5abc, 12));
        assert!(t.privileged.read && !t.privileged.write && !t.user.read);
    }
}

#[test]
fn translation_faults_name_their_level() {
    let (s, bus) = setup_page(0);
    assert_eq!(fault(&s, &bus, 0x4000_0000), (FaultKind::Translation, 1));
    assert_eq!(fault(&s, &bus, 0x0020_0000), (FaultKind::Translation, 2));
    assert_eq!(fault(&s, &bus, 0), (FaultKind::Translation, 3));
    // A block encoding is reserved at the third level.
    bus.double(L3, AF | BLOCK);
    assert_eq!(fault(&s, &bus, 0), (FaultKind::Translation, 3));
    // Bit 0 clear is invalid whatever bit 1 says.
    bus.double(L1, L2 | 0b10);
    assert_eq!(fault(&s, &bus, 0), (FaultKind::Translation, 1));
}

#[test]
fn access_flag_faults_name_their_level() {
    let (s, bus) = setup_page(PAGE);
    assert_eq!(fault(&s, &bus, 0), (FaultKind::AccessFlag, 3));
    bus.double(L2, BLOCK);
    assert_eq!(fault(&s, &bus, 0), (FaultKind::AccessFlag, 2));
    bus.double(L1, BLOCK);
    assert_eq!(fault(&s, &bus, 0), (FaultKind::AccessFlag, 1));
}

#[test]
fn permission_faults_name_their_level() {
    let (s, bus) = setup_page(AF | READ_ONLY | PAGE);
    let write = || translate(&s, &bus, 0, Access::Write, true).unwrap_err();
    assert_eq!((write().kind, write().level), (FaultKind::Permission, 3));
    bus.double(L2, AF | READ_ONLY | BLOCK);
    assert_eq!((write().kind, write().level), (FaultKind::Permission, 2));
    bus.double(L1, AF | READ_ONLY | BLOCK);
    assert_eq!((write().kind, write().level), (FaultKind::Permission, 1));
    let f = translate(&s, &bus, 0, Access::Read, false).unwrap_err();
    assert_eq!((f.kind, f.access), (FaultKind::Permission, Access::Read));
}

#[test]
fn external_aborts_name_their_level() {
    let (mut s, bus) = setup_page(AF | PAGE);
    bus.double(L2, END | TABLE);
    assert_eq!(fault(&s, &bus, 0), (FaultKind::ExternalOnWalk, 3));
    bus.double(L1, END | TABLE);
    assert_eq!(fault(&s, &bus, 0), (FaultKind::ExternalOnWalk, 2));
    s.cp15.ttbr0 = END;
    assert_eq!(fault(&s, &bus, 0), (FaultKind::ExternalOnWalk, 1));
}

#[test]
fn tables_take_rights_away() {
    let rights = |l1: u64, l2: u64| {
        let (s, bus) = setup();
        bus.double(L1, L2 | TABLE | l1);
        bus.double(L2, L3 | TABLE | l2);
        bus.double(L3, AF | USER | PAGE);
        let t = read(&s, &bus, 0).unwrap();
        (t.user, t.privileged)
    };
    let no_write = Perms {
        write: false,
        ..Perms::ALL
    };
    let no_execute = Perms {
        execute: false,
        ..Perms::ALL
    };
    assert_eq!(rights(0, 0), (Perms::ALL, Perms::ALL));
    for bit_at in [|bit: u64| (bit, 0), |bit: u64| (0, bit)] {
        let with = |bit: u32| {
            let (l1, l2) = bit_at(1 << bit);
            rights(l1, l2)
        };
        assert_eq!(with(61), (Perms::NONE, Perms::ALL), "APTable[0]");
        assert_eq!(with(62), (no_write, no_write), "APTable[1]");
        assert_eq!(with(60), (no_execute, no_execute), "XNTable");
        assert_eq!(with(59), (Perms::ALL, no_execute), "PXNTable");
    }
}

#[test]
fn execute_never_bits_of_leaves() {
    let (s, bus) = setup_page(AF | USER | 1 << 54 | PAGE);
    let f = translate(&s, &bus, 0, Access::Execute, false).unwrap_err();
    assert_eq!((f.kind, f.level), (FaultKind::Permission, 3));
    bus.double(L3, AF | USER | 1 << 53 | PAGE);
    let t = translate(&s, &bus, 0, Access::Execute, false).unwrap();
    assert!(!t.privileged.execute);
}

#[test]
fn write_execute_never() {
    let (mut s, bus) = setup_page(AF | USER | PAGE);
    s.cp15.sctlr |= sctlr::UWXN;
    let t = read(&s, &bus, 0).unwrap();
    assert!(t.user.execute && !t.privileged.execute);
    s.cp15.sctlr |= sctlr::WXN;
    let t = read(&s, &bus, 0).unwrap();
    assert!(!t.user.execute && !t.privileged.execute);
}

/// Sets TTBR0 and TTBR1 to tables whose every entry at the given levels is a block, and tells which
/// one a walk used.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the tests' addresses are small"
)]
fn which(t0sz: u32, t1sz: u32, va: u32) -> Option<(u8, u8)> {
    let (mut s, bus) = setup();
    s.cp15.ttbcr |= t0sz | t1sz << 16;
    s.cp15.ttbr0 = 0x10_0000;
    s.cp15.ttbr1 = 0x20_0000;
    for i in 0..512 {
        bus.double(0x10_0000 + 8 * i, 0x10_0000_0000 | AF | BLOCK);
        bus.double(0x20_0000 + 8 * i, 0x20_0000_0000 | AF | BLOCK);
    }
    let t = read(&s, &bus, va).ok()?;
    Some(((t.pa >> 36) as u8 - 1, t.size_log2))
}

#[test]
fn sizes_select_base_and_first_level() {
    const GIB: u8 = 30;
    const MIB2: u8 = 21;
    for (t0sz, t1sz, va, want) in [
        (0, 0, 0xffff_ffff, Some((0, GIB))),
        (1, 0, 0x7fff_ffff, Some((0, GIB))),
        (1, 0, 0x8000_0000, Some((1, GIB))),
        (2, 0, 0x3fff_ffff, Some((0, MIB2))),
        (2, 0, 0x4000_0000, Some((1, GIB))),
        (0, 1, 0x8000_0000, Some((1, GIB))),
        (0, 1, 0x7fff_ffff, Some((0, GIB))),
        (0, 2, 0xc000_0000, Some((1, MIB2))),
        (0, 2, 0xbfff_ffff, Some((0, GIB))),
        // As Linux has it with VMSPLIT_2G.
        (1, 1, 0x7fff_0000, Some((0, GIB))),
        (1, 1, 0x8000_0000, Some((1, GIB))),
        // A gap between the two.
        (2, 2, 0x4000_0000, None),
        (2, 2, 0xbfff_ffff, None),
        (7, 7, 0x01ff_ffff, Some((0, MIB2))),
        (7, 7, 0x0200_0000, None),
        (7, 7, 0xfe00_0000, Some((1, MIB2))),
    ] {
        assert_eq!(which(t0sz, t1sz, va), want, "{t0sz} {t1sz} {va:#x}");
    }
}

#[test]
fn a_gap_between_the_regions_is_a_first_level_translation_fault() {
    let (mut s, bus) = setup();
    s.cp15.ttbcr |= 2 | 2 << 16;
    assert_eq!(fault(&s, &bus, 0x4000_0000), (FaultKind::Translation, 1));
}

#[test]
fn short_tables_are_indexed_within_their_size() {
    let (mut s, bus) = setup();
    // T1SZ = 2: 1 GiB at the top, one second-level table; its index starts at 0.
    s.cp15.ttbcr |= 2 << 16;
    s.cp15.ttbr1 = 0x9000;
    bus.double(0x9000 + 8, 0x1_0020_0000 | AF | BLOCK);
    assert_eq!(read(&s, &bus, 0xc020_1234).unwrap().pa, 0x1_0020_1234);
    // T1SZ = 1: two first-level entries.
    s.cp15.ttbcr = ttbcr::EAE | 1 << 16;
    s.cp15.ttbr1 = 0x9010;
    bus.double(0x9018, 0x2_4000_0000 | AF | BLOCK);
    assert_eq!(read(&s, &bus, 0xc020_1234).unwrap().pa, 0x2_4020_1234);
}

#[test]
fn walks_can_be_disabled_by_half() {
    let (mut s, bus) = setup();
    s.cp15.ttbcr |= 1 << 16;
    s.cp15.ttbr1 = L1;
    bus.double(L1, AF | BLOCK);
    bus.double(L1 + 8, AF | BLOCK);
    let ok = |s: &CpuState| [0, 0x8000_0000].map(|va| read(s, &bus, va).is_ok());
    assert_eq!(ok(&s), [true, true]);
    s.cp15.ttbcr |= ttbcr::EPD0;
    assert_eq!(ok(&s), [false, true]);
    assert_eq!(fault(&s, &bus, 0), (FaultKind::Translation, 1));
    s.cp15.ttbcr ^= ttbcr::EPD0 | ttbcr::EPD1;
    assert_eq!(ok(&s), [true, false]);
}

#[test]
fn the_asid_is_no_part_of_the_table_address() {
    let (mut s, bus) = setup();
    bus.double(L1, AF | BLOCK);
    s.cp15.ttbr0 = L1 | 0x42 << 48;
    assert!(read(&s, &bus, 0).is_ok());
    assert_eq!(s.cp15.asid(), 0x42);
}

#[test]
fn tables_may_be_big_endian() {
    let (mut s, bus) = setup();
    bus.double(L1, (0x12_4000_0000 | AF | BLOCK).swap_bytes());
    s.cp15.sctlr |= sctlr::EE;
    assert_eq!(read(&s, &bus, 0x1000).unwrap().pa, 0x12_4000_1000);
}

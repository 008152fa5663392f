#![expect(unsafe_code, reason = "a bus of tests promises what the bus asks for")]
#![expect(
    clippy::cast_possible_truncation,
    reason = "the tests' addresses have 32 bits"
)]

use super::*;
use crate::bus::Bus;
use crate::mmu::Access;
use crate::mmu::testing::{END, TestBus, state};
use crate::mmu::{MemoryType, Shareability, translate};
use crate::state::CpuState;

/// Where TTBR0 points.
const L1: u64 = 0x4000;
/// Where second-level tables are.
const L2: u32 = 0x8000;
/// AP for PL1 and PL0 read/write.
const AP_RW: u32 = 0b11;

/// Creates a state with the MMU on, TTBR0 at [`L1`], every domain a client.
fn setup() -> (CpuState, TestBus) {
    let mut s = state();
    s.cp15.ttbr0 = L1;
    s.cp15.dacr = 0x5555_5555;
    (s, TestBus::default())
}

fn read(s: &CpuState, bus: &TestBus, va: u32) -> Result<Translation, Fault> {
    translate(s, bus, va, Access::Read, true)
}

/// Returns the kind, level and domain of the fault of a privileged read.
fn fault(s: &CpuState, bus: &TestBus, va: u32) -> (FaultKind, u8, u8) {
    let f = read(s, bus, va).expect_err("the access must fault");
    assert_eq!((f.va, f.access), (va, Access::Read));
    (f.kind, f.level, f.domain)
}

/// Returns a section descriptor with read/write access for everybody.
const fn section_rw(base: u32, domain: u32) -> u32 {
    base | AP_RW << 10 | domain << 5 | 0b10
}

/// Returns a first-level descriptor of a second-level table at `L2`.
const fn table(domain: u32) -> u32 {
    L2 | domain << 5 | 0b01
}

#[test]
fn section_maps_a_mebibyte() {
    let (s, bus) = setup();
    bus.word(
        L1 + 4 * 0x123,
        section_rw(0x8050_0000, 3) | 1 << 17 | 1 << 16,
    );
    let t = read(&s, &bus, 0x1234_5678).unwrap();
    assert_eq!((t.pa, t.size_log2), (0x8054_5678, 20));
    assert_eq!((t.domain, t.global), (Some(3), false));
    assert_eq!((t.user, t.privileged), (Perms::ALL, Perms::ALL));
    assert_eq!(t.attributes.memory, MemoryType::StronglyOrdered);
    assert!(!t.unaligned_ok());
}

#[test]
fn supersection_has_forty_address_bits_and_domain_0() {
    let (mut s, bus) = setup();
    s.cp15.dacr = 1;
    // PA[35:32] = 0x9 in bits 23:20, PA[39:36] = 0xa in bits 8:5.
    let d = section_rw(0x4500_0000, 0xa) | 0x9 << 20 | 1 << 18;
    bus.word(L1 + 4 * 0x10f, d);
    let t = read(&s, &bus, 0x10f1_2345).unwrap();
    assert_eq!((t.pa, t.size_log2), (0xa9_45f1_2345, 24));
    assert_eq!(t.domain, Some(0));
}

#[test]
fn large_page_maps_64_kib() {
    let (s, bus) = setup();
    bus.word(L1, table(5));
    // TEX C B = 001 11, XN.
    let d = 0x9001_0000 | 1 << 15 | 1 << 12 | AP_RW << 4 | 0b1100 | 0b01;
    bus.word(u64::from(L2) + 4 * 0x2f, d);
    let t = read(&s, &bus, 0x0002_fabc).unwrap();
    assert_eq!((t.pa, t.size_log2), (0x9001_fabc, 16));
    assert_eq!((t.domain, t.global), (Some(5), true));
    assert_eq!(t.attributes.mair, 0xff);
    assert!(t.privileged.write && !t.privileged.execute && !t.user.execute);
}

#[test]
fn small_page_maps_4_kib() {
    let (s, bus) = setup();
    bus.word(L1 + 4 * 0xfff, table(15));
    let d = 0x9123_4000 | 1 << 11 | 1 << 10 | 1 << 6 | AP_RW << 4 | 0b1100 | 0b10;
    bus.word(u64::from(L2) + 4 * 0xff, d);
    let t = read(&s, &bus, 0xffff_f123).unwrap();
    assert_eq!((t.pa, t.size_log2), (0x9123_4123, 12));
    assert_eq!((t.domain, t.global), (Some(15), false));
    assert_eq!(t.attributes.shareability, Shareability::Outer);
    assert!(t.unaligned_ok());
    assert_eq!((t.user, t.privileged), (Perms::ALL, Perms::ALL));
}

#[test]
fn execute_never_bits_of_pages_and_tables() {
    let (s, bus) = setup();
    bus.word(L1, table(0) | 1 << 2); // PXN
    bus.word(u64::from(L2), 0x1000 | AP_RW << 4 | 0b10);
    bus.word(u64::from(L2) + 4, 0x2000 | AP_RW << 4 | 0b11); // XN
    let t = read(&s, &bus, 0).unwrap();
    assert!(t.user.execute && !t.privileged.execute);
    let t = read(&s, &bus, 0x1000).unwrap();
    assert!(!t.user.execute && !t.privileged.execute);
    let f = translate(&s, &bus, 0x1000, Access::Execute, false).unwrap_err();
    assert_eq!((f.kind, f.level), (FaultKind::Permission, 2));
    // Sections: XN is bit 4, PXN is bit 0.
    bus.word(L1 + 4, section_rw(0, 0) | 1);
    let t = read(&s, &bus, 0x10_0000).unwrap();
    assert!(t.user.execute && !t.privileged.execute);
    bus.word(L1 + 4, section_rw(0, 0) | 1 << 4);
    let t = read(&s, &bus, 0x10_0000).unwrap();
    assert!(!t.user.execute && !t.privileged.execute);
}

#[test]
fn translation_faults() {
    let (s, bus) = setup();
    assert_eq!(fault(&s, &bus, 0x1000), (FaultKind::Translation, 1, 0));
    bus.word(L1, table(7));
    assert_eq!(fault(&s, &bus, 0x1000), (FaultKind::Translation, 2, 7));
}

#[test]
fn access_flag_faults() {
    let (mut s, bus) = setup();
    s.cp15.sctlr |= sctlr::AFE;
    bus.word(L1, table(7));
    bus.word(u64::from(L2), 0x1000 | 0b10 << 4 | 0b10);
    bus.word(L1 + 4, 0b10 << 10 | 4 << 5 | 0b10);
    assert_eq!(fault(&s, &bus, 0), (FaultKind::AccessFlag, 2, 7));
    assert_eq!(fault(&s, &bus, 0x10_0000), (FaultKind::AccessFlag, 1, 4));
    // With the flag set, AP[2:1] alone decides: read/write for everybody here.
    bus.word(u64::from(L2), 0x1000 | 0b11 << 4 | 0b10);
    assert_eq!(read(&s, &bus, 0).unwrap().user, Perms::ALL);
    // The access flag comes before the domain.
    bus.word(u64::from(L2), 0x1000 | 0b10 << 4 | 0b10);
    s.cp15.dacr = 0;
    assert_eq!(fault(&s, &bus, 0), (FaultKind::AccessFlag, 2, 7));
}

#[test]
fn domain_faults_and_managers() {
    let (mut s, bus) = setup();
    // No permission at all, execute-never: only a manager passes.
    bus.word(L1, 6 << 5 | 1 << 4 | 0b10);
    bus.word(L1 + 4, table(6));
    bus.word(u64::from(L2), 0x1000 | 0b11);
    for reserved in [0, 2] {
        s.cp15.dacr = reserved << 12;
        assert_eq!(fault(&s, &bus, 0), (FaultKind::Domain, 1, 6));
        assert_eq!(fault(&s, &bus, 0x10_0000), (FaultKind::Domain, 2, 6));
    }
    s.cp15.dacr = 1 << 12;
    assert_eq!(fault(&s, &bus, 0), (FaultKind::Permission, 1, 6));
    assert_eq!(fault(&s, &bus, 0x10_0000), (FaultKind::Permission, 2, 6));
    s.cp15.dacr = 3 << 12;
    let t = translate(&s, &bus, 0, Access::Execute, false).unwrap();
    assert_eq!((t.user, t.privileged), (Perms::ALL, Perms::ALL));
}

#[test]
fn permission_faults_depend_on_access_and_privilege() {
    let (s, bus) = setup();
    // PL1 read/write, PL0 read-only.
    bus.word(L1, 0b10 << 10 | 0b10);
    let check = |access, privileged| translate(&s, &bus, 0, access, privileged).map(|t| t.pa);
    assert_eq!(check(Access::Write, true), Ok(0));
    assert_eq!(check(Access::Read, false), Ok(0));
    let f = check(Access::Write, false).unwrap_err();
    assert_eq!((f.kind, f.level), (FaultKind::Permission, 1));
    assert_eq!(f.access, Access::Write);
}

#[test]
fn external_aborts_on_walks() {
    let (mut s, bus) = setup();
    // The second-level table cannot be placed above 4 GiB, so let the first one be there by TTBR0
    // and let the second be where nothing answers.
    assert!(END > u64::from(u32::MAX));
    let hole = Hole(bus);
    s.cp15.ttbr0 = HOLE;
    let f = translate(&s, &hole, 0, Access::Read, true).unwrap_err();
    assert_eq!((f.kind, f.level), (FaultKind::ExternalOnWalk, 1));
    s.cp15.ttbr0 = L1;
    hole.0.word(L1, HOLE as u32 | 9 << 5 | 1);
    let f = translate(&s, &hole, 0, Access::Write, true).unwrap_err();
    assert_eq!(
        (f.kind, f.level, f.domain),
        (FaultKind::ExternalOnWalk, 2, 9)
    );
}

/// The page of [`HOLE`] does not answer.
struct Hole(TestBus);
const HOLE: u64 = 0xf000_0000;

// SAFETY: `ram` never returns a page, so nothing is promised.
unsafe impl Bus for Hole {
    fn read(&self, pa: u64, size: crate::Size) -> Result<u64, crate::BusFault> {
        if pa >> 14 == HOLE >> 14 {
            return Err(crate::BusFault);
        }
        self.0.read(pa, size)
    }

    fn write(&self, pa: u64, size: crate::Size, value: u64) -> Result<(), crate::BusFault> {
        self.0.write(pa, size, value)
    }

    fn ram(&self, _pa: u64) -> Option<crate::RamPage> {
        None
    }

    fn code_pages(&self) -> &crate::CodePages {
        self.0.code_pages()
    }
}

#[test]
fn ttbcr_n_splits_the_address_space() {
    let (mut s, bus) = setup();
    let l1_high = 0xc000;
    s.cp15.ttbr1 = l1_high;
    s.cp15.ttbcr = 2; // below 1 GiB by TTBR0, its table is 4 KiB
    s.cp15.ttbr0 = 0x5000 | 0x4a; // the low bits are attributes of the walk
    bus.word(0x5000 + 4 * 0x3ff, section_rw(0x1110_0000, 0));
    bus.word(l1_high + 4 * 0x400, section_rw(0x2220_0000, 0));
    bus.word(l1_high + 4 * 0xfff, section_rw(0x3330_0000, 0));
    let pa = |s: &CpuState, va| read(s, &bus, va).map(|t| t.pa);
    assert_eq!(pa(&s, 0x3fff_ffff), Ok(0x111f_ffff));
    assert_eq!(pa(&s, 0x4000_0000), Ok(0x2220_0000));
    assert_eq!(pa(&s, 0xfff0_0000), Ok(0x3330_0000));
    s.cp15.ttbcr = 2 | ttbcr::PD0;
    assert_eq!(fault(&s, &bus, 0x3fff_ffff), (FaultKind::Translation, 1, 0));
    assert_eq!(pa(&s, 0x4000_0000), Ok(0x2220_0000));
    s.cp15.ttbcr = 2 | ttbcr::PD1;
    assert_eq!(fault(&s, &bus, 0x4000_0000), (FaultKind::Translation, 1, 0));
    assert_eq!(pa(&s, 0x3fff_ffff), Ok(0x111f_ffff));
}

#[test]
fn tables_may_be_big_endian() {
    let (mut s, bus) = setup();
    bus.word(L1, section_rw(0x1230_0000, 0).swap_bytes());
    s.cp15.sctlr |= sctlr::EE;
    assert_eq!(read(&s, &bus, 0).unwrap().pa, 0x1230_0000);
}

//! Every cause of a fault, as the registers show it.

use vm_memory::{Bytes, GuestAddress};

use super::harness::{
    IMCTR, IMELAR, IMSTR, IMTTBCR, IMTTLBR0, IMTTUBR0, MMUEN, Machine, RAM, imuctr, page_at,
};
use super::linux::Domain;
use crate::test_support::RegisterMachine as _;

const TABLES: u64 = RAM + 0x10_0000;
const PAGE: u64 = RAM + 0x20_0000;
const IOVA: u64 = 0x4000_0000;

/// Returns a machine whose uTLB 0 translates [`IOVA`] to [`PAGE`]; nothing is cached.
fn mapped(machine: &Machine) -> Domain<'_> {
    let mut domain = Domain::new(machine, 0, 0, TABLES);
    domain.attach(0);
    domain.map(IOVA, PAGE, true);
    domain
}

/// Makes an access at [`IOVA`], which must fault and show `status`.
fn faults(machine: &Machine, write: bool, status: u32) {
    machine.log.take();
    let dma = machine.dma(0);
    let iova = GuestAddress(IOVA + 0x10);
    if write {
        assert!(dma.write_obj(1u32, iova).is_err());
    } else {
        assert!(dma.read_obj::<u32>(iova).is_err());
    }
    assert_eq!(
        machine.log.take(),
        [
            format!(
                "mmu: context 0 fault: status {status:#010x} iova {:#x}",
                iova.0
            ),
            "interrupt high".to_owned(),
        ]
    );
    assert_eq!(machine.read(IMSTR), status);
    assert_eq!(machine.read(IMELAR), iova.0 as u32);
    machine.write(IMSTR, 0);
    assert_eq!((machine.read(IMSTR), machine.read(IMELAR)), (0, 0));
}

/// Checks the fault of an access after the last-level entry of [`IOVA`] is replaced by
/// `descriptor`.
fn leaf_faults(descriptor: u64, write: bool, status: u32) {
    let machine = Machine::gen2();
    let mut domain = mapped(&machine);
    let entry = domain.entry(IOVA);
    machine.poke(entry, descriptor);
    faults(&machine, write, status);
}

#[test]
fn translation_faults_tell_their_level() {
    for level in 1..=3u32 {
        let machine = Machine::gen2();
        let mut domain = mapped(&machine);
        // IOVA is in the second GiB; the page after the first table is its second-level table.
        let entry = match level {
            1 => domain.pgd + 8,
            2 => domain.pgd + 0x1000,
            _ => domain.entry(IOVA),
        };
        machine.poke(entry, 0);
        faults(&machine, false, level << 12 | 1);
    }
}

#[test]
fn a_reserved_descriptor_is_a_format_fault() {
    leaf_faults(PAGE | 0xe61, false, 0x3102);
}

#[test]
fn an_address_beyond_40_bits_is_a_format_fault() {
    leaf_faults(PAGE | 0xe63 | 1 << 40, false, 0x3102);
}

#[test]
fn a_missing_ns_is_a_secure_fault() {
    leaf_faults(PAGE | 0xe43, false, 0x3502);
}

#[test]
fn a_missing_nstable_is_a_secure_fault() {
    let machine = Machine::gen2();
    let domain = mapped(&machine);
    machine.poke(domain.pgd + 8, (domain.pgd + 0x1000) | 3);
    faults(&machine, false, 0x1502);
}

#[test]
fn a_write_to_a_read_only_page_is_a_permission_fault() {
    leaf_faults(PAGE | 0xee3, true, 0x3402);
}

#[test]
fn a_privileged_page_is_a_permission_fault() {
    leaf_faults(PAGE | 0xe23, false, 0x3402);
}

#[test]
fn a_clear_access_flag_is_a_permission_fault_if_enabled() {
    let machine = Machine::gen2();
    let mut domain = mapped(&machine);
    let entry = domain.entry(IOVA);
    machine.poke(entry, PAGE | 0xa63);
    assert!(page_at(&machine.dma(0), IOVA).is_some());
    // AFE, and a flush, since the read above has cached the translation.
    machine.write(IMCTR, 1 << 16 | 7);
    faults(&machine, false, 0x3402);
}

#[test]
fn tables_outside_ram_abort_the_walk() {
    let machine = Machine::gen2();
    let mut domain = mapped(&machine);
    let entry = domain.entry(IOVA);
    machine.poke(entry, 0);
    machine.poke(domain.pgd + 0x1000, 0x8000_0000_1000_0003);
    faults(&machine, false, 0x3004);
    machine.write(IMTTLBR0, 0x1000_0000);
    faults(&machine, false, 0x1004);
    machine.write(IMTTUBR0, 0xff);
    faults(&machine, false, 0x1004);
}

#[test]
fn short_descriptors_are_a_format_fault_without_a_level() {
    let machine = Machine::gen2();
    let _domain = mapped(&machine);
    machine.write(IMTTBCR, 0x3510);
    faults(&machine, false, 0x0102);
}

#[test]
fn a_reserved_first_level_is_a_format_fault() {
    let machine = Machine::gen2();
    let _domain = mapped(&machine);
    for sl0 in [2, 3] {
        machine.write(IMTTBCR, 0x8000_0000 | sl0 << 4);
        faults(&machine, false, 0x0102);
    }
}

#[test]
fn an_iova_outside_region_0_is_of_region_1() {
    let machine = Machine::gen2();
    let _domain = mapped(&machine);
    // Region 0 is 1 GiB; region 1, with size 0, all the rest, and its table is at 0, where no RAM
    // is.
    machine.write(IMTTBCR, 0x8000_0012);
    faults(&machine, false, 0x1004);
    machine.mark_pages();
    machine.write(0x18, TABLES as u32);
    let mut domain = Domain::new(&machine, 0, 0, TABLES);
    domain.map(IOVA, PAGE, true);
    machine.write(IMTTBCR, 0x8000_0012);
    assert_eq!(page_at(&machine.dma(0), IOVA), Some(PAGE));
    // Both exist, with a hole between.
    machine.write(IMTTBCR, 0x8002_0012);
    machine.write(IMCTR, 7);
    faults(&machine, false, 0x1001);
}

#[test]
fn a_walk_may_begin_at_the_second_level() {
    let machine = Machine::gen2();
    machine.mark_pages();
    let mut domain = mapped(&machine);
    let third = domain.entry(IOVA) & !0xfff;
    // Region 0 is 1 GiB, its only table is of the second level.
    machine.poke(TABLES + 0x8_0000, third | 0x8000_0000_0000_0003);
    machine.write(IMTTLBR0, (TABLES + 0x8_0000) as u32);
    machine.write(IMTTBCR, 0x8000_0002);
    assert_eq!(page_at(&machine.dma(0), 0), Some(PAGE));
}

#[test]
fn without_inten_a_fault_is_recorded_silently() {
    let machine = Machine::gen2();
    let _domain = mapped(&machine);
    machine.write(IMCTR, MMUEN);
    assert_eq!(page_at(&machine.dma(0), 0x5000_0000), None);
    assert_eq!(machine.read(IMSTR), 0x2001);
    let log = machine.log.take();
    assert!(!log.contains(&"interrupt high".to_owned()));
    // The interrupt is a level: it follows INTEN.
    machine.write(IMCTR, MMUEN | 4);
    machine.write(IMCTR, MMUEN);
    assert_eq!(machine.log.take(), ["interrupt high", "interrupt low"]);
}

#[test]
fn status_bits_are_cleared_by_zeros_only() {
    let machine = Machine::gen2();
    let _domain = mapped(&machine);
    assert_eq!(page_at(&machine.dma(0), 0x5000_0000), None);
    machine.log.take();
    for keeps in [u32::MAX, 0x2001] {
        machine.write(IMSTR, keeps);
        assert_eq!(machine.read(IMSTR), 0x2001);
        assert_eq!(machine.read(IMELAR), 0x5000_0008);
    }
    assert_eq!(machine.log.take(), [""; 0]);
    // With the last flag goes everything.
    machine.write(IMSTR, !1);
    assert_eq!((machine.read(IMSTR), machine.read(IMELAR)), (0, 0));
    assert_eq!(
        machine.log.take(),
        ["mmu: context 0 fault cleared", "interrupt low"]
    );
}

#[test]
fn faults_of_one_context_leave_the_others() {
    let machine = Machine::gen2();
    let _first = mapped(&machine);
    let second = Domain::new(&machine, 0, 2, TABLES + 0x8_0000);
    second.attach(1);
    assert_eq!(page_at(&machine.dma(1), IOVA), None);
    assert_eq!(machine.read(IMSTR), 0);
    assert_eq!(machine.read(0x80 + IMSTR), 0x1001);
    // Both want the interrupt; it stays high until both are handled.
    assert_eq!(page_at(&machine.dma(0), 0x5000_0000), None);
    machine.log.take();
    machine.write(IMSTR, 0);
    assert_eq!(machine.log.take(), ["mmu: context 0 fault cleared"]);
    machine.write(0x80 + IMSTR, 0);
    assert_eq!(
        machine.log.take(),
        ["mmu: context 2 fault cleared", "interrupt low"]
    );
}

#[test]
fn utlbs_on_what_is_not_modelled_reach_nothing() {
    let machine = Machine::gen2();
    let _domain = mapped(&machine);
    // Contexts that Gen2 does not have, and the PMB.
    for ttsel in [4u32, 7, 8, 15] {
        machine.log.take();
        machine.write(imuctr(0), ttsel << 4 | 1);
        assert_eq!(page_at(&machine.dma(0), IOVA), None);
        assert_eq!(page_at(&machine.dma(0), RAM), None);
        assert_eq!(
            machine.log.take(),
            [
                format!("mmu: uTLB 0 enabled on TTSEL {ttsel}, which is not modelled: blocked"),
                "mmu: fault without a context: iova 0x40000008".to_owned(),
                "mmu: fault without a context: iova 0xc0000008".to_owned(),
            ]
        );
        assert_eq!(machine.read(IMSTR), 0);
    }
}

#[test]
fn utlbs_on_a_disabled_context_are_not_translated() {
    let machine = Machine::gen2();
    machine.mark_pages();
    let domain = mapped(&machine);
    domain.destroy();
    assert_eq!(page_at(&machine.dma(0), RAM), Some(RAM));
    assert_eq!(page_at(&machine.dma(0), IOVA), None);
    assert_eq!(machine.read(IMSTR), 0);
    machine.write(IMCTR, MMUEN);
    assert_eq!(page_at(&machine.dma(0), IOVA), Some(PAGE));
}

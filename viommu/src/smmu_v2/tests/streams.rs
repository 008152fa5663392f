//! Streams, the groups that they match, and what these lead to.

use vm_memory::{Bytes, GuestAddress};

use super::harness::{
    CR0, CR0_LINUX, GFAR, GFSR, GFSYNR0, GFSYNR1, Machine, RAM, cbar, page_at, s2cr, smr,
};
use super::linux::{Domain, handle_global, reset};
use crate::test_support::RegisterMachine as _;

const TABLES: u64 = RAM + 0x10_0000;
const PAGE: u64 = RAM + 0x20_0000;
const IOVA: u64 = 0x1040_3000;
const SMCFCFG: u32 = 1 << 21;
const USFCFG: u32 = 1 << 10;

/// Returns a machine out of the driver's reset, with marked pages.
fn ready() -> Machine {
    let machine = Machine::new();
    machine.mark_pages();
    reset(&machine);
    machine
}

#[test]
fn out_of_reset_everything_bypasses_whatever_groups_say() {
    let machine = Machine::new();
    machine.mark_pages();
    machine.write(smr(0), 0x8000_0003);
    machine.write(s2cr(0), 0x2_0000);
    assert_eq!(page_at(&machine.dma(3), PAGE), Some(PAGE));
    machine.write(CR0, 0);
    assert_eq!(page_at(&machine.dma(3), PAGE), None);
    assert_eq!(page_at(&machine.dma(4), PAGE), Some(PAGE), "of no group");
    machine.write(CR0, 1);
    assert_eq!(page_at(&machine.dma(3), PAGE), Some(PAGE));
}

#[test]
fn a_stream_of_no_group_faults_or_bypasses_as_usfcfg_says() {
    let machine = ready();
    let dma = machine.dma(7);
    assert!(dma.write_obj(1u32, GuestAddress(PAGE + 4)).is_err());
    assert_eq!(machine.read(GFSR), 2);
    assert_eq!(machine.read_long(GFAR), PAGE + 4);
    assert_eq!((machine.read(GFSYNR0), machine.read(GFSYNR1)), (2, 7));
    machine.write(CR0, CR0_LINUX & !USFCFG);
    assert_eq!(page_at(&dma, PAGE), Some(PAGE));
}

#[test]
fn a_group_that_faults_shows_an_invalid_context() {
    let machine = ready();
    machine.write(smr(15), 0x8000_0007);
    for kind in [0x2_0000, 0x3_0000] {
        machine.write(s2cr(15), kind);
        assert_eq!(page_at(&machine.dma(7), PAGE), None);
        assert_eq!(handle_global(&machine), Some((1, 7)));
    }
    machine.write(s2cr(15), 0x1_0000);
    assert_eq!(page_at(&machine.dma(7), PAGE), Some(PAGE));
}

#[test]
fn a_bank_that_does_not_exist_is_its_own_fault() {
    let machine = ready();
    machine.write(smr(0), 0x8000_0007);
    machine.write(s2cr(0), 8);
    assert_eq!(page_at(&machine.dma(7), PAGE), None);
    assert_eq!(handle_global(&machine), Some((8, 7)));
}

#[test]
fn a_bank_of_another_kind_shows_an_invalid_context() {
    let machine = ready();
    Domain::new(&machine, 0, TABLES, 7);
    for kind in [0, 2, 3] {
        machine.write(cbar(0), kind << 16);
        assert_eq!(page_at(&machine.dma(7), PAGE), None);
        assert_eq!(handle_global(&machine), Some((1, 7)));
    }
}

#[test]
fn a_stream_of_several_groups_faults_or_bypasses_as_smcfcfg_says() {
    let machine = ready();
    for group in [2, 9] {
        machine.write(smr(group), 0x8000_0007);
        machine.write(s2cr(group), 0x2_0000);
    }
    assert_eq!(page_at(&machine.dma(7), PAGE), Some(PAGE));
    machine.write(CR0, CR0_LINUX | SMCFCFG);
    assert_eq!(page_at(&machine.dma(7), PAGE), None);
    assert_eq!(handle_global(&machine), Some((4, 7)));
    // One of them does not count any more.
    machine.write(smr(9), 7);
    assert_eq!(page_at(&machine.dma(7), PAGE), None);
    assert_eq!(handle_global(&machine), Some((1, 7)));
}

#[test]
fn masked_bits_of_a_stream_do_not_count() {
    let machine = ready();
    machine.write(smr(0), 0x8000_0000 | 6 << 16 | 1);
    machine.write(s2cr(0), 0x1_0000);
    let found = (0..10).filter(|&stream| page_at(&machine.dma(stream), PAGE).is_some());
    assert_eq!(found.collect::<Vec<_>>(), [1, 3, 5, 7]);
}

#[test]
fn each_stream_is_translated_by_its_own_bank_and_may_share_it() {
    let machine = ready();
    let mut first = Domain::new(&machine, 0, TABLES, 1);
    let mut second = Domain::new(&machine, 3, TABLES + 0x8000, 2);
    first.map(IOVA, PAGE, true);
    second.map(IOVA, PAGE + 0x1000, true);
    machine.write(smr(5), 0x8000_0003);
    machine.write(s2cr(5), 3);
    let pages = [1, 2, 3].map(|stream| page_at(&machine.dma(stream), IOVA));
    assert_eq!(
        pages,
        [Some(PAGE), Some(PAGE + 0x1000), Some(PAGE + 0x1000)]
    );
    assert_eq!(machine.smmu.mappings(), 2);
    machine.log.take();
    machine.write(s2cr(5), 0);
    assert_eq!(
        machine.log.take(),
        ["group 5 goes to bank 0", "stream 3 attached to bank 0"]
    );
    assert_eq!(page_at(&machine.dma(3), IOVA), Some(PAGE));
}

#[test]
fn further_global_faults_are_only_counted_as_several() {
    let machine = ready();
    assert_eq!(page_at(&machine.dma(7), PAGE), None);
    machine.log.take();
    assert_eq!(page_at(&machine.dma(8), PAGE + 0x1000), None);
    assert_eq!(
        machine.log.take(),
        ["further global fault: address 0xc0201008"]
    );
    assert_eq!(machine.read_long(GFAR), PAGE + 8);
    assert_eq!(handle_global(&machine), Some((0x8000_0002, 7)));
    assert_eq!(handle_global(&machine), None);
}

#[test]
fn global_faults_interrupt_only_where_sc_r0_says_so() {
    let machine = ready();
    machine.write(CR0, CR0_LINUX & !0x20);
    machine.log.take();
    assert_eq!(page_at(&machine.dma(7), PAGE), None);
    assert_eq!(machine.log.take().len(), 1);
    machine.write(CR0, CR0_LINUX);
    assert_eq!(machine.log.take().last().unwrap(), "interrupt high");
}

#[test]
fn a_stream_that_there_is_not_reaches_nothing() {
    let machine = Machine::new();
    machine.mark_pages();
    assert_eq!(page_at(&machine.dma(31), PAGE), Some(PAGE));
    assert_eq!(page_at(&machine.dma(32), PAGE), None);
}

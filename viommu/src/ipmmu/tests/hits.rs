//! Hits that are compared with the tables.

use super::harness::{Machine, RAM, page_at};
use super::linux::Domain;
use crate::attachment::Attachment;
use crate::hit_check::HitCheck;
use crate::ipmmu::IpmmuConfig;
use crate::model::Descriptor;
use crate::test_support::{RegisterMachine as _, listed};

const TABLES: u64 = RAM + 0x10_0000;
const PAGE: u64 = RAM + 0x20_0000;
const OTHER_PAGE: u64 = RAM + 0x30_0000;
const IOVA: u64 = 0x4000_0000;

fn machine(check: HitCheck) -> Machine {
    let mut config = IpmmuConfig::gen2("mmu");
    config.cache.check = check;
    let machine = Machine::new(&config);
    machine.mark_pages();
    machine
}

#[test]
fn a_flush_that_is_left_out_is_told_and_the_drivers_is_not() {
    for check in [HitCheck::On, HitCheck::KeepAll] {
        let machine = machine(check);
        let mut domain = Domain::new(&machine, 0, 0, TABLES);
        domain.attach(0);
        let dma = machine.dma(0);
        // As the driver does it: nothing is told.
        for page in [PAGE, OTHER_PAGE] {
            domain.map(IOVA, page, true);
            assert_eq!(page_at(&dma, IOVA), Some(page));
            assert_eq!(page_at(&dma, IOVA), Some(page));
            domain.unmap(IOVA);
            assert_eq!(page_at(&dma, IOVA), None);
        }
        let told = machine.log.take();
        assert!(!told.iter().any(|line| line.contains("stale")), "{told:?}");
        // Without the flush.
        domain.map(IOVA, PAGE, true);
        assert_eq!(page_at(&dma, IOVA), Some(PAGE));
        let entry = domain.entry(IOVA);
        machine.poke(entry, 0);
        domain.map(IOVA, OTHER_PAGE, true);
        assert_eq!(page_at(&dma, IOVA), Some(PAGE), "the old page");
        assert_eq!(machine.log.take(), ["stale hit of 0x40000008"]);
        domain.flush();
        machine.log.take();
        assert_eq!(page_at(&dma, IOVA), Some(OTHER_PAGE));
        assert_eq!(machine.log.take(), [""; 0]);
    }
}

#[test]
fn a_look_at_the_tables_records_no_fault() {
    let machine = machine(HitCheck::On);
    let mut domain = Domain::new(&machine, 0, 0, TABLES);
    domain.attach(0);
    domain.map(IOVA, PAGE, true);
    assert_eq!(page_at(&machine.dma(0), IOVA), Some(PAGE));
    let entry = domain.entry(IOVA);
    machine.poke(entry, 0);
    let before = machine.ipmmu.save();
    machine.log.take();
    assert_eq!(page_at(&machine.dma(0), IOVA), Some(PAGE));
    assert_eq!(machine.log.take(), ["stale hit of 0x40000008"]);
    assert_eq!(machine.ipmmu.save(), before);
}

#[test]
fn what_is_mapped_is_listed_without_a_trace() {
    let machine = machine(HitCheck::Off);
    let dma = machine.dma(0);
    assert_eq!(
        (dma.attachment(), dma.extent(IOVA)),
        (Some(Attachment::Bypass), None)
    );
    let mut domain = Domain::new(&machine, 0, 1, TABLES);
    domain.attach(0);
    assert_eq!(listed(&dma), []);
    domain.map(IOVA, PAGE, true);
    domain.map(IOVA + 0x5000, OTHER_PAGE, false);
    let before = machine.ipmmu.save();
    machine.log.take();
    let pages = [
        (IOVA, IOVA + 0xfff, PAGE),
        (IOVA + 0x5000, IOVA + 0x5fff, OTHER_PAGE),
    ];
    assert_eq!(listed(&dma), pages);
    let address = domain.entry(IOVA);
    assert_eq!(
        dma.descriptor(IOVA + 8),
        Some(Descriptor { address, bytes: 8 })
    );
    // Of what is not mapped it is the entry that says so.
    let address = domain.entry(IOVA + 0x1000);
    assert_eq!(
        dma.descriptor(IOVA + 0x1000),
        Some(Descriptor { address, bytes: 8 })
    );
    assert_eq!(dma.domain_number(), Some(1));
    assert_eq!((machine.ipmmu.save(), machine.log.take()), (before, vec![]));
}

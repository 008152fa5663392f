//! Hits that are compared with the tables.

use super::harness::{Machine, RAM, ZAP_ONE_LINE, page_at};
use super::linux::Domain;
use crate::hit_check::HitCheck;
use crate::model::Descriptor;
use crate::rockchip::{Format, RockchipConfig};
use crate::test_support::{RegisterMachine as _, listed};

const TABLES: u64 = RAM + 0x10_0000;
const PAGE: u64 = RAM + 0x20_0000;
const OTHER_PAGE: u64 = RAM + 0x30_0000;
const IOVA: u64 = 0x4000_0000;

#[test]
fn a_zap_that_is_left_out_is_told_and_the_drivers_is_not() {
    for check in [HitCheck::On, HitCheck::KeepAll] {
        let mut config = RockchipConfig::new("mmu", Format::Bits32);
        config.cache.check = check;
        let machine = Machine::new(&config);
        machine.mark_pages();
        let mut domain = Domain::new(&machine, TABLES);
        domain.enable().unwrap();
        let dma = machine.dma();
        for page in [PAGE, OTHER_PAGE] {
            domain.map(IOVA, page, true);
            assert_eq!(page_at(&dma, IOVA), Some(page));
            assert_eq!(page_at(&dma, IOVA), Some(page));
            domain.unmap(IOVA);
            assert_eq!(page_at(&dma, IOVA), None);
            domain.handle_interrupt().unwrap();
        }
        let told = machine.log.take();
        assert!(!told.iter().any(|line| line.contains("stale")), "{told:?}");
        domain.map(IOVA, PAGE, true);
        assert_eq!(page_at(&dma, IOVA), Some(PAGE));
        let entry = domain.entry(IOVA);
        machine.poke(entry, OTHER_PAGE as u32 | 7);
        machine.log.take();
        let before = machine.iommu.save();
        assert_eq!(page_at(&dma, IOVA), Some(PAGE), "the old page");
        assert_eq!(machine.log.take(), ["stale hit of 0x40000008"]);
        assert_eq!(machine.iommu.save(), before);
        machine.write(ZAP_ONE_LINE, IOVA as u32);
        machine.log.take();
        assert_eq!(page_at(&dma, IOVA), Some(OTHER_PAGE));
        assert_eq!(machine.log.take(), [""; 0]);
    }
}

#[test]
fn what_is_mapped_is_listed() {
    let machine = Machine::v1();
    let mut domain = Domain::new(&machine, TABLES);
    domain.enable().unwrap();
    domain.map(IOVA, PAGE, true);
    domain.map(IOVA + 0x80_0000, OTHER_PAGE, true);
    // A page that may be written only.
    let entry = domain.entry(IOVA + 0x3000);
    machine.poke(entry, PAGE as u32 | 5);
    let dma = machine.dma();
    let page = |at: u64, page: u64| (at, at + 0xfff, page);
    let pages = [
        page(IOVA, PAGE),
        page(IOVA + 0x3000, PAGE),
        page(IOVA + 0x80_0000, OTHER_PAGE),
    ];
    assert_eq!(listed(&dma), pages);
    let wanted = Descriptor {
        address: domain.entry(IOVA),
        bytes: 4,
    };
    assert_eq!(dma.descriptor(IOVA), Some(wanted));
}

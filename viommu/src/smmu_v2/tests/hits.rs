//! Hits that are compared with the tables.

use super::harness::{Machine, RAM, page_at};
use super::linux::{Domain, reset};
use crate::hit_check::HitCheck;
use crate::model::Descriptor;
use crate::smmu_v2::SmmuV2Config;
use crate::test_support::{RegisterMachine as _, listed};

const TABLES: u64 = RAM + 0x10_0000;
const PAGE: u64 = RAM + 0x20_0000;
const OTHER_PAGE: u64 = RAM + 0x30_0000;
const IOVA: u64 = 0x1040_3000;

fn machine(check: HitCheck) -> Machine {
    let mut config = SmmuV2Config::new("smmu");
    config.cache.check = check;
    let machine = Machine::of(&config);
    machine.mark_pages();
    reset(&machine);
    machine
}

#[test]
fn an_invalidation_that_is_left_out_is_told_and_the_drivers_is_not() {
    for check in [HitCheck::On, HitCheck::KeepAll] {
        let machine = machine(check);
        let mut domain = Domain::new(&machine, 0, TABLES, 0);
        let dma = machine.dma(0);
        for page in [PAGE, OTHER_PAGE] {
            domain.map(IOVA, page, true);
            assert_eq!(page_at(&dma, IOVA), Some(page));
            assert_eq!(page_at(&dma, IOVA), Some(page));
            assert!(domain.unmap(IOVA));
        }
        let told = machine.log.take();
        assert!(!told.iter().any(|line| line.contains("stale")), "{told:?}");
        domain.map(IOVA, PAGE, true);
        assert_eq!(page_at(&dma, IOVA), Some(PAGE));
        let entry = domain.third(IOVA);
        machine.poke(entry, 0);
        assert_eq!(page_at(&dma, IOVA), Some(PAGE));
        assert_eq!(machine.log.take(), ["stale hit of 0x10403008"]);
        domain.invalidate(IOVA);
        assert!(domain.sync());
        assert_eq!(page_at(&dma, IOVA), None);
    }
}

/// The bank notes the largest block that it has walked, as one address stands for all of it in an
/// invalidation. A look is no walk.
#[test]
fn a_look_at_the_tables_leaves_no_trace() {
    let machine = machine(HitCheck::On);
    let mut domain = Domain::new(&machine, 0, TABLES, 0);
    domain.map(IOVA, PAGE, true);
    assert_eq!(page_at(&machine.dma(0), IOVA), Some(PAGE));
    domain.map_block(IOVA, RAM + 0x20_0000);
    machine.log.take();
    let before = machine.smmu.save();
    assert_eq!(page_at(&machine.dma(0), IOVA), Some(PAGE));
    assert_eq!(machine.log.take(), ["stale hit of 0x10403008"]);
    assert_eq!(machine.smmu.save(), before);
}

#[test]
fn what_is_mapped_is_listed_without_a_trace() {
    let machine = machine(HitCheck::Off);
    let mut domain = Domain::new(&machine, 0, TABLES, 0);
    domain.map(IOVA, PAGE, true);
    domain.map_block(0x4000_0000, RAM);
    let before = machine.smmu.save();
    let all = [(IOVA, IOVA + 0xfff, PAGE), (0x4000_0000, 0x401f_ffff, RAM)];
    let dma = machine.dma(0);
    assert_eq!(listed(&dma), all);
    let address = domain.second(0x4000_0000);
    assert_eq!(
        dma.descriptor(0x4000_1000),
        Some(Descriptor { address, bytes: 8 })
    );
    assert_eq!(machine.smmu.save(), before);
}

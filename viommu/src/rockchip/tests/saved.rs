//! Saving and restoring.

use super::harness::{
    DISABLE_PAGING, DISABLE_STALL, ENABLE_STALL, Machine, RAM, RESTING, STATUS, page_at,
};
use super::linux::with_one_page;
use crate::CacheState;
use crate::rockchip::RockchipState;
use crate::test_support::RegisterMachine as _;
use crate::test_support::through_json;

const TABLES: u64 = RAM + 0x10_0000;
const PAGE: u64 = RAM + 0x20_0000;
const IOVA: u64 = 0x1040_3000;

/// Returns a machine in the middle of its life: a page is mapped and cached, and a fault has not
/// been handled.
fn busy() -> Machine {
    let machine = with_one_page(TABLES, IOVA, PAGE);
    assert_eq!(page_at(&machine.dma(), IOVA + 0x1000), None);
    machine.read(0x28);
    machine.log.take();
    machine
}

/// Returns another machine with the registers of `machine`, which went through JSON.
fn copy_of(machine: &Machine) -> Machine {
    let copy = Machine::v1();
    let saved = through_json(&machine.iommu.save());
    copy.iommu.restore(&saved).unwrap();
    copy
}

#[test]
fn a_saved_state_goes_through_json_and_back() {
    let machine = busy();
    let fresh = copy_of(&machine);
    let saved = machine.iommu.save();
    assert_eq!(fresh.iommu.save(), saved);
    assert_eq!(fresh.log.take(), ["interrupt high"]);
    assert_eq!(fresh.read(0x0c), IOVA as u32 + 0x1008);
    assert_eq!(saved.unimplemented, 1);
    // The same translations, once the same RAM is there: here it is not.
    assert_eq!(page_at(&fresh.dma(), IOVA), None);
}

#[test]
fn restoring_forgets_what_was_cached_and_attached() {
    let machine = busy();
    let (before, after) = (Machine::v1().iommu.save(), machine.iommu.save());
    machine.iommu.restore(&before).unwrap();
    assert_eq!(page_at(&machine.dma(), PAGE), Some(PAGE), "untranslated");
    assert_eq!(machine.log.take(), ["interrupt low"]);
    // The table is changed without a zap.
    machine.poke(TABLES + (IOVA >> 22) * 4, 0);
    machine.iommu.restore(&after).unwrap();
    assert_eq!(page_at(&machine.dma(), IOVA), None);
}

#[test]
fn a_stall_that_was_under_way_is_begun_again() {
    let machine = busy();
    let dma = machine.dma();
    let pin = dma.pin();
    machine.command(ENABLE_STALL);
    let saved = machine.iommu.save();
    assert!(saved.stalling);
    machine.iommu.restore(&saved).unwrap();
    assert_eq!(machine.read(STATUS) & 4, 0);
    drop(pin);
    assert_eq!(machine.read(STATUS) & 4, 4);
    // Elsewhere nobody is pinned.
    let fresh = Machine::v1();
    fresh.iommu.restore(&saved).unwrap();
    assert_eq!(fresh.read(STATUS) & 4, 4);
    // It goes on when paging is disabled before it is there.
    fresh.command(DISABLE_STALL);
    fresh.command(ENABLE_STALL);
    fresh.command(DISABLE_PAGING);
    let saved = fresh.iommu.save();
    assert!(saved.stalling);
    fresh.iommu.restore(&saved).unwrap();
    assert_eq!(fresh.iommu.save(), saved);
}

#[test]
fn a_state_of_another_version_changes_nothing() {
    let machine = busy();
    let mine = machine.iommu.save();
    let mut other = Machine::v1().iommu.save();
    other.version = 2;
    assert_eq!(
        machine.iommu.restore(&other).unwrap_err().to_string(),
        "the saved Rockchip IOMMU state has version 2, but this build reads version 1"
    );
    assert_eq!(machine.iommu.save(), mine);
}

#[test]
fn bits_that_registers_do_not_have_are_dropped() {
    let hostile = RockchipState {
        version: 1,
        dte_addr: !0,
        status: !0,
        stalling: true,
        page_fault_addr: !0,
        int_rawstat: !0,
        int_mask: !0,
        auto_gating: !0,
        unimplemented: !0,
    };
    for (machine, directory) in [(Machine::v1(), 0xffff_f000), (Machine::v2(), 0xffff_fff0)] {
        machine.iommu.restore(&hostile).unwrap();
        let sane = RockchipState {
            dte_addr: directory,
            status: 0x27,
            stalling: false,
            int_rawstat: 3,
            int_mask: 3,
            ..hostile
        };
        assert_eq!(machine.iommu.save(), sane);
        assert_eq!(machine.read(STATUS), RESTING | 0x27);
        // The count is at its end and stays there.
        machine.read(0x28);
        assert_eq!(machine.iommu.save().unimplemented, u64::MAX);
    }
}

#[test]
fn what_was_cached_goes_on_being_seen_where_the_cache_is_restored_too() {
    let machine = busy();
    let (saved, cache) = (machine.iommu.save(), machine.iommu.unit().save_cache());
    let json = serde_json::to_string(&cache).unwrap();
    let other = Machine::v1();
    other.mark_pages();
    other.iommu.restore(&saved).unwrap();
    let cache: CacheState = serde_json::from_str(&json).unwrap();
    other.iommu.unit().restore_cache(&cache).unwrap();
    // Its tables are not there: what is seen is what was cached.
    assert_eq!(page_at(&other.dma(), IOVA), Some(PAGE));
    other.write(0x10, IOVA as u32);
    assert_eq!(page_at(&other.dma(), IOVA), None);
}

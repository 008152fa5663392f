//! Saving and restoring.

use super::harness::{CR0, Machine, RAM, TLBGSTATUS, TLBGSYNC, TLBSTATUS, TLBSYNC, cb, page_at};
use super::linux::{Domain, reset};
use crate::CacheState;
use crate::smmu_v2::{BankState, GroupState, SmmuV2Config, SmmuV2State};
use crate::test_support::RegisterMachine as _;
use crate::test_support::through_json;

const TABLES: u64 = RAM + 0x10_0000;
const PAGE: u64 = RAM + 0x20_0000;
const IOVA: u64 = 0x1040_3000;

/// Returns a machine in the middle of its life: a page is mapped and cached, and a fault has not
/// been handled.
fn busy() -> Machine {
    let machine = Machine::new();
    machine.mark_pages();
    reset(&machine);
    let mut domain = Domain::new(&machine, 1, TABLES, 4);
    domain.map(IOVA, PAGE, true);
    assert_eq!(page_at(&machine.dma(4), IOVA), Some(PAGE));
    assert_eq!(page_at(&machine.dma(4), IOVA + 0x1000), None);
    assert_eq!(page_at(&machine.dma(5), IOVA), None);
    machine.read(0x10);
    machine.log.take();
    machine
}

/// Returns another machine with the registers of `machine`, which went through JSON.
fn copy_of(machine: &Machine) -> Machine {
    let copy = Machine::new();
    let saved = through_json(&machine.smmu.save());
    copy.smmu.restore(&saved).unwrap();
    copy
}

#[test]
fn a_saved_state_goes_through_json_and_back() {
    let machine = busy();
    let fresh = copy_of(&machine);
    let saved = machine.smmu.save();
    assert_eq!(fresh.smmu.save(), saved);
    assert_eq!(
        fresh.log.take(),
        ["stream 4 attached to bank 1", "interrupt high"]
    );
    assert_eq!(fresh.read(cb(1, 0x60)), IOVA as u32 + 0x1008);
    assert_eq!(fresh.read(0x48), 2);
    // The same translations, once the same RAM is there: here it is not.
    assert_eq!(page_at(&fresh.dma(4), IOVA), None);
}

#[test]
fn restoring_forgets_what_was_cached_and_attached() {
    let machine = busy();
    let (before, after) = (Machine::new().smmu.save(), machine.smmu.save());
    machine.smmu.restore(&before).unwrap();
    assert_eq!(page_at(&machine.dma(4), PAGE), Some(PAGE), "untranslated");
    assert_eq!(
        machine.log.take(),
        [
            "stream 4 detached from bank 1 and bypassed",
            "interrupt low"
        ]
    );
    // The table is changed without an invalidation.
    machine.poke(TABLES, 0);
    machine.smmu.restore(&after).unwrap();
    assert_eq!(page_at(&machine.dma(4), IOVA), None);
}

#[test]
fn what_the_guest_waits_for_is_begun_again() {
    let machine = busy();
    let dma = machine.dma(4);
    let pin = dma.pin();
    machine.write(cb(1, TLBSYNC), 0);
    machine.write(TLBGSYNC, 0);
    let saved = machine.smmu.save();
    assert!(saved.syncing && saved.banks[1].syncing && !saved.banks[0].syncing);
    machine.smmu.restore(&saved).unwrap();
    let status = || [TLBGSTATUS, cb(1, TLBSTATUS), cb(0, TLBSTATUS)].map(|at| machine.read(at));
    assert_eq!(status(), [1, 1, 0]);
    drop(pin);
    assert_eq!(status(), [0, 0, 0]);
    // Elsewhere nobody is pinned.
    let fresh = Machine::new();
    fresh.smmu.restore(&saved).unwrap();
    assert_eq!(fresh.read(TLBGSTATUS), 0);
}

#[test]
fn a_state_that_does_not_fit_changes_nothing() {
    let machine = busy();
    let mine = machine.smmu.save();
    let mut other = Machine::new().smmu.save();
    other.version = 2;
    assert_eq!(
        machine.smmu.restore(&other).unwrap_err().to_string(),
        "the saved SMMUv2 state has version 2, but this build reads version 1"
    );
    let mut config = SmmuV2Config::new("smmu");
    (config.groups, config.banks) = (17, 9);
    let mut other = Machine::of(&config).smmu.save();
    assert_eq!(
        machine.smmu.restore(&other).unwrap_err().to_string(),
        "the saved SMMUv2 state is of 17 stream mapping groups, but this SMMU has 16"
    );
    other.groups.pop();
    assert_eq!(
        machine.smmu.restore(&other).unwrap_err().to_string(),
        "the saved SMMUv2 state is of 9 context banks, but this SMMU has 8"
    );
    assert_eq!(machine.smmu.save(), mine);
}

#[test]
fn bits_that_registers_do_not_have_are_dropped() {
    let bank = BankState {
        cbar: !0,
        cbfrsynra: !0,
        sctlr: !0,
        tcr: !0,
        tcr2: !0,
        ttbr0: !0,
        ttbr1: !0,
        contextidr: !0,
        mair0: !0,
        mair1: !0,
        par: !0,
        fsr: !0,
        far: !0,
        fsynr0: !0,
        syncing: true,
        largest: !0,
    };
    let hostile = SmmuV2State {
        version: 1,
        cr0: !0,
        gfsr: !0,
        gfar: !0,
        gfsynr0: !0,
        gfsynr1: !0,
        syncing: true,
        groups: vec![GroupState { smr: !0, s2cr: !0 }; 16],
        banks: vec![bank; 8],
        unimplemented: !0,
    };
    let machine = Machine::new();
    machine.smmu.restore(&hostile).unwrap();
    let sane = SmmuV2State {
        cr0: 0x7fff_fff7,
        gfsr: 0x8000_000f,
        gfsynr0: 2,
        gfsynr1: 0xffff,
        groups: vec![
            GroupState {
                smr: 0xffff_7fff,
                s2cr: !0,
            };
            16
        ],
        banks: vec![
            BankState {
                cbfrsynra: 0xffff,
                sctlr: !0x80,
                tcr: 0xbfc7_3f87,
                ttbr0: 0xff_00ff_ffff_ffff,
                ttbr1: 0xff_00ff_ffff_ffff,
                fsr: 0x8000_063e,
                fsynr0: 0x413,
                largest: 32,
                ..bank
            };
            8
        ],
        ..hostile
    };
    assert_eq!(machine.smmu.save(), sane);
    // The count is at its end and stays there.
    machine.read(0x10);
    assert_eq!(machine.smmu.save().unimplemented, u64::MAX);
    // A format without a fault is none.
    let mut format = sane;
    format.banks[0].fsr = 0x600;
    machine.smmu.restore(&format).unwrap();
    assert_eq!(machine.smmu.save().banks[0].fsr, 0);
    machine.write(CR0, 0);
    page_at(&machine.dma(0), IOVA);
    machine.smmu.mappings();
}

#[test]
fn what_was_cached_goes_on_being_seen_where_the_cache_is_restored_too() {
    let machine = busy();
    let (saved, cache) = (machine.smmu.save(), machine.smmu.unit().save_cache());
    let json = serde_json::to_string(&cache).unwrap();
    let other = Machine::new();
    other.mark_pages();
    other.smmu.restore(&saved).unwrap();
    let cache: CacheState = serde_json::from_str(&json).unwrap();
    other.smmu.unit().restore_cache(&cache).unwrap();
    // Its tables are not there: what is seen is what was cached.
    assert_eq!(page_at(&other.dma(4), IOVA), Some(PAGE));
    other.write(cb(1, 0x620), IOVA as u32 | 1);
    assert_eq!(page_at(&other.dma(4), IOVA), None);
}

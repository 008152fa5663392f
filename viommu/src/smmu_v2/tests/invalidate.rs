//! Invalidations: what they forget, what they leave, and when they are complete.

use super::harness::{
    CR0, MAIR0, Machine, RAM, SCTLR, TLBGSTATUS, TLBGSYNC, TLBIALL, TLBIALLH, TLBIALLNSNH,
    TLBIASID, TLBIVA, TLBIVAA, TLBIVAL, TLBIVMID, TLBSTATUS, TLBSYNC, cb, cbar, page_at, s2cr,
};
use super::linux::{Domain, reset};
use crate::test_support::RegisterMachine as _;

const TABLES: u64 = RAM + 0x10_0000;
const PAGE: u64 = RAM + 0x20_0000;
const IOVA: u64 = 0x1040_3000;

/// Maps [`IOVA`] and the page after it in two banks, reads them, and unmaps them without an
/// invalidation.
fn stale(machine: &Machine) -> [Domain<'_>; 2] {
    machine.mark_pages();
    reset(machine);
    [0, 1].map(|bank| {
        let mut domain = Domain::new(machine, bank, TABLES + bank * 0x8000, bank as u32);
        for at in [0, 0x1000] {
            domain.map(IOVA + at, PAGE + at, true);
            assert_eq!(
                page_at(&machine.dma(bank as u32), IOVA + at),
                Some(PAGE + at)
            );
            let entry = domain.third(IOVA + at);
            machine.poke(entry, 0);
        }
        domain
    })
}

/// Returns which of the two pages are still translated, of both banks.
fn left(machine: &Machine) -> [[bool; 2]; 2] {
    [0, 1].map(|stream| [0, 0x1000].map(|at| page_at(&machine.dma(stream), IOVA + at).is_some()))
}

const ALL: [bool; 2] = [true, true];
const NONE: [bool; 2] = [false, false];
const SECOND: [bool; 2] = [false, true];

#[test]
fn each_invalidation_forgets_what_it_names() {
    let iova = IOVA as u32;
    for (register, value, expected) in [
        // The bank's own ASID is 0, the other's is 1.
        (cb(0, TLBIVA), iova, [SECOND, ALL]),
        (cb(0, TLBIVAL), iova, [SECOND, ALL]),
        (cb(0, TLBIVAL), iova | 1, [SECOND, SECOND]),
        (cb(0, TLBIVAA), iova, [SECOND, SECOND]),
        (cb(1, TLBIVAL), iova | 1, [ALL, SECOND]),
        (cb(0, TLBIASID), 0, [NONE, ALL]),
        (cb(0, TLBIASID), 1, [NONE, NONE]),
        (cb(1, TLBIASID), 1, [ALL, NONE]),
        (cb(0, TLBIALL), 0, [NONE, NONE]),
        (TLBIVMID, 0, [NONE, NONE]),
        (TLBIVMID, 7, [ALL, ALL]),
        (TLBIALLNSNH, 0, [NONE, NONE]),
        (TLBIALLH, 0, [ALL, ALL]),
        (cb(0, TLBSYNC), 0, [ALL, ALL]),
    ] {
        let machine = Machine::new();
        stale(&machine);
        machine.write(register, value);
        assert_eq!(left(&machine), expected, "{register:#x} {value:#x}");
    }
}

#[test]
fn another_vmid_is_left_alone() {
    let machine = Machine::new();
    stale(&machine);
    machine.write(cbar(1), 0x1_f307);
    machine.write(cb(0, TLBIALL), 0);
    assert_eq!(left(&machine), [NONE, ALL]);
    machine.write(TLBIVMID, 7);
    assert_eq!(left(&machine), [NONE, NONE]);
}

#[test]
fn one_address_of_a_block_stands_for_all_of_it() {
    let machine = Machine::new();
    machine.mark_pages();
    reset(&machine);
    let mut domain = Domain::new(&machine, 0, TABLES, 1);
    domain.map_block(0x4000_0000, PAGE);
    let dma = machine.dma(1);
    assert_eq!(page_at(&dma, 0x4000_5000), Some(PAGE + 0x5000));
    assert_eq!(page_at(&dma, 0x401f_f000), Some(PAGE + 0x1f_f000));
    let entry = domain.second(0x4000_0000);
    machine.poke(entry, 0);
    domain.invalidate(0x4010_0000);
    assert!(domain.sync());
    assert_eq!(page_at(&dma, 0x4000_5000), None);
    assert_eq!(page_at(&dma, 0x401f_f000), None);
    // Counted anew after everything is forgotten.
    assert_eq!(machine.smmu.save().banks[0].largest, 21);
    domain.invalidate_all();
    assert_eq!(machine.smmu.save().banks[0].largest, 0);
}

#[test]
fn what_is_cached_outlives_everything_but_an_invalidation() {
    let machine = Machine::new();
    let [domain, _] = stale(&machine);
    machine.write(cb(0, SCTLR), 0);
    machine.write(cb(0, MAIR0), 7);
    machine.write(CR0, 1);
    domain.enable();
    machine.write(CR0, super::harness::CR0_LINUX);
    assert_eq!(left(&machine), [ALL, ALL]);
}

#[test]
fn a_sync_waits_for_accesses_that_were_under_way() {
    let machine = Machine::new();
    stale(&machine);
    let dma = machine.dma(0);
    for (sync, status) in [(cb(0, TLBSYNC), cb(0, TLBSTATUS)), (TLBGSYNC, TLBGSTATUS)] {
        assert_eq!(machine.read(status), 0, "nothing was asked for");
        let pin = dma.pin();
        machine.write(cb(0, TLBIALL), 0);
        machine.write(sync, 0);
        assert_eq!(machine.read(status), 1);
        assert_eq!(machine.read(status), 1);
        drop(pin);
        assert_eq!(machine.read(status), 0);
        // Not for those that begin later.
        machine.write(sync, 0);
        let pin = dma.pin();
        assert_eq!(machine.read(status), 0);
        drop(pin);
    }
}

#[test]
fn syncs_of_banks_are_apart() {
    let machine = Machine::new();
    stale(&machine);
    let dma = machine.dma(0);
    let pin = dma.pin();
    machine.write(cb(1, TLBSYNC), 0);
    let status = [TLBGSTATUS, cb(0, TLBSTATUS), cb(1, TLBSTATUS)].map(|at| machine.read(at));
    assert_eq!(status, [0, 0, 1]);
    drop(pin);
    assert_eq!(machine.read(cb(1, TLBSTATUS)), 0);
}

#[test]
fn a_change_of_attachment_waits_for_accesses_by_the_old_one() {
    let machine = Machine::new();
    stale(&machine);
    let dma = machine.dma(0);
    let pin = dma.pin();
    // The pin does not end: the write gives up at some time.
    machine.write(s2cr(0), 0x1_0000);
    assert!(!machine.smmu.shared.registers().poll_attaching());
    drop(pin);
    assert!(machine.smmu.shared.registers().poll_attaching());
}

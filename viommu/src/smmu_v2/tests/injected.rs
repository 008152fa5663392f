//! Faults that are injected.

use std::sync::Arc;

use super::harness::{FSR, Machine, RAM, TLBGSTATUS, TLBGSYNC, TLBIALLNSNH, TLBIASID, cb, page_at};
use super::linux::{Domain, reset};
use crate::FaultReason;
use crate::inject::script::Script;
use crate::inject::{DescriptorFault, Faults, FlushFault};
use crate::smmu_v2::SmmuV2Config;
use crate::test_support::RegisterMachine as _;

const TABLES: u64 = RAM + 0x10_0000;
const PAGE: u64 = RAM + 0x20_0000;
const IOVA: u64 = 0x1040_3000;
const BANK: u64 = 1;
const STREAM: u32 = 4;

/// Returns a machine with faults, in which [`IOVA`] leads to [`PAGE`].
fn world() -> (Machine, Arc<Script>) {
    let script = Arc::new(Script::default());
    let mut config = SmmuV2Config::new("smmu");
    config.faults = Faults::by(script.clone());
    let machine = Machine::of(&config);
    machine.mark_pages();
    reset(&machine);
    domain(&machine).map(IOVA, PAGE, true);
    (machine, script)
}

fn domain(machine: &Machine) -> Domain<'_> {
    Domain::new(machine, BANK, TABLES, STREAM)
}

#[test]
fn a_refused_translation_is_shown_as_what_it_is() {
    let (machine, script) = world();
    for (reason, shown) in [
        (FaultReason::Translation, 0x202),
        (FaultReason::AccessFlag, 0x204),
        (FaultReason::Permission, 0x208),
        (FaultReason::WalkAbort, 0x210),
        (FaultReason::MultipleHits, 0x220),
    ] {
        *script.translation.lock().unwrap() = Some(reason);
        assert_eq!(page_at(&machine.dma(STREAM), IOVA), None);
        assert_eq!(machine.read(cb(BANK, FSR)), shown);
        machine.write(cb(BANK, FSR), u32::MAX);
    }
    *script.translation.lock().unwrap() = None;
    assert_eq!(page_at(&machine.dma(STREAM), IOVA), Some(PAGE));
}

#[test]
fn descriptors_are_read_with_faults() {
    let (machine, script) = world();
    *script.descriptor.lock().unwrap() = Some(DescriptorFault::Value(0));
    assert_eq!(page_at(&machine.dma(STREAM), IOVA), None);
    assert_eq!(machine.read(cb(BANK, FSR)), 0x202);
    *script.descriptor.lock().unwrap() = Some(DescriptorFault::Abort);
    machine.write(cb(BANK, FSR), u32::MAX);
    assert_eq!(page_at(&machine.dma(STREAM), IOVA), None);
    assert_eq!(machine.read(cb(BANK, FSR)), 0x210);
    *script.descriptor.lock().unwrap() = None;
    let read = || {
        script.take_seen();
        assert_eq!(page_at(&machine.dma(STREAM), IOVA), Some(PAGE));
        script.take_seen().len()
    };
    assert_eq!(read(), 3);
    // What was translated is kept until an invalidation, with no cache behind it.
    assert_eq!(read(), 0);
    machine.write(cb(BANK, 0x620), IOVA as u32 | 1);
    assert_eq!(read(), 3);
    machine.write(TLBIALLNSNH, 0);
    assert_eq!(read(), 3);
}

#[test]
fn an_ignored_invalidation_leaves_what_was_translated() {
    let (machine, script) = world();
    let mut domain = domain(&machine);
    domain.map(IOVA, PAGE, true);
    assert_eq!(page_at(&machine.dma(STREAM), IOVA), Some(PAGE));
    *script.flush.lock().unwrap() = Some(FlushFault::Ignored);
    assert!(domain.unmap(IOVA));
    assert_eq!(script.flushed(), Some(("smmu".to_owned(), 1)));
    machine.write(TLBIALLNSNH, 0);
    assert_eq!(page_at(&machine.dma(STREAM), IOVA), Some(PAGE));
    *script.flush.lock().unwrap() = None;
    assert!(domain.invalidate_all());
    assert_eq!(page_at(&machine.dma(STREAM), IOVA), None);
}

#[test]
fn a_late_or_stuck_invalidation_has_done_its_work_and_is_not_complete() {
    let (machine, script) = world();
    let bank = [cb(BANK, TLBIASID), cb(BANK, 0x7f0), cb(BANK, 0x7f4)];
    for [flush, sync, status] in [bank, [TLBIALLNSNH, TLBGSYNC, TLBGSTATUS]] {
        *script.flush.lock().unwrap() = Some(FlushFault::Late(2));
        machine.write(flush, 1);
        machine.write(sync, 0);
        let looks = [(); 3].map(|()| machine.read(status));
        assert_eq!(looks, [1, 1, 0]);
        *script.flush.lock().unwrap() = Some(FlushFault::Stuck);
        machine.write(flush, 1);
        machine.write(sync, 0);
        assert_eq!([(); 3].map(|()| machine.read(status)), [1; 3]);
        // Until the guest asks again; a fault of an earlier one of several invalidations counts
        // then.
        machine.write(flush, 1);
        *script.flush.lock().unwrap() = None;
        machine.write(flush, 1);
        for expected in [1, 0] {
            machine.write(sync, 0);
            assert_eq!(machine.read(status), expected);
        }
    }
}

#[test]
fn registers_are_read_and_written_with_faults() {
    let (machine, script) = world();
    *script.read.lock().unwrap() = Some(("TLBSTATUS", 1));
    assert!(!domain(&machine).sync());
    *script.read.lock().unwrap() = None;
    script.lose("SCTLR", None);
    machine.write(cb(BANK, 0), 0);
    assert_eq!(machine.read(cb(BANK, 0)), 0x1067);
}

#[test]
fn a_status_may_be_shown_without_a_cause() {
    let (machine, _) = world();
    machine.log.take();
    assert_eq!(machine.smmu.show_status(STREAM, 0x4000_0202), 1);
    assert_eq!(
        machine.log.take(),
        [
            "status 0x40000202 of bank 1 shown without a cause",
            "interrupt high"
        ]
    );
    machine.write(cb(BANK, FSR), u32::MAX);
    assert_eq!(machine.read(cb(BANK, FSR)), 0);
    // Of a stream that no bank translates.
    assert_eq!(machine.smmu.show_status(STREAM + 1, 2), 0);
    assert_eq!(machine.read(cb(0, FSR)), 2);
}

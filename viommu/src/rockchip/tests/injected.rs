//! Faults that are injected.

use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress};

use super::harness::{
    COMMAND, FORCE_RESET, INT_STATUS, Machine, RAM, RESTING, STATUS, ZAP_CACHE, page_at,
};
use super::linux::Domain;
use crate::FaultReason;
use crate::inject::script::Script;
use crate::inject::{DescriptorFault, Faults, FlushFault};
use crate::rockchip::{Format, Register, RockchipConfig};
use crate::test_support::RegisterMachine as _;

const TABLES: u64 = RAM + 0x10_0000;
const PAGE: u64 = RAM + 0x20_0000;
const IOVA: u64 = 0x1040_3000;

/// Returns a machine with faults, in which [`IOVA`] leads to [`PAGE`].
fn world() -> (Machine, Arc<Script>) {
    let script = Arc::new(Script::default());
    let mut config = RockchipConfig::new("mmu", Format::Bits32);
    config.faults = Faults::by(script.clone());
    let machine = Machine::new(&config);
    machine.mark_pages();
    let mut domain = Domain::new(&machine, TABLES);
    domain.enable().unwrap();
    domain.map(IOVA, PAGE, true);
    (machine, script)
}

#[test]
fn a_refused_translation_is_shown_as_what_it_is() {
    let (machine, script) = world();
    for (reason, shown) in [
        (FaultReason::Translation, 1),
        (FaultReason::Permission, 1),
        (FaultReason::WalkAbort, 2),
    ] {
        *script.translation.lock().unwrap() = Some(reason);
        assert_eq!(page_at(&machine.dma(), IOVA), None);
        assert_eq!(machine.read(INT_STATUS), shown);
        let domain = Domain::at(&machine, TABLES);
        assert!(domain.handle_interrupt().is_some());
    }
    *script.translation.lock().unwrap() = None;
    assert_eq!(page_at(&machine.dma(), IOVA), Some(PAGE));
}

#[test]
fn entries_are_read_with_faults_and_are_said_to_have_32_bits() {
    let (machine, script) = world();
    *script.descriptor.lock().unwrap() = Some(DescriptorFault::Value(0));
    assert_eq!(page_at(&machine.dma(), IOVA), None);
    assert_eq!(machine.read(INT_STATUS), 1);
    *script.descriptor.lock().unwrap() = Some(DescriptorFault::Abort);
    assert_eq!(page_at(&machine.dma(), IOVA), None);
    assert_eq!(machine.read(INT_STATUS), 3);
    *script.descriptor.lock().unwrap() = None;
    script.take_seen();
    assert_eq!(page_at(&machine.dma(), IOVA), Some(PAGE));
    let seen = script.take_seen();
    let expected = [TABLES + 0x1001, PAGE | 7].map(|entry| (Some(entry), 32));
    assert_eq!(seen, expected);
    // What was translated is kept until a zap, with no cache behind it.
    script.take_seen();
    assert_eq!(page_at(&machine.dma(), IOVA), Some(PAGE));
    assert_eq!(script.take_seen(), []);
    machine.write(0x10, IOVA as u32);
    assert_eq!(page_at(&machine.dma(), IOVA), Some(PAGE));
    assert_eq!(script.take_seen().len(), 2);
}

#[test]
fn an_ignored_zap_leaves_what_was_translated() {
    let (machine, script) = world();
    assert_eq!(page_at(&machine.dma(), IOVA), Some(PAGE));
    Domain::new(&machine, TABLES);
    *script.flush.lock().unwrap() = Some(FlushFault::Ignored);
    machine.command(ZAP_CACHE);
    machine.write(0x10, IOVA as u32);
    assert_eq!(script.flushed(), Some(("mmu".to_owned(), 0)));
    assert_eq!(page_at(&machine.dma(), IOVA), Some(PAGE));
    assert_eq!(machine.read(STATUS), RESTING | 1);
    *script.flush.lock().unwrap() = None;
    machine.command(ZAP_CACHE);
    assert_eq!(page_at(&machine.dma(), IOVA), None);
}

#[test]
fn a_late_or_stuck_zap_has_done_its_work_and_is_not_idle() {
    let (machine, script) = world();
    *script.flush.lock().unwrap() = Some(FlushFault::Late(2));
    machine.command(ZAP_CACHE);
    let looks = [(); 3].map(|()| machine.read(STATUS) & 8);
    assert_eq!(looks, [0, 0, 8]);
    *script.flush.lock().unwrap() = Some(FlushFault::Stuck);
    machine.command(ZAP_CACHE);
    assert_eq!(machine.read(STATUS) & 8, 0);
    machine.command(FORCE_RESET);
    assert_eq!(machine.read(STATUS), RESTING);
}

/// What is stuck is a command that is lost.
#[test]
fn a_lost_command_is_a_reset_or_a_stall_that_never_comes() {
    let (machine, script) = world();
    let domain = Domain::new(&machine, TABLES);
    for (command, message) in [
        (6, "FORCE_RESET command timed out"),
        (2, "Enable stall request timed out"),
    ] {
        *script.write.lock().unwrap() = None;
        domain.enable().unwrap();
        script.lose(Register::Command.name(), Some(command));
        assert_eq!(domain.enable(), Err(message));
    }
    script.lose(Register::Command.name(), Some(0));
    machine.write(COMMAND, 1);
    assert_eq!(domain.enable(), Err("Enable paging request timed out"));
    *script.write.lock().unwrap() = None;
    *script.read.lock().unwrap() = Some((Register::DteAddr.name(), 0));
    assert_eq!(
        domain.enable(),
        Err("Error during raw reset. MMU_DTE_ADDR is not functioning")
    );
}

#[test]
fn a_status_may_be_shown_without_a_cause() {
    let machine = Machine::v1();
    Domain::new(&machine, TABLES).enable().unwrap();
    machine.log.take();
    machine.iommu.show_status(0x11);
    assert_eq!(
        machine.log.take(),
        ["interrupts 0x11 shown without a cause", "interrupt high"]
    );
    assert_eq!((machine.read(0x14), machine.read(INT_STATUS)), (0x11, 1));
    let dma = machine.dma();
    assert!(dma.read_obj::<u32>(GuestAddress(0)).is_err());
    machine.write(0x18, u32::MAX);
    assert_eq!(machine.read(0x14), 0);
}

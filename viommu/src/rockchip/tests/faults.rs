//! Every cause of a fault, as the registers show it, and what the registers do about faults.

use vm_memory::{Bytes, GuestAddress};

use super::harness::{
    DISABLE_PAGING, INT_CLEAR, INT_MASK, INT_RAWSTAT, INT_STATUS, Machine, PAGE_FAULT_ADDR,
    PAGE_FAULT_DONE, PAGE_FAULT_HANDLED, RAM, STATUS, ZAP_CACHE, page_at,
};
use super::linux::{Domain, Handled};
use crate::test_support::RegisterMachine as _;

const TABLES: u64 = RAM + 0x10_0000;
const PAGE: u64 = RAM + 0x20_0000;
const IOVA: u64 = 0x1040_3000;

/// Returns a machine that translates [`IOVA`] to [`PAGE`]; nothing is cached.
fn mapped(machine: &Machine) -> Domain<'_> {
    let mut domain = Domain::new(machine, TABLES);
    domain.enable().unwrap();
    domain.map(IOVA, PAGE, true);
    domain
}

/// Makes an access at `iova`, which must be refused, and handles the interrupt.
fn refused(machine: &Machine, domain: &Domain<'_>, write: bool) -> Handled {
    machine.log.take();
    let dma = machine.dma();
    let iova = GuestAddress(IOVA + 0x10);
    if write {
        assert!(dma.write_obj(1u32, iova).is_err());
    } else {
        assert!(dma.read_obj::<u32>(iova).is_err());
    }
    let log = machine.log.take();
    assert_eq!(log.last().unwrap(), "interrupt high", "{log:?}");
    assert_eq!(machine.read(INT_RAWSTAT), machine.read(INT_STATUS));
    let handled = domain.handle_interrupt().unwrap();
    assert_eq!(machine.log.take().last().unwrap(), "interrupt low");
    assert_eq!(machine.read(STATUS) & 0x2, 0, "acknowledged");
    assert_eq!(domain.handle_interrupt(), None);
    handled
}

fn page_fault(is_write: bool) -> Handled {
    Handled {
        interrupts: 1,
        iova: IOVA as u32 + 0x10,
        is_write,
    }
}

const BUS_ERROR: Handled = Handled {
    interrupts: 2,
    iova: IOVA as u32 + 0x10,
    is_write: false,
};

#[test]
fn an_empty_directory_entry_is_a_page_fault() {
    for write in [false, true] {
        let machine = Machine::v1();
        let domain = mapped(&machine);
        machine.poke(TABLES + (IOVA >> 22) * 4, 0);
        assert_eq!(refused(&machine, &domain, write), page_fault(write));
    }
}

#[test]
fn an_empty_page_table_entry_is_a_page_fault() {
    for write in [false, true] {
        let machine = Machine::v1();
        let mut domain = mapped(&machine);
        let entry = domain.entry(IOVA);
        machine.poke(entry, 0);
        assert_eq!(refused(&machine, &domain, write), page_fault(write));
    }
}

#[test]
fn a_write_to_a_read_only_page_is_a_page_fault_of_a_write() {
    let machine = Machine::v1();
    let mut domain = mapped(&machine);
    machine.ram.write_obj(PAGE, GuestAddress(PAGE + 8)).unwrap();
    let entry = domain.entry(IOVA);
    machine.poke(entry, PAGE as u32 | 3);
    assert_eq!(page_at(&machine.dma(), IOVA), Some(PAGE));
    assert_eq!(refused(&machine, &domain, true), page_fault(true));
}

#[test]
fn a_read_of_a_write_only_page_is_a_page_fault_of_a_read() {
    let machine = Machine::v1();
    let mut domain = mapped(&machine);
    let entry = domain.entry(IOVA);
    machine.poke(entry, PAGE as u32 | 5);
    machine.dma().write_obj(1u32, GuestAddress(IOVA)).unwrap();
    assert_eq!(refused(&machine, &domain, false), page_fault(false));
}

#[test]
fn a_directory_outside_memory_is_a_bus_error() {
    let machine = Machine::v1();
    let domain = mapped(&machine);
    machine.write(0, 0x1000_0000);
    assert_eq!(refused(&machine, &domain, false), BUS_ERROR);
}

#[test]
fn a_page_table_outside_memory_is_a_bus_error() {
    let machine = Machine::v2();
    let domain = mapped(&machine);
    // In the 40-bit format, far above 4 GiB.
    machine.poke(TABLES + (IOVA >> 22) * 4, PAGE as u32 | 0x11);
    assert_eq!(refused(&machine, &domain, false), BUS_ERROR);
}

#[test]
fn a_page_outside_memory_is_no_fault_of_the_iommu() {
    let machine = Machine::v1();
    let mut domain = mapped(&machine);
    let entry = domain.entry(IOVA);
    machine.poke(entry, 0x1000_0007);
    machine.log.take();
    assert!(machine.dma().read_obj::<u32>(GuestAddress(IOVA)).is_err());
    assert_eq!(machine.log.take(), ["no memory at 0x10000000"]);
    assert_eq!(domain.handle_interrupt(), None);
}

#[test]
fn an_iova_of_more_than_32_bits_is_a_page_fault() {
    let machine = Machine::v2();
    let domain = mapped(&machine);
    let dma = machine.dma();
    assert!(dma.read_obj::<u32>(GuestAddress(1 << 32 | IOVA)).is_err());
    let handled = Handled {
        iova: IOVA as u32,
        ..page_fault(false)
    };
    assert_eq!(domain.handle_interrupt(), Some(handled));
}

#[test]
fn a_second_fault_is_lost_until_the_first_is_acknowledged() {
    let machine = Machine::v1();
    let domain = mapped(&machine);
    let dma = machine.dma();
    machine.log.take();
    assert!(dma.write_obj(0u32, GuestAddress(0x5000)).is_err());
    assert!(dma.read_obj::<u32>(GuestAddress(0x6000)).is_err());
    assert_eq!(
        machine.log.take(),
        [
            "page fault: write of iova 0x5000",
            "interrupt high",
            "page fault not recorded: iova 0x6000",
        ]
    );
    let handled = domain.handle_interrupt().unwrap();
    assert_eq!((handled.iova, handled.is_write), (0x5000, true));
    assert_eq!(machine.log.take(), PAGE_FAULT_HANDLED);
    assert!(dma.read_obj::<u32>(GuestAddress(0x6000)).is_err());
    assert_eq!(domain.handle_interrupt().unwrap().iova, 0x6000);
}

#[test]
fn a_bus_error_leaves_the_address_of_a_page_fault() {
    let machine = Machine::v1();
    let domain = mapped(&machine);
    let dma = machine.dma();
    assert!(dma.read_obj::<u32>(GuestAddress(0x5000)).is_err());
    machine.poke(TABLES, 0x1000_0001);
    assert!(dma.read_obj::<u32>(GuestAddress(0x6000)).is_err());
    assert_eq!(machine.read(PAGE_FAULT_ADDR), 0x5000);
    let handled = domain.handle_interrupt().unwrap();
    assert_eq!((handled.interrupts, handled.iova), (3, 0x5000));
}

#[test]
fn a_masked_interrupt_is_pending_and_not_shown() {
    let machine = Machine::v1();
    let _domain = mapped(&machine);
    machine.write(INT_MASK, 2);
    machine.log.take();
    assert!(machine.dma().read_obj::<u32>(GuestAddress(0)).is_err());
    assert_eq!(machine.log.take(), ["page fault: read of iova 0x0"]);
    assert_eq!(
        (machine.read(INT_RAWSTAT), machine.read(INT_STATUS)),
        (1, 0)
    );
    machine.write(INT_MASK, 3);
    assert_eq!(machine.log.take(), ["interrupt high"]);
    machine.write(INT_CLEAR, 2);
    assert_eq!(machine.log.take(), [""; 0], "the other one");
    machine.write(INT_CLEAR, u32::MAX);
    assert_eq!(machine.log.take().last().unwrap(), "interrupt low");
    // The fault stays until it is acknowledged.
    assert_eq!(machine.read(STATUS) & 2, 2);
    machine.command(PAGE_FAULT_DONE);
    assert_eq!(machine.read(STATUS) & 2, 0);
}

#[test]
fn a_refusal_is_not_remembered_and_a_mapping_is_until_it_is_zapped() {
    let machine = Machine::v1();
    machine.mark_pages();
    let mut domain = mapped(&machine);
    let dma = machine.dma();
    let entry = domain.entry(IOVA + 0x1000);
    assert_eq!(page_at(&dma, IOVA + 0x1000), None);
    machine.poke(entry, PAGE as u32 | 0x3007);
    assert_eq!(page_at(&dma, IOVA + 0x1000), Some(PAGE + 0x3000));
    // Without a zap the old translation may still be used, and is.
    machine.poke(entry, PAGE as u32 | 0x4007);
    assert_eq!(page_at(&dma, IOVA + 0x1000), Some(PAGE + 0x3000));
    // A zap of the neighbour changes nothing; any address in the page does.
    machine.write(0x10, IOVA as u32 + 0x2000);
    assert_eq!(page_at(&dma, IOVA + 0x1000), Some(PAGE + 0x3000));
    machine.write(0x10, IOVA as u32 + 0x1fff);
    assert_eq!(page_at(&dma, IOVA + 0x1000), Some(PAGE + 0x4000));
    machine.poke(entry, 0);
    machine.command(ZAP_CACHE);
    assert_eq!(page_at(&dma, IOVA + 0x1000), None);
    // Without paging IOVAs are addresses.
    machine.command(DISABLE_PAGING);
    assert_eq!(page_at(&dma, PAGE), Some(PAGE));
}

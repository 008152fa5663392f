//! Every cause of a fault of a context bank, as the registers show it, and what the registers do
//! about faults.

use vm_memory::{Bytes, GuestAddress};

use super::harness::{FSR, Machine, RAM, SCTLR, SCTLR_LINUX, TCR, TTBR0, TTBR1, cb, page_at};
use super::linux::{Domain, Handled, READ_ONLY, reset};
use crate::smmu_v2::SmmuV2Config;
use crate::test_support::RegisterMachine as _;

const TABLES: u64 = RAM + 0x10_0000;
const PAGE: u64 = RAM + 0x20_0000;
const IOVA: u64 = 0x1040_3000;
const STREAM: u32 = 9;
const BANK: u64 = 2;

/// FSR of long descriptors.
const TRANSLATION: u32 = 0x202;
const ACCESS_FLAG: u32 = 0x204;
const PERMISSION: u32 = 0x208;
const EXTERNAL: u32 = 0x210;
/// FSYNR0 of a walk that failed.
const WALK: u32 = 0x400;

/// Returns a machine that translates [`IOVA`] to [`PAGE`]; nothing is cached.
fn mapped(machine: &Machine) -> Domain<'_> {
    reset(machine);
    let mut domain = Domain::new(machine, BANK, TABLES, STREAM);
    domain.map(IOVA, PAGE, true);
    domain
}

/// Makes an access at an IOVA, which must be refused, and handles the interrupt: it shows `fsr` and
/// `fsynr`.
fn refused(
    machine: &Machine,
    domain: &Domain<'_>,
    iova: u64,
    write: bool,
    (fsr, fsynr): (u32, u32),
) {
    assert!(domain.invalidate_all());
    machine.log.take();
    let dma = machine.dma(STREAM);
    let iova = iova + 0x10;
    if write {
        assert!(dma.write_obj(1u32, GuestAddress(iova)).is_err());
    } else {
        assert!(dma.read_obj::<u32>(GuestAddress(iova)).is_err());
    }
    let log = machine.log.take();
    assert_eq!(log.last().unwrap(), "interrupt high", "{log:?}");
    let handled = Handled {
        fsr,
        iova,
        fsynr: fsynr | u32::from(write) << 4,
        cbfrsynra: STREAM,
    };
    assert_eq!(domain.handle_interrupt(), Some(handled));
    assert_eq!(
        machine.log.take(),
        ["fault of bank 2 cleared", "interrupt low"]
    );
    assert_eq!(domain.handle_interrupt(), None);
}

#[test]
fn empty_entries_are_translation_faults_of_their_level() {
    for write in [false, true] {
        let machine = Machine::new();
        let mut domain = mapped(&machine);
        let entries = [
            (1, domain.first + (IOVA >> 30) * 8),
            (2, domain.second(IOVA)),
            (3, domain.third(IOVA)),
        ];
        for (level, entry) in entries {
            let old = machine.peek(entry);
            machine.poke(entry, 0);
            refused(&machine, &domain, IOVA, write, (TRANSLATION, level));
            machine.poke(entry, old);
        }
    }
}

#[test]
fn a_reserved_descriptor_is_a_translation_fault() {
    let machine = Machine::new();
    let mut domain = mapped(&machine);
    let entry = domain.third(IOVA);
    machine.poke(entry, PAGE | 0xe45);
    refused(&machine, &domain, IOVA, false, (TRANSLATION, 3));
}

#[test]
fn a_clear_access_flag_is_an_access_flag_fault() {
    let machine = Machine::new();
    let mut domain = mapped(&machine);
    let entry = domain.third(IOVA);
    machine.poke(entry, PAGE | 0xa47);
    refused(&machine, &domain, IOVA, false, (ACCESS_FLAG, 3));
}

#[test]
fn a_write_to_a_read_only_page_is_a_permission_fault() {
    let machine = Machine::new();
    machine.mark_pages();
    let mut domain = mapped(&machine);
    domain.map(IOVA, PAGE, false);
    assert_eq!(page_at(&machine.dma(STREAM), IOVA), Some(PAGE));
    refused(&machine, &domain, IOVA, true, (PERMISSION, 3));
}

#[test]
fn an_access_to_a_privileged_page_is_a_permission_fault() {
    let machine = Machine::new();
    let mut domain = mapped(&machine);
    let entry = domain.third(IOVA);
    machine.poke(entry, PAGE | 0xe07);
    refused(&machine, &domain, IOVA, false, (PERMISSION, 3));
    // But a privileged look-up finds it, and an unprivileged one does not.
    assert_eq!(domain.look_up(IOVA), Some(PAGE));
    machine.write(cb(BANK, 0x810), IOVA as u32);
    assert_eq!(machine.read_long(cb(BANK, 0x50)), 3 << 32 | 9);
    machine.poke(entry, PAGE | 0xe47 | READ_ONLY);
    machine.write(cb(BANK, 0x808), IOVA as u32);
    assert_eq!(machine.read(cb(BANK, 0x50)), 9);
    machine.write(cb(BANK, 0x818), IOVA as u32);
    assert_eq!(machine.read(cb(BANK, 0x50)), 9);
}

#[test]
fn tables_outside_memory_are_external_aborts() {
    let machine = Machine::new();
    let mut domain = mapped(&machine);
    let second = domain.second(IOVA);
    machine.poke(second, 0x8000_0003);
    refused(&machine, &domain, IOVA, false, (EXTERNAL, WALK | 3));
    machine.poke(domain.first, 0x8000_0003);
    refused(&machine, &domain, IOVA, true, (EXTERNAL, WALK | 2));
    machine.write_long(cb(BANK, TTBR0), 0x8000_0000);
    refused(&machine, &domain, IOVA, false, (EXTERNAL, WALK | 1));
}

#[test]
fn addresses_beyond_40_bits_are_translation_faults() {
    let machine = Machine::new();
    let mut domain = mapped(&machine);
    let entry = domain.third(IOVA);
    machine.poke(entry, 1 << 40 | PAGE | 0xe47);
    refused(&machine, &domain, IOVA, false, (TRANSLATION, 3));
}

#[test]
fn iovas_beyond_32_bits_and_disabled_regions_are_translation_faults() {
    let machine = Machine::new();
    let domain = mapped(&machine);
    refused(&machine, &domain, 1 << 32 | IOVA, false, (TRANSLATION, 1));
    machine.write(cb(BANK, TCR), 0x8080_2080);
    refused(&machine, &domain, IOVA, false, (TRANSLATION, 1));
}

#[test]
fn the_upper_region_has_a_table_of_its_own() {
    let machine = Machine::new();
    machine.mark_pages();
    let mut domain = mapped(&machine);
    // Both regions have 2 GiB, each with two entries of the first level.
    machine.write(cb(BANK, TCR), 0x8001_0001);
    machine.write_long(cb(BANK, TTBR1), domain.first);
    assert!(domain.invalidate_all());
    domain.map(IOVA + 0x1000, PAGE + 0x1000, true);
    let dma = machine.dma(STREAM);
    assert_eq!(page_at(&dma, IOVA), Some(PAGE));
    assert_eq!(
        page_at(&dma, 0x8000_0000 + IOVA + 0x1000),
        Some(PAGE + 0x1000)
    );
    // EPD1, as the driver sets it.
    machine.write(cb(BANK, TCR), 0x8081_0001);
    refused(
        &machine,
        &domain,
        0x8000_0000 + IOVA,
        false,
        (TRANSLATION, 1),
    );
}

#[test]
fn short_descriptors_are_translation_faults_where_there_are_none() {
    let mut config = SmmuV2Config::new("smmu");
    config.short_descriptors = false;
    let machine = Machine::of(&config);
    let domain = mapped(&machine);
    machine.write(cb(BANK, TCR), 0);
    refused(&machine, &domain, IOVA, false, (2, 0));
}

#[test]
fn a_page_without_memory_behind_it_is_the_bus_s_error_and_no_fault() {
    let machine = Machine::new();
    let mut domain = mapped(&machine);
    domain.map(IOVA, 0x8000_0000, true);
    machine.log.take();
    assert_eq!(page_at(&machine.dma(STREAM), IOVA), None);
    assert_eq!(machine.log.take(), ["no memory at 0x80000008"]);
    assert_eq!(domain.handle_interrupt(), None);
}

#[test]
fn further_faults_are_only_counted_as_several() {
    let machine = Machine::new();
    let domain = mapped(&machine);
    let dma = machine.dma(STREAM);
    for page in 1..4 {
        assert_eq!(page_at(&dma, IOVA + page * 0x1000), None);
    }
    let handled = domain.handle_interrupt().unwrap();
    assert_eq!((handled.fsr, handled.iova), (0x8000_0202, IOVA + 0x1008));
    // Then the next one is the first.
    assert_eq!(page_at(&dma, IOVA + 0x4000), None);
    let handled = domain.handle_interrupt().unwrap();
    assert_eq!((handled.fsr, handled.iova), (0x202, IOVA + 0x4008));
}

#[test]
fn a_status_is_cleared_bit_by_bit_and_the_interrupt_goes_with_the_last() {
    let machine = Machine::new();
    let domain = mapped(&machine);
    let dma = machine.dma(STREAM);
    for page in [1, 2] {
        assert_eq!(page_at(&dma, IOVA + page * 0x1000), None);
    }
    machine.log.take();
    machine.write(cb(BANK, FSR), 2);
    assert_eq!(machine.read(cb(BANK, FSR)), 0x8000_0200);
    assert_eq!(machine.log.take(), [""; 0]);
    machine.write(cb(BANK, FSR), 1 << 31);
    assert_eq!(machine.read(cb(BANK, FSR)), 0);
    assert_eq!(
        machine.log.take(),
        ["fault of bank 2 cleared", "interrupt low"]
    );
    assert_eq!(domain.handle_interrupt(), None);
}

#[test]
fn context_faults_interrupt_only_where_sctlr_says_so() {
    let machine = Machine::new();
    mapped(&machine);
    machine.write(cb(BANK, SCTLR), SCTLR_LINUX & !0x40);
    machine.log.take();
    assert_eq!(page_at(&machine.dma(STREAM), IOVA + 0x1000), None);
    assert_eq!(machine.log.take().len(), 1);
    machine.write(cb(BANK, SCTLR), SCTLR_LINUX);
    assert_eq!(machine.log.take(), ["interrupt high"]);
}

/// One line: it is high while any bank, or a global fault, asks for it.
#[test]
fn all_interrupts_are_one_line() {
    let machine = Machine::new();
    let domain = mapped(&machine);
    let other = Domain::new(&machine, 5, TABLES + 0x8000, 1);
    machine.log.take();
    assert_eq!(page_at(&machine.dma(1), IOVA), None);
    assert_eq!(page_at(&machine.dma(STREAM), IOVA + 0x1000), None);
    assert_eq!(page_at(&machine.dma(3), IOVA), None);
    assert!(other.handle_interrupt().is_some());
    assert!(domain.handle_interrupt().is_some());
    let lines = |log: Vec<String>| log.into_iter().filter(|line| line.starts_with("interrupt"));
    assert_eq!(
        lines(machine.log.take()).collect::<Vec<_>>(),
        ["interrupt high"]
    );
    assert_eq!(super::linux::handle_global(&machine), Some((2, 3)));
    assert_eq!(
        lines(machine.log.take()).collect::<Vec<_>>(),
        ["interrupt low"]
    );
}

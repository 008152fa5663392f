//! What is remembered, until when, and when a flush is complete.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use vm_memory::{Bytes, GuestAddress, GuestMemory, Permissions};

use super::harness::{FLUSH, IMCTR, IMTTLBR0, INTEN, MMUEN, Machine, RAM, imuctr, page_at};
use super::linux::Domain;
use crate::test_support::RegisterMachine as _;

const TABLES: u64 = RAM + 0x10_0000;
const OTHER_TABLES: u64 = RAM + 0x18_0000;
const PAGE: u64 = RAM + 0x20_0000;
const OTHER_PAGE: u64 = RAM + 0x30_0000;
const IOVA: u64 = 0x4000_0000;

/// Creates a machine whose uTLB 0 translates [`IOVA`] to [`PAGE`], which is cached.
fn with_cached_page(machine: &Machine) -> Domain<'_> {
    machine.mark_pages();
    let mut domain = Domain::new(machine, 0, 0, TABLES);
    domain.attach(0);
    domain.map(IOVA, PAGE, true);
    assert_eq!(page_at(&machine.dma(0), IOVA), Some(PAGE));
    machine.log.take();
    domain
}

#[test]
fn a_flush_is_complete_only_when_accesses_under_way_have_ended() {
    let machine = Machine::gen2();
    let mut domain = with_cached_page(&machine);
    let dma = machine.dma(0);
    let pin = dma.pin();
    let entry = domain.entry(IOVA);
    machine.poke(entry, 0);
    machine.write(IMCTR, 7);
    assert_eq!(machine.read(IMCTR), 7, "FLUSH reads as 1");
    // Writes of IMCTR meanwhile neither end it nor hide it.
    machine.write(IMCTR, MMUEN | INTEN);
    assert_eq!(machine.read(IMCTR), 7);
    assert_eq!(
        machine.read(0x40 + IMCTR),
        0,
        "another context has no flush"
    );
    assert!(!domain.sync(), "a hundred polls are not enough");
    drop(pin);
    assert_eq!(machine.read(IMCTR), 5);
    assert_eq!(
        machine.log.take(),
        ["mmu: context 0 flush", "mmu: context 0 flush complete"]
    );
    assert_eq!(page_at(&dma, IOVA), None);
}

#[test]
fn a_second_flush_while_one_is_under_way_waits_for_both() {
    let machine = Machine::gen2();
    let _domain = with_cached_page(&machine);
    let (a, b) = (machine.dma(0), machine.dma(1));
    let first = a.pin();
    machine.write(IMCTR, 7);
    let second = b.pin();
    machine.write(IMCTR, 7);
    drop(first);
    assert_eq!(machine.read(IMCTR), 7);
    drop(second);
    assert_eq!(machine.read(IMCTR), 5);
}

#[test]
fn a_utlb_flush_shows_its_end_too() {
    let machine = Machine::gen2();
    let _domain = with_cached_page(&machine);
    let dma = machine.dma(0);
    let pin = dma.pin();
    machine.write(imuctr(0), 3);
    assert_eq!(machine.read(imuctr(0)), 3);
    assert_eq!(machine.read(imuctr(1)), 0);
    drop(pin);
    assert_eq!(machine.read(imuctr(0)), 1);
    assert_eq!(machine.log.take(), ["mmu: uTLB 0 flush"]);
}

/// As on hardware, changed registers and tables show once the TLB is flushed.
#[test]
fn without_a_flush_what_was_cached_stays() {
    let machine = Machine::gen2();
    let mut domain = with_cached_page(&machine);
    let dma = machine.dma(0);
    let entry = domain.entry(IOVA);
    machine.poke(entry, OTHER_PAGE | 0xe63);
    assert_eq!(page_at(&dma, IOVA), Some(PAGE), "the old translation");
    domain.flush();
    assert_eq!(page_at(&dma, IOVA), Some(OTHER_PAGE));
    // An empty table.
    domain.write(IMTTLBR0, OTHER_TABLES as u32);
    assert_eq!(page_at(&dma, IOVA), Some(OTHER_PAGE), "the old table's");
    assert_eq!(page_at(&dma, IOVA + 0x1000), None, "walks use the new one");
    domain.flush();
    assert_eq!(page_at(&dma, IOVA), None);
}

#[test]
fn a_utlb_flush_forgets_what_was_cached() {
    let machine = Machine::gen2();
    let mut domain = with_cached_page(&machine);
    let entry = domain.entry(IOVA);
    machine.poke(entry, 0);
    machine.write(imuctr(0), 1);
    assert_eq!(
        page_at(&machine.dma(0), IOVA),
        Some(PAGE),
        "FLUSH was not written"
    );
    machine.write(imuctr(0), 3);
    assert_eq!(page_at(&machine.dma(0), IOVA), None);
}

#[test]
fn what_was_cached_of_one_context_is_not_seen_on_another() {
    let machine = Machine::gen2();
    let mut domain = with_cached_page(&machine);
    let mut other = Domain::new(&machine, 0, 1, OTHER_TABLES);
    other.map(IOVA, OTHER_PAGE, true);
    other.attach(1);
    assert_eq!(page_at(&machine.dma(1), IOVA), Some(OTHER_PAGE));
    assert_eq!(page_at(&machine.dma(0), IOVA), Some(PAGE));
    // A flush of one leaves the other's.
    let entry = domain.entry(IOVA);
    machine.poke(entry, 0);
    other.flush();
    assert_eq!(page_at(&machine.dma(0), IOVA), Some(PAGE));
    domain.flush();
    assert_eq!(page_at(&machine.dma(0), IOVA), None);
    assert_eq!(page_at(&machine.dma(1), IOVA), Some(OTHER_PAGE));
}

/// A device that writes as fast as it can never writes through a translation after its flush is
/// complete.
#[test]
fn no_write_lands_through_a_translation_that_was_flushed() {
    let machine = Machine::gen2();
    let mut domain = with_cached_page(&machine);
    let stop = AtomicBool::new(false);
    /// Stops the device though an assertion failed: else the test would hang.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    thread::scope(|scope| {
        let dma = machine.dma(0);
        let stop = &stop;
        let _stop = Stop(stop);
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                // Refused while nothing is mapped. The write comes some time after the translation.
                let pin = dma.pin();
                let slices = pin
                    .get_slices(GuestAddress(IOVA), 4, Permissions::Write)
                    .unwrap();
                for slice in slices.flatten() {
                    thread::yield_now();
                    slice.write_obj(0x5a5a_5a5au32, 0).unwrap();
                }
            }
        });
        for page in [PAGE, OTHER_PAGE] {
            machine.ram.write_obj(0u32, GuestAddress(page)).unwrap();
        }
        for round in 0..300 {
            let page = if round % 2 == 0 { PAGE } else { OTHER_PAGE };
            domain.map(IOVA, page, true);
            // The device is at it.
            while machine.ram.read_obj::<u32>(GuestAddress(page)).unwrap() == 0 {
                thread::yield_now();
            }
            let entry = domain.entry(IOVA);
            machine.poke(entry, 0);
            machine.write(IMCTR, MMUEN | FLUSH);
            while machine.read(IMCTR) & FLUSH != 0 {
                thread::yield_now();
            }
            machine.ram.write_obj(0u32, GuestAddress(page)).unwrap();
            for look in 0..50 {
                if look % 25 == 0 {
                    thread::yield_now();
                }
                let word: u32 = machine.ram.read_obj(GuestAddress(page)).unwrap();
                assert_eq!(word, 0, "a write landed after the flush");
            }
        }
    });
}

//! Several vCPUs and devices at once.

use vm_memory::GuestMemoryMmap;

use super::harness::{Machine, RAM, TLBGSTATUS, TLBGSYNC, TLBSTATUS, TLBSYNC, cb, s2cr, smr};
use super::linux::{Domain, PAGE, handle_global, reset};
use crate::dma::DmaSpace;
use crate::test_support::RegisterMachine as _;
use crate::testing::{DEVICES, Driver, IOVA, IOVAS, VISITOR, all_at_once, wait_until};

const TABLES: u64 = RAM + 0x10_0000;

/// The driver's one domain, on bank 0, with a group for each stream. Entries are words of their
/// own, so several vCPUs may change them.
struct Shared<'a> {
    machine: &'a Machine,
    domain: Domain<'a>,
    /// The address of each page's entry.
    entries: Vec<u64>,
}

impl Shared<'_> {
    fn put(&self, iova: u64, descriptor: u64) {
        let entry = self.entries[((iova - IOVA) >> 12) as usize];
        self.machine.poke(entry, descriptor);
    }

    fn flush(&self, iova: u64) {
        self.domain.invalidate(iova);
        self.machine.write(cb(0, TLBSYNC), 0);
        wait_until(|| self.machine.read(cb(0, TLBSTATUS)) == 0);
    }
}

impl Driver for Shared<'_> {
    fn ram(&self) -> &GuestMemoryMmap<()> {
        &self.machine.ram
    }

    fn space(&self, device: u64) -> DmaSpace {
        self.machine.dma(device as u32)
    }

    fn map(&self, iova: u64, frame: u64) {
        self.put(iova, self.frame(frame) | PAGE);
    }

    fn unmap(&self, iova: u64) {
        self.put(iova, 0);
        self.flush(iova);
    }

    fn remap(&self, iova: u64, frame: u64) {
        self.map(iova, frame);
        self.flush(iova);
    }

    /// Has the stream fault; what it had under way is over when a sync is.
    fn detach(&self, device: u64) {
        self.machine.write(s2cr(device), 0x2_0000);
        self.machine.write(TLBGSYNC, 0);
        wait_until(|| self.machine.read(TLBGSTATUS) == 0);
    }

    fn attach(&self, device: u64) {
        self.machine.write(s2cr(device), 0);
    }

    fn fuss(&self) {
        self.domain.invalidate_all();
        self.domain.look_up(IOVA);
        self.domain.handle_interrupt();
        handle_global(self.machine);
        self.machine.log.take();
    }
}

#[test]
fn nothing_lands_through_what_was_invalidated_while_many_invalidate() {
    let machine = Machine::new();
    reset(&machine);
    let mut domain = Domain::new(&machine, 0, TABLES, 0);
    // All tables are made here: later each thread writes only entries of its own pages.
    let entries = (0..IOVAS).map(|page| domain.third(IOVA + page * 0x1000));
    let entries = entries.collect();
    for stream in 1..=DEVICES {
        machine.write(smr(stream), 0x8000_0000 | stream as u32);
        machine.write(s2cr(stream), 0);
    }
    assert_eq!(VISITOR, DEVICES);
    all_at_once(&Shared {
        machine: &machine,
        domain,
        entries,
    });
}

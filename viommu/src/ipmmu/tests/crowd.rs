//! Several vCPUs and devices at once.

use vm_memory::GuestMemoryMmap;

use super::harness::{Machine, RAM};
use super::linux::Domain;
use crate::dma::DmaSpace;
use crate::ipmmu::IpmmuConfig;
use crate::test_support::RegisterMachine as _;
use crate::testing::{DEVICES, Driver, IOVA, IOVAS, VISITOR, all_at_once, wait_until};

const TABLES: u64 = RAM + 0x10_0000;
/// A page, as the driver maps it.
const PAGE_RW: u64 = 0xe63;

/// The driver's one domain. Entries are words of their own, so several vCPUs may change them.
struct Shared<'a> {
    machine: &'a Machine,
    domain: Domain<'a>,
    mmu: usize,
    /// The address of each page's entry.
    entries: Vec<u64>,
}

impl Shared<'_> {
    fn put(&self, iova: u64, descriptor: u64) {
        let entry = self.entries[((iova - IOVA) >> 12) as usize];
        self.machine.poke(entry, descriptor);
    }

    fn flush(&self) {
        self.domain.begin_flush();
        wait_until(|| self.domain.sync());
    }
}

impl Driver for Shared<'_> {
    fn ram(&self) -> &GuestMemoryMmap<()> {
        &self.machine.ram
    }

    fn space(&self, device: u64) -> DmaSpace {
        let instance = self.machine.instance(self.mmu);
        instance.space(device as usize).unwrap()
    }

    fn map(&self, iova: u64, frame: u64) {
        self.put(iova, self.frame(frame) | PAGE_RW);
    }

    fn unmap(&self, iova: u64) {
        self.put(iova, 0);
        self.flush();
    }

    fn remap(&self, iova: u64, frame: u64) {
        self.map(iova, frame);
        self.flush();
    }

    /// Disables the uTLB as the driver does; its core flushes the domain.
    fn detach(&self, device: u64) {
        self.domain.detach(device);
        self.flush();
    }

    fn attach(&self, device: u64) {
        self.domain.attach(device);
    }

    fn fuss(&self) {
        self.flush();
        self.domain.handle_interrupt();
        self.machine.log.take();
    }
}

fn crowd(config: &IpmmuConfig, mmu: usize, context: u64) {
    let machine = Machine::new(config);
    let mut domain = Domain::new(&machine, mmu, context, TABLES);
    // All tables are made here: later each thread writes only entries of its own pages.
    let entries = (0..IOVAS).map(|page| domain.entry(IOVA + page * 0x1000));
    let entries = entries.collect();
    (0..DEVICES).for_each(|device| domain.attach(device));
    domain.attach(VISITOR);
    all_at_once(&Shared {
        machine: &machine,
        domain,
        mmu,
        entries,
    });
}

#[test]
fn nothing_lands_through_what_was_flushed_while_many_flush() {
    crowd(&IpmmuConfig::gen2("mmu"), 0, 0);
}

#[test]
fn nor_on_a_leaf_of_gen3() {
    crowd(&IpmmuConfig::gen3("mm", ["ds0", "ds1"]), 1, 1);
}

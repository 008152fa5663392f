//! What the Linux driver of 6.1 does, written anew from what it was seen to do: register by
//! register, and tables as its page-table code writes them.

use vm_memory::{Bytes, GuestAddress};

use super::harness::{
    FLUSH, IMCTR, IMELAR, IMSTR, IMTTBCR, IMTTLBR0, IMTTUBR0, INTEN, MMUEN, Machine, RAM, imuasid,
    imuctr,
};
use crate::test_support::RegisterMachine as _;

const IMBUSCR: u64 = 0x0c;
const IMMAIR0: u64 = 0x28;

/// A page, read and write: nG, AF, outer shareable, AP\[1\], NS.
const PAGE_RW: u64 = 0xe63;
/// A page, read-only.
const PAGE_RO: u64 = 0xee3;
/// A table: NSTable and a bit of the driver's own.
const TABLE: u64 = 0x8080_0000_0000_0003;

/// One domain of the driver: a context, and tables.
pub(super) struct Domain<'a> {
    machine: &'a Machine,
    /// The instance that its devices are on.
    mmu: usize,
    context: u64,
    /// The first table: four entries.
    pub(super) pgd: u64,
    next_table: u64,
}

/// What the interrupt handler makes of a fault.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Handled {
    pub(super) status: u32,
    pub(super) iova: u32,
}

impl<'a> Domain<'a> {
    /// Does what the driver does in `ipmmu_domain_init_context` and `ipmmu_domain_setup_context`:
    /// on the root, but for IMCTR, which is written to the instance of the devices first. Tables
    /// are taken from `tables` on.
    pub(super) fn new(machine: &'a Machine, mmu: usize, context: u64, tables: u64) -> Self {
        let domain = Self {
            machine,
            mmu,
            context,
            pgd: tables,
            next_table: tables + 0x1000,
        };
        domain.clear(tables);
        let gen3 = machine.ipmmu.features().leaves;
        domain.write(IMTTLBR0, domain.pgd as u32);
        domain.write(IMTTUBR0, (domain.pgd >> 32) as u32);
        // EAE and a first table of level 1; on Gen2 also cacheable, inner shareable walks.
        domain.write(IMTTBCR, if gen3 { 0x8000_0080 } else { 0x8000_3510 });
        domain.write(IMMAIR0, 0xf404_ff44);
        if !gen3 {
            domain.write(IMBUSCR, domain.read(IMBUSCR) & !7);
        }
        // Meant to clear all flags; as zeros clear, a flag that is set stays.
        domain.write(IMSTR, domain.read(IMSTR));
        domain.write_all(IMCTR, INTEN | FLUSH | MMUEN);
        domain
    }

    /// Zeroes a page for a table.
    fn clear(&self, page: u64) {
        let ram = &self.machine.ram;
        ram.write_slice(&[0; 0x1000], GuestAddress(page)).unwrap();
    }

    fn register(&self, register: u64) -> u64 {
        self.context * 0x40 + register
    }

    pub(super) fn read(&self, register: u64) -> u32 {
        self.machine.read(self.register(register))
    }

    pub(super) fn write(&self, register: u64, value: u32) {
        self.machine.write(self.register(register), value);
    }

    /// Writes a register of a context as `ipmmu_ctx_write_all` does.
    fn write_all(&self, register: u64, value: u32) {
        if self.mmu != 0 {
            self.machine
                .write_of(self.mmu, self.register(register), value);
        }
        self.write(register, value);
    }

    /// Waits for a flush as `ipmmu_tlb_sync` does; returns whether it completed in time.
    pub(super) fn sync(&self) -> bool {
        (0..100).any(|_| self.read(IMCTR) & FLUSH == 0)
    }

    /// Does the first half of `ipmmu_tlb_invalidate`.
    pub(super) fn begin_flush(&self) {
        self.write_all(IMCTR, self.read(IMCTR) | FLUSH);
    }

    /// Flushes as `ipmmu_tlb_invalidate` does.
    pub(super) fn flush(&self) {
        self.begin_flush();
        assert!(self.sync(), "TLB sync timed out -- MMU may be deadlocked");
    }

    /// Enables a uTLB as `ipmmu_utlb_enable` does.
    pub(super) fn attach(&self, utlb: u64) {
        self.machine.write_of(self.mmu, imuasid(utlb), 0);
        let value = (self.context as u32) << 4 | 3;
        self.machine.write_of(self.mmu, imuctr(utlb), value);
    }

    /// Disables a uTLB as `ipmmu_utlb_disable` does.
    pub(super) fn detach(&self, utlb: u64) {
        self.machine.write_of(self.mmu, imuctr(utlb), 0);
    }

    /// Disables the context as `ipmmu_domain_destroy_context` does.
    pub(super) fn destroy(self) {
        self.write_all(IMCTR, FLUSH);
        assert!(self.sync());
    }

    fn peek(&self, address: u64) -> u64 {
        let word: u64 = self.machine.ram.read_obj(GuestAddress(address)).unwrap();
        u64::from_le(word)
    }

    /// Returns the address of the entry of the last level for `iova`.
    pub(super) fn entry(&mut self, iova: u64) -> u64 {
        let mut entry = self.pgd + (iova >> 30) * 8;
        for shift in [21, 12] {
            let mut found = self.peek(entry);
            if found == 0 {
                self.clear(self.next_table);
                found = self.next_table | TABLE;
                self.next_table += 0x1000;
                assert!(
                    self.next_table <= RAM + 0x20_0000,
                    "tables end where buffers begin"
                );
                self.machine.poke(entry, found);
            }
            entry = (found & 0xff_ffff_f000) + (iova >> shift & 0x1ff) * 8;
        }
        entry
    }

    /// Maps a page. Mapping does not flush.
    pub(super) fn map(&mut self, iova: u64, page: u64, write: bool) {
        let entry = self.entry(iova);
        let attributes = if write { PAGE_RW } else { PAGE_RO };
        self.machine.poke(entry, page | attributes);
    }

    /// Unmaps a page and flushes.
    pub(super) fn unmap(&mut self, iova: u64) {
        let entry = self.entry(iova);
        assert_ne!(self.peek(entry), 0);
        self.machine.poke(entry, 0);
        self.flush();
    }

    /// Handles the interrupt as `ipmmu_domain_irq` does; `None` if there is nothing to handle.
    pub(super) fn handle_interrupt(&self) -> Option<Handled> {
        let status = self.read(IMSTR);
        // TF, PF, ABORT and MHIT.
        if status & 0x17 == 0 {
            return None;
        }
        let iova = self.read(IMELAR);
        self.write(IMSTR, 0);
        Some(Handled { status, iova })
    }
}

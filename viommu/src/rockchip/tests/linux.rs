//! What the Linux driver of 6.1 does, written anew from what it was seen to do: register by
//! register, and tables as its page-table code writes them.

use vm_memory::{Bytes, GuestAddress};

use super::harness::{
    COMMAND, DISABLE_PAGING, DISABLE_STALL, DTE_ADDR, ENABLE_PAGING, ENABLE_STALL, FORCE_RESET,
    INT_CLEAR, INT_MASK, INT_STATUS, Machine, PAGE_FAULT_ADDR, PAGE_FAULT_DONE, STATUS, ZAP_CACHE,
    ZAP_ONE_LINE, page_at,
};
use crate::test_support::RegisterMachine as _;

const PAGING: u32 = 1;
const STALLED: u32 = 4;
const IS_WRITE: u32 = 0x20;

/// One domain of the driver: tables.
pub(super) struct Domain<'a> {
    machine: &'a Machine,
    /// The directory table.
    pub(super) directory: u64,
    next_table: u64,
}

/// What the interrupt handler makes of a fault.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Handled {
    /// INT_STATUS.
    pub(super) interrupts: u32,
    pub(super) iova: u32,
    pub(super) is_write: bool,
}

/// Returns a machine whose driver has mapped one page, at `iova`, and has read it once.
pub(super) fn with_one_page(tables: u64, iova: u64, page: u64) -> Machine {
    let machine = Machine::v1();
    machine.mark_pages();
    let mut domain = Domain::new(&machine, tables);
    domain.enable().unwrap();
    domain.map(iova, page, true);
    assert_eq!(page_at(&machine.dma(), iova), Some(page));
    machine
}

impl<'a> Domain<'a> {
    /// Makes an empty directory at `tables`; page tables are taken from behind it.
    pub(super) fn new(machine: &'a Machine, tables: u64) -> Self {
        let domain = Self::at(machine, tables);
        domain.clear(tables);
        domain
    }

    /// Takes over the directory at `tables`, for another IOMMU of the same domain.
    pub(super) fn at(machine: &'a Machine, tables: u64) -> Self {
        Self {
            machine,
            directory: tables,
            next_table: tables + 0x1000,
        }
    }

    /// Zeroes a page for a table.
    fn clear(&self, page: u64) {
        let ram = &self.machine.ram;
        ram.write_slice(&[0; 0x1000], GuestAddress(page)).unwrap();
    }

    /// Waits for a bit of STATUS to be as wanted, as the driver does within a millisecond.
    fn wait(&self, bit: u32, wanted: bool) -> bool {
        (0..10).any(|_| (self.machine.read(STATUS) & bit != 0) == wanted)
    }

    fn is(&self, bit: u32) -> bool {
        self.machine.read(STATUS) & bit != 0
    }

    fn enable_stall(&self) -> bool {
        if self.is(STALLED) || !self.is(PAGING) {
            return true;
        }
        self.machine.command(ENABLE_STALL);
        self.wait(STALLED, true)
    }

    fn disable_stall(&self) -> bool {
        if !self.is(STALLED) {
            return true;
        }
        self.machine.command(DISABLE_STALL);
        self.wait(STALLED, false)
    }

    /// Does what `rk_iommu_force_reset` does.
    pub(super) fn force_reset(&self) -> Result<(), &'static str> {
        let machine = self.machine;
        let dummy = 0xcafe_babe & 0xffff_f000;
        machine.write(DTE_ADDR, dummy);
        if machine.read(DTE_ADDR) != dummy {
            return Err("Error during raw reset. MMU_DTE_ADDR is not functioning");
        }
        machine.command(FORCE_RESET);
        // For 100 milliseconds, once in each.
        let done = (0..100).any(|_| machine.read(DTE_ADDR) == 0);
        done.then_some(()).ok_or("FORCE_RESET command timed out")
    }

    /// Attaches as `rk_iommu_enable` does.
    pub(super) fn enable(&self) -> Result<(), &'static str> {
        let machine = self.machine;
        if !self.enable_stall() {
            return Err("Enable stall request timed out");
        }
        self.force_reset()?;
        machine.write(DTE_ADDR, self.directory as u32);
        machine.write(COMMAND, ZAP_CACHE);
        machine.write(INT_MASK, 3);
        if !self.is(PAGING) {
            machine.command(ENABLE_PAGING);
            if !self.wait(PAGING, true) {
                return Err("Enable paging request timed out");
            }
        }
        self.disable_stall();
        Ok(())
    }

    /// Detaches as `rk_iommu_disable` does.
    pub(super) fn disable(&self) {
        let machine = self.machine;
        self.enable_stall();
        if self.is(PAGING) {
            machine.command(DISABLE_PAGING);
            assert!(self.wait(PAGING, false));
        }
        machine.write(INT_MASK, 0);
        machine.write(DTE_ADDR, 0);
        assert!(self.disable_stall());
    }

    /// Returns the address of the entry of the page table for `iova`.
    pub(super) fn entry(&mut self, iova: u64) -> u64 {
        let entry = self.directory + (iova >> 22) * 4;
        let mut found = self.machine.peek(entry);
        if found & 1 == 0 {
            self.clear(self.next_table);
            found = self.next_table as u32 | 1;
            self.next_table += 0x1000;
            self.machine.poke(entry, found);
        }
        u64::from(found & !0xfff) + (iova >> 12 & 0x3ff) * 4
    }

    /// Maps a page, and zaps it.
    pub(super) fn map(&mut self, iova: u64, page: u64, write: bool) {
        let entry = self.entry(iova);
        self.machine
            .poke(entry, page as u32 | if write { 7 } else { 3 });
        self.machine.write(ZAP_ONE_LINE, iova as u32);
    }

    /// Unmaps a page, and zaps it.
    pub(super) fn unmap(&mut self, iova: u64) {
        let entry = self.entry(iova);
        let old = self.machine.peek(entry);
        assert_ne!(old & 1, 0);
        // The rest of the entry stays.
        self.machine.poke(entry, old & !1);
        self.machine.write(ZAP_ONE_LINE, iova as u32);
    }

    /// Handles the interrupt as `rk_iommu_irq` does; `None` if there is nothing to handle.
    pub(super) fn handle_interrupt(&self) -> Option<Handled> {
        let machine = self.machine;
        let interrupts = machine.read(INT_STATUS);
        if interrupts == 0 {
            return None;
        }
        let iova = machine.read(PAGE_FAULT_ADDR);
        let mut is_write = false;
        if interrupts & 1 != 0 {
            is_write = self.is(IS_WRITE);
            machine.command(ZAP_CACHE);
            machine.command(PAGE_FAULT_DONE);
        }
        machine.write(INT_CLEAR, interrupts);
        Some(Handled {
            interrupts,
            iova,
            is_write,
        })
    }
}

//! What the Linux driver of 6.1 does, written anew from what it was seen to do: register by
//! register, and tables as its page-table code writes them.

use vm_memory::{Bytes, GuestAddress};

use super::harness::{
    ATS1PR, CR0, CR0_LINUX, FAR, FSR, FSYNR0, GFSR, GFSYNR1, MAIR0, MAIR1, Machine, PAR, SCTLR,
    SCTLR_LINUX, TCR, TCR2, TLBGSTATUS, TLBGSYNC, TLBIALLH, TLBIALLNSNH, TLBIASID, TLBIVAL,
    TLBSTATUS, TLBSYNC, TTBR0, TTBR1, cb, cbar, cbfrsynra, s2cr, smr,
};
use crate::test_support::RegisterMachine as _;

/// A page: valid, attributes 1, unprivileged, outer shareable, accessed, not global.
pub(super) const PAGE: u64 = 0xe47;
/// A block of the same.
pub(super) const BLOCK: u64 = 0xe45;
/// Writes are not allowed.
pub(super) const READ_ONLY: u64 = 0x80;

/// What the driver's interrupt handlers print.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Handled {
    pub(super) fsr: u32,
    pub(super) iova: u64,
    pub(super) fsynr: u32,
    pub(super) cbfrsynra: u32,
}

/// Resets the SMMU as `arm_smmu_device_reset` does, and probes how many bits SMRs have.
pub(super) fn reset(machine: &Machine) {
    let status = machine.read(GFSR);
    machine.write(GFSR, status);
    for group in 0..16 {
        machine.write(smr(group), 0);
        machine.write(s2cr(group), 0x2_0000);
    }
    for bank in 0..8 {
        machine.write(cb(bank, SCTLR), 0);
        machine.write(cb(bank, FSR), 0xc000_01fe);
    }
    machine.write(TLBIALLH, u32::MAX);
    machine.write(TLBIALLNSNH, u32::MAX);
    machine.write(TLBGSYNC, u32::MAX);
    assert_eq!(machine.read(TLBGSTATUS), 0);
    machine.write(CR0, CR0_LINUX);
}

/// One domain of the driver: a context bank, and tables.
pub(super) struct Domain<'a> {
    pub(super) machine: &'a Machine,
    pub(super) bank: u64,
    /// The table of the first level, with four entries.
    pub(super) first: u64,
    next_table: u64,
}

impl<'a> Domain<'a> {
    /// Makes an empty domain on a bank, with tables from `tables` on, and attaches a stream to it
    /// by the group of the bank's number.
    pub(super) fn new(machine: &'a Machine, bank: u64, tables: u64, stream: u32) -> Self {
        let domain = Self {
            machine,
            bank,
            first: tables,
            next_table: tables + 0x1000,
        };
        domain.clear(tables);
        domain.enable();
        machine.write(smr(bank), 0x8000_0000 | stream);
        machine.write(s2cr(bank), bank as u32);
        domain
    }

    /// Writes what `arm_smmu_write_context_bank` does.
    pub(super) fn enable(&self) {
        let (machine, bank) = (self.machine, self.bank);
        machine.write(0x1800 + 4 * bank, 0);
        machine.write(cbar(bank), 0x1_f300);
        machine.write(cb(bank, TCR2), 0x3_8002);
        machine.write(cb(bank, TCR), 0x8080_2020);
        machine.write_long(cb(bank, TTBR0), bank << 48 | self.first);
        machine.write_long(cb(bank, TTBR1), bank << 48);
        machine.write(cb(bank, MAIR0), 0xf404_ff44);
        machine.write(cb(bank, MAIR1), 0);
        machine.write(cb(bank, SCTLR), SCTLR_LINUX);
    }

    /// Zeroes a page for a table.
    fn clear(&self, page: u64) {
        let ram = &self.machine.ram;
        ram.write_slice(&[0; 0x1000], GuestAddress(page)).unwrap();
    }

    /// Returns the table below an entry, which is made if it is not there.
    fn below(&mut self, entry: u64) -> u64 {
        let mut found = self.machine.peek(entry);
        if found & 1 == 0 {
            self.clear(self.next_table);
            found = self.next_table | 3;
            self.next_table += 0x1000;
            self.machine.poke(entry, found);
        }
        found & !0xfff
    }

    /// Returns the address of the entry of level 2 for an IOVA.
    pub(super) fn second(&mut self, iova: u64) -> u64 {
        self.below(self.first + (iova >> 30) * 8) + (iova >> 21 & 0x1ff) * 8
    }

    /// Returns the address of the entry of level 3 for an IOVA.
    pub(super) fn third(&mut self, iova: u64) -> u64 {
        let second = self.second(iova);
        self.below(second) + (iova >> 12 & 0x1ff) * 8
    }

    /// Maps a page. (Nothing has to be invalidated.)
    pub(super) fn map(&mut self, iova: u64, page: u64, write: bool) {
        let entry = self.third(iova);
        let attributes = if write { PAGE } else { PAGE | READ_ONLY };
        self.machine.poke(entry, page | attributes);
    }

    /// Maps a block of 2 MiB.
    pub(super) fn map_block(&mut self, iova: u64, block: u64) {
        let entry = self.second(iova);
        self.machine.poke(entry, block | BLOCK);
    }

    /// Unmaps a page, invalidates it, and waits until that is complete; returns whether it is.
    pub(super) fn unmap(&mut self, iova: u64) -> bool {
        let entry = self.third(iova);
        assert_ne!(self.machine.peek(entry) & 1, 0);
        self.machine.poke(entry, 0);
        self.invalidate(iova);
        self.sync()
    }

    /// Invalidates a page as `arm_smmu_tlb_inv_range_s1` does.
    pub(super) fn invalidate(&self, iova: u64) {
        let value = iova as u32 & !0xfff | self.bank as u32;
        self.machine.write(cb(self.bank, TLBIVAL), value);
    }

    /// Invalidates everything as `arm_smmu_tlb_inv_context_s1` does.
    pub(super) fn invalidate_all(&self) -> bool {
        let asid = self.bank as u32;
        self.machine.write(cb(self.bank, TLBIASID), asid);
        self.sync()
    }

    /// Waits as `__arm_smmu_tlb_sync` does, for the first few looks.
    pub(super) fn sync(&self) -> bool {
        self.machine.write(cb(self.bank, TLBSYNC), u32::MAX);
        (0..10).any(|_| self.machine.read(cb(self.bank, TLBSTATUS)) & 1 == 0)
    }

    /// Looks an IOVA up as `arm_smmu_iova_to_phys_hard` does.
    pub(super) fn look_up(&self, iova: u64) -> Option<u64> {
        let machine = self.machine;
        machine.write(cb(self.bank, ATS1PR), iova as u32 & !0xfff);
        assert_eq!(machine.read(cb(self.bank, 0x8f0)) & 1, 0);
        let par = machine.read_long(cb(self.bank, PAR));
        (par & 1 == 0).then_some(par & 0xff_ffff_f000 | iova & 0xfff)
    }

    /// Handles the interrupt as `arm_smmu_context_fault` does; `None` if there is nothing to
    /// handle.
    pub(super) fn handle_interrupt(&self) -> Option<Handled> {
        let (machine, bank) = (self.machine, self.bank);
        let fsr = machine.read(cb(bank, FSR));
        if fsr & 0xc000_01fe == 0 {
            return None;
        }
        let handled = Handled {
            fsr,
            fsynr: machine.read(cb(bank, FSYNR0)),
            iova: machine.read_long(cb(bank, FAR)),
            cbfrsynra: machine.read(cbfrsynra(bank)),
        };
        machine.write(cb(bank, FSR), fsr);
        Some(handled)
    }
}

/// Handles the interrupt as `arm_smmu_global_fault` does: returns sGFSR and the stream, if there is
/// one.
pub(super) fn handle_global(machine: &Machine) -> Option<(u32, u32)> {
    let status = machine.read(GFSR);
    let stream = machine.read(GFSYNR1);
    if status == 0 {
        return None;
    }
    machine.write(GFSR, status);
    Some((status, stream & 0xffff))
}

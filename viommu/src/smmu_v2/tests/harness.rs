//! A machine of RAM and one SMMU, with everything it does written down.

use std::sync::Arc;

use vm_memory::GuestMemoryMmap;

use crate::dma::DmaSpace;
use crate::smmu_v2::{SmmuV2, SmmuV2Config};
use crate::test_support::{self, Log, RegisterMachine};

pub(super) use crate::test_support::{RAM, page_at};

/// Offsets of registers of the whole SMMU.
pub(super) const CR0: u64 = 0x00;
pub(super) const GFAR: u64 = 0x40;
pub(super) const GFSR: u64 = 0x48;
pub(super) const GFSYNR0: u64 = 0x50;
pub(super) const GFSYNR1: u64 = 0x54;
pub(super) const TLBIVMID: u64 = 0x64;
pub(super) const TLBIALLNSNH: u64 = 0x68;
pub(super) const TLBIALLH: u64 = 0x6c;
pub(super) const TLBGSYNC: u64 = 0x70;
pub(super) const TLBGSTATUS: u64 = 0x74;

/// Offsets in a bank's page.
pub(super) const SCTLR: u64 = 0x00;
pub(super) const TCR2: u64 = 0x10;
pub(super) const TTBR0: u64 = 0x20;
pub(super) const TTBR1: u64 = 0x28;
pub(super) const TCR: u64 = 0x30;
pub(super) const MAIR0: u64 = 0x38;
pub(super) const MAIR1: u64 = 0x3c;
pub(super) const PAR: u64 = 0x50;
pub(super) const FSR: u64 = 0x58;
pub(super) const FAR: u64 = 0x60;
pub(super) const FSYNR0: u64 = 0x68;
pub(super) const TLBIVA: u64 = 0x600;
pub(super) const TLBIVAA: u64 = 0x608;
pub(super) const TLBIASID: u64 = 0x610;
pub(super) const TLBIALL: u64 = 0x618;
pub(super) const TLBIVAL: u64 = 0x620;
pub(super) const TLBSYNC: u64 = 0x7f0;
pub(super) const TLBSTATUS: u64 = 0x7f4;
pub(super) const ATS1PR: u64 = 0x800;

/// sCR0 as the driver of 6.1 leaves it: enabled, unidentified streams fault, everything is
/// reported.
pub(super) const CR0_LINUX: u32 = 0x1c36;
/// SCTLR as the driver of 6.1 writes it.
pub(super) const SCTLR_LINUX: u32 = 0x1067;

/// Returns the offset of SMR of a group.
pub(super) const fn smr(group: u64) -> u64 {
    0x800 + 4 * group
}

/// Returns the offset of S2CR of a group.
pub(super) const fn s2cr(group: u64) -> u64 {
    0xc00 + 4 * group
}

/// Returns the offset of CBAR of a bank.
pub(super) const fn cbar(bank: u64) -> u64 {
    0x1000 + 4 * bank
}

/// Returns the offset of CBFRSYNRA of a bank.
pub(super) const fn cbfrsynra(bank: u64) -> u64 {
    0x1400 + 4 * bank
}

/// Returns the offset of a register in the page of a bank, of eight.
pub(super) const fn cb(bank: u64, register: u64) -> u64 {
    0x8000 + 0x1000 * bank + register
}

pub(super) struct Machine {
    pub(super) ram: Arc<GuestMemoryMmap>,
    pub(super) smmu: SmmuV2,
    pub(super) log: Arc<Log>,
}

impl Machine {
    pub(super) fn new() -> Self {
        Self::of(&SmmuV2Config::new("smmu"))
    }

    pub(super) fn of(config: &SmmuV2Config) -> Self {
        Self::with(test_support::ram(), config)
    }

    pub(super) fn with(ram: Arc<GuestMemoryMmap>, config: &SmmuV2Config) -> Self {
        let log = Arc::new(Log::default());
        let memory = Arc::clone(&ram);
        let smmu = SmmuV2::new(memory, config, log.interrupt(), log.observers());
        Self { ram, smmu, log }
    }

    pub(super) fn read_long(&self, register: u64) -> u64 {
        let mut word = [0xaa; 8];
        self.smmu.read(register, &mut word);
        u64::from_le_bytes(word)
    }

    pub(super) fn write_long(&self, register: u64, value: u64) {
        self.smmu.write(register, &value.to_le_bytes());
    }

    pub(super) fn dma(&self, stream: u32) -> DmaSpace {
        self.smmu.space(stream)
    }
}

impl RegisterMachine for Machine {
    type Descriptor = u64;

    fn ram(&self) -> &GuestMemoryMmap {
        &self.ram
    }

    fn read_bytes(&self, offset: u64, data: &mut [u8]) {
        self.smmu.read(offset, data);
    }

    fn write_bytes(&self, offset: u64, data: &[u8]) {
        self.smmu.write(offset, data);
    }
}

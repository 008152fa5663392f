//! A machine of RAM and one IOMMU, with everything it does written down.

use std::sync::Arc;

use vm_memory::GuestMemoryMmap;

use crate::dma::DmaSpace;
use crate::rockchip::{Format, RockchipConfig, RockchipIommu};
use crate::test_support::{self, Log, RegisterMachine};

pub(super) use crate::test_support::{RAM, page_at};

/// Offsets of registers.
pub(super) const DTE_ADDR: u64 = 0x00;
pub(super) const STATUS: u64 = 0x04;
pub(super) const COMMAND: u64 = 0x08;
pub(super) const PAGE_FAULT_ADDR: u64 = 0x0c;
pub(super) const ZAP_ONE_LINE: u64 = 0x10;
pub(super) const INT_RAWSTAT: u64 = 0x14;
pub(super) const INT_CLEAR: u64 = 0x18;
pub(super) const INT_MASK: u64 = 0x1c;
pub(super) const INT_STATUS: u64 = 0x20;
pub(super) const AUTO_GATING: u64 = 0x24;

/// Commands.
pub(super) const ENABLE_PAGING: u32 = 0;
pub(super) const DISABLE_PAGING: u32 = 1;
pub(super) const ENABLE_STALL: u32 = 2;
pub(super) const DISABLE_STALL: u32 = 3;
pub(super) const ZAP_CACHE: u32 = 4;
pub(super) const PAGE_FAULT_DONE: u32 = 5;
pub(super) const FORCE_RESET: u32 = 6;

/// Bits of STATUS: idle, and the replay buffer empty.
pub(super) const RESTING: u32 = 0x18;

/// What a driver that handles a page fault has an observer told.
pub(super) const PAGE_FAULT_HANDLED: [&str; 4] = [
    "all translations zapped",
    "page fault acknowledged",
    "interrupts 0x1 cleared",
    "interrupt low",
];

pub(super) struct Machine {
    pub(super) ram: Arc<GuestMemoryMmap>,
    pub(super) iommu: RockchipIommu,
    pub(super) log: Arc<Log>,
}

impl Machine {
    pub(super) fn new(config: &RockchipConfig) -> Self {
        Self::with(test_support::ram(), config)
    }

    pub(super) fn with(ram: Arc<GuestMemoryMmap>, config: &RockchipConfig) -> Self {
        let log = Arc::new(Log::default());
        let memory = Arc::clone(&ram);
        let iommu = RockchipIommu::new(memory, config, log.interrupt(), log.observers());
        Self { ram, iommu, log }
    }

    pub(super) fn v1() -> Self {
        Self::new(&RockchipConfig::new("mmu", Format::Bits32))
    }

    pub(super) fn v2() -> Self {
        Self::new(&RockchipConfig::new("mmu", Format::Bits40))
    }

    pub(super) fn command(&self, command: u32) {
        self.write(COMMAND, command);
    }

    pub(super) fn dma(&self) -> DmaSpace {
        self.iommu.space()
    }
}

impl RegisterMachine for Machine {
    type Descriptor = u32;

    fn ram(&self) -> &GuestMemoryMmap {
        &self.ram
    }

    fn read_bytes(&self, offset: u64, data: &mut [u8]) {
        self.iommu.read(offset, data);
    }

    fn write_bytes(&self, offset: u64, data: &[u8]) {
        self.iommu.write(offset, data);
    }
}

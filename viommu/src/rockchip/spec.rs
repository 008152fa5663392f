//! The registers and page tables as data: offsets, bit layouts, numbers. Types only.
//!
//! There is no public manual that describes all of it. Every fact is from the Linux driver,
//! drivers/iommu/rockchip-iommu.c: "6.1" marks what the version in Debian's `linux-source-6.1` uses
//! or names, "7.2" what that of `linux-source-7.2` has besides. "lima" marks what
//! drivers/gpu/drm/lima/lima_regs.h names of the MMU of the Mali-400, which has registers of the
//! same names at the same offsets. What none of them tells is a choice of this model and marked so.

use bitfield_struct::bitfield;
use strum::{FromRepr, IntoStaticStr, VariantArray};

/// Bytes of the window of registers: what device trees of Rockchip's SoCs give one MMU
/// (arch/arm/boot/dts/rk3288.dtsi).
pub const WINDOW: u64 = 0x100;

/// A register, at its offset in the window.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromRepr, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
#[repr(u8)]
pub enum Register {
    /// MMU_DTE_ADDR: the address of the directory table, encoded as an entry is (6.1; for the
    /// 40-bit format 7.2, `rk_iommu_enable`): [`Format::address`].
    DteAddr = 0x00,
    /// MMU_STATUS (6.1): [`Status`]. Read-only.
    Status = 0x04,
    /// MMU_COMMAND (6.1): [`Command`]. That it reads as zero is a choice.
    Command = 0x08,
    /// MMU_PAGE_FAULT_ADDR: the IOVA of the last page fault (6.1). Read-only.
    PageFaultAddr = 0x0c,
    /// MMU_ZAP_ONE_LINE: a write of an IOVA invalidates its translation (6.1). That it reads as
    /// zero is a choice.
    ZapOneLine = 0x10,
    /// MMU_INT_RAWSTAT: interrupts that are pending, masked or not (6.1): [`Interrupts`]. That
    /// writes do nothing is a choice.
    IntRawstat = 0x14,
    /// MMU_INT_CLEAR: a write of ones clears what is pending (6.1). That it reads as zero is a
    /// choice.
    IntClear = 0x18,
    /// MMU_INT_MASK: a one lets the interrupt through (6.1, `rk_iommu_enable`).
    IntMask = 0x1c,
    /// MMU_INT_STATUS: interrupts that are pending and let through (6.1). Read-only.
    IntStatus = 0x20,
    /// MMU_AUTO_GATING: clock gating (6.1, named; 7.2, bit 31). Stored here, and without effect.
    AutoGating = 0x24,
}

impl Register {
    /// Returns the register at `offset` in the window, if there is one.
    pub fn at(offset: u64) -> Option<Self> {
        Self::from_repr(u8::try_from(offset).ok()?)
    }

    /// Returns its name, as the driver's without the `RK_MMU_` before it.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// MMU_STATUS.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Status {
    /// Accesses are translated (6.1).
    pub paging_enabled: bool,
    /// A page fault has not been acknowledged with [`Command::PageFaultDone`] (6.1).
    pub page_fault_active: bool,
    /// Accesses are stalled (6.1).
    pub stall_active: bool,
    /// Nothing is under way (6.1, named).
    pub idle: bool,
    /// No access waits to be made again (6.1, named).
    pub replay_buffer_empty: bool,
    /// The page fault was a write's (6.1).
    pub page_fault_is_write: bool,
    /// The bus master that caused the page fault (lima); always 0 here.
    #[bits(5)]
    pub page_fault_bus_id: u8,
    #[bits(20)]
    __: u32,
    /// Accesses are not stalled (6.1, named); always 0 here, as the driver does not use it.
    pub stall_not_active: bool,
}

/// A command: what is written to MMU_COMMAND (6.1). That other numbers do nothing is a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRepr)]
#[repr(u32)]
pub enum Command {
    /// Accesses are translated from now on.
    EnablePaging = 0,
    /// They are not.
    DisablePaging = 1,
    /// Accesses are stalled, which only an MMU with paging does (`rk_iommu_enable_stall`).
    EnableStall = 2,
    /// They go on.
    DisableStall = 3,
    /// All translations are invalidated.
    ZapCache = 4,
    /// The page fault has been handled.
    PageFaultDone = 5,
    /// All registers are reset; MMU_DTE_ADDR reads as zero when that is done
    /// (`rk_iommu_force_reset`).
    ForceReset = 6,
}

/// MMU_INT_RAWSTAT, MMU_INT_CLEAR, MMU_INT_MASK and MMU_INT_STATUS.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Interrupts {
    /// A page fault (6.1).
    pub page_fault: bool,
    /// No memory answered where an entry of a table was to be read (6.1, "bus read error"; lima,
    /// `READ_BUS_ERROR`).
    pub bus_error: bool,
    #[bits(30)]
    __: u32,
}

/// Log2 of the bytes of a page, and of a table (6.1, `SPAGE_ORDER`).
pub const PAGE_BITS: u8 = 12;

/// The lowest IOVA bit that indexes the directory table (6.1, `RK_IOVA_DTE_SHIFT`).
pub const DIRECTORY_SHIFT: u8 = 22;

/// Entries of a table (6.1, `NUM_DT_ENTRIES`, `NUM_PT_ENTRIES`): ten address bits.
pub const ENTRIES: u32 = 1024;

/// The level of the directory table in faults.
pub const DIRECTORY_LEVEL: u8 = 1;

/// The level of page tables in faults.
pub const PAGE_TABLE_LEVEL: u8 = 2;

/// An entry of the directory table, or of a page table, but for its address: [`Format::address`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Entry {
    /// Something is there (6.1).
    pub valid: bool,
    /// Of a page table: the page may be read (6.1).
    pub readable: bool,
    /// Of a page table: the page may be written (6.1).
    pub writable: bool,
    /// The address and attributes. Of the attributes, cacheability and, in the 40-bit format,
    /// security, nothing is modelled.
    #[bits(29)]
    pub rest: u32,
}

/// The format of entries, and of MMU_DTE_ADDR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// "rockchip,iommu": addresses of 32 bits.
    Bits32,
    /// "rockchip,rk3568-iommu": addresses of 40 bits.
    Bits40,
}

impl Format {
    /// Returns the physical address in an entry. Bits 31:12 are its bits 31:12 (6.1). In the 40-bit
    /// format bits 11:8 are its bits 35:32, and bits 7:4 are 39:36 (6.1, `rk_dte_pt_address_v2`).
    pub const fn address(self, entry: u32) -> u64 {
        let entry = entry as u64;
        let low = entry & 0xffff_f000;
        match self {
            Self::Bits32 => low,
            Self::Bits40 => low | (entry & 0xf00) << 24 | (entry & 0xf0) << 32,
        }
    }

    /// Returns the bits that MMU_DTE_ADDR has: those of an address. The driver writes it with the
    /// low bits of an entry (7.2), and checks that those above are read back (6.1,
    /// `rk_iommu_force_reset`).
    pub const fn directory_mask(self) -> u32 {
        match self {
            Self::Bits32 => 0xffff_f000,
            Self::Bits40 => 0xffff_fff0,
        }
    }
}

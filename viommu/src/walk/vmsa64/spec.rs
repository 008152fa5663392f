//! The VMSAv8-64 stage 1 format as data: granules, levels, descriptors, and what goes into a walk
//! and comes out. Types only.
//!
//! Sections are those of chapter D8, "The AArch64 Virtual Memory System Architecture", of the Arm
//! ARM for A-profile (DDI 0487); names in `code` with a dot are functions of its pseudocode.

use bitfield_struct::bitfield;

use crate::fault::{Access, FaultReason};
use crate::model::Miss;
use crate::walk::Shareability;

/// The last level of lookup, whose entries are pages.
pub const LAST_LEVEL: i8 = 3;

/// The size of tables and of pages (D8.2, "Translation granules").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Granule {
    /// 4 KiB: nine address bits a level.
    Size4K,
    /// 16 KiB: eleven address bits a level.
    Size16K,
    /// 64 KiB: thirteen address bits a level.
    Size64K,
}

impl Granule {
    /// Returns log2 of the bytes of a page.
    pub const fn bits(self) -> u8 {
        match self {
            Self::Size4K => 12,
            Self::Size16K => 14,
            Self::Size64K => 16,
        }
    }

    /// Returns how many address bits a full table looks up: its entries have 8 bytes.
    pub const fn stride(self) -> u8 {
        self.bits() - 3
    }

    /// Returns log2 of the bytes that an entry of `level`, -1 to 3, covers.
    pub const fn shift(self, level: i8) -> u8 {
        // Clamped, so that no level that does not exist can make this overflow.
        let below = if level >= LAST_LEVEL {
            0
        } else if level < -1 {
            4
        } else {
            LAST_LEVEL.abs_diff(level)
        };
        self.bits() + self.stride() * below
    }

    /// Returns the granule for TCR_EL1.TG0, of which only bits \[1:0\] count. The reserved value
    /// 0b11 is taken for 64 KiB.
    pub const fn from_tg0(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Size4K,
            2 => Self::Size16K,
            _ => Self::Size64K,
        }
    }

    /// Returns the granule for TCR_EL1.TG1, whose encoding differs from TG0's. The reserved value
    /// 0b00 is taken for 64 KiB.
    pub const fn from_tg1(bits: u8) -> Self {
        match bits & 3 {
            2 => Self::Size4K,
            1 => Self::Size16K,
            _ => Self::Size64K,
        }
    }
}

/// A size of physical addresses: TCR_EL1.IPS, or what an implementation has
/// (ID_AA64MMFR0_EL1.PARange).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressSize {
    /// 0b000: 4 GiB.
    Bits32,
    /// 0b001: 64 GiB.
    Bits36,
    /// 0b010: 1 TiB.
    Bits40,
    /// 0b011: 4 TiB.
    Bits42,
    /// 0b100: 16 TiB.
    Bits44,
    /// 0b101: 256 TiB.
    Bits48,
    /// 0b110: 4 PiB (FEAT_LPA, FEAT_LPA2).
    Bits52,
}

impl AddressSize {
    /// Returns the size for IPS or PARange. 0b111, which VMSAv8-64 does not have, is taken for the
    /// largest.
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 7 {
            0 => Self::Bits32,
            1 => Self::Bits36,
            2 => Self::Bits40,
            3 => Self::Bits42,
            4 => Self::Bits44,
            5 => Self::Bits48,
            _ => Self::Bits52,
        }
    }

    /// Returns the number of bits.
    pub const fn bits(self) -> u8 {
        match self {
            Self::Bits32 => 32,
            Self::Bits36 => 36,
            Self::Bits40 => 40,
            Self::Bits42 => 42,
            Self::Bits44 => 44,
            Self::Bits48 => 48,
            Self::Bits52 => 52,
        }
    }
}

/// TCR_EL1, as far as stage 1 walks depend on it (D24, "TCR_EL1, Translation Control Register").
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct TcrEl1 {
    /// T0SZ: the lower half has 64 - T0SZ address bits.
    #[bits(6)]
    pub t0sz: u8,
    __: bool,
    /// EPD0: no walks in the lower half.
    pub epd0: bool,
    #[bits(4)]
    __: u8,
    /// SH0: shareability where descriptors have no field for it.
    #[bits(2)]
    pub sh0: u8,
    /// TG0: see [`Granule::from_tg0`].
    #[bits(2)]
    pub tg0: u8,
    /// T1SZ: the upper half has 64 - T1SZ address bits.
    #[bits(6)]
    pub t1sz: u8,
    __: bool,
    /// EPD1: no walks in the upper half.
    pub epd1: bool,
    #[bits(4)]
    __: u8,
    /// SH1: as SH0.
    #[bits(2)]
    pub sh1: u8,
    /// TG1: see [`Granule::from_tg1`].
    #[bits(2)]
    pub tg1: u8,
    /// IPS: see [`AddressSize::from_bits`].
    #[bits(3)]
    pub ips: u8,
    #[bits(2)]
    __: u8,
    /// TBI0: the top byte of an address in the lower half is ignored.
    pub tbi0: bool,
    /// TBI1: the same of the upper half.
    pub tbi1: bool,
    #[bits(2)]
    __: u8,
    /// HPD0: hierarchical permissions are disabled in the lower half (FEAT_HPDS).
    pub hpd0: bool,
    /// HPD1: the same of the upper half.
    pub hpd1: bool,
    #[bits(16)]
    __: u16,
    /// DS: 52-bit addresses with granules of 4 and 16 KiB (FEAT_LPA2).
    pub ds: bool,
    #[bits(4)]
    __: u8,
}

/// A table descriptor (D8.3.1, "Table descriptor format"), its address aside: where that has 52
/// bits, they depend on the granule.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct TableDescriptor {
    /// Bits \[58:0\]: the type and the address.
    #[bits(59)]
    __: u64,
    /// PXNTable: nothing below is privileged code.
    pub pxn_table: bool,
    /// UXNTable, or XNTable where there is one privilege level: nothing below is (unprivileged)
    /// code.
    pub uxn_table: bool,
    /// APTable\[0\]: no unprivileged access below.
    pub ap_table_no_user: bool,
    /// APTable\[1\]: no writes below.
    pub ap_table_read_only: bool,
    /// NSTable: everything below is Non-secure.
    pub ns_table: bool,
}

/// A block or page descriptor (D8.3.1, "Block descriptor and Page descriptor formats"), its
/// address aside.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct LeafDescriptor {
    /// Bit 0: valid.
    pub valid: bool,
    /// Bit 1: a table above the last level, a page at the last one; otherwise a block.
    pub table_or_page: bool,
    /// AttrIndx\[2:0\]: which byte of MAIR_EL1 describes the memory.
    #[bits(3)]
    pub attr_index: u8,
    /// NS: the output address is Non-secure (for Secure walks).
    pub ns: bool,
    /// AP\[1\]: unprivileged access is permitted.
    pub ap_user: bool,
    /// AP\[2\]: writes are not permitted.
    pub ap_read_only: bool,
    /// SH\[1:0\]; bits \[51:50\] of the address with TCR_EL1.DS.
    #[bits(2)]
    pub shareability: Shareability,
    /// AF: the access flag.
    pub access_flag: bool,
    /// nG: the mapping is of one address space (ASID) only.
    pub not_global: bool,
    /// Bits \[49:12\]: the address, or part of it.
    #[bits(38)]
    __: u64,
    /// GP: branches into it are guarded (FEAT_BTI).
    pub guarded: bool,
    /// DBM: hardware may make it writable (FEAT_HAFDBS).
    pub dirty_bit_modifier: bool,
    /// The contiguous hint.
    pub contiguous: bool,
    /// PXN: no privileged instruction fetches.
    pub pxn: bool,
    /// UXN, or XN where there is one privilege level: no (unprivileged) instruction fetches.
    pub uxn: bool,
    #[bits(9)]
    __: u16,
}

/// What is done with the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Data is read.
    Read,
    /// Data is written.
    Write,
    /// Instructions are fetched.
    Execute,
}

/// An access: what is done, and with which privilege.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vmsa64Access {
    /// What is done.
    pub operation: Operation,
    /// Whether it is privileged (EL1, or SMMUv3's PnU).
    pub privileged: bool,
}

impl Vmsa64Access {
    /// Creates an unprivileged access.
    pub const fn new(operation: Operation) -> Self {
        Self {
            operation,
            privileged: false,
        }
    }

    /// Returns the same access with privilege.
    #[must_use]
    pub const fn with_privilege(self) -> Self {
        Self {
            privileged: true,
            ..self
        }
    }
}

/// Unprivileged, as devices are.
impl From<Access> for Vmsa64Access {
    fn from(access: Access) -> Self {
        Self::new(match access {
            Access::Read => Operation::Read,
            Access::Write => Operation::Write,
        })
    }
}

/// A successful walk: where an address leads, and for which range around it that is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Vmsa64Walked {
    /// The physical address, of up to 52 bits.
    pub output: u64,
    /// Log2 of the size of the naturally aligned range that this answer holds for: that of the
    /// block or page, whatever its contiguous hint says.
    pub size_log2: u8,
    /// The level of the block or page descriptor, 0 to 3.
    pub level: i8,
    /// Reads with the privilege of the access are permitted.
    pub read: bool,
    /// Writes with the privilege of the access are permitted.
    pub write: bool,
    /// Instruction fetches with the privilege of the access are permitted.
    pub execute: bool,
    /// AttrIndx: which byte of MAIR_EL1 describes the memory, 0 to 7.
    pub attr_index: u8,
    /// Shareability: of the descriptor, or TCR_EL1.SHn where that has bits of the address instead.
    pub shareability: Shareability,
    /// The output address is in Non-secure memory.
    pub ns: bool,
    /// The mapping is the same in all address spaces (nG clear).
    pub global: bool,
    /// The descriptor has the contiguous hint.
    pub contiguous: bool,
    /// The descriptor has GP.
    pub guarded: bool,
    /// The descriptor has DBM. No permission depends on it here.
    pub dirty_bit_modifier: bool,
}

/// A walk that gave no translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{reason} at level {level}")]
pub struct Vmsa64Fault {
    /// Why: [`FaultReason::Translation`], [`FaultReason::AddressSize`],
    /// [`FaultReason::AccessFlag`], [`FaultReason::Permission`] or [`FaultReason::WalkAbort`]. An
    /// encoding that the architecture reserves is a translation fault.
    pub reason: FaultReason,
    /// The level of the descriptor at fault, -1 to 3; 0 if none was read: the address is in no
    /// half, walks of its half are disabled, or its table base register is out of range.
    pub level: i8,
}

impl From<Vmsa64Fault> for Miss {
    fn from(fault: Vmsa64Fault) -> Self {
        Self {
            reason: fault.reason,
            // Level -1 has no number there.
            level: u8::try_from(fault.level).ok(),
        }
    }
}

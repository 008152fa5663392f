//! The long-descriptor format (LPAE) as data: descriptor layouts, levels, and what goes into a walk
//! and comes out. Types only. Sections are those of the ARM ARM, DDI 0406C.

use bitfield_struct::bitfield;

use crate::fault::FaultReason;
use crate::model::Miss;

/// A level of translation tables (B3.6, "Long-descriptor translation table format"). With 4 KiB
/// granules and inputs of at most 40 bits there are three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// An entry covers 1 GiB: a table or a block.
    First = 1,
    /// An entry covers 2 MiB: a table or a block.
    Second = 2,
    /// An entry covers 4 KiB: a page.
    Third = 3,
}

impl Level {
    /// Returns the lowest IOVA bit that indexes a table of this level: log2 of the bytes that an
    /// entry covers.
    pub const fn shift(self) -> u8 {
        match self {
            Self::First => 30,
            Self::Second => 21,
            Self::Third => 12,
        }
    }

    /// Returns the level that a table descriptor of this level leads to.
    pub const fn next(self) -> Option<Self> {
        match self {
            Self::First => Some(Self::Second),
            Self::Second => Some(Self::Third),
            Self::Third => None,
        }
    }

    /// Returns the number of the level, 1 to 3.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// Address bits that a table looks up when it is not the first of a walk: 512 entries of 8 bytes.
pub const INDEX_BITS: u8 = 9;

/// A first table may be up to 16 tables put together (B3.6.6, stage 2 "concatenated translation
/// tables"): that many address bits more. The IPMMU's first level for 40-bit inputs is such a
/// table.
pub const CONCATENATED_BITS: u8 = 4;

/// The contiguous hint speaks of 16 adjacent entries (B3.6.2): that many address bits.
pub const CONTIGUOUS_BITS: u8 = 4;

/// Bits \[1:0\] of a descriptor (B3.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DescriptorType {
    /// Bit 0 clear: nothing is mapped, and the other bits are the software's.
    Invalid,
    /// 0b01: a block at levels 1 and 2, reserved at level 3.
    Block,
    /// 0b11: a table at levels 1 and 2, a page at level 3.
    TableOrPage,
}

impl DescriptorType {
    /// Returns the type for bits \[1:0\].
    pub const fn from_bits(bits: u8) -> Self {
        match bits {
            1 => Self::Block,
            3 => Self::TableOrPage,
            // Bit 0 alone decides: 0b10 is as invalid as 0b00.
            _ => Self::Invalid,
        }
    }

    /// Returns bits \[1:0\].
    pub const fn into_bits(self) -> u8 {
        match self {
            Self::Invalid => 0,
            Self::Block => 1,
            Self::TableOrPage => 3,
        }
    }
}

/// A table descriptor of level 1 or 2 (B3.6.1, figure B3-16).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct TableDescriptor {
    /// The type: [`DescriptorType::TableOrPage`].
    #[bits(2)]
    pub kind: DescriptorType,
    #[bits(10)]
    __: u16,
    /// Bits \[47:12\] of the address of the next table. Bits \[47:40\] should be zero on ARMv7.
    #[bits(36)]
    pub frame: u64,
    #[bits(11)]
    __: u16,
    /// PXNTable: nothing below is privileged code.
    pub pxn_table: bool,
    /// XNTable: nothing below is code.
    pub xn_table: bool,
    /// APTable\[0\]: no unprivileged access below.
    pub ap_table_no_user: bool,
    /// APTable\[1\]: no writes below.
    pub ap_table_read_only: bool,
    /// NSTable: everything below is Non-secure (B3.6.3).
    pub ns_table: bool,
}

/// A block descriptor of level 1 or 2, or a page descriptor of level 3 (B3.6.1, B3.6.2).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct LeafDescriptor {
    /// The type: [`DescriptorType::Block`] at levels 1 and 2, [`DescriptorType::TableOrPage`] at
    /// level 3.
    #[bits(2)]
    pub kind: DescriptorType,
    /// AttrIndx\[2:0\]: which byte of MAIR0 and MAIR1 describes the memory.
    #[bits(3)]
    pub attr_index: u8,
    /// NS: the output address is Non-secure (for walks that are Secure so far).
    pub ns: bool,
    /// AP\[1\]: unprivileged access is permitted.
    pub ap_user: bool,
    /// AP\[2\]: writes are not permitted.
    pub ap_read_only: bool,
    /// SH\[1:0\].
    #[bits(2)]
    pub shareability: Shareability,
    /// AF: the access flag.
    pub access_flag: bool,
    /// nG: the mapping is of one address space (ASID) only.
    pub not_global: bool,
    /// Bits \[47:12\] of the output address. Bits \[47:40\] should be zero on ARMv7; a block's low
    /// bits are ignored.
    #[bits(36)]
    pub frame: u64,
    #[bits(4)]
    __: u8,
    /// The contiguous hint: this entry is one of 16 adjacent, aligned ones that map one contiguous
    /// range alike.
    pub contiguous: bool,
    /// PXN: no privileged instruction fetches.
    pub pxn: bool,
    /// XN: no instruction fetches.
    pub xn: bool,
    #[bits(9)]
    __: u16,
}

/// SH\[1:0\]: who else sees accesses to Normal memory coherently (B3.8.2, table B3-25).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Shareability {
    /// 0b00: nobody.
    #[default]
    Non,
    /// 0b01: UNPREDICTABLE.
    Reserved,
    /// 0b10: the outer shareable domain.
    Outer,
    /// 0b11: the inner shareable domain.
    Inner,
}

impl Shareability {
    /// Returns the shareability for SH\[1:0\].
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Non,
            1 => Self::Reserved,
            2 => Self::Outer,
            _ => Self::Inner,
        }
    }

    /// Returns SH\[1:0\].
    pub const fn into_bits(self) -> u8 {
        self as u8
    }
}

/// Whether a translation regime may map Secure memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Security {
    /// A Secure regime: NSTable and NS say which memory is meant, and NSTable holds for everything
    /// below (B3.6.3).
    #[default]
    Secure,
    /// A Non-secure regime as the architecture has it: NSTable and NS are ignored, everything is
    /// Non-secure.
    NonSecure,
    /// A Non-secure regime that insists: every table descriptor must have NSTable and every block
    /// or page NS, one by one, or the access faults. So behaves the IPMMU-VMSA
    /// (drivers/iommu/ipmmu-vmsa.c, `ipmmu_domain_init_context`).
    NonSecureRequired,
}

/// One table base register and what says how to use it: TTBRn with TTBCR.TnSZ and TTBCR.EPDn
/// (B3.6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Physical address of the first table. Bits below the table's own size are ignored.
    pub base: u64,
    /// TnSZ: how many address bits the region is smaller than the input size.
    pub size_offset: u8,
    /// The level of the first table. ARM CPUs derive it from TnSZ, the IPMMU has a field (SL0).
    pub start: Level,
    /// EPDn: no walks; accesses fault.
    pub disabled: bool,
}

impl Region {
    /// Creates a region whose walks are enabled.
    pub const fn new(base: u64, size_offset: u8, start: Level) -> Self {
        Self {
            base,
            size_offset,
            start,
            disabled: false,
        }
    }
}

/// A translation regime: everything that a walk depends on but the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Regime {
    /// Bits of an IOVA, 32 or 40. A higher bit that is set is a translation fault.
    pub input_bits: u8,
    /// Bits of a physical address, at most 48. A table, block or page beyond is an address size
    /// fault.
    pub output_bits: u8,
    /// The region at the bottom of the IOVA space: where the top T0SZ bits are zero.
    pub ttbr0: Region,
    /// The region at the top: where the top T1SZ bits are one, or, with T1SZ = 0, all that is not
    /// in the other.
    pub ttbr1: Option<Region>,
    /// Whether a clear access flag faults. (It always does on ARM CPUs; the IPMMU has IMCTR.AFE.)
    pub access_flag_faults: bool,
    /// Secure or Non-secure.
    pub security: Security,
    /// Whether accesses are made with privilege: not subject to AP\[1\] and APTable\[0\].
    pub privileged: bool,
}

impl Regime {
    /// Returns the regime of an ARMv7 CPU's unprivileged Secure accesses: 32-bit inputs, 40-bit
    /// outputs, `region` alone, and access flag faults.
    pub const fn new(region: Region) -> Self {
        Self {
            input_bits: 32,
            output_bits: 40,
            ttbr0: region,
            ttbr1: None,
            access_flag_faults: true,
            security: Security::Secure,
            privileged: false,
        }
    }
}

/// A successful walk: where an IOVA leads, and for which range around it that is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walked {
    /// The physical address of the IOVA asked for.
    pub output: u64,
    /// Log2 of the size of the naturally aligned range of IOVAs that this answer holds for: 12 (a
    /// page), 21 or 30 (a block), 16, 25 or 34 (those with the contiguous hint), or a smaller one
    /// of these where a block reaches into the other TTBR's region.
    pub size_log2: u8,
    /// The level of the block or page descriptor.
    pub level: Level,
    /// Reads are permitted.
    pub read: bool,
    /// Writes are permitted.
    pub write: bool,
    /// Unprivileged instruction fetches are forbidden (XN or XNTable).
    pub xn: bool,
    /// Privileged instruction fetches are forbidden (PXN or PXNTable).
    pub pxn: bool,
    /// AttrIndx: which byte of the two MAIRs describes the memory, 0 to 7.
    pub attr_index: u8,
    /// Shareability.
    pub shareability: Shareability,
    /// The output address is in Non-secure memory.
    pub ns: bool,
    /// The mapping is the same in all address spaces (nG clear).
    pub global: bool,
    /// The size is that of the contiguous hint.
    pub contiguous: bool,
}

/// A walk that gave no translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{reason} at level {level}")]
pub struct WalkFault {
    /// Why.
    ///
    /// - [`FaultReason::Translation`]: the descriptor is invalid, the IOVA is in no region, walks
    ///   of the region are disabled, or its first table has an impossible size.
    /// - [`FaultReason::Format`]: the descriptor has the reserved type, 0b01 at level 3. For ARM
    ///   CPUs this is a translation fault like any other; the IPMMU tells it apart.
    /// - [`FaultReason::AddressSize`]: a table, block or page lies beyond the output addresses.
    /// - [`FaultReason::Secure`]: NSTable or NS is clear where [`Security::NonSecureRequired`]
    ///   requires it.
    /// - [`FaultReason::AccessFlag`], [`FaultReason::Permission`], [`FaultReason::WalkAbort`]: as
    ///   their names say.
    pub reason: FaultReason,
    /// The level of the descriptor at fault, 1 to 3; 1 if the IOVA is in no region or its walks are
    /// disabled; 0 if it is the table base register.
    pub level: u8,
}

impl From<WalkFault> for Miss {
    fn from(fault: WalkFault) -> Self {
        Self {
            reason: fault.reason,
            level: Some(fault.level),
        }
    }
}

//! The short-descriptor format as data: descriptor layouts, and what goes into a walk and comes
//! out. Types only. Sections are those of the ARM ARM, DDI 0406C.

use bitfield_struct::bitfield;

/// Log2 of the bytes that an entry of the first level covers, a section (B3.5.1).
pub const SECTION_BITS: u8 = 20;

/// Log2 of the bytes of a supersection: 16 entries that are alike (B3.5.1).
pub const SUPERSECTION_BITS: u8 = 24;

/// Log2 of the bytes of a large page: 16 entries that are alike (B3.5.1).
pub const LARGE_PAGE_BITS: u8 = 16;

/// Log2 of the bytes of a small page, which an entry of the second level covers (B3.5.1).
pub const SMALL_PAGE_BITS: u8 = 12;

/// Log2 of the bytes of a full table of the first level: 4096 entries of 4 bytes (B3.5.5).
pub const FIRST_TABLE_BITS: u8 = 14;

/// Log2 of the bytes of a table of the second level: 256 entries of 4 bytes (B3.5.5).
pub const SECOND_TABLE_BITS: u8 = 10;

/// Bits \[1:0\] of a descriptor (B3.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 0b00: nothing is mapped, and the other bits are the software's.
    Invalid,
    /// 0b01: a table at level 1, a large page at level 2.
    TableOrLargePage,
    /// 0b10 and 0b11: a section or supersection at level 1, a small page at level 2. Bit 0 forbids
    /// instruction fetches.
    SectionOrSmallPage,
}

impl Kind {
    /// Returns the kind of a descriptor.
    pub const fn of(descriptor: u32) -> Self {
        match descriptor & 3 {
            0 => Self::Invalid,
            1 => Self::TableOrLargePage,
            _ => Self::SectionOrSmallPage,
        }
    }
}

/// A section or supersection, at level 1 (B3.5.1, figure B3-4).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Section {
    #[bits(2)]
    __: u8,
    /// B and C: memory attributes.
    #[bits(2)]
    pub cb: u8,
    /// XN: no instruction fetches.
    pub xn: bool,
    /// The domain of a section; bits \[39:36\] of the address of a supersection.
    #[bits(4)]
    pub domain: u8,
    __: bool,
    /// AP\[1:0\].
    #[bits(2)]
    pub ap_low: u8,
    /// TEX: memory attributes.
    #[bits(3)]
    pub tex: u8,
    /// AP\[2\].
    pub ap_high: bool,
    /// S: shareable.
    pub shared: bool,
    /// nG: of one address space only.
    pub not_global: bool,
    /// It is a supersection.
    pub is_super: bool,
    /// NS: the address is Non-secure.
    pub ns: bool,
    /// Bits \[31:20\] of the address; of a supersection \[31:24\], and \[35:32\] below those.
    #[bits(12)]
    pub base: u16,
}

/// A large or small page, at level 2 (B3.5.1, figure B3-5).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Page {
    #[bits(2)]
    __: u8,
    /// B and C: memory attributes.
    #[bits(2)]
    pub cb: u8,
    /// AP\[1:0\].
    #[bits(2)]
    pub ap_low: u8,
    /// TEX of a small page: memory attributes.
    #[bits(3)]
    pub tex: u8,
    /// AP\[2\].
    pub ap_high: bool,
    /// S: shareable.
    pub shared: bool,
    /// nG: of one address space only.
    pub not_global: bool,
    /// Bits \[31:12\] of the address of a small page; of a large one \[31:16\], with XN and TEX
    /// below them.
    #[bits(20)]
    pub base: u32,
}

/// AP\[2:0\]: who may access (B3.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ap(pub u8);

/// Everything that a walk depends on but the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShortRegime {
    /// TTBR0: the table of the lower region. Bits below the table's own size are ignored.
    pub ttbr0: u32,
    /// TTBR1: the table of the rest.
    pub ttbr1: u32,
    /// TTBCR.N, 0 to 7: the lower region is where so many top bits are zero; all with 0 (B3.5.4).
    /// Higher bits are ignored.
    pub n: u8,
    /// TTBCR.PD0: no walks of the lower region; accesses fault.
    pub lower_disabled: bool,
    /// TTBCR.PD1: the same of the rest.
    pub upper_disabled: bool,
    /// SCTLR.AFE: AP\[0\] is the access flag, and AP\[2:1\] the permissions (B3.7.1).
    pub access_flag: bool,
    /// Accesses are made with privilege.
    pub privileged: bool,
}

/// A successful walk: where an IOVA leads, and for which range around it that is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortWalked {
    /// The physical address of the IOVA asked for, of 40 bits.
    pub output: u64,
    /// Log2 of the size of the naturally aligned range of IOVAs that this answer holds for: 12, 16,
    /// 20 or 24.
    pub size_log2: u8,
    /// Reads are permitted.
    pub read: bool,
    /// Writes are permitted.
    pub write: bool,
    /// TEX\[0\], C and B: which of eight kinds of memory it is, where attributes are remapped
    /// (B3.8.3).
    pub attr_index: u8,
}

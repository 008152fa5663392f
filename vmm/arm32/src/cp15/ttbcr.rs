//! The bits of TTBCR (ARM ARM DDI 0406C B4.1.153).

/// N: width of the prefix that selects TTBR0 (short descriptors).
pub const N: u32 = 7;
/// PD0: walks by TTBR0 fault (short descriptors).
pub const PD0: u32 = 1 << 4;
/// PD1: walks by TTBR1 fault (short descriptors).
pub const PD1: u32 = 1 << 5;
/// EPD0: walks by TTBR0 fault (long descriptors).
pub const EPD0: u32 = 1 << 7;
/// A1: TTBR1 holds the ASID (long descriptors).
pub const A1: u32 = 1 << 22;
/// EPD1: walks by TTBR1 fault (long descriptors).
pub const EPD1: u32 = 1 << 23;
/// EAE: long descriptors.
pub const EAE: u32 = 1 << 31;

/// Bits that exist with EAE clear.
pub const SHORT: u32 = EAE | PD1 | PD0 | N;
/// Bits that exist with EAE set: also SHn, ORGNn, IRGNn and TnSZ.
pub const LONG: u32 = EAE | 0x3f00_0000 | EPD1 | A1 | 0x0007_0000 | 0x3f00 | EPD0 | 7;

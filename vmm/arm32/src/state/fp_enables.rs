//! What enables VFP and Advanced SIMD: bits of CPACR and FPEXC (ARM ARM DDI 0406C B4.1).

/// FPEXC.EN: both are enabled.
pub const EN: u32 = 1 << EN_BIT;
/// Its place.
pub const EN_BIT: u8 = 30;
/// CPACR.ASEDIS: Advanced SIMD is disabled.
pub const ASEDIS: u32 = 1 << 31;
/// CPACR's fields of coprocessors 10 and 11: access at any privilege level.
pub const FULL: u32 = 0b1111 << 20;

//! The bits of SCTLR (ARM ARM DDI 0406C B4.1.130).

/// M: the MMU is on.
pub const M: u32 = 1;
/// A: every access must be aligned.
pub const A: u32 = 1 << 1;
/// C: data caches are on.
pub const C: u32 = 1 << 2;
/// CP15BEN: the CP15 barrier operations work.
pub const CP15BEN: u32 = 1 << 5;
/// SW: SWP and SWPB work.
pub const SW: u32 = 1 << 10;
/// Z: branch prediction is on.
pub const Z: u32 = 1 << 11;
/// I: instruction caches are on.
pub const I: u32 = 1 << 12;
/// V: exception vectors are at 0xffff0000.
pub const V: u32 = 1 << 13;
/// WXN: what may be written may not be executed.
pub const WXN: u32 = 1 << 19;
/// UWXN: PL1 may not execute what PL0 may write.
pub const UWXN: u32 = 1 << 20;
/// EE: exceptions and table walks are big-endian.
pub const EE: u32 = 1 << 25;
/// TRE: TEX remap.
pub const TRE: u32 = 1 << 28;
/// AFE: bit 0 of AP is an access flag.
pub const AFE: u32 = 1 << 29;
/// TE: exceptions are taken to T32.
pub const TE: u32 = 1 << 30;

/// Bits that software may change. The others are fixed on the Cortex-A15 (TRM 4.3.27): HA, FI, VE,
/// NMFI and RR read as zero.
pub const WRITABLE: u32 = M | A | C | CP15BEN | SW | Z | I | V | WXN | UWXN | EE | TRE | AFE | TE;
/// The value at reset: bits 23, 22, 18, 16, 6, 4 and 3 always read as one; CP15BEN is set.
pub const RESET: u32 = 0x00c5_0078;

//! Identification registers: those of a Cortex-A15 r4p0 (TRM DDI 0438I, 4.2 and 4.3) seen from the
//! only world there is.

/// MIDR: Cortex-A15 r4p0. Revisions up to r3p2 have errata whose workarounds would cost guests
/// time.
pub const MIDR: u32 = 0x414f_c0f0;
/// CTR: 64-byte lines, PIPT instruction cache.
pub const CTR: u32 = 0x8444_c004;
/// REVIDR.
pub const REVIDR: u32 = 0x0000_0200;
/// ID_PFR0: A32, T32 with Thumb-2, trivial Jazelle. Unlike the A15, no ThumbEE: the state does not
/// exist here.
pub const PFR0: u32 = 0x0000_0131;
/// ID_PFR1: generic timer, Security Extensions as seen from PL1 (VBAR); no Hyp mode.
pub const PFR1: u32 = 0x0001_0011;
/// ID_DFR0: v7.1 debug by CP14, PMUv2. Unlike the A15, neither debug nor trace is memory-mapped.
pub const DFR0: u32 = 0x0200_0055;
/// ID_MMFR0: VMSAv7 with LPAE and PXN.
pub const MMFR0: u32 = 0x1020_1105;
/// ID_MMFR1.
pub const MMFR1: u32 = 0x2000_0000;
/// ID_MMFR2: CP15 barriers, TLB operations by MVA, ASID and all ASIDs.
pub const MMFR2: u32 = 0x0124_0000;
/// ID_MMFR3: maintenance broadcast, 40-bit addresses.
pub const MMFR3: u32 = 0x0210_2211;
/// ID_ISAR0: SDIV and UDIV in both instruction sets.
pub const ISAR0: u32 = 0x0210_1110;
/// ID_ISAR1.
pub const ISAR1: u32 = 0x1311_2111;
/// ID_ISAR2.
pub const ISAR2: u32 = 0x2123_2041;
/// ID_ISAR3. Unlike the A15, no ThumbEE (see [`PFR0`]).
pub const ISAR3: u32 = 0x0111_2131;
/// ID_ISAR4.
pub const ISAR4: u32 = 0x1001_1142;
/// CLIDR: separate first-level caches and a unified second level.
pub const CLIDR: u32 = 0x0a20_0023;

/// Returns CCSIDR for the value of CSSELR; 0 for a cache that does not exist (UNKNOWN in the
/// architecture).
pub const fn ccsidr(csselr: u32) -> u32 {
    match csselr & 15 {
        // 32 KiB each, 2 ways, 64-byte lines.
        0 => 0x701f_e00a,
        1 => 0x201f_e00a,
        // 512 KiB, 16 ways: the smallest that an A15 has, for loops by set and way are pure cost
        // here.
        2 => 0x703f_e07a,
        _ => 0,
    }
}

/// Returns MPIDR: multiprocessing format, one cluster, not a uniprocessor, no multithreading.
pub const fn mpidr(cpu_index: u8) -> u32 {
    1 << 31 | cpu_index as u32
}

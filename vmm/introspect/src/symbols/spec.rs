//! The kallsyms tables as a kernel's build lays them out, 4.12 to 7.x (scripts/kallsyms.c,
//! kernel/kallsyms.c).
//!
//! All words are little-endian. Each table begins at a multiple of 4 bytes, of 16 in the oldest
//! kernels (`.align 4`); in 64-bit kernels of 8 bytes, where the relative base has as many and
//! offsets still have four.
//!
//! | kernels | order |
//! |---|---|
//! | up to 6.3 | addresses *or* offsets, relative base; number of symbols, names, markers, (sequence,) tokens, token index |
//! | from 6.4 | number of symbols, names, markers, tokens, token index, addresses *or* offsets, relative base, sequence |
//! | from 7.0, 32 bits | the same with addresses only (ARM32 is not relocatable) and no base |
//! | from 7.0, 64 bits | the same with distances from each entry's own place to the symbol, and no base |
//!
//! The sequence of names came with 6.2 and went into stable kernels as old as 6.1: 3 bytes a symbol
//! (4 for a short time).

/// Tokens that names are compressed with, one for each value of a byte.
pub const TOKENS: usize = 256;
/// Symbols between two markers.
pub const MARKER_STEP: usize = 256;
/// The longest name with its type letter, in bytes: KSYM_NAME_LEN is 128, since 6.1 it is 512.
pub const MAX_NAME: usize = 512;
/// The fewest symbols taken for real: the smallest kernels have thousands, and among a few words
/// anything ascends.
pub const MIN_SYMBOLS: usize = 512;
/// The most symbols taken for real. Distribution kernels have about 100 thousand.
pub const MAX_SYMBOLS: usize = 1 << 20;
/// The most bytes that all names together may have: a real kernel needs 3 MiB.
pub const MAX_ARENA: usize = 64 << 20;
/// The largest gap that alignment leaves between two tables, in bytes.
pub const MAX_PAD: usize = 12;
/// The lowest address at which the kernel half of the address space begins (CONFIG_VMSPLIT_1G).
pub const LOWEST_KERNEL: u32 = 0x4000_0000;
/// Symbols of the exception vectors were linked at address 0 and up in older kernels: a relative
/// base below this is theirs.
pub const VECTORS_END: u32 = 0x1_0000;
/// The lowest address at which a 64-bit kernel is mapped: bits 63 to 48 of its half of the address
/// space are ones, also with 52 bits of addresses (Documentation/arch/arm64/memory.rst).
pub const LOWEST_KERNEL_64: u64 = 0xffff << 48;
/// A 64-bit kernel's image is smaller than this, in bytes; distribution kernels have 30 to 40 MiB.
pub const MAX_IMAGE: u64 = 1 << 30;
/// A kernel's image begins at a page, in bytes.
pub const PAGE: usize = 0x1000;

/// The header of an arm64 kernel (Documentation/arch/arm64/booting.rst).
pub mod header {
    /// The offset of the magic number.
    pub const MAGIC_AT: usize = 0x38;
    /// `ARM\x64`.
    pub const MAGIC: u32 = 0x644d_5241;
    /// `B` (DDI 0487, C6.2.26) ...
    pub const BRANCH: u32 = 0b000101 << 26;
    /// ... and its distance in words, where that is forward.
    pub const FORWARD: u32 = (1 << 25) - 1;
    /// The symbol that it leads to: the name since 5.8, and before.
    pub const ENTRIES: [&str; 2] = ["primary_entry", "stext"];
}

/// The form of the length before a compressed name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lengths {
    /// One byte, as up to 6.0.
    Byte,
    /// ULEB128 in one or two bytes, as from 6.1.
    Uleb,
}

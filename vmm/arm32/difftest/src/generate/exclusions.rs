//! What is left out of the comparison, and why.

use crate::case::Word;

/// A reason for which an instruction is not generated. Most are forms whose effect the architecture
/// leaves open, where nothing could be learnt from a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exclusion {
    /// A register named by the instruction may not be PC: UNPREDICTABLE.
    Pc,
    /// Two registers of the instruction may not be the same: UNPREDICTABLE, or one result is
    /// UNKNOWN.
    SameRegister,
    /// A register list that makes the instruction UNPREDICTABLE, or stores an UNKNOWN value.
    RegisterList,
    /// Exception entry and return, SPSR and banked registers: UNPREDICTABLE in User mode.
    Privileged,
    /// A system call, WFI: would leave the test program.
    Supervisor,
    /// MSR that writes CPSR.E: the architecture lets User mode do that, QEMU does not.
    EndianByMsr,
    /// Coprocessors 14 and 15: what User mode may read there differs from machine to machine.
    SystemRegisters,
    /// Coprocessors 1 and 2: `qemu-arm` emulates the FPA of old machines, as some kernels did; here
    /// they are UNDEFINED.
    FloatingPointAccelerator,
    /// The undefined instructions that Linux takes for breakpoints: a different signal.
    LinuxBreakpoint,
    /// Coprocessor 9, which Armv8.2 uses for half-precision arithmetic: QEMU executes its VLDR and
    /// VSTR on an ARMv7 core too.
    HalfPrecision,
    /// An exclusive access whose base another instruction of its IT block may change: pairs of
    /// different sizes would come about, which are UNPREDICTABLE.
    ExclusiveBase,
    /// Exclusive accesses and SETEND in one case: QEMU lets a STREXD fail after the order of bytes
    /// changed.
    ExclusiveEndian,
    /// VMSR of a value that another instruction of its IT block may change: short vectors, which a
    /// Cortex-A15 lacks (their bits read as zero here), would make later instructions UNDEFINED in
    /// QEMU.
    ShortVectors,
    /// May not stand in an IT block, or only at its end: UNPREDICTABLE.
    InItBlock,
    /// Not a decodable instruction after its fields were chosen.
    NoInstruction,
    /// Branches whose target cannot be set up: they would land anywhere.
    WildBranch,
    /// A vector operation that reads and writes its two registers may not name one twice: UNKNOWN
    /// results.
    SameVector,
}

/// Words that are UNDEFINED here because they are UNPREDICTABLE, and that QEMU executes in some
/// way: mask, value. The first halfword of T32 is in the upper half.
const UNPREDICTABLE_A32: &[(u32, u32)] = &[
    // CPS that changes nothing, or with imod = 01.
    (0xfff1_0020, 0xf100_0000),
    // Element loads and stores of Advanced SIMD: PC as base, registers past D31.
    (0xff10_0000, 0xf400_0000),
];
/// The same for T32.
const UNPREDICTABLE_T32: &[(u32, u32)] = &[
    (0xff10_0000, 0xf900_0000),
    // Data processing with a shifted register: bit 15 should be zero.
    (0xfe00_8000, 0xea00_8000),
    // Saturation and bit fields: bits that should be zero, fields past bit 31.
    (0xff10_8000, 0xf300_0000),
    // MSR, MRS, hints, CPS and barriers: bits that should be zero or one.
    (0xff80_d000, 0xf380_8000),
];
/// The same for both.
const UNPREDICTABLE_BOTH: &[(u32, u32)] = &[
    // Transfers between core and VFP registers: PC, or one register twice.
    (0x0f00_0e10, 0x0e00_0a10),
    (0x0fe0_0e00, 0x0c40_0a00),
    // Conversions to and from fixed point: more fraction bits than bits.
    (0x0fba_0e50, 0x0eba_0a40),
];

/// Returns whether a word that is not decodable is one that may do something else in QEMU: see the
/// lists above, and [`Exclusion::FloatingPointAccelerator`], [`Exclusion::HalfPrecision`],
/// [`Exclusion::SystemRegisters`].
pub fn may_execute(word: Word) -> bool {
    let (bits, list) = match word {
        Word::A32(bits) => (bits, UNPREDICTABLE_A32),
        Word::Wide(bits) => (bits, UNPREDICTABLE_T32),
        // HLT of Armv8, by which QEMU offers semihosting.
        Word::Narrow(bits) => return bits & 0xffc0 == 0xba80,
    };
    let matches = |list: &[(u32, u32)]| list.iter().any(|(mask, value)| bits & mask == *value);
    let coprocessor =
        bits & 0x0c00_0000 == 0x0c00_0000 && matches!((bits >> 8) & 15, 1 | 2 | 9 | 14 | 15);
    matches(list) || matches(UNPREDICTABLE_BOTH) || coprocessor
}

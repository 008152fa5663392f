//! What is left out of the comparison, and why.

/// A reason for which an instruction is not generated. Most are forms whose effect the architecture leaves open, where
/// nothing could be learnt from a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exclusion {
    /// A register named by the instruction may not be PC: UNPREDICTABLE.
    Pc,
    /// Two registers of the instruction may not be the same: UNPREDICTABLE, or one result is UNKNOWN.
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
    /// Coprocessors 1 and 2: `qemu-arm` emulates the FPA of old machines, as some kernels did; here they are UNDEFINED.
    FloatingPointAccelerator,
    /// The undefined instructions that Linux takes for breakpoints: a different signal.
    LinuxBreakpoint,
    /// Coprocessor 9, which Armv8.2 uses for half-precision arithmetic: QEMU executes its VLDR and VSTR on an ARMv7 core too.
    HalfPrecision,
    /// An exclusive access whose base another instruction of its IT block may change: pairs of different sizes would
    /// come about, which are UNPREDICTABLE.
    ExclusiveBase,
    /// Exclusive accesses and SETEND in one case: QEMU lets a STREXD fail after the order of bytes changed.
    ExclusiveEndian,
    /// VMSR of a value that another instruction of its IT block may change: short vectors, which a Cortex-A15 lacks (their
    /// bits read as zero here), would make later instructions UNDEFINED in QEMU.
    ShortVectors,
    /// May not stand in an IT block, or only at its end: UNPREDICTABLE.
    InItBlock,
    /// Not a decodable instruction after its fields were chosen.
    NoInstruction,
    /// Branches whose target cannot be set up: they would land anywhere.
    WildBranch,
    /// A vector operation that reads and writes its two registers may not name one twice: UNKNOWN results.
    SameVector,
}

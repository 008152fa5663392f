//! Numbers of the registers that KVM keeps for a core (Linux, Documentation/virt/kvm/api.rst, 4.68
//! KVM_SET_ONE_REG, and arch/arm64/include/uapi/asm/kvm.h). A 32-bit guest's registers lie in those
//! of AArch64 that the architecture maps them to (Arm ARM DDI 0487, D1.19.1 and G1.12).

/// Registers of an arm64 host (KVM_REG_ARM64), of 64 bits (KVM_REG_SIZE_U64).
const ARM64_U64: u64 = 0x6030_0000_0000_0000;
/// KVM_REG_SIZE_U128 in the place of KVM_REG_SIZE_U64.
const ARM64_U128: u64 = 0x6040_0000_0000_0000;
/// KVM_REG_SIZE_U32.
const ARM64_U32: u64 = 0x6020_0000_0000_0000;
/// KVM_REG_ARM_CORE.
const CORE: u64 = 0x0010 << 16;
/// KVM_REG_ARM64_SYSREG.
const SYSTEM: u64 = 0x0013 << 16;

/// Returns the core register at byte `offset` of `struct kvm_regs`; register numbers count words of
/// 32 bits.
const fn core(offset: u64) -> u64 {
    ARM64_U64 | CORE | (offset / 4)
}

/// Returns the identifier of general-purpose register `n`, 0 to 30.
pub const fn x(n: u64) -> u64 {
    core(8 * n)
}

/// SP_EL0.
pub const SP_EL0: u64 = core(8 * 31);
/// SP_EL1.
pub const SP_EL1: u64 = core(8 * 34);
/// ELR_EL1.
pub const ELR_EL1: u64 = core(8 * 35);
/// SPSR_EL1, where a 32-bit guest has its Supervisor mode's.
pub const SPSR_EL1: u64 = spsr(0);
/// The program counter.
pub const PC: u64 = core(8 * 32);
/// PSTATE, or CPSR.
pub const PSTATE: u64 = core(8 * 33);

/// Returns the identifier of saved program status register `n`: 0 of EL1 and of Supervisor mode,
/// then of Abort, Undefined, IRQ and FIQ mode.
pub const fn spsr(n: u64) -> u64 {
    core(8 * (36 + n))
}

/// Returns the identifier of vector register `n`, 0 to 31, of 128 bits.
pub const fn v(n: u64) -> u64 {
    // In `struct kvm_regs` the vectors begin at 336: the first multiple of 16 behind
    // five SPSRs, which begin at 288.
    ARM64_U128 | CORE | ((336 + 16 * n) / 4)
}

/// FPSR.
pub const FPSR: u64 = ARM64_U32 | CORE | (848 / 4);
/// FPCR.
pub const FPCR: u64 = ARM64_U32 | CORE | (852 / 4);

/// Returns the fields of MRS, as KVM packs them.
pub const fn encoding(op0: u64, op1: u64, crn: u64, crm: u64, op2: u64) -> u64 {
    op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2
}

/// Returns a system register, by the fields of MRS.
pub const fn system(op0: u64, op1: u64, crn: u64, crm: u64, op2: u64) -> u64 {
    ARM64_U64 | SYSTEM | encoding(op0, op1, crn, crm, op2)
}

/// SCTLR_EL1, SCTLR.
pub const SCTLR: u64 = system(3, 0, 1, 0, 0);
/// CPACR_EL1, CPACR.
pub const CPACR: u64 = system(3, 0, 1, 0, 2);
/// TTBR0_EL1, TTBR0.
pub const TTBR0: u64 = system(3, 0, 2, 0, 0);
/// TTBR1_EL1, TTBR1.
pub const TTBR1: u64 = system(3, 0, 2, 0, 1);
/// TCR_EL1; TTBCR in its low half.
pub const TCR: u64 = system(3, 0, 2, 0, 2);
/// ESR_EL1, DFSR.
pub const ESR: u64 = system(3, 0, 5, 2, 0);
/// FAR_EL1; DFAR in its low half and IFAR in its high half.
pub const FAR: u64 = system(3, 0, 6, 0, 0);
/// PAR_EL1, PAR.
pub const PAR: u64 = system(3, 0, 7, 4, 0);
/// MAIR_EL1; PRRR or MAIR0 in its low half, NMRR or MAIR1 in its high half.
pub const MAIR: u64 = system(3, 0, 10, 2, 0);
/// VBAR_EL1, VBAR.
pub const VBAR: u64 = system(3, 0, 12, 0, 0);
/// CONTEXTIDR_EL1, CONTEXTIDR.
pub const CONTEXTIDR: u64 = system(3, 0, 13, 0, 1);
/// TPIDR_EL1, TPIDRPRW.
pub const TPIDR_EL1: u64 = system(3, 0, 13, 0, 4);
/// TPIDR_EL0, TPIDRURW.
pub const TPIDR_EL0: u64 = system(3, 3, 13, 0, 2);
/// TPIDRRO_EL0, TPIDRURO.
pub const TPIDRRO_EL0: u64 = system(3, 3, 13, 0, 3);
/// CNTKCTL_EL1, CNTKCTL.
pub const CNTKCTL: u64 = system(3, 0, 14, 1, 0);
/// DACR32_EL2: DACR of a 32-bit guest.
pub const DACR32: u64 = system(3, 4, 3, 0, 0);
/// IFSR32_EL2: IFSR of a 32-bit guest.
pub const IFSR32: u64 = system(3, 4, 5, 0, 1);
/// FPEXC32_EL2: FPEXC of a 32-bit guest.
pub const FPEXC32: u64 = system(3, 4, 5, 3, 0);

/// PSTATE.SS, and the same bit of a 32-bit guest's CPSR: KVM's own while it steps a core.
pub const SINGLE_STEP: u64 = 1 << 21;

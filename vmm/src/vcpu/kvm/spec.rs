//! Numbers of KVM's interface for arm64 (Linux, Documentation/virt/kvm/api.rst, 4.68 KVM_SET_ONE_REG, and
//! arch/arm64/include/uapi/asm/kvm.h) that kvm-bindings has no constants for.

use kvm_bindings::{KVM_REG_ARM_CORE, KVM_REG_ARM64, KVM_REG_ARM64_SYSREG, KVM_REG_SIZE_U64};

/// The core register at byte `offset` of `struct kvm_regs`; register numbers count words of 32 bits.
const fn core(offset: u64) -> u64 {
    KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE as u64 | (offset / 4)
}

/// General-purpose register `n`, 0 to 30; R0 to R14 of a 32-bit guest are the first of them.
pub const fn x(n: u64) -> u64 {
    core(8 * n)
}

/// The program counter, after 31 general-purpose registers and the stack pointer.
pub const PC: u64 = core(8 * 32);

/// A system register, by what its instruction says (ARM64_SYS_REG).
const fn system(op0: u64, op1: u64, crn: u64, crm: u64, op2: u64) -> u64 {
    let number = op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2;
    KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM64_SYSREG as u64 | number
}

/// Controls of the virtual and of the physical timer, CNTV_CTL_EL0 and CNTP_CTL_EL0 (KVM_REG_ARM_TIMER_CTL,
/// KVM_REG_ARM_PTIMER_CTL), of 32-bit guests too.
pub const TIMERS: [u64; 2] = [system(3, 3, 14, 3, 1), system(3, 3, 14, 2, 1)];

/// Bits of a timer's control (ARM ARM DDI 0487, CNTV_CTL_EL0): it runs.
pub const TIMER_ENABLE: u64 = 1;
/// Its interrupt is masked.
pub const TIMER_IMASK: u64 = 2;

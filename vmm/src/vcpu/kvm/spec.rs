//! Numbers of KVM's interface for arm64 (Linux, Documentation/virt/kvm/api.rst, 4.68 KVM_SET_ONE_REG, and
//! arch/arm64/include/uapi/asm/kvm.h) that kvm-bindings has no constants for.

use kvm_bindings::{KVM_REG_ARM_CORE, KVM_REG_ARM64, KVM_REG_SIZE_U64};

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

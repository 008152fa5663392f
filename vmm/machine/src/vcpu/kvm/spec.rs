//! Numbers of KVM's interface for arm64 and of the architecture that kvm-bindings has no constants
//! for.

use super::super::mirror::spec::system;
pub use super::super::mirror::spec::{PC, encoding, x};

/// Class of a debug exit's syndrome: a software step (Arm ARM DDI 0487 D17.2.37, ESR_EL2.EC: from a
/// lower exception level).
pub const EC_STEP: u32 = 0x32;

/// DBGBCR of a breakpoint on one instruction in the guest's kernel or in a program (D17.3.2): BAS,
/// PMC, E.
pub const BREAKPOINT_CONTROL: u64 = 0xf << 5 | 3 << 1 | 1;

/// Controls of the virtual and of the physical timer, CNTV_CTL_EL0 and CNTP_CTL_EL0
/// (KVM_REG_ARM_TIMER_CTL, KVM_REG_ARM_PTIMER_CTL), of 32-bit guests too.
pub const TIMERS: [u64; 2] = [system(3, 3, 14, 3, 1), system(3, 3, 14, 2, 1)];

/// Bits of a timer's control (ARM ARM DDI 0487, CNTV_CTL_EL0): it runs.
pub const TIMER_ENABLE: u64 = 1;
/// Its interrupt is masked.
pub const TIMER_IMASK: u64 = 2;

/// The virtual counter and, from Linux 6.4 on, the physical one (KVM_REG_ARM_TIMER_CNT,
/// KVM_REG_ARM_PTIMER_CNT): each is the same for all cores.
pub const COUNTERS: [u64; 2] = [system(3, 3, 14, 3, 2), system(3, 3, 14, 0, 1)];

//! Registers of a core in AArch64, as far as observers see them (Arm ARM DDI 0487, D19 for system
//! registers).

use bitfield_struct::bitfield;

/// The state of a core.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aarch64State {
    /// X0 to X30.
    pub x: [u64; 31],
    /// SP_EL0.
    pub sp_el0: u64,
    /// SP_EL1.
    pub sp_el1: u64,
    /// The address of the next instruction.
    pub pc: u64,
    /// The processor's state.
    pub pstate: Pstate,
    /// V0 to V31.
    pub v: [u128; 32],
    /// FPSR.
    pub fpsr: u32,
    /// FPCR.
    pub fpcr: u32,
    /// ELR_EL1.
    pub elr: u64,
    /// SPSR_EL1.
    pub spsr: u64,
    /// SCTLR_EL1.
    pub sctlr: u64,
    /// CPACR_EL1.
    pub cpacr: u64,
    /// TTBR0_EL1.
    pub ttbr0: u64,
    /// TTBR1_EL1.
    pub ttbr1: u64,
    /// TCR_EL1.
    pub tcr: u64,
    /// ESR_EL1.
    pub esr: u64,
    /// FAR_EL1.
    pub far: u64,
    /// PAR_EL1.
    pub par: u64,
    /// MAIR_EL1.
    pub mair: u64,
    /// VBAR_EL1.
    pub vbar: u64,
    /// CONTEXTIDR_EL1.
    pub contextidr: u64,
    /// TPIDR_EL1.
    pub tpidr_el1: u64,
    /// TPIDR_EL0.
    pub tpidr_el0: u64,
    /// TPIDRRO_EL0.
    pub tpidrro_el0: u64,
    /// CNTKCTL_EL1.
    pub cntkctl: u64,
}

/// PSTATE in the form of SPSR_EL1 (Arm ARM DDI 0487 C5.2.19).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Pstate {
    /// M[3:0]: exception level and stack pointer; in AArch32 the mode.
    #[bits(4)]
    pub mode: u8,
    /// M[4]: the core is in AArch32.
    pub aarch32: bool,
    /// T, of AArch32.
    pub thumb: bool,
    /// FIQs are masked.
    pub fiq_masked: bool,
    /// IRQs are masked.
    pub irq_masked: bool,
    /// SErrors are masked.
    pub abort_masked: bool,
    /// Debug exceptions are masked.
    pub debug_masked: bool,
    /// BTYPE.
    #[bits(2)]
    pub branch_type: u8,
    /// SSBS.
    pub ssbs: bool,
    #[bits(7)]
    __: u8,
    /// IL.
    pub illegal: bool,
    /// SS: the software step state.
    pub single_step: bool,
    /// Privileged accesses to memory of programs are refused.
    pub pan: bool,
    /// UAO.
    pub uao: bool,
    #[bits(4)]
    __: u8,
    /// V, C, Z, N.
    #[bits(4)]
    pub flags: u8,
    __: u32,
}

/// M\[3:0\] of EL1 with SP_EL0, and with SP_EL1.
pub const EL1T: u8 = 0b0100;
/// See [`EL1T`].
pub const EL1H: u8 = 0b0101;

impl Aarch64State {
    /// Returns X0 to X30; the stack pointer in use for all above.
    pub fn reg(&self, n: u8) -> u64 {
        match self.x.get(usize::from(n)) {
            Some(x) => *x,
            None => self.sp(),
        }
    }

    /// Writes X0 to X30, and the stack pointer in use for all above.
    pub fn set_reg(&mut self, n: u8, value: u64) {
        match self.x.get_mut(usize::from(n)) {
            Some(x) => *x = value,
            None => self.set_sp(value),
        }
    }

    /// Returns the stack pointer in use.
    pub const fn sp(&self) -> u64 {
        // Programs have SP_EL0 only, and EL1t is the kernel with that one.
        match self.pstate.mode() {
            EL1H => self.sp_el1,
            _ => self.sp_el0,
        }
    }

    /// Writes the stack pointer in use.
    pub const fn set_sp(&mut self, value: u64) {
        match self.pstate.mode() {
            EL1H => self.sp_el1 = value,
            _ => self.sp_el0 = value,
        }
    }

    /// Returns whether the core is in the kernel's exception level.
    pub const fn in_kernel(&self) -> bool {
        !self.pstate.aarch32() && matches!(self.pstate.mode(), EL1T | EL1H)
    }
}

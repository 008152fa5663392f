//! The system registers that a debugger sees, by name (Arm ARM DDI 0487 D19.2).

use vmm_machine::vcpu::Aarch64State;

/// One register, of 64 bits.
pub(super) struct SystemRegister {
    /// Its name, as the architecture has it.
    pub name: &'static str,
    pub read: fn(&Aarch64State) -> u64,
    /// Writes all of its bits.
    pub write: fn(&mut Aarch64State, u64),
}

macro_rules! registers {
    ($($name:literal = $field:ident;)*) => {
        [$(SystemRegister {
            name: $name,
            read: |s| s.$field,
            write: |s, value| s.$field = value,
        }),*]
    };
}

/// The registers that hold state and mean something to whoever debugs a kernel.
pub(super) const REGISTERS: [SystemRegister; 19] = registers! {
    "SP_EL0" = sp_el0;
    "SP_EL1" = sp_el1;
    "ELR_EL1" = elr;
    "SPSR_EL1" = spsr;
    "ESR_EL1" = esr;
    "FAR_EL1" = far;
    "VBAR_EL1" = vbar;
    "SCTLR_EL1" = sctlr;
    "TCR_EL1" = tcr;
    "TTBR0_EL1" = ttbr0;
    "TTBR1_EL1" = ttbr1;
    "MAIR_EL1" = mair;
    "PAR_EL1" = par;
    "CPACR_EL1" = cpacr;
    "CONTEXTIDR_EL1" = contextidr;
    "TPIDR_EL1" = tpidr_el1;
    "TPIDR_EL0" = tpidr_el0;
    "TPIDRRO_EL0" = tpidrro_el0;
    "CNTKCTL_EL1" = cntkctl;
};

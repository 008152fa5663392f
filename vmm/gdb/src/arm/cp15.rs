//! The system registers that a debugger sees, by name (ARM ARM DDI 0406C B4.1).

#![expect(
    clippy::cast_possible_truncation,
    reason = "no more bytes were given than the register has"
)]

use arm32::state::CpuState;

/// One register.
pub(super) struct SystemRegister {
    /// Its name, as the architecture has it.
    pub name: &'static str,
    /// 32 or 64.
    pub bits: u8,
    pub read: fn(&CpuState) -> u64,
    /// Writes all of its bits; `None` if a debugger may not.
    pub write: Option<fn(&mut CpuState, u64)>,
}

macro_rules! registers {
    ($($name:literal: $bits:literal = $($field:ident).+ $(as $cast:ty)?;)*) => {
        &[$(SystemRegister {
            name: $name,
            bits: $bits,
            read: |s| u64::from(s.$($field).+),
            write: Some(|s, value| s.$($field).+ = value $(as $cast)?),
        }),*]
    };
}

/// The registers that hold state and mean something to whoever debugs a kernel.
pub(super) const REGISTERS: &[SystemRegister] = registers! {
    "SCTLR": 32 = cp15.sctlr as u32;
    "ACTLR": 32 = cp15.actlr as u32;
    "CPACR": 32 = cp15.cpacr as u32;
    "TTBR0": 64 = cp15.ttbr0;
    "TTBR1": 64 = cp15.ttbr1;
    "TTBCR": 32 = cp15.ttbcr as u32;
    "DACR": 32 = cp15.dacr as u32;
    "DFSR": 32 = cp15.dfsr as u32;
    "IFSR": 32 = cp15.ifsr as u32;
    "DFAR": 32 = cp15.dfar as u32;
    "IFAR": 32 = cp15.ifar as u32;
    "PAR": 64 = cp15.par;
    "PRRR_MAIR0": 32 = cp15.prrr_mair0 as u32;
    "NMRR_MAIR1": 32 = cp15.nmrr_mair1 as u32;
    "VBAR": 32 = cp15.vbar as u32;
    "CONTEXTIDR": 32 = cp15.contextidr as u32;
    "TPIDRURW": 32 = cp15.tpidrurw as u32;
    "TPIDRURO": 32 = cp15.tpidruro as u32;
    "TPIDRPRW": 32 = cp15.tpidrprw as u32;
    "CSSELR": 32 = cp15.csselr as u32;
    "CNTKCTL": 32 = timer.kernel_control as u32;
    "CNTP_CVAL": 64 = timer.phys.compare;
    "CNTV_CVAL": 64 = timer.virt.compare;
    "FPEXC": 32 = fpexc as u32;
};

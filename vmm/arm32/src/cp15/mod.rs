//! Coprocessors 14 and 15 as MCR, MRC, MCRR and MRRC reach them.

pub mod sctlr;
mod spec;

pub use spec::{Broadcast, CpReg, CpReg64, Effects, Env, TlbFlush, Undefined};

use serde::{Deserialize, Serialize};

use crate::state::CpuState;

/// The system control registers that hold state (ARM ARM DDI 0406C B4.1). Those of timers, performance
/// monitors and debug live in their own structs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cp15 {
    /// Index of this core in the cluster (MPIDR.Aff0).
    pub cpu_index: u8,
    /// SCTLR.
    pub sctlr: u32,
    /// ACTLR.
    pub actlr: u32,
    /// CPACR.
    pub cpacr: u32,
    /// TTBR0 (all 64 bits; short descriptors use the low half).
    pub ttbr0: u64,
    /// TTBR1.
    pub ttbr1: u64,
    /// TTBCR.
    pub ttbcr: u32,
    /// DACR.
    pub dacr: u32,
    /// DFSR.
    pub dfsr: u32,
    /// IFSR.
    pub ifsr: u32,
    /// ADFSR.
    pub adfsr: u32,
    /// AIFSR.
    pub aifsr: u32,
    /// DFAR.
    pub dfar: u32,
    /// IFAR.
    pub ifar: u32,
    /// PAR (all 64 bits).
    pub par: u64,
    /// PRRR, which is MAIR0 when TTBCR.EAE is set.
    pub prrr_mair0: u32,
    /// NMRR, which is MAIR1 when TTBCR.EAE is set.
    pub nmrr_mair1: u32,
    /// AMAIR0.
    pub amair0: u32,
    /// AMAIR1.
    pub amair1: u32,
    /// VBAR.
    pub vbar: u32,
    /// CONTEXTIDR.
    pub contextidr: u32,
    /// TPIDRURW.
    pub tpidrurw: u32,
    /// TPIDRURO.
    pub tpidruro: u32,
    /// TPIDRPRW.
    pub tpidrprw: u32,
    /// CSSELR.
    pub csselr: u32,
    /// L2ECTLR.
    pub l2ectlr: u32,
    /// L2ACTLR.
    pub l2actlr: u32,
    /// ACTLR2.
    pub actlr2: u32,
    /// TEECR (coprocessor 14).
    pub teecr: u32,
    /// TEEHBR (coprocessor 14).
    pub teehbr: u32,
}

/// MRC: reads a 32-bit register.
///
/// # Errors
/// [`Undefined`] when the access is UNDEFINED at the current privilege level.
pub fn read(_state: &mut CpuState, _env: &Env<'_>, _reg: CpReg) -> Result<u32, Undefined> {
    Err(Undefined)
}

/// MCR: writes a 32-bit register.
///
/// # Errors
/// [`Undefined`] when the access is UNDEFINED at the current privilege level.
pub fn write(_state: &mut CpuState, _env: &Env<'_>, _reg: CpReg, _value: u32) -> Result<Effects, Undefined> {
    Err(Undefined)
}

/// MRRC: reads a 64-bit register.
///
/// # Errors
/// [`Undefined`] when the access is UNDEFINED at the current privilege level.
pub fn read64(_state: &mut CpuState, _env: &Env<'_>, _reg: CpReg64) -> Result<u64, Undefined> {
    Err(Undefined)
}

/// MCRR: writes a 64-bit register.
///
/// # Errors
/// [`Undefined`] when the access is UNDEFINED at the current privilege level.
pub fn write64(_state: &mut CpuState, _env: &Env<'_>, _reg: CpReg64, _value: u64) -> Result<Effects, Undefined> {
    Err(Undefined)
}

impl Cp15 {
    /// The registers of core `cpu_index` after reset.
    pub fn reset(cpu_index: u8) -> Self {
        Self { cpu_index, sctlr: sctlr::RESET, ..Self::default() }
    }
}

//! Coprocessors 14 and 15 as MCR, MRC, MCRR and MRRC reach them (ARM ARM DDI 0406C B3.15 to B3.17,
//! B4).
//!
//! [`table`] says what exists and who may touch it; `access` performs the accesses.

mod access;
mod address;
pub mod id;
pub mod sctlr;
mod spec;
pub mod table;
#[cfg(test)]
mod tests;
pub mod ttbcr;

pub use access::{read, read64, write, write64};
pub use spec::{CpReg, CpReg64, Effects, Env, TlbFlush, Undefined};

use serde::{Deserialize, Serialize};

/// The system control registers that hold state (ARM ARM DDI 0406C B4.1). Those of timers,
/// performance monitors and debug live in their own structs.
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

/// ACTLR at reset: SMP (this core takes part in coherency) and IBE (branch predictor maintenance
/// works), as firmware leaves it.
const ACTLR_RESET: u32 = 1 << 6 | 1;
/// ASID bits of a 64-bit TTBR.
const TTBR_ASID: u32 = 48;

impl Cp15 {
    /// Returns the registers of core `cpu_index` after reset.
    pub fn reset(cpu_index: u8) -> Self {
        Self {
            cpu_index,
            sctlr: sctlr::RESET,
            actlr: ACTLR_RESET,
            ..Self::default()
        }
    }

    /// Returns the current address space identifier (B3.9.1).
    #[expect(
        clippy::cast_possible_truncation,
        reason = "an ASID has 8 bits, which are the low ones of its field"
    )]
    pub const fn asid(&self) -> u8 {
        if self.ttbcr & ttbcr::EAE == 0 {
            return self.contextidr as u8;
        }
        let ttbr = if self.ttbcr & ttbcr::A1 != 0 {
            self.ttbr1
        } else {
            self.ttbr0
        };
        (ttbr >> TTBR_ASID) as u8
    }
}

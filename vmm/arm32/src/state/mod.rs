//! What a core *is*: plain data, serialisable, apart from any wiring.

mod banked;
pub(crate) mod fp_enables;
pub(crate) mod psr;
mod reset;

pub use banked::{Banked, bank};
pub use psr::{Flags, Mode, Psr};

use arm32_fpu::FpRegs;
use serde::{Deserialize, Serialize};

use crate::cp15::Cp15;
use crate::debug::registers::Debug;
use crate::pmu::Pmu;
use crate::timer::GenericTimer;

/// The architectural state of one core.
///
/// Caches of translations and of decoded instructions are outside, and may be dropped at any time,
/// as those of hardware. [`ClusterState`](crate::ClusterState) is all that a run goes on from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CpuState {
    /// The general registers of the current mode. `r[15]` is the address of the next instruction to
    /// execute (no pipeline offset) whenever the core is not inside an instruction.
    pub r: [u32; 16],
    /// N, Z, C and V in the form in which instructions produce them.
    pub flags: Flags,
    /// The rest of CPSR: mode, masks, T, E, IT, GE, Q, J.
    pub psr: Psr,
    /// The registers of the modes that are not current.
    pub banked: Banked,
    /// The exclusive monitor, local and global in one.
    pub monitor: Monitor,
    /// `SEV` was executed somewhere since the last `WFE`.
    pub event: bool,
    /// VFP and Advanced SIMD registers and FPSCR.
    pub fp: FpRegs,
    /// FPEXC; only EN (bit 30) and DEX/TFV reads matter here.
    pub fpexc: u32,
    /// System control registers.
    pub cp15: Cp15,
    /// Generic timer registers.
    pub timer: GenericTimer,
    /// Performance monitor registers.
    pub pmu: Pmu,
    /// Debug registers (coprocessor 14).
    pub debug: Debug,
    /// Instructions retired by this core since reset (a failed condition counts).
    pub retired: u64,
}

/// The exclusive monitor of one core.
///
/// Cores take turns, so a store between a load-exclusive and its store-exclusive is seen by
/// comparing memory with the value that was loaded, as well as by address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Monitor {
    /// Whether an exclusive access is open.
    pub open: bool,
    /// Physical address that was marked.
    pub pa: u64,
    /// Bytes that were loaded (1, 2, 4 or 8).
    pub size: u8,
    /// The value that was loaded.
    pub value: u64,
}

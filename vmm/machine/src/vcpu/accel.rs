//! What is common to machines with and without acceleration: what a guest's cores are, and what a
//! host may lack.

use std::io;

use serde::{Deserialize, Serialize};
use vmm_base::Width;

use crate::layout::Range;

/// The interrupt controllers that a machine can have. KVM's must be of the host's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Irqchip {
    /// GICv2: distributor and CPU interface by memory.
    GicV2,
    /// GICv3: distributor and one redistributor a core by memory, CPU interface by system
    /// registers.
    GicV3,
}

/// What the cores of a machine are and where its interrupts go: what of a board depends on its
/// acceleration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Platform {
    /// The guest's registers.
    pub width: Width,
    /// The interrupt controller.
    pub irqchip: Irqchip,
    /// Whether the host's own processor executes the guest.
    pub accelerated: bool,
}

/// Where a machine's interrupt controller is, and how much of it there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GicMap {
    /// Distributor, and CPU interface (GICv2) or redistributors (GICv3).
    pub windows: [Range; 2],
    /// Number of interrupt identifiers, private ones included: a multiple of 32.
    pub irqs: u32,
}

impl Platform {
    /// The machine of the emulated processor.
    pub const EMULATED: Self = Self {
        width: Width::Bits32,
        irqchip: Irqchip::GicV2,
        accelerated: false,
    };
}

/// The reason for which a host's KVM cannot run a guest; each completes the sentence "KVM cannot be
/// used: ...".
#[derive(Debug, thiserror::Error)]
pub enum KvmError {
    /// Another kind of host.
    #[error("this host's processor is not a 64-bit ARM one")]
    OtherHost,
    /// No KVM, or no right to it.
    #[error("/dev/kvm cannot be opened: {0}")]
    Open(io::Error),
    /// 32-bit guests cannot be run.
    #[error("this host's processor has no 32-bit mode for kernels (AArch32 at EL1)")]
    No32Bit,
    /// KVM lacks something that every machine here needs.
    #[error("this host's KVM lacks {0}")]
    Lacks(&'static str),
    /// Neither kind of interrupt controller can be made.
    #[error("this host's KVM has neither a GICv3 nor a GICv2 for guests")]
    NoGic,
    /// A saved state cannot be had or used.
    #[error("the state of its cores is of no use here: {0}")]
    Saved(&'static str),
    /// A call failed.
    #[error("KVM failed to {what}: {source}")]
    Call {
        /// The operation that failed.
        what: &'static str,
        /// The reason.
        source: io::Error,
    },
}

/// The way in which a machine's cores are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acceleration {
    /// By interpretation. If acceleration was asked for where it can be had, why it could not be
    /// had.
    Emulated(Option<String>),
    /// By the host's processor through KVM.
    Kvm,
}

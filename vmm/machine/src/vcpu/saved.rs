//! What KVM keeps of a machine, as plain data.

use serde::{Deserialize, Serialize};
use vmm_base::Width;

use super::accel::{Irqchip, Platform};

/// Cores and interrupt controller of a machine that KVM runs, standing still.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KvmState {
    /// The guest's registers.
    pub width: Width,
    /// The interrupt controller.
    pub irqchip: Irqchip,
    /// The cores.
    pub cores: Vec<KvmCore>,
    /// The interrupt controller's registers.
    pub gic: Vec<GicRegister>,
    /// Interrupts of the devices' lines that are high.
    pub high: Vec<u32>,
}

/// A core.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KvmCore {
    /// Registers by KVM's numbers for them, little-endian.
    pub registers: Vec<(u64, Vec<u8>)>,
    /// Whether the guest has switched it on.
    pub on: bool,
    /// A system error that it is about to take.
    pub system_error: Option<SystemError>,
}

/// An SError, which AArch32 calls an asynchronous abort, that a core has not taken yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SystemError {
    /// What the guest will find in its syndrome register, where the processor lets KVM say so.
    pub syndrome: Option<u64>,
}

/// A register of the interrupt controller, as KVM numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GicRegister {
    /// KVM_DEV_ARM_VGIC_GRP_*.
    pub group: u32,
    /// Number within the group.
    pub attr: u64,
    /// Its value.
    pub value: u64,
}

impl KvmState {
    /// Returns the machine's cores.
    pub const fn platform(&self) -> Platform {
        Platform {
            width: self.width,
            irqchip: self.irqchip,
            accelerated: true,
        }
    }
}

//! The machine's IOMMUs: made, watched and summed up.

mod build;
pub(crate) mod master;
mod saved;
mod tally;

use serde::{Deserialize, Serialize};
use viommu::Event;
use viommu::ipmmu::IpmmuEvent;

pub(super) use build::{Iommus, Surroundings};
pub use master::current_master;
pub use saved::{UnitState, WrongIommu};

/// Sees what happens at the machine's IOMMUs, as it happens.
///
/// Called on the thread that caused the event, a core's, or in host time also that of the devices, with the IOMMU's
/// registers locked: it must not call the machine.
pub trait IommuSink: Send + Sync {
    /// `event` has happened at `iommu`, at this time of the guest's clock.
    fn event(&self, iommu: &IommuInfo, at_ns: u64, event: &IommuEvent<'_>);

    /// A device drives its interrupt line, which has this identifier. Only told if
    /// [`wants_interrupts`](Self::wants_interrupts).
    fn interrupt(&self, device: &str, irq: u32, active: bool) {
        let _ = (device, irq, active);
    }

    /// Whether interrupt lines are wanted too. Asked once, when the machine is made.
    fn wants_interrupts(&self) -> bool {
        false
    }

    /// Whether single accesses ([`Event::Dma`]) are wanted too. Asked once, when the machine is made.
    fn wants_dma(&self) -> bool {
        false
    }
}

/// Something that happened at an IOMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IommuEvent<'e> {
    /// What the guest did to an IPMMU, and what faults it was shown.
    Ipmmu(&'e IpmmuEvent),
    /// What happened to accesses and translations; endpoints are numbered by [`IommuInfo`].
    Path(&'e Event),
}

/// An IOMMU, as a sink sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IommuInfo {
    /// Its name.
    pub name: String,
    /// The name of the IOMMU whose contexts it translates through: the main IPMMU's for a cache of Gen3, else its own.
    pub contexts_of: String,
    /// For each micro-TLB, the names of the devices behind it.
    pub masters: Vec<Vec<String>>,
}

/// What happened at one IOMMU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IommuSummary {
    /// Its name.
    pub name: String,
    /// Its model, as on the command line.
    pub model: String,
    /// Invalidations of a context or of everything.
    pub flushes: u64,
    /// Translations that were found in the page tables and cached.
    pub fills: u64,
    /// Lookups that the translation cache answered. This and the next three are the main IPMMU's on Gen3, for all.
    pub hits: u64,
    /// Lookups that it did not answer.
    pub misses: u64,
    /// Entries that it gave up for others.
    pub evictions: u64,
    /// Mappings that the guest's page tables hold now, in all contexts that are enabled: pages and blocks.
    pub mappings: u64,
    /// Micro-TLBs with a device, and those that something happened to.
    pub utlbs: Vec<UtlbSummary>,
}

/// What happened at one micro-TLB.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UtlbSummary {
    /// Its number.
    pub utlb: u32,
    /// The devices behind it.
    pub devices: Vec<String>,
    /// Times that it was attached to a context.
    pub attaches: u64,
    /// Times that it was disabled.
    pub detaches: u64,
    /// Accesses that were refused.
    pub faults: u64,
    /// Accesses that led, translated or not, to where no memory is.
    pub bus_errors: u64,
}

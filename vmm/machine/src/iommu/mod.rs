//! The machine's IOMMUs: made, watched and summed up.

mod all;
mod both_sinks;
pub(crate) mod models;
mod saved;
mod tally;

use serde::{Deserialize, Serialize};
use viommu::virtio::Exchange;
use viommu::{Event, HitCheck, RegisterEvent};
use vm_memory::Permissions;
use vmm_devices::virtio::iommu::DriverEvent;

use crate::config::IommuModel;

pub(crate) use all::Iommus;
pub use both_sinks::BothSinks;
pub(crate) use models::IommuWindows;
pub use models::UnitState;
pub use saved::WrongIommu;

/// Sees what happens at the machine's IOMMUs, as it happens.
///
/// Called on the thread that caused the event, a core's, or in host time also that of the devices,
/// with the IOMMU's registers locked: it must not call the machine.
pub trait IommuSink: Send + Sync {
    /// Reports that `event` has happened at `iommu`, at this time of the guest's clock.
    fn event(&self, iommu: &IommuInfo, at_ns: u64, event: &IommuEvent<'_>);

    /// Reports that a device drives its interrupt line, which has this identifier. Only called if
    /// [`wants_interrupts`](Self::wants_interrupts).
    fn interrupt(&self, device: &str, irq: u32, active: bool) {
        let _ = (device, irq, active);
    }

    /// Returns whether interrupt lines are wanted too. Asked once, when the machine is made.
    fn wants_interrupts(&self) -> bool {
        false
    }

    /// Returns whether single accesses ([`Event::Dma`]) are wanted too. Asked once, when the
    /// machine is made.
    fn wants_dma(&self) -> bool {
        false
    }

    /// Reports that `device`, which stands behind no IOMMU, accesses memory, at this time of the
    /// guest's clock: the first guest physical address, and the number of bytes. Only called if
    /// [`wants_direct`](Self::wants_direct).
    fn direct(&self, device: &str, at_ns: u64, place: (u64, u64), access: Permissions) {
        let _ = (device, at_ns, place, access);
    }

    /// Returns whether accesses of devices that stand behind no IOMMU are wanted too. Asked once,
    /// when the machine is made.
    fn wants_direct(&self) -> bool {
        false
    }

    /// Returns whether hits of translation caches are to be compared with page tables, for
    /// [`Event::StaleHit`]. Asked once, when the machine is made.
    fn hit_check(&self) -> HitCheck {
        HitCheck::Off
    }
}

/// Something that happened at an IOMMU.
#[derive(Clone, Copy, Debug)]
pub enum IommuEvent<'e> {
    /// What the guest did to the registers of an IOMMU that has them, and what faults it was shown.
    Registers(&'e dyn RegisterEvent),
    /// What the driver of a virtio-iommu did.
    Virtio(&'e VirtioEvent<'e>),
    /// What happened to accesses and translations; endpoints are numbered by [`IommuInfo`], and
    /// domains of a virtio-iommu have their driver's numbers.
    Path(&'e Event),
}

/// What the driver of a virtio-iommu did.
#[derive(Clone, Copy, Debug)]
pub enum VirtioEvent<'e> {
    /// A request was executed.
    Request(&'e Exchange<'e>),
    /// Anything else.
    Driver(DriverEvent),
}

/// An IOMMU, as a sink sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IommuInfo {
    /// Its name.
    pub name: String,
    /// The name of the IOMMU whose contexts it translates through: the main IPMMU's for a cache of
    /// Gen3, else its own.
    pub contexts_of: String,
    /// Its model, whose [`facts`](IommuModel::facts) say what it calls ports and address spaces.
    pub model: IommuModel,
    /// For each micro-TLB or endpoint, the names of the devices behind it.
    pub masters: Vec<Vec<String>>,
    /// The names of the machine's devices, by the [`SourceId`](viommu::SourceId) that events name
    /// them with.
    pub sources: Vec<String>,
}

impl IommuInfo {
    /// Returns the name of the device whose access `event` is about, if it is about one.
    pub fn source(&self, event: &Event) -> Option<&str> {
        let name = self.sources.get(event.source()?.index())?;
        Some(name)
    }
}

/// The counts of one IOMMU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IommuSummary {
    /// Its name.
    pub name: String,
    /// Its model, as on the command line.
    pub model: String,
    /// Invalidations of a context or of everything; of a Rockchip IOMMU or an SMMU also those of
    /// single pages.
    pub flushes: u64,
    /// Translations that were found in the page tables and cached.
    pub fills: u64,
    /// Lookups that the translation cache answered. This and the next three are the main IPMMU's on
    /// Gen3, for all.
    pub hits: u64,
    /// Lookups that it did not answer.
    pub misses: u64,
    /// Entries that it gave up for others.
    pub evictions: u64,
    /// Mappings that the guest's page tables hold now, in all contexts that are enabled: pages and
    /// blocks.
    pub mappings: u64,
    /// Micro-TLBs, or endpoints, with a device, and those that something happened to.
    pub utlbs: Vec<UtlbSummary>,
    /// What only a virtio-iommu has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtio: Option<VirtioIommuSummary>,
}

/// The counts of a virtio-iommu.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtioIommuSummary {
    /// Times that the driver had requests served.
    pub notifications: u64,
    /// Requests that were carried out.
    pub requests: RequestCounts,
    /// Requests that were answered with another status than OK, or not at all.
    pub refused: u64,
    /// Domains that exist now.
    pub domains: u64,
    /// Resets of the device.
    pub resets: u64,
    /// Fault reports that the driver got.
    pub reports: u64,
    /// Fault reports that wait for a buffer of the driver's.
    pub reports_waiting: u64,
    /// Fault reports that were lost for want of buffers.
    pub reports_lost: u64,
}

/// Requests by their type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCounts {
    /// ATTACH.
    pub attach: u64,
    /// DETACH.
    pub detach: u64,
    /// MAP.
    pub map: u64,
    /// UNMAP.
    pub unmap: u64,
    /// PROBE.
    pub probe: u64,
}

/// The counts of one micro-TLB.
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

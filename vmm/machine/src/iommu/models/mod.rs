//! The models of IOMMUs that a machine can have, and what each of them has to be: a new one gets
//! its lines here.

mod bridge;
mod ipmmu;
mod registers;
mod rockchip;
mod smmu_v2;
mod virtio;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use viommu::inject::Faults;
use viommu::ipmmu::IpmmuState;
use viommu::rockchip::RockchipState;
use viommu::smmu_v2::SmmuV2State;
use viommu::{CacheConfig, CacheState, DmaListener, HitCheck};
use vm_device::DeviceMmio;
use vm_fdt::FdtWriter;
use vmm_base::{Clock, Interrupt};
use vmm_devices::ram::DmaSpace;
use vmm_devices::virtio::VirtioDevice;
use vmm_devices::virtio::deferred_work::DeferredWork;

use super::saved::WrongIommu;
use super::tally::TallyState;
use super::{IommuSink, IommuSummary, VirtioIommuSummary};
use crate::config::{Config, IommuModel, Port};
use crate::entry::{Entry, IommuPart, Irq, Role};
use crate::error::Error;
use crate::layout::Range;
use vmm_devices::ram::GuestRam;

/// Returns what the machine knows of a model.
pub(crate) fn model(model: IommuModel) -> Option<&'static dyn Model> {
    match model {
        IommuModel::None => None,
        IommuModel::Ipmmu => Some(&ipmmu::Gen2),
        IommuModel::IpmmuGen3 => Some(&ipmmu::Gen3),
        IommuModel::Rockchip => Some(&rockchip::V1),
        IommuModel::RockchipV2 => Some(&rockchip::V2),
        IommuModel::SmmuV2 => Some(&smmu_v2::Smmu),
        IommuModel::Virtio => Some(&virtio::Virtio),
        IommuModel::Bridge => Some(&bridge::Bridge),
    }
}

/// The windows and interrupts that a board has for IOMMUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IommuWindows {
    /// Physical address of the registers of the first IOMMU of the configuration.
    pub first: u64,
    /// Distance in bytes from one to the next.
    pub stride: u64,
    /// As `first`, for IOMMUs with more registers than `stride` bytes have.
    pub large_first: u64,
    /// Distance in bytes from one of these to the next.
    pub large_stride: u64,
    /// Shared peripheral interrupt of the first; IOMMU `n` has this plus `n`.
    pub first_spi: u32,
    /// Physical address of the registers that all share.
    pub shared: u64,
    /// Shared peripheral interrupt of that.
    pub shared_spi: u32,
}

impl IommuWindows {
    /// Returns the entries of instances that each have a window of their own, of `size` bytes.
    fn each(&self, model: IommuModel, instances: &[(usize, String)], size: u64) -> Vec<Entry> {
        let entry = |(index, name): &(usize, String)| self.instance(model, *index, name, size);
        instances.iter().map(entry).collect()
    }

    /// Returns the entry of IOMMU `index` of the configuration; `size` is that of its registers in
    /// bytes.
    #[expect(clippy::cast_possible_truncation, reason = "there are few IOMMUs")]
    fn instance(&self, model: IommuModel, index: usize, name: &str, size: u64) -> Entry {
        let (first, stride) = if size <= self.stride {
            (self.first, self.stride)
        } else {
            (self.large_first, self.large_stride)
        };
        let base = first + index as u64 * stride;
        let irq = Irq {
            spi: self.first_spi + index as u32,
        };
        Self::entry(model, IommuPart::Instance(index), name, (base, size), irq)
    }

    /// Returns the entry of what all IOMMUs share; `size` is that of its registers in bytes.
    fn shared(&self, model: IommuModel, name: &str, size: u64) -> Entry {
        let irq = Irq {
            spi: self.shared_spi,
        };
        Self::entry(model, IommuPart::Shared, name, (self.shared, size), irq)
    }

    fn entry(
        model: IommuModel,
        part: IommuPart,
        name: &str,
        (base, size): (u64, u64),
        irq: Irq,
    ) -> Entry {
        let mut entry = Entry::new(name, "iommu", &[Range::new(base, size)], irq);
        entry.role = Some(Role::Iommu(model, part));
        // Entries that say so are paired with the machine's virtio slots, in their order.
        entry.virtio = model.facts().virtio;
        entry
    }
}

/// One IOMMU: what the guest has told it, what it has cached, and what was counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitState {
    /// An IPMMU: one instance of Gen2, or all of Gen3.
    Ipmmu {
        /// Its registers.
        registers: IpmmuState,
        /// Its translation cache.
        cache: CacheState,
        /// The counts of each instance.
        tallies: Vec<TallyState>,
    },
    /// A Rockchip IOMMU, of either format.
    Rockchip(SavedUnit<RockchipState>),
    /// An SMMUv2.
    SmmuV2(SavedUnit<SmmuV2State>),
    /// A virtio-iommu, whose driver's doings are saved with its slot.
    Virtio {
        /// Its translation cache.
        cache: CacheState,
        /// The counts.
        tally: TallyState,
        /// The other counts.
        counts: VirtioIommuSummary,
    },
    /// A bridge.
    Bridge {
        /// What it has cached.
        cache: CacheState,
        /// The counts.
        tally: TallyState,
    },
}

/// One IOMMU with registers, which hold `R`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedUnit<R> {
    /// Its registers.
    pub registers: R,
    /// Its translation cache.
    pub cache: CacheState,
    /// The counts.
    pub tally: TallyState,
}

/// What comes of describing a part of an IOMMU: an error is that of the device tree's writer.
pub(crate) type Described = Result<(), vm_fdt::Error>;

/// What comes of a listener, at an IOMMU that its port is one of.
pub(crate) type Listening = Option<Result<(), Box<dyn std::error::Error + Send + Sync>>>;

/// IOMMUs that were made, or a sentence for the user.
pub(crate) type MadeIommus = Result<Vec<Box<dyn IommuDevice>>, Error>;

/// A model of IOMMU: where its instances stand on a board, what they are in a device tree, and how
/// they are made.
pub(crate) trait Model: Sync {
    /// Returns which model it is.
    fn model(&self) -> IommuModel;

    /// Returns the board entries, in `windows`, of these instances: their indices in the
    /// configuration, and names. What they share comes before them, so that a guest's driver finds
    /// it first.
    fn place(&self, instances: &[(usize, String)], windows: &IommuWindows) -> Vec<Entry>;

    /// Returns what a device tree says that it is compatible with, the most exact first.
    fn compatible(&self) -> &'static [&'static str];

    /// Writes what else is special to the model in the device-tree node of `part`. Registers,
    /// interrupt, phandle and `#iommu-cells` are written for it; `shared` is the phandle of the
    /// shared part.
    ///
    /// # Errors
    /// Those of `fdt`.
    fn describe(&self, part: IommuPart, shared: u32, fdt: &mut FdtWriter) -> Described {
        let _ = (part, shared, fdt);
        Ok(())
    }

    /// Makes the IOMMUs at `entries`, which are all of this model on the board, out of reset.
    ///
    /// # Errors
    /// A sentence for the user.
    fn make(&self, entries: &[&Entry], context: &IommuContext<'_>) -> MadeIommus;
}

/// An IOMMU in a machine, or several that share what they cache.
pub(crate) trait IommuDevice: Send + Sync {
    /// Returns what stands at the entry of `role`, if that is one of this IOMMU's.
    fn face(&self, role: Role) -> Option<Face>;

    /// Returns what a device at `port` sees of memory, if the port is one of this IOMMU's.
    fn space(&self, port: Port) -> Option<DmaSpace>;

    /// Takes the listener and has it told of what the device at `port` meets, if the port is one of
    /// this IOMMU's.
    fn listen(&self, port: Port, listener: &mut Option<Box<dyn DmaListener>>) -> Listening;

    /// Returns a way to have a status shown that `port` might be the cause of, if a guest can be
    /// shown one out of nowhere. It answers with the name of the board entry whose interrupt that
    /// is.
    fn show_status(&self, port: Port) -> Option<Box<dyn Fn(u32) -> String + Send + Sync>> {
        let _ = port;
        None
    }

    /// Returns its state, apart from that of its virtio slot if it has one.
    fn save(&self) -> UnitState;

    /// Takes over a saved state; what stands in a virtio slot is restored already. Observers are
    /// told of the attachments.
    ///
    /// # Errors
    /// If it does not fit.
    fn restore(&self, saved: &UnitState) -> Result<(), WrongIommu>;

    /// Returns what happened so far, at each instance.
    fn summaries(&self) -> Vec<IommuSummary>;
}

/// The interface by which a guest reaches an IOMMU.
pub(crate) enum Face {
    /// By registers.
    Window(Arc<dyn DeviceMmio + Send + Sync>),
    /// By the virtio-mmio transport that this stands on.
    Transport(Box<dyn VirtioDevice>),
}

/// Makes the interrupt line of a board entry, if it has one.
pub(crate) type MakeLine<'a> = dyn Fn(&Entry) -> Result<Option<Arc<dyn Interrupt>>, Error> + 'a;

/// The surroundings that IOMMUs are connected to.
pub(crate) struct IommuContext<'a> {
    /// The machine's configuration.
    pub config: &'a Config,
    /// The memory that they translate to.
    pub ram: &'a Arc<GuestRam>,
    /// The interrupt line of a board entry.
    pub line: &'a MakeLine<'a>,
    /// The names of the devices at a port.
    pub masters: &'a dyn Fn(Port) -> Vec<String>,
    /// The names of all devices, by their [`SourceId`](viommu::SourceId).
    pub sources: &'a [String],
    /// The time of events.
    pub clock: &'a Arc<dyn Clock>,
    /// The sink that is told of events.
    pub sink: Option<&'a Arc<dyn IommuSink>>,
    /// The deferred work, where an IOMMU on a transport announces what it cannot do at once.
    pub deferred_work: &'a Arc<DeferredWork>,
    /// The faults that are injected at the IOMMU of a board entry.
    pub faults: &'a dyn Fn(&Entry) -> Faults,
}

impl IommuContext<'_> {
    /// Returns the translation cache of an IOMMU, as the sink wants it.
    pub fn cache(&self) -> CacheConfig {
        let check = self.sink.map_or(HitCheck::Off, |sink| sink.hit_check());
        CacheConfig::default().with_check(check)
    }

    /// Returns the names of the devices at each port of an entry.
    #[expect(clippy::cast_possible_truncation, reason = "an IOMMU has few ports")]
    pub fn masters_of(&self, entry: &Entry, ports: usize) -> Vec<Vec<String>> {
        let at = |port: usize| match entry.iommu_index() {
            // As many as an IOMMU has.
            Some(iommu) => (self.masters)(Port {
                iommu,
                utlb: port as u32,
            }),
            None => Vec::new(),
        };
        (0..ports).map(at).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_is_known_as_what_it_is() {
        for listed in IommuModel::ALL {
            match model(listed) {
                Some(known) => assert_eq!(known.model(), listed),
                None => assert_eq!(listed, IommuModel::None),
            }
        }
    }
}

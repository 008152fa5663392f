//! What stands on a board: devices, each with its windows, interrupts and connections.

use crate::config::{IommuModel, Port};
use crate::layout::{self, Range};

/// A shared peripheral interrupt: its line is high while the cause lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Irq {
    /// Its number among the shared ones.
    pub spi: u32,
}

impl Irq {
    /// Returns the identifier that the interrupt controller gives it.
    pub const fn id(self) -> u32 {
        layout::SPI_BASE + self.spi
    }
}

/// The role by which other parts of a machine find a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The console that the boot loader and the kernel write to.
    Console,
    /// Clock generator `index` of the configuration.
    ClockGenerator(usize),
    /// An IOMMU, or a part of one.
    Iommu(IommuModel, IommuPart),
    /// Disk `index` of the configuration.
    Disk(usize),
}

/// The part of an IOMMU that stands at an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IommuPart {
    /// The IOMMU of this index in the configuration, with the ports of devices.
    Instance(usize),
    /// What all instances share, such as the main IPMMU of R-Car Gen3. It has no ports.
    Shared,
}

/// A device in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name in summaries and in the documentation.
    pub name: String,
    /// The name of its node in the device tree, without the address: what kind of device it is
    /// (Devicetree Specification 2.2.2).
    pub node: &'static str,
    /// What others find it by, if they look for it.
    pub role: Option<Role>,
    /// Whether it stands in a virtio-mmio slot.
    pub virtio: bool,
    /// Whether it is a bus master, whose accesses to memory are traced as its own.
    pub master: bool,
    /// Where its registers are, the first of which names its node.
    pub ranges: Vec<Range>,
    /// Its interrupts, in the order of its binding.
    pub irqs: Vec<Irq>,
    /// How many outputs of it each interrupt is of, which share its line: its node names it as
    /// often.
    pub outputs: usize,
    /// The first register of the device that it is a part of, by which Linux names that, if it is
    /// not the whole of one.
    pub part_of: Option<u64>,
    /// Where it stands behind an IOMMU.
    pub iommu: Option<Port>,
    /// Where else it stands behind IOMMUs, if it has several ports.
    pub other_ports: Vec<Port>,
    /// The clock generators that its probe waits for.
    pub clocks: Vec<usize>,
    /// Whether its node says that it is coherent with the cores' caches.
    pub coherent: bool,
}

impl Entry {
    /// Returns an entry with one interrupt at most, which nobody looks for, behind no IOMMU and
    /// without a clock to wait for.
    pub(crate) fn new(
        name: &str,
        node: &'static str,
        ranges: &[Range],
        irq: impl Into<Option<Irq>>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            node,
            role: None,
            virtio: false,
            master: false,
            ranges: ranges.to_vec(),
            irqs: irq.into().into_iter().collect(),
            outputs: 1,
            part_of: None,
            iommu: None,
            other_ports: Vec::new(),
            clocks: Vec::new(),
            coherent: false,
        }
    }

    /// Returns all places where it stands behind IOMMUs.
    pub fn ports(&self) -> impl Iterator<Item = Port> {
        self.iommu
            .into_iter()
            .chain(self.other_ports.iter().copied())
    }

    /// Returns the index in the configuration of the disk that it is.
    pub const fn disk_index(&self) -> Option<usize> {
        match self.role {
            Some(Role::Disk(index)) => Some(index),
            _ => None,
        }
    }

    /// Returns the index of the IOMMU whose ports are here.
    pub const fn iommu_index(&self) -> Option<usize> {
        match self.role {
            Some(Role::Iommu(_, IommuPart::Instance(index))) => Some(index),
            _ => None,
        }
    }

    /// Returns the first address of its registers, which names it.
    fn base(&self) -> u64 {
        // Every device of a board has a window: 0 is never seen.
        self.ranges.first().map_or(0, |range| range.base)
    }

    /// Returns the name of its node in the device tree, without the path.
    pub fn node_name(&self) -> String {
        format!("{}@{:x}", self.node, self.base())
    }

    /// Returns the name that Linux gives it (drivers/of/device.c, `of_device_make_bus_id`).
    pub fn linux_name(&self) -> String {
        format!("{:x}.{}", self.part_of.unwrap_or(self.base()), self.node)
    }
}

/// Returns the names of `entries`. Of all entries of a board, those of bus masters stand at the
/// index that is the [`SourceId`](viommu::SourceId) of their accesses.
pub(crate) fn names<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> Vec<String> {
    let entries = entries.into_iter();
    entries.map(|entry| entry.name.clone()).collect()
}

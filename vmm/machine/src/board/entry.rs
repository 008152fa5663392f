//! What stands on a board: devices, each with its windows, interrupt and connections.

use crate::config::{IommuModel, Port};
use crate::layout::{self, Range};

/// A shared peripheral interrupt: its line is high while the cause lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Irq {
    /// Its number among the shared ones.
    pub spi: u32,
}

impl Irq {
    /// The identifier that the interrupt controller gives it.
    pub const fn id(self) -> u32 {
        layout::SPI_BASE + self.spi
    }
}

/// The console's interrupt.
pub const UART_IRQ: Irq = Irq {
    spi: layout::UART_SPI,
};
/// The real-time clock's interrupt.
pub const RTC_IRQ: Irq = Irq {
    spi: layout::RTC_SPI,
};

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// Interrupt controller: distributor, and CPU interface (GICv2) or redistributors (GICv3).
    Gic,
    /// Console.
    Uart,
    /// Real-time clock.
    Rtc,
    /// Clock generator `index` of the configuration.
    ClockGenerator(usize),
    /// An IOMMU, or a part of one.
    Iommu(IommuModel, IommuPart),
    /// Disk `index` of the configuration, on virtio-mmio.
    Disk(usize),
    /// Entropy, on virtio-mmio.
    Rng,
}

/// What stands at an entry of an IOMMU.
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
    /// What it is.
    pub device: Device,
    /// Where its registers are.
    pub ranges: Vec<Range>,
    /// Its interrupt.
    pub irq: Option<Irq>,
    /// Where it stands behind an IOMMU.
    pub iommu: Option<Port>,
    /// The clock generators that its probe waits for.
    pub clocks: Vec<usize>,
    /// Whether its node says that it is coherent with the cores' caches.
    pub coherent: bool,
}

impl Entry {
    /// An entry that stands behind no IOMMU and waits for no clock.
    pub(crate) fn plain(name: &str, device: Device, ranges: &[Range], irq: Option<Irq>) -> Self {
        Self {
            name: name.to_owned(),
            device,
            ranges: ranges.to_vec(),
            irq,
            iommu: None,
            clocks: Vec::new(),
            coherent: false,
        }
    }

    /// Whether it stands in a virtio-mmio slot.
    pub const fn is_virtio(&self) -> bool {
        match self.device {
            Device::Disk(_) | Device::Rng => true,
            Device::Iommu(model, _) => model.facts().virtio,
            _ => false,
        }
    }

    /// The index of the IOMMU whose ports are here.
    pub const fn iommu_index(&self) -> Option<usize> {
        match self.device {
            Device::Iommu(_, IommuPart::Instance(index)) => Some(index),
            _ => None,
        }
    }

    /// The name of its node in the device tree, without the path.
    pub fn node_name(&self) -> String {
        let kind = match self.device {
            Device::Gic => "interrupt-controller",
            Device::Uart => "serial",
            Device::Rtc => "rtc",
            Device::ClockGenerator(_) => "clock-controller",
            Device::Iommu(..) => "iommu",
            Device::Disk(_) | Device::Rng => "virtio_mmio",
        };
        format!("{kind}@{:x}", self.ranges[0].base)
    }

    /// What Linux calls it (drivers/of/device.c, `of_device_make_bus_id`).
    pub fn linux_name(&self) -> String {
        match self.node_name().split_once('@') {
            Some((kind, address)) => format!("{address}.{kind}"),
            None => String::new(),
        }
    }
}

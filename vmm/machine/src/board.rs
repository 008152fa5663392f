//! The one description of a machine, from which its bus, its device tree and its documentation are made.

use std::fmt::Write as _;

use super::config::{Config, IommuModel, Port};
use super::layout::{self, Range};
use crate::vcpu::{Irqchip, Platform};

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
    /// IPMMU `index` of the configuration, of R-Car Gen2.
    Ipmmu(usize),
    /// IPMMU `index` of the configuration, of R-Car Gen3: a cache IPMMU.
    IpmmuGen3(usize),
    /// The main IPMMU of R-Car Gen3.
    IpmmuMain,
    /// Virtio-iommu `index` of the configuration, on virtio-mmio.
    VirtioIommu(usize),
    /// Disk `index` of the configuration, on virtio-mmio.
    Disk(usize),
    /// Entropy, on virtio-mmio.
    Rng,
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
    /// Whether it stands in a virtio-mmio slot.
    pub const fn is_virtio(&self) -> bool {
        matches!(
            self.device,
            Device::Disk(_) | Device::Rng | Device::VirtioIommu(_)
        )
    }

    /// The name of its node in the device tree, without the path.
    pub fn node_name(&self) -> String {
        let kind = match self.device {
            Device::Gic => "interrupt-controller",
            Device::Uart => "serial",
            Device::Rtc => "rtc",
            Device::ClockGenerator(_) => "clock-controller",
            Device::Ipmmu(_)
            | Device::IpmmuGen3(_)
            | Device::IpmmuMain
            | Device::VirtioIommu(_) => "iommu",
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

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// Where RAM is.
    pub ram: Range,
    /// Number of cores.
    pub cpus: u8,
    /// What the cores are.
    pub platform: Platform,
    /// Its devices, by address.
    pub devices: Vec<Entry>,
}

impl Board {
    /// The machine that `config`, which must be valid, describes, with emulated cores.
    pub fn new(config: &Config) -> Self {
        Self::on(Platform::EMULATED, config)
    }

    /// The machine that `config`, which must be valid, describes, on `platform`.
    pub fn on(platform: Platform, config: &Config) -> Self {
        let fixed = |name: &str, device, ranges: &[Range], irq| Entry {
            name: name.into(),
            device,
            ranges: ranges.to_vec(),
            irq,
            iommu: None,
            clocks: Vec::new(),
            coherent: false,
        };
        let gic = match platform.irqchip {
            Irqchip::GicV2 => [layout::GICD, layout::GICC],
            Irqchip::GicV3 => [layout::GICV3D, layout::GICR],
        };
        let mut devices = vec![
            fixed("gic", Device::Gic, &gic, None),
            fixed("uart", Device::Uart, &[layout::UART], Some(UART_IRQ)),
            fixed("rtc", Device::Rtc, &[layout::RTC], Some(RTC_IRQ)),
        ];
        let clocks = config.clock_list();
        for (index, name) in clocks.iter().enumerate() {
            let base = layout::CLKGEN.base + index as u64 * layout::CLKGEN_STRIDE;
            let range = Range::new(base, layout::CLKGEN.size);
            devices.push(fixed(name, Device::ClockGenerator(index), &[range], None));
        }
        devices.extend(iommus(config));
        let disks =
            (0..config.disks.len()).map(|index| (format!("disk{index}"), Device::Disk(index)));
        let rng = config.rng.then(|| ("rng".into(), Device::Rng));
        // A configuration whose ports do not exist is not valid.
        let mut ports = config.ports().unwrap_or_default().into_iter();
        for (slot, (name, device)) in disks.chain(rng).enumerate().take(layout::VIRTIO_SLOTS) {
            let base = layout::VIRTIO.base + slot as u64 * layout::VIRTIO_STRIDE;
            let irq = Irq {
                spi: layout::VIRTIO_SPI + slot as u32,
            };
            let disk = match device {
                Device::Disk(index) => config.disks.get(index),
                _ => None,
            };
            let place = |name: &String| clocks.iter().position(|clock| clock == name);
            devices.push(Entry {
                name,
                device,
                ranges: vec![Range::new(base, layout::VIRTIO.size)],
                irq: Some(irq),
                iommu: ports.next().flatten(),
                clocks: disk.map_or(Vec::new(), |d| d.clocks.iter().filter_map(place).collect()),
                coherent: disk.is_some_and(|disk| disk.coherent),
            });
        }
        Self {
            ram: config.ram(),
            cpus: config.cpus,
            platform,
            devices,
        }
    }

    /// The names of all devices. Those of bus masters stand at the index that is the
    /// [`SourceId`](viommu::SourceId) of their accesses.
    pub fn names(&self) -> Vec<String> {
        self.devices
            .iter()
            .map(|entry| entry.name.clone())
            .collect()
    }

    /// The names of the devices that share `port`.
    pub fn masters(&self, port: Port) -> Vec<&str> {
        let behind = self.devices.iter().filter(|e| e.iommu == Some(port));
        behind.map(|entry| entry.name.as_str()).collect()
    }

    /// The name of IOMMU `index`.
    pub fn iommu_name(&self, index: usize) -> Option<&str> {
        self.iommu(index).map(|entry| entry.name.as_str())
    }

    /// What IOMMU `index` calls the place of a device: "uTLB" or "endpoint".
    pub fn port_word(&self, index: usize) -> &'static str {
        match self.iommu(index).map(|entry| entry.device) {
            Some(Device::VirtioIommu(_)) => IommuModel::Virtio.port(),
            _ => IommuModel::Ipmmu.port(),
        }
    }

    fn iommu(&self, index: usize) -> Option<&Entry> {
        self.devices.iter().find(|entry| {
            matches!(entry.device,
                Device::Ipmmu(i) | Device::IpmmuGen3(i) | Device::VirtioIommu(i) if i == index)
        })
    }

    /// The machine as a table in Markdown.
    pub fn table(&self) -> String {
        let mut table =
            String::from("| address | device | interrupt | behind |\n|---|---|---|---|\n");
        for entry in &self.devices {
            let irq = entry
                .irq
                .map_or(String::new(), |irq| format!("SPI {}, level", irq.spi));
            let behind = entry.iommu.map_or(String::new(), |port| {
                let name = self.iommu_name(port.iommu).unwrap_or_default();
                format!("{name}, {} {}", self.port_word(port.iommu), port.utlb)
            });
            for range in &entry.ranges {
                let _ = writeln!(table, "| {range} | {} | {irq} | {behind} |", entry.name);
            }
        }
        let _ = writeln!(table, "| {} | RAM | | |", self.ram);
        table
    }
}

/// The IOMMUs. On Gen3 a cache IPMMU has no interrupt: the main one, which comes first so that a driver finds it
/// first, raises its own.
fn iommus(config: &Config) -> Vec<Entry> {
    let irq = |spi| Some(Irq { spi });
    let list = config.iommu_list();
    let mut entries = Vec::new();
    if list
        .iter()
        .any(|(_, model)| *model == IommuModel::IpmmuGen3)
    {
        entries.push(Entry {
            name: "ipmmu-main".into(),
            device: Device::IpmmuMain,
            ranges: vec![layout::IPMMU_MAIN],
            irq: irq(layout::IPMMU_MAIN_SPI),
            iommu: None,
            clocks: Vec::new(),
            coherent: false,
        });
    }
    for (index, (name, model)) in list.into_iter().enumerate() {
        let base = layout::IPMMU.base + index as u64 * layout::IPMMU_STRIDE;
        let own = irq(layout::IPMMU_SPI + index as u32);
        let (device, irq, size) = match model {
            IommuModel::None => continue,
            IommuModel::Ipmmu => (Device::Ipmmu(index), own, layout::IPMMU.size),
            IommuModel::IpmmuGen3 => (Device::IpmmuGen3(index), None, layout::IPMMU.size),
            IommuModel::Virtio => (Device::VirtioIommu(index), own, layout::VIRTIO.size),
        };
        entries.push(Entry {
            name,
            device,
            ranges: vec![Range::new(base, size)],
            irq,
            iommu: None,
            clocks: Vec::new(),
            coherent: false,
        });
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DiskConfig, IommuConfig, MAX_CLOCKS, MAX_IOMMUS};
    use vmm_base::Width;

    fn full(model: IommuModel) -> Board {
        full_on(Platform::EMULATED, model)
    }

    fn full_on(platform: Platform, model: IommuModel) -> Board {
        let mut disks = vec![DiskConfig::new("d"); layout::MAX_DISKS];
        for (index, disk) in disks.iter_mut().take(MAX_CLOCKS).enumerate() {
            disk.clocks = vec![format!("c{index}")];
        }
        let config = Config {
            disks,
            iommus: vec![IommuConfig::new(model); MAX_IOMMUS],
            cpus: 4,
            ..Config::default()
        };
        Board::on(platform, &config)
    }

    #[test]
    fn nothing_overlaps() {
        for model in [IommuModel::None, IommuModel::Ipmmu, IommuModel::IpmmuGen3] {
            does_not_overlap(&full(model));
        }
        let gicv3 = Platform {
            width: Width::Bits64,
            irqchip: Irqchip::GicV3,
            accelerated: true,
        };
        does_not_overlap(&full_on(gicv3, IommuModel::Ipmmu));
    }

    fn does_not_overlap(board: &Board) {
        let mut ranges: Vec<Range> = board
            .devices
            .iter()
            .flat_map(|e| e.ranges.clone())
            .collect();
        ranges.push(board.ram);
        ranges.sort_by_key(|range| range.base);
        assert!(
            ranges.windows(2).all(|pair| pair[0].end() <= pair[1].base),
            "{ranges:x?}"
        );
        let mut irqs: Vec<u32> = board
            .devices
            .iter()
            .filter_map(|e| e.irq)
            .map(Irq::id)
            .collect();
        assert!(irqs.iter().all(|irq| *irq < layout::IRQS));
        irqs.sort_unstable();
        assert!(irqs.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(
            ranges
                .iter()
                .rev()
                .skip(1)
                .all(|range| range.end() <= layout::RAM_BASE_MIN)
        );
    }

    #[test]
    fn the_table_names_everything() {
        let table = full(IommuModel::Ipmmu).table();
        for word in [
            "gic",
            "uart",
            "rtc",
            "disk0",
            "disk14",
            "rng",
            "RAM",
            "0x09000000",
            "SPI 1, level",
            "ipmmu7 | SPI 47, level |  |",
            "rng | SPI 31, level | ipmmu0, uTLB 15 |",
        ] {
            assert!(table.contains(word), "{word}");
        }
    }
}

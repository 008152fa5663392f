//! The one description of a machine, from which its bus, its device tree and its documentation are made.

mod entry;

use std::fmt::Write as _;

pub use entry::{Device, Entry, IommuPart, Irq, RTC_IRQ, UART_IRQ};

use crate::config::{Config, IommuModel, Port};
use crate::iommu::models;
use crate::layout::{self, Range};
use crate::vcpu::{Irqchip, Platform};

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
        let gic = match platform.irqchip {
            Irqchip::GicV2 => [layout::GICD, layout::GICC],
            Irqchip::GicV3 => [layout::GICV3D, layout::GICR],
        };
        let mut devices = vec![
            Entry::plain("gic", Device::Gic, &gic, None),
            Entry::plain("uart", Device::Uart, &[layout::UART], Some(UART_IRQ)),
            Entry::plain("rtc", Device::Rtc, &[layout::RTC], Some(RTC_IRQ)),
        ];
        let clocks = config.clock_list();
        for (index, name) in clocks.iter().enumerate() {
            let base = layout::CLKGEN.base + index as u64 * layout::CLKGEN_STRIDE;
            let range = Range::new(base, layout::CLKGEN.size);
            devices.push(Entry::plain(
                name,
                Device::ClockGenerator(index),
                &[range],
                None,
            ));
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
            Some(Device::Iommu(model, _)) => model.facts().port_word,
            _ => IommuModel::None.facts().port_word,
        }
    }

    fn iommu(&self, index: usize) -> Option<&Entry> {
        let mut devices = self.devices.iter();
        devices.find(|entry| entry.iommu_index() == Some(index))
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

/// The IOMMUs, each model's in one go and in the order in which the models are listed.
fn iommus(config: &Config) -> Vec<Entry> {
    let list = config.iommu_list();
    let of = |wanted: IommuModel| {
        let all = list.iter().enumerate();
        let those = all.filter(move |(_, (_, model))| *model == wanted);
        those
            .map(|(index, (name, _))| (index, name.clone()))
            .collect::<Vec<_>>()
    };
    let models = IommuModel::ALL.into_iter().filter_map(models::model);
    models
        .flat_map(|model| model.place(&of(model.model())))
        .collect()
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

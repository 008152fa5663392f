//! The one description of a machine, from which its bus, its device tree and its documentation are made.

use std::fmt::Write as _;

use super::config::Config;
use super::layout::{self, Range};

/// How an interrupt line is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A pulse.
    Edge,
    /// High while the cause lasts.
    Level,
}

/// A shared peripheral interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Irq {
    /// Its number among the shared ones.
    pub spi: u32,
    /// How it is driven.
    pub trigger: Trigger,
}

impl Irq {
    /// The identifier that the interrupt controller gives it.
    pub const fn id(self) -> u32 {
        layout::SPI_BASE + self.spi
    }
}

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// Interrupt controller: distributor and CPU interface.
    Gic,
    /// Console.
    Uart,
    /// Real-time clock.
    Rtc,
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
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// Where RAM is.
    pub ram: Range,
    /// Number of cores.
    pub cpus: u8,
    /// Its devices, by address.
    pub devices: Vec<Entry>,
}

impl Board {
    /// The machine that `config`, which must be valid, describes.
    pub fn new(config: &Config) -> Self {
        let fixed = |name: &str, device, ranges: &[Range], irq| Entry {
            name: name.into(),
            device,
            ranges: ranges.to_vec(),
            irq,
        };
        let mut devices = vec![
            fixed("gic", Device::Gic, &[layout::GICD, layout::GICC], None),
            fixed(
                "uart",
                Device::Uart,
                &[layout::UART],
                Some(Irq {
                    spi: layout::UART_SPI,
                    trigger: Trigger::Edge,
                }),
            ),
            fixed(
                "rtc",
                Device::Rtc,
                &[layout::RTC],
                Some(Irq {
                    spi: layout::RTC_SPI,
                    trigger: Trigger::Level,
                }),
            ),
        ];
        let disks =
            (0..config.disks.len()).map(|index| (format!("disk{index}"), Device::Disk(index)));
        let rng = config.rng.then(|| ("rng".into(), Device::Rng));
        for (slot, (name, device)) in disks.chain(rng).enumerate().take(layout::VIRTIO_SLOTS) {
            let base = layout::VIRTIO.base + slot as u64 * layout::VIRTIO_STRIDE;
            let irq = Irq {
                spi: layout::VIRTIO_SPI + slot as u32,
                trigger: Trigger::Level,
            };
            devices.push(Entry {
                name,
                device,
                ranges: vec![Range::new(base, layout::VIRTIO.size)],
                irq: Some(irq),
            });
        }
        let ram = Range::new(config.memory_base.0, config.memory.0);
        Self {
            ram,
            cpus: config.cpus,
            devices,
        }
    }

    /// The machine as a table in Markdown.
    pub fn table(&self) -> String {
        let mut table = String::from("| address | device | interrupt |\n|---|---|---|\n");
        for entry in &self.devices {
            for range in &entry.ranges {
                let irq = match entry.irq {
                    Some(Irq {
                        spi,
                        trigger: Trigger::Edge,
                    }) => format!("SPI {spi}, edge"),
                    Some(Irq {
                        spi,
                        trigger: Trigger::Level,
                    }) => format!("SPI {spi}, level"),
                    None => String::new(),
                };
                let _ = writeln!(table, "| {range} | {} | {irq} |", entry.name);
            }
        }
        let _ = writeln!(table, "| {} | RAM | |", self.ram);
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::DiskConfig;

    fn full() -> Board {
        let disks = vec![DiskConfig::new("d"); layout::MAX_DISKS];
        Board::new(&Config {
            disks,
            cpus: 4,
            ..Config::default()
        })
    }

    #[test]
    fn nothing_overlaps() {
        let board = full();
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
        let table = full().table();
        for word in [
            "gic",
            "uart",
            "rtc",
            "disk0",
            "disk14",
            "rng",
            "RAM",
            "0x09000000",
            "SPI 1, edge",
        ] {
            assert!(table.contains(word), "{word}");
        }
    }
}

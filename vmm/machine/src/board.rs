//! The one description of a machine, from which its bus, its device tree and its documentation are
//! made.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::config::{BoardModel, IommuModel};
pub use crate::entry::{Entry, IommuPart, Irq, Role};
use crate::layout::Range;
use crate::parts::{Part, Placed};
use crate::psci::Firmware;
use crate::vcpu::{GicMap, Platform};

/// A machine.
#[derive(Clone, Debug)]
pub struct Board {
    /// Which board it is.
    pub model: BoardModel,
    /// Where RAM is.
    pub ram: Range,
    /// Number of cores.
    pub cpus: u8,
    /// What the cores are.
    pub platform: Platform,
    /// Where its interrupt controller is.
    pub gic: GicMap,
    /// Which firmware it has.
    pub firmware: Firmware,
    /// Its devices, in the order of their nodes.
    pub devices: Vec<Entry>,
    /// What they are, in the same order.
    parts: Vec<Arc<dyn Part>>,
}

impl Board {
    /// Returns the board with these devices.
    pub(crate) fn with_parts(
        (model, ram, cpus): (BoardModel, Range, u8),
        (platform, gic, firmware): (Platform, GicMap, Firmware),
        devices: Vec<Placed>,
    ) -> Self {
        let (devices, parts) = devices.into_iter().map(|d| (d.entry, d.part)).unzip();
        Self {
            model,
            ram,
            cpus,
            platform,
            gic,
            firmware,
            devices,
            parts,
        }
    }

    /// Returns its devices with what they are.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&Entry, &dyn Part)> {
        let parts = self.parts.iter().map(AsRef::as_ref);
        self.devices.iter().zip(parts)
    }

    /// Returns the name of IOMMU `index`.
    pub fn iommu_name(&self, index: usize) -> Option<&str> {
        self.iommu(index).map(|entry| entry.name.as_str())
    }

    /// Returns how IOMMU `index` calls the place of a device: "uTLB" or "endpoint".
    pub fn port_word(&self, index: usize) -> &'static str {
        self.iommu_model(index).facts().port_word
    }

    /// Returns the model of IOMMU `index`; none if there is no such IOMMU.
    pub(crate) fn iommu_model(&self, index: usize) -> IommuModel {
        match self.iommu(index).map(|entry| entry.role) {
            Some(Some(Role::Iommu(model, _))) => model,
            _ => IommuModel::None,
        }
    }

    fn iommu(&self, index: usize) -> Option<&Entry> {
        let mut devices = self.devices.iter();
        devices.find(|entry| entry.iommu_index() == Some(index))
    }

    /// Returns the machine as a table in Markdown.
    pub fn table(&self) -> String {
        let mut table =
            String::from("| address | device | interrupt | behind |\n|---|---|---|---|\n");
        // Writing to a `String` cannot fail, so the results below are dropped.
        for entry in &self.devices {
            let irqs = entry
                .irqs
                .iter()
                .map(|irq| format!("SPI {}, level", irq.spi));
            let irqs = irqs.collect::<Vec<_>>().join("; ");
            let behind = entry.ports().map(|port| {
                let name = self.iommu_name(port.iommu).unwrap_or_default();
                format!("{name}, {} {}", self.port_word(port.iommu), port.utlb)
            });
            let behind = behind.collect::<Vec<_>>().join("; ");
            for range in &entry.ranges {
                let _ = writeln!(table, "| {range} | {} | {irqs} | {behind} |", entry.name);
            }
        }
        let _ = writeln!(table, "| {} | RAM | | |", self.ram);
        table
    }
}

//! The machine's Rockchip IOMMUs, of both formats: placed, described, made, and summed up.

use std::sync::Arc;

use viommu::rockchip::{Format, RockchipConfig, RockchipIommu, spec};
use vm_fdt::FdtWriter;
use vmm_devices::ram::{DmaSpace, GuestRam};

use super::super::IommuSummary;
use super::registers::{self, Connections, Watch, window};
use super::{Face, IommuContext, IommuDevice, IommuWindows, Model, UnitState, WrongIommu};
use crate::config::{IommuModel, Port};
use crate::entry::{Entry, IommuPart, Role};
use crate::error::Error;
use crate::fdt;

/// A Rockchip IOMMU of one of the formats.
pub(super) struct Rockchip {
    model: IommuModel,
    format: Format,
    /// What Linux matches it by (bindings/iommu/rockchip,iommu.yaml).
    compatible: &'static [&'static str],
}

/// The Rockchip IOMMU with addresses of 32 bits.
pub(super) static V1: Rockchip = Rockchip {
    model: IommuModel::Rockchip,
    format: Format::Bits32,
    compatible: &["rockchip,iommu"],
};

/// The Rockchip IOMMU with addresses of 40 bits, of RK3568.
pub(super) static V2: Rockchip = Rockchip {
    model: IommuModel::RockchipV2,
    format: Format::Bits40,
    compatible: &["rockchip,rk3568-iommu"],
};

impl Model for Rockchip {
    fn model(&self) -> IommuModel {
        self.model
    }

    fn place(&self, instances: &[(usize, String)], windows: &IommuWindows) -> Vec<Entry> {
        let instances = instances.iter();
        instances
            .map(|(index, name)| windows.instance(self.model, *index, name, spec::WINDOW))
            .collect()
    }

    fn compatible(&self) -> &'static [&'static str] {
        self.compatible
    }

    fn describe(&self, _: IommuPart, _: u32, fdt: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
        clocks(fdt)
    }

    fn make(
        &self,
        entries: &[&Entry],
        context: &IommuContext<'_>,
    ) -> Result<Vec<Box<dyn IommuDevice>>, Error> {
        let unit = |entry: &Entry, index| Unit::new(self, entry, index, context);
        registers::each(entries, unit)
    }
}

/// Writes the clocks that the binding demands. Nothing depends on them here: both are the bus's.
fn clocks(fdt: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
    fdt.property_array_u32("clocks", &[fdt::PHANDLE_APB_CLOCK; 2])?;
    fdt.property_string_list("clock-names", vec!["aclk".into(), "iface".into()])
}

/// A Rockchip IOMMU.
struct Unit {
    model: IommuModel,
    index: usize,
    iommu: RockchipIommu<GuestRam>,
    watch: Arc<Watch>,
}

impl Unit {
    /// Creates IOMMU `index` of the configuration, which is `entry` on the board, out of reset.
    fn new(
        of: &Rockchip,
        entry: &Entry,
        index: usize,
        context: &IommuContext<'_>,
    ) -> Result<Self, Error> {
        let mut config = RockchipConfig::new(&entry.name, of.format);
        config.faults = (context.faults)(entry);
        let Connections {
            watch,
            line,
            observers,
        } = Connections::new(of.model, entry, context)?;
        let iommu = RockchipIommu::new(Arc::clone(context.ram), &config, line, observers);
        Ok(Self {
            model: of.model,
            index,
            iommu,
            watch,
        })
    }
}

impl IommuDevice for Unit {
    fn face(&self, role: Role) -> Option<Face> {
        let own = Role::Iommu(self.model, IommuPart::Instance(self.index));
        (role == own).then(|| {
            window(
                self.iommu.clone(),
                RockchipIommu::read,
                RockchipIommu::write,
            )
        })
    }

    fn space(&self, port: Port) -> Option<DmaSpace> {
        // There is one port; a configuration with others is refused.
        (port.iommu == self.index).then(|| self.iommu.space())
    }

    /// Returns what shows pending interrupts, as MMU_INT_RAWSTAT has them.
    fn show_status(&self, port: Port) -> Option<Box<dyn Fn(u32) -> String + Send + Sync>> {
        if port.iommu != self.index {
            return None;
        }
        let iommu = self.iommu.clone();
        Some(Box::new(move |status| {
            iommu.show_status(status);
            iommu.name().to_owned()
        }))
    }

    fn save(&self) -> UnitState {
        UnitState::Rockchip {
            registers: self.iommu.save(),
            cache: self.iommu.unit().save_cache(),
            tally: self.watch.0.save(),
        }
    }

    fn restore(&self, saved: &UnitState) -> Result<(), WrongIommu> {
        let UnitState::Rockchip {
            registers,
            cache,
            tally,
        } = saved
        else {
            return Err(WrongIommu::Model);
        };
        // In this order: restoring the registers empties the cache.
        self.iommu
            .restore(registers)
            .map_err(WrongIommu::registers)?;
        self.iommu.unit().restore_cache(cache)?;
        // What restoring itself has caused does not count.
        self.watch.0.restore(tally);
        Ok(())
    }

    fn summaries(&self) -> Vec<IommuSummary> {
        let iommu = &self.iommu;
        let counters = iommu.unit().counters();
        vec![self.watch.summary(self.model, counters, iommu.mappings())]
    }
}

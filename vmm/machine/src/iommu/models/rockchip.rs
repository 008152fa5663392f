//! The machine's Rockchip IOMMUs, of both formats: placed, described, made, and summed up.

use std::sync::Arc;

use viommu::TranslationUnit;
use viommu::rockchip::{Format, RockchipConfig, RockchipIommu, RockchipState, spec};
use vm_fdt::FdtWriter;
use vmm_devices::ram::{DmaSpace, GuestRam};

use super::registers::{self, RegisterIommu, Unit};
use super::{IommuContext, IommuWindows, MadeIommus, Model, SavedUnit, UnitState, WrongIommu};
use crate::config::IommuModel;
use crate::entry::{Entry, IommuPart};
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
        windows.each(self.model, instances, spec::WINDOW)
    }

    fn compatible(&self) -> &'static [&'static str] {
        self.compatible
    }

    fn describe(&self, _: IommuPart, _: u32, fdt: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
        clocks(fdt)
    }

    fn make(&self, entries: &[&Entry], context: &IommuContext<'_>) -> MadeIommus {
        registers::each(entries, |entry, index| {
            let mut config = RockchipConfig::new(&entry.name, self.format);
            config.faults = (context.faults)(entry);
            config.cache = context.cache();
            Unit::new(self.model, (entry, index), context, |line, observers| {
                RockchipIommu::new(Arc::clone(context.ram), &config, line, observers)
            })
        })
    }
}

/// Writes the clocks that the binding demands. Nothing depends on them here: both are the bus's.
fn clocks(fdt: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
    fdt.property_array_u32("clocks", &[fdt::PHANDLE_APB_CLOCK; 2])?;
    fdt.property_string_list("clock-names", vec!["aclk".into(), "iface".into()])
}

impl RegisterIommu for RockchipIommu<GuestRam> {
    type State = RockchipState;

    const READ: fn(&Self, u64, &mut [u8]) = Self::read;
    const WRITE: fn(&Self, u64, &[u8]) = Self::write;

    fn unit(&self) -> &TranslationUnit<GuestRam> {
        self.unit()
    }

    fn space(&self, _: u32) -> DmaSpace {
        self.space()
    }

    /// Shows pending interrupts, as MMU_INT_RAWSTAT has them.
    fn show_status(&self, _: u32, status: u32) {
        self.show_status(status);
    }

    fn mappings(&self) -> u64 {
        self.mappings()
    }

    fn save(&self) -> RockchipState {
        self.save()
    }

    fn restore(&self, saved: &RockchipState) -> Result<(), WrongIommu> {
        self.restore(saved).map_err(WrongIommu::registers)
    }

    fn wrap(saved: SavedUnit<RockchipState>) -> UnitState {
        UnitState::Rockchip(saved)
    }

    fn unwrap(saved: &UnitState) -> Option<&SavedUnit<RockchipState>> {
        match saved {
            UnitState::Rockchip(saved) => Some(saved),
            _ => None,
        }
    }
}

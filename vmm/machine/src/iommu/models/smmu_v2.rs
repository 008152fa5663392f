//! The machine's SMMUs: placed, described, made, and summed up.

use std::sync::Arc;

use viommu::TranslationUnit;
use viommu::smmu_v2::{SmmuV2, SmmuV2Config, SmmuV2State};
use vm_fdt::FdtWriter;
use vmm_devices::ram::{DmaSpace, GuestRam};

use super::registers::{self, RegisterIommu, Unit};
use super::{IommuContext, IommuWindows, MadeIommus, Model, SavedUnit, UnitState, WrongIommu};
use crate::config::IommuModel;
use crate::entry::{Entry, IommuPart};

/// The Arm SMMU of architecture version 2.
pub(super) struct Smmu;

const MODEL: IommuModel = IommuModel::SmmuV2;

/// The outputs for which the driver demands an interrupt each (6.1, `arm_smmu_device_probe`): the
/// one of global faults, and one of each context bank. A board has one line for an IOMMU, which all
/// of them share.
const GLOBAL_INTERRUPTS: u32 = 1;

impl Model for Smmu {
    fn model(&self) -> IommuModel {
        MODEL
    }

    fn place(&self, instances: &[(usize, String)], windows: &IommuWindows) -> Vec<Entry> {
        let place = |(index, name): &(usize, String)| {
            let config = config(name);
            let entry = windows.instance(MODEL, *index, name, config.window());
            Entry {
                outputs: (GLOBAL_INTERRUPTS + config.banks) as usize,
                ..entry
            }
        };
        instances.iter().map(place).collect()
    }

    fn compatible(&self) -> &'static [&'static str] {
        &["arm,smmu-v2"]
    }

    fn describe(&self, _: IommuPart, _: u32, fdt: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
        fdt.property_u32("#global-interrupts", GLOBAL_INTERRUPTS)
    }

    fn make(&self, entries: &[&Entry], context: &IommuContext<'_>) -> MadeIommus {
        registers::each(entries, |entry, index| {
            let mut config = config(&entry.name);
            config.faults = (context.faults)(entry);
            config.cache = context.cache();
            Unit::new(MODEL, (entry, index), context, |line, observers| {
                SmmuV2::new(Arc::clone(context.ram), &config, line, observers)
            })
        })
    }
}

/// Returns what an SMMU of this name is like.
fn config(name: &str) -> SmmuV2Config {
    let mut config = SmmuV2Config::new(name);
    config.streams = MODEL.facts().ports;
    config
}

impl RegisterIommu for SmmuV2<GuestRam> {
    type State = SmmuV2State;

    const READ: fn(&Self, u64, &mut [u8]) = Self::read;
    const WRITE: fn(&Self, u64, &[u8]) = Self::write;

    fn unit(&self) -> &TranslationUnit<GuestRam> {
        self.unit()
    }

    fn space(&self, port: u32) -> DmaSpace {
        self.space(port)
    }

    /// Shows faults of the context bank of a stream, as FSR has them.
    fn show_status(&self, port: u32, status: u32) {
        self.show_status(port, status);
    }

    fn mappings(&self) -> u64 {
        self.mappings()
    }

    fn save(&self) -> SmmuV2State {
        self.save()
    }

    fn restore(&self, saved: &SmmuV2State) -> Result<(), WrongIommu> {
        self.restore(saved).map_err(WrongIommu::registers)
    }

    fn wrap(saved: SavedUnit<SmmuV2State>) -> UnitState {
        UnitState::SmmuV2(saved)
    }

    fn unwrap(saved: &UnitState) -> Option<&SavedUnit<SmmuV2State>> {
        match saved {
            UnitState::SmmuV2(saved) => Some(saved),
            _ => None,
        }
    }
}

//! The machine's SMMUs: placed, described, made, and summed up.

use std::sync::Arc;

use viommu::smmu_v2::{SmmuV2, SmmuV2Config};
use vm_fdt::FdtWriter;
use vmm_devices::ram::{DmaSpace, GuestRam};

use super::super::IommuSummary;
use super::registers::{self, Connections, Watch, window};
use super::{Face, IommuContext, IommuDevice, IommuWindows, Model, UnitState, WrongIommu};
use crate::config::{IommuModel, Port};
use crate::entry::{Entry, IommuPart, Role};
use crate::error::Error;

/// The Arm SMMU of architecture version 2.
pub(super) struct Smmu;

const MODEL: IommuModel = IommuModel::SmmuV2;

/// The outputs for which the driver demands an interrupt each (6.1, `arm_smmu_device_probe`): the one of global faults,
/// and one of each context bank. A board has one line for an IOMMU, which all of them share.
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

    fn make(
        &self,
        entries: &[&Entry],
        context: &IommuContext<'_>,
    ) -> Result<Vec<Box<dyn IommuDevice>>, Error> {
        registers::each(entries, |entry, index| Unit::new(entry, index, context))
    }
}

/// Returns what an SMMU of this name is like.
fn config(name: &str) -> SmmuV2Config {
    let mut config = SmmuV2Config::new(name);
    config.streams = MODEL.facts().ports;
    config
}

/// An SMMU.
struct Unit {
    index: usize,
    smmu: SmmuV2<GuestRam>,
    watch: Arc<Watch>,
}

impl Unit {
    /// Creates IOMMU `index` of the configuration, which is `entry` on the board, out of reset.
    fn new(entry: &Entry, index: usize, context: &IommuContext<'_>) -> Result<Self, Error> {
        let mut config = config(&entry.name);
        config.faults = (context.faults)(entry);
        let Connections {
            watch,
            line,
            observers,
        } = Connections::new(MODEL, entry, context)?;
        let smmu = SmmuV2::new(Arc::clone(context.ram), &config, line, observers);
        Ok(Self { index, smmu, watch })
    }
}

impl IommuDevice for Unit {
    fn face(&self, role: Role) -> Option<Face> {
        let own = Role::Iommu(MODEL, IommuPart::Instance(self.index));
        (role == own).then(|| window(self.smmu.clone(), SmmuV2::read, SmmuV2::write))
    }

    fn space(&self, port: Port) -> Option<DmaSpace> {
        (port.iommu == self.index).then(|| self.smmu.space(port.utlb))
    }

    /// Returns what shows faults of the context bank of a stream, as FSR has them.
    fn show_status(&self, port: Port) -> Option<Box<dyn Fn(u32) -> String + Send + Sync>> {
        if port.iommu != self.index {
            return None;
        }
        let smmu = self.smmu.clone();
        Some(Box::new(move |status| {
            smmu.show_status(port.utlb, status);
            smmu.name().to_owned()
        }))
    }

    fn save(&self) -> UnitState {
        UnitState::SmmuV2 {
            registers: self.smmu.save(),
            cache: self.smmu.unit().save_cache(),
            tally: self.watch.0.save(),
        }
    }

    fn restore(&self, saved: &UnitState) -> Result<(), WrongIommu> {
        let UnitState::SmmuV2 {
            registers,
            cache,
            tally,
        } = saved
        else {
            return Err(WrongIommu::Model);
        };
        // In this order: restoring the registers empties the cache.
        self.smmu
            .restore(registers)
            .map_err(WrongIommu::registers)?;
        self.smmu.unit().restore_cache(cache)?;
        // What restoring itself has caused does not count.
        self.watch.0.restore(tally);
        Ok(())
    }

    fn summaries(&self) -> Vec<IommuSummary> {
        let iommu = &self.smmu;
        let counters = iommu.unit().counters();
        vec![self.watch.summary(MODEL, counters, iommu.mappings())]
    }
}

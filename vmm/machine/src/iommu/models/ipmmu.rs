//! The machine's IPMMUs, of R-Car Gen2 and Gen3: placed, described, made, and summed up.

use std::sync::Arc;

use viommu::ipmmu::{Instance, InterruptLine, Ipmmu, IpmmuConfig, NoInterrupt, Observers};
use viommu::{Attachment, DmaListener, DomainId};
use vm_fdt::FdtWriter;
use vmm_devices::ram::{DmaSpace, GuestRam};

use super::super::tally::{Tallies, Tally};
use super::super::{IommuInfo, IommuSummary};
use super::registers::{self, window};
use super::{
    Described, Face, IommuContext, IommuDevice, IommuWindows, Listening, MadeIommus, Model,
    UnitState, WrongIommu,
};
use crate::config::{IommuModel, Port};
use crate::entry::{Entry, IommuPart, Role};
use crate::error::Error;

/// Size in bytes of an instance's registers (Linux, bindings/iommu/renesas,ipmmu-vmsa.yaml).
const WINDOW: u64 = 0x1000;

/// The IPMMU of R-Car Gen2: each instance stands for itself.
pub(super) struct Gen2;

impl Model for Gen2 {
    fn model(&self) -> IommuModel {
        IommuModel::Ipmmu
    }

    fn place(&self, instances: &[(usize, String)], windows: &IommuWindows) -> Vec<Entry> {
        windows.each(self.model(), instances, WINDOW)
    }

    /// Returns what Linux matches it by (bindings/iommu/renesas,ipmmu-vmsa.yaml).
    fn compatible(&self) -> &'static [&'static str] {
        // The driver matches the second; the binding wants that of an SoC before it.
        &["renesas,ipmmu-r8a7791", "renesas,ipmmu-vmsa"]
    }

    fn make(&self, entries: &[&Entry], context: &IommuContext<'_>) -> MadeIommus {
        registers::each(entries, |entry, _| {
            let config = IpmmuConfig::gen2(&entry.name);
            Unit::new(self.model(), config, &[entry], context)
        })
    }
}

/// The IPMMU of R-Car Gen3: instances are caches in front of one main IPMMU, which has the contexts
/// and the interrupt.
pub(super) struct Gen3;

impl Model for Gen3 {
    fn model(&self) -> IommuModel {
        IommuModel::IpmmuGen3
    }

    fn place(&self, instances: &[(usize, String)], windows: &IommuWindows) -> Vec<Entry> {
        if instances.is_empty() {
            return Vec::new();
        }
        let main = windows.shared(self.model(), "ipmmu-main", WINDOW);
        // The driver asks for an interrupt at the main one only (drivers/iommu/ipmmu-vmsa.c,
        // `ipmmu_probe`).
        let caches = instances.iter().map(|(index, name)| Entry {
            irqs: Vec::new(),
            ..windows.instance(self.model(), *index, name, WINDOW)
        });
        std::iter::once(main).chain(caches).collect()
    }

    /// Returns what Linux matches it by (bindings/iommu/renesas,ipmmu-vmsa.yaml). The power domain
    /// that it asks for on Gen3 is left out: nothing switches this machine's devices off, and the
    /// driver needs none.
    fn compatible(&self) -> &'static [&'static str] {
        &["renesas,ipmmu-r8a7795"]
    }

    fn describe(&self, part: IommuPart, shared: u32, fdt: &mut FdtWriter) -> Described {
        match part {
            IommuPart::Instance(index) => {
                // The second cell is the instance's bit in a status register of the main IPMMU.
                #[expect(clippy::cast_possible_truncation, reason = "there are few instances")]
                let main = [shared, index as u32];
                fdt.property_array_u32("renesas,ipmmu-main", &main)
            }
            IommuPart::Shared => Ok(()),
        }
    }

    fn make(&self, entries: &[&Entry], context: &IommuContext<'_>) -> MadeIommus {
        // The main one is first, as `place` has it.
        let [main, caches @ ..] = entries else {
            return Ok(Vec::new());
        };
        let names = caches.iter().map(|entry| entry.name.as_str());
        let config = IpmmuConfig::gen3(&main.name, names);
        let unit = Unit::new(self.model(), config, entries, context)?;
        Ok(vec![Box::new(unit)])
    }
}

/// An IPMMU: one instance of Gen2, or all of Gen3.
struct Unit {
    model: IommuModel,
    ipmmu: Ipmmu<GuestRam>,
    /// The instances: their places on the board, and their counts.
    instances: Vec<(Option<Role>, Arc<Tally>)>,
}

impl Unit {
    fn new(
        model: IommuModel,
        mut config: IpmmuConfig,
        entries: &[&Entry],
        context: &IommuContext<'_>,
    ) -> Result<Self, Error> {
        config.cache = context.cache();
        let root = entries.first().map(|entry| entry.name.clone());
        let root = root.unwrap_or_default();
        if let Some(first) = entries.first() {
            // One injector serves all instances: it is told the instance at each point.
            config.faults = (context.faults)(first);
        }
        // Entries and instances are in one order, the main one first.
        let instances: Vec<(Option<Role>, Arc<Tally>)> = entries
            .iter()
            .zip(&config.instances)
            .map(|(entry, instance)| {
                let info = IommuInfo {
                    name: entry.name.clone(),
                    contexts_of: root.clone(),
                    model,
                    masters: context.masters_of(entry, instance.utlbs),
                    sources: context.sources.to_vec(),
                };
                let tally = Tally::new(info, Arc::clone(context.clock), context.sink.cloned());
                (entry.role, Arc::new(tally))
            })
            .collect();
        let tallies = Arc::new(Tallies::new(
            instances
                .iter()
                .map(|(_, tally)| Arc::clone(tally))
                .collect(),
        ));
        let observers = Observers {
            registers: Some(tallies.clone()),
            translation: Some(tallies),
        };
        // The first instance has the only line: on Gen3 it is the main IPMMU.
        let line: Box<dyn InterruptLine> = match entries
            .first()
            .map(|entry| (context.line)(entry))
            .transpose()?
        {
            Some(Some(line)) => Box::new(move |level| line.set(level)),
            _ => Box::new(NoInterrupt),
        };
        let ipmmu = Ipmmu::new(Arc::clone(context.ram), &config, line, observers);
        let ipmmu = ipmmu.map_err(|source| Error::Host {
            what: "make the IPMMU",
            source: Box::new(source),
        })?;
        Ok(Self {
            model,
            ipmmu,
            instances,
        })
    }

    fn instance(&self, port: Port) -> Option<(Instance<GuestRam>, usize)> {
        let role = Role::Iommu(self.model, IommuPart::Instance(port.iommu));
        let number = self.number(role)?;
        Some((self.ipmmu.instance(number)?, port.utlb as usize))
    }

    fn number(&self, role: Role) -> Option<usize> {
        let mut instances = self.instances.iter();
        instances.position(|(other, _)| *other == Some(role))
    }
}

impl IommuDevice for Unit {
    fn face(&self, role: Role) -> Option<Face> {
        let instance = self.ipmmu.instance(self.number(role)?)?;
        Some(window(instance, Instance::read, Instance::write))
    }

    fn space(&self, port: Port) -> Option<DmaSpace> {
        let (instance, utlb) = self.instance(port)?;
        instance.space(utlb)
    }

    fn listen(&self, port: Port, listener: &mut Option<Box<dyn DmaListener>>) -> Listening {
        let (instance, utlb) = self.instance(port)?;
        let endpoint = instance.endpoint(utlb)?;
        self.ipmmu.unit().add_listener(endpoint, listener.take()?);
        Some(Ok(()))
    }

    /// Returns what prints the status of the context that the port is attached to, or else of the
    /// first.
    fn show_status(&self, port: Port) -> Option<Box<dyn Fn(u32) -> String + Send + Sync>> {
        let (instance, utlb) = self.instance(port)?;
        // On Gen3 contexts and interrupt are the main IPMMU's, wherever the port is.
        let (endpoint, root) = (instance.endpoint(utlb), self.ipmmu.instance(0)?);
        let ipmmu = self.ipmmu.clone();
        Some(Box::new(move |status| {
            let context = match endpoint.map(|endpoint| ipmmu.unit().attachment(endpoint)) {
                Some(Attachment::Domain(DomainId(context))) => context as usize,
                _ => 0,
            };
            root.record_status(context, status, 0);
            root.name().to_owned()
        }))
    }

    fn save(&self) -> UnitState {
        UnitState::Ipmmu {
            registers: self.ipmmu.save(),
            cache: self.ipmmu.unit().save_cache(),
            tallies: self.instances.iter().map(|(_, t)| t.save()).collect(),
        }
    }

    fn restore(&self, saved: &UnitState) -> Result<(), WrongIommu> {
        let UnitState::Ipmmu {
            registers,
            cache,
            tallies,
        } = saved
        else {
            return Err(WrongIommu::Model);
        };
        // In this order: restoring the registers empties the cache.
        self.ipmmu
            .restore(registers)
            .map_err(WrongIommu::registers)?;
        self.ipmmu.unit().restore_cache(cache)?;
        // What restoring itself has caused does not count.
        for ((_, mine), saved) in self.instances.iter().zip(tallies) {
            mine.restore(saved);
        }
        Ok(())
    }

    /// Returns the summaries of all instances. Contexts and the cache are the first one's: those of
    /// Gen3 are the main IPMMU's.
    fn summaries(&self) -> Vec<IommuSummary> {
        let summary = |(_, tally): &(Option<Role>, Arc<Tally>)| IommuSummary {
            model: self.model.name().into(),
            ..tally.summary()
        };
        let mut summaries: Vec<IommuSummary> = self.instances.iter().map(summary).collect();
        if let Some(first) = summaries.first_mut() {
            let counters = self.ipmmu.unit().counters();
            first.hits = counters.hits;
            first.misses = counters.misses;
            first.evictions = counters.evictions;
            first.mappings = self.ipmmu.mappings();
        }
        summaries
    }
}
